"""What the flow-refine network is trained to minimize, in HU."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from SliceInterpolationLib.networks.flow_refine import signed_log


def windowed(hu: torch.Tensor) -> torch.Tensor:
    """-20..107 HU to 0..1 without clipping."""
    return (hu + 20.0) / 127.0


def target_clipped_l1(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 in the brain window with the target clipped, not the prediction.

    Clipping the prediction would leave a ghosted skull without gradient; the loss is zero only where both are
    saturated on the same side.
    """
    p, y = windowed(prediction), windowed(target)
    same_side = ((p > 1) & (y > 1)) | ((p < 0) & (y < 0))
    return ((p - y.clamp(0, 1)).abs().masked_fill(same_side, 0.0)).mean()


def ssim_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - SSIM in the brain window, fp32, 11x11 Gaussian of sigma 1.5 (Wang et al. 2004)."""
    offsets = torch.arange(-5, 6, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / 1.5) ** 2)
    kernel = (kernel / kernel.sum()).to(prediction.device).view(1, 1, 1, -1)

    x, y = windowed(prediction).float().clamp(-0.5, 1.5), windowed(target).float().clamp(0, 1)
    maps = torch.cat((x, y, x * x, y * y, x * y), dim=1)
    kernels = kernel.expand(5, 1, 1, -1)
    maps = F.conv2d(F.conv2d(maps, kernels, groups=5), kernels.transpose(2, 3), groups=5)
    mx, my, xx, yy, xy = maps.split(1, dim=1)
    vx, vy, cov = (xx - mx * mx).clamp_min(0), (yy - my * my).clamp_min(0), xy - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return 1.0 - ssim.mean()


def reconstruction_loss(prediction: torch.Tensor, target: torch.Tensor, ssim_weight: float) -> torch.Tensor:
    """Brain window L1 + signed-log L1 + a little absolute HU, and SSIM once training has settled."""
    loss = target_clipped_l1(prediction, target)
    loss = loss + (signed_log(prediction) - signed_log(target)).abs().mean()
    loss = loss + 0.2 * (prediction - target).abs().mean() / 1000.0
    if ssim_weight:
        loss = loss + ssim_weight * ssim_loss(prediction, target)
    return loss


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
