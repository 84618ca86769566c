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


def thicken(volume: Volume, factor: int, profile: str = "slab") -> Volume:
    """A volume with every `factor`-th slice; see `PROFILES` for what each of them is.

    The first slice of a slab is the first whose mean is complete, so that nothing is made up at the ends. The slices
    lie where the ones that they are centered on lie; the type of the voxels stays, and the volume that is given too.
    Raises InputError where fewer than two slices would be left, for a factor below 2, and for an unknown profile.
    """
    if factor < 2:
        raise InputError(f"The factor must be a whole number of 2 or more, not {factor}.")
    if profile not in PROFILES:
        raise InputError(f"The profile must be one of {', '.join(PROFILES)}, not '{profile}'.")
    thickness = factor if profile == "slab" else 1
    half = len(slab_weights(thickness)) // 2
    centers = range(half, volume.slice_count - half, factor)
    if len(centers) < 2:
        raise InputError(
            f"{volume.slice_count} slices are too few for a factor of {factor}: fewer than two would be left."
        )
    if thickness > 1:
        volume = volume.without_padding()
    stack, dtype = volume.slices, volume.array.dtype
    made = np.empty((len(centers), *stack.shape[1:]), dtype=dtype)
    for number, center in enumerate(centers):
        if thickness == 1:
            made[number] = stack[center]
            continue
        image = slab_mean(stack, center, thickness)
        made[number] = np.rint(image) if dtype.kind in "iu" else image
    letters = [volume.provenance[center] if thickness == 1 else UNKNOWN for center in centers]
    given = volume.slice_thickness or volume.slice_spacing
    return volume.thinned(
        made,
        half,
        factor,
        "".join(letters),
        slice_thickness=given + (thickness - 1) * volume.slice_spacing,
    )
