"""Rows of figures as table nodes, and table columns as plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import slicer
import vtk

from ..i18n import _
from ..nodes import placeInFolderOf
from ..views.layouts import rememberLayout, showBeside

COLORS = ((0.84, 0.37, 0.0), (0.0, 0.45, 0.70), (0.0, 0.62, 0.45), (0.80, 0.47, 0.65), (0.35, 0.35, 0.35))
"""Told apart by color-blind eyes as well (Wong, Nature Methods 8, 2011)."""


@lru_cache(maxsize=1)
def _titles() -> dict[str, str]:
    """What people read above the columns; the names stay short for Python and CSV."""
    return {
        "volume_ml": _("voxels (mL)"),
        "surface_volume_ml": _("closed surface (mL)"),
        "surface_area_mm2": _("surface area (mm²)"),
        "mean_hu": _("mean (HU)"),
        "sd_hu": _("SD (HU)"),
        "abc2_ml": _("ABC/2 (mL)"),
        "a_mm": _("A (mm)"),
        "b_mm": _("B (mm)"),
        "c_mm": _("C (mm)"),
        "difference_ml": _("difference (mL)"),
        "difference_percent": _("difference (%)"),
        "psnr_brain": _("PSNR, brain window (dB)"),
        "ssim_brain": _("SSIM, brain window"),
        "mae_hu": _("MAE (HU)"),
        "psnr_hu": _("PSNR, full range (dB)"),
        "mae_intracranial": _("MAE in the skull (HU)"),
        "edge": _("edge error"),
        "noise_ratio": _("noise ratio"),
        "lesion_hu": _("largest blob (HU)"),
        "tissue_pixels": _("tissue (pixels)"),
        "noise_acquired": _("noise SD, acquired (HU)"),
        "noise_predicted": _("noise SD, predicted (HU)"),
        "reduction": _("reduction"),
        "residual_mean": _("residual, mean (HU)"),
        "residual_sd": _("residual, SD (HU)"),
        "largest_structure": _("largest structure (HU)"),
        "position_mm": _("position (mm)"),
    }


def columnTitle(name: str) -> str:
    """What people read instead of the name of a column; the name itself where it has no title."""
    return _titles().get(name, name)


def tableFromRows(
    rows: Sequence[dict[str, Any]], name: str, columns=None, tableNode=None, referenceNode=None
):
    """A table node with a row for each dict and a column for each key: numbers as numbers, the rest as text.

    columns: keys in order (default: those of the first row). tableNode: filled anew instead of a new one.
    referenceNode: the node whose subject hierarchy folder a new table joins.
    """
    if tableNode is None:
        scene = slicer.mrmlScene
        tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
        if referenceNode is not None:
            placeInFolderOf(tableNode, referenceNode)
    columns = list(columns or (rows[0] if rows else ()))
    wasModifying = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    for column in columns:
        tableNode.AddColumn(_column(column, [row.get(column) for row in rows]))
        tableNode.SetColumnTitle(column, columnTitle(column))
    tableNode.GetTable().Modified()
    tableNode.EndModify(wasModifying)
    return tableNode


def rowsFromTable(tableNode) -> list[dict[str, Any]]:
    """The rows of a table node; empty cells of numeric columns are NaN."""
    table = tableNode.GetTable()
    names = [table.GetColumnName(number) for number in range(table.GetNumberOfColumns())]
    rows = []
    for number in range(table.GetNumberOfRows()):
        variants = [table.GetValue(number, column) for column in range(len(names))]
        rows.append({name: _plain(variant) for name, variant in zip(names, variants)})
    return rows


def writeTable(tableNode, path: str | Path) -> Path:
    """Write a table node as CSV."""
    from SliceInterpolationLib.reports.tables import write_csv

    return write_csv(Path(path), rowsFromTable(tableNode))


def plot(
    tableNode,
    title: str,
    yColumns: Sequence[str],
    xColumn: str = "",
    yTitle: str = "",
    bars: bool = False,
    xTitle: str = "",
):
    """A plot chart node of columns of a table.

    xColumn: numbers along x, or with `bars` the names of the groups of bars, which Slicer keeps but does not write
    below them. xTitle: below the x axis, by default that of the column. Series that an earlier chart of the same
    table and title had are replaced. Returns the vtkMRMLPlotChartNode.
    """
    scene = slicer.mrmlScene
    chart = _chartOf(tableNode, title) or scene.AddNewNodeByClass(
        "vtkMRMLPlotChartNode", scene.GenerateUniqueName(_("{title} (plot)").format(title=title))
    )
    for number in reversed(range(chart.GetNumberOfPlotSeriesNodes())):
        scene.RemoveNode(chart.GetNthPlotSeriesNode(number))
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.SetTitle(title)
    chart.SetXAxisTitle(xTitle or ("" if bars else columnTitle(xColumn)))
    chart.SetYAxisTitle(yTitle)
    chart.SetNodeReferenceID(_TABLE_ROLE, tableNode.GetID())
    for number, column in enumerate(yColumns):
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", columnTitle(column))
        series.SetAndObserveTableNodeID(tableNode.GetID())
        series.SetYColumnName(column)
        if bars:
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
            series.SetLabelColumnName(xColumn)
        else:
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetXColumnName(xColumn)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        series.SetColor(*COLORS[number % len(COLORS)])
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    _leaveRoomForLegend(chart, tableNode, yColumns, bars)
    return chart


def _leaveRoomForLegend(chart, tableNode, yColumns: Sequence[str], bars: bool) -> None:
    """Let the y axis end above the largest value: the legend lies in the upper right corner, over what is there."""
    rows = rowsFromTable(tableNode)
    values = [row[column] for row in rows for column in yColumns]
    values = [value for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = min(low, 0.0) if bars else low
    span = (high - low) or max(abs(high), 1.0)
    share = min(_LEGEND_LINE * (len(yColumns) + 1) / _PLOT_HEIGHT, 0.6)
    chart.SetLegendFontSize(_FONT_SIZE)
    chart.SetAxisTitleFontSize(_FONT_SIZE)
    chart.SetXAxisRangeAuto(not bars)
    if bars:  # they stand at 0, 1, 2...
        chart.SetXAxisRange(-0.5, len(rows) - 0.5)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(low if bars else low - 0.05 * span, high + span * share / (1 - share))


def showChart(chartNode) -> None:
    """Open a plot in the views (desktop): the layout changes to one with a plot view if it has none."""
    if showBeside(chartNode):
        return
    rememberLayout()
    slicer.modules.plots.logic().ShowChartInLayout(chartNode)


def showTable(tableNode) -> None:
    """Open a table in the views (desktop): the layout changes to one with a table view if it has none."""
    if showBeside(tableNode):
        return
    rememberLayout()
    layoutManager = slicer.app.layoutManager()
    layoutManager.setLayout(slicer.modules.tables.logic().GetLayoutWithTable(layoutManager.layout))
    applicationLogic = slicer.app.applicationLogic()
    applicationLogic.GetSelectionNode().SetActiveTableID(tableNode.GetID())
    applicationLogic.PropagateTableSelection()


_FONT_SIZE = 12
_LEGEND_LINE, _PLOT_HEIGHT = 17, 230  # px, of a plot pane that is low
_TABLE_ROLE = "SliceInterpolation.Table"


def _chartOf(tableNode, title: str):
    for chart in slicer.util.getNodesByClass("vtkMRMLPlotChartNode"):
        if chart.GetNodeReference(_TABLE_ROLE) is tableNode and chart.GetTitle() == title:
            return chart
    return None


def _column(name: str, values: list[Any]):
    isNumeric = all(value is None or isinstance(value, (int, float)) for value in values)
    isWhole = isNumeric and all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    column = vtk.vtkIntArray() if isWhole else vtk.vtkDoubleArray() if isNumeric else vtk.vtkStringArray()
    column.SetName(name)
    for value in values:
        if isNumeric:
            column.InsertNextValue(float("nan") if value is None else value)
        else:
            column.InsertNextValue("" if value is None else str(value))
    return column


def _plain(variant) -> Any:
    if variant.IsString():
        return variant.ToString()
    return variant.ToInt() if variant.IsInt() else variant.ToDouble()
