"""Sample data: the synthetic head, made on this computer, with its hematoma of known volume as a segment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.files import read_file, read_labelmap
from SliceInterpolationLib.request import Request
from SliceInterpolationLib.volume import Volume

from .figures.segments import addSegment, newSegmentation
from .i18n import _
from .nodes import nodeFromVolume
from .run.jobs import Job
from .run.process import Outcome

SAMPLE_NAME = "HeadPhantom"
_making = False


def phantomJob(
    name: str = SAMPLE_NAME, show: bool = True, onProgress=None, onFinished=None, **options
) -> Job:
    """A job that makes the head phantom; its result is a dict of the nodes "volume" and "segmentation".

    Options, errors and nodes as of `loadPhantom`.
    """

    def collect(job: Job, folder: Path, outcome: Outcome) -> dict[str, Any]:
        volume, labels = read_file(folder / "phantom.nrrd"), read_labelmap(folder / "hematoma.nrrd")
        nodes = showPhantom(volume, labels.array > 0, outcome.result["hematoma_ml"], name, show)
        return dict(zip(("volume", "segmentation"), nodes))

    return Job(
        "phantom", None, Request(), _arguments(options), collect, onProgress=onProgress, onFinished=onFinished
    )


def loadPhantom(name: str = SAMPLE_NAME, show: bool = True, **options):
    """Make the head phantom in a process of its own and put it into the scene; windows stay alive meanwhile.

    options: those of the command `phantom`, such as size, pixel_spacing, slices and hematoma_ml. show: in the slice
    views. Returns the volume node and the segmentation node (None for a phantom without a hematoma). Raises
    InputError for options that cannot be and while another phantom is being made, RunError where the process fails.

    Example::

        scan, hematoma = loadPhantom(size=128, pixel_spacing=1.8, slices=12, slice_spacing=10.0)
    """
    global _making
    if _making:
        raise InputError(_("A head phantom is being made already; wait for it."))
    _making, job = True, phantomJob(name, show, **options)
    try:
        nodes = job.start().wait().result
    finally:
        _making = False
        job.cancel()
    return nodes["volume"], nodes["segmentation"]


def showPhantom(volume: Volume, mask, truthMl: float, name: str = SAMPLE_NAME, show: bool = True):
    """Put a phantom into the scene: the nodes that `loadPhantom` returns.

    mask: (k, j, i) bool, the hematoma on the grid of the volume; truthMl: its true volume in mL.
    """
    volumeNode = nodeFromVolume(volume, name)
    display = volumeNode.GetScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(80.0, 40.0)
    segmentationNode = None
    if mask.any():
        segmentationNode = newSegmentation(_("{name} hematoma").format(name=volumeNode.GetName()), volumeNode)
        addSegment(segmentationNode, _("hematoma"), mask, volumeNode, (0.85, 0.10, 0.10))
        volumeNode.SetAttribute("HeadPhantom.HematomaMl", f"{truthMl:.2f}")
    if show:
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
    return volumeNode, segmentationNode


def loadSampleData(source=None):
    """`loadPhantom` for the module Sample Data: 30 slices at 5 mm; errors are shown."""
    with slicer.util.tryWithErrorDisplay(_("The head phantom could not be made."), waitCursor=True):
        return loadPhantom()


def _arguments(options: dict[str, float]) -> list[str]:
    arguments = ["phantom", "{folder}/phantom.nrrd", "--segmentation", "{folder}/hematoma.nrrd"]
    for key, value in options.items():
        arguments += ["--" + key.replace("_", "-"), str(value)]
    return [*arguments, "--progress", "json"]
