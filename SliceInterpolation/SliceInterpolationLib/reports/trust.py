"""The trust check: hide every second acquired slice of this very scan, predict it, and compare with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..catalogue import find_model
from ..device import choose_device
from ..errors import InputError
from ..interpolation import as_requested
from ..interpolators import METHODS, create
from ..progress import Progress
from ..request import Request
from ..stack import SliceStack, percentile_mapping
from ..volume import ACQUIRED, UNKNOWN, Volume
from .metrics import BRAIN_WINDOW, SliceTruth

BASELINES = ("linear", "cubic", "flow")
FIGURES = (
    "psnr_brain",
    "ssim_brain",
    "mae_hu",
    "psnr_hu",
    "mae_intracranial",
    "edge",
    "noise_ratio",
    "lesion_hu",
)
_EQUAL_DB = 0.1  # mean differences below this are called equal


@dataclass
class TrustReport:
    """Errors of withheld acquired slices.

    rows: one dict a slice and method with the slice number (from 0), whether it has two neighbors on both
    sides ("interior"), and the figures of `metrics.SliceTruth.score`. means: figures of each method over the
    interior slices (over all where the stack is too short). verdict: one sentence; trusted: whether the
    method asked about predicts this scan best.
    """

    method: str
    gap_mm: float
    rows: list[dict[str, Any]]
    means: dict[str, dict[str, float]]
    won: float
    trusted: bool
    verdict: str
    remarks: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; undefined figures become None."""
        return _plain(vars(self))


def trust(
    volume: Volume,
    request: Request | None = None,
    *,
    baselines: Sequence[str] = BASELINES,
    progress: Progress | None = None,
    **options: Any,
) -> TrustReport:
    """Predict each inner acquired slice from its neighbors, without itself, by a method and by the baselines.

    request, options: as of `interpolate`; method, axis, units and device count.

    The slices used lie twice as far apart as those that interpolation works with, so the errors are an upper
    estimate of what the interpolated slices have. Raises InputError for fewer than 4 slices, and for a volume
    that holds slices made by interpolation: only acquired ones can be the truth.
    """
    request = replace(request or Request(), **options)
    remarks: list[str] = []
    volume = as_requested(volume, request, remarks)
    if not set(volume.provenance) <= {ACQUIRED, UNKNOWN}:
        raise InputError("The volume holds synthesized or denoised slices; check the original scan instead.")
    if volume.slice_count < 4:
        raise InputError(f"The trust check needs at least 4 slices; the volume has {volume.slice_count}.")
    if min(volume.slices.shape[1:]) < 16:
        raise InputError("The slices are smaller than 16 x 16 pixels; nothing can be compared on them.")
    name = request.method if request.method in METHODS else find_model(request.method).name
    others = [other for other in baselines if other != name]
    chosen, _ = choose_device(request.device)
    stack = SliceStack.of(volume)
    interpolators = {which: create(which, chosen, remarks.append) for which in (name, *others)}
    predictions = {which: one.predict_withheld(stack) for which, one in interpolators.items()}
    # Without HU scale the errors are counted in the window from the 1st to the 99th percentile.
    gain, offset = percentile_mapping(volume, *BRAIN_WINDOW)
    rows = []
    count = len(stack) - 2
    for done, number in enumerate(range(1, len(stack) - 1)):
        truth = SliceTruth(stack.image(number) * gain + offset, stack.pixel)
        for which, stream in predictions.items():
            predicted = next(stream) * gain + offset
            interior = 3 <= number < len(stack) - 3
            rows.append({"slice": number, "method": which, "interior": interior, **truth.score(predicted)})
        if progress:
            progress("trust", done + 1, count)
    if volume.units != "HU":
        remarks.append("No HU scale: percentiles 1 and 99 stand for -20 and 107 HU in all figures.")
    return _summarize(name, others, rows, 2 * volume.slice_distance, remarks)


def _summarize(name: str, others: list[str], rows: list[dict], gap: float, remarks: list[str]) -> TrustReport:
    if any(row["interior"] for row in rows):
        counted = [row for row in rows if row["interior"]]
    else:
        counted = rows
    means = {
        which: {
            figure: _nanmean([row[figure] for row in counted if row["method"] == which]) for figure in FIGURES
        }
        for which in (name, *others)
    }
    if not others:
        return TrustReport(name, gap, rows, means, float("nan"), True, "Nothing to compare with.", remarks)
    rival = max(others, key=lambda which: means[which]["psnr_brain"])
    by_slice = {(row["slice"], row["method"]): row["psnr_brain"] for row in counted}
    numbers = sorted({row["slice"] for row in counted})
    won = float(np.mean([by_slice[n, name] > by_slice[n, rival] for n in numbers]))
    lead = means[name]["psnr_brain"] - means[rival]["psnr_brain"]
    similarity = means[name]["ssim_brain"] - means[rival]["ssim_brain"]
    figures = (
        f"{means[name]['psnr_brain']:.2f} dB against {means[rival]['psnr_brain']:.2f} dB of {rival}, the best "
        f"other method, better on {won:.0%} of {len(numbers)} withheld slices (gap {gap:.3g} mm)"
    )
    trusted = lead > -_EQUAL_DB and (lead > 0 or similarity > 0)
    if lead > _EQUAL_DB:
        verdict = f"On this scan {name} predicts withheld slices best: {figures}."
    elif trusted:
        verdict = f"On this scan {name} and {rival} predict withheld slices about equally well: {figures}."
    else:
        verdict = f"Warning: on this scan {name} does not win: {figures}. Prefer --method {rival}."
    return TrustReport(name, gap, rows, means, won, trusted, verdict, remarks)


def _nanmean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    return float(value) if np.isfinite(value) else None


def trust_table(report: TrustReport) -> str:
    """Mean figures of each method as aligned text."""
    names = {
        "psnr_brain": "PSNR window dB",
        "ssim_brain": "SSIM window",
        "mae_hu": "MAE body HU",
        "mae_intracranial": "MAE brain HU",
        "psnr_hu": "PSNR full dB",
        "noise_ratio": "noise ratio",
    }
    lines = ["  ".join([f"{'method':<24}", *(f"{title:>14}" for title in names.values())])]
    for method, means in report.means.items():
        digits = {"ssim_brain": 4, "noise_ratio": 3}
        values = [f"{means[key]:>14.{digits.get(key, 2)}f}" for key in names]
        lines.append("  ".join([f"{method:<24}", *values]))
    return "\n".join(lines)
