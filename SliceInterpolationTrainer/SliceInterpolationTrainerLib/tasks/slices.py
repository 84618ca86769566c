"""One slice from its neighbors: the networks that regress it, with any loss of the catalogue."""

from __future__ import annotations

from typing import Any

import torch

from SliceInterpolationLib.networks.blocks import PairNetwork

from ..data import ExampleSampler, Stack
from ..losses import L1, Loss, build_loss, similarity_ramp
from ..objective import reconstruction_loss, uncertainty_loss
from ..prediction import TRAINABLE, in_domain, predict
from .base import Batch, Task


class SliceTask(Task):
    """Regress a slice from two or four neighbors.

    loss: "hu" is this project's objective over the full range of HU (see `objective`); any other name is one of
    `losses.LOSSES` in the intensity domain of a two-slice network. loss_options: of it. l1_part: part of the budget
    during which L1 alone is minimized before another loss, over as much again, takes its place: far from the answer
    the gradient of a similarity fades, and an early excursion never comes back. margin: pixels at the patch border
    that do not count, since flow lacks its surroundings there. ssim_weight, ssim_from: weight of SSIM in "hu", and the
    part of the budget after which it joins in.
    """

    networks = TRAINABLE

    def __init__(
        self,
        network: torch.nn.Module,
        architecture: str = "",
        loss: str = "hu",
        loss_options: dict[str, Any] | None = None,
        l1_part: float = 0.0,
        margin: int = 0,
        ssim_weight: float = 0.15,
        ssim_from: float = 0.3,
    ):
        super().__init__(network, architecture)
        self.loss: Loss | None = None
        if loss != "hu":
            if not isinstance(network, PairNetwork):
                raise ValueError(f"the loss '{loss}' needs a network of two slices in a window; take 'hu'")
            self.loss = build_loss(loss, **(loss_options or {}))
            if not isinstance(self.loss, Loss):
                raise ValueError(f"'{loss}' does not compare two slices")
        self.l1_part, self.margin = l1_part, margin
        self.ssim_weight, self.ssim_from = ssim_weight, ssim_from

    def sampler(self, stacks: list[Stack], seed: int, **examples: Any) -> ExampleSampler:
        """Triplets; only such with the target in the middle for networks that know nothing else."""
        return ExampleSampler(
            stacks, seed=seed, middle_only=getattr(self.network, "middle_only", False), **examples
        )

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """The reconstruction, and for networks that state their error its likelihood."""
        if self.loss is None:
            prediction, target, sd = (
                x if x is None else self._inner(x) for x in predict(self.network, batch)
            )
            weight = self.ssim_weight if progress > self.ssim_from else 0.0
            terms = {"reconstruction": reconstruction_loss(prediction, target, weight)}
            if sd is not None:
                terms["uncertainty"] = uncertainty_loss(prediction, target, sd)
            return terms
        prediction, target = (self._inner(x) for x in in_domain(self.network, batch))
        return {"reconstruction": self.compare(prediction, target, progress)}

    def compare(self, prediction: torch.Tensor, target: torch.Tensor, progress: float) -> torch.Tensor:
        """The chosen loss, with L1 in its place at the beginning."""
        share = 1.0
        if self.l1_part > 0:
            share = similarity_ramp(progress, self.l1_part, self.l1_part)
        loss = self.loss(prediction, target) * share if share else 0.0
        return loss + (1 - share) * L1()(prediction, target) if share < 1 else loss

    def _inner(self, image: torch.Tensor) -> torch.Tensor:
        if not self.margin:
            return image
        inner = slice(self.margin, -self.margin)
        return image[..., inner, inner]
