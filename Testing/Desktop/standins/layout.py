"""The layout manager: the real layout logic makes the view nodes, slice logics and views are attached here."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Callable

import slicer
import slicer.util
import vtk
from PySide6 import QtWidgets

from .api import Checked
from .pythonqt import slotErrors, wrap


class LayoutManager(Checked):
    """The layout manager, as far as the panel and slicer.util use it.

    As in the desktop, the layout at start has the number 0, every change of the layout node is told to those who
    are connected to "layoutChanged(int)", and view nodes know whether they are in the present layout.
    """

    apiKey = "slicer.app.layoutManager()"

    def __init__(self, core, draw: bool = False):
        self._scene, self._applicationLogic = core.scene, core.applicationLogic
        self._layoutLogic = core.layoutLogic
        self._sliceLogics = core.applicationLogic.GetSliceLogics()
        self._views: Any = _offscreenViews(core) if draw else {}
        self._slots: list[Callable[[int], Any]] = []
        self._viewport = wrap(QtWidgets.QWidget())
        self._viewport.resize(1200, 800)
        # After the layout logic, which makes the view nodes.
        core.layoutNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayoutModified, -5.0)
        for event in (self._scene.EndImportEvent, self._scene.EndCloseEvent, self._scene.EndRestoreEvent):
            self._scene.AddObserver(event, self._onLayoutModified, -5.0)
        self._setUp()

    @property
    def layout(self) -> int:
        """Number of the layout."""
        return self._layoutLogic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, number: int) -> None:
        """Switch the layout."""
        self._layoutLogic.GetLayoutNode().SetViewArrangement(number)

    def viewport(self):
        """The widget that holds the views, wide as on most screens."""
        return self._viewport

    def layoutLogic(self):
        """The real one."""
        return self._layoutLogic

    def mrmlSliceLogics(self):
        """The real slice logics."""
        return self._sliceLogics

    def sliceViewNames(self) -> tuple:
        """Layout names of all slice views of the scene, shown or not."""
        return tuple(node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"))

    def sliceWidget(self, name: str):
        """A slice widget with an offscreen view, where the scene was started with views; else None."""
        return SliceWidget(self._views[name]) if name in self._views else None

    def connect(self, signal: str, slot: Callable[[int], Any]) -> bool:
        """Call `slot` with the number of the layout whenever the layout node changes."""
        if signal != "layoutChanged(int)":
            raise NotImplementedError(f"{signal} is not imitated")
        self._slots.append(slot)
        return True

    def disconnect(self, signal: str, slot: Callable[[int], Any]) -> bool:
        """Undo `connect`."""
        self._slots.remove(slot)
        return True

    def _onLayoutModified(self, caller, event) -> None:
        if self._scene.IsBatchProcessing():
            return
        self._setUp()
        for slot in list(self._slots):
            try:
                slot(self.layout)
            except Exception as error:  # the event loop goes on, as with any slot
                slotErrors.append(error)
                traceback.print_exc(file=sys.stderr)

    def _setUp(self) -> None:
        """Views for new view nodes; and which of all are in the layout."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if self._views:
                self._views.add(node)
            elif self._applicationLogic.GetSliceLogicByLayoutName(node.GetLayoutName()) is None:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._applicationLogic)
                logic.SetMRMLScene(self._scene)
                self._sliceLogics.AddItem(logic)
                logic.SetSliceNode(node)
                logic.ResizeSliceNode(300, 300)
        mapped = self._layoutLogic.GetViewNodes()
        mapped = [mapped.GetItemAsObject(number) for number in range(mapped.GetNumberOfItems())]
        for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode"):
            node.SetMappedInLayout(node in mapped)


def _offscreenViews(core):
    """A render window for each slice view."""
    from offscreen import OffscreenViews

    return OffscreenViews(core)


class SliceWidget(Checked):
    """A slice widget: its view, its logic and its nodes."""

    apiKey = "layoutManager.sliceWidget('Red')"

    def __init__(self, view):
        self._view = view

    def sliceView(self):
        """The view."""
        return SliceView(self._view)

    def sliceLogic(self):
        """The real slice logic."""
        return self._view.logic

    def mrmlSliceNode(self):
        """The real slice node."""
        return self._view.node

    def mrmlSliceCompositeNode(self):
        """The real composite node."""
        return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(self._view.node)


class SliceView(Checked):
    """A slice view."""

    apiKey = "sliceWidget.sliceView()"

    def __init__(self, view):
        self._view = view

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SliceView) and self._view is other._view

    def __hash__(self) -> int:
        return hash(id(self._view))

    def renderWindow(self):
        """The real render window."""
        return self._view.renderWindow()

    def scheduleRender(self) -> None:
        """Render soon; `picture` of the offscreen view does."""
        self._view.scheduleRender()

    def forceRender(self) -> None:
        """Render now."""
        self._view.picture()
