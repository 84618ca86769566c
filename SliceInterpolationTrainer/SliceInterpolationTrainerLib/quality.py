"""Whether a scan can teach what lies between its slices: what speaks against it, in words."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.volume import ACQUIRED, UNKNOWN, Volume

SMALLEST = 7
"""Slices that a scan must have."""

_TISSUE_HU = (-100.0, 150.0)
_LARGEST_CORRELATION = 0.8  # of the noise of neighboring slices; overlapping reconstructions reach about 0.6
_LARGEST_ALTERNATION = 1.2  # of the noise SD with a period of 2 to 4 slices; up to 1.10 in scans as acquired
_SUSPICIOUS = (0.55, 1.1)  # both together
_PERIODS = (2, 3, 4)
_JUMP = 8.0  # of the median difference of neighboring slices
_MOST_PIXELS = 20_000  # of smooth tissue a slice
_MOST_SLICES = 60


def objections(volume: Volume) -> list[str]:
    """What speaks against training on a volume; empty where nothing does.

    Its grid, its values, where its slices are from, and whether some of them were interpolated from others.
    """
    found = []
    if volume.slice_count < SMALLEST:
        return [f"{volume.slice_count} slices, fewer than {SMALLEST}"]
    if volume.is_sheared:
        found.append("gantry tilt")
    made = set(volume.provenance) - {ACQUIRED, UNKNOWN}
    if made:
        found.append("slices that this program made")
    stack = SliceStack.of(volume)
    low, high = stack.percentiles
    if not np.isfinite([low, high]).all() or high - low < 1:
        return [*found, "hardly any contrast"]
    if volume.units == "HU" and (low < -1200 or float(volume.array.max()) < 100 or high > 4000):
        found.append(f"values from {low:.0f} to {high:.0f}, which are no HU")
    return [*found, *_slice_objections(stack)]


def _slice_objections(stack: SliceStack) -> list[str]:
    """What the differences and the noise of neighboring slices say."""
    first = max((len(stack) - _MOST_SLICES) // 2, 0)
    numbers = range(first, min(first + _MOST_SLICES, len(stack)))
    differences = [
        float(np.abs(stack.hu(k + 1)[::2, ::2] - stack.hu(k)[::2, ::2]).mean()) for k in numbers[:-1]
    ]
    usual = float(np.median(differences))
    if min(differences) < 1e-3:
        return ["slices that are repeated"]
    if max(differences) > _JUMP * usual:
        return [f"a jump after slice {numbers[int(np.argmax(differences))] + 1}"]
    found = noise_of_slices(stack, numbers)
    if found is None:
        return []
    correlation, alternation = found
    if correlation > _LARGEST_CORRELATION:
        return [f"slices that were interpolated (their noise is correlated by {correlation:.2f})"]
    both = correlation > _SUSPICIOUS[0] and alternation > _SUSPICIOUS[1]
    if alternation > _LARGEST_ALTERNATION or both:
        return [f"slices that were interpolated (their noise goes up and down by {alternation:.2f})"]
    return []


def noise_of_slices(stack: SliceStack, numbers: range) -> tuple[float, float] | None:
    """Correlation of the noise of neighboring slices, and how far its SD goes up and down every 2 to 4 slices.

    The noise is what a Gaussian of 1 pixel takes away, in smooth soft tissue of both slices. What a linear
    interpolation put between two slices correlates with both by 0.71, and has 0.71 times their noise. None where there
    is too little smooth tissue to tell.
    """
    correlations, changes = [], []  # changes: of the noise SD from slice to slice, as logarithms
    before = None
    for number in numbers:
        image = stack.hu(number)
        smooth = gaussian_filter(image, 2.0)
        noise = image - gaussian_filter(image, 1.0)
        edge = np.hypot(*np.gradient(smooth))
        tissue = (smooth > _TISSUE_HU[0]) & (smooth < _TISSUE_HU[1]) & (edge < 6.0)
        if before is not None:
            both = np.flatnonzero(tissue & before[1])
            if len(both) >= 500:
                both = both[:: max(len(both) // _MOST_PIXELS, 1)]
                one, other = before[0].ravel()[both], noise.ravel()[both]
                if one.std() > 0 and other.std() > 0:
                    correlations.append(float(np.corrcoef(one, other)[0, 1]))
                    changes.append((number, float(np.log(other.std() / one.std()))))
        before = noise, tissue
    if len(correlations) < 4:
        return None
    return float(np.median(correlations)), max(_alternation(changes, period) for period in _PERIODS)


def _alternation(changes: list[tuple[int, float]], period: int) -> float:
    """Largest over smallest noise SD of the slices of one period, 1 where the noise does not go up and down with it."""
    phases = [[change for number, change in changes if number % period == phase] for phase in range(period)]
    if min(map(len, phases)) < 3:
        return 1.0
    steps = np.array([np.median(phase) for phase in phases])
    levels = np.cumsum(steps - steps.mean())  # without the drift along the patient
    return float(np.exp(levels.max() - levels.min()))
