# ruff: noqa: F401, F811 (fixtures)
"""The stand-ins behave as the desktop was seen to behave, and refuse what it does not have."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from paneldesktop import cutLabels, desktop, destroyed, drawingDesktop, living, panel, slicer, spin, standins
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
    assert not hasattr(button, "windowIsBlue")


def test_only_what_the_desktop_has_can_be_used(panel):
    with pytest.raises(AttributeError, match=r"'isWindowModal' of qt\.QPushButton is missing in the desktop"):
        api.check("qt.QPushButton", "isWindowModal", "method")
    with pytest.raises(AttributeError):
        slicer.app.noSuchThing  # noqa: B018
    with pytest.raises(AttributeError, match="is a method in the desktop"):
        api.check("qt.QPushButton", "isEnabled", "property")
    # Told at the end of the test, also where the error is caught.
    assert len(api.refused) == 2
    api.refused.clear()


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


def test_what_the_panel_uses_is_recorded(panel):
    spin(lambda: panel._devices)
    touchedBy = {key for key, _, _ in api.touched}
    for key in ("qt.QPushButton", "qt.QComboBox", "qt.QLabel", "qt.QProgressBar", "slicer.app", "qt.QTimer"):
        assert key in touchedBy
    assert ("qt.QPushButton", "toolTip", "property") in api.touched


@pytest.fixture
def file(tmp_path):
    """A volume file that is not ours."""
    path = tmp_path / "other.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), str(path))
    return str(path)


CUSTOM = 50999
CUSTOM_XML = """<layout type="horizontal"><item><view class="vtkMRMLSliceNode" singletontag="Mine">
<property name="orientation" action="default">Axial</property></view></item></layout>"""


def switchToCustomLayout(desktop):
    desktop.layoutNode.AddLayoutDescription(CUSTOM, CUSTOM_XML)
    slicer.app.layoutManager().setLayout(CUSTOM)
    slicer.app.processEvents()


def backgrounds():
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return {node.GetLayoutName(): node.GetBackgroundVolumeID() for node in nodes}


def addVolume(desktop, name="V"):
    node = desktop.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 4, 5), np.int16))
    return node


# Layouts and views


def test_the_layout_at_start_has_the_number_0_and_four_views(desktop):
    manager = slicer.app.layoutManager()
    assert manager.layout == 0
    assert sorted(manager.sliceViewNames()) == ["Green", "Red", "Yellow"]
    assert manager.sliceWidget("nope") is None


def test_slice_nodes_know_whether_they_are_in_the_layout(desktop):
    red = desktop.scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    assert red.IsMappedInLayout()
    switchToCustomLayout(desktop)
    mine = desktop.scene.GetSingletonNode("Mine", "vtkMRMLSliceNode")
    assert mine.IsMappedInLayout()
    assert not red.IsMappedInLayout()
    assert set(slicer.app.layoutManager().sliceViewNames()) == {"Red", "Green", "Yellow", "Mine"}
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert red.IsMappedInLayout()
    assert not mine.IsMappedInLayout()


def test_layers_and_loaded_volumes_go_to_all_views_shown_or_not(desktop, file):
    switchToCustomLayout(desktop)
    node = addVolume(desktop)
    slicer.util.setSliceViewerLayers(background=node)
    assert set(backgrounds().values()) == {node.GetID()}
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    loaded = slicer.util.loadVolume(file)
    assert loaded.GetName() == "other"
    assert backgrounds() == dict.fromkeys(("Red", "Green", "Yellow", "Mine"), loaded.GetID())


def test_changes_of_the_layout_are_told(desktop):
    from standins import pythonqt

    told = []
    manager = slicer.app.layoutManager()
    manager.connect("layoutChanged(int)", told.append)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    desktop.layoutNode.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert told[0] == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert told[-1] == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    manager.disconnect("layoutChanged(int)", told.append)
    count = len(told)

    def fail(number):
        raise RuntimeError("in a slot of the layout")

    manager.connect("layoutChanged(int)", fail)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert len(told) == count
    assert "in a slot of the layout" in str(pythonqt.slotErrors[0])
    pythonqt.slotErrors.clear()


def test_a_plot_shown_from_a_custom_layout_switches_to_four_up_with_plot(desktop):
    chart = desktop.scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    switchToCustomLayout(desktop)
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView


def test_a_color_legend_made_before_its_volume_is_shown_appears_only_when_it_is_modified(drawingDesktop):
    node, other = addVolume(drawingDesktop), addVolume(drawingDesktop, "W")
    for volume in (node, other):
        volume.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=other, fit=True)
    drawingDesktop.picture()
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    slicer.util.setSliceViewerLayers(background=node)
    without = drawingDesktop.picture()
    legend.SetVisibility(False)
    legend.Modified()
    assert (drawingDesktop.picture() == without).all()
    legend.SetVisibility(True)
    legend.Modified()
    assert (drawingDesktop.picture() != without).sum() > 1000


def test_the_crosshair_of_a_new_scene_stands_at_the_origin(desktop):
    crosshair = desktop.scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
    assert crosshair.GetCrosshairRAS() == (0.0, 0.0, 0.0)
    crosshair.SetCrosshairRAS((1.0, 2.0, 3.0))
    crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.NoCrosshair)
    crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
    assert crosshair.GetCrosshairRAS() == (1.0, 2.0, 3.0)


def test_closing_the_scene_keeps_layout_and_view_nodes(desktop):
    switchToCustomLayout(desktop)
    mine = desktop.scene.GetSingletonNode("Mine", "vtkMRMLSliceNode")
    desktop.scene.Clear(0)
    assert slicer.app.layoutManager().layout == CUSTOM
    assert desktop.scene.GetSingletonNode("Mine", "vtkMRMLSliceNode") is mine


# Widgets


def test_a_tool_tip_reads_back_as_a_paragraph(panel):
    button = panel.ui.applyButton
    button.toolTip = "a < b & 'c'"
    assert button.toolTip == "<p>a &lt; b &amp; 'c'</p>"
    button.setToolTip("<b>rich</b>")
    assert button.toolTip == "<b>rich</b>"
    button.setToolTip("plain")
    assert button.toolTip == "<p>plain</p>"
    button.toolTip = ""
    assert button.toolTip == ""
    assert panel.ui.inputSelector.toolTip.startswith("<p>")  # from the .ui file


def test_labels_that_wrap_in_a_section_get_too_little_height(panel):
    label = panel.ui.statusLabel
    for name, widget in vars(panel.ui).items():
        if name.endswith("Label"):
            widget.removeEventFilter(panel._lineKeeper)  # the panel mends it
            widget.setMinimumHeight(0)
            widget.setMaximumHeight(16777215)
    label.text = "words that need several lines in a narrow panel " * 6
    label.visible = True
    for width in (330, 400, 600):
        panel.parent.resize(width, 1400)
        slicer.app.processEvents()
        assert label.height < label.heightForWidth(label.width)
        assert "statusLabel" in cutLabels(panel)
    label.setMinimumHeight(label.heightForWidth(label.width))
    slicer.app.processEvents()
    assert "statusLabel" not in cutLabels(panel)


def test_a_python_class_filters_events(panel):
    import qt

    seen = []

    class Filter(qt.QObject):
        def eventFilter(self, watched, event):
            seen.append((watched, event.type()))
            return False

    keeper = Filter()
    panel.ui.applyButton.installEventFilter(keeper)
    panel.parent.resize(500, 900)
    slicer.app.processEvents()
    assert (panel.ui.applyButton, qt.QEvent.Resize) in seen


def test_what_becomes_visible_in_a_folded_section_stays_hidden_until_it_unfolds(panel):
    section, label = panel.ui.setupCollapsibleButton, panel.ui.torchLabel
    section.collapsed = True
    for _ in range(2):
        label.text = "shown while folded"
        label.visible = True
        assert not label.visible
    section.collapsed = False
    assert label.visible


def test_selectors_do_not_follow_while_a_scene_is_loaded(desktop):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = ("vtkMRMLScalarVolumeNode",), True
    selector.setMRMLScene(desktop.scene)
    node = addVolume(desktop)
    selector.setCurrentNode(node)
    assert selector.currentNode() is node
    desktop.scene.StartState(desktop.scene.ImportState)
    other = addVolume(desktop, "W")
    selector.setCurrentNode(other)
    assert selector.currentNode() is None
    desktop.scene.EndState(desktop.scene.ImportState)
    assert selector.nodeCount() == 2
    assert selector.currentNode() is None
    selector.setCurrentNode(other)
    assert selector.currentNode() is other


def test_the_wrapper_reads_its_first_parameter_after_the_widgets_are_told(desktop, panel):
    """VTK calls the first observer of an object last; the wrapper keeps values and reads them in observers."""
    node, other = addVolume(desktop), addVolume(desktop, "W")
    wrapper = panel._parameterNode
    wrapper.inputVolume = wrapper.outputVolume = node
    seen = []
    tag = wrapper.AddObserver(
        "ModifiedEvent", lambda *_: seen.append((wrapper.inputVolume, wrapper.outputVolume))
    )
    modifying = wrapper.StartModify()
    wrapper.parameterNode.SetNodeReferenceID("inputVolume", other.GetID())
    wrapper.parameterNode.SetNodeReferenceID("outputVolume", other.GetID())
    wrapper.EndModify(modifying)
    wrapper.RemoveObserver(tag)
    assert seen[0] == (node, other)
    assert wrapper.inputVolume is other


# Observers and memory


def test_the_observation_mixin_keeps_what_it_has_observed(desktop):
    from slicer.util import VTKObservationMixin

    class Observing(VTKObservationMixin):
        def changed(self, caller, event):
            pass

    observing = Observing()
    node = addVolume(desktop)
    gone = destroyed(node)
    observing.addObserver(node, "ModifiedEvent", observing.changed)
    observing.removeObserver(node, "ModifiedEvent", observing.changed)
    desktop.scene.RemoveNode(node)
    del node
    assert not gone()
    observing.removeObservers()
    assert gone()


def test_the_stand_ins_keep_no_node(desktop, panel):
    node = addVolume(desktop)
    gone = destroyed(node)
    slicer.util.setSliceViewerLayers(background=node)
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.inputSelector.setCurrentNode(None)
    desktop.scene.RemoveNode(node)
    del node
    slicer.app.processEvents()
    assert gone()


@pytest.mark.skipif(standins.SLICER_SOURCE != "", reason="Slicer's own wrapper is used, of whatever version")
def test_disconnecting_a_gui_leaves_an_observer_as_in_5_10(desktop, panel):
    kind = type(panel._parameterNode)
    before = living(kind)
    wrapper = kind(panel._parameterNode.parameterNode)
    assert living(kind) == before + 1
    wrapper.disconnectGui(wrapper.connectGui(panel.ui))
    del wrapper
    assert living(kind) == before + 1


# Files and scripts


@pytest.mark.parametrize("suffix", ["mrml", "mrb"])
def test_a_scene_is_saved_and_loaded(desktop, tmp_path, file, suffix):
    node = slicer.util.loadVolume(file)
    node.SetAttribute("Kept", "yes")
    path = str(tmp_path / f"scene.{suffix}")
    assert slicer.util.saveScene(path)
    desktop.scene.Clear(0)
    assert slicer.util.loadScene(path).IsA("vtkMRMLNode")
    found = slicer.util.getNode("other")
    assert found.GetAttribute("Kept") == "yes"
    assert slicer.util.arrayFromVolume(found).shape == (4, 5, 6)


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text)
    return path


def test_under_testing_the_application_leaves_when_the_script_returns(desktop, tmp_path):
    marker = tmp_path / "fired"
    text = f"import qt\nqt.QTimer.singleShot(0, lambda: open({str(marker)!r}, 'w').close())\n"
    assert desktop.runScript(script(tmp_path, text)) == 0
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1 / 0", 1),
        ("import slicer; slicer.util.exit(0)", 0),
        ("import slicer; slicer.util.exit(3)", 3),
        ("import sys; assert sys.argv[1:] == ['one', 'two']", 0),
    ],
)
def test_the_exit_code_of_a_script(desktop, tmp_path, text, code):
    assert desktop.runScript(script(tmp_path, text), "one", "two") == code


def test_each_slice_view_has_one_logic(drawingDesktop):
    logics = slicer.app.layoutManager().mrmlSliceLogics()
    nodes = [
        logics.GetItemAsObject(n).GetSliceNode().GetLayoutName() for n in range(logics.GetNumberOfItems())
    ]
    assert sorted(nodes) == ["Green", "Red", "Yellow"]
