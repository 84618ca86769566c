# ruff: noqa: F401, F811 (fixtures)
"""Save as DICOM: of a scan that the application loaded from its DICOM database, and of no other."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from dicomsources import write_scan
from paneldesktop import desktop, loadTiny, panel, slicer, spin

from SliceInterpolationLib import Volume, read_volume
from SliceInterpolationLib.errors import InputError
from SliceInterpolationMRML.nodes import isResult, nodeFromVolume, volumeFromNode
from SliceInterpolationMRML.run.dicomFiles import dicomFiles, newFolderIn


@pytest.fixture
def loaded(panel, tmp_path, monkeypatch):
    """The panel with a scan as the DICOM module loads it: nothing known of its slices, UIDs in an attribute."""
    images = write_scan(tmp_path / "database" / "a", slices=6, step=(0.0, 0.0, 5.0), size=48)
    files = {
        pydicom.dcmread(path).SOPInstanceUID: str(path) for path in (tmp_path / "database" / "a").iterdir()
    }
    monkeypatch.setattr(
        slicer,
        "dicomDatabase",
        SimpleNamespace(fileForInstance=lambda uid: files.get(uid, "")),
        raising=False,
    )
    volume, _remarks = read_volume(tmp_path / "database" / "a")
    volume.provenance, volume.header = "?" * 6, {}
    node = nodeFromVolume(volume, "2: Head")
    for name in list(node.GetAttributeNames()):
        node.RemoveAttribute(name)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(image.SOPInstanceUID for image in images))
    panel._parameterNode.inputVolume = node
    panel._parameterNode.method = "linear"
    return panel, node, files


def press(panel, button, state="done") -> None:
    button.click()
    spin(lambda: not panel.logic.running, 120)
    slicer.app.processEvents()
    assert panel.logic.job.state == state, panel.logic.job.message


def choose(monkeypatch, folder) -> None:
    dialog = sys.modules["qt"].QFileDialog
    monkeypatch.setattr(dialog, "getExistingDirectory", staticmethod(lambda *arguments: str(folder)))


def test_a_result_is_saved_beside_its_scan(loaded, tmp_path, monkeypatch):
    panel, _node, files = loaded
    assert not panel.ui.dicomButton.enabled
    assert "Interpolate first" in panel.ui.dicomButton.toolTip
    press(panel, panel.ui.applyButton)
    assert panel.ui.dicomButton.enabled
    (tmp_path / "chosen {x}").mkdir()
    choose(monkeypatch, tmp_path / "chosen {x}")
    press(panel, panel.ui.dicomButton)
    assert panel.ui.statusLabel.text == f"Saved as {tmp_path / 'chosen {x}'}."
    back, _remarks = read_volume(tmp_path / "chosen {x}")
    assert back.provenance == "ASASASASASA"
    for number, path in enumerate(sorted((tmp_path / "chosen {x}").iterdir())):
        made = pydicom.dcmread(path)
        if number % 2 == 0:
            source = pydicom.dcmread(files[made.SourceImageSequence[0].ReferencedSOPInstanceUID])
            assert made.PixelData == source.PixelData
            assert made.StudyInstanceUID == source.StudyInstanceUID
    press(panel, panel.ui.dicomButton)  # the folder is not empty any more
    assert (tmp_path / "chosen {x}" / "interpolated").is_dir()
    assert newFolderIn(tmp_path / "chosen {x}").name == "interpolated-2"


def test_nothing_happens_where_no_folder_is_chosen(loaded, monkeypatch):
    panel, _node, _files = loaded
    press(panel, panel.ui.applyButton)
    choose(monkeypatch, "")
    before = panel.logic.job
    panel.ui.dicomButton.click()
    assert panel.logic.job is before


def test_files_that_are_gone_are_told(loaded, tmp_path):
    panel, node, files = loaded
    press(panel, panel.ui.applyButton)
    result = panel._parameterNode.resultVolume
    for path in list(files.values())[:1]:
        (tmp_path / path).unlink()
    with pytest.raises(InputError, match="import them again"):
        panel.logic.saveDicom(node, result, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scan_from_elsewhere_says_why_not(panel):
    scan, _hematoma = loadTiny(panel)
    panel._parameterNode.method = "linear"
    panel._parameterNode.force = True
    press(panel, panel.ui.applyButton)
    assert not panel.ui.dicomButton.enabled
    assert "not loaded from DICOM" in panel.ui.dicomButton.toolTip
    with pytest.raises(InputError, match="not loaded from DICOM"):
        dicomFiles(scan)


def reloaded(files, folder, reverse: bool = False):
    """A node as the DICOM module makes it of a folder that was imported: voxels and UIDs, nothing of ours."""
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    files.update({image.SOPInstanceUID: str(image.filename) for image in images})
    volume, _remarks = read_volume(folder)
    array = volume.array[::-1] if reverse else volume.array
    node = nodeFromVolume(Volume(array.copy(), volume.spacing, volume.origin, volume.direction), "again")
    for name in list(node.GetAttributeNames()):
        node.RemoveAttribute(name)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(image.SOPInstanceUID for image in images))
    return node


def test_slices_of_an_original_series_are_known_to_be_acquired(loaded):
    _panel, node, _files = loaded
    volume = volumeFromNode(node)
    assert (volume.provenance, volume.units, volume.units_guessed) == ("A" * 6, "HU", False)
    slicer.util.arrayFromVolume(node)[2] += 1  # they are not those of the images any more
    slicer.util.arrayFromVolumeModified(node)
    assert volumeFromNode(node).provenance == "?" * 6


@pytest.mark.parametrize("reverse", [False, True])
def test_marks_come_back_with_a_series_of_ours(loaded, tmp_path, monkeypatch, reverse):
    panel, _node, files = loaded
    press(panel, panel.ui.applyButton)
    assert volumeFromNode(panel._parameterNode.resultVolume).provenance == "ASASASASASA"
    (tmp_path / "chosen").mkdir()
    choose(monkeypatch, tmp_path / "chosen")
    press(panel, panel.ui.dicomButton)
    # One slice fewer, so that the order shows.
    last = sorted((tmp_path / "chosen").iterdir())[-1]
    last.unlink()
    again = reloaded(files, tmp_path / "chosen", reverse)
    volume = volumeFromNode(again)
    assert volume.provenance == ("SASASASASA" if reverse else "ASASASASAS")
    assert volume.history[-1]["method"] == "linear"
    assert isResult(again)
