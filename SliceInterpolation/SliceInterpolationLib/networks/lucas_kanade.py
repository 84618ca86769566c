"""Symmetric optical flow between two neighboring slices: pyramid Lucas-Kanade in torch, without weights.

One field m is sought such that A(x - m) looks like B(x + m): both slices are warped to the middle, so that
neither of them is preferred and the field lives where the new slice will be. It is the prior of our network
and, by itself, the `flow` interpolator.

Source: B. D. Lucas and T. Kanade, An iterative image registration technique with an application to stereo
vision, IJCAI 1981; symmetric form, robust weights and constants are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F

SOFT_TISSUE = (-100.0, 200.0)
"""HU range that drives the flow: brain and blood keep their contrast."""
BONE = (200.0, 1500.0)
"""HU range added at half weight, so that the tables and the diploe of the skull are matched as well."""

Box = tuple[slice, slice]
"""Rows and columns."""

MULTIPLE = 8
"""Sides are continued to a multiple of this, so that flow and a network that starts from it see the same pixels."""

_COARSEST_SIDE = 8
_WINDOW_SIGMA = 2.0  # px, the neighborhood over which one displacement is fitted
_FLOW_SIGMA = 1.5  # px, smoothing of the field after each update
_ROBUST_SCALE = 0.1  # of the flow window: residuals beyond it hardly count (new structure, not motion)
_TIKHONOV = 1e-3  # keeps the field still where there is no texture
_LARGEST_UPDATE = 1.0  # px an iteration, so that one bad patch cannot throw the field away


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Sample `image` at x + flow(x), bilinear, with the border repeated.

    image: (B, C, H, W); flow: (B, 2, H, W) in pixels, channel 0 along the columns (x), 1 along the rows (y).
    Returns (B, C, H, W).
    """
    height, width = image.shape[-2:]
    ys = torch.arange(height, device=flow.device, dtype=flow.dtype).view(1, height, 1)
    xs = torch.arange(width, device=flow.device, dtype=flow.dtype).view(1, 1, width)
    # align_corners=True maps pixel centers 0..n-1 to -1..1.
    x = (flow[:, 0] + xs) * (2.0 / max(width - 1, 1)) - 1.0
    y = (flow[:, 1] + ys) * (2.0 / max(height - 1, 1)) - 1.0
    grid = torch.stack((x, y), dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def symmetric_flow(
    before: torch.Tensor, after: torch.Tensor, iterations: int = 3, box: Box | None = None
) -> torch.Tensor:
    """Half of the displacement between two slices, at half resolution.

    before, after: (B, 1, H, W) in HU, any H and W from 2 on.
    box: rows and columns, in pixels, where the flow is wanted; they begin at even ones. The coarse levels, which find
    large displacements, see the whole slices all the same; the finest, which takes most of the time, only the box.
    Returns m: (B, 2, ceil(H/2), ceil(W/2)) in pixels of the HALF-resolution grid, channel 0 along x, with
    before(x - m) ~ after(x + m); of the box alone where there is one. `full_flow` brings it to the full grid.
    """
    if _shared is None:
        return _symmetric_flow(before, after, iterations, box)
    if not _shared or not _shared[0].is_of(before, after, iterations, box):
        _shared[:] = [
            _Remembered(before, after, iterations, box, _symmetric_flow(before, after, iterations, box))
        ]
    return _shared[0].flow


def _symmetric_flow(
    before: torch.Tensor, after: torch.Tensor, iterations: int, box: Box | None
) -> torch.Tensor:
    with torch.no_grad():
        finest, *coarser = _pyramid(_normalize(torch.cat((before, after), dim=1)))
        flow = torch.zeros_like((coarser or [finest])[-1])
        for pair in reversed(coarser):
            flow = _refine(pair, flow, iterations)
        if box is None:
            return _refine(finest, flow, iterations)
        rows, columns = (slice(along.start // 2, -(-along.stop // 2)) for along in box)
        flow = _resized(flow, finest.shape[-2:])
        return _refine(finest[..., rows, columns], flow[..., rows, columns], iterations)


def gap_flow(slices: torch.Tensor, box: Box | None = None) -> torch.Tensor:
    """`symmetric_flow` of the two middle ones of four slices, their sides continued to a multiple of `MULTIPLE`.

    slices: (B, 4, H, W) in HU. box: rows and columns where the flow is wanted, from multiples on; by default all.
    Returns (B, 2, h, w) of the box, its sides rounded up to the multiple too, in half-resolution pixels.
    """
    slices = continued(slices)
    if box is None:
        box = tuple(slice(0, size) for size in slices.shape[-2:])
    box = tuple(slice(along.start, -(-along.stop // MULTIPLE) * MULTIPLE) for along in box)
    return symmetric_flow(slices[:, 1:2], slices[:, 2:3], box=box)


def continued(image: torch.Tensor) -> torch.Tensor:
    """The last two sides of a (B, C, H, W) continued to a multiple of `MULTIPLE` by repeating the border."""
    down, right = (-side % MULTIPLE for side in image.shape[-2:])
    return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image


@dataclass
class _Remembered:
    before: torch.Tensor
    after: torch.Tensor
    iterations: int
    box: Box | None
    flow: torch.Tensor

    def is_of(self, before: torch.Tensor, after: torch.Tensor, iterations: int, box: Box | None) -> bool:
        return (self.iterations, self.box) == (iterations, box) and all(
            one.shape == other.shape and one.device == other.device and torch.equal(one, other)
            for one, other in ((self.before, before), (self.after, after))
        )


_shared: list[_Remembered] | None = None


@contextmanager
def shared_flow() -> Iterator[None]:
    """While it lasts, several methods that look at the same pair of slices, one after the other, find its flow once."""
    global _shared
    outer, _shared = _shared, []
    try:
        yield
    finally:
        _shared = outer


def full_flow(half_flow: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bring a half-resolution field to the full grid: (B, 2, h, w) -> (B, 2, *size), in full pixels."""
    doubled = F.interpolate(half_flow, scale_factor=2, mode="bilinear", align_corners=False)
    return 2.0 * doubled[..., : size[0], : size[1]]


def _normalize(hu: torch.Tensor) -> torch.Tensor:
    def ramp(low: float, high: float) -> torch.Tensor:
        return (hu.clamp(low, high) - low) / (high - low)

    return ramp(*SOFT_TISSUE) + 0.5 * ramp(*BONE)


def _pyramid(pair: torch.Tensor) -> list[torch.Tensor]:
    """Half resolution and coarser, finest first; each level is the 2x2 mean of the one before."""
    levels = [_halve(pair)]
    while min(levels[-1].shape[-2:]) >= 2 * _COARSEST_SIDE:
        levels.append(_halve(levels[-1]))
    return levels


def _halve(image: torch.Tensor) -> torch.Tensor:
    height, width = image.shape[-2:]
    if height % 2 or width % 2:
        image = F.pad(image, (0, width % 2, 0, height % 2), mode="replicate")
    # Strided views add up several times faster on a CPU than avg_pool2d.
    rows = image[..., 0::2, :] + image[..., 1::2, :]
    return (rows[..., 0::2] + rows[..., 1::2]) * 0.25


def _refine(pair: torch.Tensor, flow: torch.Tensor, iterations: int) -> torch.Tensor:
    """The flow of one level of the pyramid, from that of the level before."""
    flow = _resized(flow, pair.shape[-2:])
    for _ in range(iterations):
        flow = _iterate(pair, flow)
    return flow


def _resized(flow: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return flow if flow.shape[-2:] == size else full_flow(flow, size)


def _iterate(pair: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """One Gauss-Newton step of the symmetric residual after(x + m) - before(x - m), then smoothing."""
    before = warp(pair[:, :1], -flow)
    after = warp(pair[:, 1:], flow)
    residual = after - before
    # d residual / d m is the gradient of both warped slices added up.
    gx, gy = _gradient(before + after)
    weight = 1.0 / (1.0 + (residual / _ROBUST_SCALE) ** 2)
    wx, wy = weight * gx, weight * gy
    sums = _blur(torch.cat((wx * gx, wx * gy, wy * gy, wx * residual, wy * residual), dim=1), _WINDOW_SIGMA)
    xx, xy, yy, xr, yr = sums.split(1, dim=1)
    xx, yy = xx + _TIKHONOV, yy + _TIKHONOV
    determinant = xx * yy - xy * xy
    update = torch.cat((xy * yr - yy * xr, xy * xr - xx * yr), dim=1) / determinant
    flow = flow + update.clamp_(-_LARGEST_UPDATE, _LARGEST_UPDATE)
    return _blur(_median3(flow), _FLOW_SIGMA)


def _gradient(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences along x and y, zero at the border."""
    gx, gy = torch.zeros_like(image), torch.zeros_like(image)
    gx[..., 1:-1] = 0.5 * (image[..., 2:] - image[..., :-2])
    gy[..., 1:-1, :] = 0.5 * (image[..., 2:, :] - image[..., :-2, :])
    return gx, gy


def _blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Separable Gaussian with the border repeated; (B, C, H, W) in and out."""
    channels = image.shape[1]
    radius = int(2.5 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
    image = F.pad(image, (radius, radius, radius, radius), mode="replicate")
    image = F.conv2d(image, kernel, groups=channels)
    return F.conv2d(image, kernel.transpose(2, 3), groups=channels)


def _median3(field: torch.Tensor) -> torch.Tensor:
    """3x3 median by Paeth's exchange network: a few minima and maxima instead of a sort per pixel."""
    height, width = field.shape[-2:]
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    p = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)]

    def order(a: int, b: int) -> None:
        p[a], p[b] = torch.minimum(p[a], p[b]), torch.maximum(p[a], p[b])

    for row in (0, 3, 6):
        order(row, row + 1)
        order(row + 1, row + 2)
        order(row, row + 1)
    # Rows are sorted: the median of nine is the median of (largest minimum, median median, smallest maximum).
    low = torch.maximum(torch.maximum(p[0], p[3]), p[6])
    high = torch.minimum(torch.minimum(p[2], p[5]), p[8])
    order(1, 4)
    mid = torch.maximum(p[1], torch.minimum(p[4], p[7]))
    low, mid = torch.minimum(low, mid), torch.maximum(low, mid)
    return torch.maximum(low, torch.minimum(mid, high))
