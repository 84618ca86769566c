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

from ..i18n import _
from ..nodes import PREFIX, placeInFolderOf, removeWithDisplay, volumeFromNode
from .kept import figure, figures, keepFigures, keptVolume
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
_LEGEND_SIZE = (0.09, 0.3)  # of the view
_MAP_OPACITY = 0.6
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


def showDiverging(node, limit: float | None = None, title: str = "", legend: bool = True) -> float:
    """Show a volume of differences from -limit to limit, zero in the middle of the colors.

    limit: by default the 99th percentile of the absolute values that are not zero. legend: with a color legend in
    the views, under this title. Returns the limit.
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
        addLegend(node, title or inUnitsOf(volumeFromNode(node), _("difference (HU)")))
    return limit


def inUnitsOf(volume: Volume, title: str) -> str:
    """A title that ends with "(HU)"; without it where the volume has no HU scale."""
    return title if volume.units == "HU" else title.replace(" (HU)", "")


def addLegend(node, title: str, labelFormat: str = "%4.0f"):
    """A color legend of a volume, shown in the views that show the volume; one that is there is changed.

    It appears in a view only when it is modified after the volume got there, see `wakeLegend`.
    """
    modules = getattr(slicer, "modules", None)
    logic = modules.colors.logic() if hasattr(modules, "colors") else slicer.vtkSlicerColorLogic
    legend = logic.AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetLabelFormat(labelFormat)
    legend.SetNumberOfLabels(5)
    # The texts are as large as the legend allows; font sizes do nothing.
    legend.SetSize(*_LEGEND_SIZE)
    legend.SetVisibility(True)
    return legend


def wakeLegend(node) -> None:
    """Let the color legend of a volume, if it has one, appear in the views that show it now, and in no other."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node) if node is not None else None
    if legend is not None:
        legend.Modified()


def showOver(volumeNode, mapNode=None) -> None:
    """Lay a map over a volume in the views on screen that show it, or in all where none does; None takes it off.

    Views that show something else are left alone, so that a comparison stays what it is.
    """
    onScreen = [composite for composite, sliceNode in _sliceViews() if sliceNode.IsMappedInLayout()]
    onScreen = onScreen or [composite for composite, _sliceNode in _sliceViews()]
    showing = [one for one in onScreen if one.GetBackgroundVolumeID() == volumeNode.GetID()]
    for composite in showing if showing or mapNode is None else onScreen:
        composite.SetBackgroundVolumeID(volumeNode.GetID())
        composite.SetForegroundVolumeID(mapNode.GetID() if mapNode is not None else None)
        composite.SetForegroundOpacity(_MAP_OPACITY if mapNode is not None else 0.0)
    if mapNode is not None:
        wakeLegend(mapNode)


def _sliceViews() -> list[tuple[Any, Any]]:
    """(composite node, slice node) of each slice view."""
    sliceNodes = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [
        (node, sliceNodes[node.GetLayoutName()]) for node in composites if node.GetLayoutName() in sliceNodes
    ]


def showErrorSd(resultNode, errorSd: Volume | None) -> Any:
    """Keep the predicted error SD of a result as a map of it; None removes that of an earlier run."""
    if errorSd is None:
        former = figure(resultNode, "error", "errorSd")
        if former is not None:
            removeWithDisplay(former)
        return None
    name = _("{name} error SD").format(name=resultNode.GetName())
    node = keptVolume(resultNode, "error", "errorSd", errorSd, name)
    values = errorSd.array[errorSd.array > 0]
    top = float(np.percentile(values[:: max(1, values.size // 1_000_000)], 99)) if values.size else 1.0
    _showSd(node, top, inUnitsOf(errorSd, _("predicted error\nSD (HU)")))
    return node


def mapsOf(scanNode, resultNode=None) -> dict[str, tuple[Any, Any]]:
    """The maps that there are, (volume below, map) by name.

    "residual" and "noiseSd" of a scan, "errorSd" of a result.
    """
    found = {
        name: (scanNode, node)
        for name, node in figures(scanNode, "noise").items()
        if name in ("residual", "noiseSd")
    }
    found.update({name: (resultNode, node) for name, node in figures(resultNode, "error").items()})
    return found


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
    residualNode = keptVolume(scanNode, "noise", "residual", residual, _("{name} residual").format(name=name))
    sds = [row["noise_acquired"] for row in rows if np.isfinite(row["noise_acquired"])]
    # Four SD of the noise, not the far larger differences at bone.
    limit = float(np.ceil(4 * np.median(sds))) if sds else None
    showDiverging(residualNode, limit, title=inUnitsOf(residual, _("acquired minus\npredicted (HU)")))
    noiseNode = keptVolume(scanNode, "noise", "noiseSd", noiseSd, _("{name} noise SD").format(name=name))
    top = 3 * float(np.median(sds)) if sds else float(noiseSd.array.max())
    _showSd(noiseNode, top, inUnitsOf(noiseSd, _("noise SD (HU)")))
    # Slices are counted from 1 wherever people read them.
    counted = [{**row, "slice": int(row["slice"]) + 1} for row in rows]
    table = tableFromRows(
        counted,
        _("{name} noise by slice").format(name=name),
        tableNode=figure(scanNode, "noise", "table"),
        referenceNode=scanNode,
    )
    title = _("{name} noise SD").format(name=name)
    chart = plot(
        table, title, ("noise_acquired", "noise_predicted"), "slice", inUnitsOf(residual, _("noise SD (HU)"))
    )
    placeInFolderOf(chart, scanNode)
    alternation = showAlternation(scanNode, beforeAndAfter)
    made = {"residual": residualNode, "noiseSd": noiseNode, "table": table, "plot": chart, **alternation}
    return keepFigures(scanNode, "noise", made)


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
    table = tableFromRows(
        rows,
        _("{name} noise before and after").format(name=name),
        tableNode=figure(scanNode, "noise", "alternationTable"),
        referenceNode=scanNode,
    )
    for which, attribute in (("scan", "AlternationBefore"), ("result", "AlternationAfter")):
        if which in alternation:
            table.SetAttribute(PREFIX + attribute, f"{alternation[which]:.4f}")
        else:
            table.RemoveAttribute(PREFIX + attribute)
    title = _("{name} noise by position").format(name=name)
    chart = plot(table, title, parts, "position_mm", inUnitsOf(volumeFromNode(scanNode), _("noise SD (HU)")))
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
                raise InputError(
                    _("'{name}' holds no voxel of '{volume}'; move or enlarge it.").format(
                        name=name, volume=volumeNode.GetName()
                    )
                )
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
    """`regionStatistics` as a table node: `tableNode`, or the one that was made for the region before, or a new one."""
    rows = regionStatistics(volumeNodes, regionNode, segmentIds)
    name = _("{region} statistics").format(region=regionNode.GetName())
    tableNode = tableNode or figure(regionNode, "region", "table")
    table = tableFromRows(rows, name, tableNode=tableNode, referenceNode=volumeNodes[0])
    keepFigures(regionNode, "region", {"table": table})
    return table


def _showSd(node, top: float, title: str) -> None:
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_NOISE_COLORS)
    if display.GetColorNode() is None:
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, max(top, 1e-3))
    addLegend(node, title, "%4.1f")


def _regions(regionNode, volumeNode, segmentIds):
    if regionNode is None:
        raise InputError(_("Choose a segmentation or a markups ROI first."))
    if regionNode.IsA("vtkMRMLSegmentationNode"):
        for segmentId in segmentIds or regionNode.GetSegmentation().GetSegmentIDs():
            yield segmentName(regionNode, segmentId), segmentMask(regionNode, segmentId, volumeNode)
    elif regionNode.IsA("vtkMRMLMarkupsROINode"):
        yield regionNode.GetName(), _roiMask(regionNode, volumeNode)
    else:
        raise InputError(
            _("'{name}' is no segmentation and no markups ROI; choose one of these.").format(
                name=regionNode.GetName()
            )
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
            _("A markups ROI cannot be laid over a scan under a nonlinear transform; use a segment instead.")
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
