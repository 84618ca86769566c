"""Figures in files and in words: rows as CSV, reports as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError


def in_digits(value: float, digits: int) -> str:
    """A figure with so many digits after the point; "undefined" where it is no number."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "undefined"


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


def read_csv(path: str | Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a CSV file as texts, separated by commas or, as some spreadsheets write it, by semicolons.

    Raises InputError where it is no table or lacks one of `columns`.
    """
    text = _read_text(path)
    head = text.partition("\n")[0]
    delimiter = ";" if ";" in head and "," not in head else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"'{Path(path).name}' has no column '{missing[0]}'; give the table that the command wrote."
        )
    return list(reader)


def read_json(path: str | Path) -> Any:
    """The values in a JSON file; InputError where it is none."""
    try:
        return json.loads(_read_text(path))
    except ValueError as error:
        raise InputError(f"'{Path(path).name}' is no JSON file ({error}); write it again.") from error


FIGURE = (int, float, type(None))
"""Shape of a figure after `plain`."""


def is_shaped(value: Any, shape: Any) -> bool:
    """Whether values from JSON are built as something expects them, so that it need not look again.

    shape: a type or several; [shape of every entry]; {name: shape} with these names at least, {str: shape} with any.
    """
    if isinstance(shape, list):
        return isinstance(value, list) and all(is_shaped(entry, shape[0]) for entry in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        if str in shape:
            return all(is_shaped(entry, shape[str]) for entry in value.values())
        return all(name in value and is_shaped(value[name], one) for name, one in shape.items())
    types = shape if isinstance(shape, tuple) else (shape,)
    # To Python true and false are numbers, too.
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def figures_of(values: dict[str, Any]) -> dict[str, Any]:
    """A row of figures as it was before `plain`: NaN where there is none."""
    return {key: float("nan") if value is None else value for key, value in values.items()}


def _read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror or error}); check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"'{Path(path).name}' is no text file; give the file that the command wrote."
        ) from error
