"""Loading and saving as the application does it: the real storage nodes and scene, and what the readers do besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer


class IOManager:
    """`slicer.app.coreIOManager()`, for `slicer.util.loadVolume`, `loadScene` and `saveScene`."""

    def loadNodes(self, fileType: str, properties: dict[str, Any], loaded=None, messages=None) -> bool:
        """Read a volume or a scene; whatever was loaded is put into the collection."""
        load = {"VolumeFile": _loadVolume, "SceneFile": _loadScene}[fileType]
        nodes = load(properties["fileName"], properties)
        for node in nodes:
            loaded.AddItem(node)
        return bool(nodes)

    def saveNodes(self, fileType: str, properties: dict[str, Any], messages=None) -> bool:
        """Write the scene: as a bundle (.mrb), or the scene file alone (.mrml), without data."""
        if fileType != "SceneFile":
            raise NotImplementedError(f"{fileType} is not imitated")
        path, scene = Path(properties["fileName"]).absolute(), slicer.mrmlScene
        scene.SetURL(str(path))
        scene.SetRootDirectory(str(path.parent))
        if path.suffix == ".mrml":
            return bool(scene.Commit())
        return bool(scene.WriteToMRB(str(path)))


def _loadVolume(path: str, properties: dict[str, Any]) -> list[Any]:
    """The reader puts the volume into the background of all slice views, those that are not shown included."""
    node = slicer.modules.volumes.logic().AddArchetypeVolume(path, properties.get("name", _name(path)), 0)
    if node is not None and properties.get("show", True):
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActiveVolumeID(node.GetID())
        logic.PropagateVolumeSelection()
    return [node] if node is not None else []


def _loadScene(path: str, properties: dict[str, Any]) -> list[Any]:
    """Add a scene to the present one, or replace it (property "clear")."""
    before = set(_nodes())
    scene, clear = slicer.mrmlScene, bool(properties.get("clear"))
    if path.endswith(".mrb"):
        success = scene.ReadFromMRB(path, clear)
    else:
        scene.SetURL(path)
        success = scene.Connect() if clear else scene.Import()
    return [node for node in _nodes() if node not in before] if success else []


def _name(path: str) -> str:
    return Path(path).name.split(".")[0]


def _nodes() -> list[Any]:
    scene = slicer.mrmlScene
    return [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
