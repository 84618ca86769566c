"""SAINT in its two stages: through-plane images made dense (AMI), then the two views merged (RFN, AMI frozen)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from SliceInterpolationLib.intensity import WINDOWS

from ..blocks import BlockSampler, between, coronal_images, from_coronal_images
from ..data import Stack
from ..losses import L1
from .base import Batch, Task


class _SaintTask(Task):
    """L1 in units of the networks' scale, so that clipping and guard mean the same here as elsewhere."""

    networks = ("saint",)

    def __init__(self, network: torch.nn.Module, architecture: str = "saint"):
        super().__init__(network, architecture)
        self._window, self._loss = WINDOWS[network.intensity], L1()

    def _compare(self, made: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        scale = self.network.ami.scale if self.network.ami.scale != 1 else 1000.0
        return {"reconstruction": self._loss(made / scale, truth / scale)}


class SaintAMITask(_SaintTask):
    """First stage: sagittal and coronal images with their two neighbors."""

    @property
    def learners(self) -> Sequence[torch.nn.Module]:
        """The first network alone."""
        return (self.network.ami,)

    def sampler(
        self, stacks: list[Stack], seed: int, patch: int = 512, slices: int = 10, **examples: Any
    ) -> BlockSampler:
        """Three neighboring lines of pixels, `patch` long, through `slices` acquired slices."""
        return BlockSampler(stacks, slices=slices, rows=3, columns=patch, seed=seed, **examples)

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """Over the positions between the acquired slices."""
        images = self._window.encode(batch["slices"]).transpose(1, 2)
        truth = self._window.encode(batch["dense"])[:, None, :, 1]
        factor = (truth.shape[2] - 1) // (images.shape[2] - 1)
        made = self.network.ami(images, factor, batch["spacing"][:, [0, 2]])
        unseen = between(truth.shape[2], factor, truth.device)
        return self._compare(made[:, :, unseen], truth[:, :, unseen])


class SaintRFNTask(_SaintTask):
    """Second stage: axial slices of the two views, which the frozen first network makes of the training scans.

    margin: pixels at the patch border that do not count, since the views lack their surroundings there.
    """

    def __init__(self, network: torch.nn.Module, architecture: str = "saint", margin: int = 4):
        super().__init__(network, architecture)
        if network.rfn is None:
            raise ValueError("the network has no second stage (fuse: false)")
        network.ami.requires_grad_(False)
        self.margin = margin

    @property
    def learners(self) -> Sequence[torch.nn.Module]:
        """The second network alone."""
        return (self.network.rfn,)

    def sampler(
        self, stacks: list[Stack], seed: int, patch: int = 48, slices: int = 6, **examples: Any
    ) -> BlockSampler:
        """Blocks of `slices` acquired slices, `patch` pixels a side."""
        return BlockSampler(stacks, slices=slices, rows=patch, columns=patch, seed=seed, **examples)

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """Over the axial slices between the acquired ones; the views are rounded and clipped as when it is run."""
        blocks, truth = (self._window.encode(batch[name]) for name in ("slices", "dense"))
        factor = (truth.shape[1] - 1) // (blocks.shape[1] - 1)
        with torch.no_grad():
            coronal = self._view(blocks, factor, batch["spacing"][:, [0, 2]])
            sagittal = self._view(blocks.transpose(2, 3), factor, batch["spacing"][:, [0, 1]]).transpose(2, 3)
        unseen = between(truth.shape[1], factor, truth.device)
        sagittal, coronal, truth = (x[:, unseen].flatten(0, 1)[:, None] for x in (sagittal, coronal, truth))
        made = self.network.rfn(sagittal, coronal)
        inner = (..., slice(self.margin, -self.margin or None), slice(self.margin, -self.margin or None))
        return self._compare(made[inner], truth[inner])

    def _view(self, blocks: torch.Tensor, factor: int, spacing: torch.Tensor) -> torch.Tensor:
        """Dense blocks (B, D, rows, columns) through the images of the rows, (N, columns) each."""
        rows = blocks.shape[2]
        images = coronal_images(blocks)
        images = torch.nn.functional.pad(
            images, (0, 0, 0, 0, 1, 1)
        )  # zeros beyond the border, as when it is run
        images = torch.stack((images[:, :-2], images[:, 1:-1], images[:, 2:]), dim=2).flatten(0, 1)
        dense = self.network.ami(images, factor, spacing.repeat_interleave(rows, 0))
        top = self._window.top
        return from_coronal_images(dense[:, 0].float().round().clamp(0, top), rows)
