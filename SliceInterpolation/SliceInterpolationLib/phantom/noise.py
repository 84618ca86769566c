"""Noise with the spectrum of a CT reconstruction."""

from __future__ import annotations

import numpy as np
from scipy import fft


class ScanNoise:
    """Slices of Gaussian CT noise with a ramp-times-apodization power spectrum, shaded by radius.

    The noise power of filtered back projection rises linearly from zero frequency and is cut by the kernel;
    here it is ``f exp(-(f/f0)^2)``, which peaks at ``f0/sqrt(2)`` = 0.25 per mm, as with soft-tissue kernels.
    """

    F0_PER_MM = 0.35

    def __init__(self, size: int, pixel: float, sd: float, seed: int):
        self.rng = np.random.default_rng([seed, 2])
        self.size, self.sd = size, sd
        fy, fx = np.fft.fftfreq(size, pixel)[:, None], np.fft.rfftfreq(size, pixel)[None, :]
        f = np.hypot(fy, fx)
        power = f * np.exp(-((f / self.F0_PER_MM) ** 2))
        full = np.hypot(fy, np.fft.fftfreq(size, pixel)[None, :])
        mean_power = np.mean(full * np.exp(-((full / self.F0_PER_MM) ** 2)))
        self.transfer = np.sqrt(power / max(mean_power, 1e-12)).astype(np.float32)
        axis = (np.arange(size) - (size - 1) / 2) * pixel
        radius2 = axis[:, None] ** 2 + axis[None, :] ** 2
        # The center of the head sees the longest paths: 8% above the SD half-way out, 24% below at the scalp.
        self.shade = (sd * np.clip(1.08 - 0.32 * radius2 / 1e4, 0.5, None)).astype(np.float32)

    def slice(self) -> np.ndarray:
        """The noise of the next slice, float32 (rows, columns), HU."""
        if self.sd == 0:
            return np.zeros((self.size, self.size), np.float32)
        white = self.rng.standard_normal((self.size, self.size), np.float32)
        return fft.irfft2(fft.rfft2(white) * self.transfer, s=white.shape) * self.shade
