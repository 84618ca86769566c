"""Interpolators that predict one slice at a time on torch: their base, optical flow, and flow-refine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ..networks.flow_refine import FlowRefine
from ..networks.lucas_kanade import full_flow, symmetric_flow, warp
from .base import SliceStack, SliceWise, split_positions
from .on_device import OnDevice, body_box

_SMALLEST_TILE = 128
_BORDER = 16  # px that tissue is continued by where the border of a slice cuts through it
_TILE_OVERLAP = 48  # px beyond a tile that are predicted and thrown away


class TorchInterpolator(OnDevice, SliceWise):
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


class Flow(TorchInterpolator):
    """Symmetric optical flow: both slices are warped to the position and mixed by nearness. No weights."""

    name = "flow"

    def predict(self, slices, stack, t, with_uncertainty):
        """See `TorchInterpolator.predict`."""
        before, after = slices[:, 1:2], slices[:, 2:3]
        flow = full_flow(symmetric_flow(before, after), slices.shape[-2:])
        return (torch.lerp(warp(before, -2 * t * flow), warp(after, 2 * (1 - t) * flow), t),)


class FlowRefineInterpolator(TorchInterpolator):
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
        """See `TorchInterpolator.predict`."""
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
    return [_BORDER if bool((border > -500.0).any()) else 0 for border in borders]
