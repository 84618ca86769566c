"""Interpolators for the networks that see the whole stack through its sagittal and coronal images.

The two dense views are kept in temporary files, so that memory does not grow with them. Every slice needs
both views complete: the work is done before the first slice comes, and reported as progress of its own.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Callable

import numpy as np
import torch

from ..errors import InputError
from ..intensity import WINDOWS
from ..networks.two_views import dense_length
from ..stack import SliceStack
from .base import split_positions
from .on_device import OnDevice

_LARGEST_FACTOR = 32


class ThroughPlaneInterpolator(OnDevice):
    """Base: positions on a regular grid between the slices, computed for the whole stack at once.

    Intensities beyond the network's window (metal) are continued by linear interpolation, and where only air
    surrounds the body it is linear altogether, if the method is local.
    """

    buffer_type: type = np.float32
    chunk = 4
    """Through-plane images at once."""

    def __init__(
        self,
        network: torch.nn.Module,
        name: str,
        device: str = "cpu",
        report: Callable[[str], None] | None = None,
    ):
        super().__init__(device, report, network)
        self.name, self.reach = name, network.reach
        self.window = WINDOWS[network.intensity]

    def run(
        self, values: np.ndarray, stack: SliceStack, factor: int, buffers: np.ndarray
    ) -> Iterator[np.ndarray]:
        """All dense slices in order, in the network's intensities.

        values: the stack in them, (N, rows, columns); buffers: (2, (N - 1) * factor + 1, rows, columns) for the two
        dense views.
        """
        raise NotImplementedError

    def synthesize(self, stack: SliceStack, positions: Sequence[float]) -> Iterator[np.ndarray]:
        """Predict the slices at `positions` in order; both views are made before the first one comes.

        InputError for positions that no whole factor gives, and where the disk has no room for the views.
        """
        places = list(split_positions(stack, positions))
        factor = common_factor([t for _, t in places])
        box = self.box(stack)
        dense, number, image = enumerate(self._dense(stack, factor, box)), -1, None
        for before, t in places:
            if t == 0:
                yield stack.image(before).copy()
                continue
            first, second = stack.hu(before), stack.hu(before + 1)
            out = first + np.float32(t) * (second - first)
            if box is not None:
                while number < before * factor + round(t * factor):
                    number, image = next(dense)
                predicted = self.window.decode(image)
                out[box] = self.window.extend(predicted, out[box], first[box], second[box])
            yield stack.from_hu(out)

    def _dense(self, stack: SliceStack, factor: int, box: tuple[slice, slice]) -> Iterator[np.ndarray]:
        """All dense slices within the box, in the network's intensities; begun anew where memory ends."""
        values = np.stack([self.window.encode(stack.hu(number)[box]) for number in range(len(stack))])
        buffers = temporary_array((2, dense_length(len(stack), factor), *values.shape[1:]), self.buffer_type)
        done = 0
        while True:
            try:
                for number, image in enumerate(self.run(values, stack, factor, buffers)):
                    if number >= done:
                        done = number + 1
                        yield image
                return
            except torch.cuda.OutOfMemoryError:
                if self.device.type == "cpu":
                    raise
                # Once slices come only whole axial slices are merged, which smaller chunks do not help.
                chunk = 1 if done else self.chunk
                self.chunk = self._retreat(chunk, 1, "{} images at once") or type(self).chunk

    def _advance(self, view: str, done: int, total: int) -> None:
        self.progress(f"{view} view", done, total)


class SaintInterpolator(ThroughPlaneInterpolator):
    """SAINT (`networks.saint`) on a stack: sub-pixel convolution along the slices, by distances in mm."""

    buffer_type = np.int16  # whole HU, as the network that merges them saw them in training
    chunk = 8

    def run(
        self, values: np.ndarray, stack: SliceStack, factor: int, buffers: np.ndarray
    ) -> Iterator[np.ndarray]:
        """SAINT's dense slices, from HU + 1024."""
        volume = self.network.volume(chunk=self.chunk)
        return volume(values, (stack.gap, *stack.pixel), factor, buffers, self._advance)


class AcvttInterpolator(ThroughPlaneInterpolator):
    """ACVTT (`networks.acvtt`) on a stack: through-plane images take their texture from axial slices."""

    buffer_type = np.float16

    def run(
        self, values: np.ndarray, stack: SliceStack, factor: int, buffers: np.ndarray
    ) -> Iterator[np.ndarray]:
        """ACVTT's dense slices, from (HU + 1024) / 4095."""
        return self.network.volume(chunk=self.chunk)(values, factor, buffers, self._advance)


def common_factor(fractions: Sequence[float]) -> int:
    """The smallest factor that puts slices at all these fractions of the gap; InputError beyond 32."""
    exact = [Fraction(t).limit_denominator(_LARGEST_FACTOR) for t in fractions]
    factor = math.lcm(1, *(t.denominator for t in exact))
    if factor > _LARGEST_FACTOR or any(abs(float(e) - t) > 1e-6 for e, t in zip(exact, fractions)):
        raise InputError(
            f"This method puts slices at regular distances only, by a factor of up to {_LARGEST_FACTOR}."
        )
    return factor


def temporary_array(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array in a temporary file, which goes with it. InputError where the disk has no room for it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if shutil.disk_usage(tempfile.gettempdir()).free < 1.1 * size:
        raise InputError(
            f"'{tempfile.gettempdir()}' lacks room for {size / 2**30:.1f} GiB of intermediate views; "
            "make room, or set TMPDIR to another disk."
        )
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)
