"""Score interpolators on the validation scans: withheld slices predicted, every scan shown.

    python Testing/Benchmarks/score_methods.py --data FOLDER [--methods linear,flow,default] [--output TABLE.md]

FOLDER holds `manifest.csv` and the scans; rows of the split `validation` are used. Two tracks, never mixed:
gap - every second acquired slice is removed and predicted from the others; slices keep their thickness.
thick - thin scans only: neighboring thin slices are averaged to slices of about 5 mm that touch each other, and
the equally thick slice midway between two of them is predicted, which is what interpolating a clinical 5 mm scan
means. Only targets with two slices on both sides count. Means over slices; with so few patients no intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "SliceInterpolation"), str(ROOT / "SliceInterpolationTrainer")]

from SliceInterpolationLib.files import read_file  # noqa: E402
from SliceInterpolationLib.interpolators import create  # noqa: E402
from SliceInterpolationLib.reports.metrics import BRAIN_WINDOW, SliceTruth  # noqa: E402
from SliceInterpolationLib.stack import SliceStack, percentile_mapping  # noqa: E402

METHODS = "nearest,linear,cubic,bspline,flow,default"
FIGURES = {
    "psnr_brain": 2,
    "ssim_brain": 4,
    "mae_hu": 1,
    "psnr_hu": 2,
    "psnr_intracranial": 2,
    "mae_intracranial": 2,
    "edge": 4,
    "noise_ratio": 2,
    "lesion_hu": 1,
}
_THICK_MM = 5.0


def gap_track(stack: SliceStack) -> tuple[SliceStack, list[np.ndarray]]:
    """Every second slice, and the removed ones."""
    return stack.every_second(0), [stack.image(number) for number in range(1, len(stack) - 1, 2)]


def thick_track(stack: SliceStack) -> tuple[SliceStack, list[np.ndarray]] | None:
    """Touching thick slices and the equally thick ones midway; None where the slices are thick already."""
    count = 2 * round(_THICK_MM / stack.gap / 2)
    if stack.gap > 1.5 or count < 2:
        return None
    means = [
        np.mean([stack.image(n) for n in range(first, first + count)], axis=0)
        for first in range(0, len(stack) - count + 1, count // 2)
    ]
    kept = np.stack(means[0::2])
    thickness = stack.gap * count
    thick = replace(stack, slices=kept, gap=thickness, thickness=thickness)
    return thick, means[1::2][: len(kept) - 1]


def score(
    method: str, kept: SliceStack, targets: list[np.ndarray], gain: float, offset: float
) -> list[dict[str, float]]:
    """Figures of every target, in HU = gain * value + offset; predictions are whole numbers, as stored."""
    interpolator = create(method)
    rows = []
    predictions = interpolator.synthesize(kept, [number + 0.5 for number in range(len(targets))])
    for number, (prediction, target) in enumerate(zip(predictions, targets)):
        interior = 1 <= number < len(kept) - 2
        hu = np.rint(prediction) * gain + offset
        rows.append({"interior": interior, **SliceTruth(target * gain + offset, kept.pixel).score(hu)})
    return rows


def run(folder: Path, methods: list[str]) -> Iterator[dict]:
    """One entry a scan, track and method: means over interior targets, and over the ends apart."""
    from SliceInterpolationTrainerLib.data import read_manifest

    rows = [row for modality in ("CT", "MR") for row in read_manifest(folder, "validation", modality)]
    for row in rows:
        volume = read_file(folder / row["file"])
        volume = replace(volume, slice_axis="k", units="HU" if row["modality"] == "CT" else "arbitrary")
        stack = replace(SliceStack.of(volume), thickness=None)
        for name, track in (("gap", gap_track), ("thick", thick_track)):
            task = track(stack)
            if task is None:
                continue
            for method in methods:
                figures = score(method, *task, *percentile_mapping(volume, *BRAIN_WINDOW))
                interior = [f for f in figures if f["interior"]]
                ends = [f for f in figures if not f["interior"]]
                yield {
                    "scan": row["file"].split(".")[0],
                    "body": row["body"],
                    "track": name,
                    "gap_mm": round(task[0].gap, 3),
                    "method": method,
                    "slices": len(interior),
                    **{key: _mean(interior, key) for key in FIGURES},
                    "ends_psnr_brain": _mean(ends, "psnr_brain"),
                }


def _mean(rows: list[dict[str, float]], key: str) -> float | None:
    values = [row[key] for row in rows if np.isfinite(row[key])]
    return float(np.mean(values)) if values else None


def table(entries: list[dict]) -> str:
    """All entries as one markdown table."""
    titles = "PSNR brain dB,SSIM brain,MAE body HU,PSNR full dB,PSNR inside skull dB,MAE inside skull HU,"
    titles += "edge error,noise ratio,lesion HU"
    lines = [
        "| scan | track | gap mm | slices | method | " + " | ".join(titles.split(",")) + " |",
        "|" + "---|" * (5 + len(FIGURES)),
    ]
    for e in entries:
        figures = ("" if e[k] is None else f"{e[k]:.{digits}f}" for k, digits in FIGURES.items())
        head = f"| {e['scan']} | {e['track']} | {e['gap_mm']:g} | {e['slices']} | {e['method']} | "
        lines.append(head + " | ".join(figures) + " |")
    return "\n".join(lines)


def main() -> None:
    """Score, print the table, and write it with the figures as JSON beside it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    entries = []
    for entry in run(options.data, options.methods.split(",")):
        entries.append(entry)
        print(entry["scan"], entry["track"], entry["method"], f"{entry['psnr_brain']:.2f}", file=sys.stderr)
    print(table(entries))
    if options.output:
        options.output.write_text(table(entries) + "\n")
        options.output.with_suffix(".json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
