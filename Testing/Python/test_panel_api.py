# ruff: noqa: F401, F811 (fixtures)
"""The stand-ins behave as the desktop was seen to behave, and refuse what it does not have."""

from __future__ import annotations

import pytest
from paneldesktop import desktop, panel, slicer, spin
from standins import api


def test_properties_are_read_and_assigned_without_parentheses(panel):
    button = panel.ui.applyButton
    assert button.text == "Interpolate"
    with pytest.raises(TypeError, match="'str' object is not callable"):
        button.text()
    button.enabled = True
    assert button.isEnabled()
    button.setEnabled(False)
    assert button.enabled is False
    with pytest.raises(AttributeError):
        button.hidden  # noqa: B018
    with pytest.raises(AttributeError, match="creating new attributes"):
        button.ourOwn = 1


def test_only_what_the_desktop_has_can_be_used(panel):
    with pytest.raises(AttributeError, match="no attribute 'isWindowModal' in the desktop"):
        api.check("qt.QPushButton", "isWindowModal", "method")
    with pytest.raises(AttributeError):
        slicer.app.noSuchThing  # noqa: B018
    with pytest.raises(AttributeError, match="is a method in the desktop"):
        api.check("qt.QPushButton", "isEnabled", "property")


def test_signals_pass_what_the_signature_names(panel):
    button, got = panel.ui.compareButton, []
    button.enabled = True
    button.disconnect("clicked(bool)", panel.onCompareButton)
    button.connect("clicked()", lambda *arguments: got.append(("clicked()", arguments)))
    button.connect("clicked(bool)", lambda *arguments: got.append(("clicked(bool)", arguments)))
    button.clicked.connect(lambda *arguments: got.append(("clicked", arguments)))
    button.click()
    assert got == [("clicked()", ()), ("clicked(bool)", (False,)), ("clicked", (False,))]


def test_a_slot_that_fails_does_not_stop_the_event_loop(panel):
    from standins import pythonqt

    def fail():
        raise RuntimeError("in a slot")

    panel.ui.compareButton.enabled = True
    panel.ui.compareButton.clicked.connect(fail)
    panel.ui.compareButton.click()
    assert any("in a slot" in str(error) for error in pythonqt.slotErrors)
    pythonqt.slotErrors.clear()


def test_node_selectors_follow_the_scene(panel, desktop):
    selector = panel.ui.outputSelector
    assert selector.noneEnabled
    node = desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "V")
    labelmap = desktop.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "L")
    assert selector.nodeCount() == 1  # labelmaps are child types, which are not shown
    selector.setCurrentNode(labelmap)
    assert selector.currentNode() is None
    selector.setCurrentNode(node)
    assert selector.currentNodeID == node.GetID()
    desktop.scene.RemoveNode(node)
    assert selector.currentNode() is None


def test_what_the_panel_has_touched_is_in_the_list(panel):
    """Every access was checked when it happened; here that the record is not empty and spans the classes."""
    spin(lambda: panel._devices)
    touchedBy = {key for key, _, _ in api.touched}
    for key in ("qt.QPushButton", "qt.QComboBox", "qt.QLabel", "qt.QProgressBar", "slicer.app", "qt.QTimer"):
        assert key in touchedBy
    for key, name, kind in api.touched:
        assert api.members(key)[name] == kind
