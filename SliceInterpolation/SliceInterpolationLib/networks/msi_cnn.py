"""The residual CNN of the prostate MRI study: eight blocks at full resolution, without normalization."""

from __future__ import annotations

import torch
from torch import nn

from .blocks import PairNetwork, ResidualBlock


class OneConvBlock(nn.Conv2d):
    """x + conv3x3(ReLU(x)): the smaller block that the paper's stated parameter count implies."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) -> the same shape."""
        return x + super().forward(torch.relu(x))


class MSICNN(PairNetwork):
    """EDSR-like CNN (arXiv 2605.16476, "CNN"), 592,641 parameters as its code builds it.

    The paper states 297,217 parameters, which is one convolution per block: `one_conv_blocks=True`. Its text
    describes a global skip that its code lacks; here the network corrects the mean of its inputs, as the text
    has it, since a correction of a sane picture cannot run away. `global_skip=False` is the code's form.

    Example:
        >>> network = MSICNN()
        >>> network(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2605.16476"
    intensity = "unit"

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 8,
        one_conv_blocks: bool = False,
        global_skip: bool = True,
    ) -> None:
        super().__init__()
        block = OneConvBlock if one_conv_blocks else ResidualBlock
        self.entry = nn.Conv2d(2, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(block(channels) for _ in range(blocks)))
        self.exit = nn.Conv2d(channels, 1, 3, padding=1)
        self.global_skip = global_skip
        self.reach = 2 + blocks * (1 if one_conv_blocks else 2)  # a pixel a convolution

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W) -> (B, 1, H, W); always the middle slice."""
        output = self.exit(self.blocks(self.entry(pair)))
        return output + pair.mean(1, keepdim=True) if self.global_skip else output
