"""What denoising would remove: residual and noise maps, a table per slice, and the noise rhythm of a result."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, label

from ..checks import check_acquired, check_prediction, check_volume
from ..device import choose_device
from ..errors import InputError
from ..files import Outputs
from ..interpolation import as_requested, gap_warning
from ..interpolators import create, model_of, needs_torch
from ..plain import plain
from ..progress import Progress
from ..request import Request
from ..stack import SliceStack, sigma_in_pixels
from ..volume import Volume
from .masks import tissue_mask
from .metrics import BLOB_MM, noise_sd
from .tables import FIGURE, figures_of, in_digits, is_shaped, write_csv

NOISE_FILES = (
    "residual.nrrd", "noise-sd.nrrd", "noise.csv", "before-and-after.csv", "noise.json", "noise.png",
)  # fmt: skip
"""What `write_noise_report` writes."""

_MAP_MM = 5.0  # FWHM of the neighborhood that the noise-SD map describes
_BLOB_HU, _BLOB_MM3 = 15.0, 50.0
_PLAIN = ("method", "rows", "blobs", "remarks")
_FIGURES = (
    "noise_acquired", "noise_predicted", "reduction", "residual_mean", "residual_sd", "largest_structure",
)  # fmt: skip
_REPORT = {
    "method": str, "blobs": int, "remarks": [str],
    "rows": [{"slice": int, "tissue_pixels": int, **dict.fromkeys(_FIGURES, FIGURE)}],
}  # fmt: skip
"""How `NoiseReport.as_dict` is built."""


@dataclass
class NoiseReport:
    """Noise of one scan.

    residual: acquired minus predicted, float32 HU, zero on the two end slices, which have no prediction.
    noise_sd: local SD of the residual, float32 HU. Both are None in a report that was read back without
    them. rows: one dict an inner slice. blobs: places where the residual holds more than noise: connected, smoothed by
    3 mm, above 15 HU, at least 50 mm3.
    """

    method: str
    residual: Volume | None
    noise_sd: Volume | None
    rows: list[dict[str, Any]]
    blobs: int
    remarks: list[str] = field(default_factory=list)

    def median(self, figure: str) -> float:
        """The median over the slices of one figure of the rows; NaN where none has it."""
        values = [row[figure] for row in self.rows if np.isfinite(row[figure])]
        return float(np.median(values)) if values else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Everything but the maps as plain values for JSON; undefined figures become None."""
        return plain({name: getattr(self, name) for name in _PLAIN})

    @classmethod
    def from_dict(cls, values: dict[str, Any], residual: Volume | None = None) -> NoiseReport:
        """The report that `as_dict` gave, with a map where it is at hand; InputError where something is missing."""
        count = math.inf if residual is None else residual.slice_count
        if not is_shaped(values, _REPORT) or not all(0 <= row["slice"] < count for row in values["rows"]):
            raise InputError("This is no noise report of this version; make the noise maps again.")
        known = {name: values[name] for name in _PLAIN}
        known["rows"] = [figures_of(row) for row in known["rows"]]
        return cls(residual=residual, noise_sd=None, **known)


def analyze_noise(
    volume: Volume,
    request: Request | None = None,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> NoiseReport:
    """Predict each inner slice from its neighbors and describe the difference.

    The residual holds the noise of the acquired slice, the (smaller) noise of the prediction, and structure
    that the neighbors do not show; the last is why it is looked at. request, options: as of `interpolate`; method,
    axis, units and device count. Raises InputError for fewer than 3 slices, and for slices that were made.
    """
    request = replace(request or Request(), **options)
    remarks: list[str] = []
    volume = as_requested(volume, request, remarks)
    check_volume(volume)
    check_acquired(volume, "The noise analysis", remarks)
    if volume.slice_count < 3:
        raise InputError(f"Noise maps need at least 3 slices; the volume has {volume.slice_count}.")
    model = model_of(request.method)
    if model is not None:
        warning = gap_warning(model, 2 * volume.slice_distance, "The noise analysis bridges slices")
        remarks += [warning] if warning else []
    chosen, _ = choose_device(request.device, needs_torch(request.method))
    interpolator = create(request.method, chosen, remarks.append)
    stack = SliceStack.of(volume)
    is_hu = volume.units == "HU"
    maps = [np.zeros(volume.array.shape, dtype=np.float32) for _ in range(2)]
    residuals, sds = (volume.as_slices(m) for m in maps)
    smooth = np.zeros(stack.slices.shape, dtype=np.float16)
    sigma, low_sigma = (sigma_in_pixels(mm, stack.pixel, stack.slices.shape[1:]) for mm in (_MAP_MM, BLOB_MM))
    rows = []
    for number, predicted in enumerate(interpolator.predict_withheld(stack), start=1):
        check_prediction(predicted, stack.plausible, interpolator.name, f"slice {number + 1}")
        acquired = stack.image(number)
        residual = acquired - predicted
        residuals[number] = residual
        mean = gaussian_filter(residual, sigma)
        sds[number] = np.sqrt(np.maximum(gaussian_filter(residual**2, sigma) - mean**2, 0.0))
        mask = tissue_mask(acquired, stack.pixel, is_hu)
        low_pass = gaussian_filter(residual, low_sigma)
        smooth[number] = np.where(mask, low_pass * stack.hu_gain, 0.0)
        rows.append(_row(number, acquired, predicted, residual, low_pass, mask))
        if progress:
            progress("noise", number, len(stack) - 2)
    blobs = sum(_count_blobs(sign * smooth, volume.voxel_mm3) for sign in (1, -1))
    residual_map, sd_map = (volume.with_map(m) for m in maps)
    return NoiseReport(interpolator.name, residual_map, sd_map, rows, blobs, remarks)


def _row(
    number: int,
    acquired: np.ndarray,
    predicted: np.ndarray,
    residual: np.ndarray,
    low_pass: np.ndarray,
    mask: np.ndarray,
) -> dict[str, Any]:
    before, after = noise_sd(acquired, mask), noise_sd(predicted, mask)
    inside = residual[mask]
    return {
        "slice": number,
        "tissue_pixels": int(mask.sum()),
        "noise_acquired": before,
        "noise_predicted": after,
        "reduction": 1.0 - after / before if before > 0 else float("nan"),
        "residual_mean": float(inside.mean()) if inside.size else float("nan"),
        "residual_sd": float(inside.std()) if inside.size else float("nan"),
        "largest_structure": float(np.abs(low_pass[mask]).max()) if inside.size else float("nan"),
    }


def _count_blobs(smooth: np.ndarray, voxel_mm3: float) -> int:
    labels, count = label(smooth > _BLOB_HU)
    if not count:
        return 0
    return int((np.bincount(labels.ravel())[1:] * voxel_mm3 >= _BLOB_MM3).sum())


def noise_by_slice(volume: Volume) -> list[dict[str, Any]]:
    """Noise SD of every slice inside its own tissue mask, with the provenance of the slice."""
    stack = SliceStack.of(volume)
    rows = []
    for number, letter in enumerate(volume.provenance):
        image = stack.image(number)
        mask = tissue_mask(image, stack.pixel, volume.units == "HU")
        rows.append({"slice": number, "provenance": letter, "noise": noise_sd(image, mask)})
    return rows


def noise_alternation(rows: list[dict[str, Any]]) -> float:
    """How much the noise goes up and down from slice to slice: 0 for none, 0.3 where every second has 30% less.

    rows: of `noise_by_slice`. The median over the inner slices of |n[k] - (n[k-1] + n[k+1]) / 2| / mean noise,
    which ignores slow changes along the head. NaN for fewer than 3 slices with tissue.
    """
    noise = np.array([row["noise"] for row in rows])
    step = np.abs(noise[1:-1] - 0.5 * (noise[:-2] + noise[2:]))
    mean = np.nanmean(noise) if np.isfinite(noise).any() else float("nan")
    return float(np.nanmedian(step) / mean) if np.isfinite(step).any() and mean > 0 else float("nan")


def noise_before_and_after(scan: Volume, result: Volume | None = None) -> list[dict[str, Any]]:
    """Rows of `noise_by_slice` of a scan and of its result, each with `volume` ("scan", "result") and position.

    Raises InputError for a result whose grid is not that of the scan refined.
    """
    if result is not None:
        result.refinement_of(scan)
    rows = []
    for which, volume in (("scan", scan), ("result", result)):
        for row in noise_by_slice(volume) if volume is not None else ():
            rows.append({"volume": which, "position_mm": row["slice"] * volume.slice_spacing, **row})
    return rows


def rows_along(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `noise_before_and_after` in the values of noise.json; InputError where they are something else."""
    rows = values.get("before_and_after", [])
    if not is_shaped(rows, [{"volume": str, "position_mm": (int, float), "noise": FIGURE}]):
        raise InputError("The noise along the slices is not of this version; make the noise maps again.")
    return [figures_of(row) for row in rows]


def write_noise_report(
    volume: Volume, report: NoiseReport, folder: Path, outputs: Outputs, along: list[dict[str, Any]]
) -> str:
    """Write maps, tables, all figures as noise.json and, where matplotlib is installed, the picture into `folder`.

    along: of `noise_before_and_after`, for before-and-after.csv. Returns a summary.
    """
    from .pictures import noise_picture

    outputs.folder(folder)
    outputs.volume(report.residual, folder / "residual.nrrd")
    outputs.volume(report.noise_sd, folder / "noise-sd.nrrd")
    for name, rows in (("noise", report.rows), ("before-and-after", along)):
        with outputs.file(folder / f"{name}.csv") as table:
            write_csv(table, rows)
    values = {**report.as_dict(), "before_and_after": plain(along)}
    outputs.text(folder / "noise.json", json.dumps(values, indent=1) + "\n")
    text = ""
    try:
        with outputs.file(folder / "noise.png") as picture:
            noise_picture(volume, report.residual, report.noise_sd, report.rows, report.method, picture)
    except InputError as error:
        text = f"{error} "
    return text + noise_summary(report)


def noise_summary(report: NoiseReport) -> str:
    """Noise of the scan, what the method removes, and how much unexplained structure was found."""
    acquired, predicted = (
        in_digits(report.median(f"noise_{which}"), 2) for which in ("acquired", "predicted")
    )
    return (
        f"Noise SD (median over slices): acquired {acquired}, predicted by {report.method} {predicted}; "
        f"{report.blobs} places where the residual holds structure."
    )
