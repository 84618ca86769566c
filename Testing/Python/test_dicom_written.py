"""What is written as DICOM: the same study, every slice marked, acquired pixels untouched, nothing half-made."""

from __future__ import annotations

import os
import stat
import tracemalloc
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from dicomsources import as_it_stands, modality_values, write_scan

from SliceInterpolationLib import InputError, interpolate, read_volume, write_volume
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.dicom import read_series, write_series, writing
from SliceInterpolationLib.dicom.marks import read_mark
from SliceInterpolationLib.dicom.stored import Scale, stored_as
from SliceInterpolationLib.files import Outputs


def written(folder):
    """The images in a folder, in the order of their names."""
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def derive(tmp_path, burn_in=False, request=None, **source):
    """A source series, its run, the result and the images that were written of it."""
    images = write_scan(tmp_path / "scan", **source)
    (run,) = read_series(tmp_path / "scan").runs
    result = interpolate(run.volume, **(request or {"method": "linear"})).volume
    (tmp_path / "out").mkdir()
    write_series(result, run, tmp_path / "out", burn_in=burn_in)
    return images, run, result, written(tmp_path / "out")


def test_a_series_of_the_same_study_that_says_what_it_is(tmp_path):
    images, _, result, made = derive(tmp_path)
    assert len(made) == 11
    assert len({one.SOPInstanceUID for one in made} | {one.SOPInstanceUID for one in images}) == 17
    assert {one.SeriesInstanceUID for one in made} != {images[0].SeriesInstanceUID}
    assert len({one.SeriesInstanceUID for one in made}) == 1
    for number, one in enumerate(made):
        for same in (
            "StudyInstanceUID",
            "FrameOfReferenceUID",
            "PatientID",
            "PatientName",
            "AccessionNumber",
            "KVP",
        ):
            assert one[same].value == images[0][same].value
        assert list(one.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert one.InstanceNumber == number + 1
        assert one.SliceThickness == 5
        assert one.SpacingBetweenSlices == 2.5
        assert "SYNTHESIZED" in one.SeriesDescription
        assert "5 SYNTHESIZED of 11" in one.SeriesDescription
        assert one.Manufacturer != "Scanner works"
        assert one.ContributingEquipmentSequence[0].ManufacturerModelName == "Scan 3"
        own = one.ContributingEquipmentSequence[-1]
        assert (own.AlgorithmName, own.ManufacturerModelName) == ("linear", "SliceInterpolation")
        for absent in ("XRayTubeCurrent", "CTDIvol", "Exposure", "ExposureTime", "BurnedInAnnotation"):
            assert absent not in one
        assert not [element for element in one.iterall() if element.tag.is_private]
        assert {*one.dir()} >= {"DerivationDescription", "DerivationCodeSequence", "ImageComments"}
        assert ("SYNTHESIZED" in [c.CodeValue for c in one.DerivationCodeSequence]) == bool(number % 2)
        assert ("MADE BY SOFTWARE" in one.ImageComments) == bool(number % 2)
    assert "between 2 and 3" in made[3].ImageComments
    np.testing.assert_allclose([one.ImagePositionPatient[2] for one in made], 10.5 + 2.5 * np.arange(11))
    np.testing.assert_array_equal(np.stack([modality_values(one) for one in made]), result.array)


def test_every_slice_names_its_sources(tmp_path):
    images, _, _, made = derive(tmp_path, slices=4)
    uids = [one.SOPInstanceUID for one in images]
    sources = [[item.ReferencedSOPInstanceUID for item in one.SourceImageSequence] for one in made]
    assert sources == [
        uids[k // 2 : k // 2 + 1] if k % 2 == 0 else uids[k // 2 : k // 2 + 2] for k in range(7)
    ]


def test_a_denoised_slice_names_itself_and_its_neighbors(tmp_path):
    images, _, result, made = derive(
        tmp_path, slices=4, request={"method": "linear", "output_mode": "denoise-only"}
    )
    uids = [one.SOPInstanceUID for one in images]
    assert result.provenance == "ADDA"
    sources = [{item.ReferencedSOPInstanceUID for item in one.SourceImageSequence} for one in made]
    assert sources == [{uids[0]}, set(uids[:3]), set(uids[1:]), {uids[3]}]
    assert [one.DerivationCodeSequence[-1].CodeValue for one in made] == [
        "ACQUIRED", "DENOISED", "DENOISED", "ACQUIRED",
    ]  # fmt: skip
    assert made[1].ImagePositionPatient == images[1].ImagePositionPatient


def per_slice(k, ds):
    ds.RescaleSlope, ds.RescaleIntercept = [1, 0.5, 2][k % 3], [-1024, -512, 0][k % 3]


def padded(k, ds):
    stored = np.frombuffer(ds.PixelData, "<i2").copy()
    stored[:40] = -2000
    ds.PixelData = stored.tobytes()
    ds.add_new("PixelPaddingValue", "SS", -2000)


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"signed": True, "RescaleIntercept": 0},
        {"signed": True, "RescaleIntercept": 0, "change": padded},
        {"RescaleSlope": 2, "RescaleIntercept": -2048},
        {"RescaleSlope": "0.73", "RescaleIntercept": "-1000.5"},
        {"change": per_slice},
        {"modality": "MR"},
        {"modality": "MR", "RescaleSlope": "1.25", "RescaleIntercept": "0"},
    ],
    ids=["unsigned", "signed", "padding", "slope 2", "fractions", "each its own", "MR", "MR with a slope"],
)
def test_acquired_pixels_are_those_of_the_source(tmp_path, source):
    images, run, result, made = derive(tmp_path, slices=5, **source)
    for before, after in zip(images, made[::2]):
        assert after.PixelData == before.PixelData
        for same in (
            "RescaleSlope",
            "RescaleIntercept",
            "PixelRepresentation",
            "BitsStored",
            "PixelPaddingValue",
        ):
            assert after.get(same) == before.get(same)
        assert after.ImagePositionPatient == before.ImagePositionPatient
    for number in range(1, 9, 2):
        values = modality_values(made[number])
        outside = made[number].pixel_array == made[number].get("PixelPaddingValue", np.inf)
        step = float(made[number].get("RescaleSlope", 1))
        limit = 0 if result.array.dtype.kind in "iu" else step / 2 + 1e-3
        assert np.abs(values - result.array[number])[~outside].max() <= limit
    assert run.volume.provenance == "AAAAA"


@pytest.mark.parametrize(
    ("values", "source"),
    [
        (np.array([[-1024, 3000]], np.int16), Scale(1, -1024, 12, False)),
        (np.array([[-1024, 9000]], np.int16), Scale(1, -1024, 12, False)),
        (np.array([[-32768, 32767]], np.int16), Scale(1, -1024, 12, False)),
        (np.array([[-20000, 45000]], np.int32), Scale(1, 0, 16, True)),
        (np.array([[7, 8]], np.int16), Scale(2, 0, 12, False)),
    ],
)
def test_whole_numbers_are_stored_exactly(values, source):
    stored, scale = stored_as(values, source)
    assert stored.dtype.itemsize == 2
    np.testing.assert_array_equal(scale.values(stored), values)


def test_fractions_beyond_the_source_lose_no_more_than_half_a_step():
    values = np.linspace(-3000, 70000, 1000, dtype=np.float32).reshape(10, 100)
    stored, scale = stored_as(values, Scale(0.5, -1024, 12, False))
    assert np.abs(scale.values(stored) - values).max() <= scale.slope / 2 + 1e-2
    assert scale.slope < 1.2


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless", "MONOCHROME1", "8 bits", "no rescale"])
def test_however_the_source_is_stored(tmp_path, syntax):
    before = {}

    def change(k, ds):
        if syntax == "MONOCHROME1":
            ds.PhotometricInterpretation = syntax
        elif syntax == "8 bits":
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
            ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) // 5).astype(np.uint8).tobytes()
            ds["PixelData"].VR = "OB"
        elif syntax == "no rescale" and k == 2:
            del ds.RescaleSlope, ds.RescaleIntercept
        before[k] = np.frombuffer(ds.PixelData, np.uint8 if syntax == "8 bits" else np.uint16)

    write_scan(tmp_path / "scan", change=change)
    if "Lossless" in syntax:
        for path in (tmp_path / "scan").iterdir():
            image = pydicom.dcmread(path)
            image.compress(getattr(pydicom.uid, syntax))
            image.save_as(path)
    (run,) = read_series(tmp_path / "scan").runs
    result = interpolate(run.volume, method="linear").volume
    (tmp_path / "out").mkdir()
    write_series(result, run, tmp_path / "out")
    made = written(tmp_path / "out")
    np.testing.assert_array_equal(np.stack([modality_values(one) for one in made]), result.array)
    for k, pixels in before.items():
        np.testing.assert_array_equal(made[2 * k].pixel_array.ravel(), pixels)
        assert made[2 * k].PhotometricInterpretation == (syntax if syntax == "MONOCHROME1" else "MONOCHROME2")
    back, _ = read_volume(tmp_path / "out")
    assert back.provenance == result.provenance
    np.testing.assert_array_equal(back.array, result.array)


def test_a_bridged_slice_is_a_made_one_of_its_neighbors(tmp_path):
    images = write_scan(tmp_path / "scan", slices=8)
    next(p for p in (tmp_path / "scan").iterdir() if pydicom.dcmread(p).InstanceNumber == 4).unlink()
    assert main(["interpolate", str(tmp_path / "scan"), str(tmp_path / "out"), "--output-format", "dicom",
                 "--method", "linear", "--bridge"]) == 0  # fmt: skip
    made = written(tmp_path / "out")
    assert read_volume(tmp_path / "out")[0].provenance == "ASASASSSASASASA"
    bridged = [one.ReferencedSOPInstanceUID for one in made[6].SourceImageSequence]
    assert bridged == [images[2].SOPInstanceUID, images[4].SOPInstanceUID]
    assert [float(one.ImagePositionPatient[2]) for one in made] == [10.5 + 2.5 * k for k in range(15)]


def test_tilted_positions_are_kept(tmp_path):
    tilt = np.deg2rad(18.5)
    orientation = (1, 0, 0, 0, float(f"{np.cos(tilt):.7f}"), float(f"{-np.sin(tilt):.7f}"))
    images, _, result, made = derive(tmp_path, orientation=orientation, step=(0.0, 0.0, 4.5))
    for k, one in enumerate(made):
        np.testing.assert_allclose(one.ImagePositionPatient, (result.affine @ (0, 0, k, 1))[:3], atol=1e-6)
        assert one.ImageOrientationPatient == images[0].ImageOrientationPatient
        assert float(one.SpacingBetweenSlices) == pytest.approx(2.25 * np.cos(tilt), abs=1e-6)
    assert result.is_sheared


def test_reading_it_again_gives_the_same_volume_with_its_marks(tmp_path):
    _, _, result, _ = derive(tmp_path)
    back, _ = read_volume(tmp_path / "out")
    assert back.same_grid(result)
    np.testing.assert_array_equal(back.array, result.array)
    assert back.provenance == "ASASASASASA"
    assert back.history == result.history
    again = interpolate(back, method="nearest").volume  # a result of a result
    (run,) = read_series(tmp_path / "out").runs
    (tmp_path / "again").mkdir()
    write_series(again, run, tmp_path / "again")
    third, _ = read_volume(tmp_path / "again")
    assert third.provenance == again.provenance == "ASSS" * 5 + "A"
    assert len(third.history) == 2


@pytest.mark.parametrize("how", ["pixels", "codes", "equipment", "record"])
def test_a_mark_counts_only_for_the_pixels_it_was_made_for(tmp_path, how):
    derive(tmp_path)
    for path in (tmp_path / "out").iterdir():
        image = pydicom.dcmread(path)
        if how == "pixels":
            image.PixelData = (image.pixel_array + 1).astype(np.uint16).tobytes()
        elif how == "codes":
            del image.DerivationCodeSequence
        elif how == "equipment":
            image.ContributingEquipmentSequence[-1].ManufacturerModelName = "Other"
        else:
            image.ContributingEquipmentSequence[-1].AlgorithmParameters = '{"slice": "A"'
        image.save_as(path)
    assert set(read_volume(tmp_path / "out")[0].provenance) == {"?"}


def test_an_image_of_others_has_no_mark():
    assert read_mark(pydicom.Dataset()) is None


def test_words_are_burned_into_made_slices_alone(tmp_path):
    images, _, result, made = derive(tmp_path, burn_in=True, size=96)
    for number, one in enumerate(made):
        assert one.get("BurnedInAnnotation", "") == ("YES" if number % 2 else "")
        changed = modality_values(one) != result.array[number]
        assert changed.any() == bool(number % 2)
        if number % 2:
            assert np.nonzero(changed)[0].max() < 16
            assert modality_values(one).max() == result.array[number].max()
    assert [one.PixelData for one in made[::2]] == [one.PixelData for one in images]


def test_files_are_for_their_owner_alone_and_appear_at_once(tmp_path, monkeypatch):
    write_scan(tmp_path / "scan")
    seen = []

    def save(dataset, path, save=writing.save):
        seen.append((tmp_path / "out").exists())
        save(dataset, path)

    monkeypatch.setattr(writing, "save", save)
    old = os.umask(0)
    try:
        assert main(["interpolate", str(tmp_path / "scan"), str(tmp_path / "out"), "--output-format", "dicom",
                     "--method", "linear"]) == 0  # fmt: skip
    finally:
        os.umask(old)
    assert seen == [False] * 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scan"]
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()} == {0o600}


def test_nothing_is_left_where_it_fails_half_way(tmp_path, monkeypatch, capsys):
    write_scan(tmp_path / "scan")
    (tmp_path / "empty").mkdir()

    def full(dataset, path):
        path.write_bytes(b"half")
        if path.name == "00003.dcm":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "save", full)
    for target in ("out", "empty"):
        assert main(["interpolate", str(tmp_path / "scan"), str(tmp_path / target), "--output-format", "dicom",
                     "--method", "linear"]) == 1  # fmt: skip
        assert "free some space" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "scan"]
    assert not list((tmp_path / "empty").iterdir())


def test_an_empty_folder_means_dicom_and_a_full_one_is_refused(tmp_path, capsys):
    write_scan(tmp_path / "scan")
    (tmp_path / "empty").mkdir()
    assert main(["interpolate", str(tmp_path / "scan"), str(tmp_path / "empty"), "--method", "linear"]) == 0
    assert len(list((tmp_path / "empty").iterdir())) == 11
    before = sorted((tmp_path / "empty").iterdir())
    assert main(["interpolate", str(tmp_path / "scan"), str(tmp_path / "empty"), "--method", "linear"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert sorted((tmp_path / "empty").iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{scan}", "{scan}/inside", "--output-format", "dicom"], "outside of it"),
        (["{scan}", "{tmp}/no/where", "--output-format", "dicom"], "does not exist"),
        (["{file}", "{tmp}/out", "--output-format", "dicom"], "no DICOM folder"),
        (["{scan}", "{tmp}/out", "--output-format", "dicom", "--axis", "i"], "another axis"),
        (["{scan}", "{tmp}/out.nrrd", "--burn-in"], "--burn-in is for DICOM"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(tmp_path, capsys, arguments, said):
    write_scan(tmp_path / "scan")
    write_volume(read_volume(tmp_path / "scan")[0], tmp_path / "scan.nrrd")
    words = {"scan": tmp_path / "scan", "tmp": tmp_path, "file": tmp_path / "scan.nrrd"}
    assert main(["interpolate", *(one.format(**words) for one in arguments), "--method", "linear"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_modalities_are_refused(tmp_path):
    write_scan(tmp_path / "scan", Modality="PT")
    (run,) = read_series(tmp_path / "scan").runs
    with pytest.raises(InputError, match=r"CT and MR.*PT"):
        write_series(interpolate(run.volume, method="linear").volume, run, tmp_path)


def test_a_foreign_result_is_refused(tmp_path):
    write_scan(tmp_path / "scan")
    (run,) = read_series(tmp_path / "scan").runs
    moved = replace(run.volume, origin=(1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="does not belong"):
        write_series(moved, run, tmp_path)


@pytest.mark.parametrize("tilt", [0.0, 18.5])
@pytest.mark.parametrize("mode", ["interpolated", "denoised"])
def test_a_result_of_slicer_finds_its_images(tmp_path, tilt, mode):
    """Slicer reads on its own, does not know what was acquired, and stands a tilted series upright."""
    angle = np.deg2rad(tilt)
    orientation = (1, 0, 0, 0, np.cos(angle).round(7), np.sin(angle).round(7))
    write_scan(tmp_path / "scan", orientation=orientation)
    (run,) = read_series(tmp_path / "scan").runs
    scan = replace(run.volume, provenance="", direction=np.eye(3), array=run.volume.array.astype(np.float64))
    result = interpolate(scan, method="linear", output_mode=mode).volume
    write_volume(result, tmp_path / "result.nrrd")
    assert main(["dicom-write", str(tmp_path / "result.nrrd"), str(tmp_path / "out"), "--scan",
                 str(tmp_path / "scan")]) == 0  # fmt: skip
    back, _ = read_volume(tmp_path / "out")
    kept = "D" if mode == "denoised" else "A"
    assert back.provenance == "AS" + f"{kept}S" * 4 + "A"
    assert back.same_grid(interpolate(run.volume, method="linear").volume)
    np.testing.assert_array_equal(back.array, np.rint(result.array))


def test_a_result_of_another_series_is_refused(tmp_path, capsys):
    write_scan(tmp_path / "scan")
    (run,) = read_series(tmp_path / "scan").runs
    result = interpolate(run.volume, method="linear").volume
    foreign = result.array.copy()
    foreign[0] += 5
    write_volume(replace(result, array=foreign, origin=(0, 0, 0)), tmp_path / "result.nrrd")
    assert main(["dicom-write", str(tmp_path / "result.nrrd"), str(tmp_path / "out"), "--scan",
                 str(tmp_path / "scan")]) == 2  # fmt: skip
    assert "not made of this DICOM series" in capsys.readouterr().err
    # On the right grid, a slice that is not the scan's is of unknown origin, whatever its file says.
    write_volume(replace(result, array=foreign), tmp_path / "changed.nrrd")
    assert main(["dicom-write", str(tmp_path / "changed.nrrd"), str(tmp_path / "out"), "--scan",
                 str(tmp_path / "scan")]) == 0  # fmt: skip
    assert read_volume(tmp_path / "out")[0].provenance == "?SASASASASA"


def test_irregular_steps_become_series_of_their_own(tmp_path):
    write_scan(tmp_path / "scan", slices=9, change=lambda k, ds: setattr(
        ds, "ImagePositionPatient", [0, 0, (0, 4, 8, 12, 16, 23, 30, 37, 44)[k]]))  # fmt: skip
    assert main(["interpolate", str(tmp_path / "scan"), str(tmp_path / "two"), "--output-format", "dicom",
                 "--method", "linear"]) == 0  # fmt: skip
    folders = sorted((tmp_path / "two").iterdir())
    assert [folder.name for folder in folders] == ["run1", "run2"]
    assert [read_volume(folder)[0].slice_count for folder in folders] == [9, 9]


def test_values_that_are_no_dicom_are_not_passed_on(tmp_path):
    def bad(k, ds):
        ds.DataCollectionDiameter = "250"
        with pytest.warns(UserWarning, match="exceeds"):
            ds.FilterType = "much longer than the 16 characters of an SH"
        ds.SliceLocation = None

    images, _, _, made = derive(tmp_path, change=bad)
    assert "FilterType" not in made[0]
    assert made[0].DataCollectionDiameter == images[0].DataCollectionDiameter


def test_what_a_study_is_filed_by_is_kept_as_it_stands(tmp_path):
    """Also where it is not valid: else a PACS makes a second patient or study of it."""
    stands = {
        "PatientName": b"a name of more than sixty-four characters, as some hospitals have them^" + b"x" * 30,
        "PatientID": b"",
        "StudyInstanceUID": b"1.2.03.4",
        "FrameOfReferenceUID": b"1.2.3.04",
        "PatientBirthDate": b"1950.01.01",
    }

    def change(k, ds):
        for keyword, value in stands.items():
            as_it_stands(ds, keyword, value)

    _, _, _, made = derive(tmp_path, change=change)
    for one in made:
        for keyword, value in stands.items():
            raw = one.get_item(pydicom.datadict.tag_for_keyword(keyword))
            assert (raw.value or b"").strip() == value


def test_names_in_other_letters_are_kept(tmp_path):
    def change(k, ds):
        ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        as_it_stands(ds, "PatientName", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")

    _, _, _, made = derive(tmp_path, change=change)
    assert str(made[1].PatientName) == "Yamada^Tarou=山田^太郎"


def test_new_folders_are_taken_back(tmp_path):
    (tmp_path / "empty").mkdir()

    def fails_late():
        with Outputs() as outputs:
            with outputs.new_folder(tmp_path / "empty") as place:
                (place / "a").write_text("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_late()
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
    with Outputs() as outputs:
        with outputs.new_folder(tmp_path / "empty") as place:
            (place / "a").write_text("a")
        assert not list((tmp_path / "empty").iterdir())
        with pytest.raises(InputError, match="twice"):
            outputs.check_new_folder(tmp_path / "empty")
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["a"]
    assert outputs.paths == [tmp_path / "empty"]


def test_slices_are_written_one_at_a_time(tmp_path):
    (tmp_path / "small").mkdir()
    derive(tmp_path / "small")  # so that imports do not count
    write_scan(tmp_path / "scan", slices=30, size=256)
    (run,) = read_series(tmp_path / "scan").runs
    result = interpolate(run.volume, method="nearest").volume
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    write_series(result, run, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(list((tmp_path / "out").iterdir())) == 59
    assert peak < result.array.nbytes / 2  # of 59 slices: a handful of one slice's size, in float64 too
