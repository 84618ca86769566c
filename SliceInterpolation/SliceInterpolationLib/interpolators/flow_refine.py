"""The flow-refine network on a stack."""

from __future__ import annotations

from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ..networks.flow_refine import FlowRefine
from ..volume import AIR_LIMIT_HU
from .on_device import OnDeviceSliceWise

_BORDER = 16  # px that tissue is continued by where the border of a slice cuts through it


class FlowRefineInterpolator(OnDeviceSliceWise):
    """The flow-refine network with trained weights."""

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
        self.name = name

    def predict(self, slices, stack, t, with_uncertainty):
        """See `OnDeviceSliceWise.predict`."""
        gap, pixel, thickness, part = (
            torch.full((1,), float(value), device=slices.device)
            for value in (stack.gap, np.mean(stack.pixel), stack.thickness or 0.0, t)
        )
        left, right, top, bottom = pads = _pads_through_tissue(slices)
        slices = F.pad(slices, pads, mode="replicate")
        out = self.network(slices, gap, pixel, part, thickness, with_uncertainty=with_uncertainty)
        rows, columns = slice(top, slices.shape[-2] - bottom), slice(left, slices.shape[-1] - right)
        return tuple(image[..., rows, columns] for image in (out if with_uncertainty else (out,)))


def _pads_through_tissue(slices: torch.Tensor) -> list[int]:
    """Pixels to add left, right, above and below: none where air surrounds the body.

    Convolutions see zeros, that is water, beyond a border; where it cuts through tissue the tissue is continued.
    """
    borders = (slices[..., 0], slices[..., -1], slices[..., 0, :], slices[..., -1, :])
    return [_BORDER if bool((border > AIR_LIMIT_HU).any()) else 0 for border in borders]
