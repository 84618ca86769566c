"""Denoising by withheld prediction: each acquired slice is compared with what its neighbors say it should be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from .checks import check_prediction
from .interpolators.base import Interpolator
from .reports.masks import tissue_mask
from .reports.metrics import noise_sd, robust_sd
from .stack import SliceStack, sigma_in_pixels
from .volume import AIR_LIMIT_HU, DENOISED

_STRUCTURE_MM = 3.0
"""Differences that persist over this distance are structure (a small bleed, a calcification), not noise."""
_FINE_MM = 1.5  # FWHM; noise is measured between this and the former
_CHANCE = (4.0, 8.0)
"""Energy over that of noise: up to the first it is taken for chance, from the second on for structure."""
_LARGEST_MISFIT = 0.8
"""A slice may differ from its prediction by so much of what its neighbors differ from each other (as rms)."""

_ERROR_MM = 8.0  # FWHM of the neighborhood over which the error of a prediction is measured

Denoised = tuple[np.ndarray, str, "np.ndarray | float"]
"""A slice, its provenance letter ("": as it was given) and its error SD."""


def denoised_slices(
    stack: SliceStack,
    interpolator: Interpolator,
    strength: float,
    remarks: list[str],
    with_uncertainty: bool = False,
) -> Iterator[Denoised]:
    """The slices of the stack, denoised; the two ends come as acquired.

    S is the acquired slice, P its prediction from the neighbors. Where S - P is more than noise it is kept:
    D = P + g (S - P) with the `structure_gain` g, and the result is S + strength (D - S). A slice that its neighbors
    do not explain as a whole comes as acquired, and the remarks name it.

    with_uncertainty: also estimate the error SD of each slice; it describes the difference from the slice without
    noise. With w = strength (1 - g) a denoised slice has (1 - w) times the noise of S and w times the error of P, taken
    as independent. The noise is measured in the tissue; the squared error of P is the mean square of S - P over a
    neighborhood less the noise of S, and at least the noise of P. The SD of a slice as acquired is 0: it was measured.
    Yields (rows, columns) float32, slices as acquired in their own type, and SDs as arrays of the same shape or 0.
    """
    predictions = interpolator.predict_withheld(stack)
    unexplained = []
    yield stack.slices[0], "", 0.0
    for number in range(1, len(stack) - 1):
        predicted = next(predictions)
        check_prediction(predicted, stack.plausible, interpolator.name, f"slice {number + 1}")
        acquired = stack.image(number)
        residual = acquired - predicted
        tissue = tissue_mask(acquired, stack.pixel, stack.is_hu)
        if not tissue.any():  # nothing to tell noise from
            yield stack.slices[number], "", 0.0
            continue
        noise = smoothed_noise(acquired, residual, tissue, stack.pixel)
        if not _is_explained(stack, number, residual, noise, tissue):
            unexplained.append(str(number + 1))
            yield stack.slices[number], "", 0.0
            continue
        weight = np.float32(strength) * (1 - structure_gain(residual, noise, stack.pixel))
        sd = 0.0
        if with_uncertainty:
            # Anatomy adds to what is seen of noise in a slice, but not in the residual, where it is gone.
            left = noise_sd(residual, tissue)
            own, others = (min(noise_sd(image, tissue), left) for image in (acquired, predicted))
            error = np.maximum(_smoothed(residual**2, _ERROR_MM, stack.pixel) - own**2, others**2)
            sd = np.sqrt(((1 - weight) * own) ** 2 + weight**2 * error)
        yield acquired - weight * residual, DENOISED, sd
    if unexplained:
        which = (
            f"Slice {unexplained[0]} is" if len(unexplained) == 1 else f"Slices {', '.join(unexplained)} are"
        )
        remarks.append(
            f"{which} kept as acquired, with the noise: the neighbors do not explain what is seen there (motion, an "
            "artifact, or anatomy that changes faster than the slices follow)."
        )
    yield stack.slices[-1], "", 0.0


def structure_gain(residual: np.ndarray, noise: float, pixel: tuple[float, float]) -> np.ndarray:
    """How much of a residual is structure, from 0 where it is what noise does to 1; (rows, columns) float32.

    residual: (rows, columns), acquired minus predicted; noise: of `smoothed_noise`; pixel: (row, column) spacing in
    mm. What a 3 mm Gaussian leaves of the residual is compared with what it leaves of noise, as energies in a 3 mm
    neighborhood. Up to twice the SD, which noise hardly ever reaches over so much space, it is taken for noise.
    """
    energy = _smoothed(_smoothed(residual, _STRUCTURE_MM, pixel) ** 2, _STRUCTURE_MM, pixel)
    low, high = _CHANCE
    return np.clip((energy / max(noise**2, 1e-12) - low) / (high - low), 0.0, 1.0)


def smoothed_noise(
    acquired: np.ndarray, residual: np.ndarray, tissue: np.ndarray, pixel: tuple[float, float]
) -> float:
    """SD of what a 3 mm Gaussian leaves of the noise in a residual, at most.

    acquired, residual: (rows, columns), the latter acquired minus predicted; tissue: bool of the same shape, not empty;
    pixel: (row, column) spacing in mm.
    The noise is that of the acquired slice. At the frequencies that the Gaussian leaves anatomy hides it, so it is
    measured just above them, between Gaussians of 1.5 and 3 mm, by the median, which structure hardly moves, and
    carried on with the same power: CT noise has less there (its spectrum rises from zero), white noise the same. It
    cannot be more than what is left of the residual in most of the tissue.
    """
    band = _smoothed(acquired, _FINE_MM, pixel) - _smoothed(acquired, _STRUCTURE_MM, pixel)
    own = robust_sd(band[tissue]) * _smooth_over_band(pixel, acquired.shape)
    return min(own, robust_sd(_smoothed(residual, _STRUCTURE_MM, pixel)[tissue]))


@lru_cache(maxsize=16)
def _smooth_over_band(pixel: tuple[float, float], shape: tuple[int, int]) -> float:
    """SD of smoothed white noise over its SD in the band where noise is measured: that of the filters' impulses.

    shape: of the image, which no filter is wider than.
    """
    size = [2 * min(int(2 * _STRUCTURE_MM / spacing + 2), count) + 1 for spacing, count in zip(pixel, shape)]
    impulse = np.zeros(size)
    impulse[size[0] // 2, size[1] // 2] = 1.0
    smooth = _smoothed(impulse, _STRUCTURE_MM, pixel)
    band = _smoothed(impulse, _FINE_MM, pixel) - smooth
    return float(np.sqrt((smooth**2).sum() / max((band**2).sum(), 1e-12)))


def _is_explained(
    stack: SliceStack, number: int, residual: np.ndarray, noise: float, tissue: np.ndarray
) -> bool:
    """Whether the neighbors of an inner slice explain it, so that the rest can be called noise.

    They do not where the slice differs from its prediction about as much as the neighbors differ from each other,
    and by more than noise does: rms after a 3 mm Gaussian, over the body, in which bones count most, or over the
    tissue.
    """
    change = stack.image(number + 1) - stack.image(number - 1)
    misfit, usual = (_smoothed(image, _STRUCTURE_MM, stack.pixel) ** 2 for image in (residual, change))
    return all(
        misfit[mask].mean() <= max(_LARGEST_MISFIT**2 * usual[mask].mean(), _CHANCE[0] * noise**2)
        for mask in (stack.hu(number) > AIR_LIMIT_HU, tissue)
    )


def _smoothed(image: np.ndarray, width_mm: float, pixel: tuple[float, float]) -> np.ndarray:
    """After a Gaussian of that full width at half maximum."""
    return gaussian_filter(image, sigma_in_pixels(width_mm, pixel, image.shape))
