"""The page of console recipes is run from top to bottom, on a small phantom."""

# ruff: noqa: F401, F811 (fixtures)
from __future__ import annotations

import re
from pathlib import Path

import pytest
from paneldesktop import desktop, slicer, spin

from SliceInterpolationLib import InputError

PAGE = Path(__file__).resolve().parents[2] / "Resources" / "Documentation" / "console-recipes.md"
SMALL = "loadPhantom(size=96, pixel_spacing=2.4, slices=24)"


@pytest.mark.slow
def test_every_recipe_runs(desktop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) > 8
    names: dict = {"slicer": slicer}
    region = desktop.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    region.SetRadiusXYZ(30.0, 30.0, 30.0)
    for block in blocks:
        program = compile(block.replace("loadPhantom()", SMALL), str(PAGE), "exec")
        if "saveDicom" in block:  # which a phantom never was; scans that were, see test_panel_dicom
            with pytest.raises(InputError, match="was not loaded from DICOM"):
                exec(program, names)
            continue
        exec(program, names)
        if "wait=False" in block:
            spin(lambda: not names["job"].running)
            assert names["job"].state == "cancelled"
    assert (tmp_path / "hematoma.csv").read_text().count("\n") == 4
    assert "On this scan" in names["report"]["verdict"] or "Warning" in names["report"]["verdict"]
