"""The flow-refine network on a stack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ..networks.flow_refine import FlowRefine
from ..stack import SliceStack
from ..volume import AIR_LIMIT_HU
from .on_device import OnDeviceSliceWise

_BORDER = 16  # px that tissue is continued by where the border of a slice cuts through it


class FlowRefineInterpolator(OnDeviceSliceWise):
    """The flow-refine network with trained weights.

    The flow is found on whole slices, once for all positions in a gap; the network refines it where the body is.
    """

    has_uncertainty = True

    def __init__(
        self,
        network: FlowRefine,
        name: str,
        device: str = "cpu",
        report: Callable[[str], None] | None = None,
    ):
        # Channels last is the layout that CPU and GPU convolutions run fastest in.
        super().__init__(device, report, network.to(memory_format=torch.channels_last))
        self.name, self.reach = name, network.reach

    def prepare(
        self, slices: torch.Tensor, stack: SliceStack, box: tuple[slice, slice]
    ) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Slices within the box, continued where their border cuts through tissue; their flow; the pixels added."""
        pads = left, right, top, bottom = _pads_through_tissue(slices)
        slices = F.pad(slices, pads, mode="replicate")
        # Where pixels were added there is tissue at the border, and so the box begins or ends there.
        box = tuple(
            slice(along.start, along.stop + before + after)
            for along, before, after in zip(box, (top, left), (bottom, right))
        )
        return slices[(..., *box)], self.network.prior(slices, box), pads

    def predict(
        self,
        prepared: tuple[torch.Tensor, torch.Tensor, list[int]],
        stack: SliceStack,
        t: float,
        with_uncertainty: bool,
    ) -> tuple[torch.Tensor, ...]:
        """The network's slice at t within the box, and its error SD if asked for."""
        slices, half_flow, (left, right, top, bottom) = prepared
        geometry = (
            torch.full((1,), float(value), device=slices.device)
            for value in (stack.gap, np.mean(stack.pixel), t, stack.thickness or 0.0)
        )
        out = self.network(slices, *geometry, with_uncertainty, half_flow, self._apply)
        inner = (..., slice(top, slices.shape[-2] - bottom), slice(left, slices.shape[-1] - right))
        return tuple(image[inner] for image in (out if with_uncertainty else (out,)))


def _pads_through_tissue(slices: torch.Tensor) -> list[int]:
    """Pixels to add left, right, above and below: none where air surrounds the body.

    Convolutions see zeros, that is water, beyond a border; where it cuts through tissue the tissue is continued.
    """
    borders = (slices[..., 0], slices[..., -1], slices[..., 0, :], slices[..., -1, :])
    return [_BORDER if bool((border > AIR_LIMIT_HU).any()) else 0 for border in borders]
