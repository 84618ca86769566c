"""Symmetric optical flow between two slices; no weights."""

from __future__ import annotations

import torch

from ..networks.lucas_kanade import full_flow, gap_flow, warp
from ..stack import SliceStack
from .on_device import OnDeviceSliceWise


class Flow(OnDeviceSliceWise):
    """Symmetric optical flow: both slices are warped to the position and mixed by nearness. No weights.

    Its coarse levels always see whole slices, so it is never cut into windows.
    """

    name = "flow"
    reach = (
        72  # of the finest level: three times 11 pixels at half resolution, and the way back to the full one
    )

    def prepare(
        self, slices: torch.Tensor, stack: SliceStack, box: tuple[slice, slice]
    ) -> tuple[torch.Tensor, ...]:
        """The two slices within the box and half of the displacement between them, in pixels."""
        flow = gap_flow(slices, box)
        before, after = slices[:, 1:3][(..., *box)].split(1, dim=1)
        return before, after, full_flow(flow, before.shape[-2:])

    def predict(
        self, prepared: tuple[torch.Tensor, ...], stack: SliceStack, t: float, with_uncertainty: bool
    ) -> tuple[torch.Tensor, ...]:
        """Both slices warped to t, mixed."""
        before, after, flow = prepared
        return (torch.lerp(warp(before, -2 * t * flow), warp(after, 2 * (1 - t) * flow), t),)
