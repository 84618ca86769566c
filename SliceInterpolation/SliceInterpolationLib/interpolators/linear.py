"""Linear interpolation between two slices."""

from __future__ import annotations

import numpy as np

from ..stack import SliceStack
from .base import SliceWise


class Linear(SliceWise):
    """(1 - t) before + t after."""

    name = "linear"

    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """Both slices mixed by nearness; (rows, columns) float32."""
        first, second = stack.image(before), stack.image(before + 1)
        return first + np.float32(t) * (second - first)
