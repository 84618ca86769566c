"""One batch of examples through any network that can be trained to predict a slice: HU in, HU out."""

from __future__ import annotations

import torch

from SliceInterpolationLib.intensity import window_of
from SliceInterpolationLib.networks.blocks import PairNetwork

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
"""Architectures that regress the slice itself. Of the GANs that is the generator, without its discriminator;
SAINT, ACVTT and diffusion need training data or losses of another kind."""


def predict(
    network: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Prediction, target and predicted error SD (None where the network gives none), each (B, 1, H, W) in HU.

    batch: as `data.ExampleSampler.batch` makes it. A network that sees a window of HU is asked for no more
    than that window: the target is clipped to it, the prediction is not.
    """
    if not isinstance(network, PairNetwork):
        conditions = (batch[name] for name in ("gap_mm", "pixel_mm", "t", "thickness_mm"))
        prediction, sd = network(batch["slices"], *conditions, with_uncertainty=True)
        return prediction, batch["target"], sd
    low, high = batch["percentiles"].view(-1, 2, 1, 1).split(1, 1)
    window = window_of(network.intensity, (low, high))
    prediction = window.decode(network(window.encode(batch["slices"][:, 1:3]), batch["t"]))
    return prediction, window.decode(window.encode(batch["target"])), None
