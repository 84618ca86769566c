"""Files in and out: formats, provenance, and one clear sentence for every bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from SliceInterpolationLib import InputError, Volume, interpolate, read_volume, read_volumes, write_volume
from SliceInterpolationLib.checks import check_interpolatable


@pytest.fixture
def made(phantom_volume) -> Volume:
    return interpolate(phantom_volume, method="linear", output_mode="denoised", strength=0.25).volume


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha"])
@pytest.mark.parametrize("compress", [False, True])
def test_round_trip_keeps_voxels_geometry_and_provenance(made, tmp_path, suffix, compress):
    paths = write_volume(made, tmp_path / f"made{suffix}", compress)
    back, _ = read_volume(tmp_path / f"made{suffix}")
    np.testing.assert_array_equal(back.array, made.array)
    np.testing.assert_allclose(back.affine, made.affine, atol=1e-4)
    assert back.provenance == made.provenance
    assert back.slice_axis == made.slice_axis
    assert back.slice_thickness == made.slice_thickness
    assert back.units == "HU"
    assert back.header == made.header
    assert back.history == made.history
    assert back.history[-1]["method"] == "linear"
    assert back.history[-1]["strength"] == 0.25
    assert paths == [tmp_path / f"made{suffix}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)


def test_nrrd_header_is_readable_by_others(made, tmp_path):
    write_volume(made, tmp_path / "made.nrrd")
    image = sitk.ReadImage(str(tmp_path / "made.nrrd"))
    assert image.GetMetaData("SliceInterpolation.SliceProvenance") == made.provenance


def test_cropped_result_does_not_claim_acquired_slices(made, tmp_path):
    write_volume(made, tmp_path / "made.nrrd")
    image = sitk.ReadImage(str(tmp_path / "made.nrrd"))
    cropped = image[:, :, 3:9]
    for key in image.GetMetaDataKeys():
        cropped.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(cropped, str(tmp_path / "cropped.nrrd"))
    back, _ = read_volume(tmp_path / "cropped.nrrd")
    assert back.provenance == "??????"


def test_four_dimensions_of_one_volume_are_accepted(phantom_volume, tmp_path):
    image = sitk.JoinSeries([phantom_volume.to_sitk()])
    sitk.WriteImage(image, str(tmp_path / "one.nii.gz"))
    back, _ = read_volume(tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(back.array, phantom_volume.array)


def bad_rgb(folder, volume):
    rgb = np.stack([volume.array.astype(np.uint8)] * 3, axis=-1)
    sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(folder / "bad.nrrd"))
    return "bad.nrrd", "3 values a voxel"


def bad_series(folder, volume):
    sitk.WriteImage(sitk.JoinSeries([volume.to_sitk()] * 3), str(folder / "bad.nii.gz"))
    return "bad.nii.gz", "time series of 3"


def bad_single(folder, volume):
    sitk.WriteImage(volume.to_sitk()[:, :, 4], str(folder / "bad.nrrd"))
    return "bad.nrrd", "single slice"


def bad_segmentation(folder, volume):
    image = sitk.Cast(volume.to_sitk() > 0, sitk.sitkUInt8)
    image.SetMetaData("Segment0_ID", "Segment_1")
    sitk.WriteImage(image, str(folder / "bad.seg.nrrd"))
    return "bad.seg.nrrd", "segmentation"


def bad_suffix(folder, volume):
    (folder / "bad.txt").write_text("no image")
    return "bad.txt", "not in a format"


def bad_empty_folder(folder, volume):
    (folder / "empty").mkdir()
    return "empty", "no DICOM images"


def bad_missing(folder, volume):
    return "nowhere.nrrd", "no file or folder"


def truncated(suffix, compress):
    def make(folder, volume):
        path = folder / f"bad{suffix}"
        write_volume(volume, path, compress)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])
        return path.name, "incomplete"

    return make


BAD_FILES = {
    "rgb": bad_rgb,
    "time series": bad_series,
    "one slice": bad_single,
    "segmentation": bad_segmentation,
    "suffix": bad_suffix,
    "empty folder": bad_empty_folder,
    "missing": bad_missing,
    "truncated nrrd": truncated(".nrrd", False),
    "truncated gzip nrrd": truncated(".nrrd", True),
    "truncated mha": truncated(".mha", False),
    "truncated gzip mha": truncated(".mha", True),
    "truncated nii": truncated(".nii", False),
    "truncated nii.gz": truncated(".nii.gz", True),
}


@pytest.mark.parametrize("make", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_is_named(make, phantom_volume, tmp_path):
    name, reason = make(tmp_path, phantom_volume)
    with pytest.raises(InputError, match=reason) as caught:
        read_volumes(tmp_path / name)
    text = str(caught.value)
    assert "\n" not in text
    assert text.count(". ") <= 1


def test_concatenated_gzip_is_complete(phantom_volume, tmp_path):
    """Parallel compressors write several members; the last trailer alone says nothing."""
    import gzip

    write_volume(phantom_volume, tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    half = len(content) // 2
    (tmp_path / "two.nii.gz").write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    back, _ = read_volume(tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(back.array, phantom_volume.array)


def test_volumes_that_cannot_be_interpolated(phantom_volume):
    labels = replace(phantom_volume, array=(phantom_volume.array > 0).astype(np.int16))
    with pytest.raises(InputError, match="labelmap"):
        check_interpolatable(labels)
    check_interpolatable(labels, force=True)
    fine = Volume(phantom_volume.array, (1.0, 1.0, 1.2))
    with pytest.raises(InputError, match="--force"):
        check_interpolatable(fine)
    check_interpolatable(fine, force=True)
    values = phantom_volume.array.astype(np.float32)
    values[3, 5, 5] = np.nan
    with pytest.raises(InputError, match="Slice 4 holds NaN"):
        check_interpolatable(replace(phantom_volume, array=values), force=True)
    with pytest.raises(InputError, match="single slice"):
        check_interpolatable(Volume(phantom_volume.array[:1], (1, 1, 5)))


def test_unwritable_targets(phantom_volume, tmp_path):
    with pytest.raises(InputError, match="suffix"):
        write_volume(phantom_volume, tmp_path / "out.dcm")
    with pytest.raises(InputError, match="does not exist"):
        write_volume(phantom_volume, tmp_path / "none" / "out.nrrd")
    tilted = phantom_volume
    tilted.direction = np.array([[1, 0, 0], [0, 1, 0.2], [0, 0, 0.98]])
    with pytest.raises(InputError, match=r"write \.nrrd"):
        write_volume(tilted, tmp_path / "out.nii")
    assert not list(tmp_path.iterdir())


def test_foreign_json_beside_a_nifti_is_left_alone(phantom_volume, tmp_path):
    sitk.WriteImage(phantom_volume.to_sitk(), str(tmp_path / "scan.nii.gz"))
    (tmp_path / "scan.json").write_text(json.dumps({"Modality": "CT"}))
    back, _ = read_volume(tmp_path / "scan.nii.gz")
    assert set(back.provenance) == {"?"}
    assert back.header == {}
    write_volume(phantom_volume, tmp_path / "scan.nii.gz")
    assert json.loads((tmp_path / "scan.json").read_text())["Modality"] == "CT"
