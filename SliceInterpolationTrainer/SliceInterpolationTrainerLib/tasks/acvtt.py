"""ACVTT in its two stages: through-plane images with texture from axial slices, then the two views merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from SliceInterpolationLib.intensity import WINDOWS
from SliceInterpolationLib.networks.acvtt import reference_slices, upsample_slices

from ..blocks import BlockSampler, between, coronal_images, from_coronal_images
from ..data import Stack
from ..losses import L1
from .base import Batch, Task


class AcvttTransferTask(Task):
    """First stage: through-plane images, with random axial slices of the same scan as references."""

    networks = ("acvtt",)

    def __init__(self, network: torch.nn.Module, architecture: str = "acvtt"):
        super().__init__(network, architecture)
        self._window, self._loss = WINDOWS[network.intensity], L1()

    @property
    def learners(self) -> Sequence[torch.nn.Module]:
        """The first network alone."""
        return (self.network.transfer,)

    def sampler(
        self, stacks: list[Stack], seed: int, patch: int = 256, slices: int = 128, **examples: Any
    ) -> BlockSampler:
        """A line of pixels, `patch` long, through `slices` acquired slices, and axial references of `patch` a side."""
        return BlockSampler(
            stacks,
            slices=slices,
            rows=1,
            columns=patch,
            seed=seed,
            references=self.network.references,
            **examples,
        )

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """Over the positions between the acquired slices."""
        slices, truth, references = (
            self._window.encode(batch[name]) for name in ("slices", "dense", "references")
        )
        factor = (truth.shape[1] - 1) // (slices.shape[1] - 1)
        images = upsample_slices(slices.transpose(1, 2), factor)
        unseen = between(truth.shape[1], factor, truth.device)
        network = self.network.transfer
        made = network(images, network.encode_references(references[:, :, None]), ~unseen)
        return {"reconstruction": self._loss(made[:, :, unseen], truth.transpose(1, 2)[:, :, unseen])}


class AcvttFusionTask(Task):
    """Second stage: axial slices of the two views, which the frozen first network makes of the training scans.

    margin: pixels at the patch border that do not count, since the views lack their surroundings there.
    """

    networks = ("acvtt",)

    def __init__(self, network: torch.nn.Module, architecture: str = "acvtt", margin: int = 4):
        super().__init__(network, architecture)
        if network.fusion is None:
            raise ValueError("the network has no second stage (fuse: false)")
        network.transfer.requires_grad_(False)
        self.margin = margin
        self._window, self._loss = WINDOWS[network.intensity], L1()

    @property
    def learners(self) -> Sequence[torch.nn.Module]:
        """The second network alone."""
        return (self.network.fusion,)

    def sampler(
        self, stacks: list[Stack], seed: int, patch: int = 64, slices: int = 8, **examples: Any
    ) -> BlockSampler:
        """Blocks of `slices` acquired slices, `patch` pixels a side."""
        return BlockSampler(stacks, slices=slices, rows=patch, columns=patch, seed=seed, **examples)

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """Over the axial slices between the acquired ones."""
        blocks, truth = (self._window.encode(batch[name]) for name in ("slices", "dense"))
        factor = (truth.shape[1] - 1) // (blocks.shape[1] - 1)
        with torch.no_grad():
            views = [self._views(block[None], factor) for block in blocks]
            sagittal, coronal = (torch.cat(view) for view in zip(*views))
        unseen = between(truth.shape[1], factor, truth.device)
        sagittal, coronal, truth = (x[:, unseen].flatten(0, 1)[:, None] for x in (sagittal, coronal, truth))
        made = self.network.fusion(sagittal, coronal)
        inner = (..., slice(self.margin, -self.margin or None), slice(self.margin, -self.margin or None))
        return {"reconstruction": self._loss(made[inner], truth[inner])}

    def _views(self, block: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The sagittal and the coronal dense block, (1, D, rows, columns) each, of one (1, N, rows, columns)."""
        network = self.network.transfer
        chosen = reference_slices(block.shape[1], self.network.references)
        encoded = network.encode_references(block[0, chosen][:, None])

        def view(stack: torch.Tensor) -> torch.Tensor:
            images = upsample_slices(coronal_images(stack).transpose(0, 1), factor)
            observed = ~between(images.shape[2], factor, images.device)
            dense = network(images, encoded, observed)[:, 0].clamp(0, 1)
            return from_coronal_images(dense, stack.shape[2])

        return view(block.transpose(2, 3)).transpose(2, 3), view(block)
