"""All slices of three gaps from four acquired ones at once, as I3Net does."""

from __future__ import annotations

from typing import Any

import torch

from SliceInterpolationLib.intensity import WINDOWS

from ..blocks import BlockSampler
from ..data import Stack
from ..losses import L1
from .base import Batch, Task


class FourSlicesTask(Task):
    """L1 over the slices between four neighboring ones, in the network's window."""

    networks = ("i3net",)

    def __init__(self, network: torch.nn.Module, architecture: str = ""):
        super().__init__(network, architecture)
        self._window, self._loss = WINDOWS[network.intensity], L1()

    def sampler(self, stacks: list[Stack], seed: int, patch: int = 256, **examples: Any) -> BlockSampler:
        """Blocks of four slices and the dense ones between them."""
        return BlockSampler(
            stacks, slices=4, rows=patch, columns=patch, factors=(self.network.factor,), seed=seed,
            repeat_ends=True, shrink=False, **examples,
        )  # fmt: skip

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """The acquired slices are passed on as they are, and do not count."""
        made = self.network(self._window.encode(batch["slices"]))
        truth = self._window.encode(batch["dense"])
        between = torch.arange(truth.shape[1], device=truth.device) % self.network.factor != 0
        return {"reconstruction": self._loss(made[:, between], truth[:, between])}
