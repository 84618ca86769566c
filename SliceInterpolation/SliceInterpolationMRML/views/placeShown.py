"""The place in a volume that the user is looking at."""

from __future__ import annotations

import numpy as np
import slicer
import vtk


def placeShown(*volumeNodes) -> tuple[float, float, float] | None:
    """The point where the slice views on screen meet that show one of the volumes; None where none does.

    LPS in mm, in the grid of the first volume: without the transform above it. Along directions that no view fixes,
    it is the middle of that volume.
    """
    volumeNodes = [node for node in volumeNodes if node is not None]
    ids = {node.GetID() for node in volumeNodes}
    normals, distances = [], []
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
        if not view.IsMappedInLayout() or composite is None or composite.GetBackgroundVolumeID() not in ids:
            continue
        plane = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        normals.append(plane[:3, 2])
        distances.append(plane[:3, 2] @ plane[:3, 3])
    if not normals:
        return None
    bounds = [0.0] * 6
    volumeNodes[0].GetRASBounds(bounds)
    middle = np.mean(np.reshape(bounds, (3, 2)), axis=1)
    step, *_rest = np.linalg.lstsq(
        np.array(normals), np.array(distances) - np.array(normals) @ middle, rcond=1e-6
    )
    toGrid = vtk.vtkGeneralTransform()
    above = volumeNodes[0].GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, above, toGrid)
    right, anterior, superior = toGrid.TransformPoint(middle + step)
    return -right, -anterior, superior
