# ruff: noqa: F401, F811 (fixtures)
"""The section Batch of the panel: its table fills, studies open, a batch is stopped and gone on with."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from paneldesktop import alive, desktop, panel, pythonqt, slicer, spin

pytest.importorskip("distributed", reason="batches need Dask")
pytest.importorskip("pyarrow", reason="batches write Parquet")

from SliceInterpolationLib import Volume, write_volume


def scans(folder: Path, count: int, size: int = 48) -> Path:
    """Small scans, the first one with a mask, and a file that is none."""
    folder.mkdir()
    z, y, x = np.mgrid[:8, :size, :size]
    ball = (x - size / 2) ** 2 + (y - size / 2) ** 2 + (4 * (z - 4)) ** 2 < 15**2
    grid = {"spacing": (1.0, 1.0, 4.0), "slice_axis": "k"}
    for number in range(count):
        image = np.where(ball, 60, -1000) + np.random.default_rng(number).normal(0, 4, ball.shape)
        write_volume(Volume(image.astype(np.int16), units="HU", **grid), folder / f"s{number:02}.nrrd")
    write_volume(Volume(ball.astype(np.uint8), units="label", **grid), folder / "s00-mask.nrrd")
    (folder / "torn.nrrd").write_bytes(b"NRRD0004\ntorn")
    return folder


@pytest.fixture
def section(panel):
    panel._parameterNode.method = "linear"
    panel._parameterNode.device = "cpu"
    panel.batch.ui.batchCollapsibleButton.collapsed = False
    return panel.batch


def choose(section, source: Path, output: Path) -> None:
    section.ui.batchInputLineEdit.text = str(source)
    section.ui.batchOutputLineEdit.text = str(output)


def column(section, number: int) -> list:
    table = section.ui.batchTable
    return [table.item(row, number).data(0) for row in range(table.rowCount)]


def test_nothing_is_chosen(section):
    assert not section.ui.batchStartButton.enabled
    assert "folder of the scans" in section.ui.batchStartButton.toolTip
    assert not section.ui.batchIndexButton.enabled
    section.ui.batchInputLineEdit.text = "/somewhere"
    assert "results" in section.ui.batchStartButton.toolTip


def test_the_table_fills_and_studies_open(section, panel, tmp_path):
    from SliceInterpolationMRML.panel import batch

    source, output = scans(tmp_path / "in", 3), tmp_path / "out"
    choose(section, source, output)
    assert section.ui.batchStartButton.text == "Start"
    section.ui.batchStartButton.click()
    assert section.ui.batchStartButton.text == "Stop"
    assert not section.ui.batchOutputLineEdit.enabled
    spin(lambda: section.ui.batchTable.rowCount > 0)
    spin(lambda: not section.running)
    assert "3 of 4 studies are finished" in section.ui.batchStatusLabel.text
    assert sorted(column(section, batch.STUDY)) == ["s00", "s01", "s02", "torn"]
    section.ui.batchTable.sortItems(batch.STUDY)
    assert column(section, batch.STATE)[3] == "failed"
    assert "torn.nrrd" in column(section, batch.WHY)[3]
    assert column(section, batch.SLICES) == [8, 8, 8, ""]
    assert column(section, batch.BEFORE)[0] > 0
    assert column(section, batch.BEFORE)[1:] == ["", "", ""]
    # By value, not as text; the other rows have none.
    section.ui.batchTable.sortItems(batch.GAIN)
    row = column(section, batch.STUDY).index("s01")
    section.ui.batchTable.cellDoubleClicked.emit(row, 0)
    node = panel._parameterNode
    assert (node.inputVolume.GetName(), node.resultVolume.GetName()) == ("s01", "s01 interpolated")
    array = slicer.util.arrayFromVolume(node.resultVolume)
    np.testing.assert_array_equal(array[::2], slicer.util.arrayFromVolume(node.inputVolume))
    assert panel.logic.comparing
    assert section.ui.batchIndexButton.enabled
    assert section.ui.batchStartButton.text == "Resume"


def test_an_earlier_batch_is_shown_and_says_what_failed_or_is_gone(section, panel, tmp_path):
    source, output = scans(tmp_path / "in", 1), tmp_path / "out"
    choose(section, source, output)
    section.ui.batchStartButton.click()
    spin(lambda: not section.running)
    section.ui.batchTable.sortItems(0)
    before = column(section, 0), column(section, 4)
    section.ui.batchOutputLineEdit.text = ""
    assert section.ui.batchTable.rowCount == 0
    section.ui.batchOutputLineEdit.text = str(output)
    section.ui.batchTable.sortItems(0)
    assert (column(section, 0), column(section, 4)) == before
    section.ui.batchTable.cellDoubleClicked.emit(0, 0)
    assert panel._parameterNode.resultVolume is not None
    section.ui.batchTable.cellDoubleClicked.emit(1, 0)
    assert "torn.nrrd" in str(pythonqt.slotErrors.pop())
    (source / "s00.nrrd").unlink()
    section.ui.batchTable.cellDoubleClicked.emit(0, 0)
    assert "s00.nrrd" in str(pythonqt.slotErrors.pop())
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def test_stop_and_resume(section, tmp_path):
    source, output = scans(tmp_path / "in", 24), tmp_path / "out"
    choose(section, source, output)
    section.ui.batchStartButton.click()
    spin(lambda: section.ui.batchTable.rowCount > 1)
    process = section._run.processId
    assert len(alive(process)) > 1
    section.ui.batchStartButton.click()
    assert section.ui.batchStartButton.text == "Stopping..."
    spin(lambda: not section.running, 30)
    assert "goes on with what is left" in section.ui.batchStatusLabel.text
    spin(lambda: not alive(process), 10)
    with open(output / "results.csv", newline="") as file:
        finished = sum(row["status"] == "done" for row in csv.DictReader(file))
    assert 1 <= finished < 24
    assert section.ui.batchStartButton.text == "Resume"
    section.ui.batchStartButton.click()
    spin(lambda: not section.running)
    assert (
        f"24 of 25 studies are finished ({finished} of them were before)" in section.ui.batchStatusLabel.text
    )
    assert section.ui.batchTable.rowCount == 25


def test_the_panel_that_goes_takes_its_batch_along(section, panel, tmp_path):
    choose(section, scans(tmp_path / "in", 24), tmp_path / "out")
    section.ui.batchStartButton.click()
    spin(lambda: section.ui.batchTable.rowCount > 0)
    process = section._run.processId
    panel.batch.cleanup()
    spin(lambda: not alive(process), 10)
    assert not section.running
