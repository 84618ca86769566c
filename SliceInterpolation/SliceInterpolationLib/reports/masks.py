"""Where to look: the body and the inside of the skull on a slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..volume import AIR_LIMIT_HU

_BONE_HU = 250.0
_CLOSING_MM = 6.0  # sutures and foramina
_EROSION_PIXELS = 4  # partial volume with the inner table
_SMALLEST_BRAIN_MM2 = 400.0


def body_mask(hu: np.ndarray) -> np.ndarray:
    """The patient on one slice: HU above -500, largest component, holes filled. (rows, columns) bool."""
    return _filled(_largest(hu > AIR_LIMIT_HU))


def box_of(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns from the first to the last that a mask uses, and `margin` more within the image.

    Of an empty mask the box is empty.
    """
    box = []
    for axis, size in ((1, mask.shape[0]), (0, mask.shape[1])):
        used = np.flatnonzero(mask.any(axis=axis))
        if not len(used):
            return slice(0, 0), slice(0, 0)
        box.append(slice(max(int(used[0]) - margin, 0), min(int(used[-1]) + 1 + margin, size)))
    return tuple(box)


def intracranial_mask(hu: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """The inside of the skull on one slice: what closed bone (above 250 HU) encloses, eroded by 4 pixels.

    pixel: (row, column) spacing in mm. All False where no bone encloses anything.
    """
    mask = np.zeros(hu.shape, dtype=bool)
    box = box_of(hu > _BONE_HU)  # nothing beyond the bone can lie inside of it
    mask[box] = _enclosed(hu[box], pixel)
    return mask


def _enclosed(hu: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    bone = hu > _BONE_HU
    if not bone.size:
        return bone
    radius = [min(max(1, round(_CLOSING_MM / 2 / spacing)), count) for spacing, count in zip(pixel, hu.shape)]
    pad = [(r + 1, r + 1) for r in radius]
    wide = np.pad(bone, pad)
    # Distances close gaps of any size in one pass, where repeated dilations would take many.
    near = ndimage.distance_transform_edt(~wide, sampling=pixel) <= _CLOSING_MM / 2
    closed = ndimage.distance_transform_edt(_filled(near), sampling=pixel) > _CLOSING_MM / 2
    closed = closed[tuple(slice(p[0], -p[1]) for p in pad)]
    inside = closed & ~bone & (hu > -100) & (hu < 150)
    inside = ndimage.binary_erosion(ndimage.binary_opening(inside, iterations=2), iterations=_EROSION_PIXELS)
    inside = _largest(inside)
    if inside.sum() * pixel[0] * pixel[1] < _SMALLEST_BRAIN_MM2:
        return np.zeros_like(inside)
    return inside


def foreground_mask(values: np.ndarray) -> np.ndarray:
    """The object on a slice without HU scale: above a tenth of its 99th percentile, opened, eroded."""
    bright = values > values.min() + 0.1 * (np.percentile(values, 99) - values.min())
    return ndimage.binary_erosion(_filled(_largest(bright)), iterations=_EROSION_PIXELS)


def object_mask(values: np.ndarray, is_hu: bool) -> np.ndarray:
    """The patient on one slice; of other modalities than CT the object."""
    return body_mask(values) if is_hu else foreground_mask(values)


def tissue_mask(values: np.ndarray, pixel: tuple[float, float], is_hu: bool) -> np.ndarray:
    """The brain where there is one, else the body; of other modalities the object."""
    if not is_hu:
        return foreground_mask(values)
    inside = intracranial_mask(values, pixel)
    return inside if inside.any() else ndimage.binary_erosion(body_mask(values), iterations=_EROSION_PIXELS)


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


def _filled(mask: np.ndarray) -> np.ndarray:
    """Holes filled, as scipy.ndimage.binary_fill_holes does it step by step: what no path leads out of."""
    labels, count = ndimage.label(~mask)
    outside = np.zeros(count + 1, dtype=bool)
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[border] = True
    outside[0] = False  # the mask itself
    return ~outside[labels]
