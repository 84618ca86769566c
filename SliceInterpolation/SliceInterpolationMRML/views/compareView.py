"""Original and result side by side in axial, coronal and sagittal: same place, zoom, window, crosshair and slab.

Slicer links slice views inside of a view group, and only what a user does in them; moves by code and by other
modules leave the partner behind. The two views of an orientation are therefore also kept together by observers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

import numpy as np
import slicer
import vtk

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.interpolation import interpolate

from ..figures.noise import showDiverging, wakeLegend
from ..i18n import _
from ..nodes import (
    copyDisplay,
    isUnderLinear,
    nodeFromVolume,
    placeLikeReference,
    removeWithDisplay,
    volumeFromNode,
)
from .cine import Cine
from .layouts import (
    BY_COLUMNS_LAYOUT,
    BY_ROWS_LAYOUT,
    ORIENTATIONS,
    SIDES,
    VIEW_NAMES,
    compositeNode,
    currentLayout,
    forgetLayout,
    layoutNode,
    restoreLayout,
    sliceNode,
    suitRows,
    switchLayout,
    viewName,
    viewsShowing,
)
from .observers import Observers
from .segmentSides import placeSegments
from .sliceMarks import SliceMarks
from .stepping import stepToSynthesized

__all__ = [
    "BY_COLUMNS_LAYOUT",
    "BY_ROWS_LAYOUT",
    "ORIENTATIONS",
    "SHOWN",
    "VIEW_NAMES",
    "CompareView",
    "viewName",
]

SHOWN = ("result", "original", "linear", "difference", "blend")
_MADE_NAMES = {"linear": "linear interpolation", "difference": "result minus linear"}
_STANDARD_VIEWS = {"Axial": "Red", "Coronal": "Green", "Sagittal": "Yellow"}


class CompareView:
    """The compare layouts and what they show. There is one object of this class, `shared.compareView()`.

    marks: the slice marks that name the two sides. applicationLogic: by default that of the application.

    The comparison is on (`isShown`) from `show` to `restore`. It ends by itself when one of its volumes goes, when the
    layout is changed by others, and when another volume takes the place of one side in all of its views, as the
    application does with every volume that it loads; the former layout then comes back and shows that volume.

    Example::

        compare = CompareView(marks)
        compare.show(scanNode, resultNode)     # 3 rows: axial, coronal, sagittal; original left, result right
        compare.setShown("linear")             # the right side shows linear interpolation instead
        compare.restore()                      # the former layout
    """

    def __init__(self, marks: SliceMarks, applicationLogic: Any = None):
        self.marks = marks
        self.isShown = False
        self.shown = "result"
        self._applicationLogic = applicationLogic
        self._observers, self._made = Observers(), {}
        self._originalId = self._resultId = ""
        self._former: dict[str, Any] = {}
        self._followers: list[WeakMethod] = []
        self._busy = False
        self._cine = Cine(self.setOpacity)

    def follow(self, method: Callable[[], Any]) -> None:
        """Call a method of an object, which is not kept alive, when the comparison begins, changes or ends."""
        self._followers.append(WeakMethod(method))

    def show(self, originalNode, resultNode, byRows: bool | None = None) -> None:
        """Switch to a compare layout of two volumes of one patient.

        byRows: a row for each orientation, original beside result, for tall screens (2 x 3); False: a column for
        each orientation, original above result, for wide ones (3 x 2); None: what suits the area of the views.
        Raises InputError where a node is missing.
        """
        if originalNode is None or resultNode is None:
            raise InputError(_("Choose the original and the interpolated volume to compare."))
        offsets = _currentOffsets(originalNode)
        self._remember()
        self._forgetVolumes()
        self._originalId, self._resultId, self.shown = originalNode.GetID(), resultNode.GetID(), "result"
        self._once(lambda: self._fill(originalNode, resultNode, suitRows() if byRows is None else byRows))
        self._place(originalNode, offsets)
        self._showCrosshair()
        self._observe()
        self.isShown = True
        self._nameRoles()
        self._tell()

    def setArrangement(self, byRows: bool | None) -> None:
        """Switch between rows and columns at once; place, zoom and crosshair stay."""
        if self.isShown:
            self._once(lambda: switchLayout(suitRows() if byRows is None else byRows, currentLayout()[1]))

    def setShown(self, what: str) -> None:
        """What the result side shows: one of `SHOWN`. "difference" is result minus linear, "blend" the result over
        the original, see `setOpacity`.

        Linear interpolation of the original is computed when first asked for. Raises InputError before `show`.
        """
        if what not in SHOWN:
            raise ValueError(f"{what} is none of {SHOWN}")
        if not self.isShown:
            raise InputError(_("Switch on the compare view first."))
        background, foreground = {
            "result": (self._resultId, None),
            "original": (self._originalId, None),
            "blend": (self._originalId, self._resultId),
        }.get(what) or (self._madeNode(what).GetID(), None)
        self._cine.stop()
        self.shown = what
        left = compositeNode(viewName("Result", "Axial")).GetBackgroundVolumeID()
        self._once(lambda: self._putOnResultSide(background, foreground))
        for nodeId in {left, background}:  # the legend of the one goes, that of the other comes
            wakeLegend(slicer.mrmlScene.GetNodeByID(nodeId or ""))
        self._nameRoles()
        self._tell()

    def toggle(self, what: str) -> None:
        """Show something on the result side, such as the difference; the result again where it is there already."""
        self.setShown("result" if self.shown == what else what)

    @property
    def isPlaying(self) -> bool:
        """True while the result side fades to and fro, see `play`."""
        return self._cine.isPlaying

    def play(self, playing: bool = True) -> None:
        """Fade to and fro between original and result on the result side; it ends with what is shown there."""
        if playing:
            self.setShown("blend")
            self._cine.start()
        else:
            self._cine.stop()
            self.setOpacity(0.5)
        self._tell()

    def setOpacity(self, opacity: float) -> None:
        """Of the result over the original on the result side, 0 to 1, while "blend" is shown."""
        for orientation in ORIENTATIONS:
            composite = compositeNode(viewName("Result", orientation))
            if self.isShown and self.shown == "blend" and composite is not None:
                composite.SetForegroundOpacity(opacity)

    def setSlab(self, thicknessMm: float) -> None:
        """Show the mean over a slab of this thickness in all views; 0 for single planes.

        A slab as thick as the acquired slices shows the result with the noise and the resolution of the scan.
        """
        for name in VIEW_NAMES:
            node = sliceNode(name)
            wasModifying = node.StartModify()
            node.SetSlabReconstructionEnabled(thicknessMm > 0)
            if thicknessMm > 0:
                node.SetSlabReconstructionType(vtk.VTK_IMAGE_SLAB_MEAN)
                node.SetSlabReconstructionThickness(thicknessMm)
            node.EndModify(wasModifying)

    def jumpTo(self, ras: tuple[float, float, float]) -> None:
        """Move all views to a point in RAS mm and put the crosshair there."""
        for name in VIEW_NAMES:
            sliceNode(name).JumpSliceByOffsetting(*ras)
        crosshair = _crosshairNode()
        if crosshair is not None:
            crosshair.SetCrosshairRAS(ras)

    def toSynthesized(self, step: int) -> None:
        """Go to the next (1) or previous (-1) slice of the result that was not acquired."""
        result = slicer.mrmlScene.GetNodeByID(self._resultId) if self.isShown else None
        if result is not None:
            stepToSynthesized(result, step, [sliceNode(viewName("Result", one)) for one in ORIENTATIONS])

    def restore(self) -> None:
        """Go back to the former layout and leave no observer, name or helper volume behind."""
        self._end()
        restoreLayout()
        self._tell()

    def _end(self) -> None:
        """Let go of everything; the layout stays."""
        self._cine.stop()
        self._observers.clear()
        self.marks.setRoles({}, ())
        crosshair = _crosshairNode()
        if crosshair is not None and self._former:
            crosshair.SetCrosshairMode(self._former["mode"])
            crosshair.SetCrosshairRAS(*self._former["place"])
        self.isShown = False
        self._former = {}
        self._forgetVolumes()

    def _remember(self) -> None:
        self._observers.clear()
        if self.isShown:
            return
        crosshair = _crosshairNode()
        if crosshair is not None:
            self._former = {"mode": crosshair.GetCrosshairMode(), "place": crosshair.GetCrosshairRAS()}

    def _forgetVolumes(self) -> None:
        for nodeId in self._made.values():
            node = slicer.mrmlScene.GetNodeByID(nodeId)
            if node is not None:
                removeWithDisplay(node)
        self._made = {}
        self._originalId = self._resultId = ""

    def _fill(self, originalNode, resultNode, byRows: bool) -> None:
        switchLayout(byRows)
        copyDisplay(originalNode, resultNode)
        for name in VIEW_NAMES:
            composite = compositeNode(name)
            composite.SetBackgroundVolumeID(originalNode.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
        self._putOnResultSide(resultNode.GetID(), None)

    def _putOnResultSide(self, backgroundId: str, foregroundId: str | None) -> None:
        for orientation in ORIENTATIONS:
            composite = compositeNode(viewName("Result", orientation))
            composite.SetForegroundVolumeID(foregroundId)
            composite.SetForegroundOpacity(0.5 if foregroundId else 0.0)
            composite.SetBackgroundVolumeID(backgroundId)
        wakeLegend(slicer.mrmlScene.GetNodeByID(backgroundId))

    def _nameRoles(self) -> None:
        roles = {self._originalId: "original", self._resultId: "result"}
        roles.update({nodeId: _MADE_NAMES[what] for what, nodeId in self._made.items()})
        self.marks.setRoles(roles, VIEW_NAMES)

    def _madeNode(self, what: str):
        node = slicer.mrmlScene.GetNodeByID(self._made.get(what, ""))
        if node is None:
            node = self._linear() if what == "linear" else self._difference()
            node.SetSaveWithScene(False)
            self._made[what] = node.GetID()
        return node

    def _linear(self):
        originalNode, resultNode = map(slicer.mrmlScene.GetNodeByID, (self._originalId, self._resultId))
        original, result = volumeFromNode(originalNode), volumeFromNode(resultNode)
        factor = round(original.slice_spacing / result.along(original.slice_axis).slice_spacing)
        if factor > 1:
            original = interpolate(
                original, factor=factor, method="linear", axis=original.slice_axis, force=True
            ).volume
        if original.array.shape != result.array.shape:
            raise InputError(
                _("The result is not on the refined grid of the original; nothing to compare with.")
            )
        node = nodeFromVolume(original, _("{name} linear").format(name=originalNode.GetName()), originalNode)
        self._observeDisplay(node)
        return node

    def _difference(self):
        originalNode, resultNode = map(slicer.mrmlScene.GetNodeByID, (self._originalId, self._resultId))
        linear, result = volumeFromNode(self._madeNode("linear")), volumeFromNode(resultNode)
        volume = result.with_map(result.array.astype(np.float32) - linear.array)
        node = nodeFromVolume(volume, _("{name} minus linear").format(name=resultNode.GetName()))
        placeLikeReference(node, originalNode)
        # A quarter of the window of the scan: what the eye can see there, and not the far larger values at bone.
        showDiverging(node, limit=0.25 * originalNode.GetDisplayNode().GetWindow())
        return node

    def _place(self, originalNode, offsets: dict[str, float]) -> None:
        """Slices along the axes of the volume, one scale for all views, and the positions of the former views."""
        names = [viewName("Original", orientation) for orientation in ORIENTATIONS]
        scale = 0.0
        for name, orientation in zip(names, ORIENTATIONS):
            node, logic = sliceNode(name), self._sliceLogic(name)
            node.SetOrientation(orientation)
            if isUnderLinear(originalNode):  # others turn each point another way, of which VTK only complains
                node.RotateToVolumePlane(originalNode)
            if logic is not None:
                logic.FitSliceToBackground()
                if orientation in offsets:
                    logic.SetSliceOffset(offsets[orientation])
                logic.SnapSliceOffsetToIJK()
            size = node.GetDimensions()
            scale = max(scale, node.GetFieldOfView()[0] / max(size[0], 1))
        for name, orientation in zip(names, ORIENTATIONS):
            node = sliceNode(name)
            size, fov = node.GetDimensions(), node.GetFieldOfView()
            node.SetFieldOfView(scale * size[0], scale * size[1], fov[2])
            _align(node, sliceNode(viewName("Result", orientation)))

    def _observe(self) -> None:
        modified, scene = vtk.vtkCommand.ModifiedEvent, slicer.mrmlScene
        for name in VIEW_NAMES:
            self._observers.add(sliceNode(name), modified, self._onSliceModified)
            self._observers.add(compositeNode(name), modified, self._onCompositeModified)
        for nodeId in (self._originalId, self._resultId):
            self._observeDisplay(scene.GetNodeByID(nodeId))
        self._observers.add(layoutNode(), modified, self._onLayoutModified)
        self._observers.add(scene, scene.StartCloseEvent, self._onSceneClose)
        self._observers.add(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)

    def _observeDisplay(self, node) -> None:
        self._observers.add(node.GetDisplayNode(), vtk.vtkCommand.ModifiedEvent, self._onDisplayModified)

    def _onSliceModified(self, caller, event) -> None:
        side, _, orientation = caller.GetLayoutName().partition("-")
        partner = SIDES[1 - SIDES.index(side)]
        self._once(lambda: _align(caller, sliceNode(f"{partner}-{orientation}")))

    def _onDisplayModified(self, caller, event) -> None:
        ids = (self._originalId, self._resultId, self._made.get("linear", ""))
        shared = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in ids if nodeId]
        shared = [node for node in shared if node is not None and node.GetDisplayNode() is not None]
        source = next((node for node in shared if node.GetDisplayNode() is caller), None)
        if source is not None:
            self._once(lambda: [copyDisplay(source, node) for node in shared if node is not source])

    def _onCompositeModified(self, caller, event) -> None:
        """Another volume in all views of a side: nothing is compared any more."""
        if self._busy or slicer.mrmlScene.IsBatchProcessing():
            return
        own = {
            "Original": {self._originalId},
            "Result": {self._originalId, self._resultId, *self._made.values()},
        }
        for side in SIDES:
            shown = {compositeNode(viewName(side, one)).GetBackgroundVolumeID() for one in ORIENTATIONS}
            if not shown & own[side]:
                self.restore()
                return

    def _onLayoutModified(self, caller, event) -> None:
        if currentLayout() is None and not slicer.mrmlScene.IsBatchProcessing():
            forgetLayout()
            self._end()
            self._tell()

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
        if node is not None and node.GetID() in (self._originalId, self._resultId):
            self.restore()

    def _showCrosshair(self) -> None:
        """At the place that the views show; it would stand where it was last, or at the origin of the scene."""
        crosshair = _crosshairNode()
        if crosshair is None:
            return
        planes = [
            slicer.util.arrayFromVTKMatrix(sliceNode(viewName("Original", orientation)).GetSliceToRAS())
            for orientation in ORIENTATIONS
        ]
        normals = np.array([plane[:3, 2] for plane in planes])
        if abs(np.linalg.det(normals)) > 1e-3:
            place = np.linalg.solve(normals, [plane[:3, 2] @ plane[:3, 3] for plane in planes])
            crosshair.SetCrosshairRAS(*place)
        if crosshair.GetCrosshairMode() == slicer.vtkMRMLCrosshairNode.NoCrosshair:
            crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)

    def _tell(self) -> None:
        placeSegments()
        methods = [reference() for reference in self._followers]
        self._followers = [WeakMethod(method) for method in methods if method is not None]
        for method in methods:
            if method is not None:
                method()

    def _sliceLogic(self, name: str):
        logic = self._applicationLogic or slicer.app.applicationLogic()
        return logic.GetSliceLogicByLayoutName(name)


def showInOrdinaryViews(volumeNode) -> None:
    """Put a volume into the background of all slice views but the compare views."""
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if view.GetLayoutName() not in VIEW_NAMES:
            compositeNode(view.GetLayoutName()).SetBackgroundVolumeID(volumeNode.GetID())


def switchBackground(originalNode, resultNode) -> None:
    """In the views on screen, show a result where its original is in the background, and the original where it is."""
    other = {originalNode.GetID(): resultNode.GetID(), resultNode.GetID(): originalNode.GetID()}
    for view in {*viewsShowing(originalNode), *viewsShowing(resultNode)}:
        composite = compositeNode(view.GetLayoutName())
        shown = composite.GetBackgroundVolumeID()
        composite.SetBackgroundVolumeID(other.get(shown, shown))


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
    """Where the views stand that show a volume now: compare views when they are on, else the standard ones."""
    offsets = {}
    for orientation, standard in _STANDARD_VIEWS.items():
        name = viewName("Original", orientation) if currentLayout() is not None else standard
        composite, view = compositeNode(name), sliceNode(name)
        # Views that were laid along the axes of an oblique volume are of no named orientation.
        if composite is None or (name == standard and view.GetOrientation() != orientation):
            continue
        if composite.GetBackgroundVolumeID() == node.GetID():
            offsets[orientation] = view.GetSliceOffset()
    return offsets


def _crosshairNode():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
