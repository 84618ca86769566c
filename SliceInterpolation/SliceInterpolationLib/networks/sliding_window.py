"""A blended sliding window: a local function of an image, applied piece by piece with the result of the whole.

Sliding windows whose overlaps are blended with smooth weights are how MONAI runs networks on images that do not
fit into memory. There all of a window counts and the seams are averaged away; here what lies within the function's
reach of a cut does not count at all, so that the pieces agree with the whole to rounding errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch

Apply = Callable[..., "tuple[torch.Tensor, ...]"]
"""apply(function, *images) -> function(*images), a tuple of tensors (B, C, H, W): at once (`whole`) or in pieces."""

_Window = tuple[int, int]  # first pixel, last + 1
_RAMP = 16
"""Pixels over which one window fades into the next."""
_SMALLEST_CORE = 64
"""Pixels a side that a window must add beyond its overlaps to be worth the work."""


def whole(
    function: Callable[..., tuple[torch.Tensor, ...]], *images: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Apply a function to whole images."""
    return function(*images)


@dataclass(frozen=True)
class SlidingWindow:
    """Applies a local function to an image in overlapping windows, or at once where one window is enough.

    reach: how far in pixels a result depends on the image (radius of the receptive field).
    multiple: windows begin and end at multiples of it, so that strided layers see the pixels that they see in the
        whole image, whose sides must be multiples of it too.
    side: of the windows in pixels, from `smallest_side` on.

    The first image that the function takes sets the scale; other images and the results may be coarser by a factor
    that divides `multiple`. ValueError for windows that are too small.

    Example:
        >>> image, smooth = torch.rand(1, 1, 300, 200), torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        >>> (pieces,) = SlidingWindow(side=128, reach=1)(lambda part: (smooth(part),), image)
        >>> torch.allclose(pieces, smooth(image))
        True
    """

    side: int
    reach: int
    multiple: int = 1

    def __call__(
        self, function: Callable[..., tuple[torch.Tensor, ...]], *images: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """What function(*images) returns, (B, C, H, W) each; ValueError for windows that never move on."""
        height, width = images[0].shape[-2:]
        rows, columns = self._windows(height), self._windows(width)
        if len(rows) == len(columns) == 1:
            return function(*images)
        totals: list[torch.Tensor] = []
        for row, column in product(rows, columns):
            parts = function(*(_cut(image, height, row, column) for image in images))
            for number, part in enumerate(parts):
                scale = (row[1] - row[0]) // part.shape[-2]
                if len(totals) <= number:
                    totals.append(part.new_zeros(*part.shape[:-2], height // scale, width // scale))
                down, across = self._shares(rows, row, scale), self._shares(columns, column, scale)
                target = _cut(totals[number], height, row, column)
                target += part * (down[:, None] * across).to(part)
        return tuple(totals)

    def _windows(self, size: int) -> list[_Window]:
        """The windows that cover an axis of `size` pixels, equally large."""
        if size <= self.side:
            return [(0, size)]
        side = self.side // self.multiple * self.multiple
        overlap = -(-(2 * self.reach + _RAMP) // self.multiple) * self.multiple
        if side <= overlap:
            raise ValueError(f"windows of {self.side} pixels overlap by {overlap} and never move on")
        count = math.ceil((size - overlap) / (side - overlap))
        starts = [min(number * (side - overlap), size - side) for number in range(count)]
        return [(start, start + side) for start in starts]

    def _shares(self, windows: list[_Window], window: _Window, scale: int) -> torch.Tensor:
        """Share of a window in the result along an axis, for its pixels, `scale` times as large as the image's."""
        centers = scale * (torch.arange(window[0] // scale, window[1] // scale, dtype=torch.float64) + 0.5)
        total = sum(self._weight(one, windows[-1][1], centers) for one in windows)
        return self._weight(window, windows[-1][1], centers) / total

    def _weight(self, window: _Window, size: int, centers: torch.Tensor) -> torch.Tensor:
        """0 at places that a cut has reached, rising to 1; the ends of the image are no cuts."""
        start, stop = window
        depth = torch.minimum(
            centers - start if start > 0 else torch.full_like(centers, math.inf),
            stop - centers if stop < size else torch.full_like(centers, math.inf),
        )
        return ((depth - self.reach) / _RAMP).clamp(0.0, 1.0).mul(math.pi / 2).sin().square()


def smallest_side(reach: int) -> int:
    """Side in pixels of the smallest windows worth applying a function of this reach to."""
    return 2 * reach + _RAMP + _SMALLEST_CORE


def _cut(image: torch.Tensor, height: int, rows: _Window, columns: _Window) -> torch.Tensor:
    """A view of a window, given in pixels of an image of `height` rows, of an image that may be coarser."""
    scale = height // image.shape[-2]
    return image[..., rows[0] // scale : rows[1] // scale, columns[0] // scale : columns[1] // scale]
