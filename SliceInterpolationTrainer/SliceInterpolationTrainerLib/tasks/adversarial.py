"""Generator against discriminator, as the prostate MRI study trains its two GANs (arXiv 2605.16476)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from SliceInterpolationLib.networks.msi_gan import PatchDiscriminator

from ..losses import Adversarial, FeatureMatching
from ..prediction import TRAINABLE, in_domain
from .base import Batch
from .slices import SliceTask


class AdversarialTask(SliceTask):
    """One step of the discriminator, then one of the generator: L1 + weights of the other two terms.

    improved: the discriminator of the improved GAN. adversarial_weight: of the binary cross-entropy (0.001 in the
    study's basic GAN, 0.01 in the improved one). feature_weight: of the L1 between the discriminator's features (0 and
    0.1). Further options as of `SliceTask`.
    """

    networks = tuple(name for name in TRAINABLE if name != "flow-refine")

    def __init__(
        self,
        network: torch.nn.Module,
        architecture: str = "",
        improved: bool = False,
        adversarial_weight: float = 0.001,
        feature_weight: float = 0.0,
        loss: str = "l1",
        **options: Any,
    ):
        super().__init__(network, architecture, loss, **options)
        self.judge = PatchDiscriminator(improved)
        self.companions = (self.judge,)
        self.adversarial_weight, self.feature_weight = adversarial_weight, feature_weight
        self._against, self._features = Adversarial(), FeatureMatching()
        self._seen: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def learners(self) -> Sequence[torch.nn.Module]:
        """The discriminator, then the generator."""
        return (self.judge, self.network)

    def losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        """The discriminator's loss, or the generator's; the generator predicts once for both."""
        if learner == 0:
            self._seen = in_domain(self.network, batch)
            prediction, target = self._seen
            return {
                "discriminator": self._against.discriminator(
                    self.judge(target), self.judge(prediction.detach())
                )
            }
        (prediction, target), self._seen = self._seen, None
        terms = {"reconstruction": self.compare(prediction, target, progress)}
        features = self.judge.features(prediction)
        terms["adversarial"] = self.adversarial_weight * self._against.generator(self.judge.head(features))
        if self.feature_weight:
            terms["features"] = self.feature_weight * self._features(features, self.judge.features(target))
        return terms
