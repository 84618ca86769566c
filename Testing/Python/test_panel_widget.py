# ruff: noqa: F401, F811 (fixtures)
"""The real panel on the stand-ins: every button, every error, cancel and scene close in the middle of a run."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
import time
import types

import numpy as np
import pytest
from paneldesktop import (
    SMALL,
    TINY,
    alive,
    cutLabels,
    desktop,
    loadNoise,
    loadTiny,
    nodeIds,
    panel,
    slicer,
    spin,
    temporaryFolders,
)


def choose(panel, **values):
    """Set choices in the parameter node, enumerations by their values."""
    from SliceInterpolationMRML import parameters

    kinds = {
        "factor": parameters.Factor,
        "outputMode": parameters.OutputMode,
        "arrangement": parameters.Arrangement,
        "units": parameters.Units,
    }
    for name, value in values.items():
        setattr(panel._parameterNode, name, kinds[name](value) if name in kinds else value)


def finish(panel, seconds=120):
    spin(lambda: not panel.logic.running, seconds)
    slicer.app.processEvents()


def startNetwork(panel):
    """A run that takes long enough to be interrupted; returns the ID of its process."""
    loadNoise(panel)
    choose(panel, method="default", device="cpu", factor="4", showComparison=False)
    before = nodeIds()
    panel.ui.applyButton.click()
    spin(lambda: panel.ui.progressBar.value > 0)
    return before, panel.logic.job.processId


def test_an_empty_scene(panel):
    ui = panel.ui
    assert ui.inputSelector.currentNode() is None
    for button in (ui.applyButton, ui.trustButton, ui.noiseButton, ui.compareButton, ui.measureButton):
        assert not button.enabled
        assert "Choose an input volume" in button.toolTip
    assert not ui.restoreLayoutButton.enabled
    assert "Measure first." in ui.exportButton.toolTip
    assert not ui.progressBar.visible
    assert "head phantom" in ui.planLabel.text


def test_every_disabled_button_says_why(panel):
    loadTiny(panel)
    for name, widget in vars(panel.ui).items():
        if name.endswith("Button") and "collapsible" not in name.lower():
            assert widget.toolTip, f"{name} has no tool tip"


def test_one_click(panel):
    scan, _ = loadTiny(panel)
    scan.SetAttribute("Test", "kept")
    before = slicer.util.arrayFromVolume(scan).copy()
    choose(panel, method="linear", showComparison=False)
    assert "8 slices at 18.0 mm \u2192 15 at 9.0 mm" in panel.ui.planLabel.text
    ids = nodeIds()
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel"
    assert panel.ui.progressBar.visible
    assert not panel.ui.trustButton.enabled
    assert "A run is under way" in panel.ui.trustButton.toolTip
    finish(panel)
    assert panel.logic.job.state == "done"
    assert panel.ui.applyButton.text == "Interpolate"
    assert not panel.ui.progressBar.visible
    result = panel._parameterNode.resultVolume
    assert result.GetName() == "HeadPhantom x2 linear"
    after = slicer.util.arrayFromVolume(result)
    assert after.shape == (15, 48, 48)
    assert (after[::2] == before).all()
    assert (slicer.util.arrayFromVolume(scan) == before).all()
    assert result.GetAttribute("SliceInterpolation.SliceProvenance") == "ASASASASASASASA"
    assert result.GetNodeReferenceID("SliceInterpolation.Original") == scan.GetID()
    assert "15 at 9 mm" in panel.ui.statusLabel.text
    assert "Done in" in panel.ui.statusLabel.text
    added = nodeIds() - ids
    kinds = sorted(slicer.mrmlScene.GetNodeByID(nodeId).GetClassName() for nodeId in added)
    assert kinds == ["vtkMRMLScalarVolumeDisplayNode", "vtkMRMLScalarVolumeNode"]
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert composite.GetBackgroundVolumeID() == result.GetID()
    assert temporaryFolders(panel) == []


def test_the_result_joins_folder_transform_window_and_color(panel, desktop):
    scan, _ = loadTiny(panel)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(desktop.scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patient")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(scan), folder)
    transform = desktop.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    scan.SetAndObserveTransformNodeID(transform.GetID())
    scan.GetDisplayNode().SetWindowLevel(123.0, 45.0)
    scan.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    choose(panel, method="linear")
    panel.ui.applyButton.click()
    finish(panel)
    result = panel._parameterNode.resultVolume
    assert result.GetTransformNodeID() == transform.GetID()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == folder
    assert (result.GetDisplayNode().GetWindow(), result.GetDisplayNode().GetLevel()) == (123.0, 45.0)
    assert result.GetDisplayNode().GetColorNodeID() == scan.GetDisplayNode().GetColorNodeID()


@pytest.mark.parametrize(
    ("choices", "slices", "letters"),
    [
        ({"factor": "3"}, 22, "ASSA"),
        ({"factor": "4"}, 29, "ASSSA"),
        ({"factor": "isotropic"}, 29, "ASSSA"),
        # On slices 18 mm apart their neighbors do not explain every slice: those are kept as acquired.
        ({"outputMode": "denoised"}, 15, "A(S[AD])+SDS[AD]"),
        ({"outputMode": "denoise-only"}, 8, "A[AD]*D[AD]*A"),
    ],
)
def test_factors_and_output_modes(panel, choices, slices, letters):
    loadTiny(panel)
    choose(panel, method="linear", showComparison=False, strength=0.8, **choices)
    panel.ui.applyButton.click()
    finish(panel)
    result = panel._parameterNode.resultVolume
    assert slicer.util.arrayFromVolume(result).shape[0] == slices
    assert re.match(letters, result.GetAttribute("SliceInterpolation.SliceProvenance"))
    denoised = choices.get("outputMode", "interpolated") != "interpolated"
    assert panel.ui.strengthSlider.enabled == denoised
    assert (panel._parameterNode.denoisedVolume is result) == denoised
    assert panel.ui.factorComboBox.enabled == (choices.get("outputMode") != "denoise-only")


def test_widgets_and_parameters_follow_each_other(panel):
    from SliceInterpolationMRML.parameters import Factor

    loadTiny(panel)
    ui, node = panel.ui, panel._parameterNode
    ui.methodComboBox.currentIndex = ui.methodComboBox.findText("cubic")
    assert node.method == "cubic"
    assert "Cubic" in ui.methodLabel.text
    ui.factorComboBox.currentIndex = 2
    assert node.factor == Factor.X4
    node.factor = Factor.X3
    assert ui.factorComboBox.currentText == "x3"
    ui.forceCheckBox.checked = True
    assert node.force is True
    node.strength = 0.25
    assert ui.strengthSlider.value == pytest.approx(0.25)
    ui.strengthSlider.value = 0.75
    assert node.strength == pytest.approx(0.75)
    node.method = "linear"
    assert ui.methodComboBox.currentText == "linear"
    node.device = "cuda:7"
    assert "not available" in ui.deviceComboBox.currentText
    ui.huLowSpinBox.value = 120.0
    assert node.huLow == 120.0


def test_two_runs_one_after_the_other(panel):
    loadTiny(panel)
    choose(panel, method="linear", showComparison=False)
    results = []
    for _ in range(2):
        panel.ui.applyButton.click()
        finish(panel)
        results.append(panel._parameterNode.resultVolume)
    assert results[0] is not results[1]
    assert results[0].GetName() != results[1].GetName()
    assert (slicer.util.arrayFromVolume(results[0]) == slicer.util.arrayFromVolume(results[1])).all()
    choose(panel, method="cubic", outputVolume=results[0])
    panel.ui.applyButton.click()
    finish(panel)
    assert panel._parameterNode.resultVolume is results[0]
    assert not (slicer.util.arrayFromVolume(results[0]) == slicer.util.arrayFromVolume(results[1])).all()
    assert temporaryFolders(panel) == []


def test_cancel_in_the_middle(panel):
    before, processId = startNetwork(panel)
    assert alive(processId)
    text = panel.ui.statusLabel.text
    assert "slice" in text
    assert "of 117" in text
    panel.ui.applyButton.click()
    assert panel.logic.job.state == "cancelled"
    assert not alive(processId)
    assert nodeIds() == before
    assert "Cancelled" in panel.ui.statusLabel.text
    assert panel.ui.applyButton.text == "Interpolate"
    assert panel.ui.applyButton.enabled
    assert temporaryFolders(panel) == []
    choose(panel, method="linear", factor="2", showComparison=False)
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.logic.job.state == "done"


def test_closing_the_scene_in_the_middle(panel, desktop):
    _, processId = startNetwork(panel)
    desktop.scene.Clear(0)
    assert panel.logic.job.state == "cancelled"
    assert "scene was closed" in panel.logic.job.message
    assert not alive(processId)
    slicer.app.processEvents()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert temporaryFolders(panel) == []
    assert panel.ui.inputSelector.currentNode() is None
    assert not panel.ui.applyButton.enabled
    loadTiny(panel)
    choose(panel, method="linear", showComparison=False)
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.logic.job.state == "done"


def test_closing_the_application_in_the_middle(panel):
    _, processId = startNetwork(panel)
    panel.cleanup()
    assert not alive(processId)
    assert temporaryFolders(panel) == []


def test_a_crash_in_the_middle(panel):
    import os
    import signal

    before, processId = startNetwork(panel)
    os.killpg(processId, signal.SIGKILL)
    finish(panel)
    assert panel.logic.job.state == "failed"
    assert "want of memory" in panel.ui.statusLabel.text
    assert nodeIds() == before
    assert panel.ui.applyButton.enabled
    assert temporaryFolders(panel) == []


def test_removing_the_input_in_the_middle(panel, desktop):
    scan, _ = loadTiny(panel)
    choose(panel, method="cubic")
    panel.ui.applyButton.click()
    before = nodeIds()
    desktop.scene.RemoveNode(scan)
    finish(panel)
    assert panel.logic.job.state == "failed"
    assert "was removed" in panel.ui.statusLabel.text
    assert nodeIds() <= before


def test_leaving_the_module_in_the_middle(panel):
    loadTiny(panel)
    choose(panel, method="cubic", showComparison=False)
    panel.ui.applyButton.click()
    shown = [
        node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    ]
    panel.exit()
    finish(panel)
    assert panel.logic.job.state == "done"
    now = [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    assert now == shown  # views are left alone while the user is elsewhere
    panel.enter()
    assert panel._parameterNode.resultVolume is panel.logic.job.result
    assert panel.ui.applyButton.text == "Interpolate"
    assert panel.logic.job.result is not None


def test_the_event_loop_is_never_blocked(panel):
    import time

    startNetwork(panel)
    longest, last = 0.0, time.monotonic()
    for _ in range(100):
        slicer.app.processEvents()
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        time.sleep(0.005)
    panel.ui.applyButton.click()
    assert longest < 0.5


def test_refused_input_is_told_before_the_run(panel, desktop):
    ui = panel.ui
    loadTiny(panel, slices=1)
    assert not ui.applyButton.enabled
    assert "at least 2" in ui.applyButton.toolTip
    thin, _ = loadTiny(slice_spacing=4.8, hematoma=None)
    panel._parameterNode.inputVolume = thin
    assert "Run in spite of warnings" in ui.planLabel.text
    ui.forceCheckBox.checked = True
    choose(panel, method="linear")
    assert ui.applyButton.enabled
    panel._parameterNode.outputVolume = thin
    assert not ui.applyButton.enabled
    assert "another volume" in ui.applyButton.toolTip


def test_a_gap_far_beyond_the_training(panel):
    loadTiny(panel)
    assert not panel.ui.applyButton.enabled
    assert "choose flow or cubic" in panel.ui.planLabel.text
    choose(panel, method="cubic")
    assert panel.ui.applyButton.enabled


def test_a_refusal_by_the_process(panel, monkeypatch):
    """What the panel cannot foresee comes back from the command line, in the words of the panel."""
    loadTiny(panel)
    choose(panel, method="linear", device="cuda:3", outputMode="interpolated")
    before = nodeIds()
    monkeypatch.setattr(type(panel.logic), "plan", lambda self, *given, **options: None)
    choose(panel, method="nonsense")
    panel.logic.interpolate(
        panel._parameterNode.inputVolume,
        method="nonsense",
        wait=False,
        onProgress=panel.onProgress,
        onFinished=panel.onFinished,
    )
    monkeypatch.undo()
    finish(panel)
    assert panel.logic.job.state == "refused"
    assert "There is no m" in panel.ui.statusLabel.text
    assert nodeIds() == before


def test_a_result_that_cannot_be_read_leaves_nothing(panel, monkeypatch):
    from SliceInterpolationMRML.run import jobs

    loadTiny(panel)
    choose(panel, method="linear")
    before = nodeIds()

    def half(volume, name, referenceNode):
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "half-made")
        raise MemoryError("no room")

    monkeypatch.setattr(jobs, "nodeFromVolume", half)
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.logic.job.state == "failed"
    assert "no room" in panel.ui.statusLabel.text
    assert nodeIds() == before
    assert temporaryFolders(panel) == []


def test_compare_and_restore(panel, desktop):
    from SliceInterpolationMRML.views.compareView import BY_COLUMNS_LAYOUT, BY_ROWS_LAYOUT, VIEW_NAMES

    scan, _ = loadTiny(panel)
    layout = slicer.app.layoutManager().layout
    choose(panel, method="cubic", showComparison=True)
    panel.ui.applyButton.click()
    finish(panel)
    assert slicer.app.layoutManager().layout == BY_COLUMNS_LAYOUT  # the area of the views is wide
    result = panel._parameterNode.resultVolume
    shown = [slicer.app.applicationLogic().GetSliceLogicByLayoutName(name) for name in VIEW_NAMES]
    volumes = [logic.GetSliceCompositeNode().GetBackgroundVolumeID() for logic in shown]
    assert volumes == [scan.GetID(), result.GetID()] * 3
    assert panel.ui.shownComboBox.enabled
    panel.ui.shownComboBox.currentIndex = 3
    difference = shown[1].GetSliceCompositeNode().GetBackgroundVolumeID()
    assert difference not in (scan.GetID(), result.GetID())
    panel.ui.shownComboBox.currentIndex = 0
    assert shown[1].GetSliceCompositeNode().GetBackgroundVolumeID() == result.GetID()
    panel.ui.slabSpinBox.value = 9.0
    assert shown[0].GetSliceNode().GetSlabReconstructionThickness() == 9.0
    panel.ui.restoreLayoutButton.click()
    assert slicer.app.layoutManager().layout == layout
    assert not panel.ui.restoreLayoutButton.enabled
    assert not panel.ui.shownComboBox.enabled
    choose(panel, arrangement="rows")
    panel.ui.compareButton.click()
    assert slicer.app.layoutManager().layout == BY_ROWS_LAYOUT
    shown[0].GetSliceNode().SetSliceOffset(12.5)
    choose(panel, arrangement="columns")  # at once, and the place stays
    assert slicer.app.layoutManager().layout == BY_COLUMNS_LAYOUT
    assert [logic.GetSliceNode().GetSliceOffset() for logic in shown[:2]] == [12.5, 12.5]
    panel.ui.restoreLayoutButton.click()
    assert slicer.app.layoutManager().layout == layout


def test_trust_check(panel):
    loadTiny(panel, **SMALL)
    choose(panel, method="flow")
    assert "There is nothing to plot yet." in panel.ui.trustPlotButton.toolTip
    panel.ui.trustButton.click()
    assert panel.ui.trustButton.text == "Cancel"
    assert not panel.ui.applyButton.enabled
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    assert "On this scan" in panel.ui.verdictLabel.text or "Warning" in panel.ui.verdictLabel.text
    assert "--" not in panel.ui.verdictLabel.text
    assert panel.ui.trustPlotButton.enabled
    assert panel.ui.trustPlanLabel.text.startswith("8 of the 10 slices are predicted by 3 methods, about ")
    table = panel.logic.job.result["nodes"]["bySlice"]
    assert table.GetNumberOfRows() == 8
    panel.ui.trustPlotButton.click()
    layout = slicer.app.layoutManager().layout
    assert slicer.modules.plots.logic().GetLayoutWithPlot(layout) == layout
    panel.ui.trustMeansButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveTableID() == panel.logic.job.result["nodes"]["means"].GetID()


def test_all_slices_are_scored_where_they_are_asked_for(panel):
    loadTiny(panel, **{**SMALL, "slices": 20})
    choose(panel, method="linear")
    assert panel.ui.trustPlanLabel.text.startswith("12 of the 20 slices")
    panel.ui.trustAllSlicesCheckBox.checked = True
    count = int(panel.ui.trustPlanLabel.text.split()[0])
    assert count > 12
    totals = set()
    monitored = panel.onProgress
    panel.onProgress = lambda entry: (totals.add(entry.get("total")), monitored(entry))
    panel.ui.trustButton.click()
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    assert panel.logic.job.result["nodes"]["bySlice"].GetNumberOfRows() == count
    assert totals - {None} == {count}
    assert f"on {count} withheld slices" in panel.ui.verdictLabel.text


def test_trust_check_cancelled(panel):
    loadNoise(panel)
    before = nodeIds()
    panel.ui.trustButton.click()
    spin(lambda: panel.ui.progressBar.value > 0)
    processId = panel.logic.job.processId
    panel.ui.trustButton.click()
    assert panel.logic.job.state == "cancelled"
    assert not alive(processId)
    assert nodeIds() == before


def test_trust_check_of_a_result_is_refused(panel):
    loadTiny(panel)
    choose(panel, method="linear", showComparison=False)
    panel.ui.applyButton.click()
    finish(panel)
    panel._parameterNode.inputVolume = panel._parameterNode.resultVolume
    panel.ui.trustButton.click()
    finish(panel)
    assert panel.logic.job.state == "refused"
    assert "original scan" in panel.ui.statusLabel.text


def test_noise_maps_and_region(panel, desktop):
    scan, _ = loadTiny(panel, **SMALL)
    choose(panel, method="linear")
    panel.ui.noiseButton.click()
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    assert "Noise SD" in panel.ui.noiseLabel.text
    assert "Made: the maps 'HeadPhantom residual' and 'HeadPhantom noise SD'" in panel.ui.noiseLabel.text
    nodes = panel.logic.job.result["nodes"]
    residual = slicer.util.arrayFromVolume(nodes["residual"])
    assert residual.shape == slicer.util.arrayFromVolume(scan).shape
    assert np.abs(residual[1:-1]).max() > 0
    # The residual lies over the scan, with a legend, and is said to do so.
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = [one for one in views if one.GetForegroundVolumeID() == nodes["residual"].GetID()]
    assert shown
    assert {one.GetBackgroundVolumeID() for one in shown} == {scan.GetID()}
    assert panel.ui.mapComboBox.currentText.startswith("residual")
    panel.ui.mapComboBox.currentIndex = panel.ui.mapComboBox.findData("noiseSd")
    assert {one.GetForegroundVolumeID() for one in shown} == {nodes["noiseSd"].GetID()}
    panel.ui.mapComboBox.currentIndex = 0
    assert not any(one.GetForegroundVolumeID() for one in shown)
    panel.ui.noisePlotButton.click()
    panel.ui.noiseTableButton.click()
    layout = slicer.app.layoutManager().layout
    assert slicer.modules.tables.logic().GetLayoutWithTable(layout) == layout
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActiveTableID() == nodes["table"].GetID()
    panel.ui.noiseBeforeTableButton.click()
    assert selection.GetActiveTableID() == nodes["alternationTable"].GetID()
    panel.ui.noiseBeforePlotButton.click()
    assert selection.GetActivePlotChartID() == nodes["alternationPlot"].GetID()
    assert "Choose a region first." in panel.ui.regionButton.toolTip
    roi = desktop.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    bounds = [0.0] * 6
    scan.GetRASBounds(bounds)
    roi.SetXYZ(*[(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)])
    roi.SetRadiusXYZ(20.0, 20.0, 20.0)
    panel.ui.regionSelector.setCurrentNode(roi)
    assert panel.ui.regionButton.enabled
    tables = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    panel.ui.regionButton.click()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == tables + 1
    assert "new table" in panel.ui.noiseLabel.text


def test_measurement_and_its_table(panel, tmp_path, monkeypatch):
    from standins import pythonqt

    _, hematoma = loadTiny(panel, size=96, pixel_spacing=2.4, slices=14, slice_spacing=9.0)
    choose(panel, method="linear", showComparison=False)
    panel.ui.applyButton.click()
    finish(panel)
    panel.ui.segmentSelector.setCurrentNode(hematoma)
    assert panel.ui.measureButton.enabled
    panel._parameterNode.huLow, panel._parameterNode.huHigh = 100.0, 90.0
    assert "range is empty" in panel.ui.measureButton.toolTip
    panel._parameterNode.huLow = 40.0
    panel.ui.measureButton.click()
    assert panel.ui.measureButton.text == "Cancel"
    panel.ui.measureButton.click()
    assert panel.logic.job.state == "cancelled"
    panel.ui.measureButton.click()
    finish(panel)
    assert "acquired" in panel.ui.measureLabel.text
    assert "mL" in panel.ui.measureLabel.text
    target = hematoma.GetNodeReference("SliceInterpolation.CarriedOver")
    visible = [
        target.GetDisplayNode().GetSegmentVisibility(one) for one in target.GetSegmentation().GetSegmentIDs()
    ]
    assert visible == [True, False]
    panel.ui.renewedCheckBox.checked = True
    assert all(map(target.GetDisplayNode().GetSegmentVisibility, target.GetSegmentation().GetSegmentIDs()))
    # Slicer before 5.12 loses hidden nodes when a scene is saved as .mrml.
    assert not any(table.GetHideFromEditors() for table in slicer.util.getNodesByClass("vtkMRMLTableNode"))
    path = tmp_path / "hematoma.csv"
    dialog = sys.modules["qt"].QFileDialog
    monkeypatch.setattr(dialog, "getSaveFileName", staticmethod(lambda *arguments: str(path)))
    panel.ui.exportButton.click()
    assert path.read_text().count("\n") == 4
    monkeypatch.setattr(dialog, "getSaveFileName", staticmethod(lambda *arguments: ""))
    panel.ui.exportButton.click()  # dismissed
    panel.ui.measurePlotButton.click()
    assert pythonqt.slotErrors == []


def test_sample_data_button(panel, monkeypatch):
    import SliceInterpolation as module
    from SliceInterpolationMRML import sampleData

    made = sampleData.loadPhantom
    monkeypatch.setattr(sampleData, "loadPhantom", lambda: made(**TINY))
    monkeypatch.setattr(panel.logic, "loadPhantom", functools.partial(panel.logic.loadPhantom, **TINY))
    before = nodeIds()
    panel.ui.samplePhantomButton.click()
    assert panel.ui.samplePhantomButton.text == "Cancel"
    spin(lambda: panel.ui.progressBar.value > 0 or not panel.logic.running)
    panel.ui.samplePhantomButton.click()
    assert panel.logic.job.state == "cancelled"
    assert nodeIds() == before
    panel.ui.samplePhantomButton.click()
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    assert "Done in" in panel.ui.statusLabel.text
    assert panel._parameterNode.inputVolume.GetName() == "HeadPhantom"
    assert panel.ui.segmentSelector.currentNode() is not None
    assert panel.ui.segmentSelector.currentSegmentID()
    slicer.app.connect("startupCompleted()", module.onStartupCompleted)
    slicer.app._completeStartup()
    source = sys.modules["SampleData"].SampleDataLogic.sources[-1]
    assert source["sampleName"] == "HeadPhantom"
    volume, _ = source["customDownloader"](source)
    assert volume.GetAttribute("HeadPhantom.HematomaMl") == "30.00"


def test_the_phantom_is_made_while_the_window_stays_alive(panel, monkeypatch):
    from SliceInterpolationLib import InputError
    from SliceInterpolationLib.phantom import Hematoma, phantom_volume
    from SliceInterpolationMRML import sampleData
    from SliceInterpolationMRML.run import jobs

    moments, before = [], set(os.listdir(slicer.app.temporaryPath))
    again: list[str] = []

    def idle():
        moments.append(time.monotonic())
        if len(moments) == 3:
            with pytest.raises(InputError) as refused:
                sampleData.loadPhantom(**TINY)
            again.append(str(refused.value))

    monkeypatch.setattr(jobs, "processEvents", idle)
    volume, hematoma = sampleData.loadPhantom(**TINY, hematoma_ml=12.5)
    assert len(moments) > 10
    assert "wait for it" in again[0]
    expected, mask, _ = phantom_volume(**TINY, hematoma=Hematoma(12.5))
    assert (slicer.util.arrayFromVolume(volume) == expected.array).all()
    assert volume.GetAttribute("HeadPhantom.HematomaMl") == "12.50"
    segmentId = hematoma.GetSegmentation().GetNthSegmentID(0)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(hematoma, segmentId, volume).sum() == mask.sum()
    assert set(os.listdir(slicer.app.temporaryPath)) == before
    with pytest.raises(InputError, match="cannot be made"):
        sampleData.loadPhantom(**TINY, hematoma_ml=5000)
    assert sampleData.loadPhantom(**TINY, hematoma_ml=0, show=False)[1] is None


def test_devices_are_told_with_the_reason(panel):
    assert panel.ui.deviceComboBox.count == 2
    spin(lambda: panel._devices)
    loadTiny(panel)
    assert "CPU" in panel.ui.deviceLabel.text or "GPU" in panel.ui.deviceLabel.text
    panel._devices = {
        "device": "cuda:1",
        "reason": "GPU A with 40.0 GiB free",
        "gpus": [{"device": "cuda:1", "name": "A", "free_gib": 40.0, "total_gib": 80.0}],
    }
    panel._fillDevices()
    panel._updatePanel()
    assert panel.ui.deviceLabel.text == "GPU A with 40.0 GiB free."
    assert panel.ui.deviceComboBox.itemText(1) == "A, 40.0 GiB free"
    panel.ui.deviceComboBox.currentIndex = 1
    assert panel._parameterNode.device == "cuda:1"
    choose(panel, method="linear")
    assert "no more" in panel.ui.deviceLabel.text


def test_a_broken_torch_is_told(panel):
    spin(lambda: panel._devices)
    panel._onProbed(
        types.SimpleNamespace(state="failed", message="PyTorch cannot be used: broken", result={})
    )
    loadTiny(panel)
    assert "broken" in panel.ui.deviceLabel.text


@pytest.fixture
def withoutTorch(monkeypatch):
    """As if torch were not installed."""
    from SliceInterpolationMRML.run import dependencies

    monkeypatch.setattr(dependencies, "_declined", set())
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else real(name, *a)
    )
    return dependencies


def pyTorchUtils(monkeypatch, install):
    """The module of the PyTorch extension."""
    module = types.ModuleType("PyTorchUtils")
    module.__spec__ = importlib.util.spec_from_loader("PyTorchUtils", None)
    calls = []

    class Logic:
        def installTorch(
            self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None
        ):
            calls.append((askConfirmation, torchVersionRequirement))
            return install()

    module.PyTorchUtilsLogic = Logic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return calls


def test_without_the_extension_classical_methods_work(panel, withoutTorch):
    loadTiny(panel, **SMALL)
    assert not panel.ui.applyButton.enabled
    assert "Extensions Manager" in panel.ui.applyButton.toolTip
    assert "not installed" in panel.ui.torchLabel.text
    assert not panel.ui.installButton.enabled
    assert "Extensions Manager" in panel.ui.installButton.toolTip
    assert panel.ui.deviceLabel.text == "PyTorch is not installed yet."
    choose(panel, method="linear", showComparison=False)
    assert panel.ui.applyButton.enabled
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.logic.job.state == "done"


def test_the_user_is_asked_once(panel, withoutTorch, monkeypatch):
    calls = pyTorchUtils(monkeypatch, lambda: None)
    scan, _ = loadTiny(panel, **SMALL)
    assert panel.ui.applyButton.enabled
    from SliceInterpolationMRML.run.dependencies import DependencyError

    for _ in range(2):
        with pytest.raises(DependencyError):
            panel.logic.interpolate(scan)
    assert calls == [(True, ">=2.1")]
    panel._updatePanel()
    assert not panel.ui.applyButton.enabled
    panel.ui.installButton.click()
    assert len(calls) == 2
    _forget()


def test_a_failed_download_says_what_to_do_offline(withoutTorch, monkeypatch, desktop):
    def fail():
        raise RuntimeError("no network")

    pyTorchUtils(monkeypatch, fail)
    with pytest.raises(withoutTorch.DependencyError, match=r"no network.*--find-links"):
        withoutTorch.ensureTorch()


def test_own_models_are_listed_and_cleared(panel, monkeypatch, tmp_path):
    import shutil

    from SliceInterpolationLib.catalogue import bundled_folder, user_folder

    folder = user_folder() / "mine"
    shutil.copytree(next(bundled_folder().iterdir()), folder)
    card = (folder / "card.json").read_text().replace('"flow-refine"', '"mine"', 1)
    (folder / "card.json").write_text(card.replace('"default": true', '"default": false'))
    broken = user_folder() / "broken"
    broken.mkdir()
    (broken / "card.json").write_text("[" * 100_000)
    panel.enter()
    assert panel.ui.methodComboBox.findText("mine") > 0
    assert panel.ui.methodComboBox.findText("broken") < 0
    panel._parameterNode.method = "mine"
    assert "yours" in panel.ui.methodLabel.text
    opened = []
    monkeypatch.setattr(sys.modules["qt"].QDesktopServices, "openUrl", staticmethod(opened.append))
    panel.ui.openModelsButton.click()
    assert opened[0].toLocalFile() == str(user_folder())
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: False)
    panel.ui.clearModelsButton.click()
    assert folder.is_dir()
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *a, **k: True)
    panel.ui.clearModelsButton.click()
    assert not folder.exists()
    assert not broken.exists()
    assert panel._parameterNode.method == "default"
    panel.ui.clearModelsButton.click()
    assert "no models" in panel.ui.statusLabel.text


def test_cancelled_while_the_window_waits(panel):
    """A blocking call from the console ends too when the scene is closed meanwhile."""
    import SliceInterpolation as module
    from SliceInterpolationMRML.run.process import RunError

    scan = loadNoise(panel)
    logic = module.SliceInterpolationLogic()

    def close(entry):
        if entry.get("done"):
            slicer.mrmlScene.Clear(0)

    with pytest.raises(RunError, match="scene was closed"):
        logic.interpolate(scan, factor=4, onProgress=close)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert temporaryFolders(panel) == []


# What a run was started with, whatever is chosen when it ends


def runWhileChoosing(panel, **later):
    """Start a run and change choices before it ends; what is chosen meanwhile must not be taken for what was run."""
    panel.ui.applyButton.click()
    assert panel.logic.running
    choose(panel, **later)
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    return panel.logic.job.result


def test_an_interpolated_result_does_not_become_the_denoised_volume(panel):
    loadTiny(panel)
    choose(panel, method="linear", showComparison=False)
    result = runWhileChoosing(panel, outputMode="denoised", method="cubic", factor="4")
    node = panel._parameterNode
    assert node.resultVolume is result
    assert node.denoisedVolume is None
    assert result.GetName() == "HeadPhantom x2 linear"
    assert panel.logic.job.request.as_dict() == {
        **panel.logic.job.request.as_dict(),
        "factor": 2,
        "method": "linear",
        "output_mode": "interpolated",
    }


def test_a_denoised_result_becomes_the_denoised_volume(panel):
    loadTiny(panel)
    choose(panel, method="linear", outputMode="denoised", showComparison=False)
    result = runWhileChoosing(panel, outputMode="interpolated")
    assert panel._parameterNode.denoisedVolume is result
    assert result.GetAttribute("SliceInterpolation.SliceProvenance").count("D") > 1
    assert result.GetName() == "HeadPhantom x2 denoised linear"


def test_another_input_chosen_during_the_run_gets_no_foreign_result(panel):
    scan, _ = loadTiny(panel)
    choose(panel, method="linear", outputMode="denoised", showComparison=True)
    other, _ = loadTiny(slices=9)
    result = runWhileChoosing(panel, inputVolume=other)
    node = panel._parameterNode
    assert node.resultVolume is None
    assert node.denoisedVolume is None
    assert result.GetNodeReferenceID("SliceInterpolation.Original") == scan.GetID()
    assert f"'{scan.GetName()}'" in panel.ui.statusLabel.text
    # What is compared, and marked, is the scan of the run and its result.
    from SliceInterpolationMRML.views.compareView import VIEW_NAMES

    logic = slicer.app.applicationLogic()
    shown = [logic.GetSliceLogicByLayoutName(name).GetSliceCompositeNode() for name in VIEW_NAMES]
    assert [one.GetBackgroundVolumeID() for one in shown] == [scan.GetID(), result.GetID()] * 3


def test_a_verdict_names_its_scan_and_method(panel):
    loadTiny(panel, **SMALL)
    choose(panel, method="linear")
    other, _ = loadTiny(slices=9)
    panel.ui.trustButton.click()
    choose(panel, method="cubic", inputVolume=other)
    finish(panel)
    assert panel.ui.verdictLabel.text.startswith("HeadPhantom, linear: ")
    assert "'HeadPhantom'" in panel.ui.statusLabel.text


def test_a_denoised_volume_of_another_grid_is_let_go(panel):
    """It would make the measurement refuse."""
    loadTiny(panel)
    choose(panel, method="linear", outputMode="denoised", showComparison=False)
    panel.ui.applyButton.click()
    finish(panel)
    denoised = panel._parameterNode.denoisedVolume
    assert denoised is not None
    choose(panel, outputMode="interpolated")
    panel.ui.applyButton.click()
    finish(panel)
    assert panel._parameterNode.denoisedVolume is denoised  # the same grid
    choose(panel, factor="3")
    panel.ui.applyButton.click()
    finish(panel)
    assert panel._parameterNode.denoisedVolume is None


def test_a_denoised_volume_that_is_overwritten_is_let_go(panel):
    loadTiny(panel)
    choose(panel, method="linear", outputMode="denoised", showComparison=False)
    panel.ui.applyButton.click()
    finish(panel)
    choose(panel, outputMode="interpolated", outputVolume=panel._parameterNode.denoisedVolume)
    panel.ui.applyButton.click()
    finish(panel)
    assert panel._parameterNode.resultVolume is panel._parameterNode.outputVolume
    assert panel._parameterNode.denoisedVolume is None


def test_all_choices_make_one_request(panel):
    from SliceInterpolationLib.request import Request
    from SliceInterpolationMRML.parameters import SliceAxis

    loadTiny(panel)
    assert panel._parameterNode.request() == Request()
    choose(panel, factor="isotropic", method="cubic", outputMode="denoised", strength=0.25, device="cpu")
    choose(panel, units="arbitrary", force=True, sliceAxis=SliceAxis.J)
    request = Request("isotropic", "cubic", "denoised", 0.25, "j", "cpu", "arbitrary", True)
    assert panel._parameterNode.request() == request
    assert panel.ui.unitsComboBox.currentText == "arbitrary (MR and others)"


def test_the_console_takes_a_request_or_options_by_name(panel):
    from SliceInterpolationLib.errors import InputError
    from SliceInterpolationLib.request import Request

    scan, _ = loadTiny(panel)
    logic = panel.logic
    request = Request(method="linear", factor=3)
    assert "22 at 6.0 mm" in logic.plan(scan, request).text
    assert "29 at 4.5 mm" in logic.plan(scan, request, factor=4).text
    assert "denoised" in logic.plan(scan, method="linear", outputMode="denoised").text
    assert logic.plan(scan, request, output_mode="denoised") == logic.plan(
        scan, request, outputMode="denoised"
    )
    assert "whole number" in logic.plan(scan, factor=1).text
    with pytest.raises(InputError, match="whole number"):
        logic.interpolate(scan, factor=1, method="linear")
    with pytest.raises(TypeError, match="by name"):
        logic.interpolate(scan, 2)
    with pytest.raises(TypeError, match="stength"):
        logic.interpolate(scan, stength=0.3)
    assert logic.interpolate(scan, request).GetName() == "HeadPhantom x3 linear"


# The plan


def test_the_voxels_are_looked_at_once(panel, monkeypatch):
    """Not at each change of a choice; but again when the volume has changed."""
    from SliceInterpolationLib import volume
    from SliceInterpolationMRML.nodes import PREFIX
    from SliceInterpolationMRML.run import plan

    looks = []

    def counted(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: (looks.append(name), real(*given))[1])

    counted(volume, "guess_units")
    counted(plan, "check_interpolatable")
    scan, _ = loadTiny()
    scan.RemoveAttribute(PREFIX + "Units")
    choose(panel, method="linear", inputVolume=scan)
    assert looks.count("check_interpolatable") == 1
    assert looks.count("guess_units") <= 1
    del looks[:]
    for factor in ("3", "4", "isotropic"):
        choose(panel, factor=factor, outputMode="denoised", strength=0.3)
    choose(panel, method="cubic", huLow=20.0)
    assert looks == []
    voxels = slicer.util.arrayFromVolume(scan)
    voxels[:] = voxels > 0
    slicer.util.arrayFromVolumeModified(scan)
    choose(panel, factor="2")
    assert "looks like a labelmap" in panel.ui.planLabel.text
    assert looks == ["guess_units", "check_interpolatable"]


@pytest.mark.parametrize("use", ["plan", "interpolate"])
def test_a_removed_volume_does_not_stay_in_memory(desktop, use):
    """Neither for what the plan remembers of it, nor for the job that is over."""
    import vtk

    import SliceInterpolation as module

    logic = module.SliceInterpolationLogic()
    scan, _ = loadTiny(hematoma=None, show=False)
    node = vtk.vtkWeakReference()
    node.Set(scan)
    if use == "plan":
        assert not logic.plan(scan, method="linear").problem
    else:
        logic.interpolate(scan, method="linear")
        assert logic.job.inputNode is scan
    desktop.scene.RemoveNode(scan)
    del scan
    assert node.Get() is None
    if use == "interpolate":
        assert logic.job.inputNode is None
        assert logic.job.inputName == "HeadPhantom"


def test_units_named_in_the_panel_reach_the_result(panel):
    loadTiny(panel)
    choose(panel, method="linear", units="arbitrary", showComparison=False)
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    assert panel._parameterNode.resultVolume.GetAttribute("SliceInterpolation.Units") == "arbitrary"


def test_reload_takes_the_packages_along(panel, monkeypatch):
    """The module file only wires: without them "Reload" would show no change of the code."""
    import SliceInterpolation as module

    before = {name: one for name, one in sys.modules.items() if name.startswith("SliceInterpolation")}
    reloaded = []

    def reloadScriptedModule(name):
        spec = importlib.util.spec_from_file_location(name, module.__file__)
        made = importlib.util.module_from_spec(spec)
        sys.modules[name] = made
        spec.loader.exec_module(made)
        reloaded.append(made)

    monkeypatch.setattr(slicer.util, "reloadScriptedModule", reloadScriptedModule)
    try:
        panel.onReload()
        (made,) = reloaded
        for name in ("SliceInterpolationWidget", "SliceInterpolationLogic"):
            assert getattr(made, name) is not getattr(module, name)
        assert (
            sys.modules["SliceInterpolationMRML.panel.state"]
            is not before["SliceInterpolationMRML.panel.state"]
        )
    finally:
        for name in [name for name in sys.modules if name.startswith("SliceInterpolation")]:
            del sys.modules[name]
        sys.modules.update(before)


def _forget():
    from standins import pythonqt

    pythonqt.slotErrors.clear()


def test_the_report_is_one_page_with_the_figures_of_the_scan(panel, tmp_path, monkeypatch):
    loadTiny(panel, **SMALL)
    choose(panel, method="linear", showComparison=False)
    panel.ui.trustButton.click()
    finish(panel)
    verdict = panel.logic.job.result["verdict"]
    path = tmp_path / "report.html"
    dialog = sys.modules["qt"].QFileDialog
    monkeypatch.setattr(dialog, "getSaveFileName", staticmethod(lambda *arguments: ""))
    panel.ui.reportButton.click()  # dismissed
    assert not panel.logic.running
    monkeypatch.setattr(dialog, "getSaveFileName", staticmethod(lambda *arguments: str(path)))
    panel.ui.reportButton.click()
    assert panel.ui.reportButton.text == "Cancel"
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    page = path.read_text(encoding="utf-8")
    assert "<html" in page
    assert verdict.split(":")[0][:40] in page
    assert str(path) in panel.ui.statusLabel.text
    assert panel.ui.reportButton.text == "Save report..."


def test_a_program_is_run_only_after_the_user_was_told_what_it_is(panel, monkeypatch):
    loadTiny(panel, **SMALL)
    asked, started, granted = [], [], []
    answers = iter((False, True))
    monkeypatch.setattr(panel.logic, "needsConsent", lambda method: not granted)
    monkeypatch.setattr(panel.logic, "grantConsent", granted.append)
    monkeypatch.setattr(panel.logic, "interpolate", lambda *arguments, **more: started.append(arguments))
    monkeypatch.setattr(
        slicer.util,
        "confirmOkCancelDisplay",
        lambda text, *more, **other: (asked.append(text), next(answers))[1],
    )
    choose(panel, method="linear")
    panel.ui.applyButton.click()
    assert (started, granted) == ([], [])  # declined
    panel.ui.applyButton.click()
    panel.ui.applyButton.click()
    assert len(asked) == 2  # once a file
    assert "program" in asked[0]
    assert granted == ["linear"]
    assert len(started) == 2


def test_models_that_cannot_be_used_are_listed_with_the_reason(panel):
    from SliceInterpolationLib.catalogue import user_folder

    (user_folder() / "broken").mkdir(parents=True)
    panel.enter()
    assert panel.ui.modelsLabel.text.startswith("Cannot be used: broken (")
    assert "card.json" in panel.ui.modelsLabel.text


def test_no_line_of_a_label_is_cut_at_any_width(panel):
    from SliceInterpolationMRML.panel.labels import say

    loadTiny(panel)
    say(panel.ui.statusLabel, "words that need several lines in a narrow panel " * 6)
    say(panel.ui.verdictLabel, "words that need several lines in a narrow panel " * 4)
    panel.ui.measureCollapsibleButton.collapsed = True
    say(panel.ui.measureLabel, "said while its section is folded " * 8)
    heights = {}
    for width in (330, 600, 400, 330):  # the user moves the border of the panel; nothing else happens
        panel.parent.resize(width, 2000)
        slicer.app.processEvents()
        assert cutLabels(panel) == []
        heights[width] = panel.ui.statusLabel.height, panel.ui.methodLabel.height
        assert panel.ui.statusLabel.height == panel.ui.statusLabel.heightForWidth(panel.ui.statusLabel.width)
    assert heights[600][0] < heights[400][0] < heights[330][0]  # no higher than its lines
    assert heights[600][1] < heights[330][1] < 80
    panel.ui.measureCollapsibleButton.collapsed = False
    slicer.app.processEvents()
    assert panel.ui.measureLabel.visible
    assert cutLabels(panel) == []
    say(panel.ui.verdictLabel, "")
    assert panel.ui.verdictLabel.minimumHeight == 0


def test_the_panel_fits_into_330_pixels(panel):
    scan, _ = loadTiny(panel)
    scan.SetName("a name that is far too long for a narrow panel, as those of series are " * 2)
    sections = [widget for name, widget in vars(panel.ui).items() if name.endswith("CollapsibleButton")]
    assert len(sections) > 6
    for section in sections:
        section.collapsed = False
    slicer.app.processEvents()
    assert panel.parent._q.minimumSizeHint().width() <= 330
