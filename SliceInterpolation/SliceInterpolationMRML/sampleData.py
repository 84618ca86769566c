"""Sample data: the synthetic head, made on this computer, with its hematoma of known volume as a segment."""

from __future__ import annotations

import slicer

from .figures.segments import addSegment, newSegmentation
from .i18n import _
from .nodes import nodeFromVolume

SAMPLE_NAME = "HeadPhantom"


def loadPhantom(name: str = SAMPLE_NAME, show: bool = True, **options):
    """Make the head phantom and put it into the scene; takes about three seconds at full size.

    options: as `SliceInterpolationLib.phantom.head_phantom`, such as size, pixel_spacing and slices. show: in the
    slice views. Returns the volume node and the segmentation node (None for a phantom without a hematoma).

    Example::

        scan, hematoma = loadPhantom(size=128, pixel_spacing=1.8, slices=12, slice_spacing=10.0)
    """
    from SliceInterpolationLib.phantom import phantom_volume

    volume, mask, truthMl = phantom_volume(**options)
    volumeNode = nodeFromVolume(volume, name)
    display = volumeNode.GetScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(80.0, 40.0)
    segmentationNode = None
    if mask.any():
        segmentationNode = newSegmentation(f"{volumeNode.GetName()} hematoma", volumeNode)
        addSegment(segmentationNode, "hematoma", mask, volumeNode, (0.85, 0.10, 0.10))
        volumeNode.SetAttribute("HeadPhantom.HematomaMl", f"{truthMl:.2f}")
    if show:
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
    return volumeNode, segmentationNode


def loadSampleData(source=None):
    """`loadPhantom` for the panel and the module Sample Data: 30 slices at 5 mm; errors are shown."""
    with slicer.util.tryWithErrorDisplay(_("The head phantom could not be made."), waitCursor=True):
        return loadPhantom()
