# ruff: noqa: F401, F811 (fixtures)
"""Color legends in the pictures of the views: wherever a map is shown it says what its colors stand for."""

from __future__ import annotations

import pytest
from paneldesktop import SMALL, drawingDesktop, drawingPanel, loadTiny, slicer, spin


def finish(panel) -> None:
    spin(lambda: not panel.logic.running, 120)
    slicer.app.processEvents()
    assert panel.logic.job.state == "done", panel.logic.job.message


def pixelsOfLegend(desktop, nodeId: str) -> int:
    """How many values of the picture the legend of a volume changes."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(slicer.mrmlScene.GetNodeByID(nodeId))
    shown = desktop.picture()
    legend.SetVisibility(False)
    without = desktop.picture()
    legend.SetVisibility(True)
    return int((shown != without).sum())


def test_the_difference_has_a_legend(drawingPanel, drawingDesktop):
    panel = drawingPanel
    loadTiny(panel)
    panel._parameterNode.method = "cubic"
    panel.ui.applyButton.click()
    finish(panel)
    drawingDesktop.picture()
    panel.ui.shownComboBox.currentIndex = 3
    view = slicer.mrmlScene.GetSingletonNode("Result-axial", "vtkMRMLSliceNode")
    composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)
    assert pixelsOfLegend(drawingDesktop, composite.GetBackgroundVolumeID()) > 300
    panel.ui.shownComboBox.currentIndex = 0  # and away, and back again
    drawingDesktop.picture()
    panel.ui.shownComboBox.currentIndex = 3
    assert pixelsOfLegend(drawingDesktop, composite.GetBackgroundVolumeID()) > 300


def test_the_maps_of_the_noise_have_legends(drawingPanel, drawingDesktop):
    panel = drawingPanel
    loadTiny(panel, **SMALL)
    drawingDesktop.picture()
    panel._parameterNode.method = "linear"
    panel.ui.noiseButton.click()
    finish(panel)
    nodes = panel.logic.job.result["nodes"]
    assert pixelsOfLegend(drawingDesktop, nodes["residual"].GetID()) > 300
    panel.ui.mapComboBox.currentIndex = panel.ui.mapComboBox.findData("noiseSd")
    assert pixelsOfLegend(drawingDesktop, nodes["noiseSd"].GetID()) > 300
