"""Base of the interpolators that run on torch: where they run, and what they do when its memory ends."""

from __future__ import annotations

from typing import Callable

import torch

from .base import Interpolator, SliceStack

_BODY_MARGIN = 24  # px around the body that a network still sees


class OnDevice(Interpolator):
    """A method, with or without a network, on a device that it leaves when the memory there ends.

    device: as `choose_device` returns it. network: moved there and set to predict.
    """

    def __init__(
        self,
        device: str = "cpu",
        report: Callable[[str], None] | None = None,
        network: torch.nn.Module | None = None,
    ):
        super().__init__(report)
        self.network = None if network is None else network.eval()
        self.move_to(device)

    def move_to(self, device: str) -> None:
        """Run on another device from now on."""
        self.device = torch.device(device)
        if self.network is not None:
            self.network.to(self.device)

    def _retreat(self, size: int, smallest: int, pieces: str) -> int | None:
        """After the GPU's memory has ended: half the size of the pieces, or None and on the CPU.

        size: of the pieces so far; smallest: the least worth trying; pieces: what to call them ("tiles of {}
        pixels").
        """
        torch.cuda.empty_cache()
        if size // 2 >= smallest:
            self.report(f"The GPU is out of memory; going on with {pieces.format(size // 2)}.")
            return size // 2
        self.move_to("cpu")
        self.report("The GPU is out of memory even for small pieces; going on with the CPU.")
        return None


def body_box(stack: SliceStack) -> tuple[slice, slice] | None:
    """Rows and columns worth predicting: the body of the stack with a margin; None where all is air."""
    if stack.body is None:
        return None
    return tuple(slice(max(s.start - _BODY_MARGIN, 0), s.stop + _BODY_MARGIN) for s in stack.body)
