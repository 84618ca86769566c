"""Interpolator for every network that predicts one slice from the two around it in an intensity window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..errors import InputError
from ..intensity import window_of
from ..networks.blocks import PairNetwork
from ..stack import SliceStack
from .on_device import OnDeviceSliceWise


class PairInterpolator(OnDeviceSliceWise):
    """A two-slice network with its weights, continued beyond its intensity window by linear interpolation."""

    def __init__(
        self,
        network: PairNetwork,
        name: str,
        device: str = "cpu",
        report: Callable[[str], None] | None = None,
    ):
        super().__init__(device, report, network)
        self.name, self.reach = name, network.reach
        self._told = False

    def predict(
        self, slices: torch.Tensor, stack: SliceStack, t: float, with_uncertainty: bool
    ) -> tuple[torch.Tensor, ...]:
        """The network's slice at t. Raises InputError for a position or a size that the network does not know."""
        if self.network.middle_only and t != 0.5:
            raise InputError(
                f"'{self.name}' predicts only the slice halfway between two others: only factor 2 "
                "(or powers of two by repeated use)."
            )
        # Without HU a brain window means nothing; the percentiles of the volume stand in for it.
        window = window_of(self.network.intensity if stack.is_hu else "unit", stack.percentiles)
        if not self._told:
            self._told = True
            low, high = (float(stack.from_hu(np.float32(end))) for end in (window.low, window.high))
            self.report(
                f"'{self.name}' knows intensities from {low:.0f} to {high:.0f} only; beyond them the result "
                "is that of linear interpolation."
            )
        before, after = slices[:, 1:2], slices[:, 2:3]
        try:
            values = self.network(window.encode(slices[:, 1:3]), t, self._apply)
        except ValueError as error:
            raise InputError(f"'{self.name}' cannot be used here: {error}.") from error
        linear = torch.lerp(before, after, t)
        return (window.extend(window.decode(values.float()), linear, before, after),)
