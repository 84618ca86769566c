"""Masks on the interpolated grid, carried over by their shape."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..interpolators.cubic import lagrange_weights


def carry_over(mask: np.ndarray, pixel: tuple[float, float], factor: int) -> np.ndarray:
    """A segment on the interpolated grid, by its shape: (N, rows, columns) bool -> ((N-1) factor + 1, ...).

    The signed distances to the outlines of up to four neighboring slices are interpolated by the polynomial
    through them (shape-based interpolation: Raya and Udupa, IEEE TMI 9, 1990; of higher order, since a straight
    line between the radii of a round body cuts its bulge off). Where the segment ends, the outline shrinks to
    (1 - t) of its inscribed radius at the fraction t: the mean profile of a rounded cap that ends anywhere in
    that gap.
    """
    out = np.zeros(((len(mask) - 1) * factor + 1, *mask.shape[1:]), dtype=bool)
    box = bounding_box(mask.any(axis=0))
    if box is None:
        return out
    mask = mask[(slice(None), *box)]
    part = out[(slice(None), *box)]
    distances = [_signed_distance(image, pixel) for image in mask]
    part[::factor] = mask
    for number in range(len(mask) - 1):
        for step in range(1, factor):
            part[number * factor + step] = _between(distances, number, step / factor)
    return out


def _between(distances: list[np.ndarray | None], number: int, t: float) -> np.ndarray | bool:
    """The segment at `number` + t from the signed distances of the slices, None where a slice holds nothing."""
    before, after = distances[number], distances[number + 1]
    if before is None and after is None:
        return False
    if after is None:
        return before > t * before.max()
    if before is None:
        return after > (1 - t) * after.max()
    first, last = number, number + 1
    if first > 0 and distances[first - 1] is not None:
        first -= 1
    if last + 1 < len(distances) and distances[last + 1] is not None:
        last += 1
    weights = lagrange_weights(last - first + 1, number - first + t)
    return sum(w * d for w, d in zip(weights, distances[first : last + 1])) > 0


def _signed_distance(mask: np.ndarray, pixel: tuple[float, float]) -> np.ndarray | None:
    """Distance to the outline in mm, positive inside; None where the slice holds nothing."""
    if not mask.any():
        return None
    # The outline runs between pixels, half a pixel from either center.
    half = 0.5 * min(pixel)
    inside = distance_transform_edt(mask, sampling=pixel)
    outside = distance_transform_edt(~mask, sampling=pixel)
    return np.where(mask, inside - half, half - outside).astype(np.float32)


def bounding_box(mask: np.ndarray, margin: list[int] | None = None) -> tuple[slice, ...] | None:
    """Slices of the smallest box around a mask, widened by `margin` and by at least 2 voxels."""
    if not mask.any():
        return None
    margin = margin or [2] * mask.ndim
    box = []
    for axis, more in enumerate(margin):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(max(used[0] - more, 0), used[-1] + 1 + more))
    return tuple(box)
