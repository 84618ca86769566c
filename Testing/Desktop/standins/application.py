"""`slicer.app`, the layout manager, the module base classes, and the scene: what the application sets up at startup."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import types
import unittest
from pathlib import Path
from typing import Any, ClassVar

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtWidgets

from . import parameternode, pythonqt, widgets
from .api import Checked

SLICER_SOURCE = os.environ.get("SLICER_SOURCE", "")
"""A source tree of Slicer: its own Python files for modules and parameter nodes then take the place of ours."""
_MODULE_FOLDER = Path(__file__).resolve().parents[3] / "SliceInterpolation"


class Application(Checked):
    """`slicer.app`, as far as the panel and slicer.util use it."""

    apiKey = "slicer.app"

    def __init__(self):
        self._qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(
            ["Slicer", "-platform", "offscreen"]
        )
        self._qt.setStyle("Fusion")
        self._qt.setOrganizationName("NA-MIC")
        self._qt.setApplicationName("Slicer")
        self._folder = tempfile.mkdtemp(prefix="slicer-stand-in-")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        QtCore.QSettings.setPath(
            QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, self._folder
        )
        self.applicationName = "Slicer"
        self.temporaryPath = self._folder
        self._logic = self._layoutManager = None
        self._startup: list[Any] = []
        self._testing = True

    def applicationLogic(self):
        """The real application logic."""
        return self._logic

    def layoutManager(self):
        """The layout manager."""
        return self._layoutManager

    def processEvents(self) -> None:
        """Let the event loop run."""
        self._layoutManager._makeSliceLogics()
        self._qt.processEvents()

    def testingEnabled(self) -> bool:
        """True: pop-ups are logged instead of shown, as under `--testing`."""
        return self._testing

    def userSettings(self):
        """Settings, kept in a temporary folder."""
        return QtCore.QSettings()

    def connect(self, signal: str, slot: Any) -> None:
        """Only startupCompleted() is ever sent, by `_completeStartup`."""
        self._startup.append(slot)

    def translate(self, context: str, text: str) -> str:
        """No translation."""
        return text

    def moduleManager(self):
        """Tells nothing, since no module is ever unloaded here."""
        return types.SimpleNamespace(connect=lambda *a: True, disconnect=lambda *a: True)

    def setOverrideCursor(self, cursor: Any) -> None:
        """Wait cursor."""
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        """The former cursor."""
        self._qt.restoreOverrideCursor()

    def topLevelWidgets(self) -> tuple:
        """No main window."""
        return ()

    def pauseRender(self) -> None:
        """Nothing renders."""

    def resumeRender(self) -> None:
        """Nothing renders."""

    def _completeStartup(self) -> None:
        for slot in self._startup:
            slot()


class LayoutManager(Checked):
    """The real layout logic makes the view nodes; slice logics are attached here, as slice widgets do."""

    apiKey = "slicer.app.layoutManager()"

    def __init__(self, scene, applicationLogic):
        self._layoutLogic = slicer.vtkMRMLLayoutLogic()
        self._layoutLogic.SetMRMLScene(scene)
        self._scene, self._applicationLogic = scene, applicationLogic
        self._views: dict[str, Any] = {}
        self._sliceLogics = vtk.vtkCollection()
        applicationLogic.SetSliceLogics(self._sliceLogics)
        applicationLogic.SetViewLogics(vtk.vtkCollection())
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    @property
    def layout(self) -> int:
        """Number of the layout."""
        return self._layoutLogic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, number: int) -> None:
        """Switch the layout."""
        self._layoutLogic.GetLayoutNode().SetViewArrangement(number)
        self._makeSliceLogics()

    def layoutLogic(self):
        """The real one."""
        return self._layoutLogic

    def mrmlSliceLogics(self):
        """The real slice logics."""
        return self._sliceLogics

    def sliceViewNames(self) -> tuple:
        """Layout names of all slice views of the scene."""
        return tuple(node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"))

    def sliceWidget(self, name: str):
        """A slice widget with an offscreen view, where the scene was started with views; else None."""
        self._makeSliceLogics()
        return SliceWidget(self._views[name]) if name in self._views else None

    def _drawOffscreen(self, desktop) -> None:
        """From now on, give each slice view a render window."""
        from offscreen import OffscreenViews

        self._views = OffscreenViews(desktop)

    def _makeSliceLogics(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if self._views and node.GetLayoutName() not in self._views:
                self._views._onLayout(None, "")
            elif self._applicationLogic.GetSliceLogicByLayoutName(node.GetLayoutName()) is None:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._applicationLogic)
                logic.SetMRMLScene(self._scene)
                self._sliceLogics.AddItem(logic)
                logic.SetSliceNode(node)
                logic.ResizeSliceNode(300, 300)


class SliceWidget(Checked):
    """A slice widget: its view and its logic."""

    apiKey = "layoutManager.sliceWidget('Red')"

    def __init__(self, view):
        self._view = view

    def sliceView(self):
        """The view, with `renderWindow()` and `scheduleRender()`."""
        return self._view

    def sliceLogic(self):
        """The real slice logic."""
        return self._view.logic


class Desktop:
    """One scene with its logics, as the application has after startup; views: with slice views that draw."""

    def __init__(self, app: Application, views: bool = False):
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(self.scene)
        logic.GetColorLogic().SetMRMLScene(self.scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        app._logic = logic
        self.modules = []
        found = {}
        for name, kind in (
            ("Terminologies", slicer.vtkSlicerTerminologiesModuleLogic),
            ("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic),
            ("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
            ("Tables", slicer.vtkSlicerTablesLogic),
            ("Plots", slicer.vtkSlicerPlotsLogic),
            ("Volumes", slicer.vtkSlicerVolumesLogic),
        ):
            module = kind()
            module.SetMRMLApplicationLogic(logic)
            module.SetMRMLScene(self.scene)
            logic.SetModuleLogic(name, module)
            self.modules.append(module)
            found[name.lower()] = types.SimpleNamespace(logic=lambda module=module: module)
        found["colors"] = types.SimpleNamespace(logic=lambda: slicer.vtkSlicerColorLogic)
        found["sliceinterpolation"] = types.SimpleNamespace(
            path=str(_MODULE_FOLDER / "SliceInterpolation.py")
        )
        slicer.modules = types.SimpleNamespace(**found)
        self._hierarchyTag = self.scene.AddObserver(self.scene.NodeAddedEvent, self._addToHierarchy)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        app._layoutManager = LayoutManager(self.scene, logic)
        self.applicationLogic, self.layoutNode = logic, app._layoutManager.layoutLogic().GetLayoutNode()
        if views:
            app._layoutManager._drawOffscreen(self)

    def picture(self):
        """The slice views of the current layout, (rows, columns, 3) uint8; only with views."""
        slicer.app.processEvents()
        return slicer.app._layoutManager._views.layout()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _addToHierarchy(self, caller, event, node) -> None:
        """The desktop's subject hierarchy plugins make an item for every data node."""
        data = ("ScalarVolume", "Segmentation", "Table", "PlotChart", "MarkupsROI", "Transform")
        if any(node.IsA(f"vtkMRML{kind}Node") for kind in data) and not node.GetHideFromEditors():
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
            if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def makeWidget(self):
        """The panel, set up as on first entering the module."""
        from SliceInterpolation import SliceInterpolationWidget

        parent = pythonqt.wrap(moduleWidget())
        widget = SliceInterpolationWidget(parent)
        widget.setup()
        parent.resize(430, 1250)
        parent.show()
        slicer.app.processEvents()
        return widget


def moduleWidget():
    """The widget that the application gives to a scripted module, with a layout and a scene."""
    made = ModuleWidget()
    layout = QtWidgets.QVBoxLayout(made)
    layout.setContentsMargins(4, 4, 4, 4)
    made.setMRMLScene(slicer.mrmlScene)
    return made


class ModuleWidget(widgets.qMRMLWidget):
    """qSlicerScriptedLoadableModuleWidget: it also knows whether the module is entered."""


_app: Application | None = None


def start() -> Application:
    """Put the stand-ins in place; a second call does nothing."""
    global _app
    if _app is not None:
        return _app
    for folder in (_MODULE_FOLDER, Path(__file__).resolve().parents[2] / "Python"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    sys.modules["qt"] = pythonqt.makeQtModule()
    ctk = sys.modules["ctk"] = types.ModuleType("ctk")
    for cls in widgets.CLASSES:
        made = pythonqt.register(cls, widgets.KEYS[cls.__name__])
        setattr(ctk if cls.__name__.startswith("ctk") else slicer, cls.__name__, made)
    pythonqt.register(ModuleWidget, "")
    _app = slicer.app = Application()
    if SLICER_SOURCE:
        _useSlicersOwn(Path(SLICER_SOURCE) / "Base" / "Python" / "slicer", sys.modules["qt"], ctk)
    else:
        _useOurs()
    samples = sys.modules["SampleData"] = types.ModuleType("SampleData")
    samples.SampleDataLogic = SampleDataLogic
    return _app


def newScene(views: bool = False) -> Desktop:
    """A fresh scene that is also `slicer.mrmlScene`; views: with slice views that draw offscreen."""
    return Desktop(start(), views)


class SampleDataLogic:
    """The registry of the module Sample Data."""

    sources: ClassVar[list[dict[str, Any]]] = []

    @staticmethod
    def registerCustomSampleDataSource(**source: Any) -> None:
        """Keep a source; the lengths are checked as the desktop does."""
        for key in ("uris", "fileNames", "nodeNames"):
            if not isinstance(source[key], str):
                raise ValueError(f"{key} of a single file is a string")
        SampleDataLogic.sources.append(source)


class ScriptedLoadableModule:
    """Base of the module class."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """Base of the panel."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def setup(self) -> None:
        """No developer section."""

    def cleanup(self) -> None:
        """Nothing to clean up."""

    def resourcePath(self, name: str) -> str:
        """A file below Resources."""
        return str(_MODULE_FOLDER / "Resources" / name)


class ScriptedLoadableModuleLogic:
    """Base of the logic: a singleton parameter node."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        """The parameter node of the scene, made where there is none."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node.SetName(scene.GenerateUniqueName(self.moduleName))
            node = scene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of self tests."""

    def __init__(self, methodName: str = "runTest"):
        super().__init__(methodName)
        self.messageDelay = 0

    def delayDisplay(self, message: str, *arguments: Any, **more: Any) -> None:
        """Let the event loop run; the message is not shown."""
        slicer.app.processEvents()


def _useOurs() -> None:
    i18n = sys.modules["slicer.i18n"] = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    base = sys.modules["slicer.ScriptedLoadableModule"] = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(base, cls.__name__, cls)
    sys.modules["slicer.parameterNodeWrapper"] = parameternode


def _useSlicersOwn(folder: Path, qt: types.ModuleType, ctk: types.ModuleType) -> None:
    """Load i18n, ScriptedLoadableModule and parameterNodeWrapper from a source tree of Slicer."""
    never = type("NotInTheStandIns", (), {})
    for module, names in (
        (
            ctk,
            ("ctkCheckBox", "ctkCheckablePushButton", "ctkDoubleSlider", "ctkDoubleSpinBox", "ctkComboBox"),
        ),
        (ctk, ("ctkRangeWidget", "ctkDoubleRangeSlider", "ctkPathLineEdit", "ctkDirectoryButton")),
        (ctk, ("ctkColorPickerButton", "ctkCoordinatesWidget")),
        (slicer, ("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget", "qMRMLCheckableNodeComboBox")),
        (slicer, ("qMRMLSubjectHierarchyComboBox",)),
    ):
        for name in names:
            if not hasattr(module, name):
                setattr(module, name, never)
    for name in ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper"):
        path = folder / f"{name}.py"
        if not path.exists():
            path = folder / name / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            f"slicer.{name}",
            path,
            submodule_search_locations=[str(path.parent)] if path.stem == "__init__" else None,
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
        spec.loader.exec_module(module)
