"""Residual noise in the scene: difference maps with a symmetric color scale, tables, plots and ROI statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.reports.noise import noise_alternation
from SliceInterpolationLib.volume import Volume

from ..nodes import PREFIX, nodeFromVolume, placeInFolderOf, volumeFromNode
from .segments import segmentMask, segmentName
from .tablesAndPlots import plot, tableFromRows

DIVERGING_NAME = "SliceInterpolation diverging"
# Dark at zero: scans are read on dark screens, and what is not there should not shine.
_DIVERGING = (
    (0.65, 0.90, 1.00),
    (0.10, 0.45, 0.85),
    (0.05, 0.05, 0.05),
    (0.85, 0.35, 0.05),
    (1.00, 0.90, 0.55),
)
_NOISE_COLORS = "vtkMRMLColorTableNodeFileViridis.txt"
_COLORS = 255  # odd, so that zero has a color of its own


def divergingColorNode():
    """The color node of differences: blue below zero, black at zero, orange above. Made once in a scene."""
    found = slicer.mrmlScene.GetFirstNodeByName(DIVERGING_NAME)
    if found is not None:
        return found
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", DIVERGING_NAME)
    node.SetTypeToUser()
    node.SetNumberOfColors(_COLORS)
    stops = np.linspace(0, _COLORS - 1, len(_DIVERGING))
    for number in range(_COLORS):
        color = [float(np.interp(number, stops, [stop[part] for stop in _DIVERGING])) for part in range(3)]
        node.SetColor(number, f"{2 * number / (_COLORS - 1) - 1:+.2f}", *color, 1.0)
    node.SetAttribute("Category", "SliceInterpolation")
    node.SetHideFromEditors(False)
    return node


def showDiverging(node, limit: float | None = None, title: str = "HU", legend: bool = False) -> float:
    """Show a volume of differences from -limit to limit, zero in the middle of the colors.

    limit: by default the 99th percentile of the absolute values that are not zero. legend: with a color legend in
    the views. Returns the limit.
    """
    if limit is None:
        values = np.abs(volumeFromNode(node).array)
        values = values[values > 0]
        limit = (
            float(np.ceil(np.percentile(values[:: max(1, values.size // 1_000_000)], 99)))
            if values.size
            else 1.0
        )
    limit = max(limit, 1e-3)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    wasModifying = display.StartModify()
    display.SetAndObserveColorNodeID(divergingColorNode().GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(2 * limit, 0.0)
    display.EndModify(wasModifying)
    if legend:
        addLegend(node, title)
    return limit


def addLegend(node, title: str):
    """A color legend of a volume, shown in the views that show the volume."""
    modules = getattr(slicer, "modules", None)
    logic = modules.colors.logic() if hasattr(modules, "colors") else slicer.vtkSlicerColorLogic
    legend = logic.AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetLabelFormat("%4.0f")
    legend.SetNumberOfLabels(5)
    legend.GetTitleTextProperty().SetFontSize(13)
    legend.GetLabelTextProperty().SetFontSize(12)
    legend.SetVisibility(True)
    return legend


def showNoise(
    scanNode,
    residual: Volume,
    noiseSd: Volume,
    rows: list[dict[str, Any]],
    beforeAndAfter: list[dict[str, Any]],
) -> dict[str, Any]:
    """Put a noise analysis of a scan into the scene; `SliceInterpolationLib.reports.noise.analyze_noise` makes it.

    rows: one dict an inner slice. beforeAndAfter: of `noise_before_and_after`, the noise of every slice of the scan
    and, where there is one, of its result. Returns the nodes "residual", "noiseSd", "table", "plot", "alternationTable"
    and "alternationPlot".
    """
    name = scanNode.GetName()
    residualNode = nodeFromVolume(residual, f"{name} residual", scanNode)
    sds = [row["noise_acquired"] for row in rows if np.isfinite(row["noise_acquired"])]
    # Four SD of the noise, not the far larger differences at bone.
    limit = float(np.ceil(4 * np.median(sds))) if sds else None
    showDiverging(residualNode, limit, title="acquired minus\npredicted (HU)", legend=True)
    noiseNode = nodeFromVolume(noiseSd, f"{name} noise SD", scanNode)
    _showNoiseSd(noiseNode, 3 * float(np.median(sds)) if sds else float(noiseSd.array.max()))
    # Slices are counted from 1 wherever people read them.
    counted = [{**row, "slice": int(row["slice"]) + 1} for row in rows]
    table = tableFromRows(counted, f"{name} noise by slice", referenceNode=scanNode)
    chart = plot(table, f"{name} noise SD", ("noise_acquired", "noise_predicted"), "slice", "noise SD (HU)")
    placeInFolderOf(chart, scanNode)
    alternation = showAlternation(scanNode, beforeAndAfter)
    return {"residual": residualNode, "noiseSd": noiseNode, "table": table, "plot": chart, **alternation}


def showNoiseFolder(scanNode, folder: str | Path) -> dict[str, Any]:
    """As `showNoise`, from the files that the command `noise INPUT --output-dir FOLDER` wrote."""
    from SliceInterpolationLib.files import read_file

    folder = Path(folder)
    residual, noiseSd = read_file(folder / "residual.nrrd"), read_file(folder / "noise-sd.nrrd")
    rows, beforeAndAfter = (readCsv(folder / name) for name in ("noise.csv", "before-and-after.csv"))
    return showNoise(scanNode, residual, noiseSd, rows, beforeAndAfter)


def readCsv(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a CSV file of the library, numbers as numbers."""
    import csv

    with open(path, newline="") as file:
        return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def showAlternation(scanNode, beforeAndAfter: list[dict[str, Any]]) -> dict[str, Any]:
    """Noise of every slice of a scan and of its result: a table, a plot over the position, and one figure each.

    beforeAndAfter: of `reports.noise.noise_before_and_after`. The figure, `noise_alternation`, is 0
    where the noise does not go up and down from slice to slice; it stands in the attributes
    "SliceInterpolation.AlternationBefore" and "...After" of the table.
    """
    parts = [which for which in ("scan", "result") if any(row["volume"] == which for row in beforeAndAfter)]
    alternation = {
        which: noise_alternation([row for row in beforeAndAfter if row["volume"] == which]) for which in parts
    }
    rows = [
        {
            "position_mm": row["position_mm"],
            **{which: row["noise"] if row["volume"] == which else None for which in parts},
            "volume": row["volume"],
            "slice": int(row["slice"]) + 1,
            "provenance": row["provenance"],
        }
        for row in beforeAndAfter
    ]
    name = scanNode.GetName()
    table = tableFromRows(rows, f"{name} noise before and after", referenceNode=scanNode)
    for which, attribute in (("scan", "AlternationBefore"), ("result", "AlternationAfter")):
        if which in alternation:
            table.SetAttribute(PREFIX + attribute, f"{alternation[which]:.4f}")
    chart = plot(table, f"{name} noise by position", parts, "position_mm", "noise SD (HU)")
    placeInFolderOf(chart, scanNode)
    return {"alternationTable": table, "alternationPlot": chart}


def regionStatistics(volumeNodes, regionNode, segmentIds=None) -> list[dict[str, Any]]:
    """Mean, SD, minimum, maximum and size of volumes inside a region, one dict a volume and region.

    regionNode: a segmentation (all of its segments, or those of `segmentIds`) or a markups ROI, which may be
    rotated. The volumes may lie on different grids and under transforms. Raises InputError for other nodes and
    where a region holds no voxel.

    Example::

        rows = regionStatistics([scanNode, residualNode], slicer.util.getNode("ROI"))
    """
    rows = []
    for volumeNode in volumeNodes:
        volume = volumeFromNode(volumeNode)
        for name, mask in _regions(regionNode, volumeNode, segmentIds):
            values = volume.array[mask].astype(np.float64)
            if not values.size:
                raise InputError(f"'{name}' holds no voxel of '{volumeNode.GetName()}'; move or enlarge it.")
            rows.append(
                {
                    "region": name,
                    "volume": volumeNode.GetName(),
                    "voxels": int(values.size),
                    "volume_ml": values.size * abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000.0,
                    "mean": float(values.mean()),
                    "sd": float(values.std()),
                    "minimum": float(values.min()),
                    "maximum": float(values.max()),
                }
            )
    return rows


def showRegionStatistics(volumeNodes, regionNode, segmentIds=None, tableNode=None):
    """`regionStatistics` as a table node."""
    rows = regionStatistics(volumeNodes, regionNode, segmentIds)
    name = f"{regionNode.GetName()} statistics"
    return tableFromRows(rows, name, tableNode=tableNode, referenceNode=volumeNodes[0])


def _showNoiseSd(node, top: float) -> None:
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_NOISE_COLORS)
    if display.GetColorNode() is None:
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, max(top, 1e-3))


def _regions(regionNode, volumeNode, segmentIds):
    if regionNode is None:
        raise InputError("Choose a segmentation or a markups ROI first.")
    if regionNode.IsA("vtkMRMLSegmentationNode"):
        for segmentId in segmentIds or regionNode.GetSegmentation().GetSegmentIDs():
            yield segmentName(regionNode, segmentId), segmentMask(regionNode, segmentId, volumeNode)
    elif regionNode.IsA("vtkMRMLMarkupsROINode"):
        yield regionNode.GetName(), _roiMask(regionNode, volumeNode)
    else:
        raise InputError(
            f"'{regionNode.GetName()}' is no segmentation and no markups ROI; choose one of these."
        )


def _roiMask(roiNode, volumeNode) -> np.ndarray:
    """Voxels whose centers lie in a markups ROI, whatever the rotation of either; (k, j, i) bool."""
    planes = vtk.vtkPlanes()
    roiNode.GetTransformedPlanes(planes)
    normals = np.array([planes.GetNormals().GetTuple(number) for number in range(6)])
    points = np.array([planes.GetPoints().GetPoint(number) for number in range(6)])
    volume = volumeFromNode(volumeNode)
    toWorld = _ijkToWorld(volumeNode)
    shape = volume.array.shape
    mask = np.ones(shape, dtype=bool)
    # The planes of the box in voxel coordinates: n . (A x + t - p) <= 0, one broadcast a plane, no grid of points.
    for normal, point in zip(normals, points):
        i, j, k = normal @ toWorld[:3, :3]
        offset = normal @ (toWorld[:3, 3] - point)
        mask &= (
            k * np.arange(shape[0])[:, None, None]
            + j * np.arange(shape[1])[None, :, None]
            + i * np.arange(shape[2])[None, None, :]
            + offset
        ) <= 1e-6
    return mask


def _ijkToWorld(volumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    own = slicer.util.arrayFromVTKMatrix(matrix)
    transformNode = volumeNode.GetParentTransformNode()
    if transformNode is None:
        return own
    if not transformNode.IsTransformToWorldLinear():
        raise InputError(
            "A markups ROI cannot be laid over a scan under a nonlinear transform; use a segment instead."
        )
    transformNode.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix) @ own


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
