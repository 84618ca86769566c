"""Symmetric optical flow between two slices; no weights."""

from __future__ import annotations

import torch

from ..networks.lucas_kanade import full_flow, symmetric_flow, warp
from .on_device import OnDeviceSliceWise


class Flow(OnDeviceSliceWise):
    """Symmetric optical flow: both slices are warped to the position and mixed by nearness. No weights."""

    name = "flow"

    def predict(self, slices, stack, t, with_uncertainty):
        """See `OnDeviceSliceWise.predict`."""
        before, after = slices[:, 1:2], slices[:, 2:3]
        flow = full_flow(symmetric_flow(before, after), slices.shape[-2:])
        return (torch.lerp(warp(before, -2 * t * flow), warp(after, 2 * (1 - t) * flow), t),)
