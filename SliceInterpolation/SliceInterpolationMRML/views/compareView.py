"""Original and result side by side in axial, coronal and sagittal: same place, zoom, window, crosshair and slab.

Slicer links slice views inside of a view group, and only what a user does in them; moves by code and by other
modules leave the partner behind. The two views of an orientation are therefore also kept together by observers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.util import VTKObservationMixin

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.interpolation import interpolate

from ..figures.noise import showDiverging
from ..nodes import copyDisplay, nodeFromVolume, placeLikeReference, removeWithDisplay, volumeFromNode
from .sliceMarks import SliceMarks

BY_ROWS_LAYOUT, BY_COLUMNS_LAYOUT = 50770, 50771
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
SHOWN = ("result", "original", "linear", "difference")
_SIDES = ("Original", "Result")
_COLORS = {"Axial": "#F34A33", "Coronal": "#6EB04B", "Sagittal": "#EDD54C"}
_STANDARD_VIEWS = {"Axial": "Red", "Coronal": "Green", "Sagittal": "Yellow"}
_VIEW_GROUP = 507


def viewName(side: str, orientation: str) -> str:
    """Layout name of a view of the compare layouts; side: "Original" or "Result"."""
    return f"SliceInterpolation{side}{orientation}"


VIEW_NAMES = tuple(viewName(side, orientation) for orientation in ORIENTATIONS for side in _SIDES)


def registerLayouts(layoutNode) -> None:
    """Make both layouts known. Worth doing at startup, so that scenes saved in such a layout open in it."""
    for number, byRows in ((BY_ROWS_LAYOUT, True), (BY_COLUMNS_LAYOUT, False)):
        if not layoutNode.IsLayoutDescription(number):
            layoutNode.AddLayoutDescription(number, _layoutXml(byRows))


class CompareView(VTKObservationMixin):
    """The compare layouts and what they show.

    marks: the slice marks whose captions name the two sides; made here by default. applicationLogic: by default
    that of the application. isShown tells whether a compare layout was switched on and not restored since.

    Example::

        compare = CompareView()
        compare.show(scanNode, resultNode)     # 3 rows: axial, coronal, sagittal; original left, result right
        compare.setShown("linear")             # the right side shows linear interpolation instead
        compare.restore()                      # the former layout
    """

    def __init__(self, marks: SliceMarks | None = None, applicationLogic: Any = None):
        VTKObservationMixin.__init__(self)
        self.marks = marks or SliceMarks()
        self.isShown = False
        self.shown = "result"
        self._applicationLogic = applicationLogic
        self._original = self._result = None
        self._made: dict[str, Any] = {}
        self._former: dict[str, Any] = {}
        self._busy = False

    def show(self, originalNode, resultNode, byRows: bool = True) -> None:
        """Switch to a compare layout of two volumes of one patient.

        byRows: a row for each orientation, original beside result, for tall screens (2 x 3); else a column for
        each orientation, original above result, for wide ones (3 x 2). Raises InputError where a node is missing.
        """
        if originalNode is None or resultNode is None:
            raise InputError("Choose the original and the interpolated volume to compare.")
        offsets = _currentOffsets(originalNode)
        self._remember()
        self._forgetVolumes()
        self._original, self._result, self.shown = originalNode, resultNode, "result"
        layoutNode = _layoutNode()
        registerLayouts(layoutNode)
        layoutNode.SetViewArrangement(BY_ROWS_LAYOUT if byRows else BY_COLUMNS_LAYOUT)
        _processEvents()
        copyDisplay(originalNode, resultNode)
        for name in VIEW_NAMES:
            composite = _compositeNode(name)
            composite.SetBackgroundVolumeID(originalNode.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
        self._showOnResultSide(resultNode, "result")
        self._place(offsets)
        self._showCrosshair()
        self._observe()
        self.isShown = True
        self.marks.update()

    def setShown(self, what: str) -> None:
        """What the result side shows: "result", "original", "linear" or "difference" (result minus linear).

        Linear interpolation of the original is computed when first asked for. Raises InputError before `show`.
        """
        if what not in SHOWN:
            raise ValueError(f"{what} is none of {SHOWN}")
        if not self.isShown:
            raise InputError("Switch on the compare view first.")
        node = {"result": self._result, "original": self._original}.get(what) or self._madeNode(what)
        self.shown = what
        self._showOnResultSide(node, what)
        self.marks.update()

    def setSlab(self, thicknessMm: float) -> None:
        """Show the mean over a slab of this thickness in all views; 0 for single planes.

        A slab as thick as the acquired slices shows the result with the noise and the resolution of the scan.
        """
        for name in VIEW_NAMES:
            sliceNode = _sliceNode(name)
            wasModifying = sliceNode.StartModify()
            sliceNode.SetSlabReconstructionEnabled(thicknessMm > 0)
            if thicknessMm > 0:
                sliceNode.SetSlabReconstructionType(vtk.VTK_IMAGE_SLAB_MEAN)
                sliceNode.SetSlabReconstructionThickness(thicknessMm)
            sliceNode.EndModify(wasModifying)

    def jumpTo(self, ras: tuple[float, float, float]) -> None:
        """Move all views to a point in RAS mm and put the crosshair there."""
        for name in VIEW_NAMES:
            _sliceNode(name).JumpSliceByOffsetting(*ras)
        crosshair = _crosshairNode()
        if crosshair is not None:
            crosshair.SetCrosshairRAS(ras)

    def restore(self) -> None:
        """Go back to the former layout and leave no observer, caption or helper volume behind."""
        self.removeObservers()
        for name in VIEW_NAMES:
            self.marks.setCaption(name, "")
        layoutNode, crosshair = _layoutNode(), _crosshairNode()
        if self.isShown and layoutNode.GetViewArrangement() in (BY_ROWS_LAYOUT, BY_COLUMNS_LAYOUT):
            layoutNode.SetViewArrangement(self._former["layout"])
        if self.isShown and crosshair is not None:
            crosshair.SetCrosshairMode(self._former["crosshair"])
        self.isShown = False
        self._former = {}
        self._forgetVolumes()

    def _remember(self) -> None:
        layoutNode, crosshair = _layoutNode(), _crosshairNode()
        if not self.isShown:
            arrangement = layoutNode.GetViewArrangement()
            if arrangement in (BY_ROWS_LAYOUT, BY_COLUMNS_LAYOUT):  # a scene that was saved in such a layout
                arrangement = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
            mode = crosshair.GetCrosshairMode() if crosshair is not None else None
            self._former = {"layout": arrangement, "crosshair": mode}
        self.removeObservers()

    def _forgetVolumes(self) -> None:
        for node in self._made.values():
            removeWithDisplay(node)
        self._made = {}
        self._original = self._result = None

    def _showOnResultSide(self, node, what: str) -> None:
        captions = {
            "result": f"result: {self._result.GetName()}",
            "original": f"original: {self._original.GetName()}",
            "linear": "linear interpolation",
            "difference": "result minus linear",
        }
        for orientation in ORIENTATIONS:
            name = viewName("Result", orientation)
            _compositeNode(name).SetBackgroundVolumeID(node.GetID())
            self.marks.setCaption(name, captions[what])
            self.marks.setCaption(viewName("Original", orientation), captions["original"])

    def _madeNode(self, what: str):
        if what not in self._made:
            self._made[what] = self._linear() if what == "linear" else self._difference()
            self._made[what].SetSaveWithScene(False)
        return self._made[what]

    def _linear(self):
        original, result = volumeFromNode(self._original), volumeFromNode(self._result)
        factor = round(original.slice_spacing / result.along(original.slice_axis).slice_spacing)
        if factor > 1:
            original = interpolate(
                original, factor=factor, method="linear", axis=original.slice_axis, force=True
            ).volume
        if original.array.shape != result.array.shape:
            raise InputError(
                "The result is not on the refined grid of the original; nothing to compare with."
            )
        node = nodeFromVolume(original, f"{self._original.GetName()} linear", self._original)
        self._observeDisplay(node)
        return node

    def _difference(self):
        linear = volumeFromNode(self._madeNode("linear"))
        result = volumeFromNode(self._result)
        volume = result.with_map(result.array.astype(np.float32) - linear.array)
        node = nodeFromVolume(volume, f"{self._result.GetName()} minus linear")
        placeLikeReference(node, self._original)
        # A quarter of the window of the scan: what the eye can see there, and not the far larger values at bone.
        showDiverging(node, limit=0.25 * self._original.GetDisplayNode().GetWindow())
        return node

    def _place(self, offsets: dict[str, float]) -> None:
        """Slices along the axes of the volume, one scale for all views, and the positions of the former views."""
        names = [viewName("Original", orientation) for orientation in ORIENTATIONS]
        scale = 0.0
        for name, orientation in zip(names, ORIENTATIONS):
            sliceNode, logic = _sliceNode(name), self._sliceLogic(name)
            sliceNode.SetOrientation(orientation)
            sliceNode.RotateToVolumePlane(self._original)
            if logic is not None:
                logic.FitSliceToBackground()
                if orientation in offsets:
                    logic.SetSliceOffset(offsets[orientation])
                logic.SnapSliceOffsetToIJK()
            size = sliceNode.GetDimensions()
            scale = max(scale, sliceNode.GetFieldOfView()[0] / max(size[0], 1))
        for name, orientation in zip(names, ORIENTATIONS):
            sliceNode = _sliceNode(name)
            size, fov = sliceNode.GetDimensions(), sliceNode.GetFieldOfView()
            sliceNode.SetFieldOfView(scale * size[0], scale * size[1], fov[2])
            _align(sliceNode, _sliceNode(viewName("Result", orientation)))

    def _observe(self) -> None:
        modified = vtk.vtkCommand.ModifiedEvent
        for name in VIEW_NAMES:
            self.addObserver(_sliceNode(name), modified, self._onSliceModified)
        self._observeDisplay(self._original)
        self._observeDisplay(self._result)
        scene = slicer.mrmlScene
        self.addObserver(scene, slicer.vtkMRMLScene.StartCloseEvent, self._onSceneClose)
        self.addObserver(scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)

    def _observeDisplay(self, node) -> None:
        display = node.GetDisplayNode()
        if display is not None and not self.hasObserver(
            display, vtk.vtkCommand.ModifiedEvent, self._onDisplayModified
        ):
            self.addObserver(display, vtk.vtkCommand.ModifiedEvent, self._onDisplayModified)

    def _onSliceModified(self, caller, event) -> None:
        name = caller.GetLayoutName()
        if "SliceInterpolationOriginal" in name:
            partner = name.replace("SliceInterpolationOriginal", "SliceInterpolationResult")
        else:
            partner = name.replace("SliceInterpolationResult", "SliceInterpolationOriginal")
        self._once(lambda: _align(caller, _sliceNode(partner)))

    def _onDisplayModified(self, caller, event) -> None:
        shared = [self._original, self._result, self._made.get("linear")]
        shared = [node for node in shared if node is not None and node.GetDisplayNode() is not None]
        source = next((node for node in shared if node.GetDisplayNode() is caller), None)
        if source is not None:
            self._once(lambda: [copyDisplay(source, node) for node in shared if node is not source])

    def _once(self, action: Callable[[], Any]) -> None:
        """Run an action, but not again for the changes that it makes itself."""
        if self._busy:
            return
        self._busy = True
        try:
            action()
        finally:
            self._busy = False

    def _onSceneClose(self, caller, event) -> None:
        self.restore()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node) -> None:
        if node is self._original or node is self._result:
            self.restore()

    def _showCrosshair(self) -> None:
        crosshair = _crosshairNode()
        if crosshair is not None and crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair:
            crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)

    def _sliceLogic(self, name: str):
        logic = self._applicationLogic or slicer.app.applicationLogic()
        return logic.GetSliceLogicByLayoutName(name)


def _align(source, target) -> None:
    """Give one slice node the plane, place, scale and slab of another; views of other sizes keep the scale."""
    if target is None:
        return
    wasModifying = target.StartModify()
    target.GetSliceToRAS().DeepCopy(source.GetSliceToRAS())
    target.SetXYZOrigin(*source.GetXYZOrigin())
    size, fov, ownSize = source.GetDimensions(), source.GetFieldOfView(), target.GetDimensions()
    wanted = (fov[0] / max(size[0], 1) * ownSize[0], fov[1] / max(size[1], 1) * ownSize[1], fov[2])
    if not np.allclose(target.GetFieldOfView(), wanted):
        target.SetFieldOfView(*wanted)
    target.SetSlabReconstructionEnabled(source.GetSlabReconstructionEnabled())
    target.SetSlabReconstructionType(source.GetSlabReconstructionType())
    target.SetSlabReconstructionThickness(source.GetSlabReconstructionThickness())
    target.UpdateMatrices()
    target.EndModify(wasModifying)


def _currentOffsets(node) -> dict[str, float]:
    """Where the standard views stand that show a volume now."""
    offsets = {}
    for orientation, name in _STANDARD_VIEWS.items():
        composite, sliceNode = _compositeNode(name), _sliceNode(name)
        if composite is None or sliceNode is None or sliceNode.GetOrientation() != orientation:
            continue
        if composite.GetBackgroundVolumeID() == node.GetID():
            offsets[orientation] = sliceNode.GetSliceOffset()
    return offsets


def _layoutXml(byRows: bool) -> str:
    outer, inner = ("vertical", "horizontal") if byRows else ("horizontal", "vertical")
    groups = "".join(
        f'<item><layout type="{inner}">'
        + "".join(f"<item>{_viewXml(side, orientation)}</item>" for side in _SIDES)
        + "</layout></item>"
        for orientation in ORIENTATIONS
    )
    return f'<layout type="{outer}">{groups}</layout>'


def _viewXml(side: str, orientation: str) -> str:
    properties = {
        "orientation": orientation,
        "viewlabel": side[0] + orientation[0],
        "viewcolor": _COLORS[orientation],
        "viewgroup": str(_VIEW_GROUP),
    }
    entries = "".join(
        f'<property name="{name}" action="default">{value}</property>' for name, value in properties.items()
    )
    return f'<view class="vtkMRMLSliceNode" singletontag="{viewName(side, orientation)}">{entries}</view>'


def _layoutNode():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def _sliceNode(name: str):
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def _compositeNode(name: str):
    sliceNode = _sliceNode(name)
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(sliceNode) if sliceNode is not None else None


def _crosshairNode():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")


def _processEvents() -> None:
    """Let the application build the widgets of a new layout; only then do the views have nodes and sizes."""
    application = getattr(slicer, "app", None)
    if application is not None:
        application.processEvents()
