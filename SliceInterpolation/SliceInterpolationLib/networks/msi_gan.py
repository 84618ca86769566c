"""The two GANs of the prostate MRI study: generators and their PatchGAN discriminators."""

from __future__ import annotations

import torch
from torch import nn

from .blocks import PairNetwork, ResidualBlock
from .msi_cnn import MSICNN


class MSIGANGenerator(MSICNN):
    """Generator of the basic GAN (arXiv 2605.16476): the CNN without its global skip, 592,641 parameters.

    Example:
        >>> network = MSIGANGenerator()
        >>> network(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 1, 64, 48])
    """

    def __init__(self, channels: int = 64, blocks: int = 8) -> None:
        super().__init__(channels, blocks, global_skip=False)


class MSIGANPlusGenerator(PairNetwork):
    """Generator of the improved GAN (arXiv 2605.16476), 1,220,482 parameters.

    Sixteen residual blocks, a one-channel spatial attention, and the entry features added back.

    Example:
        >>> network = MSIGANPlusGenerator()
        >>> network(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2605.16476"
    intensity = "unit"

    def __init__(self, channels: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.entry = nn.Conv2d(2, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.attention = nn.Conv2d(channels, 1, 1)
        self.fusion = nn.Conv2d(channels, channels, 3, padding=1)
        self.exit = nn.Conv2d(channels, 1, 3, padding=1)
        self.reach = 3 + 2 * blocks  # a pixel a convolution

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W) -> (B, 1, H, W); always the middle slice."""
        entry = self.entry(pair)
        x = self.blocks(entry)
        x = x * torch.sigmoid(self.attention(x))
        return self.exit(self.fusion(x + entry))


class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator (Isola et al. 2017) with 4x4 convolutions and LeakyReLU 0.2.

    `improved=False` is the basic GAN's (660,929 parameters), `improved=True` adds batch normalization and a
    layer of 512 channels (2,764,481 parameters).

    Example:
        >>> judge = PatchDiscriminator()
        >>> judge(torch.rand(1, 1, 64, 64)).shape  # one logit a patch
        torch.Size([1, 1, 7, 7])
    """

    def __init__(self, improved: bool = False) -> None:
        super().__init__()
        layers = [(1, 64, 2), (64, 128, 2), (128, 256, 2)] + ([(256, 512, 1)] if improved else [])
        self.layers = nn.ModuleList(
            _patch_layer(inputs, outputs, stride, norm=improved and inputs > 1)
            for inputs, outputs, stride in layers
        )
        self.head = nn.Conv2d(layers[-1][1], 1, 4, padding=1)
        self.minimum_side = 24 if improved else 16

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """What the head sees, (B, 256 or 512, h, w): the layer compared by feature matching."""
        if image.ndim != 4 or image.shape[1] != 1 or min(image.shape[-2:]) < self.minimum_side:
            raise ValueError(
                f"expected (B, 1, H, W) with sides of at least {self.minimum_side}, got {tuple(image.shape)}"
            )
        for layer in self.layers:
            image = layer(image)
        return image

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) -> logits (B, 1, h, w), one per overlapping patch, high where it looks real."""
        return self.head(self.features(image))


def _patch_layer(inputs: int, outputs: int, stride: int, norm: bool) -> nn.Sequential:
    normalization = [nn.BatchNorm2d(outputs)] if norm else []
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, stride, 1), *normalization, nn.LeakyReLU(0.2, inplace=True)
    )
