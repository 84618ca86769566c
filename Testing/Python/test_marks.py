# ruff: noqa: F401, F811 (fixtures)
"""The marks never lie: whatever puts a volume into a view, a mark says what that view shows, or it is not there."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from paneldesktop import TINY, api, desktop, drawingDesktop, drawingPanel, loadTiny, slicer, spin
from slicercore import vtk

from SliceInterpolationLib.volume import Volume

RED = "Red"


@pytest.fixture
def run(drawingPanel):
    """The panel after a run with the comparison on, and its scan and result."""
    return started(drawingPanel)


def started(panel, showComparison: bool = True):
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    scan, _ = loadTiny(panel, hematoma=None)
    panel._parameterNode.method = "linear"
    panel._parameterNode.showComparison = showComparison
    panel.ui.applyButton.click()
    spin(lambda: not panel.logic.running)
    slicer.app.processEvents()
    return panel, scan, panel._parameterNode.resultVolume


def foreign():
    """Another volume, which is not ours."""
    array = np.full((6, 48, 48), 100, np.int16)
    return slicer.util.addVolumeFromArray(array, np.diag([4.8, 4.8, 9.0, 1.0]), "MR")


def views() -> list[str]:
    return [node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]


def shown(view: str):
    from SliceInterpolationMRML.views.layouts import compositeNode

    return slicer.mrmlScene.GetNodeByID(compositeNode(view).GetBackgroundVolumeID() or "")


def toSlice(view: str, volume, number: int) -> None:
    from SliceInterpolationMRML.views.layouts import sliceNode

    sliceNode(view).SetSliceOffset(volume.GetOrigin()[2] + number * volume.GetSpacing()[2])


def marks() -> dict[str, str]:
    """All marks by view."""
    from SliceInterpolationMRML.views import shared

    return {view: shared.marks().text(view) for view in views()}


def allAreTrue() -> None:
    """Every mark names the volume that its view shows, and no other; a foreign volume has no mark at all."""
    for view, text in marks().items():
        node = shown(view)
        if node is None or node.GetName() == "MR":
            assert text == "", (view, text)
        elif text.startswith(("original", "result", "linear")):
            assert text.split("\n")[0].endswith(f": {node.GetName()}"), (view, text, node.GetName())


@pytest.mark.parametrize("how", ["layers", "selection", "one view", "composite nodes"])
def test_another_volume_is_loaded_while_comparing(run, how):
    from SliceInterpolationMRML.views.layouts import VIEW_NAMES, compositeNode

    panel, _scan, _result = run
    node = foreign()
    if how == "layers":
        slicer.util.setSliceViewerLayers(background=node)
    elif how == "selection":
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActiveVolumeID(node.GetID())
        logic.PropagateVolumeSelection()
    elif how == "one view":
        compositeNode(VIEW_NAMES[0]).SetBackgroundVolumeID(node.GetID())
    else:
        for view in views():
            compositeNode(view).SetBackgroundVolumeID(node.GetID())
    slicer.app.processEvents()
    assert any(shown(view) is node for view in views())
    allAreTrue()
    if how == "one view":
        assert panel.logic.comparing  # the other views are as they were
    else:
        # Nothing is compared any more: panel and layout know it, and the volume that was asked for is seen.
        assert not panel.logic.comparing
        assert "Switch on" in panel.ui.shownComboBox.toolTip
        assert shown(RED) is node


def test_another_run_while_comparing(run):
    """With "Switch on after each run" off too, the comparison is of the new pair, or over."""
    panel, scan, _first = run
    panel._parameterNode.showComparison = False
    panel._parameterNode.resultVolume = None
    panel.ui.applyButton.click()
    spin(lambda: not panel.logic.running)
    slicer.app.processEvents()
    assert shown("Original-axial") is scan
    assert shown("Result-axial") is not scan
    allAreTrue()


def test_the_phantom_is_made_while_comparing(run):
    _panel, scan, _result = run
    loadTiny(hematoma=None)
    slicer.app.processEvents()
    for view, text in marks().items():
        if shown(view) is not scan:
            assert "original" not in text, (view, text)


def test_marks_and_origin_come_back_with_a_scene(run, tmp_path):
    from SliceInterpolationMRML.nodes import ORIGINAL_ROLE

    _panel, _scan, result = run
    letters, name = result.GetAttribute("SliceInterpolation.SliceProvenance"), result.GetName()
    history = result.GetAttribute("SliceInterpolation.History")
    assert letters.startswith("ASA")
    assert history
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    assert set(marks().values()) <= {""}
    slicer.util.loadScene(str(path))
    slicer.app.processEvents()
    result = slicer.util.getNode(name)
    assert result.GetAttribute("SliceInterpolation.SliceProvenance") == letters
    assert result.GetAttribute("SliceInterpolation.History") == history
    assert result.GetNodeReference(ORIGINAL_ROLE).GetName() == "HeadPhantom"
    slicer.util.setSliceViewerLayers(background=result, fit=True)
    toSlice(RED, result, 5)
    assert marks()[RED] == "synthesized, between 3 and 4"
    toSlice(RED, result, 4)
    assert marks()[RED] == "acquired slice 3"


def test_a_run_of_the_console_without_the_panel(drawingDesktop):
    """Started with the application, the marks need no panel."""
    import SliceInterpolation as module

    module.onStartupCompleted()
    scan, _ = loadTiny(hematoma=None)
    result = module.SliceInterpolationLogic().interpolate(scan, method="linear")
    slicer.util.setSliceViewerLayers(background=result, fit=True)
    toSlice(RED, result, 3)
    assert marks()[RED] == "synthesized, between 2 and 3"


def test_a_run_that_ends_while_another_module_is_open(drawingPanel):
    panel, _scan, result = started(drawingPanel, showComparison=False)
    panel.exit()
    slicer.util.setSliceViewerLayers(background=result)
    toSlice(RED, result, 3)
    assert marks()[RED] == "synthesized, between 2 and 3"
    panel.enter()
    assert marks()[RED] == "synthesized, between 2 and 3"


def test_a_result_as_foreground_is_marked_while_it_is_seen(drawingPanel):
    from SliceInterpolationMRML.views.layouts import compositeNode

    _panel, scan, result = started(drawingPanel, showComparison=False)
    slicer.util.setSliceViewerLayers(background=scan, foreground=result, foregroundOpacity=0.5)
    toSlice(RED, result, 3)
    assert marks()[RED] == "foreground 50%:\nsynthesized, between 2 and 3"
    compositeNode(RED).SetForegroundOpacity(0.0)
    assert marks()[RED] == ""


def test_panel_and_console_share_one_mark(run):
    """Two logics draw one text, and each knows what the other did to the comparison."""
    import SliceInterpolation as module

    panel, scan, result = run
    console = module.SliceInterpolationLogic()
    assert console.comparing
    assert console.marks is panel.logic.marks
    console.compare(scan, result)
    view = slicer.app.layoutManager().sliceWidget("Result-axial").sliceView()
    renderers = view.renderWindow().GetRenderers()
    texts = [
        actor
        for number in range(renderers.GetNumberOfItems())
        for actor in renderers.GetItemAsObject(number).GetViewProps()
        if actor.IsA("vtkTextActor") and actor.GetVisibility() and actor.GetInput().startswith("result")
    ]
    assert len(texts) == 1
    console.restoreLayout()
    assert not panel.logic.comparing
    assert not panel.ui.shownComboBox.enabled
    console.compare(scan, result)
    assert panel.ui.shownComboBox.enabled


def test_unknown_slices_are_never_green(drawingDesktop):
    """A volume of which only some slices are known: those alone are called acquired, in their own color."""
    from SliceInterpolationMRML.nodes import nodeFromVolume
    from SliceInterpolationMRML.views import shared
    from SliceInterpolationMRML.views.description import COLORS

    shared.marks()
    array = np.zeros((5, 48, 48), np.int16)
    node = nodeFromVolume(Volume(array, (4.8, 4.8, 9.0), provenance="A?SMD"), "mixed")
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    said = []
    for number in range(5):
        toSlice(RED, node, number)
        actor = shared.marks()._actors[RED][0]
        said.append((marks()[RED].split(",")[0].split(" slice")[0], actor.GetTextProperty().GetColor()))
    assert len({color for _text, color in said}) == 5
    for (text, color), letter in zip(said, "A?SMD"):
        assert color == pytest.approx(COLORS[letter])
        assert ("acquired" in text) == (letter == "A")


def test_blends_are_named(run):
    from SliceInterpolationMRML.views.layouts import sliceNode

    _panel, _scan, result = run
    sliceNode("Result-axial").SetSliceOffset(result.GetOrigin()[2] + 2.5 * result.GetSpacing()[2])
    assert marks()["Result-axial"].split("\n")[1] == "blend of acquired 2 and synthesized"
    assert marks()["Original-axial"].split("\n")[1] == "blend of acquired 2 and 3"
    result.GetDisplayNode().SetInterpolate(False)  # then one of the two is shown alone
    assert "blend" not in marks()["Result-axial"]


def test_the_layout_chosen_in_the_toolbar_ends_the_comparison(run):
    panel, _scan, _result = run
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    slicer.app.processEvents()
    assert not panel.logic.comparing
    assert not panel.ui.shownComboBox.enabled
    assert not panel.ui.restoreLayoutButton.enabled  # the layout is the user's own choice
    allAreTrue()


def test_gray_scale_inversion_is_shared(run):
    _panel, scan, result = run
    display = scan.GetDisplayNode()
    display.SetInvertDisplayScalarRange(not display.GetInvertDisplayScalarRange())
    assert result.GetDisplayNode().GetInvertDisplayScalarRange() == display.GetInvertDisplayScalarRange()
    result.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeInvertedGrey"


@pytest.mark.parametrize("close", [False, True])
def test_no_reference_outlives_a_node(drawingPanel, close):
    """Marks, comparison and panel let go of scan and result, and of what was made to compare with."""
    panel, scan, result = started(drawingPanel)
    for index in (3, 2, 0):
        panel.ui.shownComboBox.currentIndex = index
    references = []
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        references.append(vtk.vtkWeakReference())
        references[-1].Set(node)
    assert len(references) == 4
    if close:
        slicer.mrmlScene.Clear(0)
    else:
        slicer.mrmlScene.RemoveNode(scan)
        slicer.mrmlScene.RemoveNode(result)
    scan = result = node = None
    slicer.app.processEvents()
    gc.collect()
    assert [reference.Get() for reference in references] == [None] * 4


def test_load_after_closing_with_the_panel_open(run, drawingDesktop):
    panel, _scan, _result = run
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    assert not panel.logic.comparing
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    scan, _ = loadTiny(hematoma=None)
    slicer.app.processEvents()
    assert panel.ui.inputSelector.currentNode() is scan
    panel._parameterNode.method = "linear"  # the network refuses such gaps
    assert panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip


def test_a_compare_layout_that_a_scene_brings_can_be_left(run, drawingDesktop, tmp_path):
    panel, _scan, _result = run
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    panel.logic.restoreLayout()
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    slicer.app.processEvents()
    from SliceInterpolationMRML.views.layouts import currentLayout

    if currentLayout() is not None:
        assert panel.ui.restoreLayoutButton.enabled, panel.ui.restoreLayoutButton.toolTip
        panel.ui.restoreLayoutButton.click()
    assert currentLayout() is None


def test_plots_and_tables_stand_beside_the_comparison(run):
    panel, scan, _result = run
    panel.ui.noiseButton.click()
    spin(lambda: not panel.logic.running)
    assert panel.logic.job.state == "done", panel.logic.job.message
    panel.ui.noisePlotButton.click()
    slicer.app.processEvents()
    assert panel.logic.comparing
    plot = slicer.mrmlScene.GetSingletonNode("SliceInterpolationPlot", "vtkMRMLPlotViewNode")
    assert slicer.mrmlScene.GetNodeByID(plot.GetPlotChartNodeID()) is not None
    assert shown("Original-axial") is scan
    panel.ui.restoreLayoutButton.click()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    panel.ui.noisePlotButton.click()  # from any other layout there is a way back as well
    assert panel.ui.restoreLayoutButton.enabled
    panel.ui.restoreLayoutButton.click()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
