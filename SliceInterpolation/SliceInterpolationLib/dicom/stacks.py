"""Frames sorted into stacks: parallel slices of one acquisition, in the order in which they lie."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .frames import MARKS, Frame
from .geometry import Span, same_places, uniform_spans
from .pixels import stored_pixels
from .report import COPY, Unusable

_EDGE_TOLERANCE_MM = 0.1  # of the ends of rows and columns, by which orientation and spacing are compared
_FEWEST_APART = 3  # slices that an acquisition has at least, if it was recorded between the slices of another


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel frames of one acquisition, sorted along their normal.

    name: SeriesInstanceUID, with #2, #3, ... for the further stacks of the same series.
    """

    name: str
    frames: tuple[Frame, ...]

    @property
    def series(self) -> str:
        """The SeriesInstanceUID."""
        return self.name.partition("#")[0]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector in LPS along which the slices are sorted, (3,)."""
        return _normal(self.frames[0])

    @cached_property
    def positions(self) -> np.ndarray:
        """(n, 3) LPS mm of the first pixels."""
        return np.array([frame.position for frame in self.frames])

    @cached_property
    def distances(self) -> np.ndarray:
        """Distances of neighboring slice planes in mm, (n - 1,)."""
        return np.diff(self.positions @ self.normal)

    @cached_property
    def repeated(self) -> list[int]:
        """Numbers of the slices that lie where the one before lies."""
        return [int(one) + 1 for one in np.flatnonzero(same_places(self.distances))]

    @cached_property
    def spans(self) -> list[Span]:
        """The even grids of its slices; none where slices lie at the same place."""
        return [] if self.repeated or len(self.frames) < 2 else uniform_spans(self.positions)

    @cached_property
    def longest(self) -> Span | None:
        """The grid with the most slices."""
        return max(self.spans, key=lambda span: len(span.members), default=None)

    @property
    def distance(self) -> float:
        """Of the slice planes of the longest grid, in mm; 0 without one."""
        return abs(float(self.longest.step @ self.normal)) if self.longest else 0.0


def stacks_of(frames: Iterable[Frame], left_out: Callable[[Frame, str, str], None]) -> list[Stack]:
    """All stacks of the frames of a folder, those of a series together.

    left_out: called with a frame, its fate and the reason for each copy of another frame.
    """
    series: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        series[frame.series].append(frame)
    stacks = []
    for uid, members in series.items():
        groups = []
        for group in _parallel(members):
            group = _without_copies(sorted(group, key=_along), left_out)
            groups += _acquisitions(group)
        groups.sort(key=lambda group: (-len(group), min(frame.number for frame in group)))
        for number, group in enumerate(groups, start=1):
            stacks.append(Stack(uid if number == 1 else f"{uid}#{number}", tuple(group)))
    return stacks


def _normal(frame: Frame) -> np.ndarray:
    return np.cross(*frame.rows_columns)


def _along(frame: Frame) -> tuple[float, tuple[float, float], str]:
    return float(frame.position @ _normal(frame)), frame.number, frame.file


def _parallel(frames: list[Frame]) -> list[list[Frame]]:
    """Frames of the same size, spacing, orientation, kernel, kind and frame of reference."""
    groups: dict[tuple[object, ...], list[list[Frame]]] = defaultdict(list)
    for frame in frames:
        key = (frame.size, frame.kernel, frame.modality, frame.is_localizer, frame.reference)
        for group in groups[key]:
            if np.allclose(_edges(frame), _edges(group[0]), rtol=0, atol=_EDGE_TOLERANCE_MM):
                group.append(frame)
                break
        else:
            groups[key].append([frame])
    return [group for found in groups.values() for group in found]


def _edges(frame: Frame) -> np.ndarray:
    """From the first pixel to the ends of the first row and of the first column, (2, 3) LPS mm."""
    (rows, columns), (between_rows, between_columns) = frame.size, frame.pixel_spacing
    return frame.rows_columns * np.array([[columns * between_columns], [rows * between_rows]])


def _without_copies(frames: list[Frame], left_out: Callable[[Frame, str, str], None]) -> list[Frame]:
    """The frames without those that show the same, at the same place and by the same marks, as one before."""
    kept: list[Frame] = []
    for frame in frames:
        near = [one for one in kept[-8:] if np.allclose(one.position, frame.position, rtol=0, atol=1e-3)]
        copied = next((one for one in near if _is_copy(frame, one)), None)
        if copied is None:
            kept.append(frame)
        else:
            left_out(frame, COPY, f"a copy of '{copied.file}'")
    return kept


def _is_copy(frame: Frame, other: Frame) -> bool:
    same_instance = frame.source.sop_instance_uid == other.source.sop_instance_uid
    if not same_instance and frame.marks != other.marks:
        return False
    if (frame.slope, frame.intercept) != (other.slope, other.intercept):
        return False
    return _digest(frame) == _digest(other) != b""


def _digest(frame: Frame) -> bytes:
    """Of the pixels; nothing where they cannot be read."""
    try:
        return hashlib.sha256(stored_pixels(frame).tobytes()).digest()
    except Unusable:
        return b""


def _acquisitions(frames: list[Frame]) -> list[list[Frame]]:
    """Frames of one stack each: told apart by the first of `MARKS` that does it, if they are of several at all.

    They are, where frames lie at the same place; or, in CT, where those of one mark lie between those of another: a
    scanner goes through the patient once for each. (In MR it may record every second slice first.)
    """
    most = _most_at_a_place(frames)
    for mark in MARKS:
        groups: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            groups[frame.marks.get(mark, "")].append(frame)
        if len(groups) < 2:
            continue
        if most > 1:
            apart = max(map(_most_at_a_place, groups.values())) * len(groups) <= most
        else:
            apart = (
                frames[0].modality == "CT"
                and mark != "ImageType"
                and min(map(len, groups.values())) >= _FEWEST_APART
                and _changes(frames, mark) >= len(groups)
            )
        if apart:
            return [found for group in groups.values() for found in _acquisitions(group)]
    return [frames]


def _most_at_a_place(frames: list[Frame]) -> int:
    """How many of the frames, which are sorted, lie at the same place at most."""
    repeats = same_places(np.diff([frame.position @ _normal(frame) for frame in frames]))
    most = count = 1
    for one in repeats:
        count = count + 1 if one else 1
        most = max(most, count)
    return most


def _changes(frames: list[Frame], mark: str) -> int:
    return sum(one.marks.get(mark) != other.marks.get(mark) for one, other in zip(frames, frames[1:]))
