"""Marks in the slice views that say while scrolling whether a slice was acquired or synthesized.

The corner annotations belong to Slicer's Data Probe, which rewrites them at every change of the slice; a mark is
therefore a text actor of its own in the view's top renderer, updated by observers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.util import VTKObservationMixin

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.volume import DENOISED, SYNTHESIZED, UNKNOWN, Volume

from ..nodes import isResult, volumeFromNode

ACQUIRED_COLOR = (0.55, 0.95, 0.55)
MIXED_COLOR = (1.0, 0.95, 0.55)
SYNTHESIZED_COLOR = (1.0, 0.70, 0.25)
_ON_SLICE = 0.05  # of a slice distance: closer than this, a view shows that slice alone
_SAMPLES = 4096  # points of an oblique view, for the share that is synthesized
_PLAIN = str.maketrans("|$", "/S")
"""Characters in names of volumes that VTK would take for columns and formulas."""


class SliceMarks(VTKObservationMixin):
    """Marks in all slice views, or in those that `views` names.

    A view is marked while its background volume holds synthesized or denoised slices, or always where
    `setCaption` gave it a caption. Call `update` when views were added; `remove` takes everything away.

    viewByName: gives the slice view of a layout name, with `renderWindow()` and `scheduleRender()`, or None where
    there is none (yet); by default that of the layout manager.

    Example::

        marks = SliceMarks()
        marks.update()
    """

    def __init__(self, viewByName: Callable[[str], Any] | None = None, views: list[str] | None = None):
        VTKObservationMixin.__init__(self)
        self._viewByName = viewByName or _viewOfLayoutManager
        self._views = views
        self._captions: dict[str, str] = {}
        self._actors: dict[str, tuple[Any, Any, Any]] = {}
        self._volumes: dict[str, tuple[int, Volume | None, bool]] = {}

    def update(self) -> None:
        """Mark views that are not yet marked, and bring all marks up to date."""
        scene = slicer.mrmlScene
        removed = slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent
        if not self.hasObserver(scene, removed, self._onNodeRemoved):
            self.addObserver(scene, removed, self._onNodeRemoved)
        for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            name = sliceNode.GetLayoutName()
            if self._views is not None and name not in self._views:
                continue
            for node in (sliceNode, _compositeNode(sliceNode)):
                if node is not None and not self.hasObserver(
                    node, vtk.vtkCommand.ModifiedEvent, self._changed
                ):
                    self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._changed)
            self._updateMark(sliceNode)

    def setCaption(self, viewName: str, caption: str) -> None:
        """A first line for the mark of a view, such as "original", which is then shown for any volume; "" ends it."""
        if caption:
            self._captions[viewName] = caption
        else:
            self._captions.pop(viewName, None)
        sliceNode = slicer.mrmlScene.GetSingletonNode(viewName, "vtkMRMLSliceNode")
        if sliceNode is not None:
            self._updateMark(sliceNode)

    def text(self, viewName: str) -> str:
        """What the mark of a view says now; empty where there is none."""
        actor = self._actors.get(viewName, (None,))[0]
        return actor.GetInput() if actor is not None and actor.GetVisibility() else ""

    def remove(self) -> None:
        """Take all marks and observers away."""
        self.removeObservers()
        for actor, renderer, view in self._actors.values():
            renderer.RemoveViewProp(actor)
            view.scheduleRender()
        self._actors.clear()
        self._volumes.clear()
        self._captions.clear()

    def _changed(self, caller, event) -> None:
        if caller.IsA("vtkMRMLSliceCompositeNode"):
            caller = slicer.vtkMRMLSliceLogic.GetSliceNode(caller)
        if caller is not None:
            self._updateMark(caller)

    def _updateMark(self, sliceNode) -> None:
        name = sliceNode.GetLayoutName()
        line, color = self._describe(sliceNode)
        text = "\n".join(part for part in (self._captions.get(name, ""), line) if part)
        if not text and name not in self._actors:
            return
        found = self._actors.get(name) or self._addActor(name)
        if found is None:
            return
        actor, _, view = found
        if text.translate(_PLAIN) == (actor.GetInput() if actor.GetVisibility() else ""):
            return
        actor.SetInput(text.translate(_PLAIN) or " ")
        actor.SetVisibility(bool(text))
        actor.GetTextProperty().SetColor(*color)
        view.scheduleRender()

    def _describe(self, sliceNode) -> tuple[str, tuple[float, float, float]]:
        composite = _compositeNode(sliceNode)
        node = composite and slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        volume, made = self._volume(node) if node is not None else (None, False)
        if volume is None or not (made or sliceNode.GetLayoutName() in self._captions):
            return "", ACQUIRED_COLOR
        return describeView(sliceNode, node, volume)

    def _volume(self, node) -> tuple[Volume | None, bool]:
        """The volume of a node and whether it holds made slices; remembered until the node changes."""
        known = self._volumes.get(node.GetID())
        if known is None or known[0] != node.GetMTime():
            try:
                volume = volumeFromNode(node) if node.IsA("vtkMRMLScalarVolumeNode") else None
            except InputError:
                volume = None
            known = (node.GetMTime(), volume, volume is not None and isResult(node))
            self._volumes[node.GetID()] = known
            if not self.hasObserver(
                node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._moved
            ):
                self.addObserver(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._moved)
        return known[1:]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node) -> None:
        """Let go of a volume, whose voxels would stay in memory otherwise."""
        if self._volumes.pop(node.GetID(), None) is not None:
            self.removeObserver(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._moved)

    def _moved(self, caller, event) -> None:
        self.update()

    def _addActor(self, name: str):
        view = self._viewByName(name)
        renderer = _topRenderer(view) if view is not None else None
        if renderer is None:
            return None
        actor = vtk.vtkTextActor()
        actor.SetTextScaleModeToNone()
        coordinate = actor.GetPositionCoordinate()
        coordinate.SetCoordinateSystemToNormalizedViewport()
        coordinate.SetValue(0.015, 0.985)
        style = actor.GetTextProperty()
        style.SetFontFamilyToArial()
        style.SetFontSize(15)
        style.SetBold(True)
        style.SetVerticalJustificationToTop()
        style.SetLineSpacing(1.15)
        # Bone and air are under the text in turn: a backing keeps it readable on both.
        style.SetBackgroundColor(0.0, 0.0, 0.0)
        style.SetBackgroundOpacity(0.55)
        renderer.AddViewProp(actor)
        self._actors[name] = (actor, renderer, view)
        return self._actors[name]


def describeView(
    sliceNode, volumeNode, volume: Volume | None = None
) -> tuple[str, tuple[float, float, float]]:
    """What a slice view shows of a volume, in words, and the color of the words.

    "acquired slice 12"; "synthesized, between 12 and 13"; where the plane lies between two slices, which ones the
    display blends; for oblique and reformatted views and for slabs, how much of what is seen is synthesized.
    Empty where the view misses the volume.
    """
    volume = volume if volume is not None else volumeFromNode(volumeNode)
    positions, inside = _slicePositions(sliceNode, volumeNode, volume)
    if not inside.any():
        return "", ACQUIRED_COLOR
    positions = positions[inside]
    low, high = float(positions.min()), float(positions.max())
    if high - low < _ON_SLICE:
        return _describePosition(volume, 0.5 * (low + high), volumeNode)
    numbers = np.clip(np.rint(positions).astype(int), 0, volume.slice_count - 1)
    letters = np.frombuffer(volume.provenance.encode(), np.uint8)[numbers]
    shares = {letter: float((letters == ord(letter)).mean()) for letter in (SYNTHESIZED, DENOISED, UNKNOWN)}
    words = {SYNTHESIZED: "synthesized", DENOISED: "denoised", UNKNOWN: "of unknown origin"}
    parts = [f"{share:.0%} {words[letter]}" for letter, share in shares.items() if share >= 0.005]
    if not parts:
        return "acquired slices only", ACQUIRED_COLOR
    slab = "slab" if sliceNode.GetSlabReconstructionEnabled() else "view"
    color = SYNTHESIZED_COLOR if sum(shares.values()) > 0.995 else MIXED_COLOR
    return f"{slab}: {', '.join(parts)}", color


def _describePosition(volume: Volume, position: float, volumeNode) -> tuple[str, tuple[float, float, float]]:
    position = min(max(position, 0.0), volume.slice_count - 1.0)
    nearest = round(position)
    display = volumeNode.GetScalarVolumeDisplayNode()
    blends = display is None or display.GetInterpolate()
    if abs(position - nearest) < _ON_SLICE or not blends:
        made = volume.provenance[nearest] in (SYNTHESIZED, DENOISED)
        return volume.describe_slice(nearest), SYNTHESIZED_COLOR if made else ACQUIRED_COLOR
    before = int(position)
    return f"display blend of {_short(volume, before)} and {_short(volume, before + 1)}", MIXED_COLOR


def _short(volume: Volume, number: int) -> str:
    """A slice in few words: "acquired 12", or "synthesized 12/13"."""
    text = volume.describe_slice(number)
    return text.replace(" slice ", " ").replace(", between ", " ").replace(" and ", "/")


def _slicePositions(sliceNode, volumeNode, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Positions along the slice axis (in slices, from 0) of points of the view, and which lie in the volume."""
    toRas = slicer.util.arrayFromVTKMatrix(sliceNode.GetXYToRAS())
    width, height = sliceNode.GetDimensions()[:2]
    # A lattice would beat with the slices; steps of irrational length (Roberts' R2 sequence) do not.
    steps = np.arange(_SAMPLES) + 0.5
    columns, rows = 0.7548776662466927 * steps % 1 * width, 0.5698402909980532 * steps % 1 * height
    xy = np.stack([columns, rows, np.zeros(_SAMPLES), np.ones(_SAMPLES)])
    points = (toRas @ xy)[:3].T
    points = np.concatenate([points + offset for offset in _slabOffsets(sliceNode)])
    points = _toVolume(points, volumeNode)
    lps = points * [-1.0, -1.0, 1.0]
    ijk = np.linalg.solve(volume.affine[:3, :3], (lps - volume.origin).T)
    size = np.array(volume.array.shape[::-1])
    inside = np.all((ijk >= -0.5) & (ijk <= size[:, None] - 0.5), axis=0)
    return ijk["ijk".index(volume.slice_axis)], inside


def _slabOffsets(sliceNode) -> list[np.ndarray]:
    if not sliceNode.GetSlabReconstructionEnabled():
        return [np.zeros(3)]
    toRas = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
    half = 0.5 * sliceNode.GetSlabReconstructionThickness()
    return [toRas[:3, 2] * step for step in np.linspace(-half, half, 9)]


def _toVolume(points: np.ndarray, volumeNode) -> np.ndarray:
    """World points in the coordinates of a volume below a transform, linear or not (gantry tilt is not)."""
    transformNode = volumeNode.GetParentTransformNode()
    if transformNode is None:
        return points
    transform = vtk.vtkGeneralTransform()
    transformNode.GetTransformFromWorld(transform)
    moved = [transform.TransformPoint(point) for point in points.tolist()]
    return np.array(moved)


def _compositeNode(sliceNode):
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(sliceNode)


def _viewOfLayoutManager(name: str):
    layoutManager = slicer.app.layoutManager()
    widget = layoutManager.sliceWidget(name) if layoutManager is not None else None
    return widget.sliceView() if widget is not None else None


def _topRenderer(view):
    """The renderer above the pictures of a light box, which come and go."""
    renderers = view.renderWindow().GetRenderers()
    found = [renderers.GetItemAsObject(number) for number in range(renderers.GetNumberOfItems())]
    return max(found, key=lambda renderer: renderer.GetLayer()) if found else None
