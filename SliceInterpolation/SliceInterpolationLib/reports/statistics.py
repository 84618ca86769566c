"""What a few paired values say about a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

_RESAMPLES = 10_000
_SEED = 20240


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds the true one with a probability of `level`, as far as `count` values tell."""

    mean: float
    low: float
    high: float
    count: int
    level: float = 0.95


def bootstrap_mean(values: Sequence[float], level: float = 0.95, seed: int = _SEED) -> Interval:
    """Mean and BCa bootstrap interval of independent values; the same values always give the same interval.

    Bias-corrected and accelerated (B. Efron, Better bootstrap confidence intervals, JASA 82, 1987), 10,000
    resamples, widened for few values (T. Hesterberg, What teachers should know about the bootstrap, American
    Statistician 69, 2015): without that, 95% intervals of 12 normal values hold the true mean in 91 of 100 cases
    only, of 6 in 86. Raises ValueError for no values.
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if not count:
        raise ValueError("no values to take the mean of")
    mean = float(values.mean())
    if count == 1 or np.ptp(values) == 0:
        return Interval(mean, mean, mean, count, level)
    means = np.sort(
        values[np.random.default_rng(seed).integers(count, size=(_RESAMPLES, count))].mean(axis=1)
    )
    # Ties count half, else the bias of few or coarse values is overestimated.
    below = (np.sum(means < mean) + np.sum(means <= mean)) / (2 * _RESAMPLES)
    bias = ndtri(np.clip(below, 1 / _RESAMPLES, 1 - 1 / _RESAMPLES))
    jackknife = (values.mean() * count - values) / (count - 1)
    away = jackknife.mean() - jackknife
    acceleration = np.sum(away**3) / (6 * np.sum(away**2) ** 1.5)
    reach = np.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 + level) / 2)
    z = bias + np.array([-reach, reach])
    low, high = np.quantile(means, ndtr(bias + z / (1 - acceleration * z)))
    return Interval(mean, float(low), float(high), count, level)
