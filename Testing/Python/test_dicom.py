"""DICOM folders: the real ones at hand, and small series written here with every kind of fault."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomfiles import COLUMN, ROW, write_series, write_slice
from pydicom.uid import CTImageStorage

from SliceInterpolationLib import InputError, interpolate, read_volume, read_volumes, write_volume
from SliceInterpolationLib.dicom import read_series


def test_positions_rule_and_hu_are_right(tmp_path):
    folder = write_series(tmp_path / "s", [(10, -20, z) for z in np.arange(0, 20, 4.0)[::-1]])
    volume, remarks = read_volume(folder)
    assert remarks == []
    assert volume.array.shape == (5, 24, 24)
    assert volume.spacing == pytest.approx((0.4, 0.5, 4.0))
    assert volume.origin == pytest.approx((10, -20, 0))
    assert volume.units == "HU"
    assert volume.slice_thickness == 4.0
    assert volume.array[:, 0, 0].tolist() == [-1000] * 5
    assert volume.array[:, 10, 10].tolist() == [36 + z for z in (0, 4, 8, 12, 16)]


def test_agrees_with_simpleitk_series_reader(tmp_path):
    folder = write_series(tmp_path / "s", [(1, 2, z) for z in (0, 3, 6, 9)])
    volume, _ = read_volume(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.spacing, image.GetSpacing())
    np.testing.assert_allclose(volume.origin, image.GetOrigin())


def test_gantry_tilt_stays_as_shear(tmp_path):
    tilt = np.deg2rad(18.5)
    orientation = (ROW, np.array([0, np.cos(tilt), -np.sin(tilt)]))
    positions = [(0, 0, 4.5 * k) for k in range(6)]
    folder = write_series(tmp_path / "s", positions, orientation=orientation)
    volume, _ = read_volume(folder)
    assert volume.is_sheared
    assert volume.slice_distance == pytest.approx(4.5 * np.cos(tilt))
    made = interpolate(volume, method="linear").volume
    for k in range(11):
        np.testing.assert_allclose((made.affine @ (0, 0, k, 1))[:3], (0, 0, 2.25 * k), atol=1e-9)
    write_volume(made, tmp_path / "made.nrrd")
    back, _ = read_volume(tmp_path / "made.nrrd")
    np.testing.assert_allclose(back.affine, made.affine, atol=1e-9)


def test_irregular_steps_become_runs(tmp_path):
    z = [0, 4, 8, 12, 19, 26, 33, 34, 41, 48]
    folder = write_series(tmp_path / "s", [(0, 0, v) for v in z])
    volumes, remarks = read_volumes(folder)
    assert [v.slice_count for v in volumes] == [4, 4, 3]
    assert [v.slice_spacing for v in volumes] == pytest.approx([4, 7, 7])
    assert [v.origin[2] for v in volumes] == [0, 12, 34]
    assert any("between slices 7 and 8 the stack jumps by 1 mm" in r.lower() for r in remarks)
    longest, remarks = read_volume(folder)
    assert longest.slice_count == 4
    assert "3 uniform runs" in remarks[-1]


def test_one_missing_slice_is_a_jump(tmp_path):
    folder = write_series(tmp_path / "s", [(0, 0, v) for v in (0, 5, 10, 20, 25, 30)])
    volumes, remarks = read_volumes(folder)
    assert [v.slice_count for v in volumes] == [3, 3]
    assert any("jumps by 10 mm" in r for r in remarks)


def test_mixed_series(tmp_path):
    folder = write_series(tmp_path / "s", [(0, 0, v) for v in (0, 5, 10)])
    write_series(folder, [(0, 0, v) for v in (0, 5, 10)], series="1.2.3.5")
    volumes, remarks = read_volumes(folder)
    assert len(volumes) == 1
    assert "Of 6 files 3 are used; 3 of another series." in remarks
    assert any("2 series" in one and "--series" in one for one in remarks)
    assert read_volume(folder, series="1.2.3.5")[0].slice_count == 3
    with pytest.raises(InputError, match="no series 9"):
        read_volumes(folder, series="9")


def test_slices_that_do_not_belong_together(tmp_path):
    folder = write_series(tmp_path / "a", [(0, 0, v) for v in (0, 5, 10)])
    write_slice(folder, "localizer.dcm", (0, 0, 50), "1.2.3.4", orientation=(COLUMN, np.array([0, 0, -1.0])))
    volume, remarks = read_volume(folder)
    assert volume.slice_count == 3
    assert "Of 4 files 3 are used; 1 of another acquisition in the same series." in remarks
    folder = write_series(tmp_path / "b", [(0, 0, v) for v in (0, 5, 10)])
    write_slice(folder, "other.dcm", (0, 0, 15), "1.2.3.4", size=32)
    assert read_volume(folder)[0].slice_count == 3
    folder = write_series(tmp_path / "c", [(0, 0, v) for v in (0, 5, 10)])
    write_slice(folder, "again.dcm", (0, 0, 5), "1.2.3.4", PixelData=bytes(2 * 24 * 24))
    with pytest.raises(InputError, match="same position"):
        read_volumes(folder)
    folder = write_series(tmp_path / "d", [(0, 0, v) for v in (0, 3, 8, 15)])
    with pytest.raises(InputError, match="no uniform run"):
        read_volumes(folder)
    folder = write_series(tmp_path / "e", [(0, 0, 0)])
    with pytest.raises(InputError, match="single slice"):
        read_volumes(folder)


def test_secondary_capture_without_position(tmp_path):
    folder = write_series(tmp_path / "s", [(0, 0, v) for v in (0, 5, 10)])
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        del ds.ImagePositionPatient
        ds.save_as(path)
    with pytest.raises(InputError, match="where in the patient"):
        read_volumes(folder)


def test_real_uniform_series(scans):
    volume, remarks = read_volume(scans / "dicom" / "headphantom_philips_5mm_uniform")
    assert remarks == []
    assert volume.slice_spacing == pytest.approx(5.0)
    assert volume.slice_thickness == 5.0
    assert volume.array.shape == (28, 512, 512)


def test_real_tilted_irregular_series(scans):
    volumes, remarks = read_volumes(scans / "dicom" / "head_ge_human_tilt_irregular")
    assert [round(v.slice_distance, 1) for v in volumes] == [4.0, 7.0]
    assert all(v.is_sheared for v in volumes)
    tilt = np.degrees(np.arcsin(abs(volumes[0].direction[2, 1])))
    assert tilt == pytest.approx(18.5, abs=0.1)
    assert any("jumps by 1.08" in remark for remark in remarks)


@pytest.mark.parametrize(
    ("image_type", "letter"), [(["ORIGINAL", "PRIMARY", "AXIAL"], "A"), (["DERIVED", "SECONDARY"], "?")]
)
def test_only_original_images_count_as_acquired(tmp_path, image_type, letter):
    folder = write_series(tmp_path / "s", [(0, 0, 4.0 * z) for z in range(3)], ImageType=image_type)
    assert read_volume(folder)[0].provenance == 3 * letter


def test_every_slice_knows_its_image(tmp_path):
    folder = write_series(tmp_path / "s", [(0, 0, 4.0 * z) for z in (3, 1, 0, 2)])
    (run,) = read_series(folder).runs
    for k, source in enumerate(run.sources):
        header = run.dataset(k)
        assert header.ImagePositionPatient[2] == 4.0 * k
        assert "PixelData" not in header
        assert (source.sop_class_uid, source.frame) == (CTImageStorage, None)
        assert source.sop_instance_uid == header.SOPInstanceUID
