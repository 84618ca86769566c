"""A Slicer scene without the desktop: the real MRML core with the logics that the package needs."""

from __future__ import annotations

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core, Slicer's MRML core as a Python package")
vtk = pytest.importorskip("vtk", reason="needs VTK, which slicer-core brings")


class Core:
    """Scene, application logic and layout logic, wired as the application does at startup."""

    def __init__(self):
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        self.applicationLogic.SetMRMLScene(self.scene)
        self.applicationLogic.GetColorLogic().SetMRMLScene(self.scene)
        self.applicationLogic.GetColorLogic().AddDefaultColorNodes()
        self.applicationLogic.SetSliceLogics(vtk.vtkCollection())
        self.applicationLogic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        # Color legends, closed surfaces, plots and loading fail without theirs.
        self.moduleLogics = {}
        for name, kind in (
            ("Colors", slicer.vtkSlicerColorLogic),
            ("Terminologies", slicer.vtkSlicerTerminologiesModuleLogic),
            ("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic),
            ("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
            ("Tables", slicer.vtkSlicerTablesLogic),
            ("Plots", slicer.vtkSlicerPlotsLogic),
            ("Volumes", slicer.vtkSlicerVolumesLogic),
        ):
            logic = kind()
            logic.SetMRMLApplicationLogic(self.applicationLogic)
            logic.SetMRMLScene(self.scene)
            self.applicationLogic.SetModuleLogic(name, logic)
            self.moduleLogics[name.lower()] = logic
        self.layoutLogic = slicer.vtkMRMLLayoutLogic()
        self.layoutLogic.SetMRMLScene(self.scene)
        self.layoutNode = self.layoutLogic.GetLayoutNode()

    @property
    def hierarchy(self):
        """The subject hierarchy of the scene; kept here, it would stay the scene's own after it was closed."""
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    def folder(self, name: str) -> int:
        """A new subject hierarchy folder."""
        return self.hierarchy.CreateFolderItem(self.hierarchy.GetSceneItemID(), name)


@pytest.fixture
def core():
    """A fresh scene that is also `slicer.mrmlScene`."""
    made = Core()
    yield made
    made.scene.Clear(1)
    slicer.mrmlScene = None
