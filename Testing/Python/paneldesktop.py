"""Fixtures for tests of the panel: stand-ins for the desktop around the real scene, see Testing/Desktop."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("PySide6.QtUiTools", reason="needs PySide6-Essentials, Qt for Python")
slicer = pytest.importorskip("slicer", reason="needs slicer-core, Slicer's MRML core as a Python package")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Desktop"))

import standins  # noqa: E402
from standins import api, pythonqt  # noqa: E402

TINY = {"size": 48, "pixel_spacing": 4.8, "slices": 8, "slice_spacing": 18.0, "slice_thickness": 9.0}
"""A phantom that the classical methods interpolate in no time; the network refuses its gaps unless forced."""
SMALL = {"size": 64, "pixel_spacing": 2.0, "slices": 10, "slice_spacing": 9.0, "hematoma": None}


_scenes: list = []  # scenes live as long as the process: VTK is not always destroyed in an order that it survives


def _application(views: bool = False):
    """The application with an empty scene; no slot has failed in the end, and nothing was used that it lacks."""
    pythonqt.slotErrors.clear()
    api.refused.clear()
    made = standins.newScene(views)
    yield made
    errors = [*pythonqt.slotErrors, *api.refused]
    pythonqt.slotErrors.clear()
    api.refused.clear()
    _scenes.append(made)
    assert not errors, errors


@pytest.fixture
def desktop():
    """The application with an empty scene."""
    yield from _application()


@pytest.fixture
def drawingDesktop():
    """The application with an empty scene and slice views that draw."""
    yield from _application(views=True)


@pytest.fixture
def drawingPanel(drawingDesktop):
    """The panel, with slice views that draw."""
    widget = drawingDesktop.makeWidget()
    yield widget
    widget.cleanup()
    widget.parent.close()


@pytest.fixture
def panel(desktop):
    """The panel on an empty scene; nothing that it started goes on afterwards."""
    widget = desktop.makeWidget()
    yield widget
    widget.cleanup()
    widget.parent.close()


def loadTiny(panel=None, show: bool = True, **options):
    """A tiny phantom in the scene, and chosen as input of a panel."""
    from SliceInterpolationLib.phantom import phantom_volume
    from SliceInterpolationMRML.sampleData import showPhantom

    scan, hematoma = showPhantom(*phantom_volume(**{**TINY, **options}), show=show)
    if panel is not None:
        panel._parameterNode.inputVolume = scan
    return scan, hematoma


def loadNoise(panel, slices: int = 30, size: int = 256):
    """A volume without structure on which the network takes seconds, made in no time; chosen as input."""
    import numpy as np

    from SliceInterpolationLib.volume import Volume
    from SliceInterpolationMRML.nodes import nodeFromVolume

    array = np.random.default_rng(0).integers(-1000, 1500, (slices, size, size)).astype(np.int16)
    node = nodeFromVolume(Volume(array, (0.9, 0.9, 5.0)), "Noise")
    panel._parameterNode.inputVolume = node
    return node


def spin(until, seconds: float = 60.0) -> None:
    """Run the event loop until a condition holds; fails where it does not in time."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "the condition did not come true in time"
        slicer.app.processEvents()
        time.sleep(0.01)


def nodeIds() -> set[str]:
    """IDs of all nodes of the scene."""
    scene = slicer.mrmlScene
    return {scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())}


def alive(processId: int) -> list[int]:
    """Processes of a session that have not ended yet."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == processId and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found


def temporaryFolders(panel) -> list[Path]:
    """Exchange folders that are there now, but for that of the search for devices."""
    found = set(Path(slicer.app.temporaryPath).glob("SliceInterpolation-*"))
    return sorted(found - {panel._probe.folder} if panel._probe is not None else found)


def destroyed(node):
    """A function that tells whether the C++ object of a node is gone; it keeps nothing alive itself."""
    import gc

    gone = []
    node.AddObserver("DeleteEvent", lambda caller, event: gone.append(True))

    def answer() -> bool:
        gc.collect()
        return bool(gone)

    return answer


def living(kind: type) -> int:
    """How many objects of a class there are."""
    import gc

    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


def cutLabels(panel) -> list[str]:
    """Names of the visible labels whose last lines are cut off."""
    from PySide6.QtWidgets import QLabel

    return [
        label.objectName()
        for label in panel.parent._q.findChildren(QLabel)
        if label.isVisible() and label.wordWrap() and label.height() < label.heightForWidth(label.width())
    ]
