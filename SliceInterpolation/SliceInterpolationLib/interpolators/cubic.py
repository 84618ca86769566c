"""Cubic interpolation through the four nearest slices."""

from __future__ import annotations

import numpy as np

from ..stack import SliceStack
from .base import SliceWise


class Cubic(SliceWise):
    """The cubic polynomial through the four nearest slices; at the ends through the last four, one-sided.

    Midway its weights are (-1, 9, 9, -1)/16. Stacks of two or three slices use the line or parabola.
    """

    name = "cubic"

    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """The polynomial at `before` + t; (rows, columns) float32."""
        count = min(4, len(stack))
        first = min(max(before - (count - 1) // 2, 0), len(stack) - count)
        weights = lagrange_weights(count, before + t - first)
        out = np.zeros(stack.slices.shape[1:], dtype=np.float32)
        for offset, weight in enumerate(weights):
            out += np.float32(weight) * stack.image(first + offset)
        return out


def lagrange_weights(count: int, x: float) -> np.ndarray:
    """Weights of the knots 0..count-1 for the polynomial through them at x."""
    knots = np.arange(count, dtype=float)
    return np.array([np.prod((x - np.delete(knots, k)) / (k - np.delete(knots, k))) for k in range(count)])
