"""Our network: a classical flow as prior, refined by a small convolutional network within stated bounds.

Two neighboring slices are aligned by symmetric Lucas-Kanade flow; the network sees the aligned pair, the four
nearest acquired slices and the geometry, corrects the flow, chooses pixel by pixel among the aligned slices,
a cubic and a linear estimate, and adds a bounded residual. At initialization it IS the flow midpoint, so
training starts from the best classical method and the output stays a correction of observed HU over the full
range; nothing is windowed away.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .lucas_kanade import MULTIPLE, Box, continued, full_flow, gap_flow, warp
from .sliding_window import Apply, whole

_LOWEST_LOG_SD, _HIGHEST_LOG_SD = -1.0, 6.5  # 0.4 to 665 HU


def brain_window(hu: torch.Tensor) -> torch.Tensor:
    """-20..107 HU (center 44, width 128) to 0..1, clipped."""
    return ((hu + 20.0) / 127.0).clamp(0.0, 1.0)


def signed_log(hu: torch.Tensor) -> torch.Tensor:
    """sign(h) log(1 + |h|/50) / 4: the full HU range in about -0.75..1, steepest near water."""
    return torch.sign(hu) * torch.log1p(hu.abs() / 50.0) * 0.25


def cubic_weights(t: torch.Tensor) -> torch.Tensor:
    """Lagrange weights of the knots -1, 0, 1, 2 at t, (B,) -> (B, 4); (-1, 9, 9, -1)/16 at the middle."""
    return torch.stack(
        (
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ),
        dim=1,
    )


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))): no normalization, so that absolute HU pass through unchanged."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) -> the same shape."""
        # In place wherever autograd allows it: on a CPU the memory traffic costs as much as the convolutions.
        hidden = F.leaky_relu_(self.conv1(F.leaky_relu(x, 0.1)), 0.1)
        return self.conv2(hidden).add_(x)


class FlowRefine(nn.Module):
    """Flow prior plus bounded refinement, any position between two slices.

    widths: channels at 1/2, 1/4 and 1/8 of the resolution. context: slices used, 4 (two on each side) or 2.
    flow_prior: start from Lucas-Kanade flow (False: from no displacement). candidates: blend the cubic and the
    linear estimate with the two aligned slices. residual_limit: largest correction in HU.

    Example:
        >>> network, one = FlowRefine(), torch.ones(1)
        >>> network(torch.zeros(1, 4, 64, 48), gap_mm=5 * one, pixel_mm=0.5 * one, t=0.5 * one).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "SliceInterpolation, this project"
    intensity = "hu"
    conditions = ("gap_mm", "pixel_mm", "thickness_ratio", "t")
    multiple = MULTIPLE
    """What the sides are padded to a multiple of."""
    reach = 88
    """Pixels around it that the network sees of a slice, given the flow; the flow itself depends on whole slices."""

    def __init__(
        self,
        widths: tuple[int, int, int] = (32, 64, 96),
        context: int = 4,
        flow_prior: bool = True,
        candidates: bool = True,
        residual_limit: float = 150.0,
    ):
        super().__init__()
        if context not in (2, 4):
            raise ValueError(f"context must be 2 or 4 slices, not {context}")
        self.context, self.flow_prior, self.candidates = context, flow_prior, candidates
        self.residual_limit = float(residual_limit)
        fine, middle, coarse = widths
        # Two representations of each slice seen and of the two aligned ones, and their disagreement.
        images = 2 * (context + 2) + 1
        self.enter = nn.Conv2d(4 * images + 2, fine, 3, padding=1)
        self.condition = nn.Linear(len(self.conditions), fine)
        self.encode1 = ResidualBlock(fine)
        self.down1 = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.encode2 = ResidualBlock(middle)
        self.down2 = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.bottom = nn.Sequential(ResidualBlock(coarse), ResidualBlock(coarse))
        self.up2 = nn.Conv2d(coarse, middle, 1)
        self.decode2 = ResidualBlock(middle)
        self.up1 = nn.Conv2d(middle, fine, 1)
        self.decode1 = ResidualBlock(fine)
        # Flow corrections at half resolution (2 x 2), then 4 blend logits and 1 residual at full resolution.
        self.correct = nn.Conv2d(fine, 4 + 4 * 5, 3, padding=1)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(self.correct.bias)
        self.log_sd = nn.Sequential(
            nn.Conv2d(fine, fine, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(fine, 4, 3, padding=1)
        )

    def forward(
        self,
        slices: torch.Tensor,
        gap_mm: torch.Tensor,
        pixel_mm: torch.Tensor,
        t: torch.Tensor,
        thickness_mm: torch.Tensor | None = None,
        with_uncertainty: bool = False,
        half_flow: torch.Tensor | None = None,
        apply: Apply = whole,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Predict the slice at position t between the two middle slices.

        slices: (B, 4, H, W) in HU: two before, two after (repeat the nearer one where the stack ends).
        gap_mm: distance of the two middle slices, (B,); pixel_mm: pixel spacing, (B,); t in (0, 1), (B,);
        thickness_mm: slice thickness, (B,), 0 or None where unknown.
        half_flow: as `prior` returns it, where it is known already. apply: how the convolutions are applied, in
        windows where memory is short; warping and mixing always work on whole slices.
        Returns (B, 1, H, W) in HU; with_uncertainty also its predicted error SD in HU, (B, 1, H, W).
        """
        size = slices.shape[-2:]
        half_flow = self.prior(slices) if half_flow is None else half_flow
        slices = continued(slices)
        geometry = self._geometry(gap_mm, pixel_mm, t, thickness_mm)

        def decide(images: torch.Tensor, flow: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features = self._features(images, flow, geometry)
            # Detached: the error estimate must never bend the prediction that it describes.
            more = (self.log_sd(features.detach()),) if with_uncertainty else ()
            return (self.correct(features), *more)

        correction, *log_sd = apply(decide, self._observe(slices, half_flow, t), half_flow)
        out = self._compose(slices, half_flow, correction, t)[..., : size[0], : size[1]]
        if not with_uncertainty:
            return out
        log_sd = F.pixel_shuffle(log_sd[0], 2)[..., : size[0], : size[1]]
        return out, (log_sd + 2.0).clamp(_LOWEST_LOG_SD, _HIGHEST_LOG_SD).exp()

    def prior(self, slices: torch.Tensor, box: Box | None = None) -> torch.Tensor:
        """The flow that the network starts from: half of the displacement between the two middle slices.

        slices: as of `forward`. box: the rows and columns that `forward` will see of them, from multiples of 8 on;
        by default all. Returns (B, 2, h, w) in pixels of the half-resolution grid of what `forward` will see, padded
        to a multiple of 8. It is the same for every position between the slices.
        """
        if self.flow_prior:
            return gap_flow(slices, box)
        sides = slices.shape[-2:] if box is None else (along.stop - along.start for along in box)
        return slices.new_zeros(
            len(slices), 2, *(-(-side // self.multiple) * self.multiple // 2 for side in sides)
        )

    def _observe(self, slices: torch.Tensor, half_flow: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the convolutions see besides the flow: (B, images, H, W)."""
        aligned = torch.cat(self._align(slices[:, 1:2], slices[:, 2:3], half_flow, half_flow, t), dim=1)
        seen = slices if self.context == 4 else slices[:, 1:3]
        window = brain_window(torch.cat((seen, aligned), dim=1))
        logs = signed_log(torch.cat((seen, aligned), dim=1))
        return torch.cat((window, logs, (logs[:, -1:] - logs[:, -2:-1]).abs()), dim=1)

    def _features(
        self, images: torch.Tensor, half_flow: torch.Tensor, geometry: torch.Tensor
    ) -> torch.Tensor:
        """Features at half resolution, (B, widths[0], H / 2, W / 2)."""
        fine = self.encode1(self._enter(images, half_flow / 8.0) + self.condition(geometry)[:, :, None, None])
        middle = self.encode2(self.down1(F.leaky_relu(fine, 0.1)))
        coarse = self.bottom(self.down2(F.leaky_relu(middle, 0.1)))
        middle = self.decode2(middle + _double(_pointwise(self.up2, coarse)))
        fine = self.decode1(fine + _double(_pointwise(self.up1, middle)))
        return F.leaky_relu(fine, 0.1)

    def _enter(self, images: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        """enter(cat(pixel_unshuffle(images, 2), flow)), the images by one strided 6x6 convolution.

        The weights are the same, laid out otherwise; on a CPU it takes half of the time and memory.
        """
        weight, channels = self.enter.weight, images.shape[1]
        blocks = weight[:, :-2].reshape(len(weight), channels, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
        images = images.contiguous(memory_format=torch.channels_last)
        x = F.conv2d(
            images, blocks.reshape(len(weight), channels, 6, 6), self.enter.bias, stride=2, padding=2
        )
        return x + F.conv2d(flow.contiguous(memory_format=torch.channels_last), weight[:, -2:], padding=1)

    @staticmethod
    def _geometry(
        gap_mm: torch.Tensor, pixel_mm: torch.Tensor, t: torch.Tensor, thickness_mm: torch.Tensor | None
    ) -> torch.Tensor:
        """The conditions, (B, 4), each about 1 in size."""
        thickness = torch.zeros_like(gap_mm) if thickness_mm is None else thickness_mm
        return torch.stack(
            (gap_mm / 5.0, pixel_mm, (thickness / gap_mm).clamp(0.0, 2.0), 2.0 * t - 1.0), dim=1
        )

    @staticmethod
    def _align(
        before: torch.Tensor,
        after: torch.Tensor,
        flow_before: torch.Tensor,
        flow_after: torch.Tensor,
        t: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Warp both slices to t: the displacement from one to the other is 2m, taken in parts t and 1 - t."""
        size, t = before.shape[-2:], t.view(-1, 1, 1, 1)
        return (
            warp(before, full_flow(-2.0 * t * flow_before, size)),
            warp(after, full_flow(2.0 * (1.0 - t) * flow_after, size)),
        )

    def _compose(
        self, slices: torch.Tensor, half_flow: torch.Tensor, correction: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """The slice (B, 1, H, W) that the corrected flow, the blend of the candidates and the residual make."""
        before, after = slices[:, 1:2], slices[:, 2:3]
        flow_before = half_flow + correction[:, 0:2].float()
        flow_after = half_flow + correction[:, 2:4].float()
        maps = F.pixel_shuffle(correction[:, 4:].float(), 2)
        estimates = list(self._align(before, after, flow_before, flow_after, t))
        part = t.view(-1, 1, 1, 1)
        logits = [maps[:, 0:1] + torch.log(1.0 - part), maps[:, 1:2] + torch.log(part)]
        if self.candidates:
            cubic = (slices * cubic_weights(t)[:, :, None, None]).sum(dim=1, keepdim=True)
            estimates += [cubic, torch.lerp(before, after, part)]
            logits += [maps[:, 2:3] - 2.0, maps[:, 3:4] - 2.0]
        shares = torch.softmax(torch.cat(logits, dim=1), dim=1)
        out = (shares * torch.cat(estimates, dim=1)).sum(dim=1, keepdim=True)
        # Softsign keeps a gradient far out, where tanh would leave a residual stuck at its bound; slope 20 HU.
        residual = self.residual_limit * F.softsign(maps[:, 4:5] * (20.0 / self.residual_limit))
        in_air = slices.amax(dim=1, keepdim=True) < -900.0
        return out + residual.masked_fill(in_air, 0.0)


def _pointwise(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution as matrix product: on a CPU torch leaves the channels-last layout for it otherwise."""
    return F.linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


def _double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
