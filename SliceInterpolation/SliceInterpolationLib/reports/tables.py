"""Rows of figures as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError


def write_csv(path: Path, rows: list[dict[str, Any]], columns: Sequence[str] | None = None) -> Path:
    """Write rows as CSV; InputError where the folder is missing."""
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"The folder '{path.absolute().parent}' does not exist; create it or choose another."
        )
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
