# ruff: noqa: F401, F811 (fixtures)
"""A scene is saved to a file and loaded into another, empty one, as after a restart: nothing of the panel is lost."""

from __future__ import annotations

import enum
import typing

import pytest
from paneldesktop import SMALL, _scenes, desktop, living, loadTiny, panel, slicer, spin, standins


def otherValue(name: str, hint, before, volume):
    """A value that a parameter does not have by default."""
    kind = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if issubclass(kind, slicer.vtkMRMLNode):
        return volume
    if issubclass(kind, enum.Enum):
        return next(member for member in reversed(kind) if member is not before)
    if kind is bool:
        return not before
    if kind is str:
        return {"method": "cubic", "device": "cpu"}.get(name, 'another text: äöü, "quotes" & <tags>')
    bounds = hint.__metadata__[0]
    return bounds.minimum + 0.3125 * (bounds.maximum - bounds.minimum)


def setAll(node, volume) -> dict:
    """Change every parameter; what they are then, nodes by name."""
    for name, hint in typing.get_type_hints(type(node), include_extras=True).items():
        setattr(node, name, otherValue(name, hint, getattr(node, name), volume))
    return values(node)


def values(node) -> dict:
    """The parameters, nodes by name."""
    found = {name: getattr(node, name) for name in typing.get_type_hints(type(node))}
    return {name: value.GetName() if hasattr(value, "GetName") else value for name, value in found.items()}


@pytest.fixture
def anotherDesktop():
    """Starts the application anew: an empty scene in place of the present one."""

    def start():
        made = standins.newScene()
        _scenes.append(made)
        return made

    return start


@pytest.mark.parametrize("suffix", ["mrml", "mrb"])
def test_every_parameter_comes_back_from_a_file(desktop, anotherDesktop, tmp_path, suffix):
    from SliceInterpolation import SliceInterpolationLogic

    scan, _ = loadTiny()
    defaults = values(SliceInterpolationLogic().getParameterNode())
    saved = setAll(SliceInterpolationLogic().getParameterNode(), scan)
    assert not [name for name, value in saved.items() if value == defaults[name]]
    path = str(tmp_path / f"scene.{suffix}")
    if suffix == "mrml":  # the data are saved beside it
        storage = scan.CreateDefaultStorageNode()
        storage.UnRegister(None)
        desktop.scene.AddNode(storage)
        scan.SetAndObserveStorageNodeID(storage.GetID())
        storage.SetFileName(str(tmp_path / "scan.nrrd"))
        assert storage.WriteData(scan)
    assert slicer.util.saveScene(path)
    other = anotherDesktop()
    assert values(SliceInterpolationLogic().getParameterNode()) == defaults
    assert slicer.util.loadScene(path)
    loaded = SliceInterpolationLogic().getParameterNode()
    assert values(loaded) == saved
    assert loaded.inputVolume.GetScene() is other.scene
    assert slicer.util.arrayFromVolume(loaded.inputVolume).shape == (8, 48, 48)


def test_the_panel_shows_what_came_back(panel, anotherDesktop, tmp_path):
    scan, _ = loadTiny(panel)
    saved = setAll(panel._parameterNode, scan)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    other = anotherDesktop()
    assert slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    reopened = other.makeWidget()
    assert values(reopened._parameterNode) == saved
    assert reopened.ui.inputSelector.currentNode() is reopened._parameterNode.inputVolume
    assert reopened.ui.methodComboBox.itemData(reopened.ui.methodComboBox.currentIndex) == "cubic"
    assert reopened.ui.factorComboBox.currentText == reopened._parameterNode.factor.label()
    assert reopened.ui.strengthSlider.value == pytest.approx(reopened._parameterNode.strength, abs=0.005)
    reopened.cleanup()
    reopened.parent.close()


@pytest.mark.parametrize("clearedFirst", [True, False])
def test_an_open_panel_shows_what_is_loaded(panel, desktop, tmp_path, clearedFirst):
    scan, _ = loadTiny(panel)
    saved = setAll(panel._parameterNode, scan)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    if clearedFirst:
        desktop.scene.Clear(0)
        slicer.util.loadScene(path)
    else:
        slicer.util.loadScene(path, {"clear": True})
    assert values(panel._parameterNode) == saved
    for selector, name in (("inputSelector", "inputVolume"), ("outputSelector", "outputVolume")):
        shown = getattr(panel.ui, selector).currentNode()
        assert shown is not None
        assert shown is getattr(panel._parameterNode, name)
    assert panel.ui.methodComboBox.itemData(panel.ui.methodComboBox.currentIndex) == "cubic"
    panel.ui.inputSelector.setCurrentNode(None)  # and they are connected
    assert panel._parameterNode.inputVolume is None


def test_going_in_and_out_leaves_nothing_behind(panel, desktop):
    kind = type(panel._parameterNode)
    before = living(kind)
    for _ in range(3):
        panel.exit()
        panel.enter()
        desktop.scene.Clear(0)
    assert living(kind) == before


def test_what_changes_while_the_panel_is_left_is_shown_on_return(panel):
    scan, _ = loadTiny(panel)
    panel.exit()
    node = panel.logic.getParameterNode()
    node.method, node.strength, node.outputVolume = "cubic", 0.25, scan
    panel.enter()
    assert panel.ui.methodComboBox.itemData(panel.ui.methodComboBox.currentIndex) == "cubic"
    assert panel.ui.strengthSlider.value == pytest.approx(0.25)
    assert panel.ui.outputSelector.currentNode() is scan


@pytest.mark.parametrize("opened", [True, False])
def test_figures_of_a_reopened_scene_are_taken_up(panel, desktop, anotherDesktop, tmp_path, opened):
    loadTiny(panel, **SMALL)
    panel._parameterNode.method = "linear"
    panel.ui.noiseButton.click()
    spin(lambda: not panel.logic.running, 120)
    said = panel.ui.noiseLabel.text
    assert "Noise SD" in said
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    if opened:
        desktop.scene.Clear(0)
        assert not panel.ui.noisePlotButton.enabled
        assert not panel.ui.noiseLabel.text
        shown = panel
    else:
        shown = anotherDesktop().makeWidget()
    assert slicer.util.loadScene(path)
    assert shown.ui.noisePlotButton.enabled
    assert shown.ui.noiseTableButton.enabled
    assert shown.ui.noiseLabel.text == said
    assert shown.ui.mapComboBox.count == 3
    shown.ui.noisePlotButton.click()
    if not opened:
        shown.cleanup()
        shown.parent.close()
