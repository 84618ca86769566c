# ruff: noqa: F401, F811 (fixtures)
"""No reference to a node outlives the node: volumes leave the memory when they are removed or the scene is closed."""

from __future__ import annotations

import gc

import pytest
from paneldesktop import desktop, destroyed, loadTiny, panel, slicer, spin

DATA = ("vtkMRMLScalarVolumeNode", "vtkMRMLTableNode", "vtkMRMLPlotChartNode", "vtkMRMLSegmentationNode")


def press(panel, button) -> None:
    button.click()
    spin(lambda: not panel.logic.running)
    slicer.app.processEvents()
    assert panel.logic.job.state == "done", panel.logic.job.message


def watch(desktop) -> dict:
    """By name, what tells whether a data node is gone."""
    nodes = [node for kind in DATA for node in slicer.util.getNodesByClass(kind)]
    return {node.GetName(): destroyed(node) for node in nodes}


@pytest.mark.parametrize("close", [False, True])
def test_what_the_panel_has_made_and_shown(panel, desktop, close):
    _scan, hematoma = loadTiny(
        panel, size=64, pixel_spacing=3.0, slices=12, slice_spacing=9.0, slice_thickness=9.0
    )
    panel._parameterNode.method = "linear"
    panel._parameterNode.showComparison = False
    press(panel, panel.ui.applyButton)
    press(panel, panel.ui.noiseButton)
    panel.ui.segmentSelector.setCurrentNode(hematoma)
    panel.ui.measureButton.click()
    spin(lambda: not panel.logic.running)
    panel.ui.measurePlotButton.click()
    gone = watch(desktop)
    assert len(gone) > 8
    if close:
        desktop.scene.Clear(0)
    else:
        for kind in DATA:
            for node in slicer.util.getNodesByClass(kind):
                desktop.scene.RemoveNode(node)
    _scan = hematoma = node = None
    slicer.app.processEvents()
    gc.collect()
    assert not [name for name, answer in gone.items() if not answer()]
    assert panel.logic.job.result["plot"] is None
    for button in (panel.ui.noisePlotButton, panel.ui.measurePlotButton, panel.ui.exportButton):
        button.click()
        assert not button.enabled
