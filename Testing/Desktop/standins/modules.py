"""The base classes of scripted modules, Sample Data, and where Slicer's own sources take their place."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import unittest
from pathlib import Path
from typing import Any, ClassVar

import slicer

from . import parameternode

SLICER_SOURCE = os.environ.get("SLICER_SOURCE", "")
"""A source tree of Slicer: its own Python files then take the place of ours (base classes, parameter node wrapper,
translation, Segment Statistics). No package on PyPI carries them, so that tests here usually run without."""
MODULE_FOLDER = Path(__file__).resolve().parents[3] / "SliceInterpolation"


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

    def onReload(self) -> None:
        """What the button "Reload" of the developer section does."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def resourcePath(self, name: str) -> str:
        """A file below Resources."""
        return str(MODULE_FOLDER / "Resources" / name)


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


def install(ctk: types.ModuleType) -> None:
    """Make the base classes, the parameter node wrapper, the translation and Sample Data importable."""
    if SLICER_SOURCE:
        _useSlicersOwn(Path(SLICER_SOURCE), ctk)
    else:
        _useOurs()
    samples = sys.modules["SampleData"] = types.ModuleType("SampleData")
    samples.SampleDataLogic = SampleDataLogic


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


def _useSlicersOwn(source: Path, ctk: types.ModuleType) -> None:
    """Load Slicer's own i18n, ScriptedLoadableModule and parameterNodeWrapper; make SegmentStatistics importable."""
    never = type("NotInTheStandIns", (), {})
    for module, names in (
        (
            ctk,
            (
                *("ctkCheckBox", "ctkCheckablePushButton", "ctkDoubleSlider", "ctkDoubleSpinBox"),
                *("ctkComboBox", "ctkRangeWidget", "ctkDoubleRangeSlider", "ctkPathLineEdit"),
                *("ctkDirectoryButton", "ctkColorPickerButton", "ctkCoordinatesWidget"),
            ),
        ),
        (
            slicer,
            (
                *("qMRMLSliderWidget", "qMRMLSpinBox", "qMRMLRangeWidget", "qMRMLCheckableNodeComboBox"),
                "qMRMLSubjectHierarchyComboBox",
            ),
        ),
    ):
        for name in names:
            if not hasattr(module, name):
                setattr(module, name, never)
    folder = source / "Base" / "Python" / "slicer"
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
    sys.path.append(str(source / "Modules" / "Scripted" / "SegmentStatistics"))
    # Under these names in the desktop.
    sys.modules["vtkITK"] = importlib.import_module("slicer_core.vtkITK")
    sys.modules["vtkSegmentationCorePython"] = importlib.import_module("slicer_core.vtkSegmentationCore")
