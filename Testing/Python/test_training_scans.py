"""Folders of scans made ready for training: what is found, what is left out and why, the split, and what stays."""

from __future__ import annotations

import copy
import csv
import pickle
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from conftest import moving_ellipse
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from SliceInterpolationLib import interpolate
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.volume import Volume
from SliceInterpolationTrainerLib import scans as scans_module
from SliceInterpolationTrainerLib.data import ExampleSampler
from SliceInterpolationTrainerLib.loading import load
from SliceInterpolationTrainerLib.quality import noise_of_slices, objections
from SliceInterpolationTrainerLib.scans import Scan, check_no_leak, prepare, read_scans, stacks_of


def scan(seed: int = 0, slices: int = 24, size: int = 96, noise: float = 8.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    voxels = moving_ellipse(slices, size, 0.4) + rng.normal(0, noise, (slices, size, size))
    return voxels.round().astype(np.int16)


def volume(voxels: np.ndarray, **attributes) -> Volume:
    return Volume(voxels, **{"spacing": (0.8, 0.8, 2.0), "units": "HU", "slice_axis": "k", **attributes})


def write(path: Path, voxels: np.ndarray, spacing=(0.8, 0.8, 2.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


# Quality


def test_an_acquired_scan_has_nothing_against_it():
    assert objections(volume(scan())) == []


MADE = {
    "linear, factor 2": lambda v: interpolate(v, method="linear", factor=2, force=True).volume,
    "linear, factor 3": lambda v: interpolate(v, method="linear", factor=3, force=True).volume,
    "cubic, factor 2": lambda v: interpolate(v, method="cubic", factor=2, force=True).volume,
    "bspline, factor 2": lambda v: interpolate(v, method="bspline", factor=2, force=True).volume,
}


@pytest.mark.parametrize("how", MADE)
def test_interpolated_slices_are_found_by_their_noise(how):
    made = MADE[how](volume(scan(slices=16)))
    assert any("this program" in one for one in objections(made))
    made = volume(made.array, spacing=made.spacing)  # nothing is said of where they are from
    (found,) = objections(made)
    assert "interpolated" in found


def test_overlapping_reconstructions_are_no_interpolation():
    thin = np.random.default_rng(0).normal(0, 20, (50, 96, 96))
    overlapping = moving_ellipse(24, 96, 0.4) + np.stack([thin[k : k + 2].mean(axis=0) for k in range(24)])
    found = noise_of_slices(SliceStack.of(volume(overlapping.round().astype(np.int16))), range(24))
    assert found[0] == pytest.approx(0.5, abs=0.1)
    assert objections(volume(overlapping.round().astype(np.int16))) == []


def jump(voxels: np.ndarray) -> np.ndarray:
    return np.concatenate((voxels[:12], np.roll(voxels[12:], 40, 2)))


WRONG = {
    "few": (lambda v: volume(v[:5]), "5 slices, fewer than 7"),
    "tilt": (lambda v: volume(v, direction=np.array([[1, 0, 0], [0, 1, 0.3], [0, 0, 0.954]])), "gantry tilt"),
    "repeated": (lambda v: volume(np.repeat(v[:12], 2, axis=0)), "slices that are repeated"),
    "jump": (lambda v: volume(jump(v)), "a jump after slice 12"),
    "flat": (lambda v: volume(np.full_like(v, 7)), "hardly any contrast"),
    "no HU": (lambda v: volume(v * 8), "which are no HU"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_speaks_against_a_scan_is_said(case):
    make, words = WRONG[case]
    found = objections(make(scan()))
    assert any(words in one for one in found), found


def test_no_real_scan_is_taken_for_an_interpolated_one(scans):
    """The thinnest and the most overlapping of those at hand; the others were tried once."""
    from SliceInterpolationLib.files import read_volume

    for name in ("chest_rider_ge_pe_0p8.nii.gz", "head_nasalseg_p020_1p5.nii.gz"):
        assert objections(read_volume(scans / name)[0]) == []


# Folders


def write_series(folder: Path, patient: str, voxels: np.ndarray, derived: bool = False) -> None:
    folder.mkdir(parents=True)
    study, series = generate_uid(), generate_uid()
    for k, image in enumerate(voxels):
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.PatientID, one.Modality, one.BodyPartExamined = patient, "CT", "HEAD"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.InstanceNumber = study, series, k + 1
        one.FrameOfReferenceUID = study
        one.ImageType = ["DERIVED" if derived else "ORIGINAL", "PRIMARY", "AXIAL"]
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 2.0 * k], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [0.8, 0.8], 2.0
        one.Rows, one.Columns = image.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = image.tobytes()
        one.save_as(folder / f"{k:03}.dcm", enforce_file_format=True)


@pytest.fixture
def data(tmp_path) -> Path:
    """Files and DICOM series of four patients, and some of what lies about in folders."""
    folder = tmp_path / "data"
    write(folder / "anna" / "head_1.nrrd", scan(1))
    write(folder / "anna" / "later" / "head_2.nii.gz", scan(2))
    write(folder / "head_bert.nrrd", scan(3))
    write(folder / "copy_of_bert.nrrd", scan(3))
    write(folder / "short.nrrd", scan(4)[:4])
    write_series(folder / "dicom" / "one", "CAESAR", scan(5))
    write_series(folder / "dicom" / "two", "DORA", scan(6), derived=True)
    (folder / "notes.txt").write_text("not a scan")
    (folder / "broken.nrrd").write_text("neither")
    return folder


def test_a_folder_is_found_examined_and_split_by_patient(data, tmp_path):
    run = tmp_path / "run"
    found = {(one.file, bool(one.series)): one for one in prepare(data, run, seed=3)}
    reasons = {name: one.objection for (name, _), one in found.items()}
    assert reasons.pop("short.nrrd").startswith("4 slices, fewer than 7")
    assert "broken.nrrd" in reasons.pop("broken.nrrd")
    assert reasons.pop("head_bert.nrrd") == "the same voxels as 'copy_of_bert.nrrd'"
    assert reasons.pop("dicom/two") == "derived from other images"
    assert set(reasons.values()) == {""}
    assert sorted(reasons) == [
        "anna/head_1.nrrd",
        "anna/later/head_2.nii.gz",
        "copy_of_bert.nrrd",
        "dicom/one",
    ]
    one, two = (found[name, False] for name in ("anna/head_1.nrrd", "anna/later/head_2.nii.gz"))
    assert one.patient == two.patient == "anna"
    assert one.split == two.split
    series = found["dicom/one", True]
    assert series.body == "head"
    assert "CAESAR" not in (run / "scans.csv").read_text()  # a patient's number names the patient
    splits = {one.patient: one.split for one in found.values() if not one.objection}
    assert sorted(splits.values()) == ["train", "train", "validation"]
    assert prepare(data, tmp_path / "again", seed=3) == prepare(data, run, seed=3)


def test_what_was_written_down_is_not_examined_again(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    first = prepare(data, run)
    monkeypatch.setattr(scans_module, "read_volume", None)
    assert prepare(data, run) == first == read_scans(run)
    (run / "scans.csv").write_text("file,slices\na,many\n")
    with pytest.raises(InputError, match="is damaged"):
        prepare(data, run)


def test_the_split_depends_on_patients_and_seed_alone():
    def split(order: list[str], seed: int) -> set[str]:
        made = [Scan(name, patient=name) for name in order]
        scans_module._split(made, seed, 0.3)
        return {one.patient for one in made if one.split == "validation"}

    names = [f"p{k}" for k in range(10)]
    assert split(names, 0) == split(names[::-1], 0)
    assert len(split(names, 0)) == 3
    assert len({frozenset(split(names, seed)) for seed in range(5)}) > 1
    assert len(split(["a"], 0)) == 0
    assert len(split(["a", "b"], 0)) == 1


def test_a_patient_on_both_sides_is_refused(data, tmp_path):
    rows = [("anna/head_1.nrrd", "train", "p1"), ("head_bert.nrrd", "validation", "p1")]
    with open(data / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "modality", "body", "patient"])
        writer.writerows((name, split, "CT", "head", patient) for name, split, patient in rows)
    with pytest.raises(InputError, match="in the splits train and validation"):
        prepare(data, tmp_path / "run")
    assert not (tmp_path / "run" / "scans.csv").exists()
    with pytest.raises(InputError, match="in the splits"):
        check_no_leak([Scan("a", patient="x", split="train"), Scan("b", patient="x", split="validation")])


def test_nothing_to_train_on_is_said_with_the_reasons(tmp_path):
    write(tmp_path / "data" / "short.nrrd", scan(4)[:4])
    with pytest.raises(InputError, match="holds no scan and modality CT that can be trained on: 4 slices"):
        prepare(tmp_path / "data", tmp_path / "run")
    with pytest.raises(InputError, match="There is no folder"):
        prepare(tmp_path / "nowhere", tmp_path / "run")


def test_stacks_are_files_mapped_into_memory_and_the_same_in_another_process(tmp_path):
    voxels = scan(7, slices=40)
    write(tmp_path / "data" / "head.nrrd", voxels, (0.5, 0.5, 1.0))
    run = tmp_path / "run"
    stacks = stacks_of(prepare(tmp_path / "data", run, validation_part=0), run, "train")
    assert [stack.in_plane for stack in stacks] == [False, True, True]
    for stack in stacks:
        assert isinstance(stack.slices, np.memmap)
        there = pickle.loads(pickle.dumps(stack))
        assert len(pickle.dumps(stack)) < 2000
        assert np.array_equal(there.slices, stack.slices)
        assert copy.copy(stack).slices.shape == stack.slices.shape
    # A margin of air around the body is left; the body is whole.
    assert stacks[0].slices.size <= voxels.size
    assert (np.asarray(stacks[0].slices) > -500).sum() == (voxels > -500).sum()


# Loading


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_draw_what_one_process_draws(tmp_path, workers):
    write(tmp_path / "data" / "head.nrrd", scan(7))
    run = tmp_path / "run"
    stacks = stacks_of(prepare(tmp_path / "data", run, validation_part=0), run, "train")
    sampler = ExampleSampler(stacks, patch=32, seed=5)
    before = torch.get_rng_state()
    batches = list(load(sampler, 2, 3, 9, workers))
    assert torch.equal(torch.get_rng_state(), before)  # loading takes no random number of the run
    assert len(batches) == 6
    for number, batch in enumerate(batches, start=3):
        for name, value in sampler.batch(number, 2).items():
            assert torch.equal(batch[name], value)
