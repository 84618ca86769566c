"""One measure for all networks and losses: withheld slices of other scans, predicted as users' scans are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from SliceInterpolationLib.interpolators import run_network
from SliceInterpolationLib.reports.metrics import psnr, windowed
from SliceInterpolationLib.stack import SliceStack, evenly

from .data import Stack

_EQUAL_DB = 100.0  # said of equal images, whose PSNR is infinite
_KEPT = 6
"""Slices that a network sees of each crop; those between them are withheld."""


@dataclass
class _Crop:
    stack: SliceStack
    truth: np.ndarray


class Validation:
    """Fixed crops of validation scans, every second slice withheld.

    scans: their axial stacks; scans with fewer than 5 slices tell nothing and are left out. side: of the crops in
    pixels. targets: withheld slices that are scored a scan. The network runs in single precision through the
    interpolator that users run, so that a better figure here means a better result there, whatever it was trained to
    minimize.
    """

    def __init__(self, scans: Sequence[Stack], side: int = 96, targets: int = 2):
        self.targets = targets
        self.crops = [_crop(scan, side) for scan in scans if not scan.in_plane and len(scan.slices) >= 5]

    def score(self, architecture: str, network: torch.nn.Module, device: str = "cpu") -> dict[str, Any]:
        """Mean PSNR in the brain window and mean absolute error in HU; slices that are not finite are counted.

        Scans weigh alike. None where no slice is finite.
        """
        interpolator = run_network(architecture, network, "validation", device)
        figures, wrong = [], 0
        for crop in self.crops:
            seen = crop.stack.every_second(0)
            inner = list(range(1, len(seen) - 2)) or list(range(len(seen) - 1))
            chosen = evenly(inner, self.targets)
            scores = []
            for number, image in zip(chosen, interpolator.synthesize(seen, [n + 0.5 for n in chosen])):
                truth = crop.truth[2 * number + 1].astype(np.float64)
                if not np.isfinite(image).all():
                    wrong += 1
                    continue
                peak = min(psnr(windowed(image), windowed(truth)), _EQUAL_DB)
                scores.append((peak, np.abs(image - truth).mean()))
            if scores:
                figures.append(np.mean(scores, axis=0))
        found = {"validation_not_finite": wrong}
        for name, value in zip(("psnr", "mae_hu"), np.mean(figures, axis=0) if figures else (None, None)):
            found[name] = None if value is None else round(float(value), 4)
        return found


def _crop(scan: Stack, side: int) -> _Crop:
    """The middle of a scan: a dense run of slices, as a stack whose every second slice may be withheld."""
    count = min(2 * _KEPT - 1, (len(scan.slices) - 1) // 2 * 2 + 1)
    first = (len(scan.slices) - count) // 2
    window = [
        slice(max((size - side) // 2, 0), max((size - side) // 2, 0) + side) for size in scan.slices.shape[1:]
    ]
    truth = np.ascontiguousarray(scan.slices[(slice(first, first + count), *window)])
    return _Crop(SliceStack(truth, scan.spacing, (scan.pixel, scan.pixel)), truth)
