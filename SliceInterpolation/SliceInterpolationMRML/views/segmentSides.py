"""One segment a side: the drawn one where the scan is shown, the one carried over where its result is."""

from __future__ import annotations

from typing import Any

import slicer

from ..figures.measurement import carriedSegmentation
from ..nodes import ORIGINAL_ROLE
from .layouts import ORIENTATIONS, viewName


def placeSegments() -> None:
    """Show measured segments on their own side, by what the slice views show now; in 3D those that were drawn.

    Segmentations that were not carried over are left alone. Where no view shows the result, those carried over are
    hidden, and the drawn ones are in all views again.
    """
    for drawn in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        carried = carriedSegmentation(drawn)
        if carried is not None:
            _place(drawn.GetDisplayNode(), carried.GetDisplayNode(), _viewsOfResult(carried))


def _place(drawn, carried, ofResult: list[Any]) -> None:
    ids = [view.GetID() for view in ofResult]
    if any(view.IsMappedInLayout() for view in ofResult):
        others = slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")
        drawn.SetViewNodeIDs([view.GetID() for view in others if view.GetID() not in ids])
    else:
        drawn.RemoveAllViewNodeIDs()
    # Without views of its own it would be in all of them. Hidden by hand, it stays so.
    if not ids:
        carried.SetVisibility(False)
    elif not carried.GetNumberOfViewNodeIDs():
        carried.SetVisibility(True)
    carried.SetViewNodeIDs(ids)


def _viewsOfResult(carried) -> list[Any]:
    """The slice nodes of the views that show the result, or what was made of it for the comparison."""
    result = carried.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    scan = result.GetNodeReference(ORIGINAL_ROLE) if result is not None else None
    side = {viewName("Result", orientation) for orientation in ORIENTATIONS}
    found = []
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
        background = composite.GetBackgroundVolumeID() if composite is not None else None
        isResult = result is not None and background == result.GetID()
        if isResult or (view.GetLayoutName() in side and (scan is None or background != scan.GetID())):
            found.append(view)
    return found
