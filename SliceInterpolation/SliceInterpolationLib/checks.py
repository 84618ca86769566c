"""What may be computed, and what may come of it: every refusal names the problem and the way out."""

from __future__ import annotations

import math

import numpy as np

from .errors import InputError, PredictionError
from .memory import free_memory
from .volume import AXES, DENOISED, MAP, SYNTHESIZED, UNKNOWN, Volume

_LABELMAP_VALUES = 32
_SPACING_MM = (0.01, 100.0)
"""From microscopes of small animals to coarse scouts; beyond it a file is not in mm."""
_LARGEST_VALUE = 1e18
"""Of floating-point voxels: squares of these still fit into single precision."""
_SMALLEST_DETERMINANT = 0.01
"""Of the direction: axes that lie almost in a plane span no volume. A gantry tilted by 45 degrees has 0.7."""


def check_volume(volume: Volume, force: bool = False) -> None:
    """Raise InputError where voxels, size or grid are nothing to compute with. `force`: whatever the spacing."""
    if volume.array.dtype.kind not in "iuf":
        raise InputError(
            f"The voxels are of the type {volume.array.dtype}; use a volume of whole or real numbers."
        )
    if volume.array.size == 0:
        raise InputError("The volume is empty; choose another, or export it again.")
    _check_grid(volume, force)
    if volume.array.dtype.kind == "f":
        for number, image in enumerate(volume.slices, start=1):
            most = max(-float(image.min()), float(image.max()))  # NaN where there is one
            if not math.isfinite(most):
                raise InputError(
                    f"Slice {number} holds NaN or infinite values; replace them (for CT with -1024) first."
                )
            if most > _LARGEST_VALUE:
                raise InputError(
                    f"Slice {number} holds values of {most:.3g}, which no scan has; replace them (for CT with -1024) "
                    "or rescale the volume first."
                )


def _check_grid(volume: Volume, force: bool) -> None:
    spacing = ", ".join(f"{one:g}" for one in volume.spacing)
    if not all(math.isfinite(one) and one > 0 for one in volume.spacing):
        raise InputError(
            f"The voxels have a spacing of {spacing} mm; export the volume with its true spacing."
        )
    low, high = _SPACING_MM
    if not force and not all(low <= one <= high for one in volume.spacing):
        raise InputError(
            f"The voxels have a spacing of {spacing} mm, beyond {low:g} to {high:g} mm; it may be in other units. "
            "Export it in mm, or use --force where it can be given and this is right."
        )
    if not np.isfinite(volume.origin).all() or not np.isfinite(volume.direction).all():
        raise InputError(
            "The position of the volume is no number; export it with its true origin and direction."
        )
    lengths = np.linalg.norm(volume.direction, axis=0)
    determinant = abs(float(np.linalg.det(volume.direction)))
    if not np.allclose(lengths, 1, atol=0.01) or determinant < _SMALLEST_DETERMINANT:
        raise InputError(
            f"The axes {', '.join(AXES)} of the volume do not span space; export it with its true direction."
        )


def check_interpolatable(volume: Volume, force: bool = False) -> None:
    """Raise InputError where slices cannot, or need not, be interpolated; `force` overrides what it may."""
    if volume.slice_count == 1:
        raise InputError("The volume has a single slice; at least 2 are needed to interpolate between them.")
    check_volume(volume, force)
    if force:
        return
    _check_contrast(volume)
    if volume.units == "label" or _looks_like_labelmap(volume.array):
        raise InputError(
            "The volume looks like a labelmap (a few whole numbers only); choose the scan, "
            "or use --force if this is an image."
        )
    if volume.is_near_isotropic:
        raise InputError(
            f"Slices at {volume.slice_spacing:.3g} mm are already about as close as pixels at "
            f"{max(volume.pixel_spacing):.3g} mm; use --force to interpolate all the same."
        )


def check_memory(volume: Volume, factor: int, uncertainty: bool = False, force: bool = False) -> None:
    """Raise InputError, before the work, where the memory has no room for the result of `interpolate`."""
    count = (volume.slice_count - 1) * factor + 1
    voxel = volume.array.itemsize + (np.dtype(np.float32).itemsize if uncertainty else 0)
    needed, free = volume.array.size // volume.slice_count * count * voxel, free_memory()
    if not force and free is not None and needed > free:
        raise InputError(
            f"The result needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free; crop the volume, "
            "choose a smaller factor, close other programs, or use --force."
        )


def check_prediction(image: np.ndarray, plausible: tuple[float, float], method: str, what: str) -> None:
    """The gate for everything that a method predicts: PredictionError unless all of it is finite and plausible.

    image: (rows, columns). plausible: from and to, see `SliceStack.plausible`. what: the slice, for the text.
    """
    low, high = plausible
    least, most = float(image.min()), float(image.max())  # NaN where there is one
    if low <= least and most <= high:
        return
    if math.isfinite(least + most):
        found, expected = f"{least:.4g} to {most:.4g}", f", where {low:.4g} to {high:.4g} is plausible"
    else:
        found, expected = "values that are no numbers", ""
    raise PredictionError(
        f"'{method}' predicts {found} on {what}{expected}; use another method, such as cubic or flow."
    )


def check_acquired(volume: Volume, what: str, remarks: list[str]) -> None:
    """Raise InputError for a volume of made slices, or of one value: only what a scanner acquired can be the truth.

    what: that needs the truth, for the text. Slices of unknown origin are taken, with a remark.
    """
    _check_contrast(volume)
    made = {SYNTHESIZED: "synthesized", DENOISED: "denoised", MAP: "computed"}
    found = [
        f"{volume.provenance.count(letter)} {word}"
        for letter, word in made.items()
        if letter in volume.provenance
    ]
    if found:
        raise InputError(
            f"{what} needs acquired slices, but {' and '.join(found)} are here; choose the original scan."
        )
    unknown = volume.provenance.count(UNKNOWN)
    if unknown:
        remarks.append(
            f"The origin of {'the' if unknown == volume.slice_count else unknown} slices is not known; they are taken "
            "as acquired. If they were resampled or interpolated before, the figures are too good."
        )


def _check_contrast(volume: Volume) -> None:
    low = volume.array.min()
    if low == volume.array.max():
        raise InputError(
            f"All voxels have the value {low:g}, so there is nothing to see; choose another volume."
        )


def _looks_like_labelmap(array: np.ndarray) -> bool:
    """A few whole numbers from 0 on, also where a program has stored them as float."""
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 65535:
        return False
    used = np.zeros(int(high) + 1, dtype=bool)
    for image in array:
        whole = image if image.dtype.kind in "iub" else image.astype(np.uint16)
        if whole is not image and not np.array_equal(whole, image):
            return False
        used[whole.astype(np.uint16)] = True
    return int(used.sum()) <= _LABELMAP_VALUES
