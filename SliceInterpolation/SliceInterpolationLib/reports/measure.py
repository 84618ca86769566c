"""Measuring segments (hematomas): volume, surface, HU and ABC/2, on the acquired and on the interpolated grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter, label
from scipy.spatial import cKDTree

from ..errors import InputError
from ..files import read_labelmap
from ..volume import Volume
from .shape import bounding_box, carry_over
from .tables import in_digits

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


def check_hu_range(hu_range: tuple[float, float]) -> None:
    """InputError for a range that does not go from low to high."""
    low, high = hu_range
    if not low <= high:
        raise InputError(f"The range goes from low to high, not from {low:g} to {high:g}.")


def threshold_near(
    volume: Volume,
    mask: np.ndarray,
    hu_range: tuple[float, float] = HEMORRHAGE_HU,
    margin_mm: float = MARGIN_MM,
) -> np.ndarray:
    """Voxels of a HU range within a margin of a segment, connected with it; (slices, rows, columns) bool.

    mask: the segment, (slices, rows, columns) bool. margin_mm: from voxel center to voxel center, in the patient,
    also where the volume is sheared. A range alone takes in noise and partial volume everywhere; near a drawn
    segment, on quiet voxels, it follows the border that the drawing missed. InputError for a range upside down.
    """
    check_hu_range(hu_range)
    out = np.zeros(mask.shape, dtype=bool)
    steps = volume.steps
    # How many voxels the margin reaches along each axis; in a sheared grid farther than the axis alone says.
    reach = np.floor(margin_mm * np.linalg.norm(np.linalg.inv(steps), axis=1) + 1e-6).astype(int)
    box = bounding_box(mask, (reach + 1).tolist())
    if box is None:
        return out
    segment, values = mask[box], volume.slices[box]
    candidate = (values >= hu_range[0]) & (values <= hu_range[1])
    outside = np.argwhere(candidate & ~segment)
    border = cKDTree(np.argwhere(outline(segment)) @ steps.T)
    distances, _ = border.query(outside @ steps.T, distance_upper_bound=margin_mm * (1 + 1e-9) + 1e-9)
    candidate[tuple(outside[~np.isfinite(distances)].T)] = False
    labels, _ = label(candidate)
    kept = np.unique(labels[segment & candidate])
    out[box] = np.isin(labels, kept[kept > 0])
    return out


def measure_segment(volume: Volume, mask: np.ndarray) -> dict[str, float]:
    """Figures of one segment on the grid of `volume`: those of `measure_voxels` and of `measure_surface`.

    mask: (slices, rows, columns) bool.
    """
    return {**measure_voxels(volume, mask), **measure_surface(volume, mask)}


def measure_voxels(volume: Volume, mask: np.ndarray) -> dict[str, float]:
    """What the voxels of a segment say; mask: (slices, rows, columns) bool.

    voxels, volume_ml (their number times their size), mean_hu and sd_hu (of all of them, not of a sample), and ABC/2 in
    mL with its diameters a_mm and b_mm and its height c_mm (see `abc2`). An empty mask has no HU: NaN.
    """
    values = volume.slices[mask]
    a, b, c = abc2(volume, mask)
    return {
        "voxels": int(values.size),
        "volume_ml": values.size * volume.voxel_mm3 / 1000.0,
        "mean_hu": float(values.mean()) if values.size else float("nan"),
        "sd_hu": float(values.std()) if values.size else float("nan"),
        "abc2_ml": a * b * c / 2000.0,
        "a_mm": a,
        "b_mm": b,
        "c_mm": c,
    }


def abc2(volume: Volume, mask: np.ndarray) -> tuple[float, float, float]:
    """A, B and C in mm of the ABC/2 estimate (Kothari et al., Stroke 27, 1996).

    mask: (slices, rows, columns) bool on the grid of `volume`; three zeros where it is empty. A is the largest diameter
    on the slice with the largest area, B the largest one perpendicular to it, C the height across the slices: slices of
    more than 75% of the largest area count whole, 25% to 75% half, smaller ones not.
    """
    areas = mask.sum(axis=(1, 2))
    if not areas.any():
        return 0.0, 0.0, 0.0
    share = areas / areas.max()
    c = volume.slice_distance * float((share > 0.75).sum() + 0.5 * ((share >= 0.25) & (share <= 0.75)).sum())
    # Coordinates in the plane of the slice; rows and columns need not be at right angles.
    plane = np.linalg.qr(volume.steps[:, 1:])[1]
    points = np.argwhere(outline(mask[areas.argmax()])) @ plane.T
    angles = np.deg2rad(np.arange(0, 180, 1.0))
    axes = np.column_stack((np.cos(angles), np.sin(angles)))
    # The width over all directions; a pixel has a width of its own.
    widths = np.ptp(points @ axes.T, axis=0) + float(np.mean(volume.pixel_spacing))
    best = int(widths.argmax())
    return float(widths[best]), float(widths[(best + 90) % 180]), c


def outline(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask of any dimension that have a neighbor outside of it; beyond the border all is outside."""
    return mask & ~binary_erosion(mask)


def surfaces_can_be_measured() -> bool:
    """False where scikit-image is missing, which makes the closed surfaces; Slicer does not ship it."""
    try:
        import skimage.measure  # noqa: F401
    except ImportError:
        return False
    return True


def measure_surface(volume: Volume, mask: np.ndarray) -> dict[str, float]:
    """surface_volume_ml, inside the closed surface of a segment, and surface_area_mm2; NaN without scikit-image.

    mask: (slices, rows, columns) bool. The surface is made by marching cubes (Lewiner et al., Journal of Graphics Tools
    8, 2003) on the voxel grid and laid out in the patient, so that shear is kept; what ends at the border of the volume
    is closed there. The volume is that of the surface through the voxel edges. Its steps make it a fifth too large in
    area, so the area is taken after smoothing (1.5 pixels, half a slice), which in turn would cost volume.
    """
    box = bounding_box(mask)
    if not surfaces_can_be_measured():
        return {"surface_volume_ml": float("nan"), "surface_area_mm2": float("nan")}
    from skimage.measure import marching_cubes

    if box is None:
        return {"surface_volume_ml": 0.0, "surface_area_mm2": 0.0}

    def triangles(field: np.ndarray) -> np.ndarray:
        vertices, faces, _, _ = marching_cubes(field, 0.5)
        return (vertices.astype(np.float64) @ volume.steps.T)[faces]  # (faces, 3 corners, LPS mm)

    part = np.pad(mask[box], 4).astype(np.float32)
    first, second, third = triangles(part).swapaxes(0, 1)
    enclosed = abs(float(np.einsum("ij,ij->", first, np.cross(second, third)))) / 6.0
    smooth = gaussian_filter(part, (0.5, 1.5, 1.5))
    # A segment may be too small to be smoothed.
    first, second, third = triangles(smooth if smooth.max() > 0.5 else part).swapaxes(0, 1)
    area = float(np.linalg.norm(np.cross(second - first, third - first), axis=1).sum()) / 2.0
    return {"surface_volume_ml": enclosed / 1000.0, "surface_area_mm2": area}


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

    labels: (k, j, i) whole numbers of any type on the grid of `volume`, 0 for background. result: `volume`
    interpolated; the factor follows from the grids.
    quiet: the result denoised, on which the HU range is applied; by default the result itself.
    carried, renewed: labelmaps (k, j, i) on the grid of the result, corrected by hand, instead of making them.
    Differences are in mL and percent of the acquired grid. Raises InputError for an empty labelmap, one with fractions
    or of another size, a foreign result, or a range that does not go from low to high.
    """
    check_hu_range(hu_range)
    if labels.shape != volume.array.shape:
        raise InputError(
            f"The segmentation has {labels.shape} voxels, the scan {volume.array.shape}; export it with the scan as "
            "reference."
        )
    present = np.unique(labels)
    if not np.array_equal(present, np.rint(present)):
        raise InputError("The segmentation holds fractions or NaN; a labelmap has whole numbers.")
    values = [int(value) for value in present if value != 0]
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
        f"{'segment':>7}  {'grid':<42}{'mL':>9}{'surface mL':>12}{'ABC/2 mL':>10}{'mean HU':>11}{'change %':>10}"
    ]
    for row in rows:
        lines.append(
            f"{row['segment']:>7}  {row['grid']:<42}{row['volume_ml']:>9.2f}"
            f"{in_digits(row['surface_volume_ml'], 2):>12}{row['abc2_ml']:>10.2f}"
            f"{in_digits(row['mean_hu'], 1):>11}{row['difference_percent']:>10.1f}"
        )
    return "\n".join(lines)
