"""Planes through a volume as a radiologist looks at them: which voxels to show, how large they are, which gray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..volume import AIR_LIMIT_HU, AXES, Volume

BRAIN = (44.0, 128.0)
"""Window center and width in HU."""

PLANES = ("axial", "coronal", "sagittal")
"""The plane that cuts the superior, the posterior and the left axis."""

_TOWARD_LPS = (2, 1, 0)  # superior, posterior, left: the LPS axes in the order of `PLANES`
_MARGIN_MM = 8.0  # of air around the patient

Box = list[tuple[float, float]]
"""What to show along superior, posterior and left: mm from the center of the first voxel."""


@dataclass
class View:
    """A plane as it is looked at: rows run down the picture, columns to the right, the head is up.

    image: (rows, columns) in the units of the volume; a plane of a sheared volume is set upright, pixel by pixel,
    and padded with its darkest value. width, height: mm in the patient. number: of the plane along the axis that it
    cuts, from 0. row_letters, column_letters: provenance of the slices where they run along rows or columns, in the
    order of the picture; else empty.
    """

    plane: str
    image: np.ndarray
    width: float
    height: float
    number: int
    row_letters: str = ""
    column_letters: str = ""


def cut(volume: Volume, plane: str, number: int, box: Box) -> View:
    """The plane of the voxel grid that lies nearest to an anatomical one, its voxels as they are, cut to `box`.

    number: along the voxel axis that the plane cuts, from 0 (see `number_at`).
    """
    array, spacing, sources, flips = _anatomical(volume)
    order = PLANES.index(plane)
    image = np.take(array, array.shape[order] - 1 - number if flips[order] else number, axis=order)
    rows, columns = (axis for axis in range(3) if axis != order)
    shown = [_voxels(box[axis], spacing[axis], array.shape[axis]) for axis in (rows, columns)]
    letters = {}
    for axis, span in zip((rows, columns), shown):
        own = volume.provenance if AXES[sources[axis]] == volume.slice_axis else ""
        letters[axis] = (own[::-1] if flips[axis] else own)[span]
    image = image[shown[0], shown[1]]
    height, width = spacing[rows], spacing[columns]
    down, right = (volume.direction[:, sources[a]] * (-1 if flips[a] else 1) for a in (rows, columns))
    cosine = float(down @ right)
    if abs(cosine) > 1e-4:
        image = _unsheared(image, cosine * height / width)
        height *= np.sqrt(1 - cosine**2)
    if rows == 0:  # to superior
        image, letters[rows] = image[::-1], letters[rows][::-1]
    return View(
        plane, image, image.shape[1] * width, image.shape[0] * height, number, letters[rows], letters[columns]
    )  # fmt: skip


def number_at(volume: Volume, plane: str, point: np.ndarray) -> int:
    """The number of the plane through, or nearest to, a point in LPS mm; the first one of two that are equally near."""
    return int(_voxel_at(volume, point)[_anatomical(volume)[2][PLANES.index(plane)]])


def nearest_voxel(volume: Volume, point: np.ndarray) -> np.ndarray:
    """The center of the voxel nearest to a point, both in LPS mm."""
    return _center(volume, _voxel_at(volume, point))


def slice_plane(volume: Volume) -> str:
    """The anatomical plane that the slices of the stack lie in, or nearest to."""
    return PLANES[_anatomical(volume)[2].index(AXES.index(volume.slice_axis))]


def caption(volume: Volume, view: View) -> str:
    """What a plane shows: which slice of the stack, or how far apart the slices are that it crosses."""
    if view.plane == slice_plane(volume):
        return f"{view.plane}: {volume.describe_slice(view.number)}"
    return f"{view.plane}: slices every {volume.slice_spacing:.3g} mm"


def default_window(volume: Volume) -> tuple[float, float]:
    """Center and width: the brain window for CT, the 1st to 99th percentile for other modalities."""
    if volume.units == "HU":
        return BRAIN
    step = max(1, volume.array.size // 2_000_000)
    low, high = np.percentile(volume.array.reshape(-1)[::step], (1, 99))
    return float(low + high) / 2, max(float(high - low), 1e-6)


def gray(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """The gray values 0 to 255 (uint8) of an image in a window of center and width."""
    center, width = window
    share = (np.asarray(image, dtype=np.float64) - (center - width / 2)) / width
    return np.rint(255 * np.clip(share, 0.0, 1.0)).astype(np.uint8)


def interesting_point(volume: Volume) -> np.ndarray:
    """LPS mm of the middle voxel, moved to the nearest synthesized slice where there is one."""
    index = (np.array(volume.array.shape[::-1]) - 1) // 2
    axis = AXES.index(volume.slice_axis)
    synthesized = [n for n, letter in enumerate(volume.provenance) if letter == "S"]
    if synthesized:
        index[axis] = min(synthesized, key=lambda n: abs(n - index[axis]))
    return _center(volume, index)


def body_box(volume: Volume) -> Box:
    """Where the patient lies, with a margin: the whole length, and of the other axes what the body occupies."""
    array, spacing, _, _ = _anatomical(volume)
    center, width = default_window(volume)
    low = AIR_LIMIT_HU if volume.units == "HU" else center - 0.4 * width
    occupied = np.zeros(array.shape[1:], dtype=bool)
    for image in array[:: max(1, array.shape[0] // 40)]:
        occupied |= image > low
    box = [(0.0, (array.shape[0] - 1) * spacing[0])]
    for axis in (1, 2):
        # A thin table or noise occupies few voxels of a row; the head occupies many.
        used = np.flatnonzero(occupied.mean(axis=2 - axis) > 0.05)
        first, last = (used[0], used[-1]) if len(used) else (0, array.shape[axis] - 1)
        box.append((first * spacing[axis] - _MARGIN_MM, last * spacing[axis] + _MARGIN_MM))
    return box


def _voxel_at(volume: Volume, point: np.ndarray) -> np.ndarray:
    """The indices (i, j, k) of the voxel nearest to a point in LPS mm."""
    index = np.linalg.solve(volume.affine, (*point, 1.0))[:3]
    return np.clip(np.rint(index - 1e-6).astype(int), 0, np.array(volume.array.shape[::-1]) - 1)


def _center(volume: Volume, index: np.ndarray) -> np.ndarray:
    """LPS mm of a voxel (i, j, k)."""
    return (volume.affine @ (*index, 1.0))[:3]


def _voxels(span: tuple[float, float], spacing: float, count: int) -> slice:
    """The voxels whose centers lie inside a span of mm."""
    first, last = np.ceil(span[0] / spacing - 1e-3), np.floor(span[1] / spacing + 1e-3)
    return slice(max(int(first), 0), min(int(last) + 1, count))


def _unsheared(image: np.ndarray, shift: float) -> np.ndarray:
    """The image with every row moved right by `shift` pixels more than the one before, to whole pixels."""
    offsets = np.rint(shift * np.arange(len(image))).astype(int)
    offsets -= offsets.min()
    out = np.full((len(image), image.shape[1] + offsets.max()), image.min(), dtype=image.dtype)
    for row, offset in enumerate(offsets):
        out[row, offset : offset + image.shape[1]] = image[row]
    return out


def _anatomical(volume: Volume) -> tuple[np.ndarray, list[float], list[int], list[bool]]:
    """A view of the voxels as (to superior, to posterior, to left), and for each of its axes the spacing in mm, the
    voxel axis (0 for i, 1 for j, 2 for k) that it came from, and whether that runs the other way.
    """
    closeness = np.abs(volume.direction)  # LPS rows against i, j, k columns
    axes: dict[int, int] = {}
    for flat in np.argsort(-closeness, axis=None):
        lps, ijk = np.unravel_index(flat, (3, 3))
        if lps not in axes and ijk not in axes.values():
            axes[int(lps)] = int(ijk)
    sources = [axes[lps] for lps in _TOWARD_LPS]
    array = volume.array.transpose([2 - source for source in sources])
    flips = [bool(volume.direction[lps, source] < 0) for lps, source in zip(_TOWARD_LPS, sources)]
    array = array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    return array, [volume.spacing[source] for source in sources], sources, flips
