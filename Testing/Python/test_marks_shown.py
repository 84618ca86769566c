# ruff: noqa: F401, F811 (fixtures)
"""Marks and comparison, view by view: layers, sides, colors, arrangement, crosshair, transforms, memory."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest
from paneldesktop import (
    TINY,
    _scenes,
    desktop,
    destroyed,
    drawingDesktop,
    drawingPanel,
    loadTiny,
    slicer,
    spin,
    standins,
)

from SliceInterpolationLib import Volume, interpolate
from SliceInterpolationLib.volume import ACQUIRED, SYNTHESIZED, UNKNOWN
from SliceInterpolationMRML import nodes
from SliceInterpolationMRML.views import layouts, shared
from SliceInterpolationMRML.views.compareView import SHOWN
from SliceInterpolationMRML.views.description import COLORS, describeView
from SliceInterpolationMRML.views.layouts import ORIENTATIONS, SIDES, VIEW_NAMES, viewName

ALL_VIEWS = (*VIEW_NAMES, "Red", "Green", "Yellow")


def resultOf(scan, name="scan x2"):
    """Linear interpolation of a scan, as the panel puts it into the scene."""
    return nodes.nodeFromVolume(
        interpolate(nodes.volumeFromNode(scan), factor=2, method="linear").volume, name, scan
    )


@pytest.fixture
def scene(drawingDesktop):
    """A scan and its result, with the marks of the application at work."""
    drawingDesktop.scan, _ = loadTiny()
    drawingDesktop.result = resultOf(drawingDesktop.scan)
    shared.marks()
    yield drawingDesktop
    shared.remove()


def composite(name):
    return layouts.compositeNode(name)


def shows(name):
    """The volume in the background of a view."""
    return slicer.mrmlScene.GetNodeByID(composite(name).GetBackgroundVolumeID() or "")


def toSlice(name, node, number):
    """Move a view to a slice of a volume, from 0."""
    grid = nodes.gridFromNode(node)
    layouts.sliceNode(name).SetSliceOffset(grid.origin[2] + number * grid.slice_spacing)


def foreign(name="MR", slices=9):
    """A volume of which nothing is known, loaded as the application does: into all views."""
    array = np.random.default_rng(1).integers(0, 400, (slices, 40, 40)).astype(np.int16)
    node = nodes.nodeFromVolume(Volume(array, (5.0, 5.0, 11.0), (-90.0, -90.0, -40.0)), name)
    for attribute in list(node.GetAttributeNames() or ()):
        node.RemoveAttribute(attribute)
    for one in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        one.SetBackgroundVolumeID(node.GetID())
    return node


def actorsIn(name):
    """The texts that are drawn in a view."""
    renderers = slicer.app.layoutManager().sliceWidget(name).sliceView().renderWindow().GetRenderers()
    found = []
    for number in range(renderers.GetNumberOfItems()):
        props = renderers.GetItemAsObject(number).GetViewProps()
        found += [props.GetItemAsObject(one) for one in range(props.GetNumberOfItems())]
    return [prop.GetInput() for prop in found if prop.IsA("vtkTextActor") and prop.GetVisibility()]


def checkMarks():
    """No mark names or describes another volume than the one that its view shows."""
    for name in ALL_VIEWS:
        text = shared.marks().text(name)
        node = shows(name) if composite(name) is not None else None
        if node is None:
            assert not text, (name, text)
            continue
        for other in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            assert other is node or f": {other.GetName()}\n" not in f"{text}\n", (name, text)
        if text:
            said, _color = describeView(layouts.sliceNode(name), node)
            assert text.split("\n")[-1] in (said, node.GetName()), (name, text, said)


# What the view shows


def test_a_volume_loaded_while_comparing_ends_the_comparison_and_is_not_called_the_original(scene):
    former = slicer.app.layoutManager().layout
    compare = shared.compareView()
    compare.show(scene.scan, scene.result)
    assert shared.marks().text(viewName("Original", "Axial")).startswith("original: HeadPhantom")
    mr = foreign()
    assert not compare.isShown
    assert slicer.app.layoutManager().layout == former
    checkMarks()
    for name in ALL_VIEWS:
        assert shows(name) is mr
        assert shared.marks().text(name) == ""


def test_one_view_of_a_comparison_may_show_another_volume(scene):
    compare = shared.compareView()
    compare.show(scene.scan, scene.result)
    mr = nodes.nodeFromVolume(Volume(np.zeros((4, 9, 9), np.int16), (9.0, 9.0, 9.0)), "MR")
    composite(viewName("Original", "Coronal")).SetBackgroundVolumeID(mr.GetID())
    assert compare.isShown
    assert "HeadPhantom" not in shared.marks().text(viewName("Original", "Coronal"))
    assert "original: HeadPhantom" in shared.marks().text(viewName("Original", "Axial"))
    checkMarks()


def test_the_sides_may_be_swapped_by_hand(scene):
    """Roles belong to volumes, not to sides."""
    shared.compareView().show(scene.scan, scene.result)
    composite(viewName("Original", "Axial")).SetBackgroundVolumeID(scene.result.GetID())
    toSlice(viewName("Original", "Axial"), scene.result, 5)
    text = shared.marks().text(viewName("Original", "Axial"))
    assert text == "result: scan x2\nsynthesized, between 3 and 4"


@pytest.mark.parametrize("what", SHOWN)
def test_whatever_the_result_side_shows_is_named(scene, what):
    compare = shared.compareView()
    compare.show(scene.scan, scene.result)
    compare.setShown(what)
    text = shared.marks().text(viewName("Result", "Axial"))
    names = {
        "result": ["result: scan x2"],
        "original": ["original: HeadPhantom"],
        "linear": ["linear interpolation: HeadPhantom linear"],
        "difference": ["result minus linear: scan x2 minus linear"],
        "blend": ["background, original: HeadPhantom", "foreground 50%, result: scan x2"],
    }[what]
    assert [line for line in text.split("\n") if ": " in line] == names
    if what != "blend":
        checkMarks()


def test_a_second_run_replaces_the_first_in_the_comparison(scene):
    compare = shared.compareView()
    compare.show(scene.scan, scene.result)
    second = resultOf(scene.scan, "second")
    compare.show(scene.scan, second)
    assert shared.marks().text(viewName("Result", "Axial")).startswith("result: second")
    checkMarks()


def test_the_result_as_foreground_is_marked(scene):
    composite("Red").SetBackgroundVolumeID(scene.scan.GetID())
    composite("Red").SetForegroundVolumeID(scene.result.GetID())
    composite("Red").SetForegroundOpacity(0.4)
    toSlice("Red", scene.result, 5)
    assert shared.marks().text("Red") == "foreground 40%:\nsynthesized, between 3 and 4"
    composite("Red").SetForegroundOpacity(0.0)  # nothing of it is seen any more
    assert shared.marks().text("Red") == ""


def test_the_result_in_a_further_layer_is_marked(scene):
    composite("Red").SetBackgroundVolumeID(scene.scan.GetID())
    composite("Red").SetNthLayerVolumeID(3, scene.result.GetID())
    composite("Red").SetNthLayerOpacity(3, 0.7)
    toSlice("Red", scene.result, 5)
    assert shared.marks().text("Red") == "layer 3 70%:\nsynthesized, between 3 and 4"


def test_other_voxels_or_letters_in_the_node_change_the_mark(scene):
    composite("Red").SetBackgroundVolumeID(scene.result.GetID())
    toSlice("Red", scene.result, 5)
    assert "synthesized" in shared.marks().text("Red")
    nodes.updateNodeFromVolume(scene.result, nodes.volumeFromNode(scene.scan))
    assert "synthesized" not in shared.marks().text("Red")
    scene.result.SetAttribute("SliceInterpolation.SliceProvenance", "S" * TINY["slices"])
    assert "synthesized" in shared.marks().text("Red")


def test_a_view_that_is_removed_takes_its_mark_along(scene):
    shared.compareView().show(scene.scan, scene.result)
    shared.compareView().restore()
    name = viewName("Result", "Axial")
    slicer.mrmlScene.RemoveNode(layouts.sliceNode(name))
    assert shared.marks().text(name) == ""


# Words and colors


def test_between_slices_both_are_named(scene):
    composite("Red").SetBackgroundVolumeID(scene.result.GetID())
    for number, words in (
        (4.0, "acquired slice 3"),
        (4.4, "blend of acquired 3 and synthesized"),
        (5.0, "synthesized, between 3 and 4"),
        (5.4, "blend of synthesized and acquired 4"),
    ):
        toSlice("Red", scene.result, number)
        assert shared.marks().text("Red") == words


def colorOf(scene, letters, number=3.0):
    scene.result.SetAttribute("SliceInterpolation.SliceProvenance", letters)
    composite("Red").SetBackgroundVolumeID(scene.result.GetID())
    toSlice("Red", scene.result, number)
    return describeView(layouts.sliceNode("Red"), scene.result)


def test_unknown_slices_are_never_in_the_green_of_acquired_ones(scene):
    count = 2 * TINY["slices"] - 1
    text, color = colorOf(scene, UNKNOWN * count)
    assert "unknown" in text
    assert color == COLORS[UNKNOWN]
    red, green, blue = COLORS[UNKNOWN]
    assert green < max(red, blue)
    text, color = colorOf(scene, UNKNOWN * count, 3.5)
    assert "unknown" in text
    assert color != COLORS[ACQUIRED]
    text, color = colorOf(scene, ACQUIRED * 3 + UNKNOWN * (count - 3), 2.5)  # half of it is known
    assert "unknown" in text
    assert color != COLORS[ACQUIRED]
    assert len(set(COLORS.values())) == len(COLORS)


def test_unknown_slices_are_drawn_in_their_color(scene):
    scene.result.SetAttribute("SliceInterpolation.SliceProvenance", UNKNOWN * (2 * TINY["slices"] - 1))
    composite("Red").SetBackgroundVolumeID(scene.result.GetID())
    toSlice("Red", scene.result, 3)
    corner = slicer.app._layoutManager._views["Red"].picture()[4:40, 4:220].astype(int)
    # In letters, blue is well above green; in green ones, green would be well above both others.
    assert ((corner[..., 2] - corner[..., 1]) > 40).sum() > 60
    assert ((corner[..., 1] - corner[..., 2]) > 40).sum() == 0


# Whoever shows a volume


def test_two_logics_draw_one_text(scene):
    from SliceInterpolation import SliceInterpolationLogic

    panel, console = SliceInterpolationLogic(), SliceInterpolationLogic()
    panel.compare(scene.scan, scene.result)
    console.compare(scene.scan, scene.result)
    assert panel.marks is console.marks
    for name in VIEW_NAMES:
        texts = actorsIn(name)
        assert len(texts) == 1
        assert re.match("original|result", texts[0])
    console.restoreLayout()
    assert not panel.comparing


def test_the_panel_notices_that_the_console_ended_the_comparison(drawingPanel, drawingDesktop):
    from SliceInterpolation import SliceInterpolationLogic

    scan, _ = loadTiny(drawingPanel)
    drawingPanel._parameterNode.resultVolume = result = resultOf(scan)
    console = SliceInterpolationLogic()
    console.compare(scan, result)
    assert drawingPanel.ui.shownComboBox.enabled
    console.setShown("difference")
    assert drawingPanel._parameterNode.shown.value == "difference"
    console.restoreLayout()
    assert not drawingPanel.ui.shownComboBox.enabled
    assert not drawingPanel.ui.restoreLayoutButton.enabled


# Saved and opened again


@pytest.mark.parametrize("anew", [True, False])
def test_marks_of_a_reopened_scene(scene, tmp_path, anew):
    """In the same application, and in a new one where nobody opens the panel."""
    slicer.util.setSliceViewerLayers(background=scene.result)
    toSlice("Red", scene.result, 5)
    letters = scene.result.GetAttribute("SliceInterpolation.SliceProvenance")
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    if anew:
        shared.remove()
        other = standins.newScene(views=True)
        _scenes.append(other)
        from SliceInterpolation import onStartupCompleted

        onStartupCompleted()
    else:
        scene.scene.Clear(0)
        checkMarks()
    assert shared.marks().text("Red") == ""
    assert slicer.util.loadScene(path)
    result = slicer.util.getNode("scan x2")
    assert result.GetAttribute("SliceInterpolation.SliceProvenance") == letters
    assert result.GetNodeReference(nodes.ORIGINAL_ROLE) is slicer.util.getNode("HeadPhantom")
    assert shows("Red") is result
    assert shared.marks().text("Red") == "synthesized, between 3 and 4"
    toSlice("Red", result, 6)
    assert shared.marks().text("Red") == "acquired slice 4"
    checkMarks()


def test_a_scene_that_was_saved_in_the_comparison(scene, tmp_path):
    former = slicer.app.layoutManager().layout
    shared.compareView().show(scene.scan, scene.result)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    scene.scene.Clear(0)
    assert slicer.app.layoutManager().layout == former  # it ended with its volumes
    assert slicer.util.loadScene(path)
    checkMarks()
    assert layouts.currentLayout() is not None
    assert layouts.canRestoreLayout()
    toSlice(viewName("Result", "Axial"), slicer.util.getNode("scan x2"), 5)
    assert "synthesized, between 3 and 4" in shared.marks().text(viewName("Result", "Axial"))
    shared.compareView().restore()
    assert slicer.app.layoutManager().layout == former
    assert not layouts.canRestoreLayout()


# The layout


def test_a_map_over_the_scan_does_not_end_the_comparison(scene):
    from SliceInterpolationMRML.figures.noise import showOver

    compare = shared.compareView()
    compare.show(scene.scan, scene.result)
    grid = nodes.volumeFromNode(scene.scan)
    residual = nodes.nodeFromVolume(grid.with_map(grid.array.astype(np.float32)), "residual")
    showOver(scene.scan, residual)
    assert compare.isShown
    text = shared.marks().text(viewName("Original", "Axial"))
    assert "original: HeadPhantom" in text
    assert "computed map" in text


def test_names_of_the_views_say_side_and_plane(scene):
    shared.compareView().show(scene.scan, scene.result)
    for side in SIDES:
        for orientation in ORIENTATIONS:
            view = layouts.sliceNode(viewName(side, orientation))
            assert view.GetLayoutName() == f"{side}-{orientation.lower()}"
            assert view.GetLayoutLabel() == f"{side} {orientation.lower()}"


def test_the_arrangement_is_switched_at_once_and_the_place_is_kept(scene):
    compare = shared.compareView()
    compare.show(scene.scan, scene.result, byRows=True)
    view = layouts.sliceNode(viewName("Result", "Coronal"))
    view.SetSliceOffset(view.GetSliceOffset() + 13)
    fov = view.GetFieldOfView()
    view.SetFieldOfView(fov[0] / 3, fov[1] / 3, fov[2])
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(3, 4, 5)
    before = {
        name: (layouts.sliceNode(name).GetSliceOffset(), layouts.sliceNode(name).GetFieldOfView())
        for name in VIEW_NAMES
    }
    compare.setArrangement(False)
    assert layouts.currentLayout() == (False, "")
    assert compare.isShown
    for name, (offset, seen) in before.items():
        assert layouts.sliceNode(name).GetSliceOffset() == pytest.approx(offset)
        assert layouts.sliceNode(name).GetFieldOfView() == pytest.approx(seen)
    assert crosshair.GetCrosshairRAS() == (3, 4, 5)
    checkMarks()


@pytest.mark.parametrize(("size", "byRows"), [((1200, 800), False), ((700, 1100), True)])
def test_the_shape_of_the_view_area_decides(scene, size, byRows):
    slicer.app.layoutManager().viewport()._q.resize(*size)
    shared.compareView().show(scene.scan, scene.result)
    assert layouts.currentLayout() == (byRows, "")


def test_the_crosshair_stands_at_the_place_shown_and_goes_back(scene):
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair
    crosshair.SetCrosshairRAS(0, 0, 0)
    shared.compareView().show(scene.scan, scene.result)
    place = crosshair.GetCrosshairRAS()
    for orientation in ORIENTATIONS:  # in every plane that is shown
        view = layouts.sliceNode(viewName("Original", orientation))
        normal = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 2]
        assert normal @ place == pytest.approx(view.GetSliceOffset(), abs=1e-3)
    assert place != (0, 0, 0)
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.ShowBasic
    shared.compareView().restore()
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair
    assert crosshair.GetCrosshairRAS() == (0, 0, 0)


def test_the_legend_of_the_difference_appears(scene):
    compare = shared.compareView()
    compare.show(scene.scan, scene.result)
    compare.setShown("difference")
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(shows(viewName("Result", "Axial")))
    told = []
    legend.AddObserver("ModifiedEvent", lambda caller, event: told.append(shows(viewName("Result", "Axial"))))
    compare.setShown("result")
    compare.setShown("difference")
    assert told  # modified again, now that the views show its volume
    assert told[-1] is shows(viewName("Result", "Axial"))


def underGrid(scene):
    """The scan and the result under a grid transform, as scans with gantry tilt are."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    field = vtk.vtkImageData()
    field.SetDimensions(4, 4, 4)
    field.SetOrigin(-300, -300, -300)
    field.SetSpacing(200, 200, 200)
    field.AllocateScalars(vtk.VTK_DOUBLE, 3)
    vtk_to_numpy(field.GetPointData().GetScalars())[:] = (0, 0, -TINY["slice_spacing"])
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(field)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    node.SetAndObserveTransformToParent(transform)
    for volume in (scene.scan, scene.result):
        volume.SetAndObserveTransformNodeID(node.GetID())


def test_a_nonlinear_transform_prints_no_error(scene, capfd):
    underGrid(scene)
    compare = shared.compareView()
    capfd.readouterr()
    compare.show(scene.scan, scene.result)
    view = layouts.sliceNode(viewName("Result", "Axial"))
    for _ in range(3):
        view.SetSliceOffset(view.GetSliceOffset() + 4)
        compare.toSynthesized(1)
        compare.toSynthesized(-1)
    assert "synthesized, between" in shared.marks().text(viewName("Result", "Axial"))
    assert not [line for line in capfd.readouterr().err.splitlines() if "ERR|" in line or "WARN|" in line]


# Memory


@pytest.mark.parametrize("how", ["remove", "close"])
@pytest.mark.parametrize("what", ["ordinary", "result", "linear", "difference", "blend"])
def test_no_reference_outlives_a_volume_that_was_shown(scene, how, what):
    if what == "ordinary":
        slicer.util.setSliceViewerLayers(
            background=scene.scan, foreground=scene.result, foregroundOpacity=0.5
        )
    else:
        shared.compareView().show(scene.scan, scene.result)
        shared.compareView().setShown(what)
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    gone = {node.GetName(): destroyed(node) for node in volumes}
    assert len(gone) == {"linear": 3, "difference": 4}.get(what, 2)
    voxels = slicer.util.arrayFromVolume(scene.result).nbytes
    assert voxels > 0
    if how == "close":
        scene.scene.Clear(0)
    else:
        slicer.mrmlScene.RemoveNode(scene.result)
        slicer.mrmlScene.RemoveNode(scene.scan)
    scene.scan = scene.result = None
    volumes.clear()
    gc.collect()
    assert [name for name, answer in gone.items() if not answer()] == []
    assert not shared.compareView().isShown
    checkMarks()


def test_observers_keep_nothing_alive(desktop):
    from SliceInterpolationMRML.views.observers import Observers

    observers, told = Observers(), []

    class Listener:
        def hear(self, caller, event):
            told.append(event)

    listener = Listener()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    count = node.GetReferenceCount()
    for _ in range(3):
        observers.add(node, "ModifiedEvent", listener.hear)
    assert node.GetReferenceCount() == count
    node.Modified()
    assert len(told) == 1
    assert len(observers) == 1
    gone = destroyed(node)
    slicer.mrmlScene.RemoveNode(node)
    node = None
    assert gone()
    assert len(observers) == 0
    observers.clear()
