"""What is known about a volume and its slices, as text entries: in the NRRD header, or in a JSON file beside others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..volume import UNKNOWN, Volume
from .formats import suffix_of

HEADER_PREFIX = "SliceInterpolation."
SIDECAR_ENTRY = "SliceInterpolation"
_FIELDS = ("SliceAxis", "SliceProvenance", "Units", "SliceThickness", "History")


def entries_of(volume: Volume) -> dict[str, str]:
    """All that is known of a volume beside its voxels and grid."""
    entries = {"SliceAxis": volume.slice_axis, "SliceProvenance": volume.provenance}
    if not volume.units_guessed:
        entries["Units"] = volume.units
    if volume.slice_thickness:
        entries["SliceThickness"] = f"{volume.slice_thickness:g}"
    if volume.history:
        entries["History"] = json.dumps(volume.history)
    return {**entries, **volume.header}


def attributes_from(entries: dict[str, str]) -> dict[str, Any]:
    """The way back: entries as attributes of `Volume`, without the provenance (see `letters_for`)."""
    thickness = entries.get("SliceThickness")
    return {
        "slice_axis": entries.get("SliceAxis"),
        "units": entries.get("Units"),
        "slice_thickness": float(thickness) if thickness else None,
        "history": tuple(json.loads(entries.get("History", "[]"))),
        "header": {key: value for key, value in entries.items() if key not in _FIELDS},
    }


def letters_for(volume: Volume, entries: dict[str, str]) -> str:
    """The provenance in the entries, where it is that of a volume with so many slices.

    A result that was cropped elsewhere keeps its header: which slices are left is not known then.
    """
    letters = entries.get("SliceProvenance", "")
    return letters if len(letters) == volume.slice_count else UNKNOWN * volume.slice_count


def sidecar_of(path: Path) -> Path:
    """The JSON file beside a volume file."""
    return path.with_name(path.name[: -len(suffix_of(path))] + ".json")


def read_json(path: Path) -> dict:
    """The object in a JSON file; others (BIDS) keep entries of their own there. Empty where there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
