"""Batches drawn ahead by worker processes, in order, and the same whatever their number."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data import Sampler as Order

from SliceInterpolationLib.errors import SliceInterpolationError

from .devices import Crew
from .tasks.base import Batch, Sampler

_AHEAD = 4
"""Batches that each worker may be ahead."""


class _Numbered(Dataset):
    """The n-th batch of a sampler as item n: what a worker draws depends on n alone, not on the worker."""

    def __init__(self, sampler: Sampler, size: int, part: tuple[int, int]):
        self.sampler, self.size, self.part = sampler, size, part

    def __getitem__(self, number: int) -> Batch:
        return self.sampler.batch(number, self.size, self.part)


class _From(Order):
    """The numbers of the batches from the first one on, up to the last one if there is one."""

    def __init__(self, first: int, last: int | None):
        self.first, self.last = first, last

    def __iter__(self) -> Iterator[int]:
        return iter(itertools.count(self.first) if self.last is None else range(self.first, self.last))


def load(
    sampler: Sampler, size: int, first: int, last: int | None, workers: int, crew: Crew | None = None
) -> Iterable[Batch]:
    """Batches number `first` to `last` - 1 (None: without end), drawn ahead by `workers` processes.

    0 workers: drawn one by one when they are asked for. Of every batch this process of the crew gets its part.
    Raises SliceInterpolationError where a worker dies, as for want of memory.
    """
    crew = crew or Crew()
    loader = DataLoader(
        _Numbered(sampler, size, (crew.rank, crew.size)),
        batch_size=None,
        sampler=_From(first, last),
        num_workers=workers,
        prefetch_factor=_AHEAD if workers else None,
        pin_memory=crew.device.type == "cuda",
        generator=torch.Generator(),  # the one of the process belongs to the run
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise SliceInterpolationError(
            "A process that draws examples was ended by the system, as happens when memory is short; use fewer "
            "--workers or a smaller --patch."
        ) from error
