"""Measuring segments (hematomas): volume, surface, HU and ABC/2, on the acquired and on the interpolated grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label

from ..errors import InputError
from ..files import read_labelmap
from ..volume import Volume
from .shape import bounding_box, carry_over

HEMORRHAGE_HU = (40.0, 100.0)
MARGIN_MM = 3.0
COLUMNS = (
    "segment", "grid", "voxels", "volume_ml", "surface_volume_ml", "surface_area_mm2",
    "mean_hu", "sd_hu", "abc2_ml", "a_mm", "b_mm", "c_mm", "difference_ml", "difference_percent",
)  # fmt: skip


def read_segmentation(path: str | Path, volume: Volume) -> np.ndarray:
    """A labelmap on the grid of `volume`: (k, j, i) integers, 0 for background.

    Raises InputError where the file is no labelmap or lies on another grid.
    """
    labels = read_labelmap(path)
    if not labels.same_grid(volume):
        raise InputError(
            f"'{Path(path).name}' does not lie on the grid of the scan (size, spacing, origin or direction differ); "
            "export it with the scan as reference."
        )
    return labels.array


def threshold_near(
    volume: Volume,
    mask: np.ndarray,
    hu_range: tuple[float, float] = HEMORRHAGE_HU,
    margin_mm: float = MARGIN_MM,
) -> np.ndarray:
    """Voxels of a HU range within a margin of a segment, connected with it; (slices, rows, columns) bool.

    A range alone takes in noise and partial volume everywhere; near a drawn segment, on quiet voxels, it
    follows the border that the drawing missed.
    """
    spacing = (volume.slice_distance, *volume.pixel_spacing)
    if not mask.any():
        return mask.copy()
    box = bounding_box(mask, [int(np.ceil(margin_mm / s)) + 1 for s in spacing])
    near = distance_transform_edt(~mask[box], sampling=spacing) <= margin_mm
    values = volume.slices[box]
    candidate = near & (values >= hu_range[0]) & (values <= hu_range[1])
    labels, _ = label(candidate)
    kept = np.unique(labels[mask[box] & candidate])
    out = np.zeros(mask.shape, dtype=bool)
    out[box] = np.isin(labels, kept[kept > 0])
    return out


def measure_segment(volume: Volume, mask: np.ndarray) -> dict[str, float]:
    """Figures of one segment on the grid of `volume`; mask: (slices, rows, columns) bool.

    volume_ml (voxels), surface_volume_ml and surface_area_mm2 (closed surface by marching cubes), mean_hu and
    sd_hu, and ABC/2 in mL with its diameters a_mm and b_mm and its height c_mm (see `abc2`).
    """
    voxel = volume.slice_distance * float(np.prod(volume.pixel_spacing))
    values = volume.slices[mask]
    surface_ml, area = _surface(volume, mask)
    a, b, c = abc2(mask, volume.pixel_spacing, volume.slice_distance)
    return {
        "voxels": int(mask.sum()),
        "volume_ml": float(mask.sum()) * voxel / 1000.0,
        "surface_volume_ml": surface_ml,
        "surface_area_mm2": area,
        "mean_hu": float(values.mean()) if values.size else float("nan"),
        "sd_hu": float(values.std()) if values.size else float("nan"),
        "abc2_ml": a * b * c / 2000.0,
        "a_mm": a,
        "b_mm": b,
        "c_mm": c,
    }


def abc2(mask: np.ndarray, pixel: tuple[float, float], gap: float) -> tuple[float, float, float]:
    """A, B and C in mm of the ABC/2 estimate (Kothari et al., Stroke 27, 1996).

    A is the largest diameter on the slice with the largest area, B the largest one perpendicular to it, C the
    height: slices of more than 75% of the largest area count whole, 25% to 75% half, smaller ones not.
    """
    areas = mask.sum(axis=(1, 2))
    if not areas.any():
        return 0.0, 0.0, 0.0
    share = areas / areas.max()
    c = gap * float((share > 0.75).sum() + 0.5 * ((share >= 0.25) & (share <= 0.75)).sum())
    points = np.argwhere(_outline(mask[areas.argmax()])) * np.asarray(pixel)
    angles = np.deg2rad(np.arange(0, 180, 1.0))
    axes = np.column_stack((np.sin(angles), np.cos(angles)))
    # The width over all directions; a pixel has a width of its own.
    reach = points @ axes.T
    widths = np.ptp(reach, axis=0) + float(np.mean(pixel))
    best = int(widths.argmax())
    return float(widths[best]), float(widths[(best + 90) % 180]), c


def _outline(mask: np.ndarray) -> np.ndarray:
    return mask & binary_dilation(~mask)


def _surface(volume: Volume, mask: np.ndarray) -> tuple[float, float]:
    """Volume in mL inside the closed surface and its area in mm2.

    The volume is that of the surface through the voxel edges. Its steps make it a fifth too large in area, so the
    area is taken after smoothing (1.5 pixels, half a slice), which in turn would cost volume.
    """
    from skimage.measure import marching_cubes, mesh_surface_area

    box = bounding_box(mask)
    if box is None:
        return 0.0, 0.0
    spacing = (volume.slice_distance, *volume.pixel_spacing)
    part = np.pad(mask[box], 4).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(part, 0.5, spacing=spacing)
    first, second, third = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    enclosed = abs(float(np.einsum("ij,ij->", first, np.cross(second, third)))) / 6.0
    smooth = gaussian_filter(part, (0.5, 1.5, 1.5))
    if smooth.max() > 0.5:  # else the segment is too small to be smoothed
        vertices, faces, _, _ = marching_cubes(smooth, 0.5, spacing=spacing)
    return enclosed / 1000.0, float(mesh_surface_area(vertices, faces))


@dataclass
class Measurement:
    """Rows of figures (see `COLUMNS`), one a segment and grid, and the segments on the grid of the result.

    carried: carried over by their shape; renewed: thresholded anew; labelmaps, None without a result.
    """

    rows: list[dict[str, Any]]
    carried: Volume | None = None
    renewed: Volume | None = None


def measure(
    volume: Volume,
    labels: np.ndarray,
    result: Volume | None = None,
    hu_range: tuple[float, float] = HEMORRHAGE_HU,
    margin_mm: float = MARGIN_MM,
    *,
    quiet: Volume | None = None,
    carried: np.ndarray | None = None,
    renewed: np.ndarray | None = None,
) -> Measurement:
    """Measure segments: as drawn on the acquired grid; carried over by shape; re-thresholded on the result.

    labels: (k, j, i) on the grid of `volume`. result: `volume` interpolated; the factor follows from the grids.
    quiet: the result denoised, on which the HU range is applied; by default the result itself.
    carried, renewed: labelmaps (k, j, i) on the grid of the result, corrected by hand, instead of making them.
    Differences are against the acquired grid. Raises InputError for an empty labelmap or a foreign result.
    """
    values = [int(v) for v in np.unique(labels) if v != 0]
    if not values:
        raise InputError("The segmentation is empty; draw the hematoma first.")
    stack = volume.as_slices(labels)
    found = {value: [("acquired", measure_segment(volume, stack == value))] for value in values}
    if result is None:
        return Measurement(_rows(found))
    factor = result.refinement_of(volume)
    # Equal spacings would let the result choose another slice axis for itself.
    result = result.along(volume.slice_axis)
    quiet_name = "" if quiet is None else ", denoised"
    quiet = result if quiet is None else quiet.along(volume.slice_axis)
    if not quiet.same_grid(result):
        raise InputError("The denoised volume does not lie on the grid of the result; choose another.")
    name = f"interpolated, {hu_range[0]:g} to {hu_range[1]:g} HU within {margin_mm:g} mm{quiet_name}"
    maps = [np.zeros(result.array.shape, np.int32) if one is None else one for one in (carried, renewed)]
    carried_stack, renewed_stack = (result.as_slices(one) for one in maps)
    for value in values:
        if carried is None:
            carried_stack[carry_over(stack == value, volume.pixel_spacing, factor)] = value
        near = carried_stack == value
        if renewed is None:
            renewed_stack[threshold_near(quiet, near, hu_range, margin_mm)] = value
        found[value] += [
            ("interpolated", measure_segment(result, near)),
            (name, measure_segment(quiet, renewed_stack == value)),
        ]
    return Measurement(_rows(found), *(replace(result, array=one, units="label") for one in maps))


def _rows(found: dict[int, list[tuple[str, dict[str, float]]]]) -> list[dict[str, Any]]:
    """Figures by segment and grid as rows, with the differences against the first grid."""
    rows = []
    for value, grids in found.items():
        acquired = grids[0][1]["volume_ml"]
        for grid, figures in grids:
            difference = figures["volume_ml"] - acquired
            rows.append({"segment": value, "grid": grid, **figures,
                         "difference_ml": difference, "difference_percent": 100 * difference / acquired})  # fmt: skip
    return rows


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
