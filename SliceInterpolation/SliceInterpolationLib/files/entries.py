"""What is known about a volume and its slices, as text entries: in the header of a file, or at a node of a scene."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import numpy as np

from ..volume import AXES, PROVENANCE_NAMES, UNITS, UNKNOWN, Volume
from .voxels import voxel_blocks

HEADER_PREFIX = "SliceInterpolation."
VOXEL_HASH = "VoxelSHA256"
"""Binds the entries of a file to its voxels: other programs change voxels and leave the header as it was."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")

_FIELDS = ("SliceAxis", "SliceProvenance", "Units", "SliceThickness", "Padding", "History", VOXEL_HASH)


def entries_of(volume: Volume) -> dict[str, str]:
    """All that is known of a volume beside its voxels and grid."""
    entries = {"SliceAxis": volume.slice_axis, "SliceProvenance": volume.provenance}
    if not volume.units_guessed:
        entries["Units"] = volume.units
    if volume.slice_thickness and math.isfinite(volume.slice_thickness):
        entries["SliceThickness"] = f"{volume.slice_thickness:g}"
    if volume.padding is not None:
        entries["Padding"] = f"{volume.padding:.17g}"
    if volume.history:
        entries["History"] = json.dumps(volume.history)
    return {**entries, **volume.header}


def attributes_from(entries: dict[str, str], remarks: list[str] | None = None) -> dict[str, Any]:
    """The way back: entries as attributes of `Volume`, without the provenance (see `letters_for`).

    An entry that cannot be meant is left out, with a sentence in `remarks`; so is one of others with a name that no
    header can hold.
    """
    remarks = [] if remarks is None else remarks
    axis, units, thickness = (entries.get(name) for name in ("SliceAxis", "Units", "SliceThickness"))
    if axis is not None and axis not in tuple(AXES):
        remarks.append(
            f"The header names a slice axis '{_short(axis)}', which is none of i, j, k; it is passed over."
        )
        axis = None
    if units is not None and units not in UNITS:
        remarks.append(
            f"The header names units '{_short(units)}', which are not known here; they are passed over."
        )
        units = None
    return {
        "slice_axis": axis,
        "units": units,
        "slice_thickness": _thickness(thickness, remarks),
        "padding": _padding(entries.get("Padding"), remarks),
        "history": _history(entries.get("History"), remarks),
        "header": {
            key: value for key, value in entries.items() if key not in _FIELDS and _KEY.fullmatch(key)
        },
    }


def letters_for(volume: Volume, entries: dict[str, str], remarks: list[str] | None = None) -> str:
    """The provenance in the entries, where it is that of a volume with so many slices; else all unknown.

    A result that was cropped elsewhere keeps its header: which slices are left is not known then. A letter that
    has no meaning here says nothing either.
    """
    remarks = [] if remarks is None else remarks
    letters = entries.get("SliceProvenance", "")
    if letters and len(letters) != volume.slice_count:
        remarks.append(
            f"The header tells of {len(letters)} slices, the file has {volume.slice_count}: which of them were "
            "acquired is unknown."
        )
        letters = ""
    strange = sorted(set(letters) - set(PROVENANCE_NAMES))
    if strange:
        remarks.append(
            f"The header marks slices by {_short(', '.join(strange))}, which has no meaning here: their origin is "
            "unknown."
        )
    known = "".join(one if one in PROVENANCE_NAMES else UNKNOWN for one in letters)
    return known or UNKNOWN * volume.slice_count


def voxel_hash(array: np.ndarray) -> str:
    """SHA-256 of the voxels as they are stored: in C order, little endian."""
    digest = hashlib.sha256()
    for block in voxel_blocks(array):
        digest.update(block)
    return digest.hexdigest()


def _thickness(text: str | None, remarks: list[str]) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and number > 0:
        return number
    remarks.append(
        f"The header gives a slice thickness of '{_short(text)}', which is no length in mm; it is passed over."
    )
    return None


def _padding(text: str | None, remarks: list[str]) -> float | None:
    try:
        number = None if text is None else float(text)
    except ValueError:
        number = math.nan
    if number is None or math.isfinite(number):
        return number
    remarks.append(
        f"The header gives a padding value of '{_short(text)}', which is no number; it is passed over."
    )
    return None


def _history(text: str | None, remarks: list[str]) -> tuple[dict[str, Any], ...]:
    if not text:
        return ()
    try:
        runs = json.loads(text)
    except (ValueError, RecursionError):
        runs = None
    if isinstance(runs, list) and all(isinstance(run, dict) for run in runs):
        return tuple(runs)
    remarks.append("The history in the header cannot be read; it is passed over.")
    return ()


def _short(text: str) -> str:
    return text if len(text) <= 20 else text[:20] + "..."
