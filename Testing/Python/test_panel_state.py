"""What the panel says, as plain functions of plain values: no Qt, no scene, no stand-ins."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from SliceInterpolationLib.catalogue import bundled_folder, own_entries, user_folder
from SliceInterpolationLib.request import Request
from SliceInterpolationMRML.panel import state
from SliceInterpolationMRML.panel.methods import methodChoices
from SliceInterpolationMRML.panel.state import Choices

UI = Path(__file__).resolve().parents[2] / "SliceInterpolation/Resources/UI/SliceInterpolation.ui"
CARD = {
    **json.loads((bundled_folder() / "flow-refine" / "card.json").read_text()),
    "name": "mine",
    "default": False,
}
READY = Choices(hasInput=True, planned="30 slices at 5.0 mm", hasResult=True, hasSegment=True, hasRegion=True)
RUNS = {"interpolate": "applyButton", "trust": "trustButton", "noise": "noiseButton"}
PLOTS = {"trust": "trustPlotButton", "noise": "noisePlotButton", "measure": "measurePlotButton"}


def test_every_look_is_of_a_widget_of_the_ui_file():
    names = {element.get("name") for element in ElementTree.parse(UI).iter("widget")}
    assert set(state.looks(READY)) <= names


def test_ready_enables_what_can_be_done():
    looks = state.looks(READY)
    disabled = {name for name, look in looks.items() if not look.enabled}
    assert disabled == {
        *PLOTS.values(),
        *(name.replace("Plot", "Table") for name in PLOTS.values()),
        "trustMeansButton",
        "noiseBeforePlotButton",
        "noiseBeforeTableButton",
        "mapComboBox",
        "cineButton",
        "exportButton",
        "installButton",
        "restoreLayoutButton",
        "shownComboBox",
        "strengthSlider",
    }
    assert all(look.toolTip for look in looks.values())


@pytest.mark.parametrize(
    ("change", "widget", "words"),
    [
        ({"hasInput": False}, "applyButton", "Choose an input volume"),
        ({"hasInput": False}, "trustButton", "Choose an input volume"),
        ({"hasInput": False}, "compareButton", "Choose an input volume"),
        ({"hasInput": False}, "measureButton", "Choose an input volume"),
        ({"hasInput": False}, "regionButton", "Choose an input volume"),
        ({"outputIsInput": True}, "applyButton", "another volume than the input"),
        ({"planRefused": True, "planned": "at least 2 slices"}, "applyButton", "at least 2 slices"),
        ({"noTorch": "PyTorch is missing"}, "applyButton", "PyTorch is missing"),
        ({"noTorch": "PyTorch is missing"}, "noiseButton", "PyTorch is missing"),
        ({"hasResult": False}, "compareButton", "Interpolate first"),
        ({"hasSegment": False}, "measureButton", "Choose a segment"),
        ({"huLow": 90.0, "huHigh": 90.0}, "measureButton", "range is empty"),
        ({"hasRegion": False}, "regionButton", "Choose a region"),
        ({"request": Request(output_mode="denoise-only")}, "factorComboBox", "no new slices"),
        ({}, "strengthSlider", "kept exact"),
        ({}, "restoreLayoutButton", "you chose"),
        ({}, "exportButton", "Measure first"),
    ],
)
def test_what_is_disabled_says_why(change, widget, words):
    look = state.looks(replace(READY, **change))[widget]
    assert not look.enabled
    assert words in look.toolTip


def test_a_refused_plan_leaves_trust_and_noise_alone():
    looks = state.looks(replace(READY, planRefused=True, planned="too thin"))
    assert not looks["applyButton"].enabled
    assert looks["trustButton"].enabled
    assert looks["noiseButton"].enabled


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_turns_its_own_button_into_cancel(kind):
    looks = state.looks(replace(READY, running=kind, noTorch="gone meanwhile", hasInput=False))
    for other, name in RUNS.items():
        if other == kind:
            assert (looks[name].enabled, looks[name].text) == (True, "Cancel")
        else:
            assert not looks[name].enabled
            assert looks[name].toolTip == state.runningElsewhere()
            assert looks[name].text != "Cancel"


@pytest.mark.parametrize("kind", PLOTS)
def test_plots_are_offered_where_there_are_some(kind):
    looks = state.looks(replace(READY, shown=frozenset({kind})))
    assert {name for name in PLOTS.values() if looks[name].enabled} == {PLOTS[kind]}
    assert looks["exportButton"].enabled == (kind == "measure")


def test_comparing_and_denoising_enable_their_choices():
    looks = state.looks(replace(READY, comparing=True, request=Request(output_mode="denoised")))
    for name in ("shownComboBox", "strengthSlider", "factorComboBox"):
        assert looks[name].enabled, name


def test_a_layout_that_was_changed_for_the_user_can_be_restored():
    # Also without a comparison: a plot or a table may have changed it.
    assert state.looks(replace(READY, canRestoreLayout=True))["restoreLayoutButton"].enabled


def test_the_plan_label():
    assert "head phantom" in state.planText(Choices())
    assert state.planText(READY) == READY.planned
    assert state.planText(replace(READY, noTorch="PyTorch is missing")) == "PyTorch is missing"


@pytest.mark.parametrize(
    ("device", "needsTorch", "installed", "devices", "text"),
    [
        ("auto", False, True, {}, "CPU: this method needs no more."),
        ("auto", True, False, {}, "PyTorch is not installed yet."),
        ("auto", True, True, {}, "Looking for a GPU..."),
        ("auto", True, True, {"problem": "broken"}, "broken"),
        ("auto", True, True, {"reason": "GPU A with 40 GiB free"}, "GPU A with 40 GiB free."),
        ("cpu", True, True, {"reason": "GPU A"}, "CPU, as chosen."),
        ("cuda:1", True, True, {"reason": "GPU A"}, "cuda:1, as chosen."),
    ],
)
def test_the_device_label(device, needsTorch, installed, devices, text):
    choices = replace(READY, request=Request(device=device), torchInstalled=installed)
    assert state.deviceText(choices, needsTorch, devices) == text


def test_devices_to_choose_from():
    gpu = {"device": "cuda:1", "name": "A", "free_gib": 40.04}
    assert state.deviceEntries({}) == [("automatic", "auto"), ("CPU", "cpu")]
    assert state.deviceEntries({"gpus": [gpu]})[1] == ("A, 40.0 GiB free", "cuda:1")


def test_progress():
    assert state.progressText({"stage": "start", "done": None}) == ""
    line = {"stage": "denoised", "done": 3, "total": 59}
    assert state.progressText(line) == "Interpolating and denoising: slice 3 of 59"
    assert state.progressText(line, 200.0).endswith(", about 3 min left")
    assert state.progressText({**line, "stage": "something new"}).startswith("something new: ")


def test_what_is_said_before_the_first_slice():
    assert state.startingText(0.0) == "Starting..."
    assert state.startingText(25.0) == "Starting, about 25 s..."


def test_a_trust_check_says_before_what_it_will_do():
    planned = replace(READY, trustPlanned="12 of the 30 slices, about 9 s.")
    assert state.trustText(planned) == planned.trustPlanned
    assert state.looks(planned)["trustButton"].enabled
    refused = replace(READY, trustPlanned="The trust check needs at least 4 slices.", trustRefused=True)
    assert state.looks(refused)["trustButton"] == state.Look(refused.trustPlanned, False, "Check trust")
    assert state.trustText(replace(planned, hasInput=False)) == ""


def test_what_is_said_in_the_end():
    remarks = ["Device: CPU with 2 threads", "30 slices at 5 mm"]
    assert state.doneText("interpolate", remarks, 25.0, "Head") == "30 slices at 5 mm\nDone in 25 s."
    assert state.doneText("trust", remarks, 25.0, "Head") == "Done in 25 s."
    assert "'Head'" in state.doneText("trust", [], 25.0, "Head", stillChosen=False)


def test_findings_name_their_scan():
    assert (
        state.aboutScan("Head", "flow", ["On this scan ...", "Warning"])
        == "Head, flow: On this scan ...\nWarning"
    )
    assert state.aboutScan("Head", "", ["12 mL"]) == "Head: 12 mL"
    assert state.aboutScan("Head", "flow", [""]) == ""


def test_the_default_network_comes_first_with_a_line_from_its_card():
    choices = methodChoices()
    assert choices[0][0] == "default"
    assert "mm" in choices[0][2]
    assert [name for name, _, _ in choices[-3:]] == ["flow", "cubic", "linear"]


@pytest.mark.parametrize(
    "card",
    [
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"name": "bad", "gap_mm": ["1", 2]}',
        json.dumps({**CARD, "description": ["deep"]}).encode(),
        json.dumps({**CARD, "gap_mm": [9, 1]}).encode(),
        json.dumps({**CARD, "default": "yes"}).encode(),
    ],
)
def test_a_broken_model_is_not_offered_and_hides_no_other(card):
    before = methodChoices()
    folder = user_folder() / "bad"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"{}")
    (folder / "card.json").write_bytes(card)
    assert methodChoices() == before
    assert [entry.name for entry in own_entries()] == ["bad"]


@pytest.mark.parametrize("description", ["", " ", "\n\n", "Sharp. \nAnd more"])
def test_a_model_without_a_description_has_a_line_too(description):
    folder = user_folder() / "mine"
    shutil.copytree(bundled_folder() / "flow-refine", folder)
    (folder / "card.json").write_text(json.dumps({**CARD, "description": description}))
    line = next(line for name, _label, line in methodChoices() if name == "mine")
    assert line.startswith("Sharp. Trained" if "Sharp" in description else "Network flow-refine. Trained")
