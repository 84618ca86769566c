"""`slicer.app` and the scene with its logics: what the application sets up at startup."""

from __future__ import annotations

import runpy
import sys
import tempfile
import traceback
import types
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtWidgets
from slicercore import Core

from . import modules, pythonqt, widgets
from .api import Checked
from .files import IOManager
from .layout import LayoutManager


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
        self._options = types.SimpleNamespace(runPythonAndExit=False)
        self._code: int | None = None

    def applicationLogic(self):
        """The real application logic."""
        return self._logic

    def layoutManager(self):
        """The layout manager."""
        return self._layoutManager

    def coreIOManager(self) -> IOManager:
        """Loads and saves."""
        return IOManager()

    def processEvents(self) -> None:
        """Let the event loop run."""
        self._qt.processEvents()

    def testingEnabled(self) -> bool:
        """True: pop-ups are logged instead of shown, as under `--testing`."""
        return self._testing

    def commandOptions(self) -> types.SimpleNamespace:
        """The one that `slicer.util.exit` changes."""
        return self._options

    def exit(self, code: int = 0) -> None:
        """The event loop will end with this code."""
        self._code = code

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

    def _runScript(self, path: Path, *arguments: str) -> int | None:
        """What `--testing --python-script PATH ARGUMENTS` does: the exit code, None where the application goes on.

        The application leaves as soon as the script has returned, with 0 unless there was an error that nobody
        caught; timers that the script has started never fire. A code given by `slicer.util.exit` is kept.
        """
        self._options.runPythonAndExit, self._code = self._testing, None
        self.processEvents()
        formerArguments, sys.argv = sys.argv, [str(path), *arguments]
        failed = False
        try:
            runpy.run_path(str(path), run_name="__main__")
        except Exception:
            failed = True
            traceback.print_exc(file=sys.stderr)
        finally:
            sys.argv = formerArguments
        if self._options.runPythonAndExit:
            self._code = int(failed)
        return self._code


class Desktop(Core):
    """One scene with its logics, as the application has after startup; views: with slice views that draw."""

    def __init__(self, app: Application, views: bool = False):
        super().__init__()
        app._logic = self.applicationLogic
        self._remote = slicer.vtkMRMLRemoteIOLogic()  # scene bundles are unpacked in its cache
        self._remote.SetMRMLScene(self.scene)
        self._remote.GetCacheManager().SetRemoteCacheDirectory(app._folder)
        self._remote.AddDataIOToScene()
        found = {
            name: types.SimpleNamespace(logic=lambda logic=logic: logic)
            for name, logic in self.moduleLogics.items()
        }
        found["sliceinterpolation"] = types.SimpleNamespace(
            path=str(modules.MODULE_FOLDER / "SliceInterpolation.py")
        )
        if modules.SLICER_SOURCE:
            found["segmentstatistics"] = types.SimpleNamespace()
        slicer.modules = types.SimpleNamespace(**found)
        self.scene.AddObserver(self.scene.NodeAddedEvent, self._onNodeAdded)
        for event in (self.scene.EndImportEvent, self.scene.EndCloseEvent):
            self.scene.AddObserver(event, self._resolveHierarchy, -1.0)
        app._layoutManager = LayoutManager(self, draw=views)

    def picture(self):
        """The slice views of the current layout, (rows, columns, 3) uint8; only with views."""
        slicer.app.processEvents()
        return slicer.app._layoutManager._views.layout()

    def runScript(self, path: Path, *arguments: str) -> int | None:
        """Run a script as `--testing --python-script` does; the exit code of the application."""
        return slicer.app._runScript(path, *arguments)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller, event, node) -> None:
        if not caller.IsImporting():
            self._addToHierarchy(node)

    def _resolveHierarchy(self, caller, event) -> None:
        """A scene without a hierarchy gets one; what is loaded into such a scene has no parent in the end.

        The display of segmentations would look for it forever.
        """
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(caller)
        for node in slicer.util.getNodesByClass("vtkMRMLNode"):
            self._addToHierarchy(node)

    def _addToHierarchy(self, node) -> None:
        """The desktop's subject hierarchy plugins make an item for every data node; of a file, once all is loaded."""
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
    if str(modules.MODULE_FOLDER) not in sys.path:
        sys.path.insert(0, str(modules.MODULE_FOLDER))
    sys.modules["qt"] = pythonqt.makeQtModule()
    ctk = sys.modules["ctk"] = types.ModuleType("ctk")
    for cls in widgets.CLASSES:
        made = pythonqt.register(cls, widgets.KEYS[cls.__name__])
        setattr(ctk if cls.__name__.startswith("ctk") else slicer, cls.__name__, made)
    pythonqt.register(ModuleWidget, "")
    _app = slicer.app = Application()
    modules.install(ctk)
    return _app


def newScene(views: bool = False) -> Desktop:
    """A fresh scene that is also `slicer.mrmlScene`; views: with slice views that draw offscreen."""
    return Desktop(start(), views)
