"""Where slices lie: which form a stack, and which of a stack follow each other so evenly that they are one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SAME_PLACE_MM = 0.01
_TOLERANCE_MM = 0.07
"""A position may be off the even grid by so much along x, y and z: what rounding to 0.1 mm can do, and a bit more.
Where slices are thick, 2% of their distance are allowed, up to 0.1 mm; where they are thin, a tenth of it at most."""
_TOLERANCE_SHARE, _LARGEST_TOLERANCE_MM, _LARGEST_SHARE = 0.02, 0.1, 0.1


@dataclass(frozen=True)
class Span:
    """Slices that lie on an even grid.

    members: numbers of the slices in the stack. places: the number of each on the grid, from 0; one that is left out
    is a missing slice. origin, step: (3,) LPS mm.
    """

    members: tuple[int, ...]
    places: tuple[int, ...]
    origin: np.ndarray
    step: np.ndarray

    @property
    def count(self) -> int:
        """Slices of the grid, those that are missing included."""
        return self.places[-1] + 1

    @property
    def missing(self) -> list[int]:
        """The places on the grid that have no slice."""
        return sorted(set(range(self.count)) - set(self.places))

    def position(self, place: int) -> np.ndarray:
        """Where a slice of the grid lies, (3,) LPS mm."""
        return self.origin + place * self.step


def same_places(distances: np.ndarray) -> np.ndarray:
    """Of slices sorted along their normal, which lie at the place of the one before; distances: between them, mm."""
    return distances < _SAME_PLACE_MM


def uniform_spans(positions: np.ndarray) -> list[Span]:
    """The longest even grids from the first slice on, of 3 slices at least; a stack of two slices is one.

    positions: (n, 3) LPS mm, sorted. Two grids that follow each other may share a slice. What is bounded is the
    distance of every slice from its place on the grid, so that small differences cannot add up (see `_fits`).
    """
    if len(positions) == 2:
        return [_fit(positions, (0, 1), (0, 1))]
    spans, start = [], 0
    while start < len(positions) - 2:
        best = None
        for end in range(start + 3, len(positions) + 1):
            members = tuple(range(start, end))
            span = _fit(positions, members, tuple(range(end - start)))
            if not _fits(positions, span):
                break
            best = span
        if best is not None:
            spans.append(best)
        start = best.members[-1] if best is not None else start + 1
    return spans


def bridged_spans(positions: np.ndarray, spans: Sequence[Span]) -> list[Span]:
    """The grids joined where a single slice is missing between them, or before a lone slice.

    positions: as for `uniform_spans`, which gave the spans.
    """
    joined: list[Span] = []
    waiting = list(spans)
    while waiting:
        span = waiting.pop(0)
        while (longer := _continued(positions, span, waiting)) is not None:
            span = longer
            waiting = [one for one in waiting if one.members[-1] > span.members[-1]]
        while (longer := _begun_earlier(positions, span, joined)) is not None:
            span = longer
        joined.append(span)
    return joined


def _continued(positions: np.ndarray, span: Span, following: Sequence[Span]) -> Span | None:
    """The grid with the slice behind its gap, or with all of the grid that begins there."""
    first = span.members[-1] + 1
    if first >= len(positions):
        return None
    others = next((one.members for one in following if first in one.members), (first,))
    return _joined(positions, (*span.members, *others), span) if others[0] == first else None


def _begun_earlier(positions: np.ndarray, span: Span, before: Sequence[Span]) -> Span | None:
    """The grid with a lone slice before its gap."""
    last = span.members[0] - 1
    if last < 0 or any(last in one.members for one in before):
        return None
    return _joined(positions, (last, *span.members), span)


def _joined(positions: np.ndarray, members: tuple[int, ...], span: Span) -> Span | None:
    along = (positions[list(members)] - positions[members[0]]) @ span.step / (span.step @ span.step)
    places = tuple(int(one) for one in np.rint(along))
    steps = np.diff(places)
    if steps.min() < 1 or steps.max() != 2:
        return None
    longer = _fit(positions, members, places)
    return longer if _fits(positions, longer) else None


def _fit(positions: np.ndarray, members: tuple[int, ...], places: tuple[int, ...]) -> Span:
    """The even grid through slices: through both ends where that is exact, else with the least error on the whole."""
    given, numbers = positions[list(members)], np.array(places, dtype=float)
    step = (given[-1] - given[0]) / (numbers[-1] - numbers[0])
    origin = given[0] - numbers[0] * step
    if abs(given - origin - numbers[:, None] * step).max() > 1e-4:
        centered = numbers - numbers.mean()
        step = centered @ given / (centered @ centered)
        residual = given - numbers[:, None] * step
        origin = (residual.min(axis=0) + residual.max(axis=0)) / 2
    return Span(members, places, origin, step)


def _fits(positions: np.ndarray, span: Span) -> bool:
    distance = float(np.linalg.norm(span.step))
    tolerance = min(max(_TOLERANCE_MM, _TOLERANCE_SHARE * distance), _LARGEST_TOLERANCE_MM)
    return errors(positions, span).max() <= min(tolerance, _LARGEST_SHARE * distance)


def errors(positions: np.ndarray, span: Span) -> np.ndarray:
    """How far each slice of a grid lies from its place along x, y or z, (members,) mm."""
    grid = span.origin + np.array(span.places)[:, None] * span.step
    return abs(positions[list(span.members)] - grid).max(axis=1)
