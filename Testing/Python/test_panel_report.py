# ruff: noqa: F401, F811 (fixtures)
"""The report that the panel saves: its title, the place that the user is looking at, and its words."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from paneldesktop import SMALL, desktop, loadTiny, panel, slicer, spin

from SliceInterpolationMRML.views.placeShown import placeShown


def finish(panel) -> None:
    spin(lambda: not panel.logic.running, 120)
    slicer.app.processEvents()
    assert panel.logic.job.state == "done", panel.logic.job.message


def sliceNode(name: str):
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def saved(panel, path, monkeypatch) -> str:
    dialog = sys.modules["qt"].QFileDialog
    monkeypatch.setattr(dialog, "getSaveFileName", staticmethod(lambda *arguments: str(path)))
    panel.ui.reportButton.click()
    finish(panel)
    return path.read_text(encoding="utf-8")


def captions(page: str) -> list[str]:
    return re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", page)


def test_the_page_shows_the_place_that_the_user_is_looking_at(panel, tmp_path, monkeypatch):
    scan, _hematoma = loadTiny(panel, **SMALL)
    voxel = np.array([20, 24, 7, 1.0])  # i, j, k
    toRas = slicer.vtkMRMLSliceNode().GetSliceToRAS()
    scan.GetIJKToRASMatrix(toRas)
    ras = slicer.util.arrayFromVTKMatrix(toRas) @ voxel
    for name in ("Red", "Green", "Yellow"):
        sliceNode(name).JumpSliceByOffsetting(*ras[:3])
    assert placeShown(scan) == pytest.approx((-ras[0], -ras[1], ras[2]), abs=1e-3)
    panel.ui.reportTitleLineEdit.text = "Case <7> {a}"
    page = saved(panel, tmp_path / "report.html", monkeypatch)
    assert "<h1>Case &lt;7&gt; {a}</h1>" in page
    assert "slice 8" in captions(page)[0], captions(page)
    sliceNode("Red").JumpSliceByOffsetting(*(ras[:3] - [0, 0, 2 * 9.0]))
    page = saved(panel, tmp_path / "report.html", monkeypatch)
    assert "slice 6" in captions(page)[0], captions(page)


def test_the_place_is_told_in_the_grid_of_a_volume_under_a_transform(panel, desktop):
    scan, _hematoma = loadTiny(panel, **SMALL)
    for name in ("Red", "Green", "Yellow"):
        sliceNode(name).JumpSliceByOffsetting(3.0, 4.0, 5.0)
    above = desktop.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 1.0, -2.0, 3.0
    above.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    scan.SetAndObserveTransformNodeID(above.GetID())
    assert placeShown(scan) == pytest.approx((-2.0, -6.0, 2.0), abs=1e-3)


def test_a_view_of_another_volume_does_not_count(panel):
    scan, _hematoma = loadTiny(panel, **SMALL)
    other, _hematoma = loadTiny(**SMALL)
    assert placeShown(scan) is None  # the other one is in all views
    place = placeShown(other)
    slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(sliceNode("Red")).SetBackgroundVolumeID(scan.GetID())
    sliceNode("Red").JumpSliceByOffsetting(0.0, 0.0, 12.0)
    only = placeShown(scan)
    assert only[2] == pytest.approx(12.0)
    bounds = [0.0] * 6
    scan.GetRASBounds(bounds)
    middle = np.mean(np.reshape(bounds, (3, 2)), axis=1)
    assert only[:2] == pytest.approx((-middle[0], -middle[1]), abs=1e-3)
    assert place is not None


def test_the_page_speaks_the_words_of_the_panel(panel, tmp_path, monkeypatch):
    from SliceInterpolationMRML.figures.kept import figures, keepFindings

    scan, _hematoma = loadTiny(panel, **SMALL)
    panel._parameterNode.method = "linear"
    panel.ui.trustButton.click()
    finish(panel)
    report = {**panel.logic.job.result}
    report.pop("nodes")
    report.pop("said")
    report["verdict"] = "Warning: on this scan linear is worse: PSNR 1 against 2. Prefer --method flow."
    report["remarks"] = ["Slices lie far apart; use --force."]
    keepFindings(figures(scan, "trust")["bySlice"], "linear", ["said"], json.dumps(report))
    page = saved(panel, tmp_path / "report.html", monkeypatch)
    assert "Prefer the method flow." in page
    assert "Run in spite of warnings" in page
    assert not re.search(r"--(method|force)", page)
