"""How values become the whole numbers that DICOM stores: by the rescale of the source where it can hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pydicom

RESCALE = ("RescaleSlope", "RescaleIntercept")
_ALLOCATED = 16


@dataclass(frozen=True)
class Scale:
    """value = slope * stored + intercept, stored in so many bits. stated: whether the source has a rescale at all."""

    slope: float = 1.0
    intercept: float = 0.0
    bits: int = _ALLOCATED
    signed: bool = True
    stated: bool = True

    @classmethod
    def of(cls, header: pydicom.Dataset) -> Scale:
        """That of an image; values that cannot be are as if there were none."""
        slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
        bits, signed = _number(header, "BitsStored"), _number(header, "PixelRepresentation")
        return cls(
            slope or 1.0,
            intercept or 0.0,
            int(bits) if bits and 1 <= bits <= _ALLOCATED else _ALLOCATED,
            signed == 1,
            slope is not None or intercept is not None,
        )

    @property
    def limits(self) -> tuple[int, int]:
        """Least and largest number that can be stored."""
        return (
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
            if self.signed
            else (0, (1 << self.bits) - 1)
        )

    def store(self, values: np.ndarray) -> np.ndarray | None:
        """(rows, columns) as int16 or uint16; None where they are beyond the limits."""
        numbers = np.rint((np.asarray(values, np.float64) - self.intercept) / self.slope)
        low, high = self.limits
        if numbers.min() < low or numbers.max() > high:
            return None
        return numbers.astype(np.int16 if self.signed else np.uint16)

    def values(self, stored: np.ndarray) -> np.ndarray:
        """The way back, as float64."""
        return stored.astype(np.float64) * self.slope + self.intercept


def stored_as(values: np.ndarray, source: Scale) -> tuple[np.ndarray, Scale]:
    """A made slice as stored numbers, with the scale by which they mean the same.

    Whole numbers are kept exactly: by the scale of the source, or with a slope of 1. Fractions are rounded to the steps
    of the source, in which the acquired slices are rounded as well, or, where it cannot hold the values, to 65,535
    steps.
    """
    exact = values.dtype.kind in "iu"
    wider = Scale(source.slope, source.intercept, _ALLOCATED, source.signed, source.stated)
    for scale in (source, wider, *((Scale(),) if exact else ())):
        stored = scale.store(values)
        if stored is not None and (not exact or np.array_equal(scale.values(stored), values)):
            return stored, scale
    low, high = float(values.min()), float(values.max())
    steps = (1 << _ALLOCATED) - 1
    slope = 1.0 if exact and high - low <= steps else (high - low) / steps
    slope = float(f"{slope:.10g}")  # as it will be written
    slope = slope if slope * steps >= high - low else float(f"{slope * (1 + 1e-9):.10g}")
    scale = Scale(slope, float(f"{low:.10g}"), _ALLOCATED, False)
    stored = np.clip(np.rint((np.asarray(values, np.float64) - scale.intercept) / slope), 0, steps)
    return stored.astype(np.uint16), scale


def _number(header: pydicom.Dataset, keyword: str) -> float | None:
    try:
        return float(header[keyword].value)
    except Exception:  # missing, empty, several, or no number at all
        return None
