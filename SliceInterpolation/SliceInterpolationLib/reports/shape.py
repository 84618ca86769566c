"""Masks on the interpolated grid, carried over by their shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..interpolators.cubic import lagrange_weights


def carry_over(mask: np.ndarray, pixel: tuple[float, float], factor: int) -> np.ndarray:
    """A segment on the interpolated grid, by its shape: (N, rows, columns) bool -> ((N - 1) factor + 1, ...).

    pixel: (row, column) spacing in mm. factor: from 1 on, as of the interpolated volume (`Volume.refinement_of`).
    One segment at a time, so that segments which touch do not melt into one: ValueError for a labelmap, and for
    another number of axes or factor.

    The signed distances to the outlines of up to four neighboring slices are interpolated by the polynomial
    through them (shape-based interpolation: Raya and Udupa, IEEE TMI 9, 1990; of higher order, since a straight
    line between the radii of a round body cuts its bulge off). Where the segment ends, the outline shrinks to
    (1 - t) of its inscribed radius at the fraction t: the mean profile of a rounded cap that ends anywhere in
    that gap.
    """
    if mask.dtype != bool or mask.ndim != 3:
        raise ValueError(
            f"one segment as (slices, rows, columns) bool is carried over, not {mask.dtype} {mask.shape}"
        )
    if factor != int(factor) or factor < 1:
        raise ValueError(f"the factor must be a whole number from 1 on, not {factor}")
    factor = int(factor)
    out = np.zeros(((len(mask) - 1) * factor + 1, *mask.shape[1:]), dtype=bool)
    box = bounding_box(mask.any(axis=0))
    if box is None:
        return out
    part = out[(slice(None), *box)]
    part[::factor] = mask[(slice(None), *box)]

    @lru_cache(maxsize=4)  # what one gap needs
    def distance(number: int) -> np.ndarray | None:
        return _signed_distance(mask[(number, *box)], pixel) if 0 <= number < len(mask) else None

    for number in range(len(mask) - 1):
        for step in range(1, factor):
            part[number * factor + step] = _between(distance, number, step / factor)
    return out


def _between(distance: Callable[[int], np.ndarray | None], number: int, t: float) -> np.ndarray | bool:
    """The segment at `number` + t from the signed distances of the slices, None where a slice holds nothing."""
    before, after = distance(number), distance(number + 1)
    if before is None and after is None:
        return False
    if after is None:
        return before > t * before.max()
    if before is None:
        return after > (1 - t) * after.max()
    known = [other for other in range(number - 1, number + 3) if distance(other) is not None]
    weights = lagrange_weights(len(known), number - known[0] + t)
    return sum(weight * distance(other) for weight, other in zip(weights, known)) > 0


def _signed_distance(mask: np.ndarray, pixel: tuple[float, float]) -> np.ndarray | None:
    """Distance to the outline in mm, positive inside; None where the slice holds nothing.

    A segment that reaches the border of the slice ends there, as its surface does.
    """
    if not mask.any():
        return None
    mask = np.pad(mask, 1)
    # The outline runs between pixels, half a pixel from either center.
    half = 0.5 * min(pixel)
    inside = distance_transform_edt(mask, sampling=pixel)
    outside = distance_transform_edt(~mask, sampling=pixel)
    return np.where(mask, inside - half, half - outside)[1:-1, 1:-1].astype(np.float32)


def bounding_box(mask: np.ndarray, margin: Sequence[int] | None = None) -> tuple[slice, ...] | None:
    """Slices of the smallest box around a mask of any dimension, widened by `margin` voxels (2); None if empty."""
    if not mask.any():
        return None
    box = []
    for axis, more in enumerate(margin or [2] * mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(max(used[0] - more, 0), used[-1] + 1 + more))
    return tuple(box)
