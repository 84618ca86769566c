"""The one interface of all interpolators: a slice stack and positions in, slices out, as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Callable

import numpy as np

from ..errors import InputError
from ..stack import SliceStack


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

    def predict_withheld(
        self, stack: SliceStack, numbers: Sequence[int] | None = None
    ) -> Iterator[np.ndarray]:
        """Predict acquired slices, each without itself, from every second slice around it.

        numbers: of the slices wanted, ascending, from 1 to N - 2; None: all of them. Yields one array a number, in
        order. Raises InputError for fewer than 3 slices.
        """
        return _withheld(self.synthesize, stack, numbers)

    def predict_withheld_with_uncertainty(
        self, stack: SliceStack, numbers: Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As `predict_withheld`, each slice with its predicted error SD in the units of the slices."""
        return _withheld(self.synthesize_with_uncertainty, stack, numbers)


def _withheld(synthesize: Callable, stack: SliceStack, numbers: Sequence[int] | None) -> Iterator:
    """What `synthesize` makes of the stack without slice n in the place of slice n, for each of the numbers."""
    if len(stack) < 3:
        raise InputError(f"The stack has {len(stack)} slices; withholding one needs at least 3.")
    numbers = range(1, len(stack) - 1) if numbers is None else numbers
    # Odd slices are predicted from the even ones and the other way round; the two streams take turns.
    odd, even = (
        synthesize(stack.every_second(first), [(n - first) / 2 for n in numbers if n % 2 != first])
        for first in (0, 1)
    )
    for number in numbers:
        yield next(odd if number % 2 else even)


class SliceWise(Interpolator):
    """Base of the methods that need only a few neighboring slices and a fraction t between two of them."""

    def synthesize(self, stack: SliceStack, positions: Sequence[float]) -> Iterator[np.ndarray]:
        """The slices at `positions` in order; those that lie on a slice of the stack are that slice."""
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
