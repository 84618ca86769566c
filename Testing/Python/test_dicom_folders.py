"""Folders as they are found: several series, copies, broken files, missing slices; every file is accounted for."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomfiles import COLUMN, ROW, write_slice
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from SliceInterpolationLib import InputError, Request, interpolate, read_volume, write_volume
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.dicom import folder_info, read_series
from SliceInterpolationLib.dicom.report import (
    COPY,
    DAMAGED,
    LOCALIZER,
    LONE,
    NO_IMAGE,
    NO_PLACE,
    NOT_DICOM,
    OTHER_ACQUISITION,
    OTHER_SERIES,
    SPECIAL,
    UNREADABLE,
    UNSUITABLE,
    USED,
)
from SliceInterpolationLib.interpolation import between

UID = "1.2.3.4"


def stack(folder, z, **options):
    """Axial slices of one series at these positions, in files named after them."""
    folder.mkdir(parents=True, exist_ok=True)
    series = options.pop("series", UID)
    for number, position in enumerate(z):
        one = {key: value(number) if callable(value) else value for key, value in options.items()}
        write_slice(folder, f"{series}-{number:03d}.dcm", (0, 0, position), series, **one)
    return folder


def fates(found) -> dict[str, str]:
    """By name; every file of the folder is there once."""
    return {entry.name: entry.fate for entry in found.report.entries}


def edited(path, **changes):
    ds = pydicom.dcmread(path)
    for key, value in changes.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    ds.save_as(path)


def raw(path, keyword, text, kind=b"DS"):
    """Write a value that pydicom would refuse."""
    ds = pydicom.dcmread(path)
    tag = pydicom.tag.Tag(tag_for_keyword(keyword))
    ds[keyword] = pydicom.DataElement(tag, "LO", text.split("\\"))
    ds.save_as(path)
    head = tag.group.to_bytes(2, "little") + tag.elem.to_bytes(2, "little")
    path.write_bytes(path.read_bytes().replace(head + b"LO", head + kind))


def test_every_file_is_accounted_for(tmp_path):
    folder = stack(tmp_path / "s", 5.0 * np.arange(8))
    stack(folder / "other", 5.0 * np.arange(3), series="1.2.9")
    write_slice(
        folder,
        "scout.dcm",
        (0, 0, 0),
        "1.2.8",
        (COLUMN, -ROW),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    shutil.copy(folder / f"{UID}-002.dcm", folder / f"{UID}-002 (1).dcm")
    whole = (folder / f"{UID}-007.dcm").read_bytes()
    (folder / f"{UID}-007.dcm").write_bytes(whole[:-100])
    (folder / "header only.dcm").write_bytes(whole[:300])
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty").touch()
    (folder / "gone").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")  # a reader would wait for ever
    write_slice(folder, "color.dcm", (0, 0, 60), UID, PhotometricInterpretation="PALETTE COLOR")
    write_slice(folder, "mosaic.dcm", (0, 0, 60), UID, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    write_slice(folder, "capture.dcm", (0, 0, 60), UID)
    edited(folder / "capture.dcm", ImagePositionPatient=None)
    write_slice(folder, "report.dcm", (0, 0, 60), UID)
    edited(folder / "report.dcm", Rows=None, PixelData=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    report = pydicom.dcmread(folder / "report.dcm")
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID
    report.save_as(folder / "report.dcm")
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [7]
    assert fates(found) == {
        **{f"{UID}-00{k}.dcm": USED for k in range(7)},
        f"{UID}-007.dcm": DAMAGED,
        f"{UID}-002 (1).dcm": fates(found)[f"{UID}-002 (1).dcm"],
        "header only.dcm": DAMAGED,
        **{f"other/1.2.9-00{k}.dcm": OTHER_SERIES for k in range(3)},
        "scout.dcm": LOCALIZER,
        "notes.txt": NOT_DICOM,
        "empty": NOT_DICOM,
        "gone": SPECIAL,
        "pipe": SPECIAL,
        "color.dcm": UNSUITABLE,
        "mosaic.dcm": UNSUITABLE,
        "capture.dcm": NO_PLACE,
        "report.dcm": NO_IMAGE,
    } | {f"{UID}-002.dcm": fates(found)[f"{UID}-002.dcm"]}
    assert {fates(found)[f"{UID}-002{end}.dcm"] for end in ("", " (1)")} == {USED, COPY}
    text = " ".join(found.remarks)
    for name in (f"{UID}-007.dcm", "header only.dcm", "gone", "pipe", "capture.dcm"):
        assert f"'{name}' is left out" in text
    assert "2 more files are left out" in text
    reasons = {entry.name: entry.reason for entry in found.report.entries}
    assert "palette color" in reasons["color.dcm"]
    assert "a mosaic" in reasons["mosaic.dcm"]
    assert "where in the patient" in reasons["capture.dcm"]


def test_the_thickest_axial_head_ct_is_chosen(tmp_path):
    head = {"BodyPartExamined": "HEAD", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
    stack(tmp_path / "a", 1.0 * np.arange(20), series="1.1", **head)
    stack(tmp_path / "b", 5.0 * np.arange(6), series="1.2", **head, ConvolutionKernel="H60s")
    stack(tmp_path / "c", 5.0 * np.arange(6), series="1.3", **head, ConvolutionKernel="H31s")
    stack(tmp_path / "d", 8.0 * np.arange(6), series="1.4", **{**head, "BodyPartExamined": "CHEST"})
    stack(tmp_path / "e", 6.0 * np.arange(6), series="1.5", **{**head, "ImageType": ["DERIVED", "SECONDARY"]})
    stack(
        tmp_path / "f", 6.0 * np.arange(6), series="1.6", **head, orientation=(COLUMN, np.array([0, 0, 1.0]))
    )
    stack(tmp_path / "g", 6.0 * np.arange(6), series="1.7", **head, Modality="MR")
    found = read_series(tmp_path)
    assert found.report.series == "1.3"
    infos, remarks, report = folder_info(tmp_path)
    assert remarks == []
    assert {one.name: one.reason for one in infos} == {
        "1.1": "thinner slices",
        "1.2": "a sharp kernel",
        "1.3": "the thickest axial head CT",
        "1.4": "not said to show the head",
        "1.5": "derived from other images",
        "1.6": "its slices do not follow each other evenly",
        "1.7": "it is MR",
    }
    assert report.counts == {USED: 6, OTHER_SERIES: 50}
    assert read_volume(tmp_path, series="1.1")[0].slice_count == 20
    with pytest.raises(InputError, match=r"no series 9; it has 1\.1, 1\.2"):
        read_volume(tmp_path, series="9")


@pytest.mark.parametrize(
    "attribute", ["ConvolutionKernel", "AcquisitionNumber", "AcquisitionTime", "EchoTime", "ImageType"]
)
def test_two_acquisitions_in_one_series_are_told_apart(tmp_path, attribute):
    values = {"AcquisitionNumber": [1, 2], "AcquisitionTime": ["101500", "102500"], "EchoTime": [10, 90]}
    first, second = values.get(attribute, ["ORIGINAL", "DERIVED"])
    folder = stack(tmp_path / "s", 5.0 * np.arange(6), **{attribute: first})
    for k in range(5):
        pixels = np.full((24, 24), k, np.uint16).tobytes()
        write_slice(folder, f"second-{k}.dcm", (0, 0, 5 * k), UID, **{attribute: second}, PixelData=pixels)
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [6]
    assert found.report.counts == {USED: 6, OTHER_ACQUISITION: 5}
    (other,) = read_series(folder, f"{UID}#2").runs
    np.testing.assert_array_equal(other.volume.array[:, 0, 0], np.arange(5) - 1024)
    assert any("2 series or acquisitions" in one for one in found.remarks)


def test_echoes_and_times_in_one_series(tmp_path):
    """Six images at every place, told apart by two attributes together."""
    folder = tmp_path / "s"
    folder.mkdir()
    for k in range(4):
        for number in range(6):
            echo, time = 10 + 10 * (number % 2), 1 + number // 2
            write_slice(
                folder, f"{k}-{number}.dcm", (0, 0, 5 * k), UID, Modality="MR", EchoTime=echo,
                TemporalPositionIdentifier=time, PixelData=np.full((24, 24), 10 * number + k, np.uint16).tobytes(),
            )  # fmt: skip
    infos, _, _ = folder_info(folder)
    assert [one.slices for one in infos] == [4] * 6
    found = [read_series(folder, one.name).runs[0].volume.array[:, 0, 0] + 1024 for one in infos]
    assert sorted(one.tolist() for one in found) == [[10 * n + k for k in range(4)] for n in range(6)]


@pytest.mark.parametrize(("change", "together"), [(1e-5, True), (0.03, False)])
def test_slices_of_slightly_other_orientation(tmp_path, change, together):
    """What moves the far end of a row by less than 0.1 mm is one stack."""
    folder = stack(tmp_path / "s", 5.0 * np.arange(5))
    turned = (ROW, np.array([0, np.cos(change), np.sin(change)]))
    for k in range(5, 7):
        write_slice(folder, f"turned-{k}.dcm", (0, 0, 5 * k), UID, turned)
    assert read_volume(folder)[0].slice_count == (7 if together else 5)


def test_without_pydicom(tmp_path, monkeypatch):
    folder = stack(tmp_path / "s", (0, 5, 10))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match="pip install pydicom"):
        read_series(folder)


def test_acquisitions_between_each_other_are_not_interleaved(tmp_path):
    """Two times at 5 mm, the second 2.5 mm on: together they look like one even series at 2.5 mm."""
    folder = stack(tmp_path / "s", 2.5 * np.arange(12), AcquisitionNumber=lambda k: 1 + k % 2)
    (run,) = read_series(folder).runs
    assert run.volume.slice_spacing == 5
    blocks = stack(tmp_path / "blocks", 2.5 * np.arange(12), AcquisitionNumber=lambda k: 1 + k // 4)
    assert read_volume(blocks)[0].slice_count == 12  # a table that steps


def test_same_place_without_any_difference_is_refused_with_both_names(tmp_path):
    folder = stack(tmp_path / "s", (0, 5, 10))
    write_slice(folder, "again.dcm", (0, 0, 5), UID, PixelData=bytes(2 * 24 * 24))
    with pytest.raises(InputError, match=r"same position \('.*' and '.*'\)"):
        read_series(folder)


def test_one_instance_uid_for_all_slices(tmp_path):
    """Some programs that remove names do this: where and what a slice is counts, not its number."""
    folder = stack(tmp_path / "s", (0, 5, 10, 15), SOPInstanceUID="1.2.3.4.5")
    assert read_volume(folder)[0].slice_count == 4


def test_nothing_usable_is_told_by_reason(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    with pytest.raises(InputError, match="holds no DICOM images"):
        read_series(folder)
    (folder / "text.txt").write_text("x" * 500)
    with pytest.raises(InputError, match="holds no DICOM images"):
        read_series(folder)
    stack(folder, (0, 5, 10), PhotometricInterpretation="RGB")
    with pytest.raises(InputError, match=r"color image \(rgb\).*2 more"):
        read_series(folder)


def test_a_missing_slice_is_bridged_on_request_only(tmp_path):
    folder = stack(tmp_path / "s", [0, 5, 10, 20, 25, 30, 40])
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [3, 3]
    assert fates(found)[f"{UID}-006.dcm"] == LONE
    assert any("2 single slices are missing" in one and "--bridge" in one for one in found.remarks)
    assert any(f"left out: slice 7 ('{UID}-006.dcm')" in one for one in found.remarks)
    found = read_series(folder, bridge=partial(between, request=Request(method="linear")))
    (run,) = found.runs
    volume = run.volume
    assert volume.provenance == "AAASAAASA".replace("A", "?")
    assert [source is None for source in run.sources] == [letter == "S" for letter in volume.provenance]
    assert volume.origin[2] == 0
    assert volume.slice_spacing == 5
    np.testing.assert_array_equal(
        volume.array[3], np.rint((volume.array[2].astype(float) + volume.array[4]) / 2)
    )
    assert volume.header["BridgedSlices"] == "4 8"
    assert any("slice 4, 8 was missing" in one for one in found.remarks)
    assert run.dataset(4).ImagePositionPatient[2] == 20
    with pytest.raises(InputError, match="Slice 4 was missing"):
        run.dataset(3)
    made = interpolate(volume, method="linear").volume
    assert made.provenance[6] == "S"
    write_volume(made, tmp_path / "made.nrrd")
    back, _ = read_volume(tmp_path / "made.nrrd")
    assert (back.provenance, back.header["BridgedSlices"]) == (made.provenance, "4 8")


@pytest.mark.parametrize("z", [(0, 5, 10, 25, 30, 35), (0, 5, 10, 20, 30, 40), (0, 5, 10, 15, 22, 27, 32)])
def test_other_gaps_are_not_bridged(tmp_path, z):
    folder = stack(tmp_path / "s", z)
    before = [run.volume.affine.tolist() for run in read_series(folder).runs]
    after = read_series(folder, bridge=between).runs
    assert [run.volume.affine.tolist() for run in after] == before
    assert all("S" not in run.volume.provenance for run in after)


def test_the_command_bridges_and_says_so(tmp_path, capsys):
    folder = stack(tmp_path / "s", [0, 5, 10, 20, 25])
    out = tmp_path / "out.nrrd"
    arguments = ["interpolate", str(folder), str(out), "--method", "linear", "--factor", "2"]
    assert main([*arguments, "--bridge"]) == 0
    assert "was missing in the series" in capsys.readouterr().err
    assert read_volume(out)[0].provenance == "?S?S?SSS?S?"
    picture = ["compare", str(folder), str(out), "--output", str(tmp_path / "c.png")]
    assert main(picture) == 2  # the scan without the slice has another grid
    assert main([*picture, "--bridge"]) == 0
    assert main(["page", str(folder), str(out), "--output", str(tmp_path / "p.html"), "--bridge"]) == 0
    assert main(["trust", str(folder), "--bridge"]) == 2  # what is not acquired proves nothing


def test_81_slices_whose_last_lies_8_mm_away(tmp_path):
    folder = stack(tmp_path / "s", [*(1.0 * np.arange(80)), 87.0], size=12)
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [80]
    assert fates(found)[f"{UID}-080.dcm"] == LONE
    assert any("jumps by 8 mm" in one for one in found.remarks)
    assert any(f"slice 81 ('{UID}-080.dcm')" in one for one in found.remarks)


def test_a_broken_slice_is_named_and_splits_the_series(tmp_path):
    folder = stack(tmp_path / "s", 5.0 * np.arange(9))
    path = folder / f"{UID}-004.dcm"
    path.write_bytes(path.read_bytes()[:-2])
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [4, 4]
    assert fates(found)[path.name] == DAMAGED
    assert any(f"'{path.name}' is left out: it is cut off" in one for one in found.remarks)


def test_every_slice_is_broken(tmp_path):
    """What shows only when the pixels are read: compressed data without an end."""
    folder = stack(tmp_path / "s", 5.0 * np.arange(4))
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
        ds.PixelData = encapsulate([b"nothing that is an image"])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.save_as(path)
    with pytest.raises(InputError, match=r"no slice that can be used.*cannot be decoded"):
        read_series(folder)


def test_progress_is_told(tmp_path):
    folder = stack(tmp_path / "s", 5.0 * np.arange(4))
    told = []
    read_volume(folder, progress=lambda *one: told.append(one))
    assert told == [*(("headers", k, 4) for k in range(4)), *(("read", k, 4) for k in range(1, 5))]


def test_pixel_data_of_another_length_than_the_matrix(tmp_path):
    folder = stack(tmp_path / "s", 5.0 * np.arange(4))
    write_slice(folder, "filled up.dcm", (0, 0, 20), UID, PixelData=b"\1" * (2 * 24 * 24) + bytes(100))
    write_slice(folder, "short.dcm", (0, 0, 25), UID, PixelData=bytes(2 * 24 * 23))
    write_slice(folder, "long.dcm", (0, 0, 30), UID, PixelData=b"\1" * (2 * 24 * 26))
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [5]
    assert fates(found)["short.dcm"] == fates(found)["long.dcm"] == DAMAGED
    assert any("1104 bytes of pixel data where its matrix needs 1152" in one for one in found.remarks)


def test_the_files_that_pydicom_tests_itself_with():
    """About 200 files of every kind: none stops the reader; one image in seven encodings is one image."""
    folder = Path(pydicom.__file__).parent / "data"
    if not (folder / "test_files" / "MR_small.dcm").is_file():
        pytest.skip("pydicom came without its test files")
    infos, _, report = folder_info(folder)
    assert len(report.entries) == sum(path.is_file() for path in folder.rglob("*"))
    by_name = {entry.name.rpartition("/")[2]: entry for entry in report.entries}
    copies = [name for name in by_name if name.startswith("MR_small_") and by_name[name].fate == COPY]
    assert "MR_small_jp2klossless.dcm" in copies
    assert "MR_small_jpeg_ls_lossless.dcm" in copies
    assert by_name["MR_truncated.dcm"].fate == DAMAGED
    for info in (one for one in infos if one.slices > 1):
        try:
            runs = read_series(folder, info.name).runs
        except InputError:
            continue
        assert sum(len(run.sources) for run in runs) <= info.slices


def test_positions_that_drift_are_bounded(tmp_path):
    z = np.concatenate(([0.0], np.cumsum([5.0] * 30 + [5.09] * 30)))
    for run in read_series(stack(tmp_path / "s", z, size=12)).runs:
        for k, source in enumerate(run.sources):
            true = pydicom.dcmread(source.path).ImagePositionPatient[2]
            assert abs((run.volume.affine @ (0, 0, k, 1))[2] - true) <= 0.1


@pytest.mark.parametrize("step", [0.625, 1.25, 3.75, 4.9])
def test_rounded_positions_are_one_grid(tmp_path, step):
    z = np.round(-300.0 + step * np.arange(50), 1)
    found = read_series(stack(tmp_path / "s", z, size=12))
    (run,) = found.runs
    assert run.volume.slice_count == 50
    assert run.volume.slice_spacing == pytest.approx(step, abs=0.003)
    assert all("off by more than" in one for one in found.remarks)


def test_empty_and_strange_numbers(tmp_path):
    folder = stack(tmp_path / "s", 5.0 * np.arange(7), SliceThickness=None)
    raw(folder / f"{UID}-001.dcm", "ImagePositionPatient", "0,0\\0,0\\5,00 ")
    raw(folder / f"{UID}-002.dcm", "PixelSpacing", "0,5\\0,4 ")
    raw(folder / f"{UID}-005.dcm", "ImagePositionPatient", "0\\0\\up")
    raw(folder / f"{UID}-006.dcm", "ImagePositionPatient", "0\\0\\nan ")
    found = read_series(folder)
    (run,) = found.runs
    assert run.volume.slice_count == 5
    assert run.volume.slice_thickness is None
    assert run.volume.spacing == (0.4, 0.5, 5.0)
    assert fates(found)[f"{UID}-005.dcm"] == fates(found)[f"{UID}-006.dcm"] == UNREADABLE
    assert any("ImagePositionPatient is no number" in one for one in found.remarks)


@pytest.mark.parametrize(
    "keyword", ["SliceThickness", "RescaleSlope", "RescaleIntercept", "ImageOrientationPatient"]
)
def test_no_number_at_all(tmp_path, keyword):
    folder = stack(tmp_path / "s", 5.0 * np.arange(5))
    raw(folder / f"{UID}-004.dcm", keyword, "one ")
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [5 if keyword == "SliceThickness" else 4]
    if keyword != "SliceThickness":
        assert any(f"{keyword} is no number" in one for one in found.remarks)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_files_without_preamble(tmp_path, syntax):
    folder = stack(tmp_path / "s", 5.0 * np.arange(4))
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        implicit = syntax == "1.2.840.10008.1.2"
        bare = pydicom.Dataset(ds)
        with open(path, "wb") as file:
            pydicom.dcmwrite(file, bare, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[:2] == b"\x08\x00"
    (run,) = read_series(folder).runs
    assert run.volume.array[:, 0, 0].tolist() == [-1000] * 4


def test_folders_that_may_not_be_opened_and_links_to_folders(tmp_path):
    folder = stack(tmp_path / "s", 5.0 * np.arange(4))
    (folder / "loop").symlink_to(folder)
    found = read_series(folder)
    assert fates(found)["loop"] == SPECIAL
    if os.geteuid():  # root opens all
        (folder / "closed").mkdir(mode=0)
        assert fates(read_series(folder))["closed"] == SPECIAL


def test_no_name_of_the_patient_is_told(tmp_path, capsys):
    folder = stack(tmp_path / "s", [0, 5, 10, 20, 25], PatientName="Secret^Name", PatientID="Secret7")
    stack(folder, 3.0 * np.arange(4), series="1.2.9", PatientName="Secret^Name", SeriesDescription="Secret")
    for path in folder.iterdir():  # pydicom warns of such a date, and quotes it
        raw(path, "PatientBirthDate", "Secret", kind=b"DA")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert main(["dicom-info", str(folder)]) == 0
        assert main(["interpolate", str(folder), str(tmp_path / "o.nrrd"), "--method", "linear"]) == 0
        read_series(folder).runs[0].dataset(0)
    assert [str(one.message) for one in warned if "Secret" in str(one.message)] == []
    said = capsys.readouterr()
    assert "Secret" not in said.out + said.err
    written = [path for path in tmp_path.iterdir() if path.is_file()]
    assert written
    assert not any(b"Secret" in path.read_bytes() for path in written)


def test_dicom_info_lists_everything(tmp_path, capsys):
    folder = stack(tmp_path / "s", 5.0 * np.arange(4))
    (folder / "notes.txt").write_text("x")
    assert main(["dicom-info", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"* {UID}: CT, 4 slices at 5 mm")
    assert lines[1:] == [*(f"{UID}-00{k}.dcm: used" for k in range(4)), "notes.txt: not DICOM"]
    assert main(["dicom-info", str(folder / "notes.txt")]) == 2
