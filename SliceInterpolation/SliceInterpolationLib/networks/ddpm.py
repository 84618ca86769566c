"""Conditional diffusion for the middle slice: the prostate MRI study's U-Net, its schedule, and a sound one.

A research model, never the default: even a sampler that works adds the variance of one possible slice to
the error of the mean slice, at twenty to a hundred times the cost. Averaging samples goes back to the mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import PairNetwork

PAPER = {
    "schedule": "linear",
    "objective": "epsilon",
    "signed": False,
    "clip": False,
    "sampling_steps": None,
    "eta": 1.0,
}
"""DDPM(**PAPER) is the published model, with its ancestral sampling over all steps. Its schedule ends at
alpha-bar 0.364, so 60% of the image's amplitude is still there where sampling starts from pure noise; that,
not the objective, is why it fell 12 dB behind the other networks of that study."""

SCHEDULES = ("linear", "rescaled", "cosine", "zero-snr")
OBJECTIVES = ("epsilon", "x0", "v")


def alpha_bars(schedule: str, steps: int) -> torch.Tensor:
    """Share of the image's variance left after each step, (steps,), float64, decreasing.

    "linear": betas from 1e-4 to 0.02, made for 1000 steps (Ho et al. 2020); "rescaled": the same times
    1000 / steps; "cosine": Nichol & Dhariwal 2021, eq. 17; "zero-snr": "rescaled" shifted and scaled until
    nothing of the image is left at the last step (Lin et al. 2024, algorithm 1).
    """
    if steps < 2:
        raise ValueError(f"diffusion needs at least 2 steps, got {steps}")
    if schedule == "cosine":
        phase = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008
        curve = torch.cos(phase * math.pi / 2) ** 2
        betas = (1 - curve[1:] / curve[:-1]).clamp(max=0.999)
        return torch.cumprod(1 - betas, 0)
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    scale = 1.0 if schedule == "linear" else 1000 / steps
    betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * scale
    if 0.02 * scale >= 1:
        raise ValueError(
            f'the schedule {schedule!r} needs more than 20 steps, got {steps}; "cosine" does not'
        )
    bars = torch.cumprod(1 - betas, 0)
    if schedule == "zero-snr":
        roots = bars.sqrt()
        bars = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return bars


class TimeEmbedding(nn.Module):
    """Sines and cosines of the step, then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, step: torch.Tensor) -> torch.Tensor:
        """Steps (B,) -> (B, width)."""
        half = self.width // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=step.device) / (half - 1))
        angles = step.float()[:, None] * frequencies
        embedding = torch.cat((angles.sin(), angles.cos()), 1)
        return self.layers(embedding.to(self.layers[0].weight.dtype))


class TimedBlock(nn.Module):
    """Residual block, group norm and SiLU before each convolution, the time embedding added in between."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.norm2 = nn.GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) and an embedding (B, time) -> (B, outputs, H, W)."""
        y = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class Attention(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) -> the same shape; memory grows with the number of pixels."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(x.shape))


class DDPM(PairNetwork):
    """Diffusion network conditioned on the two neighbors (arXiv 2605.16476, "DDPM"), 20,506,881 parameters.

    schedule: see `alpha_bars`. objective: what the network predicts, the noise "epsilon", "v" (Salimans & Ho
    2022), or the slice "x0", which learns fastest here, the neighbors saying so much of it. signed: map the
    data to [-1, 1], so that it is centered like the noise. clip: keep every estimate of the slice within the
    data's range while sampling. sampling_steps (None: all), eta (0: DDIM, deterministic but for the first
    noise; 1: ancestral), samples (averaged) and seed are what `forward` uses. The defaults are the corrected
    model, `DDPM(**PAPER)` is the published one.

    Example:
        >>> network = DDPM(channels=16, sampling_steps=2)
        >>> network(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2605.16476"
    intensity = "unit"
    multiple = 16
    # No reach: attention and group norm see the whole slice.

    def __init__(
        self,
        channels: int = 64,
        steps: int = 100,
        schedule: str = "zero-snr",
        objective: str = "x0",
        signed: bool = True,
        clip: bool = True,
        sampling_steps: int | None = 20,
        eta: float = 0.0,
        samples: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")
        if schedule == "zero-snr" and objective == "epsilon":
            raise ValueError("at zero signal the noise says nothing about the slice: use v or x0")
        # A plain attribute: it follows from the settings, and it stays in double precision.
        self.alpha_bar = alpha_bars(schedule, steps)
        self.objective, self.signed, self.clip = objective, signed, clip
        self.sampling_steps, self.eta, self.samples, self.seed = sampling_steps, eta, samples, seed

        time, c = 4 * channels, channels
        self.time = TimeEmbedding(time)
        self.entry = nn.Conv2d(3, c, 3, padding=1)
        widths = (c, c, 2 * c, 4 * c, 8 * c)
        self.encoder = nn.ModuleList(TimedBlock(i, o, time) for i, o in zip(widths[:-1], widths[1:]))
        self.bottom1 = TimedBlock(8 * c, 8 * c, time)
        self.attention = Attention(8 * c)
        self.bottom2 = TimedBlock(8 * c, 8 * c, time)
        self.decoder = nn.ModuleList(
            TimedBlock(i, o, time) for i, o in ((16 * c, 4 * c), (8 * c, 2 * c), (4 * c, c), (2 * c, c))
        )
        self.head = nn.Sequential(nn.GroupNorm(8, c), nn.SiLU(), nn.Conv2d(c, 1, 3, padding=1))

    @property
    def steps(self) -> int:
        """Number of diffusion steps T; a step is an integer in 0..T-1, larger is noisier."""
        return len(self.alpha_bar)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """From the intensity domain 0..1 to the range that the diffusion runs in."""
        return 2 * image - 1 if self.signed else image

    def decode(self, image: torch.Tensor) -> torch.Tensor:
        """Inverse of `encode`."""
        return (image + 1) / 2 if self.signed else image

    def denoise(self, noisy: torch.Tensor, pair: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """What the network says of a noisy slice: epsilon, x0 or v, by `objective`.

        noisy: (B, 1, H, W) and pair: (B, 2, H, W), both encoded, sides multiples of 16; step: (B,).
        """
        time = self.time(step)
        x = self.entry(torch.cat((noisy, pair), 1))
        skips = []
        for block in self.encoder:
            x = block(x, time)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom2(self.attention(self.bottom1(x, time)), time)
        for block, skip in zip(self.decoder, reversed(skips)):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
            x = block(torch.cat((x, skip), 1), time)
        return self.head(x)

    def diffuse(
        self, image: torch.Tensor, noise: torch.Tensor, step: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noisy version of an encoded slice at each step, and what `denoise` should answer to it.

        image, noise: (B, 1, H, W); step: (B,). Returns two tensors (B, 1, H, W).
        """
        bar = self.alpha_bar[step.cpu()].view(-1, 1, 1, 1).to(image)
        signal, spread = bar.sqrt(), (1 - bar).sqrt()
        answers = {"epsilon": noise, "x0": image, "v": signal * noise - spread * image}
        return signal * image + spread * noise, answers[self.objective]

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Draw with the network's own seed: (B, 2, H, W) -> (B, 1, H, W); always the middle slice."""
        return self.sample(pair, torch.Generator().manual_seed(self.seed))

    @torch.no_grad()
    def sample(self, pair: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw `samples` slices and average them.

        pair: (B, 2, H, W), not encoded, sides multiples of 16; generator: on the CPU, so that a seed means
        the same on every device. Returns (B, 1, H, W), not encoded.
        """
        return sum(self._draw(pair, generator) for _ in range(self.samples)) / self.samples

    def _draw(self, pair: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        def noise() -> torch.Tensor:
            shape = (len(pair), 1, *pair.shape[-2:])
            return torch.randn(shape, generator=generator).to(pair)

        condition, x = self.encode(pair), noise()
        steps = sampling_steps(self.steps, self.sampling_steps)
        for step, following in zip(steps, [*steps[1:], None]):
            answer = self.denoise(x, condition, torch.full((len(pair),), step, device=pair.device))
            clean = self._clean(x, answer, step)
            x = self._move(x, clean, step, following, noise)
        return self.decode(x)

    def _clean(self, x: torch.Tensor, answer: torch.Tensor, step: int) -> torch.Tensor:
        """Estimate of the clean slice from the network's answer."""
        bar = float(self.alpha_bar[step])
        signal, spread = math.sqrt(bar), math.sqrt(1 - bar)
        if self.objective == "epsilon":
            clean = (x - spread * answer) / signal
        else:
            clean = answer if self.objective == "x0" else signal * x - spread * answer
        return clean.clamp(-1 if self.signed else 0, 1) if self.clip else clean

    def _move(
        self,
        x: torch.Tensor,
        clean: torch.Tensor,
        step: int,
        following: int | None,
        noise: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """One step of Song et al. 2021 (DDIM), eq. 12 and 16; eta = 1 over all steps is ancestral DDPM."""
        if following is None:
            return clean
        now, then = float(self.alpha_bar[step]), float(self.alpha_bar[following])
        epsilon = (x - math.sqrt(now) * clean) / math.sqrt(1 - now)
        sigma = self.eta * math.sqrt((1 - then) / (1 - now) * (1 - now / then))
        x = math.sqrt(then) * clean + math.sqrt(max(1 - then - sigma**2, 0.0)) * epsilon
        return x + sigma * noise() if sigma else x


def sampling_steps(steps: int, count: int | None) -> list[int]:
    """`count` of the steps 0..steps-1 (None: all), evenly spaced, the noisiest one always first.

    Starting anywhere else would feed the network pure noise under the name of a less noisy step.
    """
    count = steps if count is None else count
    if not 1 <= count <= steps:
        raise ValueError(f"sampling steps must be within 1..{steps}, got {count}")
    return [round(steps - index * steps / count) - 1 for index in range(count)]
