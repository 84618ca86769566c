"""The one interface of all interpolators: a slice stack and positions in, slices out, as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Callable

import numpy as np

from ..errors import InputError
from ..volume import Volume

_BODY_HU = -500.0


@dataclass(frozen=True)
class SliceStack:
    """Parallel slices as an interpolator sees them.

    slices: (N, rows, columns) of any real type, usually a view of a volume. gap: distance of neighboring slice
    planes in mm. pixel: (row, column) spacing in mm. thickness: slice thickness in mm or None.
    hu_gain, hu_offset: HU = gain * value + offset, for methods that know HU (see `hu_mapping`).
    """

    slices: np.ndarray
    gap: float
    pixel: tuple[float, float]
    thickness: float | None = None
    hu_gain: float = 1.0
    hu_offset: float = 0.0

    @classmethod
    def of(cls, volume: Volume) -> SliceStack:
        """The slices of a volume along its slice axis, as views."""
        gain, offset = hu_mapping(volume)
        return cls(
            volume.slices, volume.slice_distance, volume.pixel_spacing, volume.slice_thickness, gain, offset
        )

    def __len__(self) -> int:
        return len(self.slices)

    def every_second(self, first: int) -> SliceStack:
        """The stack of slices first, first + 2, ...: what is left when the others are withheld."""
        return replace(self, slices=self.slices[first::2], gap=2 * self.gap)

    def image(self, number: int) -> np.ndarray:
        """Slice `number` as (rows, columns) float32; beyond the ends the last one is repeated."""
        return np.asarray(self.slices[min(max(number, 0), len(self) - 1)], dtype=np.float32)

    @property
    def is_hu(self) -> bool:
        """Whether the values are HU themselves, rather than mapped to something like them."""
        return (self.hu_gain, self.hu_offset) == (1.0, 0.0)

    @cached_property
    def percentiles(self) -> tuple[float, float]:
        """The 1st and the 99th percentile of the stack, in HU or what stands for it."""
        return percentiles(self.slices, self.hu_gain, self.hu_offset)

    @cached_property
    def body(self) -> tuple[slice, slice] | None:
        """Rows and columns from the first to the last that hold more than air in any slice; None: all is air.

        One box for the whole stack: slices of one size let a process use the same memory again and again.
        """
        occupied = np.zeros(self.slices.shape[1:], dtype=bool)
        for number in range(len(self)):
            occupied |= self.hu(number) > _BODY_HU
        box = []
        for axis in (1, 0):
            used = np.flatnonzero(occupied.any(axis=axis))
            if not len(used):
                return None
            box.append(slice(int(used[0]), int(used[-1]) + 1))
        return tuple(box)

    def hu(self, number: int) -> np.ndarray:
        """As `image`, in HU or what stands for it."""
        return self.image(number) * np.float32(self.hu_gain) + np.float32(self.hu_offset)

    def from_hu(self, hu: np.ndarray) -> np.ndarray:
        """Back to the values of the stack."""
        return (hu - np.float32(self.hu_offset)) / np.float32(self.hu_gain)


def hu_mapping(volume: Volume) -> tuple[float, float]:
    """Gain and offset that bring voxel values to HU; (1, 0) for CT.

    Other modalities have no fixed scale: their 1st and 99th percentiles are mapped to -100 and 200 HU, the soft
    tissue range that flow and networks for head CT resolve best. The mapping is affine, so nothing is lost.
    """
    return percentile_mapping(volume, -100.0, 200.0)


def percentile_mapping(volume: Volume, low_hu: float, high_hu: float) -> tuple[float, float]:
    """Gain and offset that map the 1st and 99th percentile to two HU; (1, 0) where values are HU already."""
    if volume.units == "HU":
        return 1.0, 0.0
    low, high = percentiles(volume.array)
    gain = (high_hu - low_hu) / max(high - low, 1e-6)
    return gain, low_hu - gain * low


def percentiles(array: np.ndarray, gain: float = 1.0, offset: float = 0.0) -> tuple[float, float]:
    """1st and 99th percentile of gain * array + offset; of large arrays from every n-th slice voxel."""
    step = max(1, array.size // 2_000_000)
    low, high = np.percentile(array.reshape(-1)[::step], (1, 99))
    return gain * float(low) + offset, gain * float(high) + offset


class Interpolator(ABC):
    """A method that predicts slices between given ones.

    name: how users call it. report: where remarks for the user go (device changes, tiling).
    progress: called with (stage, done, total) by methods that work long before their first slice; what it
    raises ends the work.
    """

    name: str
    has_uncertainty = False

    def __init__(self, report: Callable[[str], None] | None = None):
        self.report = report or (lambda message: None)
        self.progress: Callable[[str, int, int], None] = lambda stage, done, total: None

    @abstractmethod
    def synthesize(self, stack: SliceStack, positions: Sequence[float]) -> Iterator[np.ndarray]:
        """Predict the slices at `positions`, ascending, in units of slices (2.5 lies midway between 2 and 3).

        Yields one (rows, columns) float32 array a position, in order, each computed when it is asked for.
        Raises InputError where the stack is too short or a position lies outside of it.
        """

    def synthesize_with_uncertainty(
        self, stack: SliceStack, positions: Sequence[float]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `synthesize`, each slice with its predicted error SD in the units of the slices."""
        raise InputError(f"The method '{self.name}' does not estimate its error; use a network that does.")

    def predict_withheld(self, stack: SliceStack) -> Iterator[np.ndarray]:
        """Predict the acquired slices 1..N-2, each without itself, from every second slice around it.

        Needs 3 slices or more; yields N - 2 arrays in order.
        """
        if len(stack) < 3:
            raise InputError(f"The stack has {len(stack)} slices; withholding one needs at least 3.")
        # Odd slices are predicted from the even ones and the other way round; the two streams take turns.
        odd, even = (
            self.synthesize(stack.every_second(first), [k + 0.5 for k in range(count)])
            for first, count in ((0, (len(stack) - 1) // 2), (1, (len(stack) - 2) // 2))
        )
        for number in range(1, len(stack) - 1):
            yield next(odd if number % 2 else even)


class SliceWise(Interpolator):
    """Base of the methods that need only a few neighboring slices and a fraction t between two of them."""

    def synthesize(self, stack: SliceStack, positions: Sequence[float]) -> Iterator[np.ndarray]:
        """See `Interpolator.synthesize`."""
        for before, t in split_positions(stack, positions):
            yield stack.image(before).copy() if t == 0 else self.between(stack, before, t)

    @abstractmethod
    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """The slice at `before` + t, 0 < t < 1, as (rows, columns) float32."""


def split_positions(stack: SliceStack, positions: Sequence[float]) -> Iterator[tuple[int, float]]:
    """Each position as the number of the slice before it and the fraction t in [0, 1)."""
    if len(stack) < 2:
        raise InputError(f"The stack has {len(stack)} slice; at least 2 are needed to interpolate.")
    for position in positions:
        if not 0 <= position <= len(stack) - 1:
            raise InputError(f"Position {position:g} lies outside of the stack of {len(stack)} slices.")
        before = int(position)
        yield before, float(position - before)
