"""From one slice that was not acquired to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from SliceInterpolationLib.volume import DENOISED, SYNTHESIZED, Volume

from ..nodes import gridFromNode


def stepToSynthesized(resultNode, step: int, views: list[Any]) -> None:
    """Move a slice view to the next (1) or previous (-1) slice of a result that was not acquired.

    Of the slice nodes in `views` it is the one that lies most along the slices. In a result without synthesized slices
    the denoised ones are meant. Where there is no further one, nothing moves.
    """
    grid = gridFromNode(resultNode)
    letter = SYNTHESIZED if SYNTHESIZED in grid.provenance else DENOISED
    centers = _centers(grid, letter, resultNode)
    if not views or not len(centers):
        return
    normals = [slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 2] for view in views]
    across = _normal(grid)
    best = max(range(len(views)), key=lambda number: abs(normals[number] @ across))
    view, normal = views[best], normals[best]
    offsets = centers @ normal
    ahead = (offsets - view.GetSliceOffset()) * step
    reachable = ahead > 1e-3 * grid.slice_spacing
    if reachable.any():
        view.SetSliceOffset(float(offsets[reachable][np.argmin(ahead[reachable])]))


def _centers(grid: Volume, letter: str, node) -> np.ndarray:
    """RAS of the middle of each slice with a letter, through the transform above the node if there is one."""
    axis = "ijk".index(grid.slice_axis)
    numbers = [number for number, one in enumerate(grid.provenance) if one == letter]
    indices = np.tile((np.array(grid.array.shape[::-1]) - 1) / 2, (len(numbers), 1))
    indices[:, axis] = numbers
    ras = (indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]) * [-1.0, -1.0, 1.0]
    toWorld = vtk.vtkGeneralTransform()
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetTransformToWorld(toWorld)
    return np.array([toWorld.TransformPoint(point) for point in ras.tolist()]).reshape(-1, 3)


def _normal(grid: Volume) -> np.ndarray:
    """Unit vector across the slices in RAS, before any transform: which view lies along them changes little by one."""
    axis = "ijk".index(grid.slice_axis)
    in_plane = np.delete(grid.affine[:3, :3], axis, axis=1)
    across = np.cross(in_plane[:, 0], in_plane[:, 1]) * [-1.0, -1.0, 1.0]
    return across / np.linalg.norm(across)
