"""Compare layouts and slice marks: linking, order, window, marks, restoring; and what is rendered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from offscreen import OffscreenViews, savePng
from slicercore import core, slicer, vtk  # noqa: F401

from SliceInterpolationLib import InputError, Volume, interpolate
from SliceInterpolationLib.phantom import head_phantom
from SliceInterpolationMRML import nodes
from SliceInterpolationMRML.views.compareView import (
    BY_COLUMNS_LAYOUT,
    BY_ROWS_LAYOUT,
    ORIENTATIONS,
    VIEW_NAMES,
    CompareView,
    viewName,
)
from SliceInterpolationMRML.views.description import describeView
from SliceInterpolationMRML.views.sliceMarks import SliceMarks

FORMER_LAYOUT = 3  # four-up


@pytest.fixture(scope="module")
def phantom() -> Volume:
    made = head_phantom(128, 1.8, 24, 6.0, 6.0)
    acquired = "A" * len(made.image)  # nothing else tells where a synthetic scan comes from
    return Volume(made.image, made.spacing, made.origin, provenance=acquired)


class Scene:
    """A scan and its linear result in the scene, with offscreen views and a compare view."""

    def __init__(self, core, volume: Volume, size=(200, 160)):  # noqa: F811
        self.core = core
        core.layoutNode.SetViewArrangement(FORMER_LAYOUT)
        self.views = OffscreenViews(core, size)
        self.scan = nodes.nodeFromVolume(volume, "scan")
        self.scan.GetDisplayNode().SetAutoWindowLevel(False)
        self.scan.GetDisplayNode().SetWindowLevel(80, 40)
        self.result = nodes.nodeFromVolume(
            interpolate(volume, factor=2, method="linear").volume, "scan x2", self.scan
        )
        self.marks = SliceMarks(self.views.get)
        self.marks.start()
        self.compare = CompareView(self.marks, core.applicationLogic)

    def sliceNode(self, side: str, orientation: str):
        return self.core.scene.GetSingletonNode(viewName(side, orientation), "vtkMRMLSliceNode")

    def shown(self, side: str, orientation: str = "Axial"):
        composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(self.sliceNode(side, orientation))
        return self.core.scene.GetNodeByID(composite.GetBackgroundVolumeID())

    def mark(self, side: str, orientation: str = "Axial") -> str:
        return self.marks.text(viewName(side, orientation)).split("\n")[-1]

    def toSlice(self, number: float) -> None:
        """Scroll the original's axial view to a position, in acquired slices from 1."""
        volume = nodes.volumeFromNode(self.scan)
        self.sliceNode("Original", "Axial").SetSliceOffset(
            volume.origin[2] + (number - 1) * volume.slice_spacing
        )


@pytest.fixture
def scene(core, phantom):  # noqa: F811
    made = Scene(core, phantom)
    yield made
    made.compare.restore()
    made.marks.remove()


@pytest.mark.parametrize(
    ("by_rows", "layout", "shape"), [(True, BY_ROWS_LAYOUT, (3, 2)), (False, BY_COLUMNS_LAYOUT, (2, 3))]
)
def test_order_of_the_views(scene, by_rows, layout, shape):
    scene.compare.show(scene.scan, scene.result, by_rows)
    assert scene.core.layoutNode.GetViewArrangement() == layout
    order = []

    def walk(element):
        if element.GetName() == "view":
            order.append(element.GetAttribute("singletontag"))
        for number in range(element.GetNumberOfNestedElements()):
            walk(element.GetNestedElement(number))

    walk(scene.core.layoutNode.GetLayoutRootElement())
    assert tuple(order) == VIEW_NAMES
    picture = scene.views.layout()
    assert picture.shape == (shape[0] * 164, shape[1] * 204, 3)
    for orientation in ORIENTATIONS:
        assert scene.shown("Original", orientation) is scene.scan
        assert scene.shown("Result", orientation) is scene.result
        assert scene.sliceNode("Result", orientation).GetOrientation() == orientation


def test_moves_of_either_side_are_shared(scene):
    scene.compare.show(scene.scan, scene.result)
    for source, target in (("Original", "Result"), ("Result", "Original")):
        for orientation in ORIENTATIONS:
            moved, follower = scene.sliceNode(source, orientation), scene.sliceNode(target, orientation)
            moved.SetSliceOffset(moved.GetSliceOffset() + 7.3)
            moved.SetXYZOrigin(11, -4, 0)
            fov = moved.GetFieldOfView()
            moved.SetFieldOfView(fov[0] * 0.6, fov[1] * 0.6, fov[2])
            assert follower.GetSliceOffset() == pytest.approx(moved.GetSliceOffset())
            assert follower.GetXYZOrigin() == moved.GetXYZOrigin()
            np.testing.assert_allclose(follower.GetFieldOfView(), moved.GetFieldOfView())


def test_oblique_turns_are_shared(scene):
    scene.compare.show(scene.scan, scene.result)
    moved = scene.sliceNode("Result", "Coronal")
    turned = vtk.vtkTransform()
    turned.SetMatrix(moved.GetSliceToRAS())
    turned.RotateX(20)
    moved.GetSliceToRAS().DeepCopy(turned.GetMatrix())
    moved.UpdateMatrices()
    follower = scene.sliceNode("Original", "Coronal")
    np.testing.assert_allclose(
        slicer.util.arrayFromVTKMatrix(follower.GetSliceToRAS()),
        slicer.util.arrayFromVTKMatrix(moved.GetSliceToRAS()),
    )


def test_a_user_scrolling_moves_only_the_partner(scene):
    """Through Slicer's own link logic, as the slider does it."""
    link = slicer.vtkMRMLSliceLinkLogic()
    link.SetMRMLApplicationLogic(scene.core.applicationLogic)
    link.SetMRMLScene(scene.core.scene)
    scene.compare.show(scene.scan, scene.result)
    before = {
        name: scene.core.scene.GetSingletonNode(name, "vtkMRMLSliceNode").GetSliceOffset()
        for name in VIEW_NAMES
    }
    logic = scene.views[viewName("Original", "Axial")].logic
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(before[viewName("Original", "Axial")] + 12)
    logic.EndSliceOffsetInteraction()
    moved = {
        name
        for name in VIEW_NAMES
        if scene.core.scene.GetSingletonNode(name, "vtkMRMLSliceNode").GetSliceOffset()
        != pytest.approx(before[name])
    }
    assert moved == {viewName("Original", "Axial"), viewName("Result", "Axial")}


def test_window_and_color_are_shared(scene):
    scene.compare.show(scene.scan, scene.result)
    scene.result.GetDisplayNode().SetWindowLevel(30, 55)
    assert scene.scan.GetDisplayNode().GetWindow() == 30
    scene.scan.GetDisplayNode().SetLevel(20)
    assert scene.result.GetDisplayNode().GetLevel() == 20
    scene.compare.setShown("linear")
    scene.scan.GetDisplayNode().SetWindowLevel(100, 10)
    assert scene.shown("Result").GetDisplayNode().GetWindow() == 100
    scene.compare.setShown("difference")
    scene.scan.GetDisplayNode().SetWindowLevel(90, 33)
    assert scene.shown("Result").GetDisplayNode().GetLevel() == 0


def test_switching_what_is_shown(scene):
    scene.compare.show(scene.scan, scene.result)
    scene.compare.setShown("original")
    assert scene.shown("Result", "Sagittal") is scene.scan
    scene.compare.setShown("linear")
    # This result is linear itself, so both are the same voxels.
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(scene.shown("Result")), slicer.util.arrayFromVolume(scene.result)
    )
    scene.compare.setShown("difference")
    assert not slicer.util.arrayFromVolume(scene.shown("Result")).any()
    slicer.util.arrayFromVolume(scene.result)[7] += 25
    scene.compare.show(scene.scan, scene.result)
    scene.compare.setShown("difference")
    difference = slicer.util.arrayFromVolume(scene.shown("Result"))
    assert (difference[7] == 25).all()
    assert not difference[8].any()
    assert "minus" in scene.marks.text(viewName("Result", "Axial"))
    scene.compare.setShown("result")
    assert scene.shown("Result") is scene.result
    with pytest.raises(ValueError, match="none of"):
        scene.compare.setShown("cubic")


def test_slab_and_crosshair_are_shared(scene):
    crosshair = scene.core.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    scene.compare.show(scene.scan, scene.result)
    assert crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.ShowBasic
    scene.compare.setSlab(6.0)
    nodes_ = [scene.core.scene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in VIEW_NAMES]
    assert all(node.GetSlabReconstructionEnabled() for node in nodes_)
    nodes_[0].SetSlabReconstructionThickness(9.0)
    assert nodes_[1].GetSlabReconstructionThickness() == 9.0
    scene.compare.setSlab(0)
    assert not any(node.GetSlabReconstructionEnabled() for node in nodes_)
    scene.compare.jumpTo((10, -5, 12))
    assert scene.sliceNode("Result", "Coronal").GetSliceOffset() == pytest.approx(-5)
    assert crosshair.GetCrosshairRAS() == (10, -5, 12)


def test_restore_leaves_nothing_behind(scene):
    layoutNode = scene.core.layoutNode
    kinds = ("vtkMRMLVolumeNode", "vtkMRMLVolumeDisplayNode")
    count = [scene.core.scene.GetNumberOfNodesByClass(kind) for kind in kinds]
    scene.compare.show(scene.scan, scene.result)
    scene.compare.setShown("difference")
    scene.compare.show(scene.scan, scene.result, byRows=False)
    scene.compare.setShown("linear")
    scene.compare.restore()
    assert layoutNode.GetViewArrangement() == FORMER_LAYOUT
    assert [scene.core.scene.GetNumberOfNodesByClass(kind) for kind in kinds] == count
    assert scene.core.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode").GetCrosshairMode() == 0
    assert len(scene.compare._observers) == 0
    moved, follower = scene.sliceNode("Original", "Axial"), scene.sliceNode("Result", "Axial")
    moved.SetSliceOffset(moved.GetSliceOffset() + 30)
    assert follower.GetSliceOffset() != pytest.approx(moved.GetSliceOffset())
    with pytest.raises(InputError, match="compare view first"):
        scene.compare.setShown("linear")


def test_a_layout_the_user_chose_meanwhile_stays(scene):
    scene.compare.show(scene.scan, scene.result)
    scene.core.layoutNode.SetViewArrangement(6)
    scene.compare.restore()
    assert scene.core.layoutNode.GetViewArrangement() == 6


@pytest.mark.parametrize("how", ["close", "remove"])
def test_the_scene_may_go_away_in_between(scene, how):
    scene.compare.show(scene.scan, scene.result)
    scene.compare.setShown("linear")
    if how == "close":
        scene.core.scene.Clear(0)
    else:
        scene.core.scene.RemoveNode(scene.result)
    assert not scene.compare.isShown
    assert len(scene.compare._observers) == 0


def test_starts_where_the_user_was(scene, core):  # noqa: F811
    red = core.scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(red).SetBackgroundVolumeID(scene.scan.GetID())
    volume = nodes.volumeFromNode(scene.scan)
    red.SetSliceOffset(volume.origin[2] + 4 * volume.slice_spacing)
    scene.compare.show(scene.scan, scene.result)
    assert scene.mark("Result") == "acquired slice 5"


def test_marks_while_scrolling(scene):
    scene.compare.show(scene.scan, scene.result)
    scene.toSlice(12)
    assert (scene.mark("Original"), scene.mark("Result")) == ("acquired slice 12", "acquired slice 12")
    scene.toSlice(12.5)
    assert scene.mark("Result") == "synthesized, between 12 and 13"
    assert scene.mark("Original") == "blend of acquired 12 and 13"
    scene.toSlice(12.25)
    assert scene.mark("Result") == "blend of acquired 12 and synthesized"
    scene.scan.GetDisplayNode().SetInterpolate(False)
    scene.toSlice(12.2)
    assert scene.mark("Original") == "acquired slice 12"
    scene.toSlice(40)
    assert scene.mark("Result") == "result: scan x2"  # beyond the head: the caption alone


def test_the_mark_is_what_the_pixels_are(scene):
    """At a mark "acquired slice n" the view shows that slice, at "synthesized" it shows the one between."""
    scene.compare.show(scene.scan, scene.result)
    array = slicer.util.arrayFromVolume(scene.result)
    array[...] = 0
    array[22] = 40  # acquired slice 12
    array[23] = 80  # between 12 and 13
    slicer.util.arrayFromVolumeModified(scene.result)
    view = scene.views[viewName("Result", "Axial")]
    middle = (slice(90, 110), slice(110, 130))  # beside the crosshair
    for position, value in ((12, 128), (12.5, 255)):
        scene.toSlice(position)
        assert np.median(view.picture()[middle]) == pytest.approx(value, abs=2)


def test_share_of_reformatted_and_oblique_views(scene):
    scene.compare.show(scene.scan, scene.result)
    letters = nodes.volumeFromNode(scene.result).provenance
    share = letters.count("S") / len(letters)
    for orientation in ("Coronal", "Sagittal"):
        assert scene.mark("Original", orientation) == "acquired slices only"
        percent = float(scene.mark("Result", orientation).split()[1].rstrip("%"))
        assert percent == pytest.approx(100 * share, abs=1.5)
    turned = vtk.vtkTransform()
    node = scene.sliceNode("Result", "Axial")
    turned.SetMatrix(node.GetSliceToRAS())
    turned.RotateX(25)
    node.GetSliceToRAS().DeepCopy(turned.GetMatrix())
    node.UpdateMatrices()
    text = scene.mark("Result")
    assert text.startswith("view: ")
    assert float(text.split()[1].rstrip("%")) == pytest.approx(50, abs=6)


def test_slab_says_its_share(scene):
    scene.compare.show(scene.scan, scene.result)
    scene.toSlice(12)
    scene.compare.setSlab(6.0)
    assert scene.mark("Result").startswith("slab: ")
    assert scene.mark("Result").endswith("% synthesized")


def test_marks_follow_a_transform_linear_or_not(scene, core):  # noqa: F811
    scene.compare.show(scene.scan, scene.result)
    volume = nodes.volumeFromNode(scene.scan)
    scene.toSlice(12)
    linear = core.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, -volume.slice_spacing / 2)
    linear.SetMatrixTransformToParent(matrix)
    scene.result.SetAndObserveTransformNodeID(linear.GetID())
    assert scene.mark("Result") == "synthesized, between 12 and 13"
    # The same shift as a grid transform, the kind that Slicer puts above scans with gantry tilt.
    grid = core.scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    field = vtk.vtkImageData()
    field.SetDimensions(4, 4, 4)
    field.SetOrigin(-300, -300, -300)
    field.SetSpacing(200, 200, 200)
    field.AllocateScalars(vtk.VTK_DOUBLE, 3)
    array = vtk.util.numpy_support.vtk_to_numpy(field.GetPointData().GetScalars())
    array[:] = (0, 0, -volume.slice_spacing / 2)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(field)
    grid.SetAndObserveTransformToParent(transform)
    scene.result.SetAndObserveTransformNodeID(grid.GetID())
    assert scene.mark("Result") == "synthesized, between 12 and 13"


def test_ordinary_views_are_marked_for_results_alone(scene, core):  # noqa: F811
    red = core.scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(red)
    composite.SetBackgroundVolumeID(scene.scan.GetID())
    assert scene.marks.text("Red") == ""
    composite.SetBackgroundVolumeID(scene.result.GetID())
    volume = nodes.volumeFromNode(scene.result)
    red.SetSliceOffset(volume.origin[2] + 3 * volume.slice_spacing)
    assert scene.marks.text("Red") == "synthesized, between 2 and 3"
    composite.SetBackgroundVolumeID(scene.scan.GetID())
    assert scene.marks.text("Red") == ""
    composite.SetBackgroundVolumeID(scene.result.GetID())
    result = vtk.vtkWeakReference()
    result.Set(scene.result)
    core.scene.RemoveNode(scene.result)
    del scene.result
    assert result.Get() is None
    assert scene.marks.text("Red") == ""
    scene.marks.remove()
    assert scene.marks.text("Red") == ""


def test_a_mark_is_rendered_and_survives_the_corner_annotation(scene):
    scene.compare.show(scene.scan, scene.result)
    scene.toSlice(12.5)
    view = scene.views[viewName("Result", "Axial")]
    corner = view.picture()[4:40, 4:160].astype(int)
    # Orange: red well above blue, where the scan alone is gray.
    assert ((corner[..., 0] - corner[..., 2]) > 100).sum() > 100
    renders = view.renders
    scene.toSlice(13)
    corner = view.picture()[4:40, 4:160].astype(int)
    assert ((corner[..., 1] - corner[..., 0]) > 60).sum() > 100  # green
    assert view.renders > renders


def test_both_sides_look_the_same_at_acquired_slices(scene):
    scene.compare.show(scene.scan, scene.result)
    scene.toSlice(12)
    left, right = (scene.views[viewName(side, "Axial")].picture()[45:, :] for side in ("Original", "Result"))
    np.testing.assert_array_equal(left, right)
    scene.toSlice(12.5)
    scene.scan.GetDisplayNode().SetWindowLevel(30, 40)
    dark, right = (scene.views[viewName(side, "Axial")].picture()[45:, :] for side in ("Original", "Result"))
    # Blended by the display here, by the interpolator there: both round to whole HU, of which 30 make 255 grays.
    assert np.abs(dark.astype(int) - right).max() <= 9


def test_names_with_signs_that_vtk_would_typeset(scene):
    scene.scan.SetName("a|b $x$")
    scene.compare.show(scene.scan, scene.result)
    text = scene.marks.text(viewName("Original", "Axial"))
    assert text.startswith("original: a/b ")
    assert "$" not in text


def test_describe_view_needs_no_marks(scene):
    scene.compare.show(scene.scan, scene.result)
    text, _ = describeView(scene.sliceNode("Result", "Axial"), scene.scan)
    assert text.startswith(("acquired", "blend of acquired"))


def test_pictures(scene, tmp_path):
    scene.compare.show(scene.scan, scene.result)
    picture = scene.views.layout()
    savePng(picture, tmp_path / "compare.png")
    assert (tmp_path / "compare.png").stat().st_size > 10_000


def test_views_lie_in_the_slices_of_an_oblique_scan(core, phantom):  # noqa: F811
    turn = vtk.vtkTransform()
    turn.RotateX(14)
    turn.RotateZ(9)
    direction = slicer.util.arrayFromVTKMatrix(turn.GetMatrix())[:3, :3]
    oblique = replace(phantom, direction=direction)
    scene = Scene(core, oblique)
    scene.compare.show(scene.scan, scene.result)
    assert scene.mark("Original").startswith("acquired slice ")
    assert scene.mark("Result").startswith("acquired slice ")
    node = scene.sliceNode("Result", "Axial")
    node.SetSliceOffset(node.GetSliceOffset() + phantom.slice_spacing / 2)
    assert scene.mark("Result").startswith("synthesized, between ")
    scene.compare.restore()


@pytest.mark.parametrize("then", ["result", "original", "linear", "blend"])
def test_the_legend_of_the_difference_goes_with_it(scene, then):
    scene.compare.show(scene.scan, scene.result)
    scene.compare.setShown(then)
    view = scene.views[viewName("Result", "Axial")]
    before = view.picture()
    scene.compare.setShown("difference")
    with_legend = view.picture()
    scene.compare.setShown(then)
    assert (with_legend != before).any()
    np.testing.assert_array_equal(view.picture(), before)
