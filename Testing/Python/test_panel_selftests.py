"""The self tests for the desktop, run here on the stand-ins, so that they are known to work before they go there."""

# ruff: noqa: F401, F811 (fixtures)
from __future__ import annotations

import importlib
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

import pytest
from paneldesktop import desktop, drawingDesktop, drawingPanel, panel, slicer

FOLDER = Path(__file__).resolve().parents[1] / "Slicer"


@pytest.fixture
def selfTests(drawingPanel, monkeypatch):
    """The module of the self tests, with this panel as the open one."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: select(drawingPanel, name))
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: drawingPanel)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda verbose=True: None)
    sources = {"Slice Interpolation": [SimpleNamespace(sampleName="HeadPhantom")]}
    monkeypatch.setattr(slicer.modules, "sampleDataSources", sources, raising=False)
    return importlib.import_module("SliceInterpolationSelfTests")


def select(panel, name: str) -> None:
    """Enter the module or leave it for another, as the application does."""
    entered = name == "SliceInterpolation"
    if entered != panel.parent._q.isEntered:
        panel.parent._q.isEntered = entered
        (panel.enter if entered else panel.exit)()


def names() -> list[str]:
    text = (FOLDER / "SliceInterpolationSelfTests.py").read_text()
    return [line.split("(")[0].split()[-1] for line in text.splitlines() if line.startswith("    def test_")]


@pytest.mark.parametrize("name", names())
def test_self_test(selfTests, name):
    result = unittest.TestResult()
    selfTests.SliceInterpolationSelfTests(name).run(result)
    assert result.testsRun == 1
    assert not result.errors, result.errors[0][1]
    assert not result.failures, result.failures[0][1]
    assert not result.skipped, result.skipped[0][1]


def test_the_test_in_the_module_file(panel):
    import SliceInterpolation as module

    module.SliceInterpolationTest().runTest()


RUNNER = FOLDER / "run_self_tests.py"


def test_the_runner_runs_the_tests_before_it_returns(selfTests, drawingDesktop, capsys):
    assert drawingDesktop.runScript(RUNNER, "empty_panel", "refusals") == 0
    assert "SelfTests: 2 passed, 0 failed, 0 skipped" in capsys.readouterr().out


def test_the_runner_fails_where_no_test_ran(selfTests, drawingDesktop, capsys):
    assert drawingDesktop.runScript(RUNNER, "no_such_test") == 1
    assert "SelfTests: 0 passed, 0 failed, 0 skipped" in capsys.readouterr().out


def test_the_runner_fails_where_all_tests_were_skipped(selfTests, drawingDesktop, capsys, monkeypatch):
    monkeypatch.setattr(
        selfTests.SliceInterpolationSelfTests, "setUp", lambda self: self.skipTest("there is no panel")
    )
    assert drawingDesktop.runScript(RUNNER, "refusals") == 1
    assert "SelfTests: 0 passed, 0 failed, 1 skipped" in capsys.readouterr().out


def test_the_runner_fails_where_a_test_fails(selfTests, drawingDesktop, capsys, monkeypatch):
    def fail(self):
        raise RuntimeError("this fails")

    monkeypatch.setattr(selfTests.SliceInterpolationSelfTests, "test_refusals", fail)
    assert drawingDesktop.runScript(RUNNER, "empty_panel", "refusals") == 1
    assert "SelfTests: 1 passed, 1 failed, 0 skipped" in capsys.readouterr().out


def test_the_runner_fails_where_the_tests_cannot_be_imported(selfTests, drawingDesktop, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "SliceInterpolationSelfTests", None)
    assert drawingDesktop.runScript(RUNNER) == 1
    assert "SelfTests: 0 passed, 1 failed, 0 skipped" in capsys.readouterr().out
