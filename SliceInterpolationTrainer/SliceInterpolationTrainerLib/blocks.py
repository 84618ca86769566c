"""Training examples for networks that see through-plane images or several slices: blocks of a scan, thin and thinned.

A block is cut from a scan with thin slices; every `factor`-th slice of it, or the mean of `factor` slices around it,
is what the network sees, and the block is the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.thick import PROFILES, slab_mean
from SliceInterpolationLib.volume import AIR_LIMIT_HU

from .data import ATTEMPTS, MOSTLY_AIR, Stack


class BlockSampler:
    """Draws blocks without end; the n-th batch depends on the seed and n alone.

    slices: acquired slices of a block. rows, columns: its sides in pixels; where they differ the view is chosen at
    random, so that the columns run along either axis of the scan. factors: one of them is drawn for each batch.
    coarsest_mm: before that the scan is thinned at random, up to this spacing, which yields many spacings (SAINT's
    augmentation). profile: "thin" takes every factor-th slice, "slab" the mean of `factor` slices around it, as thick
    slices are made. references: further axial patches of the acquired slices, `columns` a side. repeat_ends: now and
    then the outer slices are repetitions of their neighbors, as at the ends of a scan. shrink: take fewer slices where
    no scan has enough. Raises InputError where no scan has enough slices.
    """

    def __init__(
        self,
        stacks: list[Stack],
        slices: int,
        rows: int,
        columns: int,
        factors: Sequence[int] = (2,),
        seed: int = 0,
        coarsest_mm: float = 5.0,
        profile: str = "thin",
        references: int = 0,
        repeat_ends: bool = False,
        shrink: bool = True,
    ):
        if profile not in PROFILES:
            raise ValueError(f"profile must be one of {', '.join(PROFILES)}, not {profile!r}")
        if min(factors, default=0) < 2:
            raise ValueError(f"factors must be 2 or more, not {list(factors)}")
        self.stacks = [stack for stack in stacks if not stack.in_plane]
        self.patch, self.rows, self.factors, self.seed = columns, rows, tuple(factors), seed
        self.coarsest_mm, self.profile, self.references = coarsest_mm, profile, references
        self.repeat_ends = repeat_ends
        longest = max((len(stack.slices) for stack in self.stacks), default=0)
        most = (longest - 1 - 2 * self._beyond(max(factors))) // max(factors) + 1
        self.slices = min(slices, most) if shrink else slices
        if self.slices < 3 or most < self.slices:
            raise InputError(
                f"No training scan has the slices that a block needs ({max(3, 0 if shrink else slices)} of every "
                f"{max(factors)}-th one); the longest has {longest}."
            )

    def batch(self, number: int, size: int, part: tuple[int, int] = (0, 1)) -> dict[str, torch.Tensor]:
        """Blocks: slices (B, N, rows, columns), dense (B, D, rows, columns) in HU, spacing (B, 3) in mm.

        With references also those, (B, R, columns, columns). part (k, n): every n-th example from the k-th on.
        """
        factor = int(np.random.default_rng((self.seed, number)).choice(self.factors))
        examples = [
            self._draw(np.random.default_rng((self.seed, number, index)), factor)
            for index in range(part[0], size, part[1])
        ]
        return {name: torch.stack([one[name] for one in examples]) for name in examples[0]}

    @property
    def gap_mm(self) -> tuple[float, float]:
        """Shortest and longest distance of the acquired slices of a block."""
        spacings = [stack.spacing for stack in self.stacks]
        return min(self.factors) * min(spacings), max(self.factors) * max(*spacings, self.coarsest_mm)

    def _beyond(self, factor: int) -> int:
        """Dense slices at either end that only the mean of a slab needs."""
        return factor // 2 if self.profile == "slab" else 0

    def _draw(self, rng: np.random.Generator, factor: int) -> dict[str, torch.Tensor]:
        count = (self.slices - 1) * factor + 1 + 2 * self._beyond(factor)
        usable = [stack for stack in self.stacks if len(stack.slices) >= count]
        weights = np.array([stack.weight for stack in usable])
        stack = usable[rng.choice(len(usable), p=weights / weights.sum())]
        steps = min(int(self.coarsest_mm / stack.spacing), len(stack.slices) // count)
        step = int(rng.integers(1, max(steps, 1) + 1))
        across = self.rows != self.patch and rng.random() < 0.5
        flips = rng.random(3) < 0.5
        for _ in range(ATTEMPTS):
            start = int(rng.integers(0, len(stack.slices) - (count - 1) * step))
            chosen = slice(start, start + (count - 1) * step + 1, step)
            sides = (self.patch, self.rows) if across else (self.rows, self.patch)
            block = _patch(stack.slices[chosen], sides, rng)
            if (block > AIR_LIMIT_HU).mean() > MOSTLY_AIR:
                break
        block = block.transpose(0, 2, 1) if across else block
        block = np.flip(block, np.flatnonzero(flips)).astype(np.float32)
        beyond = self._beyond(factor)
        dense = block[beyond : len(block) - beyond]
        if self.profile == "slab":
            seen = np.stack([slab_mean(block, beyond + k * factor, factor) for k in range(self.slices)])
        else:
            seen = dense[::factor].copy()
        if self.repeat_ends:
            for end, inner in ((0, 1), (-1, -2)):
                if rng.random() < 0.1:
                    seen[end] = seen[inner]
        example = {
            "slices": torch.from_numpy(np.ascontiguousarray(seen)),
            "dense": torch.from_numpy(np.ascontiguousarray(dense)),
            "spacing": torch.tensor([factor * step * stack.spacing, stack.pixel, stack.pixel]),
        }
        if self.references:
            numbers = np.sort(rng.integers(0, self.slices, self.references)) * factor * step + start
            patches = [_patch(stack.slices[n : n + 1], (self.patch,) * 2, rng)[0] for n in numbers]
            example["references"] = torch.from_numpy(np.stack(patches).astype(np.float32))
        return example


def _patch(slices: np.ndarray, sides: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random patch of all slices, continued by reflection where they are smaller."""
    window = []
    for side, size in zip(sides, slices.shape[1:]):
        first = int(rng.integers(0, max(size - side, 0) + 1))
        window.append(slice(first, first + side))
    cut = slices[(slice(None), *window)]
    missing = [side - size for side, size in zip(sides, cut.shape[1:])]
    if any(missing):
        cut = np.pad(cut, ((0, 0), (0, missing[0]), (0, missing[1])), mode="reflect")
    return cut


def between(count: int, factor: int, device: torch.device) -> torch.Tensor:
    """Which of `count` dense slices lie between acquired ones, (count,) bool."""
    return torch.arange(count, device=device) % factor != 0


def coronal_images(blocks: torch.Tensor) -> torch.Tensor:
    """Blocks (B, N, rows, columns) as images of their rows, (B, rows, N, columns)."""
    return blocks.transpose(1, 2)


def from_coronal_images(images: torch.Tensor, rows: int) -> torch.Tensor:
    """The way back: (B * rows, D, columns) to (B, D, rows, columns)."""
    return images.unflatten(0, (-1, rows)).transpose(1, 2)
