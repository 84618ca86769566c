"""What two or more networks of the catalogue share: the frame around a two-slice network (checks, padding,
position) and a few small blocks. Bilinear warping lives with the optical flow, in `lucas_kanade`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .lucas_kanade import warp
from .sliding_window import Apply, whole


class PairNetwork(nn.Module):
    """Frame of a network that predicts one slice from the two around it.

    A subclass says where it comes from and what it expects through its class attributes, and implements
    `predict` for sides that are multiples of `multiple`; any size is made so here, by reflection.
    """

    paper: str
    """Reference of the method."""
    inputs = 2
    """Number of slices that the network sees."""
    intensity = "unit"
    """Intensity domain: "brain-window" is clip((HU + 20) / 127, 0, 1); "unit" is the volume's 1st to 99th
    percentile mapped to 0..1 and clipped."""
    middle_only = True
    """True where the network knows the slice halfway between its inputs only (t = 0.5)."""
    multiple = 1
    """What the sides are padded to a multiple of."""
    minimum_side = 8
    reach: int | None = None
    """Pixels around it that a predicted pixel depends on, the radius of the receptive field; None where it depends on
    the whole slice (means, attention, flow), so that a part of a slice is predicted differently."""

    def forward(
        self, pair: torch.Tensor, t: float | torch.Tensor = 0.5, apply: Apply = whole
    ) -> torch.Tensor:
        """Predict the slice at fraction t of the way from the first input to the second.

        pair: (B, 2, H, W) in the network's intensity domain; t: a number or a tensor (B,), in [0, 1].
        apply: how the network proper is applied to the padded slices, in windows where memory is short.
        Returns (B, 1, H, W). Raises ValueError for other shapes, too small sides, or a t that the network
        does not know.
        """
        if pair.ndim != 4 or pair.shape[1] != self.inputs:
            raise ValueError(f"expected a tensor (B, {self.inputs}, H, W), got {tuple(pair.shape)}")
        side = max(self.minimum_side, self.multiple)
        if min(pair.shape[-2:]) < side:
            size = "x".join(str(n) for n in pair.shape[-2:])
            raise ValueError(
                f"{type(self).__name__} needs slices of at least {side}x{side} pixels, got {size}"
            )
        t = self._position(pair, t)
        padded, (top, left) = pad_to_multiple(pair, self.multiple)
        height, width = pair.shape[-2:]
        (out,) = apply(lambda part: (self.predict(part, t),), padded)
        return out[..., top : top + height, left : left + width]

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The network proper: (B, 2, H, W) with sides that are multiples of `multiple`, and t (B,)."""
        raise NotImplementedError

    def _position(self, pair: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
        t = torch.as_tensor(t, dtype=pair.dtype, device=pair.device)
        if t.ndim > 1 or (t.ndim == 1 and len(t) not in (1, len(pair))):
            raise ValueError(f"t must be a number or one number per pair ({len(pair)}), got {tuple(t.shape)}")
        if self.middle_only and not bool((t == 0.5).all()):
            raise ValueError(f"{type(self).__name__} only knows the middle slice, t must be 0.5")
        if not bool(((t >= 0) & (t <= 1)).all()):
            raise ValueError("t must lie in [0, 1]")
        return t.expand(len(pair))


def pad_to_multiple(image: torch.Tensor, multiple: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """Pad (B, C, H, W) by reflection, evenly on both sides, until H and W are multiples of `multiple`.

    Returns the padded tensor and the (row, column) at which the original begins in it.
    """
    rows, columns = (-image.shape[-2] % multiple, -image.shape[-1] % multiple)
    top, left = rows // 2, columns // 2
    if rows or columns:
        image = F.pad(image, (left, columns - left, top, rows - top), mode="reflect")
    return image, (top, left)


class ResidualBlock(nn.Module):
    """x + conv3x3(ReLU(conv3x3(x))), the block of EDSR (Lim et al. 2017): no normalization."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(x)))


def conv_prelu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and a PReLU with one slope per channel, as the flow networks use."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.PReLU(outputs))


def zero_first_outputs(layer: nn.ConvTranspose2d, count: int) -> nn.ConvTranspose2d:
    """Set the layer's first `count` output channels to zero at the start, and return it.

    With zero flow, mask and residual a flow network begins as linear interpolation and learns from there,
    rather than from noise.
    """
    with torch.no_grad():
        layer.weight[:, :count] = 0
        layer.bias[:count] = 0
    return layer


def resize_flow(flow: torch.Tensor, scale: float) -> torch.Tensor:
    """Resample a flow (B, 2n, H, W) in pixels to `scale` times its size, vectors scaled with it."""
    return scale * F.interpolate(flow, scale_factor=scale, mode="bilinear", align_corners=False)


def backward_warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """`lucas_kanade.warp` in single precision or better: bfloat16 cannot address a pixel beyond column 256.

    image: (B, C, H, W); flow: (B, 2, H, W), (x, y) in pixels. Returns (B, C, H, W) in the image's dtype.
    """
    dtype = torch.promote_types(torch.promote_types(image.dtype, flow.dtype), torch.float32)
    return warp(image.to(dtype), flow.to(dtype)).to(image.dtype)


def blend(first: torch.Tensor, second: torch.Tensor, logit: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Mix two images (B, C, H, W) by a mask logit (B, 1, H, W) on top of the linear weights of t (B,).

    A logit of zero gives (1 - t) * first + t * second.
    """
    prior = torch.logit(1 - t.float(), eps=1e-3).to(logit.dtype)
    mask = torch.sigmoid(logit + prior.view(-1, 1, 1, 1))
    return mask * first + (1 - mask) * second
