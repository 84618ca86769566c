"""Reports as aligned text and CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from .noise import NoiseReport
    from .trust import TrustReport


def write_csv(path: Path, rows: list[dict[str, Any]], columns: Sequence[str] | None = None) -> Path:
    """Write rows as CSV; InputError where the folder is missing."""
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"The folder '{path.absolute().parent}' does not exist; create it or choose another."
        )
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def noise_summary(report: NoiseReport) -> str:
    """Noise of the scan, what the method removes, and how much unexplained structure was found."""

    def median(key: str) -> float:
        values = [row[key] for row in report.rows if np.isfinite(row[key])]
        return float(np.median(values)) if values else float("nan")

    return (
        f"Noise SD (median over slices): acquired {median('noise_acquired'):.2f}, predicted by {report.method} "
        f"{median('noise_predicted'):.2f}; {report.blobs} places where the residual holds structure."
    )


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


def measure_table(rows: list[dict[str, Any]]) -> str:
    """Volumes of each segment and grid as aligned text."""
    lines = [
        f"{'segment':>7}  {'grid':<42}{'mL':>9}{'surface mL':>12}{'ABC/2 mL':>10}{'mean HU':>9}{'change %':>10}"
    ]
    for row in rows:
        lines.append(
            f"{row['segment']:>7}  {row['grid']:<42}{row['volume_ml']:>9.2f}{row['surface_volume_ml']:>12.2f}"
            f"{row['abc2_ml']:>10.2f}{row['mean_hu']:>9.1f}{row['difference_percent']:>10.1f}"
        )
    return "\n".join(lines)
