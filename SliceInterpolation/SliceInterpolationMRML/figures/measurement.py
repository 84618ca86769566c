"""Volumes of hematomas and other segments: on the acquired grid, on the interpolated one, and re-thresholded.

The figures come from Slicer's Segment Statistics; where that module does not exist, from the library. ABC/2 is the
library's in either case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.reports.measure import (
    COLUMNS,
    HEMORRHAGE_HU,
    MARGIN_MM,
    abc2,
    carry_over,
    measure_segment,
    threshold_near,
)
from SliceInterpolationLib.volume import Volume

from ..nodes import placeInFolderOf, removeWithDisplay, volumeFromNode
from .segments import addSegment, newSegmentation, segmentMask, segmentName
from .tablesAndPlots import plot, tableFromRows, writeTable

CARRIED_ROLE = "SliceInterpolation.CarriedOver"
"""Node reference from a segmentation to the one with its segments on the result grid."""

_RENEWED_COLOR = (1.0, 0.8, 0.2)  # told from the carried segment, which keeps the color of the drawn one


def measureSegments(
    scanNode,
    segmentationNode,
    segmentIds=None,
    resultNode=None,
    denoisedNode=None,
    huRange: tuple[float, float] = HEMORRHAGE_HU,
    marginMm: float = MARGIN_MM,
    keepEdits: bool = False,
) -> list[dict[str, Any]]:
    """Figures of segments, a row for each segment and grid; columns: `reports.measure.COLUMNS`.

    "acquired": the segment on the grid of the scan. With `resultNode`, the scan interpolated, also "interpolated":
    carried over by its shape, and "interpolated, LOW to HIGH HU within ... mm": thresholded anew near the segment.
    denoisedNode: the result in the mode "denoised", for the threshold; by default the result itself is used.
    Volumes are in mL (voxels; closed surface), areas in mm2, ABC/2 in mL with A, B, C in mm; the differences are
    those of the voxel volume against the acquired grid.

    The segments on the result grid stay in the scene as an ordinary segmentation, see `carriedSegmentation`.
    keepEdits: measure them as they are there now, corrected by hand, instead of making them anew.
    Raises InputError where something is missing, empty or does not belong together.

    Example::

        rows = measureSegments(scanNode, segmentationNode, resultNode=resultNode)
        table = showMeasurement(rows, scanNode)["table"]
    """
    volume = volumeFromNode(scanNode)
    if segmentationNode is None:
        raise InputError("Choose a segmentation first; Segment Editor makes one.")
    chosen = list(segmentIds or segmentationNode.GetSegmentation().GetSegmentIDs())
    if not chosen:
        raise InputError(f"'{segmentationNode.GetName()}' has no segments; draw the hematoma first.")
    masks = {segmentId: segmentMask(segmentationNode, segmentId, scanNode) for segmentId in chosen}
    for segmentId, mask in masks.items():
        if not mask.any():
            name = segmentName(segmentationNode, segmentId)
            raise InputError(
                f"The segment '{name}' is empty on the grid of '{scanNode.GetName()}'; draw it first."
            )
    found = [("acquired", _figures(scanNode, volume, masks))]
    if resultNode is not None:
        found += _onResult(
            volume, segmentationNode, masks, resultNode, denoisedNode, huRange, marginMm, keepEdits
        )
    rows = []
    for segmentId in chosen:
        acquired = found[0][1][segmentId]["volume_ml"]
        for grid, figures in found:
            row = {"segment": segmentName(segmentationNode, segmentId), "grid": grid, **figures[segmentId]}
            row["difference_ml"] = row["volume_ml"] - acquired
            row["difference_percent"] = 100.0 * row["difference_ml"] / acquired
            rows.append({column: row[column] for column in COLUMNS})
    return rows


def describe(rows: list[dict[str, Any]]) -> str:
    """The volumes of rows of `measureSegments` in words, a line each."""
    return "\n".join(
        f"{row['segment']}, {row['grid']}: {row['volume_ml']:.2f} mL"
        + (f" ({row['difference_percent']:+.1f}%)" if row["grid"] != "acquired" else "")
        for row in rows
    )


def showMeasurement(
    rows: list[dict[str, Any]], scanNode, csvPath: str | Path | None = None
) -> dict[str, Any]:
    """A table node "table" and a bar chart "plot" of rows of `measureSegments`; also a CSV file where asked for."""
    table = tableFromRows(rows, f"{scanNode.GetName()} measurements", COLUMNS, referenceNode=scanNode)
    bars = [
        {
            "row": f"{row['segment']}: {row['grid']}",
            "voxels (mL)": row["volume_ml"],
            "closed surface (mL)": row["surface_volume_ml"],
            "ABC/2 (mL)": row["abc2_ml"],
        }
        for row in rows
    ]
    barTable = tableFromRows(bars, f"{scanNode.GetName()} volumes")
    barTable.SetHideFromEditors(True)  # it only feeds the plot
    columns = [column for column in bars[0] if column != "row"] if bars else []
    chart = plot(barTable, f"{scanNode.GetName()} volumes", columns, "row", "mL", bars=True)
    placeInFolderOf(chart, scanNode)
    if csvPath is not None:
        writeTable(table, csvPath)
    return {"table": table, "plot": chart}


def carriedSegmentation(segmentationNode):
    """The segmentation on the result grid that was made from another by `measureSegments`; None where there is none.

    Its segments are called "<name> (carried over)" and "<name> (re-thresholded)" and can be edited like any other.
    """
    return segmentationNode.GetNodeReference(CARRIED_ROLE)


def _onResult(
    volume: Volume,
    segmentationNode,
    masks: dict[str, np.ndarray],
    resultNode,
    denoisedNode,
    huRange: tuple[float, float],
    marginMm: float,
    keepEdits: bool,
) -> list[tuple[str, dict[str, dict[str, float]]]]:
    """The rows on the result grid: carried over by shape, and thresholded anew."""
    axis = volume.slice_axis
    result = volumeFromNode(resultNode)
    factor = result.refinement_of(volume)
    result = result.along(axis)
    quietNode = denoisedNode if denoisedNode is not None else resultNode
    quiet = volumeFromNode(quietNode).along(axis)
    if quiet.array.shape != result.array.shape or not np.allclose(quiet.affine, result.affine, atol=1e-2):
        raise InputError(
            f"'{quietNode.GetName()}' is not on the grid of '{resultNode.GetName()}'; choose another."
        )
    target = _targetSegmentation(segmentationNode, resultNode, keepEdits)
    pixel = volume.pixel_spacing
    carried, renewed = {}, {}
    for segmentId, mask in masks.items():
        name = segmentName(segmentationNode, segmentId)
        color = segmentationNode.GetSegmentation().GetSegment(segmentId).GetColor()
        near = _edited(target, f"{segmentId}_carried", resultNode)
        if near is None:
            near = _unstack(carry_over(_stack(mask, axis), pixel, factor), axis)
            addSegment(target, f"{name} (carried over)", near, resultNode, color, f"{segmentId}_carried")
        found = _edited(target, f"{segmentId}_renewed", resultNode)
        if found is None:
            found = _unstack(threshold_near(quiet, _stack(near, axis), huRange, marginMm), axis)
            title = f"{name} (re-thresholded)"
            addSegment(target, title, found, resultNode, _RENEWED_COLOR, f"{segmentId}_renewed")
        carried[segmentId], renewed[segmentId] = near, found
    grid = f"interpolated, {huRange[0]:g} to {huRange[1]:g} HU within {marginMm:g} mm"
    if denoisedNode is not None and denoisedNode is not resultNode:
        grid += ", denoised"
    return [
        ("interpolated", _figures(resultNode, result, carried)),
        (grid, _figures(quietNode, quiet, renewed)),
    ]


def _edited(target, segmentId: str, resultNode) -> np.ndarray | None:
    """A segment that is there already, perhaps corrected by hand, as a mask; None where there is none."""
    present = target.GetSegmentation().GetSegment(segmentId) is not None
    return segmentMask(target, segmentId, resultNode) if present else None


def _targetSegmentation(segmentationNode, resultNode, keepEdits: bool):
    known = carriedSegmentation(segmentationNode)
    if known is not None and keepEdits:
        return known
    if known is not None:
        removeWithDisplay(known)
    name = f"{segmentationNode.GetName()} on {resultNode.GetName()}"
    target = newSegmentation(name, resultNode)
    placeInFolderOf(target, resultNode)
    segmentationNode.SetNodeReferenceID(CARRIED_ROLE, target.GetID())
    return target


def _figures(volumeNode, volume: Volume, masks: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """The figures of masks, (k, j, i) bool on the grid of a volume, by segment ID."""
    if not hasattr(getattr(slicer, "modules", None), "segmentstatistics"):
        axis = volume.slice_axis
        return {segmentId: measure_segment(volume, _stack(mask, axis)) for segmentId, mask in masks.items()}
    return _segmentStatistics(volumeNode, volume, masks)


def _segmentStatistics(
    volumeNode, volume: Volume, masks: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """The same by Slicer's Segment Statistics, on a segmentation of its own, so that the user's stays as it is."""
    from SegmentStatistics import SegmentStatisticsLogic

    scene = slicer.mrmlScene
    temporary = newSegmentation("SliceInterpolation statistics", volumeNode)
    present = set(slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"))
    try:
        logic = SegmentStatisticsLogic()
        # The logic would take the parameters that the user has set in the module; these stay as they are.
        parameters = scene.AddNode(logic.createParameterNode())
        logic.setParameterNode(parameters)
        ids = {
            segmentId: addSegment(temporary, segmentId, mask, volumeNode) for segmentId, mask in masks.items()
        }
        temporary.CreateClosedSurfaceRepresentation()
        parameters.SetParameter("Segmentation", temporary.GetID())
        parameters.SetParameter("ScalarVolume", volumeNode.GetID())
        parameters.SetParameter("visibleSegmentsOnly", "False")
        logic.computeStatistics()
        statistics = logic.getStatistics()
        return {segmentId: _row(volume, masks[segmentId], statistics, ids[segmentId]) for segmentId in masks}
    finally:
        removeWithDisplay(temporary)
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            if node not in present:
                scene.RemoveNode(node)


def _row(volume: Volume, mask: np.ndarray, statistics: dict, segmentId: str) -> dict[str, float]:
    def value(key: str) -> float:
        return statistics.get((segmentId, key), float("nan"))

    a, b, c = abc2(_stack(mask, volume.slice_axis), volume.pixel_spacing, volume.slice_distance)
    return {
        "voxels": int(statistics.get((segmentId, "LabelmapSegmentStatisticsPlugin.voxel_count"), 0)),
        "volume_ml": value("LabelmapSegmentStatisticsPlugin.volume_cm3"),
        "surface_volume_ml": value("ClosedSurfaceSegmentStatisticsPlugin.volume_cm3"),
        "surface_area_mm2": value("ClosedSurfaceSegmentStatisticsPlugin.surface_mm2"),
        "mean_hu": value("ScalarVolumeSegmentStatisticsPlugin.mean"),
        "sd_hu": value("ScalarVolumeSegmentStatisticsPlugin.stdev"),
        "abc2_ml": a * b * c / 2000.0,
        "a_mm": a,
        "b_mm": b,
        "c_mm": c,
    }


def _stack(mask: np.ndarray, axis: str) -> np.ndarray:
    """(k, j, i) -> (slices, rows, columns), a view."""
    return np.moveaxis(mask, 2 - "ijk".index(axis), 0)


def _unstack(mask: np.ndarray, axis: str) -> np.ndarray:
    """(slices, rows, columns) -> (k, j, i), a view."""
    return np.moveaxis(mask, 0, 2 - "ijk".index(axis))
