# ruff: noqa: F401, F811 (fixtures)
"""Packages that Slicer does not ship: offered where they are needed, and what happens without them."""

from __future__ import annotations

import importlib.metadata
import sys
import types

import numpy as np
import pytest
from paneldesktop import desktop, loadTiny, panel, slicer, spin

from SliceInterpolationMRML.run import dependencies


@pytest.fixture
def withoutSurfaces(monkeypatch, tmp_path):
    """As in Slicer itself, scikit-image is not installed: neither here nor in the process of a run."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "scikit-image":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(dependencies, "_declined", set())
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
    (tmp_path / "skimage.py").write_text("raise ImportError(\"No module named 'skimage'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def measure(panel, times: int = 1):
    _scan, hematoma = loadTiny(panel, size=96, pixel_spacing=2.4, slices=14, slice_spacing=9.0)
    panel.ui.segmentSelector.setCurrentNode(hematoma)
    for _ in range(times):
        panel.ui.measureButton.click()
        spin(lambda: not panel.logic.running, 120)
        assert panel.logic.job.state == "done", panel.logic.job.message
    return panel.logic.job.result


def test_the_package_is_offered_once_and_the_measurement_goes_on_without(panel, withoutSurfaces, monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)  # 5.10
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, *more: asked.append(text), raising=False
    )
    monkeypatch.setattr(
        slicer.util, "pip_install", lambda requirements: pytest.fail("it was declined"), raising=False
    )
    (row,) = measure(panel, times=2)["rows"]
    assert len(asked) == 1
    assert "scikit-image" in asked[0]
    assert row["surface_volume_ml"] is None
    assert row["volume_ml"] > 20
    assert "No closed surfaces" in panel.ui.measureLabel.text
    table = panel.logic.job.result["table"]
    assert np.isnan(float(table.GetCellText(0, table.GetColumnIndex("surface_volume_ml"))))
    chart = panel.logic.job.result["volumes"]
    assert chart.GetNumberOfRows() == 2  # voxels and ABC/2


def test_in_5_10_it_is_installed_by_pip(withoutSurfaces, desktop, monkeypatch):
    installed = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *arguments: True, raising=False)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append, raising=False)
    dependencies.offerPackages()
    dependencies.offerPackages()
    assert installed == ["scikit-image>=0.19"]


def test_from_5_11_on_slicer_asks_and_installs(withoutSurfaces, desktop, monkeypatch):
    calls = []
    packaging = types.ModuleType("slicer.packaging")

    def pip_ensure(requirements, requester=None):
        calls.append((requirements, requester))
        raise RuntimeError("User declined package installation")

    packaging.pip_ensure = pip_ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    dependencies.offerPackages()  # declined: nothing breaks
    dependencies.offerPackages()
    assert calls == [(["scikit-image>=0.19"], "Slice Interpolation")]


def test_nothing_is_offered_where_all_is_there(desktop):
    assert dependencies.missingPackages() == []
    dependencies.offerPackages()
