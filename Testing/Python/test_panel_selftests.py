"""The self tests for the desktop, run here on the stand-ins, so that they are known to work before they go there."""

# ruff: noqa: F401, F811 (fixtures)
from __future__ import annotations

import importlib
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

import pytest
from paneldesktop import desktop, drawingPanel, panel, slicer

FOLDER = Path(__file__).resolve().parents[1] / "Slicer"


@pytest.fixture
def selfTests(drawingPanel, monkeypatch):
    """The module of the self tests, with this panel as the open one."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: None)
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: drawingPanel)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda verbose=True: None)
    sources = {"Slice Interpolation": [SimpleNamespace(sampleName="HeadPhantom")]}
    monkeypatch.setattr(slicer.modules, "sampleDataSources", sources, raising=False)
    return importlib.import_module("SliceInterpolationSelfTests")


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


def test_the_script_parses_and_names_its_module():
    compile((FOLDER / "run_self_tests.py").read_text(), "run_self_tests.py", "exec")
    assert "SliceInterpolationSelfTests" in (FOLDER / "run_self_tests.py").read_text()
    assert "SliceInterpolationSelfTests" not in sys.builtin_module_names
