"""What a slice view shows of a volume, in words: acquired, synthesized, denoised, computed, unknown, or a blend."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SliceInterpolationLib.volume import ACQUIRED, DENOISED, MAP, SYNTHESIZED, UNKNOWN, Volume

from ..nodes import gridFromNode

Color = tuple  # of red, green and blue, 0 to 1
COLORS: dict[str, Color] = {
    ACQUIRED: (0.55, 0.95, 0.55),
    SYNTHESIZED: (1.0, 0.70, 0.25),
    DENOISED: (1.0, 0.60, 0.80),
    MAP: (0.60, 0.85, 1.0),
    UNKNOWN: (0.80, 0.68, 1.0),
}
MIXED_COLOR: Color = (1.0, 0.95, 0.55)
_WORDS = {
    ACQUIRED: "acquired",
    SYNTHESIZED: "synthesized",
    DENOISED: "denoised",
    MAP: "computed map",
    UNKNOWN: "of unknown origin",
}
_BLENDED = {**_WORDS, MAP: "slices", UNKNOWN: "unknown"}
_ON_SLICE = 0.05  # of a slice distance: closer than this, a view shows that slice alone
_SAMPLES = 4096  # points of an oblique view, for the share that is synthesized


def describeView(sliceNode, volumeNode, grid: Volume | None = None) -> tuple[str, Color]:
    """What a slice view shows of a volume, and the color of the words.

    "acquired slice 12"; "synthesized, between 12 and 13"; where the plane lies between two slices, which ones the
    display blends; for oblique and reformatted views and for slabs, how much of what is seen is synthesized.
    Empty where the view misses the volume. grid: of `nodes.gridFromNode`, where it is at hand.
    """
    grid = grid if grid is not None else gridFromNode(volumeNode)
    positions, inside = _slicePositions(sliceNode, volumeNode, grid)
    if not inside.any():
        return "", COLORS[UNKNOWN]
    positions = positions[inside]
    low, high = float(positions.min()), float(positions.max())
    if high - low < _ON_SLICE:
        return _describePosition(grid, 0.5 * (low + high), volumeNode)
    numbers = np.clip(np.rint(positions).astype(int), 0, grid.slice_count - 1)
    letters = np.frombuffer(grid.provenance.encode(), np.uint8)[numbers]
    shares = {letter: float((letters == ord(letter)).mean()) for letter in _WORDS}
    if shares[ACQUIRED] > 0.995:
        return "acquired slices only", COLORS[ACQUIRED]
    said = {letter: share for letter, share in shares.items() if letter != ACQUIRED and share >= 0.005}
    kind = "slab" if sliceNode.GetSlabReconstructionEnabled() else "view"
    color = next((COLORS[letter] for letter, share in said.items() if share > 0.995), MIXED_COLOR)
    return f"{kind}: " + ", ".join(f"{share:.0%} {_WORDS[letter]}" for letter, share in said.items()), color


def _describePosition(grid: Volume, position: float, volumeNode) -> tuple[str, Color]:
    position = min(max(position, 0.0), grid.slice_count - 1.0)
    nearest = round(position)
    display = volumeNode.GetScalarVolumeDisplayNode()
    blends = display is None or display.GetInterpolate()
    if abs(position - nearest) < _ON_SLICE or not blends:
        return grid.describe_slice(nearest), COLORS[grid.provenance[nearest]]
    before = int(position)
    return _blend(grid, before), _blendColor(grid.provenance[before : before + 2])


def _blend(grid: Volume, before: int) -> str:
    """The two slices between which a view lies: "blend of acquired 12 and synthesized"."""
    letters = grid.provenance[before : before + 2]
    first = sum(letter != SYNTHESIZED for letter in grid.provenance[: before + 1])
    if letters == SYNTHESIZED * 2:
        return f"blend of two synthesized, between {first} and {first + 1}"
    if letters[0] == letters[1]:
        return f"blend of {_BLENDED[letters[0]]} {first} and {first + 1}"
    last = first + (letters[1] != SYNTHESIZED)
    parts = [
        _BLENDED[letter] if letter == SYNTHESIZED else f"{_BLENDED[letter]} {number}"
        for letter, number in zip(letters, (first, last))
    ]
    return f"blend of {parts[0]} and {parts[1]}"


def _blendColor(letters: str) -> Color:
    """Two unknown slices stay unknown, a blend of others is neither of them."""
    return COLORS[letters[0]] if letters[0] == letters[1] and letters[0] in (UNKNOWN, MAP) else MIXED_COLOR


def _slicePositions(sliceNode, volumeNode, grid: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Positions along the slice axis (in slices, from 0) of points of the view, and which lie in the volume."""
    toRas = slicer.util.arrayFromVTKMatrix(sliceNode.GetXYToRAS())
    width, height = sliceNode.GetDimensions()[:2]
    # A lattice would beat with the slices; steps of irrational length (Roberts' R2 sequence) do not.
    steps = np.arange(_SAMPLES) + 0.5
    columns, rows = 0.7548776662466927 * steps % 1 * width, 0.5698402909980532 * steps % 1 * height
    xy = np.stack([columns, rows, np.zeros(_SAMPLES), np.ones(_SAMPLES)])
    points = (toRas @ xy)[:3].T
    points = np.concatenate([points + offset for offset in _slabOffsets(sliceNode)])
    points = _toVolume(points, volumeNode)
    lps = points * [-1.0, -1.0, 1.0]
    ijk = np.linalg.solve(grid.affine[:3, :3], (lps - grid.origin).T)
    size = np.array(grid.array.shape[::-1])
    inside = np.all((ijk >= -0.5) & (ijk <= size[:, None] - 0.5), axis=0)
    return ijk["ijk".index(grid.slice_axis)], inside


def _slabOffsets(sliceNode) -> list[np.ndarray]:
    if not sliceNode.GetSlabReconstructionEnabled():
        return [np.zeros(3)]
    toRas = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
    half = 0.5 * sliceNode.GetSlabReconstructionThickness()
    return [toRas[:3, 2] * step for step in np.linspace(-half, half, 9)]


def _toVolume(points: np.ndarray, volumeNode) -> np.ndarray:
    """World points in the coordinates of a volume below a transform, linear or not (gantry tilt is not)."""
    transformNode = volumeNode.GetParentTransformNode()
    if transformNode is None:
        return points
    transform = vtk.vtkGeneralTransform()
    transformNode.GetTransformFromWorld(transform)
    world, own = vtk.vtkPoints(), vtk.vtkPoints()
    world.SetData(numpy_to_vtk(np.ascontiguousarray(points)))
    own.SetDataTypeToDouble()
    transform.TransformPoints(world, own)
    return vtk_to_numpy(own.GetData())
