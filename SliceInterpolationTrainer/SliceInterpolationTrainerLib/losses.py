"""What the networks of the catalogue are trained to minimize: the losses of the papers, computed safely.

Every loss works in single precision (double if given double) whatever the precision around it. SSIM in half
precision is what ended many runs of the head CT study (arXiv 2606.09953): E[x^2] - mu^2 is then off by as
much as its stabilizing constant, and the denominator can cross zero. Values are in the network's intensity
domain, 0..1 unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import nn

MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales (Wang et al. 2003)."""
_WINDOW, _SIGMA = 11, 1.5
_SMALLEST_CONTRAST = 1e-4  # w c^(w - 1) explodes as c falls to 0 and is lost below it


def full_precision(x: torch.Tensor) -> torch.Tensor:
    """Half precision becomes single; single and double stay."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


class Loss(nn.Module):
    """A number from a prediction and a target of the same shape, in full precision, outside autocast.

    Raises ValueError for shapes that differ: (B, 1) against (B,) would broadcast into nonsense.
    """

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if prediction.shape != target.shape:
            raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ")
        with torch.autocast(prediction.device.type, enabled=False):
            return self.compute(full_precision(prediction), full_precision(target))

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss proper."""
        raise NotImplementedError


class MSE(Loss):
    """Mean squared error: the best PSNR, and the smoothest picture."""

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(prediction, target)


class L1(Loss):
    """Mean absolute error."""

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.l1_loss(prediction, target)


class Charbonnier(Loss):
    """mean sqrt(d^2 + eps^2): L1 with a smooth bottom (Charbonnier et al. 1994)."""

    def __init__(self, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ((prediction - target).square() + self.eps**2).sqrt().mean()


class WindowL1(Loss):
    """L1 within a window, the target clipped to it and the prediction not, in units of the window's width.

    Clipping the prediction makes dead zones: a ghosted skull over brain would get no gradient. Here a pixel
    is free only where target and prediction lie beyond the same end of the window. low, high: the window in
    the units of the data, (0, 1) for data already windowed, (-20, 107) for the brain window in HU.
    clipped_target: the target comes clipped to the window, so that its very end may stand for anything
    beyond; False where a target at the end means just that.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, clipped_target: bool = True) -> None:
        super().__init__()
        if not low < high:
            raise ValueError(f"the window's low end must be below its high end, got {low} and {high}")
        self.low, self.high, self.clipped_target = low, high, clipped_target

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        prediction, target = ((x - self.low) / (self.high - self.low) for x in (prediction, target))
        below = (prediction <= 0) & (target <= 0 if self.clipped_target else target < 0)
        above = (prediction >= 1) & (target >= 1 if self.clipped_target else target > 1)
        return (prediction - target.clamp(0, 1)).abs().masked_fill(below | above, 0.0).mean()


def structural_similarity(
    x: torch.Tensor, y: torch.Tensor, k1: float = 0.01, k2: float = 0.03, data_range: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean SSIM and mean contrast-structure term of each image and channel (Wang et al. 2004).

    x, y: (B, C, H, W), sides of at least 11; an 11x11 Gaussian of sigma 1.5, whole windows only. Returns two
    tensors (B, C). Raises ValueError for smaller sides. Give single precision or better.
    """
    if min(x.shape[-2:]) < _WINDOW:
        raise ValueError(f"SSIM needs sides of at least {_WINDOW} pixels, got {tuple(x.shape[-2:])}")
    offsets = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)

    # One convolution with a group a map: on a CPU many times faster than one map after the other.
    maps = torch.cat((x, y, x * x, y * y, x * y), dim=1)
    kernels = kernel.expand(maps.shape[1], 1, 1, -1)
    maps = F.conv2d(
        F.conv2d(maps, kernels, groups=len(kernels)), kernels.transpose(2, 3), groups=len(kernels)
    )
    mean_x, mean_y, xx, yy, xy = maps.flatten(2).chunk(5, dim=1)
    # A variance below zero is rounding, whatever the precision.
    variance_x, variance_y = (xx - mean_x**2).clamp_min(0), (yy - mean_y**2).clamp_min(0)
    covariance = xy - mean_x * mean_y
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    contrast = (2 * covariance + c2) / (variance_x + variance_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * contrast).mean(2), contrast.mean(2)


class SSIM(Loss):
    """1 - SSIM (head CT study's loss 3).

    k2: 0.03 by default. The study settled on 0.4, which calms the loss because it stops being SSIM: over
    brain tissue it is then a local squared error in disguise. nonnegative: take a negative SSIM of an image
    as 0, as the study does; such an image then has no gradient, so it is off by default. Never train from
    scratch with this loss alone: far from the answer its gradient fades, while L1's does not.
    """

    def __init__(
        self, k1: float = 0.01, k2: float = 0.03, nonnegative: bool = False, data_range: float = 1.0
    ) -> None:
        super().__init__()
        self.options = {"k1": k1, "k2": k2, "data_range": data_range}
        self.nonnegative = nonnegative

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        ssim, _ = structural_similarity(prediction, target, **self.options)
        return 1 - (ssim.relu() if self.nonnegative else ssim).mean()


class MSSSIM(Loss):
    """1 - multi-scale SSIM (Wang et al. 2003; head CT study's loss 4), the scales halved by averaging.

    Each scale's term is kept above 1e-4 before its power, so that value and gradient stay finite where a
    scale is anticorrelated; that scale then teaches nothing. scales_mean: the mean of 1 - SSIM over the
    scales instead of the weighted product; it keeps its gradient there. Sides must exceed 160 pixels for
    five scales (10 * 2^(scales - 1)), else ValueError.
    """

    def __init__(
        self,
        k1: float = 0.01,
        k2: float = 0.03,
        data_range: float = 1.0,
        weights: Sequence[float] = MS_WEIGHTS,
        scales_mean: bool = False,
    ) -> None:
        super().__init__()
        self.options = {"k1": k1, "k2": k2, "data_range": data_range}
        self.weights, self.scales_mean = tuple(weights), scales_mean

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        smallest = (_WINDOW - 1) * 2 ** (len(self.weights) - 1)
        if min(prediction.shape[-2:]) <= smallest:
            raise ValueError(
                f"MS-SSIM with {len(self.weights)} scales needs sides above {smallest} pixels, "
                f"got {tuple(prediction.shape[-2:])}"
            )
        similarities, contrasts = [], []
        for scale in range(len(self.weights)):
            if scale:
                prediction, target = (F.avg_pool2d(x, 2, ceil_mode=True) for x in (prediction, target))
            similarity, contrast = structural_similarity(prediction, target, **self.options)
            similarities.append(similarity)
            contrasts.append(contrast)
        if self.scales_mean:
            return 1 - torch.stack(similarities).mean()
        terms = torch.stack([*contrasts[:-1], similarities[-1]]).clamp_min(_SMALLEST_CONTRAST)
        weights = terms.new_tensor(self.weights).view(-1, 1, 1)
        return 1 - (terms**weights).prod(0).mean()


class SimilarityL1(Loss):
    """Weighted sum of a similarity loss and L1 (head CT study's losses 5 and 6); the weights must sum to 1.

    `strength` scales the similarity's share, the rest going to L1: start at 0 and let `similarity_ramp` raise
    it, since an early excursion never comes back under the similarity alone.
    """

    def __init__(self, similarity: Loss, similarity_weight: float = 0.3, l1_weight: float = 0.7) -> None:
        super().__init__()
        if similarity_weight < 0 or l1_weight < 0 or not math.isclose(similarity_weight + l1_weight, 1):
            raise ValueError(
                f"the weights must be nonnegative and sum to 1, got {similarity_weight} and {l1_weight}"
            )
        self.similarity, self.l1 = similarity, L1()
        self.similarity_weight, self.strength = similarity_weight, 1.0

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        weight = self.similarity_weight * self.strength
        loss = (1 - weight) * self.l1(prediction, target)
        return loss + weight * self.similarity(prediction, target) if weight else loss


def similarity_ramp(step: int, start: int = 500, length: int = 500) -> float:
    """Strength of the similarity at a training step: 0 for `start` steps, then rising to 1 over `length`."""
    return min(max((step - start) / length, 0.0), 1.0)


class Adversarial(nn.Module):
    """Binary cross-entropy on a discriminator's logits (prostate MRI study; Goodfellow et al. 2014)."""

    def generator(self, predicted_logits: torch.Tensor) -> torch.Tensor:
        """Loss of the generator: small where its slices pass for real."""
        return self._against(predicted_logits, 1.0)

    def discriminator(self, real_logits: torch.Tensor, predicted_logits: torch.Tensor) -> torch.Tensor:
        """Loss of the discriminator, half for each kind; the logits of predictions from a detached slice."""
        return 0.5 * (self._against(real_logits, 1.0) + self._against(predicted_logits, 0.0))

    @staticmethod
    def _against(logits: torch.Tensor, label: float) -> torch.Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            logits = full_precision(logits)
            return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


class FeatureMatching(L1):
    """L1 between a discriminator's features of the prediction and of the target, the latter detached."""

    def compute(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return super().compute(prediction, target.detach())


class Diffusion(nn.Module):
    """Squared error of what a diffusion network answers to a noisy slice (Ho et al. 2020, eq. 14)."""

    def forward(
        self,
        network: nn.Module,
        pair: torch.Tensor,
        target: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """One random step and one noise per image.

        network: with steps, encode, diffuse and denoise, as `networks.ddpm.DDPM`; pair: (B, 2, H, W) and
        target: (B, 1, H, W) in 0..1, sides multiples of the network's `multiple`; generator: on the CPU.
        """
        step = torch.randint(network.steps, (len(target),), generator=generator)
        noise = torch.randn(target.shape, generator=generator).to(target)
        noisy, wanted = network.diffuse(network.encode(target), noise, step)
        answer = network.denoise(noisy, network.encode(pair), step.to(target.device))
        with torch.autocast(target.device.type, enabled=False):
            return F.mse_loss(full_precision(answer), full_precision(wanted))


def _ssim_l1(similarity_weight: float = 0.3, l1_weight: float = 0.7, **options: Any) -> SimilarityL1:
    return SimilarityL1(SSIM(**options), similarity_weight, l1_weight)


def _ms_ssim_l1(similarity_weight: float = 0.3, l1_weight: float = 0.7, **options: Any) -> SimilarityL1:
    return SimilarityL1(MSSSIM(**options), similarity_weight, l1_weight)


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "mse": MSE,
    "l1": L1,
    "charbonnier": Charbonnier,
    "window-l1": WindowL1,
    "ssim": SSIM,
    "ms-ssim": MSSSIM,
    "ssim+l1": _ssim_l1,
    "ms-ssim+l1": _ms_ssim_l1,
    "adversarial": Adversarial,
    "feature-matching": FeatureMatching,
    "diffusion": Diffusion,
}
"""Every loss by its name in a training configuration. All but "adversarial" and "diffusion" are called with
(prediction, target)."""


def build_loss(name: str, **options: Any) -> nn.Module:
    """The loss of that name; ValueError for an unknown name, TypeError for an option that it lacks."""
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}, known are {', '.join(LOSSES)}")
    return LOSSES[name](**options)
