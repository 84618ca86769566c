"""What the regression networks are trained to minimize, in HU: a sum of terms from `losses`."""

from __future__ import annotations

import torch

from SliceInterpolationLib.networks.flow_refine import signed_log

from .losses import WindowL1, structural_similarity

_BRAIN = (-20.0, 107.0)
_brain_l1 = WindowL1(*_BRAIN, clipped_target=False)


def reconstruction_loss(prediction: torch.Tensor, target: torch.Tensor, ssim_weight: float) -> torch.Tensor:
    """Brain window L1 + signed-log L1 + a little absolute HU, and SSIM once training has settled."""
    loss = _brain_l1(prediction, target)
    loss = loss + (signed_log(prediction) - signed_log(target)).abs().mean()
    loss = loss + 0.2 * (prediction - target).abs().mean() / 1000.0
    if ssim_weight:
        loss = loss + ssim_weight * brain_ssim_loss(prediction, target)
    return loss


def brain_ssim_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - SSIM in the brain window; the prediction may leave it by half its width before it is clipped."""
    low, high = _BRAIN
    x, y = ((hu.float() - low) / (high - low) for hu in (prediction, target))
    similarity, _ = structural_similarity(x.clamp(-0.5, 1.5), y.clamp(0, 1))
    return 1.0 - similarity.mean()


def uncertainty_loss(
    prediction: torch.Tensor, target: torch.Tensor, sd: torch.Tensor, beta: float = 0.5
) -> torch.Tensor:
    """Gaussian negative log-likelihood of the error, weighted by sd^(2 beta) (beta-NLL, Seitzer et al. 2022).

    The prediction is detached: only the error estimate learns from it.
    """
    variance = sd.float() ** 2
    squared = (prediction.detach().float() - target) ** 2
    nll = 0.5 * (variance.log() + squared / variance)
    return (variance.detach() ** beta * nll).mean() / 100.0
