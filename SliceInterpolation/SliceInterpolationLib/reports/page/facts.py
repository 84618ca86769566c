"""What a volume is and how it was made, on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ...volume import PROVENANCE_NAMES, Volume
from ..markup import element
from ..reformat import slice_plane
from .pieces import NOTHING, Cell, fixed, headed, section, table

_RUN_ENTRIES = {
    "method": "Method",
    "model_sha256": "SHA-256 of the model",
    "factor": "Factor",
    "output_mode": "Output mode",
    "strength": "Denoising strength",
    "axis": "Slice axis",
    "units": "Units",
    "slices": "Slices given",
    "device": "Device",
    "force": "Forced",
    "version": "Version of SliceInterpolation",
}
"""Entries of a history that a page shows. A header may hold others, of anybody."""


def lead(scan: Volume, result: Volume | None = None) -> str:
    """What was made of what, in one sentence."""
    given = f"{scan.slice_count} slices every {scan.slice_spacing:.4g} mm"
    if result is None:
        return f"{given}: {_counted(scan)}."
    if result.slice_count == scan.slice_count:
        return f"{given}, denoised: {_counted(result)}."
    return f"{given} became {result.slice_count} every {result.slice_spacing:.4g} mm: {_counted(result)}."


def _counted(volume: Volume) -> str:
    counts = {name: volume.provenance.count(letter) for letter, name in PROVENANCE_NAMES.items()}
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def geometry_section(shown: Sequence[tuple[str, Volume]]) -> Element | None:
    """What the slices of each volume are, and its grid. shown: title and volume."""
    facts: list[list[Cell]] = []

    def add(title: Cell, *texts: str) -> None:
        facts.append([title, *texts])

    volumes = [volume for _, volume in shown]
    add("Slices", *(str(v.slice_count) for v in volumes))
    for letter, name in PROVENANCE_NAMES.items():
        counts = [v.provenance.count(letter) for v in volumes]
        if any(counts):
            add(element("span", name, class_="sub"), *map(str, counts))
    add(headed("Slice spacing", "mm"), *(f"{v.slice_spacing:.4g}" for v in volumes))
    if any(v.slice_thickness for v in volumes):
        thick = (f"{v.slice_thickness:.4g}" if v.slice_thickness else NOTHING for v in volumes)
        add(headed("Slice thickness", "mm"), *thick)
    add("Slices lie", *(slice_plane(v) for v in volumes))
    if any(v.is_sheared for v in volumes):
        tilts = (np.degrees(np.arccos(min(v.slice_distance / v.slice_spacing, 1.0))) for v in volumes)
        add(headed("Gantry tilt", "degrees"), *(fixed(tilt, 1) for tilt in tilts))
    add(headed("Rows × columns", "pixels"), *("{} × {}".format(*v.slices.shape[1:]) for v in volumes))
    add(headed("Pixel", "mm"), *(" × ".join(f"{mm:.4g}" for mm in v.pixel_spacing) for v in volumes))
    add(headed("Origin", "LPS mm"), *(", ".join(fixed(mm, 2) for mm in v.origin) for v in volumes))
    add("Units", *(f"{v.units} (assumed)" if v.units_guessed else v.units for v in volumes))
    return section("Slices and geometry", table(["", *(name for name, _ in shown)], facts))


def history_section(history: Sequence[dict[str, Any]]) -> Element | None:
    """How a volume was made, run by run."""
    facts = []
    for key, title in _RUN_ENTRIES.items():
        values = [run.get(key) for run in history]
        if key == "strength":  # of no meaning where nothing is denoised
            values = [None if run.get("output_mode") == "interpolated" else run.get(key) for run in history]
        if key == "force":
            values = ["yes" if value else None for value in values]
        if any(value is not None for value in values):
            facts.append([title, *(NOTHING if value is None else str(value) for value in values)])
    if not facts:
        return None
    heads = ["", *(f"Run {n}" if len(history) > 1 else "" for n in range(1, len(history) + 1))]
    return section("How it was made", table(heads, facts, numbers=False))
