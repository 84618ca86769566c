"""The table of results: a row for each volume, as CSV and as Parquet."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..reports.tables import write_csv

_TIMED = ("read", "interpolate", "trust", "noise", "measure", "write", "page", "total")
_TEXT = (
    "study", "status", "reason", "verdict", "verdict_text", "warnings", "remarks", "scan", "series_uid", "mask",
    "result", "mask_result", "page", "result_sha256", "units", "method", "model_sha256", "output_mode", "device",
    "version", "trust_rival_psnr_db", "trust_rival_ssim", "trust_rival_mae_hu", "ml_by_segment",
)  # fmt: skip
_WHOLE = (
    "run", "rows", "columns", "slices_before", "slices_after", "synthesized", "denoised", "factor", "trust_slices",
    "structure_places", "segments",
)  # fmt: skip
COLUMNS = (
    "study", "run", "status", "reason", "verdict", "warnings", "slices_before", "slices_after", "spacing_before_mm",
    "spacing_after_mm", "thickness_mm", "rows", "columns", "pixel_row_mm", "pixel_column_mm", "units", "synthesized",
    "denoised", "method", "model_sha256", "factor", "output_mode", "device", "version",
    "noise_sd", "noise_sd_predicted", "noise_alternation_before", "noise_alternation_after", "structure_places",
    "verdict_text", "trust_slices", "trust_psnr_db", "trust_ssim", "trust_mae_hu",
    "trust_gain_psnr_db", "trust_rival_psnr_db", "trust_gain_ssim", "trust_rival_ssim", "trust_gain_mae_hu",
    "trust_rival_mae_hu",
    "segments", "ml_before", "ml_after", "ml_change_percent", "abc2_ml_before", "abc2_ml_after", "mean_hu_before",
    "ml_by_segment", *(f"{part}_s" for part in _TIMED),
    "remarks", "scan", "series_uid", "mask", "result", "mask_result", "page", "result_sha256",
)  # fmt: skip
"""Of every row, in this order; units stand at the end of a name. What a study does not have is empty."""


def failure(study: str, scan: str, reason: str) -> dict[str, Any]:
    """The row of a study that failed."""
    return {"study": study, "run": 1, "status": "failed", "reason": reason, "scan": scan}


def in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by name and run, with every column and no other."""
    found = sorted(rows, key=lambda row: (row["study"], row["run"]))
    return [{column: row.get(column) for column in COLUMNS} for row in found]


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as Parquet, with the types of the columns whatever the rows hold."""
    import pyarrow
    from pyarrow import parquet

    kinds = {**dict.fromkeys(_TEXT, pyarrow.string()), **dict.fromkeys(_WHOLE, pyarrow.int64())}
    schema = pyarrow.schema([(column, kinds.get(column, pyarrow.float64())) for column in COLUMNS])
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema), path)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV; UTF-8 with the mark by which spreadsheets know it would break readers, so it has none."""
    write_csv(path, rows, COLUMNS)


def badness(row: dict[str, Any]) -> tuple[float, ...]:
    """What sorts the worst first: failed, not trusted, with warnings, not judged; then by the gain, then by the mL."""
    ranks = {"not trusted": 1, "open": 3, "": 3, None: 3, "trusted": 4}
    rank = 0 if row.get("status") == "failed" else ranks[row.get("verdict")]
    if rank > 2 and row.get("warnings"):
        rank = 2
    gain, change = _number(row.get("trust_gain_psnr_db")), abs(_number(row.get("ml_change_percent")))
    return rank, gain if math.isfinite(gain) else 0.0, -change if math.isfinite(change) else 0.0


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
