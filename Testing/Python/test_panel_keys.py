# ruff: noqa: F401, F811 (fixtures)
"""Keys and the cine loop: they work where the focus is, and end with the panel, the comparison and the scene."""

from __future__ import annotations

import pytest
from paneldesktop import drawingDesktop, drawingPanel, loadTiny, slicer, spin
from PySide6 import QtCore, QtTest, QtWidgets

from SliceInterpolationLib import interpolate
from SliceInterpolationMRML import nodes
from SliceInterpolationMRML.panel import state
from SliceInterpolationMRML.views import layouts, shared
from SliceInterpolationMRML.views.layouts import ORIENTATIONS, viewName

KEYS = {
    state.SWITCH_KEY: (QtCore.Qt.Key.Key_X, QtCore.Qt.KeyboardModifier.NoModifier),
    state.NEXT_KEY: (QtCore.Qt.Key.Key_N, QtCore.Qt.KeyboardModifier.NoModifier),
    state.PREVIOUS_KEY: (QtCore.Qt.Key.Key_N, QtCore.Qt.KeyboardModifier.ShiftModifier),
    state.DIFFERENCE_KEY: (QtCore.Qt.Key.Key_D, QtCore.Qt.KeyboardModifier.NoModifier),
}
TAKEN_BY_SLICE_VIEWS = set("gtfbvr[]{}") | {"V", "Left", "Right", "Up", "Down", "Space"}
"""vtkMRMLSliceIntersectionWidget::UpdateInteractionEventMapping of Slicer 5.10."""


@pytest.fixture
def open_(drawingPanel):
    """The panel, entered, with a scan and its result; and a view beside it that has the focus."""
    panel = drawingPanel
    panel.enter()
    scan, _ = loadTiny(panel)
    volume = interpolate(nodes.volumeFromNode(scan), factor=2, method="linear").volume
    panel._parameterNode.resultVolume = nodes.nodeFromVolume(volume, "scan x2", scan)
    view = QtWidgets.QWidget()  # in a window of its own, as views of a second screen are
    view.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
    view.show()
    view.activateWindow()
    view.setFocus()
    slicer.app.processEvents()
    panel.logic.view = view
    yield panel
    view.close()


def press(panel, key, widget=None):
    code, modifier = KEYS[key]
    QtTest.QTest.keyClick(widget or panel.logic.view, code, modifier)
    slicer.app.processEvents()


def background(name):
    composite = layouts.compositeNode(name)
    return slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")


def test_no_key_is_taken_by_the_slice_views():
    plain = {key.lower() if "+" not in key else key for key in KEYS}
    assert not plain & TAKEN_BY_SLICE_VIEWS
    assert len(plain) == 4


def test_the_tool_tips_and_the_tutorial_tell_the_keys(open_):
    from pathlib import Path

    tutorial = Path(__file__).resolve().parents[2] / "Resources" / "Documentation" / "tutorial.md"
    open_.ui.compareButton.click()
    for text in (open_.ui.compareButton.toolTip, open_.ui.shownComboBox.toolTip):
        assert state.keysText() in text
    for key in KEYS:
        assert f"`{key}`" in tutorial.read_text()


def test_switching_in_place_while_comparing(open_):
    scan, result = open_._parameterNode.inputVolume, open_._parameterNode.resultVolume
    open_.ui.compareButton.click()
    for shown in (scan, result, scan):
        press(open_, state.SWITCH_KEY)
        assert {background(viewName("Result", one)).GetName() for one in ORIENTATIONS} == {shown.GetName()}
        assert {background(viewName("Original", one)).GetName() for one in ORIENTATIONS} == {scan.GetName()}
    assert open_._parameterNode.shown.value == "original"


def test_switching_in_place_in_ordinary_views(open_):
    scan, result = open_._parameterNode.inputVolume, open_._parameterNode.resultVolume
    slicer.util.setSliceViewerLayers(background=scan)
    offset = layouts.sliceNode("Red").GetSliceOffset()
    press(open_, state.SWITCH_KEY)
    assert background("Red") is result
    assert layouts.sliceNode("Red").GetSliceOffset() == offset
    press(open_, state.SWITCH_KEY)
    assert background("Red") is scan
    other = nodes.nodeFromVolume(nodes.volumeFromNode(scan), "other")
    layouts.compositeNode("Red").SetBackgroundVolumeID(other.GetID())
    press(open_, state.SWITCH_KEY)
    assert background("Red") is other


@pytest.mark.parametrize("comparing", [True, False])
def test_from_one_synthesized_slice_to_the_next(open_, comparing):
    result, name = open_._parameterNode.resultVolume, "Red"
    if comparing:
        open_.ui.compareButton.click()
        name = viewName("Result", "Axial")
    else:
        slicer.util.setSliceViewerLayers(background=result)
    grid = nodes.gridFromNode(result)
    view = layouts.sliceNode(name)
    view.SetSliceOffset(grid.origin[2] + 4 * grid.slice_spacing)
    for key, words in (
        (state.NEXT_KEY, "synthesized, between 3 and 4"),
        (state.NEXT_KEY, "synthesized, between 4 and 5"),
        (state.PREVIOUS_KEY, "synthesized, between 3 and 4"),
    ):
        press(open_, key)
        assert shared.marks().text(name).split("\n")[-1] == words
    for _ in range(20):
        press(open_, state.PREVIOUS_KEY)
    assert shared.marks().text(name).endswith("synthesized, between 1 and 2")


def test_a_coronal_scan_is_stepped_through_in_the_coronal_view(open_):
    scan = open_._parameterNode.inputVolume
    volume = nodes.volumeFromNode(scan)
    turned = nodes.nodeFromVolume(volume, "coronal")
    matrix = slicer.util.arrayFromVTKMatrix(_ijkToRas(scan))
    turned.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix[[0, 2, 1, 3]]))
    result = nodes.nodeFromVolume(
        interpolate(nodes.volumeFromNode(turned), factor=2, method="linear").volume, "coronal x2", turned
    )
    open_._parameterNode.inputVolume, open_._parameterNode.resultVolume = turned, result
    open_.ui.compareButton.click()
    axial = layouts.sliceNode(viewName("Result", "Axial")).GetSliceOffset()
    press(open_, state.NEXT_KEY)
    assert "synthesized, between" in shared.marks().text(viewName("Result", "Coronal"))
    assert layouts.sliceNode(viewName("Result", "Axial")).GetSliceOffset() == axial


def _ijkToRas(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_the_difference_and_back(open_):
    result = open_._parameterNode.resultVolume
    press(open_, state.DIFFERENCE_KEY)  # it begins the comparison
    assert open_.logic.comparing
    assert "minus linear" in background(viewName("Result", "Axial")).GetName()
    assert open_.ui.shownComboBox.currentText.startswith("difference")
    press(open_, state.DIFFERENCE_KEY)
    assert background(viewName("Result", "Axial")) is result


def test_keys_do_nothing_where_another_module_is_open_and_after_the_panel(open_):
    open_.ui.compareButton.click()
    result = open_._parameterNode.resultVolume
    open_.exit()
    press(open_, state.SWITCH_KEY)
    assert background(viewName("Result", "Axial")) is result
    open_.enter()
    press(open_, state.SWITCH_KEY)
    assert background(viewName("Result", "Axial")) is not result
    open_._shortcuts.remove()
    press(open_, state.SWITCH_KEY)
    assert background(viewName("Result", "Axial")) is not result


def test_letters_typed_into_a_text_field_stay_letters(open_):
    open_.ui.compareButton.click()
    field = open_.ui.reportTitleLineEdit
    window = open_.parent._q.window()
    window.activateWindow()
    field._q.setFocus()
    slicer.app.processEvents()
    for key in (state.SWITCH_KEY, state.DIFFERENCE_KEY, state.NEXT_KEY):
        press(open_, key, field._q)
    assert field.text.lower() == "xdn"
    assert background(viewName("Result", "Axial")) is open_._parameterNode.resultVolume


def opacity():
    return layouts.compositeNode(viewName("Result", "Axial")).GetForegroundOpacity()


def play(panel):
    panel.ui.compareButton.click()
    panel.ui.cineButton.click()
    seen = []
    spin(lambda: seen.append(opacity()) or (max(seen) > 0.9 and seen[-1] < 0.3), 10)
    assert min(seen) < 0.1
    assert panel.logic.compareView.isPlaying
    assert panel._parameterNode.shown.value == "blend"


def isStill() -> bool:
    before = opacity()
    end = []
    QtCore.QTimer.singleShot(150, lambda: end.append(True))
    spin(lambda: end)
    return opacity() == before


def test_the_cine_loop_fades_to_and_fro_and_says_how_far(open_):
    assert "Switch on the compare view first" in open_.ui.cineButton.toolTip
    play(open_)
    text = shared.marks().text(viewName("Result", "Axial"))
    assert "background, original: HeadPhantom" in text
    open_.ui.cineButton.click()
    assert isStill()
    assert opacity() == 0.5
    assert not open_.ui.cineButton.checked


@pytest.mark.parametrize("how", ["leave", "restore", "close", "toolbar", "other", "remove", "reload"])
def test_the_cine_loop_ends_by_itself(open_, drawingDesktop, how):
    play(open_)
    playing = open_.logic.compareView
    if how == "leave":
        open_.exit()
    elif how == "restore":
        open_.ui.restoreLayoutButton.click()
    elif how == "close":
        drawingDesktop.scene.Clear(0)
    elif how == "toolbar":
        slicer.app.layoutManager().setLayout(3)
    elif how == "other":
        open_.ui.shownComboBox.currentIndex = 0
    elif how == "remove":
        slicer.mrmlScene.RemoveNode(open_._parameterNode.resultVolume)
    else:
        shared.remove()
    assert not playing.isPlaying
    assert isStill()
    if how != "leave":  # left panels are brought up to date on return
        assert not open_.ui.cineButton.checked
