"""Interpolator for the network that makes all slices around a gap at once from the four slices around it (I3Net)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..errors import InputError
from ..intensity import WINDOWS
from ..networks.i3net import I3Net
from ..stack import SliceStack
from .on_device import OnDeviceSliceWise


class FourSlicesInterpolator(OnDeviceSliceWise):
    """I3Net with its weights, continued beyond its intensity window by linear interpolation."""

    def __init__(
        self,
        network: I3Net,
        name: str,
        device: str = "cpu",
        report: Callable[[str], None] | None = None,
    ):
        super().__init__(device, report, network)
        self.name, self.reach = name, network.reach
        self._window = WINDOWS[network.intensity]

    def prepare(
        self, slices: torch.Tensor, stack: SliceStack, box: tuple[slice, slice]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The four slices in HU within the box and all dense ones, (1, 3 * factor + 1, h, w); once for a gap."""
        slices = slices[(..., *box)]
        try:
            dense = self.network(self._window.encode(slices))
        except ValueError as error:
            raise InputError(f"'{self.name}' cannot be used here: {error}.") from error
        return slices, self._window.decode(dense.float())

    def predict(
        self,
        prepared: tuple[torch.Tensor, torch.Tensor],
        stack: SliceStack,
        t: float,
        with_uncertainty: bool,
    ) -> tuple[torch.Tensor, ...]:
        """The dense slice at t of the middle gap. Raises InputError for a position that the network does not know."""
        factor = self.network.factor
        place = round(t * factor)
        if abs(t * factor - place) > 1e-6:
            powers = "powers of two" if factor == 2 else f"powers of {factor}"
            raise InputError(
                f"'{self.name}' divides each gap into {factor}: only factor {factor} (or {powers} by repeated use)."
            )
        slices, dense = prepared
        before, after = slices[:, 1:2], slices[:, 2:3]
        predicted = dense[:, factor + place : factor + place + 1]
        return (self._window.extend(predicted, torch.lerp(before, after, t), before, after),)
