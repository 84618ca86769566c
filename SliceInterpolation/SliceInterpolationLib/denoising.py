"""Denoising by withheld prediction: each acquired slice is compared with what its neighbors say it should be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

from .interpolators.base import Interpolator
from .stack import SliceStack
from .volume import AIR_LIMIT_HU, DENOISED

_STRUCTURE_MM = 3.0
"""Differences that persist over this distance are structure (a small bleed, a calcification), not noise."""


def denoised_slices(
    stack: SliceStack, interpolator: Interpolator, strength: float
) -> Iterator[tuple[np.ndarray, str]]:
    """The slices of the stack, denoised, each with its provenance letter; the two ends come as acquired ("").

    S is the acquired slice, P its prediction from the neighbors. Where S - P is more than noise it is kept:
    D = P + g (S - P) with a local Wiener gain g, and the result is S + strength (D - S).
    Yields (rows, columns) float32, the ends in their own type.
    """
    predictions = interpolator.predict_withheld(stack)
    yield stack.slices[0], ""
    for number in range(1, len(stack) - 1):
        acquired = stack.image(number)
        residual = acquired - next(predictions)
        body = stack.hu(number) > AIR_LIMIT_HU
        explained = (1.0 - structure_gain(residual, body, stack.pixel)) * residual
        yield acquired - np.float32(strength) * explained, DENOISED
    yield stack.slices[-1], ""


def structure_gain(residual: np.ndarray, body: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """Local Wiener gain of a residual, 0 where it is noise to 1 where it is structure.

    residual: (rows, columns); body: where it is not air, of the same shape; pixel: (row, column) spacing in mm.
    Noise hardly survives a 3 mm Gaussian, structure does. The energy that noise leaves there is taken from the
    residual itself, as the median over the body, since most of a slice holds nothing new.
    """
    if not body.any():
        return np.zeros_like(residual)
    sigma = [_STRUCTURE_MM / 2.355 / spacing for spacing in pixel]
    energy = gaussian_filter(gaussian_filter(residual, sigma) ** 2, sigma)
    noise = 2.0 * float(np.median(energy[body]))
    return np.clip(1.0 - noise / np.maximum(energy, 1e-12), 0.0, 1.0)
