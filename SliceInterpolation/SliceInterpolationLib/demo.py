"""The demo: one head CT from end to end, with every picture and number that the product makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from . import cancel
from .files import Outputs, read_volume
from .interpolation import interpolate
from .phantom import phantom_volume
from .progress import Reporter
from .reports.measure import COLUMNS, measure, measure_table
from .reports.noise import (
    NOISE_FILES,
    analyze_noise,
    noise_alternation,
    noise_before_and_after,
    noise_by_slice,
    write_noise_report,
)
from .reports.page import study_page
from .reports.pictures import compare_picture
from .reports.tables import in_digits, write_csv
from .reports.trust import trust, trust_table
from .request import Request
from .volume import Volume

_FILES = (
    "original.nrrd", "interpolated.nrrd", "denoised.nrrd", "uncertainty.nrrd", "compare.png", "trust.json",
    "report.html", "hematoma.nrrd", "measurements.csv", *(f"noise/{name}" for name in NOISE_FILES),
)  # fmt: skip


def run_demo(folder: Path, scan: str | None, request: Request, reporter: Reporter) -> None:
    """Interpolate the phantom, or `scan`, and write volumes, pictures, reports and tables into `folder`.

    Writes original.nrrd, interpolated.nrrd, denoised.nrrd, uncertainty.nrrd, compare.png, noise/, trust.json,
    report.html and, for the phantom, hematoma.nrrd and measurements.csv, all or nothing; tells the tables.
    request: its device and units count.
    """
    with Outputs(scan, hold_cancel=cancel.hold_cancel) as outputs:
        folder = outputs.check_folder(folder, _FILES)
        lines, verdict = _demonstrate(outputs, folder, scan, request, reporter)
    reporter.message("\n".join([*lines, "", "Written:"]))
    reporter.result(outputs.paths, verdict=verdict)


def _demonstrate(
    outputs: Outputs, folder: Path, scan: str | None, request: Request, reporter: Reporter
) -> tuple[list[str], str]:
    """Write everything; the lines to print and the verdict of the trust check."""
    labels, truth_ml = None, None
    if scan is None:
        reporter.message(
            "Input: the synthetic head phantom, 30 slices at 5 mm, with a hematoma of known volume."
        )
        volume, labels, truth_ml = phantom_volume()
    else:
        volume, remarks = read_volume(scan)
        for remark in [f"Input: {scan}", *remarks]:
            reporter.message(remark)
    result = interpolate(volume, request, uncertainty=True, progress=reporter)
    for remark in [f"Device: {result.device}", *result.remarks]:
        reporter.message(remark)
    denoised = interpolate(volume, request, output_mode="denoised", progress=reporter)
    linear = interpolate(volume, request, method="linear")
    noise = analyze_noise(volume, request, progress=reporter)
    report = trust(volume, request, progress=reporter)
    outputs.folder(folder)
    outputs.volume(volume, folder / "original.nrrd")
    outputs.volume(result.volume, folder / "interpolated.nrrd")
    outputs.volume(denoised.volume, folder / "denoised.nrrd")
    outputs.volume(result.uncertainty, folder / "uncertainty.nrrd")
    position = _hematoma_position(result.volume, labels)
    with outputs.file(folder / "compare.png") as picture:
        compare_picture(
            [("original", volume), ("linear", linear.volume), ("network", result.volume)],
            picture,
            position=position,
        )
    along = noise_before_and_after(volume, result.volume)
    noise_text = write_noise_report(volume, noise, folder / "noise", outputs, along)
    outputs.text(folder / "trust.json", json.dumps(report.as_dict(), indent=1) + "\n")
    lines = [
        "",
        "Trust check: every second acquired slice withheld and predicted",
        trust_table(report),
        report.verdict,
    ]
    lines += ["", "Noise", noise_text]
    by_slice = {
        "original": [row for row in along if row["volume"] == "scan"],
        "interpolated": [row for row in along if row["volume"] == "result"],
        "denoised": noise_by_slice(denoised.volume),
    }
    alternation = ", ".join(
        f"{name} {in_digits(noise_alternation(rows), 3)}" for name, rows in by_slice.items()
    )
    lines.append(f"Noise alternation from slice to slice: {alternation}")
    measured = []
    if labels is not None:
        mask = Volume(labels, volume.spacing, volume.origin, slice_axis="k", units="label")
        outputs.volume(mask, folder / "hematoma.nrrd", compress=True)
        measured = measure(volume, labels, denoised.volume).rows
        for row in measured:
            row["error_percent"] = 100 * (row["volume_ml"] / truth_ml - 1)
        with outputs.file(folder / "measurements.csv") as table:
            write_csv(table, measured, (*COLUMNS, "error_percent"))
        lines += ["", f"Hematoma, true volume {truth_ml:.2f} mL", measure_table(measured)]
    remarks = [*result.remarks, *(["The segment was measured on the denoised result."] if measured else [])]
    page = study_page(
        volume, result.volume, title="Slice interpolation demo", trust=report, noise=noise, noise_rows=along,
        measurements=measured, remarks=remarks, position=position,
    )  # fmt: skip
    outputs.text(folder / "report.html", page)
    return lines, report.verdict


def _hematoma_position(volume: Volume, labels: np.ndarray | None) -> tuple[float, float, float] | None:
    """LPS mm of the synthesized slice nearest to the middle of the hematoma; None without one."""
    if labels is None:
        return None
    k, j, i = np.argwhere(labels).mean(axis=0)
    return tuple((volume.affine @ (i, j, 2 * int(k) + 1, 1.0))[:3])
