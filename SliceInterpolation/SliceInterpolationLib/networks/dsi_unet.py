"""The U-Net of the head CT study: an EfficientNetV2-S encoder and a plain decoder, for the brain window only.

The modules of the encoder carry the names of the published ImageNet checkpoints of `tf_efficientnetv2_s`
(Tan & Le 2021), so that such a checkpoint loads by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import PairNetwork
from .sliding_window import Apply, whole

STAGES = (
    # block, repeats, stride, expansion, channels (EfficientNetV2 paper, Table 4)
    ("conv", 2, 1, 1, 24),
    ("fused", 4, 2, 4, 48),
    ("fused", 4, 2, 4, 64),
    ("mbconv", 6, 2, 4, 128),
    ("mbconv", 9, 1, 6, 160),
    ("mbconv", 15, 2, 6, 256),
)
SKIP_STAGES = (0, 1, 2, 4, 5)
"""Stages whose outputs, at strides 2, 4, 8, 16 and 32, go to the decoder."""


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's "SAME": an odd pixel of padding goes to the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        rows, columns = (max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(x)


def normalization(norm: str, channels: int, eps: float) -> nn.Module:
    """Normalization by "batch" as published, or by "group" of channels, which never depends on the batch."""
    if norm == "batch":
        return nn.BatchNorm2d(channels, eps=eps)
    if norm == "group":
        return nn.GroupNorm(8, channels, eps=eps)
    raise ValueError(f'norm must be "batch" or "group", not {norm!r}')


class ConvBlock(nn.Module):
    """conv3x3, norm, SiLU, plus the input."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, norm: str) -> None:
        super().__init__()
        self.skip = stride == 1 and inputs == outputs
        self.conv = SameConv2d(inputs, outputs, 3, stride)
        self.bn1 = normalization(norm, outputs, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.silu(self.bn1(self.conv(x)))
        return x + y if self.skip else y


class FusedMBConv(nn.Module):
    """Expansion by a full 3x3 convolution, linear 1x1 projection."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, norm: str) -> None:
        super().__init__()
        self.skip = stride == 1 and inputs == outputs
        self.conv_exp = SameConv2d(inputs, inputs * expansion, 3, stride)
        self.bn1 = normalization(norm, inputs * expansion, 1e-3)
        self.conv_pwl = SameConv2d(inputs * expansion, outputs, 1)
        self.bn2 = normalization(norm, outputs, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.silu(self.bn1(self.conv_exp(x)))
        y = self.bn2(self.conv_pwl(y))
        return x + y if self.skip else y


class SqueezeExcite(nn.Module):
    """Channel gate from the global mean (Hu et al. 2018)."""

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) -> the same shape; a gate sees the whole slice."""
        gate = self.conv_expand(F.silu(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class MBConv(nn.Module):
    """1x1 expansion, depthwise 3x3, squeeze and excite to a quarter of the input channels, 1x1 projection."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, norm: str) -> None:
        super().__init__()
        self.skip = stride == 1 and inputs == outputs
        middle = inputs * expansion
        self.conv_pw = SameConv2d(inputs, middle, 1)
        self.bn1 = normalization(norm, middle, 1e-3)
        self.conv_dw = SameConv2d(middle, middle, 3, stride, groups=middle)
        self.bn2 = normalization(norm, middle, 1e-3)
        self.se = SqueezeExcite(middle, inputs // 4)
        self.conv_pwl = SameConv2d(middle, outputs, 1)
        self.bn3 = normalization(norm, outputs, 1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        y = F.silu(self.bn1(self.conv_pw(x)))
        y = F.silu(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(self.se(y)))
        return x + y if self.skip else y


BLOCKS = {"conv": ConvBlock, "fused": FusedMBConv, "mbconv": MBConv}


def scaled(channels: int, width: float) -> int:
    """Channels times a width, as a multiple of 8 that group normalization can divide."""
    return max(8, round(channels * width / 8) * 8)


class EfficientNetV2S(nn.Module):
    """Feature extractor of EfficientNetV2-S, without its classification head: 19,847,032 parameters.

    width, depth: all channels, and the repeats of all blocks, times so much; 1 as published.

    Example:
        >>> encoder = EfficientNetV2S()
        >>> [features.shape[1] for features in encoder(torch.rand(1, 2, 64, 64))]
        [24, 48, 64, 160, 256]
    """

    def __init__(self, inputs: int = 2, norm: str = "batch", width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        if not (0 < width <= 4 and 0 < depth <= 4):
            raise ValueError(f"width and depth must lie in 0..4, not {width} and {depth}")
        self.channels = tuple(scaled(STAGES[stage][-1], width) for stage in SKIP_STAGES)
        before = scaled(24, width)
        self.conv_stem = SameConv2d(inputs, before, 3, stride=2)
        self.bn1 = normalization(norm, before, 1e-3)
        self.blocks = nn.ModuleList()
        for block, repeats, stride, expansion, outputs in STAGES:
            outputs, stage = scaled(outputs, width), nn.Sequential()
            for index in range(math.ceil(repeats * depth)):
                stage.append(BLOCKS[block](before, outputs, stride if index == 0 else 1, expansion, norm))
                before = outputs
            self.blocks.append(stage)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, inputs, H, W) -> features at strides 2, 4, 8, 16, 32 with 24, 48, 64, 160, 256 channels."""
        x = F.silu(self.bn1(self.conv_stem(x)))
        features = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in SKIP_STAGES:
                features.append(x)
        return features


class DecoderBlock(nn.Module):
    """Nearest x2 upsampling, the skip concatenated, two convolutions with norm and ReLU."""

    def __init__(self, inputs: int, skip: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(inputs + skip, outputs, 3, padding=1, bias=False),
            normalization(norm, outputs, 1e-5),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            normalization(norm, outputs, 1e-5),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        """(B, inputs, H, W) and a skip (B, skip, 2H, 2W) or None -> (B, outputs, 2H, 2W)."""
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.convs(x if skip is None else torch.cat((x, skip), 1))


class DSIUNet(PairNetwork):
    """EfficientNetV2-S U-Net for the middle slice (arXiv 2606.09953), 22,093,257 parameters.

    norm: "batch" as published; "group" for training that must not depend on the batch (and then without the
    ImageNet weights, which belong to batch normalization).
    residual: predict a correction of the mean of the inputs, zero at the start, rather than the slice itself
    as published; with a similarity loss the bounded start keeps an early excursion from becoming permanent.
    inference: "whole" slices, or "composite" as the paper evaluated 512x512 slices, see `composite`; training
    sees what it is given either way.
    width, depth: channels and repeats of the blocks times so much, for machines that are too slow for the published
    size (1).

    Example:
        >>> network = DSIUNet().eval()
        >>> network(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2606.09953"
    intensity = "brain-window"
    multiple = 32
    # No reach: squeeze and excite averages over the whole slice.

    def __init__(
        self,
        norm: str = "batch",
        residual: bool = False,
        inference: str = "whole",
        width: float = 1.0,
        depth: float = 1.0,
    ) -> None:
        super().__init__()
        if inference not in ("whole", "composite"):
            raise ValueError(f'inference must be "whole" or "composite", not {inference!r}')
        self.norm, self.residual, self.inference = norm, residual, inference
        self.encoder = EfficientNetV2S(2, norm, width, depth)
        skips = (*self.encoder.channels[-2::-1], 0)
        widths = (self.encoder.channels[-1], *(scaled(one, width) for one in (256, 128, 64, 32, 16)))
        self.decoder = nn.ModuleList(
            DecoderBlock(inputs, skip, outputs, norm)
            for inputs, skip, outputs in zip(widths[:-1], skips, widths[1:])
        )
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)
        if residual:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(
        self, pair: torch.Tensor, t: float | torch.Tensor = 0.5, apply: Apply = whole
    ) -> torch.Tensor:
        """Predict the middle slice of a pair (B, 2, H, W), whole or as the paper's composite; (B, 1, H, W).

        Raises ValueError as `PairNetwork.forward` does, and for a composite of slices other than 512x512.
        """
        forward = super().forward
        if self.inference == "composite" and not self.training:
            return composite(lambda crop: forward(crop, t, apply), pair)
        return forward(pair, t, apply)

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W), sides multiples of 32, -> (B, 1, H, W); always the middle slice."""
        *skips, x = self.encoder(pair)
        for block, skip in zip(self.decoder, (*reversed(skips), None)):
            x = block(x, skip)
        x = self.head(x)
        return x + pair.mean(1, keepdim=True) if self.residual else x

    def load_imagenet_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load a published ImageNet checkpoint of `tf_efficientnetv2_s` into the encoder.

        state: the checkpoint's state dict. Its classification head (conv_head, bn2, classifier) is left
        out, and its three-channel stem becomes a two-channel one: the first two channels, times 3/2, so that
        the response to equal channels stays what it was. Everything else must be there, with the right
        shape; else ValueError, and nothing is loaded.
        """
        if self.norm != "batch":
            raise ValueError('ImageNet weights need norm="batch": their statistics have no place elsewhere')
        head = ("conv_head.", "bn2.", "classifier.")
        given = {name: tensor for name, tensor in state.items() if not name.startswith(head)}
        stem = given.get("conv_stem.weight")
        if stem is not None:
            if stem.ndim != 4 or stem.shape[1] != 3:
                raise ValueError(f"expected a stem of three channels, got {tuple(stem.shape)}")
            given["conv_stem.weight"] = stem[:, :2] * 1.5
        wanted = self.encoder.state_dict()
        for name, tensor in wanted.items():
            if name.endswith("num_batches_tracked"):  # A counter; older checkpoints lack it.
                given.setdefault(name, tensor)
        wrong = sorted(set(given) ^ set(wanted))
        wrong += [name for name in wanted if name in given and given[name].shape != wanted[name].shape]
        if wrong:
            raise ValueError(
                f"not an EfficientNetV2-S checkpoint: {len(wrong)} tensors are missing, left over or of "
                f"another shape, among them {', '.join(wrong[:3])}"
            )
        self.encoder.load_state_dict(given)


def composite(network: Callable[[torch.Tensor], torch.Tensor], pair: torch.Tensor) -> torch.Tensor:
    """Predict a 512x512 slice from thirteen 256x256 crops, as the paper's evaluation does.

    The nine crops with corners at 64, 128 and 192 are averaged over the inner 384x384; the four corner crops
    fill the frame of 64 pixels around it. It shows the network the field of view that it was trained on, at
    the price of a visible seam at the border of the two; prefer the network on the whole slice otherwise.

    pair: (B, 2, 512, 512) -> (B, 1, 512, 512). Raises ValueError for another size.
    """
    if pair.ndim != 4 or pair.shape[-2:] != (512, 512):
        raise ValueError(f"the composite is defined for 512x512 slices only, got {tuple(pair.shape)}")

    def add(canvas: torch.Tensor, row: int, column: int) -> None:
        window = (..., slice(row, row + 256), slice(column, column + 256))
        canvas[window] += network(pair[window])

    frame, inner, weight = (pair.new_zeros(len(pair), 1, 512, 512) for _ in range(3))
    for row in (0, 256):
        for column in (0, 256):
            add(frame, row, column)
    for row in (64, 128, 192):
        for column in (64, 128, 192):
            add(inner, row, column)
            weight[..., row : row + 256, column : column + 256] += 1
    return torch.where(weight > 0, inner / weight.clamp_min(1), frame)
