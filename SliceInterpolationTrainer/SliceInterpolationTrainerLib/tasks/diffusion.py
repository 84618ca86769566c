"""Conditional diffusion (`networks.ddpm`): the network learns to take noise away from the middle slice."""

from __future__ import annotations

from typing import Any

import torch

from ..data import ExampleSampler, Stack
from ..losses import Diffusion
from ..prediction import to_domain
from .base import Batch, Task, random_numbers


class DiffusionTask(Task):
    """Squared error of the network's answer to a slice with noise of a random step."""

    networks = ("ddpm",)

    def __init__(self, network: torch.nn.Module, architecture: str = ""):
        super().__init__(network, architecture)
        self._loss = Diffusion()

    def sampler(self, stacks: list[Stack], seed: int, **examples: Any) -> ExampleSampler:
        """Triplets with the target in the middle."""
        sampler = ExampleSampler(stacks, seed=seed, middle_only=True, **examples)
        if sampler.patch % self.network.multiple:
            raise ValueError(f"the patch must be a multiple of {self.network.multiple} pixels")
        return sampler

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """One random step and one noise an image."""
        pair, target, _ = to_domain(self.network, batch)
        return {"reconstruction": self._loss(self.network, pair, target, random_numbers(step))}
