"""Flow network after RIFE, for gray slices: coarse-to-fine intermediate flow, a mask and a residual.

Written after the description of RIFE (Huang et al., ECCV 2022), one channel instead of three, smaller by
default, without the teacher block that guides its training, and with t as an input plane, so that any
position can be predicted. The published weights do not fit; it is trained like every other network here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import PairNetwork, backward_warp, blend, conv_prelu, resize_flow, zero_first_outputs


class FlowBlock(nn.Module):
    """Correction of the two flows and the mask, estimated at 1/scale of the resolution."""

    def __init__(self, inputs: int, width: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.entry = nn.Sequential(conv_prelu(inputs, width // 2, 2), conv_prelu(width // 2, width, 2))
        self.body = nn.Sequential(*(conv_prelu(width, width) for _ in range(8)))
        self.exit = zero_first_outputs(nn.ConvTranspose2d(width, 5, 4, 2, 1), 5)

    def forward(
        self, images: torch.Tensor, flow: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """images: (B, n, H, W); flow: (B, 4, H, W) so far. Returns corrections (B, 4, H, W), (B, 1, H, W)."""
        x = F.interpolate(images, scale_factor=1 / self.scale, mode="bilinear", align_corners=False)
        if flow is not None:
            x = torch.cat((x, resize_flow(flow, 1 / self.scale)), 1)
        x = self.entry(x)
        x = self.exit(x + self.body(x))
        mask = F.interpolate(x[:, 4:], scale_factor=2 * self.scale, mode="bilinear", align_corners=False)
        return resize_flow(x[:, :4], 2 * self.scale), mask


class Context(nn.Module):
    """Features of one slice at 1/2, 1/4, 1/8 and 1/16, each warped by the flow of that slice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 4 * width, 8 * width)
        self.levels = nn.ModuleList(
            nn.Sequential(conv_prelu(inputs, outputs, 2), conv_prelu(outputs, outputs))
            for inputs, outputs in zip(widths[:-1], widths[1:])
        )

    def forward(self, image: torch.Tensor, flow: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, H, W) and its flow (B, 2, H, W) -> four features, each (B, 2^l width, H / 2^(l + 1), ...)."""
        features = []
        for level in self.levels:
            image, flow = level(image), resize_flow(flow, 0.5)
            features.append(backward_warp(image, flow))
        return features


class Refinement(nn.Module):
    """U-Net over images, warped images, flows and mask, fed with the context of both slices at each level."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList(
            nn.Sequential(conv_prelu(i, o, 2), conv_prelu(o, o))
            for i, o in ((inputs, 2 * w), (4 * w, 4 * w), (8 * w, 8 * w), (16 * w, 16 * w))
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(i, o, 4, 2, 1), nn.PReLU(o))
            for i, o in ((32 * w, 8 * w), (16 * w, 4 * w), (8 * w, 2 * w), (4 * w, w))
        )
        self.head = nn.Conv2d(w, 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor, first: list[torch.Tensor], second: list[torch.Tensor]) -> torch.Tensor:
        """x: (B, inputs, H, W); first, second: contexts. Returns a residual (B, 1, H, W) within -1..1."""
        skips = []
        for down, *context in zip(self.down, first, second):
            x = torch.cat((down(x), *context), 1)
            skips.append(x)
        x = self.up[0](skips.pop())
        for up in self.up[1:]:
            # The encoder's own features only: the context has entered on the way down.
            skip = skips.pop()
            x = up(torch.cat((x, skip[:, : x.shape[1]]), 1))
        return torch.tanh(self.head(x))


class RIFEStyle(PairNetwork):
    """Backward-warped pair, blended by a mask, plus a residual within -1..1 (after RIFE, ECCV 2022).

    widths: channels of the three flow blocks, which work at 1/4, 1/2 and full resolution (RIFE: 240, 150,
    90); context: channels of the finest context level (RIFE: 16). At the start flow, mask correction and
    residual are zero: the network begins as linear interpolation.

    Example:
        >>> network = RIFEStyle()
        >>> network(torch.rand(1, 2, 64, 48), t=0.25).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2011.06294"
    intensity = "brain-window"
    middle_only = False
    multiple = 16
    # No reach: the flow's coarsest features come from afar, and the flow reaches any distance.

    def __init__(self, widths: Sequence[int] = (96, 64, 48), context: int = 8) -> None:
        super().__init__()
        if len(widths) != 3:
            raise ValueError(f"expected three widths, got {tuple(widths)}")
        # a, b, t; later blocks also see both warped slices, the mask and the flows.
        self.flow = nn.ModuleList(
            FlowBlock(3 if scale == 4 else 10, width, scale) for scale, width in zip((4, 2, 1), widths)
        )
        self.context = Context(context)
        self.refinement = Refinement(10, context)

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W), sides multiples of 16, and t (B,) -> (B, 1, H, W)."""
        a, b = pair.split(1, 1)
        plane = t.view(-1, 1, 1, 1).expand_as(a)
        flow, mask = self.flow[0](torch.cat((pair, plane), 1))
        warped = self._warp(a, b, flow)
        for block in self.flow[1:]:
            flow_change, mask_change = block(torch.cat((pair, plane, warped, mask), 1), flow)
            flow, mask = flow + flow_change, mask + mask_change
            warped = self._warp(a, b, flow)
        residual = self.refinement(
            torch.cat((pair, plane, warped, mask, flow), 1),
            self.context(a, flow[:, :2]),
            self.context(b, flow[:, 2:]),
        )
        return blend(warped[:, :1], warped[:, 1:], mask, t) + residual

    @staticmethod
    def _warp(a: torch.Tensor, b: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        return torch.cat((backward_warp(a, flow[:, :2]), backward_warp(b, flow[:, 2:])), 1)
