"""Measure how far the error SD that a network predicts is right, and write the factors into its card.

    python Testing/Benchmarks/calibrate_uncertainty.py --data FOLDER [--model NAME or FOLDER] [--write]

FOLDER holds `manifest.csv` and the scans; rows of the split `validation` are used. Of every scan, and of every second
and fourth slice of it where enough are left, slices are withheld and predicted across the gap of the others, and
across twice of it. From both follow the factors that the card gets (see `SliceInterpolationLib.uncertainty`). What
they are worth is measured on each patient with the factors of the other patients. Run it again for new weights; it
takes less than a CPU minute.
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

from SliceInterpolationLib.catalogue import CARD, Model, find_model  # noqa: E402
from SliceInterpolationLib.files import read_file  # noqa: E402
from SliceInterpolationLib.interpolators import Interpolator, run_model  # noqa: E402
from SliceInterpolationLib.stack import SliceStack, evenly, inner_numbers  # noqa: E402
from SliceInterpolationLib.uncertainty import (  # noqa: E402
    DEFAULT_SLICES,
    coverage,
    standardized_errors,
    typical_size,
)

_TESTED_SLICES = 8
_FEWEST_SLICES = 10  # what must be left of a scan when slices are taken away
_LARGEST_GAP_MM = 10.0


def stacks(folder: Path) -> Iterator[tuple[str, str, SliceStack]]:
    """Name, patient, and slices of which every second one can be taken as truth."""
    from SliceInterpolationTrainerLib.data import read_manifest

    for modality, units in (("CT", "HU"), ("MR", "arbitrary")):
        for row in read_manifest(folder, "validation", modality):
            volume = replace(read_file(folder / row["file"]), slice_axis="k", units=units, provenance="")
            whole = SliceStack.of(volume)
            for step in (1, 2, 4):
                part = replace(whole, slices=whole.slices[::step], gap=step * whole.gap)
                if len(part) // 2 >= _FEWEST_SLICES and (step == 1 or 2 * part.gap <= _LARGEST_GAP_MM):
                    yield row["file"].split(".")[0], row["patient"], part


def errors_of(interpolator: Interpolator, stack: SliceStack, count: int) -> list[np.ndarray]:
    """Standardized errors of so many withheld slices."""
    return standardized_errors(stack, interpolator, evenly(inner_numbers(len(stack), count), count))


def measure(interpolator: Interpolator, folder: Path) -> list[dict]:
    """For every scan and gap: errors over SD across the gap, and what the scan itself tells across twice the gap."""
    found = []
    for name, patient, stack in stacks(folder):
        errors = errors_of(interpolator, stack, _TESTED_SLICES)
        # What interpolation would be given: every second slice, with the others as the truth.
        withheld = typical_size(errors_of(interpolator, stack.every_second(0), DEFAULT_SLICES))
        entry = {"scan": name, "patient": patient, "gap_mm": round(2 * stack.gap, 3), "errors": errors}
        found.append({**entry, "between": typical_size(errors), "withheld": withheld})
        print(name, entry["gap_mm"], f"{found[-1]['between']:.2f} {withheld:.2f}", file=sys.stderr)
    return found


def factors(entries: list[dict]) -> dict[str, float]:
    """Geometric means over patients of error over SD, and of that over the same across twice the gap."""
    patients = sorted({entry["patient"] for entry in entries})

    def mean(value) -> float:
        logs = [np.mean([np.log(value(e)) for e in entries if e["patient"] == one]) for one in patients]
        return float(np.exp(np.mean(logs)))

    return {
        "between": mean(lambda entry: entry["between"]),
        "carry": mean(lambda entry: entry["between"] / entry["withheld"]),
    }


def summary(entries: list[dict]) -> dict:
    """The entry "uncertainty" of the card but for the weights: factors, and what they are worth on other patients."""
    rows = []
    for entry in entries:
        others = factors([other for other in entries if other["patient"] != entry["patient"]])
        row = {key: entry[key] for key in ("scan", "gap_mm")}
        row["slices"] = len(entry["errors"])
        for name, factor in (
            ("predicted", 1.0),
            ("card", others["between"]),
            ("calibrated", others["carry"] * entry["withheld"]),
        ):
            one, two = coverage(entry["errors"], factor)
            row[name] = {
                "factor": round(factor, 3),
                "rms": round(entry["between"] / factor, 3),
                "within_1_sd": round(one, 3),
                "within_2_sd": round(two, 3),
            }
        rows.append(row)
    means = {
        name: {
            "rms_off_by": round(
                float(np.exp(np.sqrt(np.mean([np.log(r[name]["rms"]) ** 2 for r in rows])))) - 1, 3
            ),
            "within_1_sd": round(float(np.mean([r[name]["within_1_sd"] for r in rows])), 3),
            "within_2_sd": round(float(np.mean([r[name]["within_2_sd"] for r in rows])), 3),
        }
        for name in ("predicted", "card", "calibrated")
    }
    return {
        **{name: round(value, 4) for name, value in factors(entries).items()},
        "measured_by": "Testing/Benchmarks/calibrate_uncertainty.py on the validation scans, pixels of the patient, "
        "median over slices of the rms of error over SD; 'predicted': as the network predicts it, 'card': with the "
        "factor between, 'calibrated': on withheld slices of the scan itself, wherever it has enough; both with the "
        "factors of the other patients (leave one out)",
        "coverage": means,
        "scans": rows,
    }


def table(found: dict) -> str:
    """What was measured as markdown."""
    lines = [
        "| scan | gap mm | rms predicted | card | calibrated | within 1 SD predicted | card | calibrated "
        "| within 2 SD predicted | card | calibrated |",
        "|" + "---|" * 11,
    ]
    for row in found["scans"]:
        figures = [
            f"{row[name][figure]:.2f}"
            for figure in ("rms", "within_1_sd", "within_2_sd")
            for name in ("predicted", "card", "calibrated")
        ]
        lines.append(f"| {row['scan']} | {row['gap_mm']:g} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and, where asked, write the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="default", help="name in the catalogue, or folder")
    parser.add_argument("--write", action="store_true", help="put the figures into the card of the model")
    options = parser.parse_args()
    folder = Path(options.model)
    model = Model.open(folder) if (folder / CARD).is_file() else find_model(options.model)
    found = summary(measure(run_model(model, model.load()), options.data))
    print(table(found))
    print(json.dumps({key: found[key] for key in ("between", "carry", "coverage")}, indent=1))
    if options.write:
        card = {**model.card, "uncertainty": {"weights_sha256": model.card["weights_sha256"], **found}}
        (model.folder / CARD).write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
