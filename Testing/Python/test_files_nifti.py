"""NIfTI files against nibabel and ITK, which we did not write; and what both would mend in silence is told."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from SliceInterpolationLib import InputError, Volume, read_volume, write_volume
from SliceInterpolationLib.checks import check_interpolatable

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
AFFINE = np.array([[-0.5, 0, 0, 60], [0, -0.6, 0, 70], [0, 0, 5, -30], [0, 0, 0, 1.0]])
RAW = (np.arange(6 * 5 * 4).reshape(6, 5, 4) * 7 % 251 - 40).astype(np.int16)


def save(path, raw=RAW, affine=AFFINE, version=1, endian="<", slope=None, shift=None, codes=(1, 1), **fields):
    """A file with a header of nibabel, of which anything can be changed, and voxels as they are given."""
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    header = kind(endianness=endian)
    header.set_data_dtype(raw.dtype)
    header.set_data_shape(raw.shape)
    header.set_qform(affine, codes[0])
    header.set_sform(affine, codes[1])
    header.set_xyzt_units("mm")
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1 if slope is None else slope, 0 if shift is None else shift
    for name, value in fields.items():
        header[name] = value
    content = header.binaryblock + b"\0" * 4 + raw.astype(raw.dtype.newbyteorder(endian)).tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def refused(path) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(path)
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_types_orders_and_versions(tmp_path, suffix, version, endian, dtype):
    path = save(tmp_path / f"a{suffix}", np.abs(RAW).astype(dtype), version=version, endian=endian)
    volume, _ = read_volume(path)
    oracle = nibabel.load(path)
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array.T, np.asanyarray(oracle.dataobj))
    np.testing.assert_allclose(volume.affine, LPS_FROM_RAS @ oracle.affine, atol=1e-5)
    assert volume.slice_axis == "k"


@pytest.mark.parametrize(
    ("dtype", "slope", "shift", "expected"),
    [
        ("u2", 1, -1024, "i2"),  # CT, shifted so that it is not negative
        ("i2", 2, 0, "i2"),
        ("i2", 1000, 0, "i4"),
        ("i4", 1, -1024, "i2"),
        ("i2", 0.5, -1024, "f4"),
        ("u1", 0.1, 0.3, "f4"),
        ("f4", 2, 1, "f4"),
        ("f8", 0.25, 1, "f8"),
        ("i4", 0.1, 0, "f8"),
        ("i2", 0, 77, "i2"),  # a slope of 0: not scaled
        ("i2", np.nan, np.nan, "i2"),
    ],
)
def test_scaled_intensities_are_real_values(tmp_path, dtype, slope, shift, expected):
    path = save(tmp_path / "scaled.nii.gz", np.abs(RAW).astype(dtype), slope=slope, shift=shift)
    volume, _ = read_volume(path)
    assert volume.array.dtype == np.dtype(expected)
    np.testing.assert_allclose(volume.array.T, nibabel.load(path).get_fdata(), rtol=1e-6, atol=1e-5)


def test_impossible_scale(tmp_path):
    assert "scaled by inf" in refused(save(tmp_path / "a.nii", slope=np.inf))
    assert "shifted by nan" in refused(save(tmp_path / "a.nii", slope=2, shift=np.nan))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["i2", "f8", "i8"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("slope", [1, 2])
def test_truncated(tmp_path, suffix, dtype, share, slope):
    rng = np.random.default_rng(1)
    path = save(tmp_path / f"a{suffix}", rng.integers(-1000, 1000, (40, 30, 20)).astype(dtype), slope=slope)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    text = refused(path)
    assert "incomplete" in text or "no NIfTI" in text


def test_zeros_that_compress_well_are_counted(tmp_path):
    """A gzip file can be a thousand times smaller than what it holds, and no smaller."""
    path = save(tmp_path / "a.nii.gz", np.zeros((64, 64, 64), np.int16))
    assert not read_volume(path)[0].array.any()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[: 64 * 64 * 100]))
    assert "incomplete" in refused(path)


def test_damaged_gzip(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 9, (20, 20, 20)).astype("i2"))
    content = bytearray(path.read_bytes())
    content[-7] ^= 0xFF  # in the checksum, after all voxels
    path.write_bytes(content)
    assert "cannot be unpacked" in refused(path)


def test_container_is_told_by_content(tmp_path):
    """Readers do not mind a wrong suffix, and neither do users."""
    packed, plain = save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii")
    packed.rename(tmp_path / "c.nii")
    plain.rename(tmp_path / "d.nii.gz")
    for name in ("c.nii", "d.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name)[0].array.T, RAW)


def test_nan_is_seen(tmp_path):
    raw = RAW.astype(np.float32)
    raw[2, 3, 1] = np.nan
    raw[0, 0, 3] = np.inf
    volume, _ = read_volume(save(tmp_path / "a.nii", raw))
    assert np.isnan(volume.array[1, 3, 2])
    with pytest.raises(InputError, match="Slice 2 holds NaN"):
        check_interpolatable(volume)


@pytest.mark.parametrize("value", [0, -5, np.nan, np.inf])
def test_impossible_spacing(tmp_path, value):
    pixdim = (1, 0.5, 0.6, value, 1, 1, 1, 1)
    assert "spacing" in refused(save(tmp_path / "a.nii", pixdim=pixdim, codes=(1, 0)))
    assert "spacing" in refused(save(tmp_path / "a.nii", pixdim=pixdim, codes=(0, 0)))
    volume, remarks = read_volume(save(tmp_path / "a.nii", pixdim=pixdim))
    assert volume.spacing == pytest.approx((0.5, 0.6, 5))
    assert any("the sform is used" in remark for remark in remarks)


def test_spacing_of_sform_and_pixdim_disagree(tmp_path):
    volume, remarks = read_volume(save(tmp_path / "a.nii", pixdim=(1, 0.5, 0.6, 3, 1, 1, 1, 1), codes=(0, 1)))
    assert volume.spacing == pytest.approx((0.5, 0.6, 5))
    assert any("0.5 x 0.6 x 3 mm" in remark for remark in remarks)


@pytest.mark.parametrize("sform_code", range(5))
@pytest.mark.parametrize("qform_code", range(5))
def test_forms_as_itk_and_slicer_choose(tmp_path, sform_code, qform_code):
    header = nibabel.Nifti1Header()
    other = np.diag([0.5, 0.6, 5, 1.0])
    other[:3, 3] = 11, 12, 13
    header.set_sform(other, 1)
    path = save(
        tmp_path / "a.nii",
        codes=(qform_code, sform_code),
        **{name: header[name] for name in ("srow_x", "srow_y", "srow_z")},
    )
    volume, remarks = read_volume(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    np.testing.assert_allclose(volume.origin, reader.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(volume.spacing, reader.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(volume.direction.ravel(), reader.GetDirection(), atol=1e-5)
    if sform_code and qform_code:
        assert any("two places" in remark for remark in remarks)
    elif not sform_code and not qform_code:
        assert any("does not say how it lies" in remark for remark in remarks)
    else:
        assert not any("places" in remark or "lies" in remark for remark in remarks)


def test_sheared_sform_is_kept(tmp_path):
    """ITK gives up here; a tilted gantry is what our volume can hold."""
    affine = AFFINE.copy()
    affine[1, 2] = 1.2
    path = save(tmp_path / "tilted.nii", affine=AFFINE, codes=(0, 1), srow_y=affine[1])
    volume, _ = read_volume(path)
    assert volume.is_sheared
    np.testing.assert_allclose(volume.affine, LPS_FROM_RAS @ affine, atol=1e-5)


def test_useless_sform(tmp_path):
    flat = {"srow_x": (1, 0, 0, 0), "srow_y": (1, 0, 0, 0), "srow_z": (0, 0, 1, 0)}
    volume, remarks = read_volume(save(tmp_path / "a.nii", **flat))
    np.testing.assert_allclose(volume.affine, LPS_FROM_RAS @ AFFINE, atol=1e-5)
    assert any("no geometry" in remark for remark in remarks)


@pytest.mark.parametrize(("code", "millimeters"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_units_of_length(tmp_path, code, millimeters):
    volume, _ = read_volume(save(tmp_path / "a.nii", xyzt_units=code))
    np.testing.assert_allclose(volume.spacing, np.array([0.5, 0.6, 5]) * millimeters, rtol=1e-5)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (np.zeros((4, 4, 4), np.complex64), "complex"),
        (np.zeros((4, 4, 4), np.complex128), "complex"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "RGB"),
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")]), "RGBA"),
        (np.zeros((4, 4, 4, 3), np.int16), "time series of 3"),
        (np.zeros((4, 4, 4, 1, 3), np.float32), "3 values a voxel"),
        (np.zeros((4, 4, 4, 2, 3), np.float32), "5 dimensions"),
        (np.zeros((4, 4), np.int16), "single slice"),
    ],
)
def test_what_is_no_scalar_volume(tmp_path, raw, words):
    nibabel.Nifti1Image(raw, AFFINE).to_filename(tmp_path / "a.nii.gz")
    assert words in refused(tmp_path / "a.nii.gz")


def test_trailing_dimensions_of_one(tmp_path):
    volume, _ = read_volume(save(tmp_path / "a.nii", RAW[..., None, None, None]))
    np.testing.assert_array_equal(volume.array.T, RAW)
    volume, _ = read_volume(save(tmp_path / "a.nii", dim=(4, 6, 5, 4, 0, 1, 1, 1)))
    np.testing.assert_array_equal(volume.array.T, RAW)


def test_headers_that_cannot_be(tmp_path):
    assert "dimensions" in refused(save(tmp_path / "a.nii", dim=(3, 6, 5, -4, 1, 1, 1, 1)))
    assert "dimensions" in refused(save(tmp_path / "a.nii", dim=(0, 6, 5, 4, 1, 1, 1, 1)))
    assert "dimensions" in refused(save(tmp_path / "a.nii", dim=(9, 6, 5, 4, 1, 1, 1, 1)))
    assert "type of voxels, 77" in refused(save(tmp_path / "a.nii", datatype=77))
    assert "start at byte" in refused(save(tmp_path / "a.nii", vox_offset=100))
    assert "start at byte" in refused(save(tmp_path / "a.nii", vox_offset=np.nan))
    assert "incomplete" in refused(save(tmp_path / "a.nii", dim=(3, 32000, 32000, 32000, 1, 1, 1, 1)))
    assert "incomplete" in refused(save(tmp_path / "a.nii.gz", dim=(3, 32000, 32000, 32000, 1, 1, 1, 1)))
    assert "pair of files" in refused(save(tmp_path / "a.nii", magic=b"ni1"))
    assert "Analyze" in refused(save(tmp_path / "a.nii", magic=b""))
    for content in (b"", b"\x5c\x01\0\0", b"NRRD0004\n", b"\0" * 400, b"\x1f\x8b", gzip.compress(b"hello")):
        (tmp_path / "b.nii.gz").write_bytes(content)
        refused(tmp_path / "b.nii.gz")


def test_intents(tmp_path):
    assert "segmentation" in refused(save(tmp_path / "a.nii", intent_code=1002))
    _, remarks = read_volume(save(tmp_path / "a.nii", intent_code=5))
    assert any("statistical map" in remark for remark in remarks)


DIRECTIONS = {
    "identity": np.eye(3),
    "oblique": Rotation.from_euler("xyz", [17, -23, 140], degrees=True).as_matrix(),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "half turn": np.diag([-1.0, -1.0, 1.0]),
    "permuted": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "oblique left-handed": Rotation.from_euler("xyz", [170, 31, -95], degrees=True).as_matrix() * (1, 1, -1),
}


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i2"]
)
def test_written_files_are_read_alike_by_others(tmp_path, direction, suffix, dtype):
    volume = Volume(
        np.abs(RAW).T.astype(dtype), (0.5, 0.6, 5), (11.5, -7, 120.25), direction, provenance="A?SD"
    )
    path = tmp_path / f"a{suffix}"
    write_volume(volume, path)
    other = nibabel.load(path)
    np.testing.assert_array_equal(np.asanyarray(other.dataobj).T, volume.array)
    for affine in (other.affine, other.get_qform(), other.get_sform()):
        np.testing.assert_allclose(LPS_FROM_RAS @ affine, volume.affine, atol=1e-4)
    assert other.header["vox_offset"] % 16 == 0
    assert "SliceProvenance" in other.header.extensions[0].get_content().decode()
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.array)
    np.testing.assert_allclose(image.GetDirection(), direction.ravel(), atol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), volume.origin, atol=1e-4)
    back, remarks = read_volume(path)
    assert (back.provenance, remarks) == ("A?SD", [])


def test_what_nifti_cannot_hold(tmp_path):
    long = Volume(np.zeros((2, 1, 40000), np.uint8), (1, 1, 5))
    with pytest.raises(InputError, match="32767"):
        write_volume(long, tmp_path / "a.nii")
    write_volume(long, tmp_path / "a.nrrd")
