"""One batch of examples through any network that can be trained to predict a slice: HU in, HU out."""

from __future__ import annotations

import torch

from SliceInterpolationLib.intensity import Window, window_of
from SliceInterpolationLib.networks.blocks import PairNetwork

from .losses import full_precision

TRAINABLE = (
    "flow-refine",
    "dsi-unet",
    "msi-cnn",
    "msi-unet",
    "msi-gan",
    "msi-gan-plus",
    "rife-style",
    "ifrnet-style",
)
"""Architectures that regress the slice itself. Of the GANs that is the generator, without its discriminator."""


def predict(
    network: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Prediction, target and predicted error SD (None where the network gives none), each (B, 1, H, W) in HU.

    batch: as `data.ExampleSampler.batch` makes it. A network that sees a window of HU is asked for no more
    than that window: the target is clipped to it, the prediction is not.
    """
    if not isinstance(network, PairNetwork):
        conditions = (batch[name] for name in ("gap_mm", "pixel_mm", "t", "thickness_mm"))
        # The flow adds up small differences; bfloat16 would lose them.
        with torch.autocast(batch["slices"].device.type, enabled=False):
            flow = network.prior(batch["slices"])
        prediction, sd = network(batch["slices"], *conditions, with_uncertainty=True, half_flow=flow)
        return prediction, batch["target"], sd
    pair, target, window = to_domain(network, batch)
    return window.decode(full_precision(network(pair, batch["t"]))), window.decode(target), None


def in_domain(network: PairNetwork, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and target of a two-slice network in its own intensity domain, each (B, 1, H, W)."""
    pair, target, _ = to_domain(network, batch)
    return full_precision(network(pair, batch["t"])), target


def to_domain(
    network: PairNetwork, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, Window]:
    """What a two-slice network sees (B, 2, H, W), what it should answer (B, 1, H, W), and the window of both."""
    low, high = batch["percentiles"].view(-1, 2, 1, 1).split(1, 1)
    window = window_of(network.intensity, (low, high))
    return window.encode(batch["slices"][:, 1:3]), window.encode(batch["target"]), window
