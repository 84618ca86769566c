"""The voxels of a grid of slices: read one after the other into a single array, in HU where that is what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..volume import ACQUIRED, AIR_LIMIT_HU, SYNTHESIZED, Volume
from .frames import Frame
from .geometry import Span
from .marks import Mark, letters_of
from .pixels import stored_pixels
from .report import DAMAGED, Unusable
from .series import Run

Bridge = Callable[[Volume], np.ndarray]
"""Makes the slice between the two of a volume, (rows, columns) of its type, such as `interpolation.between`."""

BRIDGED = "BridgedSlices"
"""Entry of `Volume.header`: which slices, counted from 1, were missing in the series and are synthesized."""


@dataclass
class _Voxels:
    """A growing answer to which type the voxels need: whole numbers of 16 bits as long as these are enough."""

    array: np.ndarray

    def store(self, place: int, values: np.ndarray) -> None:
        if self.array.dtype.kind == "i":
            low, high = int(values.min()), int(values.max())
            for kind in (np.int16, np.int32):
                if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                    break
            else:
                kind = np.float64
            if np.dtype(kind).itemsize > self.array.itemsize:
                self.array = self.array.astype(kind)
        self.array[place] = values


def with_scale(frames: Sequence[Frame]) -> tuple[list[Frame], list[tuple[Frame, str]], list[str]]:
    """The frames with slope and intercept; those whose values are unknown, with the reason; and remarks.

    A slice without rescale in a series where all others agree on one has that one; where they do not, its values are
    unknown. Without any rescale in the series the values are as stored.
    """
    given = {(one.slope, one.intercept) for one in frames if None not in (one.slope, one.intercept)}
    settled, unknown, remarks = [], [], []
    for frame in frames:
        slope, intercept = frame.slope, frame.intercept
        if slope is None or intercept is None:
            if len(given) > 1:
                unknown.append(
                    (frame, "it has no rescale slope and intercept, and those of the others differ")
                )
                continue
            others = next(iter(given), (1.0, 0.0))
            slope = others[0] if slope is None else slope
            intercept = others[1] if intercept is None else intercept
            if given:
                remarks.append(
                    f"'{frame.file}' has no complete rescale; that of all other slices is used "
                    f"(slope {slope:g}, intercept {intercept:g})."
                )
        settled.append(replace(frame, slope=slope, intercept=intercept))
    return settled, unknown, remarks


def units_of(frames: Sequence[Frame], remarks: list[str]) -> str:
    """HU only of CT whose rescale is there and names no other scale. frames: as read, before `with_scale`."""
    if any(frame.inverted for frame in frames) and frames[0].modality != "CT":
        remarks.append(
            "Low values are meant to be shown bright (MONOCHROME1); they are kept as they are stored."
        )
    if frames[0].modality != "CT":
        return "arbitrary"
    scales = {frame.scale for frame in frames} - {"", "HU"}
    if scales:
        remarks.append(
            f"The rescale gives '{', '.join(sorted(scales))[:16]}', not HU; use --units HU if it is HU all the same."
        )
    elif all(frame.intercept is None for frame in frames):
        remarks.append(
            "The slices have no rescale to HU; use --units HU if their values are HU all the same."
        )
    else:
        return "HU"
    return "arbitrary"


def read_run(
    frames: Sequence[Frame], span: Span, units: str, bridge: Bridge | None, told: Callable[[], None]
) -> tuple[Run, list[tuple[Frame, Unusable]]]:
    """The volume of a grid. frames: those of the stack, with scale. told: called for each slice.

    Returns the run and the frames whose pixels could not be read; where there are any the run is not complete.
    """
    members = [frames[number] for number in span.members]
    first = members[0]
    whole = all(float(one.slope).is_integer() and float(one.intercept).is_integer() for one in members)
    try:
        voxels = _Voxels(np.zeros((span.count, *first.size), np.int16 if whole else np.float32))
    except (MemoryError, ValueError):
        raise InputError(
            f"{span.count} slices of {first.size[0]} x {first.size[1]} pixels do not fit into memory; close other "
            "programs, or use a part of the series."
        ) from None
    outside = _Padding.of(members, units)
    failed = []
    marks: list[Mark | None] = []
    for place, frame in zip(span.places, members):
        told()
        try:
            stored = stored_pixels(frame)
        except Unusable as error:
            failed.append((frame, error))
            continue
        except MemoryError:
            failed.append((frame, Unusable(DAMAGED, "its image does not fit into memory")))
            continue
        marks.append(frame.mark if frame.mark is not None and frame.mark.is_of(stored) else None)
        values = _rescaled(stored, frame.slope, frame.intercept, whole)
        voxels.store(place, outside.unified(stored, values, frame))
    made, history = letters_of(marks)
    letters = "".join(ACQUIRED if frame.is_original else letter for frame, letter in zip(members, made))
    volume = _volume(voxels.array, members, span, units, outside.value)
    volume = replace(volume, provenance=_with_missing(letters, span), history=history)
    if span.missing and not failed:
        _bridge(volume, span, bridge)
    sources = dict(zip(span.places, (frame.source for frame in members)))
    return Run(volume, tuple(sources.get(place) for place in range(span.count))), failed


def _with_missing(letters: str, span: Span) -> str:
    """The provenance of a grid, of which `letters` are those of the slices that are there."""
    there = dict(zip(span.places, letters))
    return "".join(there.get(place, SYNTHESIZED) for place in range(span.count))


def _rescaled(stored: np.ndarray, slope: float, intercept: float, whole: bool) -> np.ndarray:
    if not whole:
        return (stored * slope + intercept).astype(np.float32)
    wide = stored.dtype.itemsize > 2 or abs(slope) > 2**14 or abs(intercept) > 2**30
    values = stored.astype(np.int64 if wide else np.int32)
    if slope != 1:
        values *= int(slope)
    values += int(intercept)
    return values


@dataclass
class _Padding:
    """Voxels outside of the field of view, which all get one value, lower than any inside.

    A padding value that lies among the values of the image is none: other programs write the number 0 there.
    """

    low: float | None
    seen: bool = False
    contradicted: bool = False

    @classmethod
    def of(cls, frames: Sequence[Frame], units: str) -> _Padding:
        values = [min(f.slope * end + f.intercept for end in f.padding) for f in frames if f.padding]
        low = min(values, default=None)
        return cls(None if low is None or (units == "HU" and max(values) > AIR_LIMIT_HU) else low)

    def unified(self, stored: np.ndarray, values: np.ndarray, frame: Frame) -> np.ndarray:
        if self.low is None or frame.padding is None:
            inside = values
        else:
            mask = (stored >= frame.padding[0]) & (stored <= frame.padding[1])
            inside = values[~mask]
            self.seen |= bool(mask.any())
            values[mask] = self.low
        if self.low is not None and inside.size and inside.min() < self.low:
            self.contradicted = True
        return values

    @property
    def value(self) -> float | None:
        return self.low if self.seen and not self.contradicted else None


def _volume(
    array: np.ndarray, frames: Sequence[Frame], span: Span, units: str, padding: float | None
) -> Volume:
    distance = float(np.linalg.norm(span.step))
    row, column = np.mean([frame.pixel_spacing for frame in frames], axis=0)
    if all(frame.pixel_spacing == frames[0].pixel_spacing for frame in frames):
        row, column = frames[0].pixel_spacing
    thicknesses = {frame.thickness for frame in frames}
    return Volume(
        array,
        spacing=(column, row, distance),
        origin=tuple(span.origin),
        direction=np.column_stack((*frames[0].rows_columns, span.step / distance)),
        slice_axis="k",
        units=units,
        slice_thickness=thicknesses.pop() if len(thicknesses) == 1 else None,
        padding=padding,
    )


def _bridge(volume: Volume, span: Span, bridge: Bridge) -> None:
    """Fill the missing slices, each from its two neighbors."""
    for place in span.missing:
        pair = replace(
            volume,
            array=volume.array[place - 1 : place + 2 : 2],
            spacing=(*volume.spacing[:2], 2 * volume.spacing[2]),
            origin=tuple(span.position(place - 1)),
            provenance=volume.provenance[place - 1] + volume.provenance[place + 1],
        )
        volume.array[place] = bridge(pair)
    volume.header[BRIDGED] = " ".join(str(place + 1) for place in span.missing)
