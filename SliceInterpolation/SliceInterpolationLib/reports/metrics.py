"""How well a predicted slice agrees with the acquired one; float64, HU in, one slice at a time."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter

from ..stack import sigma_in_pixels
from .masks import body_mask, box_of, intracranial_mask

BRAIN_WINDOW = (-20.0, 107.0)
_FULL_RANGE = (-1024.0, 3071.0)
BLOB_MM = 3.0
"""Width (FWHM) of the Gaussian that shows blobs and takes noise away."""
_SSIM_RADIUS = 5
_SSIM_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def windowed(hu: np.ndarray) -> np.ndarray:
    """-20..107 HU (center 44, width 128) to 0..1, clipped, float64."""
    low, high = BRAIN_WINDOW
    return np.clip((np.asarray(hu, dtype=np.float64) - low) / (high - low), 0.0, 1.0)


def psnr(prediction: np.ndarray, truth: np.ndarray, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal images."""
    error = np.mean((np.asarray(prediction, np.float64) - np.asarray(truth, np.float64)) ** 2)
    return float(10 * np.log10(data_range**2 / error)) if error > 0 else float("inf")


def ssim_map(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Structural similarity of images in [0, 1] at every place where the 11x11 window lies inside.

    Gaussian window of sigma 1.5, K 0.01 and 0.03 (Wang et al., IEEE TIP 13, 2004); (H - 10, W - 10).
    Raises ValueError for images smaller than the window.
    """
    return _similarity(x, y, *_window_statistics(y))


def _window_mean(image: np.ndarray) -> np.ndarray:
    """Gaussian mean over the SSIM window wherever it lies inside."""
    if min(image.shape) <= 2 * _SSIM_RADIUS:
        raise ValueError(f"SSIM needs images larger than 10 x 10 pixels, not {image.shape}")
    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
    kernel /= kernel.sum()
    image = correlate1d(correlate1d(image, kernel, axis=0), kernel, axis=1)
    return image[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]


def _window_statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over the SSIM window."""
    mean = _window_mean(image)
    return mean, _window_mean(image * image) - mean * mean


def _similarity(x: np.ndarray, y: np.ndarray, my: np.ndarray, vy: np.ndarray) -> np.ndarray:
    """SSIM of x with y, of which the window statistics are known."""
    mx, vx = _window_statistics(x)
    cov = _window_mean(x * y) - mx * my
    return (2 * mx * my + _C1) * (2 * cov + _C2) / ((mx * mx + my * my + _C1) * (vx + vy + _C2))


def gradient_magnitude(image: np.ndarray) -> np.ndarray:
    """Sobel gradient magnitude where the 3x3 kernel lies inside; (H - 2, W - 2)."""
    dy, dx = image[2:] - image[:-2], image[:, 2:] - image[:, :-2]
    gy = dy[:, :-2] + 2 * dy[:, 1:-1] + dy[:, 2:]
    gx = dx[:-2] + 2 * dx[1:-1] + dx[2:]
    return np.sqrt(gy * gy + gx * gx)


def noise_sd(hu: np.ndarray, mask: np.ndarray, sigma: float = 3.0) -> float:
    """SD in HU of what a Gaussian of `sigma` pixels leaves over, inside a mask; NaN for an empty mask.

    The SD is taken from the median absolute deviation, which edges inside the mask hardly move.
    """
    if not mask.any():
        return float("nan")
    box = box_of(mask, _reach(sigma))
    hu = np.asarray(hu[box], np.float64)
    return robust_sd((hu - gaussian_filter(hu, sigma))[mask[box]])


def robust_sd(values: np.ndarray) -> float:
    """SD of the normal distribution with the median absolute deviation of the values, which outliers hardly move."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _reach(sigma: float) -> int:
    """Pixels that a Gaussian filter looks away, at most."""
    return int(4 * sigma + 1)


class SliceTruth:
    """An acquired slice that predictions are scored against; what depends on it alone is computed once.

    hu: (rows, columns) in HU. pixel: (row, column) spacing in mm. Raises ValueError for slices of 10 pixels or
    less on a side.
    """

    def __init__(self, hu: np.ndarray, pixel: tuple[float, float]):
        self.hu = np.asarray(hu, np.float64)
        self.pixel = pixel
        self.body, self.brain = body_mask(self.hu), intracranial_mask(self.hu, pixel)
        self._window, self._full = windowed(self.hu), np.clip(self.hu, *_FULL_RANGE)
        self._statistics = _window_statistics(self._window)
        self._edges = gradient_magnitude(self._window)
        self._noise = noise_sd(self.hu, self.brain)

    def score(self, prediction: np.ndarray) -> dict[str, float]:
        """All figures of a prediction in HU.

        psnr_brain and ssim_brain in dB and 0..1 over the whole slice in the brain window; edge (gradient error
        there); mae_hu (body) and psnr_hu (whole slice, 4095 HU); psnr_intracranial, ssim_intracranial,
        mae_intracranial inside the skull, NaN where there is no inside; noise_ratio (predicted over acquired
        SD); lesion_hu (largest difference after a 3 mm Gaussian inside the skull: deleted or invented blobs).
        """
        prediction = np.asarray(prediction, np.float64)
        window, brain, error = windowed(prediction), self.brain, prediction - self.hu
        similarity = self._similarity(window)
        inner = brain[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]
        full = np.clip(prediction, *_FULL_RANGE)
        return {
            "psnr_brain": psnr(window, self._window),
            "ssim_brain": float(similarity.mean()),
            "edge": self._edge_error(window),
            "mae_hu": _mean_in(np.abs(error), self.body),
            "psnr_hu": psnr(full, self._full, data_range=_FULL_RANGE[1] - _FULL_RANGE[0]),
            "psnr_intracranial": psnr(window[brain], self._window[brain]) if brain.any() else float("nan"),
            "ssim_intracranial": _mean_in(similarity, inner),
            "mae_intracranial": _mean_in(np.abs(error), brain),
            "noise_ratio": noise_sd(prediction, brain) / self._noise if self._noise else float("nan"),
            "lesion_hu": self._largest_blob(error),
        }

    def _differing(self, window: np.ndarray, margin: int) -> tuple[slice, slice]:
        """Where a windowed prediction differs from the truth at all, with a margin: air around a head agrees."""
        return box_of(window != self._window, margin)

    def _similarity(self, window: np.ndarray) -> np.ndarray:
        """`ssim_map` of prediction and truth, computed only where they differ: elsewhere it is 1."""
        out = np.ones_like(self._statistics[0])
        rows, columns = self._differing(window, 2 * _SSIM_RADIUS)
        inner = tuple(slice(s.start, s.stop - 2 * _SSIM_RADIUS) for s in (rows, columns))
        if rows.stop > rows.start:
            mean, variance = (image[inner] for image in self._statistics)
            out[inner] = _similarity(window[rows, columns], self._window[rows, columns], mean, variance)
        return out

    def _edge_error(self, window: np.ndarray) -> float:
        """Mean absolute difference of the gradient magnitudes of prediction and truth."""
        rows, columns = self._differing(window, 2)
        inner = tuple(slice(s.start, max(s.stop - 2, s.start)) for s in (rows, columns))
        difference = gradient_magnitude(window[rows, columns]) - self._edges[inner]
        return float(np.abs(difference).sum() / self._edges.size)

    def _largest_blob(self, error: np.ndarray) -> float:
        if not self.brain.any():
            return float("nan")
        sigma = sigma_in_pixels(BLOB_MM, self.pixel, self.hu.shape)
        box = box_of(self.brain, _reach(max(sigma)))
        return float(np.abs(gaussian_filter(error[box], sigma)[self.brain[box]]).max())


def _mean_in(values: np.ndarray, mask: np.ndarray) -> float:
    return float(values[mask].mean()) if mask.any() else float("nan")
