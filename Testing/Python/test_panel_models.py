# ruff: noqa: F401, F811 (fixtures)
"""Networks run by the panel: a program of the user, with the consent asked for, and the map of the error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from paneldesktop import SMALL, desktop, loadTiny, panel, slicer, spin

torch = pytest.importorskip("torch", reason="programs and networks run on PyTorch")


class Halves(torch.nn.Module):
    """Mixes two pictures, in the manner of RIFE."""

    def forward(self, img0: torch.Tensor, img1: torch.Tensor, timestep: float) -> torch.Tensor:
        return img0 * (1 - timestep) + img1 * timestep


@pytest.fixture
def program(tmp_path) -> Path:
    """A TorchScript model called "halves" in the user's folder, not trusted yet."""
    from SliceInterpolationLib.catalogue import user_folder
    from SliceInterpolationLib.weights import sha256

    folder = user_folder() / "halves"
    folder.mkdir(parents=True)
    torch.jit.script(Halves()).save(str(folder / "video.pt"))
    card = {
        "name": "halves",
        "architecture": "torchscript",
        "config": {"signature": "rife"},
        "weights": "video.pt",
        "weights_sha256": sha256(folder / "video.pt"),
        "gap_mm": [1, 20],
        "intensity": "brain-window",
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def finish(panel) -> None:
    spin(lambda: not panel.logic.running, 120)
    slicer.app.processEvents()


def test_a_program_of_the_user_runs_once_it_is_trusted(panel, program, monkeypatch):
    from SliceInterpolationLib.catalogue import find_model, needs_consent

    asked, answers = [], iter((False, True))
    monkeypatch.setattr(
        slicer.util,
        "confirmOkCancelDisplay",
        lambda text, *more, **other: (asked.append(text), next(answers))[1],
    )
    panel.enter()  # the models are looked for again
    scan, _hematoma = loadTiny(panel, **SMALL)
    panel._parameterNode.method = "halves"
    panel._parameterNode.device = "cpu"
    panel._parameterNode.showComparison = False
    assert panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip
    panel.ui.applyButton.click()
    assert not panel.logic.running
    assert needs_consent(find_model("halves"))
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    before, after = (slicer.util.arrayFromVolume(node) for node in (scan, panel.logic.job.result))
    assert (after[::2] == before).all()
    window = np.clip(before, -20, 107)  # what the model sees
    inner = (window > -15).all(axis=0) & (window < 100).all(axis=0)
    expected = (before[:-1].astype(float) + before[1:]) / 2
    assert np.abs(after[1::2][:, inner] - expected[:, inner]).max() <= 1
    assert "halves" in panel.logic.job.result.GetName()
    panel.ui.trustButton.click()  # trusted by now: not asked again
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    assert len(asked) == 2
    assert "program" in asked[0]
    assert "halves" in asked[0]


def test_the_map_of_the_error_becomes_a_node_that_is_shown_over_the_result(panel):
    scan, _hematoma = loadTiny(panel, **SMALL)
    node = panel._parameterNode
    node.device, node.showComparison, node.estimateError = "cpu", False, True
    panel.ui.applyButton.click()
    finish(panel)
    assert panel.logic.job.state == "done", panel.logic.job.message
    result = panel.logic.job.result
    index = panel.ui.mapComboBox.findData("errorSd")
    assert index > 0
    panel.ui.mapComboBox.currentIndex = index
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    (mapId,) = {view.GetForegroundVolumeID() for view in views}
    assert {view.GetBackgroundVolumeID() for view in views} == {result.GetID()}
    errorSd = slicer.mrmlScene.GetNodeByID(mapId)
    values = slicer.util.arrayFromVolume(errorSd)
    assert values.shape == slicer.util.arrayFromVolume(result).shape
    assert (values[::2] == 0).all()  # acquired slices are known
    assert (values[1::2].max(axis=(1, 2)) > 0).all()
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(errorSd)
    assert legend.GetVisibility()
    assert "HU" in legend.GetTitleText()
    panel.ui.applyButton.click()  # updated, not piled up
    finish(panel)
    assert panel.logic.maps(scan, panel.logic.job.result) == ["errorSd"]
