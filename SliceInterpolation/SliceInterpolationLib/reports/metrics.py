"""How well a predicted slice agrees with the acquired one; float64, HU in, one slice at a time."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter, sobel

from .masks import body_mask, intracranial_mask

BRAIN_WINDOW = (-20.0, 107.0)
_FULL_RANGE = (-1024.0, 3071.0)
_SSIM_RADIUS = 5


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
    if min(x.shape) <= 2 * _SSIM_RADIUS:
        raise ValueError(f"SSIM needs images larger than 10 x 10 pixels, not {x.shape}")
    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / 1.5) ** 2)
    kernel /= kernel.sum()

    def mean(image: np.ndarray) -> np.ndarray:
        image = correlate1d(correlate1d(image, kernel, axis=0), kernel, axis=1)
        return image[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


def edge_error(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of Sobel gradient magnitudes of images in [0, 1]."""

    def magnitude(image: np.ndarray) -> np.ndarray:
        return np.hypot(sobel(image, 0), sobel(image, 1))[1:-1, 1:-1]

    return float(np.abs(magnitude(prediction) - magnitude(truth)).mean())


def noise_sd(hu: np.ndarray, mask: np.ndarray, sigma: float = 3.0) -> float:
    """SD in HU of what a Gaussian of `sigma` pixels leaves over, inside a mask; NaN for an empty mask.

    The SD is taken from the median absolute deviation, which edges inside the mask hardly move.
    """
    if not mask.any():
        return float("nan")
    high = (hu - gaussian_filter(np.asarray(hu, np.float64), sigma))[mask]
    return float(1.4826 * np.median(np.abs(high - np.median(high))))


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
        similarity = ssim_map(window, self._window)
        inner = brain[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]
        smooth = gaussian_filter(error, [3.0 / 2.355 / spacing for spacing in self.pixel])
        full = np.clip(prediction, *_FULL_RANGE)
        return {
            "psnr_brain": psnr(window, self._window),
            "ssim_brain": float(similarity.mean()),
            "edge": edge_error(window, self._window),
            "mae_hu": _mean_in(np.abs(error), self.body),
            "psnr_hu": psnr(full, self._full, data_range=_FULL_RANGE[1] - _FULL_RANGE[0]),
            "psnr_intracranial": psnr(window[brain], self._window[brain]) if brain.any() else float("nan"),
            "ssim_intracranial": _mean_in(similarity, inner),
            "mae_intracranial": _mean_in(np.abs(error), brain),
            "noise_ratio": noise_sd(prediction, brain) / self._noise if self._noise else float("nan"),
            "lesion_hu": float(np.abs(smooth[brain]).max()) if brain.any() else float("nan"),
        }


def _mean_in(values: np.ndarray, mask: np.ndarray) -> float:
    return float(values[mask].mean()) if mask.any() else float("nan")
