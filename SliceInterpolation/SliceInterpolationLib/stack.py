"""The slices of a scan as an interpolator sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .volume import AIR_LIMIT_HU, Volume

_HEADROOM_HU = 4096.0
_ROUNDING = 1e-3  # of the largest value; single precision keeps a ten thousandth of that


def sigma_in_pixels(
    fwhm_mm: float, pixel: tuple[float, float], shape: tuple[int, int]
) -> tuple[float, float]:
    """Sigma along rows and columns of a Gaussian of a full width at half maximum in mm.

    pixel: (row, column) spacing in mm. It is never wider than the image of that shape, whatever its spacing is.
    """
    rows, columns = (min(fwhm_mm / 2.355 / mm, count / 2) for mm, count in zip(pixel, shape))
    return rows, columns


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
        """The slices of a volume along its slice axis, as views where nothing lies outside of the field of view."""
        volume = volume.without_padding()
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
    def plausible(self) -> tuple[float, float]:
        """What a prediction can be: the range of the stack, and as much again (4096 HU at least) on both sides."""
        low, high = float(self.slices.min()), float(self.slices.max())
        rounding = _ROUNDING * max(abs(low), abs(high))  # all there is in a stack of one value
        beyond = max(high - low, _HEADROOM_HU / abs(self.hu_gain), rounding)
        return low - beyond, high + beyond

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
            occupied |= self.hu(number) > AIR_LIMIT_HU
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


def inner_numbers(count: int, enough: int) -> list[int]:
    """The slices of a stack of `count` that are worth withholding to see how well they are predicted.

    Those with two of the kept slices on both sides, as almost all new slices have them; in a short stack, where these
    are not `enough`, all but the two ends.
    """
    inner = list(range(3, count - 3))
    return inner if len(inner) >= enough else list(range(1, count - 1))


def evenly(numbers: list[int], count: int) -> list[int]:
    """An even selection of `count` of the numbers, all where they are not more."""
    if count >= len(numbers):
        return numbers
    return [numbers[int((place + 0.5) * len(numbers) / count)] for place in range(count)]


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
    low, high = percentiles(volume.without_padding().array)
    gain = (high_hu - low_hu) / max(high - low, 1e-6)
    return gain, low_hu - gain * low


def percentiles(array: np.ndarray, gain: float = 1.0, offset: float = 0.0) -> tuple[float, float]:
    """1st and 99th percentile of gain * array + offset; of large arrays from every n-th slice voxel."""
    step = max(1, array.size // 2_000_000)
    low, high = np.percentile(array.reshape(-1)[::step], (1, 99))
    return gain * float(low) + offset, gain * float(high) + offset
