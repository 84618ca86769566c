"""The nearer slice."""

from __future__ import annotations

import numpy as np

from ..stack import SliceStack
from .base import SliceWise


class Nearest(SliceWise):
    """The nearer slice, of two equally near ones the one before."""

    name = "nearest"

    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """The slice before for t up to 0.5, else the one after; (rows, columns) float32."""
        return stack.image(before + (t > 0.5)).copy()
