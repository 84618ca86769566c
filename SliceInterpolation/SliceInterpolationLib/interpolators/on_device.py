"""Base of the interpolators that run on torch: where they run, and what they do when its memory ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from ..networks.lucas_kanade import MULTIPLE
from ..networks.sliding_window import Apply, SlidingWindow, smallest_side, whole
from ..stack import SliceStack
from .base import Interpolator, split_positions

_BODY_MARGIN = 32
"""Pixels around the body that are predicted too. What lies beyond would change its skin by less than 1 HU."""


class OnDevice(Interpolator):
    """A method, with or without a network, on a device that it leaves when the memory there ends.

    device: as `choose_device` returns it. network: moved there and set to predict.
    """

    reach: int | None = None
    """Pixels of a slice around it that a predicted pixel depends on, the radius of the receptive field. None: on the
    whole slice, which is then neither cropped to the body nor cut into windows."""

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

    def box(self, stack: SliceStack) -> tuple[slice, slice] | None:
        """Rows and columns worth predicting: the body of the stack with a margin, or all; None where all is air."""
        if stack.body is None:
            return None
        box, multiple = [], getattr(self.network, "multiple", MULTIPLE)
        for along, size in zip(stack.body, stack.slices.shape[1:]):
            if self.reach is None:
                along = slice(0, size)
            # Strided layers see the same pixels together as in the whole slice.
            first = max(along.start - _BODY_MARGIN, 0) // multiple * multiple
            last = -(-(along.stop + _BODY_MARGIN) // multiple) * multiple
            box.append(slice(first, min(last, size)))
        return tuple(box)

    def _retreat(self, size: int, smallest: int, pieces: str) -> int | None:
        """After the GPU's memory has ended: a smaller size of the pieces, or None and on the CPU.

        size: of the pieces so far; smallest: the least worth trying; pieces: what to call them ("windows of {}
        pixels").
        """
        torch.cuda.empty_cache()
        if size > smallest:
            smaller = max(size // 2, smallest)
            self.report(f"The GPU is out of memory; going on with {pieces.format(smaller)}.")
            return smaller
        self.move_to("cpu")
        self.report("The GPU is out of memory even for small pieces; going on with the CPU.")
        return None


@dataclass
class Gap:
    """Two neighboring slices and what all positions between them share; one is held at a time.

    images: (4, rows, columns) float32 in HU, the two before and the two after the gap; the nearer one is repeated
    where the stack ends. prepared: what `OnDeviceSliceWise.prepare` made of them on the device.
    """

    stack: SliceStack
    images: np.ndarray
    prepared: Any = None

    @classmethod
    def after(cls, stack: SliceStack, before: int) -> Gap:
        """The gap between the slices `before` and `before` + 1."""
        return cls(stack, np.stack([stack.hu(number) for number in range(before - 1, before + 3)]))


class OnDeviceSliceWise(OnDevice):
    """Base: predicts from the four slices around a gap, in HU on a device, in windows or elsewhere when memory ends.

    Where only air surrounds the body the slice is interpolated linearly, if the method is local: this saves half of
    the work on a usual head CT.
    """

    window: int | None = None
    """Side of the windows in pixels into which a slice is cut; None: none."""

    def prepare(self, slices: torch.Tensor, stack: SliceStack, box: tuple[slice, slice]) -> Any:
        """What all positions in a gap need, computed once; whole slices (1, 4, H, W) in HU on the device come in."""
        return slices[(..., *box)]

    def predict(
        self, prepared: Any, stack: SliceStack, t: float, with_uncertainty: bool
    ) -> tuple[torch.Tensor, ...]:
        """The slice at t within the box, as (prediction,) or (prediction, SD), each (1, 1, h, w) in HU."""
        raise NotImplementedError

    def synthesize(self, stack: SliceStack, positions: Sequence[float]) -> Iterator[np.ndarray]:
        """Predict the slices at `positions` in order; what two positions in one gap share is computed once."""
        for image, _ in self._stream(stack, positions, with_uncertainty=False):
            yield image

    def synthesize_with_uncertainty(
        self, stack: SliceStack, positions: Sequence[float]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `synthesize`, with the predicted error SD of each slice, zero for the slices of the stack."""
        if not self.has_uncertainty:
            yield from super().synthesize_with_uncertainty(stack, positions)
        yield from self._stream(stack, positions, with_uncertainty=True)

    def _stream(
        self, stack: SliceStack, positions: Sequence[float], with_uncertainty: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for before, places in groupby(split_positions(stack, positions), key=itemgetter(0)):
            gap = None
            for _, t in places:
                if t == 0:
                    image = stack.image(before).copy()
                    yield image, np.zeros_like(image) if with_uncertainty else None
                    continue
                gap = gap or Gap.after(stack, before)
                yield self._between(gap, t, with_uncertainty)

    def _between(self, gap: Gap, t: float, with_uncertainty: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The slice at the fraction t of a gap and its error SD or None, in the units of the stack."""
        stack, (_, before, after, _) = gap.stack, gap.images
        difference = after - before
        image = before + np.float32(t) * difference
        sd = np.abs(difference) * np.float32(0.5) if with_uncertainty else None
        box = self.box(stack)
        if box is not None:
            predicted = self._run(gap, box, t, with_uncertainty)
            for target, part in zip((image, sd), predicted):
                target[box] = part[0, 0].cpu().numpy()
        return stack.from_hu(image), None if sd is None else sd / np.float32(stack.hu_gain)

    def _run(
        self, gap: Gap, box: tuple[slice, slice], t: float, with_uncertainty: bool
    ) -> tuple[torch.Tensor, ...]:
        """Predict on the device; when its memory ends in smaller windows, in the end on the CPU."""
        while True:
            try:
                return self._attempt(gap, box, t, with_uncertainty)
            except torch.cuda.OutOfMemoryError:
                if self.device.type == "cpu":
                    raise
                gap.prepared = None
                size = self.window or max(along.stop - along.start for along in box)
                smallest = size if self.network is None or self.reach is None else smallest_side(self.reach)
                self.window = self._retreat(size, smallest, "windows of {} pixels")

    def _attempt(
        self, gap: Gap, box: tuple[slice, slice], t: float, with_uncertainty: bool
    ) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            if gap.prepared is None:
                slices = torch.from_numpy(gap.images)[None].to(self.device)
                gap.prepared = self.prepare(slices, gap.stack, box)
            return self.predict(gap.prepared, gap.stack, t, with_uncertainty)

    @property
    def _apply(self) -> Apply:
        """How the network is applied to slices: at once, or in windows."""
        if self.window is None or self.reach is None:
            return whole
        return SlidingWindow(self.window, self.reach, self.network.multiple)
