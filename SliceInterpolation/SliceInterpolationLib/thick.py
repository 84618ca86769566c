"""Thick slices of thin ones: what a scanner that was told to reconstruct thicker slices would have given."""

from __future__ import annotations

import numpy as np

from .errors import InputError
from .volume import UNKNOWN, Volume

PROFILES = ("slab", "thin")
"""slab: the mean over the new slice spacing, as contiguous thick slices are; thin: every n-th slice as it is."""


def slab_weights(count: int) -> np.ndarray:
    """Weights of the slices whose mean is a slice `count` slices thick, centered on one of them; they sum to 1.

    For an even count one slice more is taken, the two outermost by half.
    """
    if count % 2:
        return np.full(count, 1.0 / count, dtype=np.float32)
    weights = np.full(count + 1, 1.0 / count, dtype=np.float32)
    weights[[0, -1]] /= 2
    return weights


def slab_mean(slices: np.ndarray, center: int, count: int) -> np.ndarray:
    """The mean of `count` slices around one of a stack (N, rows, columns), float32; all of them must be there."""
    weights = slab_weights(count)
    first = center - len(weights) // 2
    out = np.zeros(slices.shape[1:], dtype=np.float32)
    for weight, image in zip(weights, slices[first : first + len(weights)]):
        out += weight * image
    return out


def thicken(volume: Volume, factor: int, thickness: int | None = None) -> Volume:
    """A volume with every `factor`-th slice, each the mean of `thickness` slices around it (default: factor).

    The first slice is the first whose mean is complete, so that nothing is made up at the ends. The slices lie where
    the ones that they are centered on lie; the type of the voxels stays. thickness 1 keeps single slices as they are.
    Raises InputError where fewer than two slices would be left, and for numbers below 1.
    """
    thickness = factor if thickness is None else thickness
    if factor < 1 or thickness < 1 or (factor == 1 and thickness == 1):
        raise InputError("Give a factor of 2 or more, or slices of more than one of the given ones.")
    half = len(slab_weights(thickness)) // 2
    centers = range(half, volume.slice_count - half, factor)
    if len(centers) < 2:
        raise InputError(
            f"{volume.slice_count} slices are too few for a factor of {factor} and a thickness of {thickness} "
            "slices: fewer than two would be left."
        )
    stack, dtype = volume.slices, volume.array.dtype
    made = np.empty((len(centers), *stack.shape[1:]), dtype=dtype)
    for number, center in enumerate(centers):
        if thickness == 1:
            made[number] = stack[center]
            continue
        image = slab_mean(stack, center, thickness)
        made[number] = np.rint(image) if dtype.kind in "iu" else image
    given = volume.slice_thickness or volume.slice_spacing
    return volume.thinned(
        made,
        half,
        factor,
        "".join(volume.provenance[center] for center in centers)
        if thickness == 1
        else UNKNOWN * len(centers),
        slice_thickness=volume.slice_thickness
        if thickness == 1
        else given + (thickness - 1) * volume.slice_spacing,
    )
