# ruff: noqa: F401, F811 (fixtures)
"""Measured segments while original and result are compared: each side shows its own."""

from __future__ import annotations

import pytest
from paneldesktop import desktop, loadTiny, panel, slicer, spin

from SliceInterpolationMRML.views.compareView import ORIENTATIONS, viewName


def finish(panel) -> None:
    spin(lambda: not panel.logic.running, 120)
    slicer.app.processEvents()
    assert panel.logic.job.state == "done", panel.logic.job.message


def shownIn(segmentation, side: str) -> set[bool]:
    """Whether a segmentation is shown in the views of a side of the comparison; in all or none of them."""
    views = [
        slicer.mrmlScene.GetSingletonNode(viewName(side, one), "vtkMRMLSliceNode") for one in ORIENTATIONS
    ]
    display = segmentation.GetDisplayNode()
    return {bool(display.IsDisplayableInView(view.GetID()) and display.GetVisibility()) for view in views}


def carried(drawn):
    return drawn.GetNodeReference("SliceInterpolation.CarriedOver")


@pytest.fixture
def measured(panel):
    """A panel that compares, and the drawn segmentation, measured on both grids."""
    _scan, hematoma = loadTiny(panel, size=96, pixel_spacing=2.4, slices=14, slice_spacing=9.0)
    panel._parameterNode.method = "linear"
    panel.ui.applyButton.click()
    finish(panel)
    panel.ui.segmentSelector.setCurrentNode(hematoma)
    assert shownIn(hematoma, "Result") == {True}  # drawn only, so far
    panel.ui.measureButton.click()
    finish(panel)
    return panel, hematoma


def test_each_side_shows_its_own_segment(measured):
    panel, drawn = measured
    assert shownIn(drawn, "Original") == {True}
    assert shownIn(drawn, "Result") == {False}
    assert shownIn(carried(drawn), "Original") == {False}
    assert shownIn(carried(drawn), "Result") == {True}
    # The linear and the difference volume lie on the grid of the result; the original does not.
    for index, own in ((3, True), (2, True), (1, False), (0, True)):
        panel.ui.shownComboBox.currentIndex = index
        assert shownIn(carried(drawn), "Result") == {own}
        assert shownIn(drawn, "Result") == {not own}
        assert shownIn(drawn, "Original") == {True}


def test_afterwards_the_drawn_segment_is_shown_everywhere(measured):
    panel, drawn = measured
    panel.ui.restoreLayoutButton.click()
    views = slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")
    ordinary = [view for view in views if view.IsMappedInLayout()]
    assert ordinary
    assert all(drawn.GetDisplayNode().IsDisplayableInView(view.GetID()) for view in ordinary)
    assert not any(carried(drawn).GetDisplayNode().IsDisplayableInView(view.GetID()) for view in ordinary)
    panel.ui.compareButton.click()
    assert shownIn(drawn, "Result") == {False}
    assert shownIn(carried(drawn), "Result") == {True}


def test_what_was_hidden_by_hand_stays_hidden(measured):
    panel, drawn = measured
    carried(drawn).GetDisplayNode().SetVisibility(False)
    panel.ui.shownComboBox.currentIndex = 3
    panel.ui.restoreLayoutButton.click()
    panel.ui.compareButton.click()
    assert not carried(drawn).GetDisplayNode().GetVisibility()


def test_without_a_comparison_the_views_of_the_scan_show_the_drawn_segment_alone(panel):
    _scan, hematoma = loadTiny(panel, size=96, pixel_spacing=2.4, slices=14, slice_spacing=9.0)
    panel._parameterNode.method = "linear"
    panel._parameterNode.showComparison = False
    panel.ui.applyButton.click()
    finish(panel)
    slicer.util.setSliceViewerLayers(background=panel._parameterNode.inputVolume)
    panel.ui.segmentSelector.setCurrentNode(hematoma)
    panel.ui.measureButton.click()
    finish(panel)
    red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetID()
    own, other = hematoma.GetDisplayNode(), carried(hematoma).GetDisplayNode()
    assert own.IsDisplayableInView(red)
    assert not other.GetVisibility()
    # The ordinary views may show the result: at the next measurement it has its segment.
    slicer.util.setSliceViewerLayers(background=panel._parameterNode.resultVolume)
    panel.ui.measureButton.click()
    finish(panel)
    assert other.GetVisibility()
    assert other.IsDisplayableInView(red)
    assert not own.IsDisplayableInView(red)
