"""SAINT, spatially aware interpolation: sub-pixel convolution with filters made from distances in mm.

A residual dense network (RDN) reads a sagittal or coronal image and its two neighbors. For every position
between two acquired slices a small network turns the distances in mm from that position to the 3 x 3 pixels
around it (the filter distance matrix) into one filter; the filter applied to the features gives the values
there. So one set of weights serves any integer factor and any spacing. A second RDN merges the sagittal and
the coronal volume in axial slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .two_views import Progress, dense_length, interpolate_two_views

PAPER = "Peng et al., SAINT: Spatially Aware Interpolation NeTwork for Medical Slice Synthesis, CVPR 2020"


class ResidualDenseBlock(nn.Module):
    """Densely connected 3x3 convolutions, fused by a 1x1 convolution and added to the input."""

    def __init__(self, features: int, layers: int, growth: int):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(features + i * growth, growth, 3, padding=1) for i in range(layers)
        )
        self.fusion = nn.Conv2d(features + layers * growth, features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, features, H, W) -> the same shape."""
        dense = x
        for layer in self.layers:
            dense = torch.cat((dense, F.relu(layer(dense))), dim=1)
        return x + self.fusion(dense)


class ResidualDenseNetwork(nn.Module):
    """Residual dense network without its upsampler: images in, features of the same size out."""

    def __init__(self, channels: int, features: int, blocks: int, layers: int, growth: int):
        super().__init__()
        self.shallow = nn.Conv2d(channels, features, 3, padding=1)
        self.entry = nn.Conv2d(features, features, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualDenseBlock(features, layers, growth) for _ in range(blocks))
        self.fusion = nn.Sequential(
            nn.Conv2d(blocks * features, features, 1), nn.Conv2d(features, features, 3, padding=1)
        )
        self.reach = 3 + blocks * layers  # a pixel a convolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) -> (B, features, H, W)."""
        shallow = self.shallow(x)
        x, outputs = self.entry(shallow), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return shallow + self.fusion(torch.cat(outputs, dim=1))


def filter_distance_matrix(factor: int, spacing: torch.Tensor) -> torch.Tensor:
    """Distances in mm from each position between two slices to the 3 x 3 acquired pixels around it.

    spacing: (S, 2), the gap between acquired slices and the in-plane pixel size, in mm.

    Returns (S, factor, 3, 3): [s, c, i, j] is the distance from the position c * gap / factor past a pixel to
    that pixel's neighbor i - 1 slices and j - 1 pixels away. The first kernel axis runs along the slices, as
    the distances do. (In the published code it meets the in-plane axis of the features, which its filter
    network must learn to undo.)
    """
    tap = torch.arange(-1.0, 2.0, device=spacing.device, dtype=spacing.dtype)
    position = torch.arange(factor, device=spacing.device, dtype=spacing.dtype) / factor
    along = (tap - position[:, None]) * spacing[:, :1, None]
    across = tap * spacing[:, 1:]
    return torch.hypot(along[..., :, None], across[:, None, None, :])


class SaintAMI(nn.Module):
    """First stage, anisotropic meta interpolation (AMI): makes through-plane images dense along the slices.

    keep_observed: sub-position 0 is the acquired image itself, as in the paper; False generates it as well,
        as the published code does.
    scale: intensities are divided by it on the way in and multiplied on the way out. The paper does not
        normalize (scale 1); with values in the thousands the L1 loss and its gradients are in the hundreds,
        so our default brings them near 1.

    The defaults have 2,787,712 parameters, as the published code (the paper says 2.81 million).

    Example:
        >>> network = SaintAMI()
        >>> network(torch.zeros(1, 3, 4, 20), factor=3, spacing=(5.0, 0.5)).shape  # 4 lines become 10
        torch.Size([1, 1, 10, 20])
    """

    paper = PAPER
    intensity = "hu+1024"

    def __init__(
        self,
        features: int = 64,
        blocks: int = 6,
        layers: int = 8,
        growth: int = 32,
        keep_observed: bool = True,
        scale: float = 1000.0,
    ):
        super().__init__()
        self.keep_observed, self.scale = keep_observed, scale
        self.rdn = ResidualDenseNetwork(3, features, blocks, layers, growth)
        widths = (1, 32, 64, 64, 64)
        hidden = [
            module
            for before, after in zip(widths, widths[1:])
            for module in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU())
        ]
        self.filters = nn.Sequential(*hidden, nn.Conv2d(widths[-1], features, 3, padding=1))

    def forward(
        self, images: torch.Tensor, factor: int, spacing: torch.Tensor | tuple[float, float]
    ) -> torch.Tensor:
        """Interpolate through-plane images (B, 3, N, L) to (B, 1, (N - 1) * factor + 1, L).

        images: intensities HU + 1024, channel 1 the image itself, 0 and 2 its neighbors (zeros beyond
            the border).
        spacing: (gap between slices, pixel size along L) in mm, one for all images or (B, 2).
        """
        if factor < 2:
            raise ValueError(f"the factor must be an integer of 2 or more, not {factor}")
        batch, _, slices, length = images.shape
        spacing = torch.as_tensor(spacing, dtype=images.dtype, device=images.device).reshape(-1, 2)
        groups = len(spacing)
        if groups not in (1, batch):
            raise ValueError(f"spacing must be one pair or {batch}, not {groups}")
        distances = filter_distance_matrix(factor, spacing)[:, int(self.keep_observed) :]
        features = self.rdn(images / self.scale)
        # Filters of its own for each image are a grouped convolution with the images side by side as groups.
        features = features.reshape(batch // groups, -1, slices, length)
        # Full precision also under autocast: bfloat16 holds whole intensities to 4 HU only, in the brain.
        with torch.autocast(images.device.type, enabled=False):
            filters = self.filters(distances.reshape(-1, 1, 3, 3))
            values = F.conv2d(features.to(images.dtype), filters, padding=1, groups=groups) * self.scale
        values = values.reshape(batch, -1, slices, length)
        if self.keep_observed:
            values = torch.cat((images[:, 1:2], values), dim=1)
        dense = values.transpose(1, 2).reshape(batch, 1, slices * factor, length)
        return dense[:, :, : dense_length(slices, factor)]


class SaintRFN(nn.Module):
    """Second stage, residual fusion network (RFN): axial slices of the two views, merged.

    The defaults have 371,105 parameters, as the published code. The paper speaks of 0.12 million but gives no
    layout from which that figure follows; fewer `features` or `blocks` make it smaller. `scale` as in
    `SaintAMI`. It starts as the plain mean (last convolution zero, unlike the published code).

    Example:
        >>> network, view = SaintRFN(), torch.zeros(1, 1, 16, 20)
        >>> network(view, view).shape
        torch.Size([1, 1, 16, 20])
    """

    paper = PAPER
    intensity = "hu+1024"

    def __init__(
        self, features: int = 64, blocks: int = 4, layers: int = 6, growth: int = 12, scale: float = 1000.0
    ):
        super().__init__()
        self.scale = scale
        self.rdn = ResidualDenseNetwork(2, features, blocks, layers, growth)
        self.last = nn.Conv2d(features, 1, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, sagittal: torch.Tensor, coronal: torch.Tensor) -> torch.Tensor:
        """Merge slices of the views, each (B, 1, H, W) in HU + 1024: their mean plus a learned residual."""
        residual = self.last(self.rdn(torch.cat((sagittal, coronal), dim=1) / self.scale))
        return (sagittal + coronal) / 2 + residual * self.scale


class Saint(nn.Module):
    """Both networks of SAINT in one, so that one file holds their weights: `ami.*` and `rfn.*`.

    ami, rfn: options of `SaintAMI` and `SaintRFN`. fuse: False leaves the second network out; the two views
    are then averaged. Run it by `volume`.

    Example:
        >>> volume = Saint().volume()
        >>> [image.shape for image in volume(np.zeros((3, 8, 9)), spacing=(5.0, 0.5, 0.5), factor=2)]
        [(8, 9), (8, 9), (8, 9), (8, 9), (8, 9)]
    """

    paper = PAPER
    intensity = "hu+1024"

    def __init__(self, ami: dict | None = None, rfn: dict | None = None, fuse: bool = True):
        super().__init__()
        self.ami = SaintAMI(**(ami or {}))
        self.rfn = SaintRFN(**(rfn or {})) if fuse else None
        # Pixels around it that a predicted one depends on: the last convolution of each network adds one.
        self.reach = sum(part.rdn.reach + 1 for part in (self.ami, self.rfn) if part is not None)

    def volume(self, **options: Any) -> SaintVolume:
        """Both stages over a whole stack; options as in `SaintVolume`."""
        return SaintVolume(self.ami, self.rfn, **options)


class SaintVolume:
    """Both stages over a whole stack, see `interpolate_two_views` for buffers and memory.

    rfn: None averages the two views (the first stage alone, e.g. to make the training data of the second).
    limits: the range in HU + 1024 to which the networks' inputs and outputs are clipped; the paper's by
        default.
    chunk: through-plane images at once. An image of N x L pixels needs about 6 KiB a pixel with the default
        widths; the merging of one axial slice about 4 KiB a pixel (1 GiB for 512 x 512).

    The dense views are rounded to integers before they are merged, as in the published code, unless buffers
    of a floating-point type are given.
    """

    def __init__(
        self,
        ami: SaintAMI,
        rfn: SaintRFN | None = None,
        limits: tuple[float, float] = (0.0, 4000.0),
        chunk: int = 8,
    ):
        self.ami, self.rfn, self.limits, self.chunk = ami, rfn, limits, chunk

    def __call__(
        self,
        stack: np.ndarray | Iterable[np.ndarray],
        spacing: tuple[float, float, float],
        factor: int,
        buffers: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield the dense slices of a stack (slices, rows, columns) in HU + 1024, in order, as float32.

        spacing: along slices, rows and columns, in mm, of the stack as acquired.
        """
        device = next(self.ami.parameters()).device

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.clip(array, *self.limits).astype(np.float32)).to(device)

        @torch.inference_mode()
        def synthesize(planes: np.ndarray, first: int, last: int, view: str) -> np.ndarray:
            count = len(planes)
            images = tensor(planes[max(first - 1, 0) : last + 1])
            images = F.pad(images, (0, 0, 0, 0, int(first == 0), int(last == count)))
            triplets = torch.stack((images[:-2], images[1:-1], images[2:]), dim=1)
            across = spacing[1] if view == "sagittal" else spacing[2]
            return self.ami(triplets, factor, (spacing[0], across))[:, 0].cpu().numpy()

        @torch.inference_mode()
        def fuse(sagittal: np.ndarray, coronal: np.ndarray) -> np.ndarray:
            return self.rfn(tensor(sagittal)[None, None], tensor(coronal)[None, None])[0, 0].cpu().numpy()

        return interpolate_two_views(
            stack,
            factor,
            synthesize,
            None if self.rfn is None else fuse,
            limits=self.limits,
            keep_observed=self.ami.keep_observed,
            chunk=self.chunk,
            buffers=buffers,
            dtype=np.int16,
            progress=progress,
        )
