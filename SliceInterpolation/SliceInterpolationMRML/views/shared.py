"""The one set of marks and the one compare view of the application: panel, console and startup share them.

They belong to the scene, whoever works with it, and to no widget or logic.
"""

from __future__ import annotations

import slicer
import vtk

from .compareView import CompareView
from .sliceMarks import SliceMarks

_views: list[CompareView] = []
_scene = vtk.vtkWeakReference()


def compareView() -> CompareView:
    """The compare view; made with its marks, which start working, where there is none in this scene yet."""
    if not _views or _scene.Get() is not slicer.mrmlScene:
        _views[:] = [CompareView(SliceMarks())]
        _scene.Set(slicer.mrmlScene)
    _views[0].marks.start()
    return _views[0]


def marks() -> SliceMarks:
    """The marks in the slice views."""
    return compareView().marks


def remove() -> None:
    """Take the comparison and all marks away: the module is reloaded, or the application ends."""
    if _views and _scene.Get() is slicer.mrmlScene:
        _views[0].restore()
        _views[0].marks.remove()
    _views.clear()
