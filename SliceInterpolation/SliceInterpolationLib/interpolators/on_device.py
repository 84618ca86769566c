"""Base of the interpolators that run on torch: where they run, and what they do when its memory ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Callable

import numpy as np
import torch

from ..stack import SliceStack
from .base import Interpolator, SliceWise, split_positions

_SMALLEST_TILE = 128
_TILE_OVERLAP = 48  # px beyond a tile that are predicted and thrown away
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


class OnDeviceSliceWise(OnDevice, SliceWise):
    """Base: predicts from four neighboring slices in HU on a device, smaller or elsewhere when memory ends.

    Where only air surrounds the body the slice is interpolated linearly, which saves half of the work on a
    usual head CT and changes no tissue.
    """

    local = True
    """False where a pixel depends on the whole slice: it is then neither cropped to the body nor tiled."""
    tile: int | None = None
    """Side of the tiles in pixels; None: the whole slice at once."""

    def predict(
        self, slices: torch.Tensor, stack: SliceStack, t: float, with_uncertainty: bool
    ) -> tuple[torch.Tensor, ...]:
        """Slices (1, 4, H, W) in HU on the device -> (prediction,) or (prediction, SD), each (1, 1, H, W)."""
        raise NotImplementedError

    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """See `SliceWise.between`."""
        return self._between(stack, before, t, with_uncertainty=False)[0]

    def synthesize_with_uncertainty(
        self, stack: SliceStack, positions: Sequence[float]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `Interpolator.synthesize_with_uncertainty`."""
        if not self.has_uncertainty:
            yield from super().synthesize_with_uncertainty(stack, positions)
        for before, t in split_positions(stack, positions):
            if t == 0:
                image = stack.image(before).copy()
                yield image, np.zeros_like(image)
            else:
                yield self._between(stack, before, t, with_uncertainty=True)

    def _between(self, stack: SliceStack, before: int, t: float, with_uncertainty: bool):
        images = np.stack([stack.hu(number) for number in range(before - 1, before + 3)])
        out = images[1] + np.float32(t) * (images[2] - images[1])
        outputs = [out, np.abs(images[2] - images[1]) * 0.5] if with_uncertainty else [out]
        box = body_box(stack)
        if box is not None:
            box = box if self.local else (slice(None), slice(None))
            slices = torch.from_numpy(np.ascontiguousarray(images[(slice(None), *box)]))[None]
            with torch.inference_mode():
                predicted = self._run(slices, stack, t, with_uncertainty)
            for whole, part in zip(outputs, predicted):
                whole[box] = part[0, 0].cpu().numpy()
        outputs[0] = stack.from_hu(outputs[0])
        if with_uncertainty:
            outputs[1] = outputs[1] / np.float32(stack.hu_gain)
        return tuple(outputs)

    def _run(self, slices: torch.Tensor, stack: SliceStack, t: float, with_uncertainty: bool):
        """Predict on the device; when its memory ends in smaller tiles, in the end on the CPU."""
        while True:
            try:
                return self._run_tiled(slices, stack, t, with_uncertainty)
            except torch.cuda.OutOfMemoryError:
                if self.device.type == "cpu":
                    raise
                size = self.tile or max(slices.shape[-2:])
                smallest = _SMALLEST_TILE if self.local else size
                self.tile = self._retreat(size, smallest, "tiles of {} pixels")

    def _run_tiled(self, slices: torch.Tensor, stack: SliceStack, t: float, with_uncertainty: bool):
        if self.tile is None:
            return self.predict(slices.to(self.device), stack, t, with_uncertainty)
        height, width = slices.shape[-2:]
        outputs = [torch.empty(1, 1, height, width) for _ in range(2 if with_uncertainty else 1)]
        for top in range(0, height, self.tile):
            for left in range(0, width, self.tile):
                y0, x0 = max(top - _TILE_OVERLAP, 0), max(left - _TILE_OVERLAP, 0)
                y1, x1 = top + self.tile, left + self.tile
                part = slices[..., y0 : y1 + _TILE_OVERLAP, x0 : x1 + _TILE_OVERLAP].to(self.device)
                for whole, tile in zip(outputs, self.predict(part, stack, t, with_uncertainty)):
                    whole[..., top:y1, left:x1] = tile[..., top - y0 : y1 - y0, left - x0 : x1 - x0].cpu()
        return outputs
