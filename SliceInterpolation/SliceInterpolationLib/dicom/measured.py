"""What the command measure found, as DICOM: the segments on each grid, and one report that refers to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..volume import Volume
from .segmentation import write_segmentation
from .series import Run
from .structured_report import MeasuredSegment, write_measurements

if TYPE_CHECKING:
    from ..reports.measure import Measurement


def write_measured(
    folder: Path, scan: Run, measured: Iterable[tuple[np.ndarray, Measurement]], result: Run | None = None
) -> None:
    """Write segmentation-1.dcm and so on, one a labelmap, and measurements.dcm into a folder that is there.

    measured: the labelmap (k, j, i) on the grid of the scan, and what was measured. result: the scan interpolated,
    where it is DICOM as well; then also carried-1.dcm and renewed-1.dcm on its grid; without it their figures are left
    out.
    Raises InputError without highdicom, OSError as the disk does.
    """
    made_by = result.volume.history[-1] if result is not None and result.volume.history else None
    found = []
    for number, (labels, one) in enumerate(measured, start=1):
        drawn = replace(scan.volume, array=labels, units="label")
        grids: list[tuple[str, str, Volume | None, Run | None]] = [("segmentation", "acquired", drawn, scan)]
        if result is not None:
            grids += [("carried", "interpolated", one.carried, result), ("renewed", "", one.renewed, result)]
        for kind, grid, segments, run in grids:
            if not segments.array.any():
                continue
            rows = [
                row
                for row in one.rows
                if row["grid"] == grid or (not grid and row["grid"].startswith("interpolated,"))
            ]
            written, numbers = write_segmentation(
                segments, run, folder / f"{kind}-{number}.dcm", name=f"Segments, {kind} {number}",
                made_by=None if kind == "segmentation" else made_by,
            )  # fmt: skip
            found += [
                MeasuredSegment({**row, "labelmap": number}, written, numbers[row["segment"]], run)
                for row in rows
                if row["segment"] in numbers
            ]
    write_measurements(found, scan, folder / "measurements.dcm", made_by=made_by)
