"""Flow network after IFRNet-S, for gray slices: flows and an intermediate feature refined together.

Written after the description of IFRNet (Kong et al., CVPR 2022), one channel instead of three and plain
residual blocks. The published weights do not fit; it is trained like every other network here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from .blocks import (
    PairNetwork,
    ResidualBlock,
    backward_warp,
    blend,
    conv_prelu,
    resize_flow,
    zero_first_outputs,
)


class Decoder(nn.Module):
    """To the next finer level: (B, inputs, h, w) -> two flows and `outputs` features, at (2h, 2w)."""

    def __init__(self, inputs: int, width: int, outputs: int, zeros: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_prelu(inputs, width),
            ResidualBlock(width),
            nn.PReLU(width),
            zero_first_outputs(nn.ConvTranspose2d(width, 4 + outputs, 4, 2, 1), zeros),
        )

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tensors (B, ., h, w) with `inputs` channels in all -> (B, 4, 2h, 2w) and (B, outputs, 2h, 2w)."""
        x = self.layers(torch.cat(inputs, 1))
        return x[:, :4], x[:, 4:]


class IFRNetStyle(PairNetwork):
    """Coarse-to-fine flows with an intermediate feature, mask and residual (after IFRNet-S, CVPR 2022).

    channels: of the encoder at 1/2, 1/4, 1/8 and 1/16 (those of IFRNet-S by default). At the start flows,
    mask correction and residual are zero: the network begins as linear interpolation.

    Example:
        >>> network = IFRNetStyle()
        >>> network(torch.rand(1, 2, 64, 48), t=0.25).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2205.14620"
    intensity = "brain-window"
    middle_only = False
    multiple = 16
    # No reach: the mean of the whole slice is subtracted, and the flow reaches any distance.

    def __init__(self, channels: Sequence[int] = (24, 36, 54, 72)) -> None:
        super().__init__()
        if len(channels) != 4:
            raise ValueError(f"expected the channels of four levels, got {tuple(channels)}")
        self.encoder = nn.ModuleList(
            nn.Sequential(conv_prelu(inputs, outputs, 2), conv_prelu(outputs, outputs))
            for inputs, outputs in zip((1, *channels[:-1]), channels)
        )
        c1, c2, c3, c4 = channels
        # The coarsest decoder sees both features and t; the others both warped features, the intermediate
        # one and the flows. The finest gives the mask and the residual, at full resolution.
        self.decoders = nn.ModuleList(
            (
                Decoder(2 * c4 + 1, 2 * c4, c3),
                Decoder(3 * c3 + 4, 3 * c3, c2),
                Decoder(3 * c2 + 4, 3 * c2, c1),
                Decoder(3 * c1 + 4, 3 * c1, 2, zeros=6),
            )
        )

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W), sides multiples of 16, and t (B,) -> (B, 1, H, W)."""
        mean = pair.mean((1, 2, 3), keepdim=True)
        a, b = (pair - mean).split(1, 1)
        first, second = self._features(a), self._features(b)

        plane = t.view(-1, 1, 1, 1).expand(-1, 1, *first[-1].shape[-2:])
        flow, feature = self.decoders[0](first[-1], second[-1], plane)
        for decoder, fa, fb in zip(self.decoders[1:], first[-2::-1], second[-2::-1]):
            fa, fb = backward_warp(fa, flow[:, :2]), backward_warp(fb, flow[:, 2:])
            change, feature = decoder(feature, fa, fb, flow)
            flow = resize_flow(flow, 2) + change

        mask, residual = feature.split(1, 1)
        a, b = backward_warp(a, flow[:, :2]), backward_warp(b, flow[:, 2:])
        return blend(a, b, mask, t) + residual + mean

    def _features(self, image: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for level in self.encoder:
            image = level(image)
            features.append(image)
        return features
