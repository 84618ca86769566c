"""The three-level U-Net of the prostate MRI study, its best network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import PairNetwork


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


class MSIUNet(PairNetwork):
    """Max pooling down, transposed convolutions up (arXiv 2605.16476, "U-Net"), 1,862,273 parameters.

    Example:
        >>> network = MSIUNet()
        >>> network(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2605.16476"
    intensity = "unit"
    multiple = 4
    reach = 24

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        c = channels
        self.encoder1 = double_conv(2, c)
        self.encoder2 = double_conv(c, 2 * c)
        self.bottom = double_conv(2 * c, 4 * c)
        self.up2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, stride=2)
        self.decoder2 = double_conv(4 * c, 2 * c)
        self.up1 = nn.ConvTranspose2d(2 * c, c, 2, stride=2)
        self.decoder1 = double_conv(2 * c, c)
        self.head = nn.Conv2d(c, 1, 1)

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W), sides multiples of 4, -> (B, 1, H, W); always the middle slice."""
        full = self.encoder1(pair)
        half = self.encoder2(F.max_pool2d(full, 2))
        bottom = self.bottom(F.max_pool2d(half, 2))
        half = self.decoder2(torch.cat((self.up2(bottom), half), 1))
        full = self.decoder1(torch.cat((self.up1(half), full), 1))
        return self.head(full)
