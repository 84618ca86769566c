"""What may be interpolated: every refusal names the problem and the way out."""

from __future__ import annotations

import numpy as np

from .errors import InputError
from .volume import DENOISED, MAP, SYNTHESIZED, UNKNOWN, Volume

_LABELMAP_VALUES = 32


def check_interpolatable(volume: Volume, force: bool = False) -> None:
    """Raise InputError where slices cannot, or need not, be interpolated; `force` overrides what it may."""
    if volume.slice_count < 2:
        raise InputError("The volume has a single slice; at least 2 are needed to interpolate between them.")
    if volume.array.dtype.kind == "f":
        for number, image in enumerate(volume.slices):
            if not np.isfinite(image).all():
                raise InputError(
                    f"Slice {number + 1} holds NaN or infinite values; replace them (for CT with -1024) first."
                )
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
