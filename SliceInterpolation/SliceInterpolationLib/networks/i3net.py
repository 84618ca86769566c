"""I3Net: all slices of three gaps from four acquired ones, within slices by convolution and in the frequency domain,
across slices in the two through-plane views.

Written from the description of the paper (see `PAPER`), not from its code, so that the number of parameters and the
order of the blocks may differ. The acquired slices are passed on as they are. The last convolution is zero at the
start, so that training begins at linear interpolation.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import pad_to_multiple

PAPER = (
    "Song et al., I3Net: Inter-Intra-Slice Interpolation Network for Medical Slice Synthesis, IEEE TMI 2024"
)
SLICES = 4
_BLOCK = 8  # pixels a side of the blocks whose cosine transform the network works on


def cosine_basis(size: int = _BLOCK) -> torch.Tensor:
    """The orthonormal cosine transform (DCT-II) of `size` numbers, (size, size): a row a frequency."""
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size
    basis = torch.cos(torch.arange(size, dtype=torch.float64)[:, None] * place) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float()


class FrequencyBranch(nn.Module):
    """Channels mixed frequency by frequency: cosine transform of 8x8 blocks, weights for each, and back."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.gain = nn.Parameter(torch.ones(channels, _BLOCK, _BLOCK))
        self.register_buffer("basis", cosine_basis(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), sides multiples of 8, -> the same shape."""
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK)
        basis = self.basis.to(x.dtype)
        spectrum = torch.einsum("ki,bcrisj,lj->bcrksl", basis, blocks, basis)
        spectrum = F.relu(self.mix(spectrum.reshape(x.shape))).reshape(spectrum.shape)
        spectrum = spectrum * self.gain[None, :, None, :, None, :].to(x.dtype)
        return torch.einsum("ki,bcrksl,lj->bcrisj", basis, spectrum, basis).reshape(x.shape)


class InPlaneBlock(nn.Module):
    """x plus a convolution at half resolution (pixel-unshuffle) plus the frequency branch."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduce = nn.Conv2d(4 * channels, channels, 1)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.expand = nn.Conv2d(channels, 4 * channels, 1)
        self.frequencies = FrequencyBranch(channels)
        self.merge = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), sides multiples of 8, -> the same shape."""
        half = F.relu(self.reduce(F.pixel_unshuffle(x, 2)))
        local = F.pixel_shuffle(self.expand(F.relu(self.conv(half))), 2)
        return x + self.merge(torch.cat((local, self.frequencies(x)), dim=1))


class CrossViewBlock(nn.Module):
    """x plus convolutions in the coronal and in the sagittal view of the dense slices that the channels stand for."""

    def __init__(self, channels: int, slices: int, width: int = 8):
        super().__init__()
        self.enter = nn.Conv2d(channels, slices, 1)
        self.coronal = nn.Conv3d(1, width, (3, 1, 3), padding=(1, 0, 1))
        self.sagittal = nn.Conv3d(1, width, (3, 3, 1), padding=(1, 1, 0))
        self.join = nn.Conv3d(2 * width, 1, 1)
        self.leave = nn.Conv2d(slices, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same shape."""
        dense = self.enter(x)[:, None]
        views = F.relu(torch.cat((self.coronal(dense), self.sagittal(dense)), dim=1))
        return x + self.leave(self.join(views)[:, 0])


class I3Net(nn.Module):
    """Four neighboring slices to the 3 * factor + 1 dense ones from the first to the last of them.

    factor: slices become so many times as dense; the network knows this one alone. channels, blocks, cross_blocks:
    features, in-plane blocks and cross-view blocks (64, 16 and 3 in the paper).

    Example:
        >>> network = I3Net(factor=2, channels=8, blocks=3)
        >>> network(torch.rand(1, 4, 64, 48)).shape
        torch.Size([1, 7, 64, 48])
    """

    paper = PAPER
    intensity = "(hu+1024)/4095"
    multiple = _BLOCK
    reach = None
    """The whole slice: blocks of the cosine transform lie on a grid of their own."""

    def __init__(self, factor: int = 2, channels: int = 64, blocks: int = 16, cross_blocks: int = 3):
        super().__init__()
        if factor < 2 or blocks < max(cross_blocks, 1) or cross_blocks < 0:
            raise ValueError("the factor must be 2 or more, and no more cross-view blocks than blocks")
        self.factor = factor
        dense = (SLICES - 1) * factor + 1
        self.enter = nn.Conv2d(SLICES, channels, 3, padding=1)
        self.blocks = nn.ModuleList(InPlaneBlock(channels) for _ in range(blocks))
        self.views = nn.ModuleList(CrossViewBlock(channels, dense) for _ in range(cross_blocks))
        self.last = nn.Conv2d(channels, dense, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """(B, 4, H, W) in (HU + 1024) / 4095, any size from 8 on, -> (B, 3 * factor + 1, H, W).

        Raises ValueError for another number of slices, and for smaller ones.
        """
        if slices.ndim != 4 or slices.shape[1] != SLICES or min(slices.shape[-2:]) < self.multiple:
            raise ValueError(f"expected (B, {SLICES}, H, W), sides of 8 or more, got {tuple(slices.shape)}")
        padded, (top, left) = pad_to_multiple(slices, self.multiple)
        x = self.enter(padded)
        each = len(self.blocks) // max(len(self.views), 1)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number % each == 0 and number // each <= len(self.views):
                x = self.views[number // each - 1](x)
        height, width = slices.shape[-2:]
        residual = self.last(x)[..., top : top + height, left : left + width]
        dense = []
        for number in range(residual.shape[1]):
            before, place = divmod(number, self.factor)
            if place == 0:
                dense.append(slices[:, before])
                continue
            linear = torch.lerp(slices[:, before], slices[:, before + 1], place / self.factor)
            dense.append(linear + residual[:, number])
        return torch.stack(dense, dim=1)
