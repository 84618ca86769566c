"""Marks in the slice views that say while scrolling whether a slice was acquired or synthesized.

The corner annotations belong to Slicer's Data Probe, which rewrites them at every change of the slice; a mark is
therefore a text actor of its own in the view's top renderer, updated by observers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.volume import ACQUIRED, Volume

from ..nodes import gridFromNode, sliceAttributes
from .description import COLORS, MIXED_COLOR, Color, describeView
from .observers import Observers

_PLAIN = str.maketrans("|$", "/S")
"""Characters in names of volumes that VTK would take for columns and formulas."""
_TRANSPARENT = 0.005
_COMMON_LAYERS = 3  # background, foreground and labels


class SliceMarks:
    """Marks in all slice views, for every layer, whatever put the volumes there.

    A view is marked while it shows a volume whose slices are not all acquired, and while it shows a volume that has a
    role in it (`setRoles`). Each mark is made of what the view's composite node says at that moment. There is one
    object of this class, `shared.marks()`.

    viewByName: gives the slice view of a layout name, with `renderWindow()` and `scheduleRender()`, or None where
    there is none (yet); by default that of the layout manager.

    Example::

        marks = SliceMarks()
        marks.start()
    """

    def __init__(self, viewByName: Callable[[str], Any] | None = None):
        self._viewByName = viewByName or _viewOfLayoutManager
        self._observers = Observers()
        self._roles: dict[str, str] = {}
        self._roleViews: tuple[str, ...] = ()
        self._actors: dict[str, tuple[Any, Any, Any]] = {}
        self._grids: dict[
            str, tuple[tuple[int, int], Volume | None, bool]
        ] = {}  # by node ID: plain figures, no voxels

    def start(self) -> None:
        """Mark the views from now on; a second call does nothing."""
        scene = slicer.mrmlScene
        for event in (scene.EndImportEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent):
            self._observers.add(scene, event, self._onSceneChanged)
        self._observers.add(scene, scene.NodeAddedEvent, self._onNodeAdded)
        self._observers.add(scene, scene.NodeRemovedEvent, self._onNodeRemoved)
        self.update()

    def update(self) -> None:
        """Bring all marks up to date, those of new views included."""
        for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._observeView(sliceNode)
            self._updateMark(sliceNode)

    def setRoles(self, roles: dict[str, str], views: tuple[str, ...]) -> None:
        """Name volumes, by node ID, in some views: the mark then begins with "original: CTHead", for example."""
        self._roles, self._roleViews = dict(roles), tuple(views)
        self.update()

    def text(self, viewName: str) -> str:
        """What the mark of a view says now; empty where there is none."""
        actor = self._actors.get(viewName, (None,))[0]
        return actor.GetInput() if actor is not None and actor.GetVisibility() else ""

    def remove(self) -> None:
        """Take all marks and observers away."""
        self._observers.clear()
        for actor, renderer, view in self._actors.values():
            renderer.RemoveViewProp(actor)
            view.scheduleRender()
        self._actors.clear()
        self._grids.clear()
        self._roles = {}

    def _observeView(self, sliceNode) -> None:
        for node in (sliceNode, _compositeNode(sliceNode)):
            self._observers.add(node, vtk.vtkCommand.ModifiedEvent, self._onViewChanged)

    def _onViewChanged(self, caller, event) -> None:
        if slicer.mrmlScene.IsBatchProcessing():
            return
        if caller.IsA("vtkMRMLSliceCompositeNode"):
            caller = slicer.vtkMRMLSliceLogic.GetSliceNode(caller)
        if caller is not None:
            self._updateMark(caller)

    def _onVolumeChanged(self, caller, event) -> None:
        if not slicer.mrmlScene.IsBatchProcessing():
            self.update()

    def _onSceneChanged(self, caller, event) -> None:
        if not slicer.mrmlScene.IsBatchProcessing():
            self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller, event, node) -> None:
        isView = node is not None and (node.IsA("vtkMRMLSliceNode") or node.IsA("vtkMRMLSliceCompositeNode"))
        if isView and not caller.IsBatchProcessing():
            self.update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller, event, node) -> None:
        if node is None:
            return
        if node.IsA("vtkMRMLSliceNode"):
            self._actors.pop(node.GetLayoutName(), None)  # its view goes with it
        if self._grids.pop(node.GetID(), None) is not None:
            self._onSceneChanged(caller, event)

    def _updateMark(self, sliceNode) -> None:
        name = sliceNode.GetLayoutName()
        text, color = self._describe(sliceNode)
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

    def _describe(self, sliceNode) -> tuple[str, Color]:
        """The text of the mark of a view: a part for each layer that has something to say."""
        layers = _visibleLayers(sliceNode)
        roles = self._roles if sliceNode.GetLayoutName() in self._roleViews else {}
        parts, colors = [], set()
        for layer, node in layers:
            grid, marked = self._grid(node)
            role = roles.get(node.GetID())
            if grid is None or not (marked or role):
                continue
            line, color = describeView(sliceNode, node, grid)
            caption = f"{role}: {node.GetName()}" if role else ""
            if not line and not caption:
                continue
            if len(layers) > 1:
                caption = f"{layer}, {caption}" if caption else f"{layer}:"
            parts.append("\n".join(part for part in (caption, line) if part))
            colors.add(color)
        return "\n".join(parts), colors.pop() if len(colors) == 1 else MIXED_COLOR

    def _grid(self, node) -> tuple[Volume | None, bool]:
        """The grid of a volume and whether it is marked in any view; remembered until the node changes."""
        known, changed = self._grids.get(node.GetID()), (node.GetMTime(), node.GetImageData().GetMTime())
        if known is None or known[0] != changed:
            try:
                grid = gridFromNode(node)
            except InputError:
                grid = None
            says = grid is not None and "SliceProvenance" in sliceAttributes(node)
            known = (changed, grid, says and bool(set(grid.provenance) - {ACQUIRED}))
            self._grids[node.GetID()] = known
        for event in (
            vtk.vtkCommand.ModifiedEvent,
            slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
            slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
            slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
        ):
            self._observers.add(node, event, self._onVolumeChanged)
        return known[1:]

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
        style.SetColor(*COLORS[ACQUIRED])
        style.SetVerticalJustificationToTop()
        style.SetLineSpacing(1.15)
        # Bone and air are under the text in turn: a backing keeps it readable on both.
        style.SetBackgroundColor(0.0, 0.0, 0.0)
        style.SetBackgroundOpacity(0.55)
        renderer.AddViewProp(actor)
        self._actors[name] = (actor, renderer, view)
        return self._actors[name]


def _visibleLayers(sliceNode) -> list[tuple[str, Any]]:
    """The layers of a view as (word for the mark, volume node), as far as they can be seen."""
    composite, scene = _compositeNode(sliceNode), slicer.mrmlScene
    if composite is None:
        return []
    background = scene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
    layers = [("background", background)] if background is not None else []
    above = [("foreground", composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())]
    for number in range(_COMMON_LAYERS, _COMMON_LAYERS + composite.GetNumberOfAdditionalLayers()):
        above.append(
            (f"layer {number}", composite.GetNthLayerVolumeID(number), composite.GetNthLayerOpacity(number))
        )
    for word, nodeId, opacity in above:
        node = scene.GetNodeByID(nodeId or "")
        if node is not None and opacity > _TRANSPARENT:
            layers.append((f"{word} {opacity:.0%}", node))
    return [
        (word, node) for word, node in layers if node.IsA("vtkMRMLScalarVolumeNode") and node.GetImageData()
    ]


def _compositeNode(sliceNode):
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(sliceNode)


def _viewOfLayoutManager(name: str):
    application = getattr(slicer, "app", None)
    layoutManager = application.layoutManager() if application is not None else None
    widget = layoutManager.sliceWidget(name) if layoutManager is not None else None
    return widget.sliceView() if widget is not None else None


def _topRenderer(view):
    """The renderer above the pictures of a light box, which come and go."""
    renderers = view.renderWindow().GetRenderers()
    found = [renderers.GetItemAsObject(number) for number in range(renderers.GetNumberOfItems())]
    return max(found, key=lambda renderer: renderer.GetLayer()) if found else None
