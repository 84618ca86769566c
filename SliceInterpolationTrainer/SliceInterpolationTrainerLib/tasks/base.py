"""The one interface of all tasks: a network, the examples that it learns from, and what it minimizes on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..data import Stack

Batch = dict[str, torch.Tensor]


class Sampler(Protocol):
    """Where batches come from: the n-th one depends on the seed and n alone."""

    patch: int

    def batch(self, number: int, size: int, part: tuple[int, int] = (0, 1)) -> Batch:
        """Examples stacked; part (k, n): of the whole batch only every n-th example, from the k-th on."""


class Task(ABC):
    """What one stage of a recipe trains.

    network: what is published, an entry of the catalogue of that architecture. learners: the modules that learn, each
    with an optimizer of its own, in the order in which they take their parts of a step; the last one is the network or
    a part of it, and its first loss term is watched by the guard. companions: further modules that the run needs
    but nobody publishes.
    """

    networks: tuple[str, ...] = ()
    """Architectures that a task of this kind can train."""
    companions: Sequence[torch.nn.Module] = ()

    def __init__(self, network: torch.nn.Module, architecture: str):
        self.network, self.architecture = network, architecture

    @property
    def learners(self) -> Sequence[torch.nn.Module]:
        """The modules that learn, in the order of their steps."""
        return (self.network,)

    @abstractmethod
    def sampler(self, stacks: list[Stack], seed: int, **examples: Any) -> Sampler:
        """The source of examples that this task learns from; examples: options of it."""

    @abstractmethod
    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """The terms that learner number `learner` minimizes on a batch, by name; their sum is the loss.

        progress: part of the budget that is spent, 0 to 1. step: number of the step, for random numbers of its own.
        """


def random_numbers(step: int) -> torch.Generator:
    """Random numbers, on the CPU, that depend on the step alone, so that a resumed run draws the same."""
    return torch.Generator().manual_seed(step)
