"""Pixels of DICOM images: every way to store them, rescale, padding, compression, and enhanced multi-frame files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomfiles import COLUMN, ROW, item, write_enhanced, write_slice
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from SliceInterpolationLib import InputError, interpolate, read_volume, write_volume
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.dicom import read_series
from SliceInterpolationLib.dicom.files import open_image
from SliceInterpolationLib.dicom.frames import frames_of
from SliceInterpolationLib.dicom.pixels import stored_pixels
from SliceInterpolationLib.dicom.report import DAMAGED, NO_PLACE, UNSUITABLE, USED
from SliceInterpolationLib.volume import Volume

SERIES = "1.2.3.4"
RNG = np.random.default_rng(7)


def stack(folder, arrays, step=5.0, **options):
    """Slices of these stored values; options may be functions of the number of the slice."""
    folder.mkdir(parents=True)
    for number, array in enumerate(arrays):
        one = {key: value(number) if callable(value) else value for key, value in options.items()}
        signed = int(array.dtype.kind == "i")
        bits = 8 * array.dtype.itemsize
        one = {
            "PixelRepresentation": signed,
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            **one,
        }
        one["PixelData"] = array.tobytes() + b"\0" * (array.nbytes % 2)
        write_slice(folder, f"{number:02d}.dcm", (0, 0, step * number), SERIES, size=len(array), **one)
    return folder


def images(kind, low, high, count=4, size=24):
    return [RNG.integers(low, high, (size, size), endpoint=True).astype(kind) for _ in range(count)]


@pytest.mark.parametrize(
    ("kind", "low", "high", "intercept", "expected"),
    [
        (np.uint16, 0, 4095, -1024, np.int16),
        (np.int16, -1024, 3071, 0, np.int16),
        (np.int16, -32768, 32767, -1024, np.int32),
        (np.uint16, 0, 65535, 0, np.int32),
        (np.uint8, 0, 255, -128, np.int16),
        (np.int8, -128, 127, 0, np.int16),
        (np.uint32, 0, 2**32 - 1, 0, np.float64),
        (np.int32, -(2**31), 2**31 - 1, 0, np.int32),
    ],
)
def test_signed_and_unsigned(tmp_path, kind, low, high, intercept, expected):
    arrays = images(kind, low, high)
    volume, _ = read_volume(stack(tmp_path / "s", arrays, RescaleIntercept=intercept))
    assert volume.array.dtype == expected
    np.testing.assert_array_equal(volume.array, np.stack(arrays).astype(np.int64) + intercept)


@pytest.mark.parametrize("signed", [0, 1])
def test_bits_that_belong_to_overlays(tmp_path, signed):
    """12 bits stored; the others hold what is no part of the image, as scanners of old wrote them."""
    stored = images(np.int16, -2048, 2047) if signed else images(np.int16, 0, 4095)
    arrays = [((one & 0xFFF) | 0x5000).astype(np.uint16) for one in stored]
    options = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed, "RescaleIntercept": 0}
    volume, _ = read_volume(stack(tmp_path / "s", arrays, **options))
    np.testing.assert_array_equal(volume.array, np.stack(stored))


def test_every_slice_has_its_own_rescale(tmp_path):
    arrays = images(np.uint16, 0, 4000)
    volume, _ = read_volume(
        stack(tmp_path / "s", arrays, RescaleSlope=lambda k: 1 + k, RescaleIntercept=lambda k: -1000 * k)
    )
    assert volume.array.dtype == np.int16
    for k, array in enumerate(arrays):
        np.testing.assert_array_equal(volume.array[k], array.astype(int) * (1 + k) - 1000 * k)
    volume, _ = read_volume(stack(tmp_path / "f", arrays, RescaleSlope=lambda k: 0.5 + k / 4))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array[3], arrays[3] * 1.25 - 1024, rtol=1e-6)


def test_one_slice_without_intercept_has_that_of_the_others(tmp_path):
    folder = stack(tmp_path / "s", images(np.uint16, 0, 4000))
    expected = read_volume(folder)[0].array
    ds = pydicom.dcmread(folder / "02.dcm")
    del ds.RescaleIntercept
    ds.save_as(folder / "02.dcm")
    volume, remarks = read_volume(folder)
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.units == "HU"
    assert any("'02.dcm' has no complete rescale" in one and "-1024" in one for one in remarks)


def test_one_slice_without_intercept_where_the_others_differ(tmp_path):
    folder = stack(tmp_path / "s", images(np.uint16, 0, 4000, 5), RescaleIntercept=lambda k: -k)
    ds = pydicom.dcmread(folder / "04.dcm")
    del ds.RescaleIntercept
    ds.save_as(folder / "04.dcm")
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [4]
    assert any("'04.dcm' is left out: it has no rescale" in one for one in found.remarks)


@pytest.mark.parametrize(
    ("changes", "units"),
    [
        ({}, "HU"),
        ({"RescaleType": "HU"}, "HU"),
        ({"RescaleType": "US"}, "arbitrary"),
        ({"Modality": "MR"}, "arbitrary"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "arbitrary"),
    ],
)
def test_hu_only_where_the_header_says_so(tmp_path, changes, units):
    folder = stack(tmp_path / "s", images(np.uint16, 0, 4000), **changes)
    volume, remarks = read_volume(folder)
    assert (volume.units, volume.units_guessed) == (units, False)
    assert any("--units HU" in one for one in remarks) == (units != "HU" and "Modality" not in changes)


def test_monochrome1_is_a_matter_of_display(tmp_path):
    """The rescale gives HU whatever is shown white (PS3.3 C.7.6.3.1.2)."""
    arrays = images(np.uint16, 0, 4000)
    volume, _ = read_volume(stack(tmp_path / "s", arrays, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(volume.array, np.stack(arrays).astype(int) - 1024)
    folder = stack(
        tmp_path / "mr", arrays, PhotometricInterpretation="MONOCHROME1", Modality="MR", RescaleIntercept=0
    )
    volume, remarks = read_volume(folder)
    np.testing.assert_array_equal(volume.array, np.stack(arrays))
    assert any("shown bright" in one for one in remarks)


def test_non_square_pixels_and_images(tmp_path):
    arrays = images(np.uint16, 0, 4000)
    folder = stack(tmp_path / "s", arrays, Rows=16, Columns=36, PixelSpacing=[0.9, 0.3])
    volume, _ = read_volume(folder)
    assert volume.spacing == (0.3, 0.9, 5.0)
    np.testing.assert_array_equal(volume.array, np.stack(arrays).reshape(4, 16, 36).astype(int) - 1024)


def padded(count=4, size=24, low=-2000):
    """A disk that was scanned, in a square; the field of view of the second slice is smaller."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    arrays = []
    for k in range(count):
        array = RNG.integers(0, 80, (size, size)).astype(np.int16)
        array[np.hypot(x, y) > (size / 2 if k != 1 else size / 3)] = low
        arrays.append(array)
    return arrays


@pytest.mark.parametrize("method", ["linear", "cubic", "flow"])
def test_padding_is_no_tissue(tmp_path, method):
    arrays = padded()
    folder = stack(tmp_path / "s", arrays, RescaleIntercept=0, PixelPaddingValue=-2000)
    (run,) = read_series(folder).runs
    volume = run.volume
    assert volume.padding == -2000
    np.testing.assert_array_equal(run.padding, np.stack(arrays) == -2000)
    made = interpolate(volume, method=method).volume
    np.testing.assert_array_equal(made.array[::2], volume.array)
    for k in range(3):
        both = run.padding[k] & run.padding[k + 1]
        between = made.array[2 * k + 1]
        assert (between[both] == -2000).all()
        assert between[~both].min() > -500  # nothing of the padding came in, also where one slice has it
    write_volume(made, tmp_path / "made.nrrd")
    assert read_volume(tmp_path / "made.nrrd")[0].padding == -2000


def test_denoised_padding_stays_padding(tmp_path):
    folder = stack(tmp_path / "s", padded(6), RescaleIntercept=0, PixelPaddingValue=-2000)
    volume, _ = read_volume(folder)
    made = interpolate(volume, method="linear", output_mode="denoise-only").volume
    np.testing.assert_array_equal(made.array == -2000, volume.array == -2000)


@pytest.mark.parametrize(
    ("stored", "value"),
    [(0, 0), (63536, 63536), (63536, -2000)],
    ids=["unsigned", "as-is", "signed-in-unsigned"],
)
def test_padding_of_unsigned_pixels(tmp_path, stored, value):
    arrays = [np.where(one == -2000, stored, one + 1024).astype(np.uint16) for one in padded()]
    folder = stack(tmp_path / "s", arrays)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        ds.save_as(path)
    volume, _ = read_volume(folder)
    # 63536 would be 62512 HU: brighter than all tissue, which no padding is.
    assert volume.padding == (-1024 if stored == 0 else None)


def test_a_padding_value_among_the_tissue_is_none(tmp_path):
    """Programs write 0 as padding of images where 0 HU is water."""
    folder = stack(tmp_path / "s", images(np.int16, -100, 100), RescaleIntercept=0, PixelPaddingValue=0)
    assert read_volume(folder)[0].padding is None
    folder = stack(tmp_path / "m", images(np.int16, 0, 100), Modality="MR", PixelPaddingValue=50)
    assert read_volume(folder)[0].padding is None


def test_a_range_of_padding(tmp_path):
    arrays = images(np.int16, -3000, 80)
    folder = stack(
        tmp_path / "s", arrays, RescaleIntercept=0, PixelPaddingValue=-3000, PixelPaddingRangeLimit=-1100
    )
    volume, _ = read_volume(folder)
    assert volume.padding == -3000
    np.testing.assert_array_equal(volume.array == -3000, np.stack(arrays) <= -1100)


def test_a_volume_without_padding_is_not_copied():
    volume = Volume(np.zeros((3, 4, 5), np.int16))
    assert volume.without_padding() is volume


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_encodings(tmp_path, syntax):
    arrays = images(np.uint16, 0, 4000)
    folder = stack(tmp_path / "s", arrays)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        little = syntax != ExplicitVRBigEndian
        pydicom.dcmwrite(
            path, ds, implicit_vr=syntax.is_implicit_VR, little_endian=little, force_encoding=True
        )
    volume, _ = read_volume(folder)
    np.testing.assert_array_equal(volume.array, np.stack(arrays).astype(int) - 1024)


LOSSLESS = [JPEGLSLossless, JPEG2000Lossless, RLELossless]


def compressed(folder, syntax):
    pytest.importorskip("openjpeg", reason="encodes JPEG 2000 for the test")
    pytest.importorskip("jpeg_ls", reason="encodes JPEG-LS for the test")
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(path)
    return folder


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda one: UID(one).keyword)
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_compressed_images_are_decoded_exactly(tmp_path, syntax, kind):
    arrays = images(kind, -1024 if kind == np.int16 else 0, 4000, size=64)
    bits = {"BitsStored": 13, "HighBit": 12}
    folder = compressed(stack(tmp_path / "s", arrays, **bits, RescaleIntercept=0), syntax)
    volume, remarks = read_volume(folder)
    assert remarks == []
    np.testing.assert_array_equal(volume.array, np.stack(arrays))


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_lossless_jpeg_of_scanners_and_archives(tmp_path, kind):
    """The process that most archives use; pydicom does not write it, GDCM does."""
    arrays = images(kind, -1024 if kind == np.int16 else 0, 4000, size=64)
    folder = stack(tmp_path / "s", arrays, RescaleIntercept=0)
    for path, array in zip(sorted(folder.iterdir()), arrays):
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "one.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(array))
        made, ds = pydicom.dcmread(tmp_path / "one.dcm"), pydicom.dcmread(path)
        assert made.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        ds.file_meta.TransferSyntaxUID, ds.PixelData = JPEGLosslessSV1, made.PixelData
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.save_as(path)
    volume, remarks = read_volume(folder)
    assert remarks == []
    np.testing.assert_array_equal(volume.array, np.stack(arrays))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda one: UID(one).keyword)
def test_compressed_images_that_are_cut_off_are_named(tmp_path, syntax):
    folder = compressed(stack(tmp_path / "s", images(np.uint16, 0, 4000, 7, 64)), syntax)
    path = folder / "03.dcm"
    path.write_bytes(path.read_bytes()[:-300])
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [3, 3]
    assert any("'03.dcm' is left out: it is cut off" in one for one in found.remarks)


SIX = 5.0 * np.arange(6)


def enhanced(path, z=SIX, **options):
    path.parent.mkdir(exist_ok=True)
    write_enhanced(path, [(1, 2, one) for one in z], SERIES, **options)
    return path.parent


def test_enhanced_multi_frame(tmp_path):
    folder = enhanced(tmp_path / "s" / "all.dcm", z=5.0 * np.arange(6)[::-1])
    found = read_series(folder)
    (run,) = found.runs
    volume = run.volume
    assert found.remarks == ()
    assert (volume.spacing, volume.origin) == ((0.4, 0.5, 5.0), (1, 2, 0))
    assert (volume.units, volume.provenance, volume.slice_thickness) == ("HU", "AAAAAA", 4.0)
    assert volume.array[:, 10, 10].tolist() == [41, 40, 39, 38, 37, 36]
    assert [source.frame for source in run.sources] == [6, 5, 4, 3, 2, 1]
    assert {source.path.name for source in run.sources} == {"all.dcm"}


def test_enhanced_frames_with_their_own_rescale_and_kind(tmp_path):
    def frame(number):
        return {"RescaleIntercept": -1024 - number, "kind": "DERIVED" if number == 2 else "ORIGINAL"}

    volume, _ = read_volume(enhanced(tmp_path / "s" / "all.dcm", frame=frame))
    assert volume.array[:, 10, 10].tolist() == [36] * 6
    assert volume.provenance == "AA?AAA"


def test_enhanced_frames_of_two_times_are_told_apart(tmp_path):
    z = np.tile(5.0 * np.arange(5), 2)
    folder = enhanced(tmp_path / "s" / "all.dcm", z, frame=lambda number: {"time": 1 + number // 5})
    found = read_series(folder)
    assert [source.frame for source in found.runs[0].sources] == [1, 2, 3, 4, 5]
    assert found.report.counts == {USED: 1}
    assert found.report.entries[0].reason == "5 of 10 frames"


def test_enhanced_mr_of_two_echoes(tmp_path):
    z = np.repeat(5.0 * np.arange(5), 2)
    folder = enhanced(
        tmp_path / "s" / "all.dcm", z, Modality="MR", SOPClassUID=EnhancedMRImageStorage,
        more=lambda number: {"MREchoSequence": {"EffectiveEchoTime": 10.0 + 80 * (number % 2)}},
    )  # fmt: skip
    found = read_series(folder)
    (run,) = found.runs
    assert run.volume.units == "arbitrary"
    assert [source.frame for source in run.sources] == [1, 3, 5, 7, 9]
    assert [source.frame for source in read_series(folder, f"{SERIES}#2").runs[0].sources] == [2, 4, 6, 8, 10]


def test_a_file_of_several_frames_is_an_input_itself(tmp_path, capsys):
    folder = enhanced(tmp_path / "s" / "all")
    write_slice(folder, "one.dcm", (1, 2, 30), SERIES)
    assert read_volume(folder / "all")[0].slice_count == 6
    out = tmp_path / "made.nrrd"
    assert main(["interpolate", str(folder / "all"), str(out), "--method", "linear"]) == 0
    assert read_volume(out)[0].slice_count == 11
    assert main(["dicom-info", str(folder / "all")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all: used"
    assert main(["interpolate", str(folder / "all"), str(folder / "all"), "--method", "linear"]) == 2
    with pytest.raises(InputError, match=r"a single slice.*Choose the folder"):
        read_volume(folder / "one.dcm")


def test_enhanced_beside_single_frames(tmp_path):
    folder = enhanced(tmp_path / "s" / "all.dcm")
    write_slice(folder, "one.dcm", (1, 2, 30), SERIES)
    volume, _ = read_volume(folder)
    assert volume.slice_count == 7
    write_slice(folder, "capture.dcm", (1, 2, 30), SERIES, NumberOfFrames=2, PixelData=bytes(4 * 24 * 24))
    found = read_series(folder)
    assert {entry.name: entry.fate for entry in found.report.entries}["capture.dcm"] == NO_PLACE
    assert found.runs[0].volume.slice_count == 7


def test_enhanced_with_too_few_descriptions(tmp_path):
    folder = enhanced(tmp_path / "s" / "all.dcm", NumberOfFrames=5, PixelData=bytes(2 * 5 * 24 * 24))
    with pytest.raises(InputError, match="5 frames and tells of 6"):
        read_series(folder)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda one: UID(one).keyword)
def test_compressed_enhanced(tmp_path, syntax):
    folder = compressed(enhanced(tmp_path / "s" / "all.dcm", size=64), syntax)
    volume, _ = read_volume(folder)
    assert volume.array[:, 10, 10].tolist() == [36, 37, 38, 39, 40, 41]
    assert (volume.array[:, 0, 0] == -1000).all()


def test_lookup_tables_and_real_numbers_are_not_read(tmp_path):
    folder = stack(tmp_path / "s", images(np.uint16, 0, 4000, 5))
    ds = pydicom.dcmread(folder / "04.dcm")
    ds.ModalityLUTSequence = [item(LUTDescriptor=[2, 0, 16], ModalityLUTType="US", LUTData=b"\0\0\1\0")]
    ds.save_as(folder / "04.dcm")
    shutil.copy(folder / "03.dcm", folder / "05.dcm")
    ds = pydicom.dcmread(folder / "05.dcm")
    del ds.PixelData
    ds.FloatPixelData = bytes(4 * 24 * 24)
    ds.save_as(folder / "05.dcm")
    found = read_series(folder)
    fates = {entry.name: entry.fate for entry in found.report.entries}
    assert (fates["04.dcm"], fates["05.dcm"]) == (UNSUITABLE, UNSUITABLE)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path, monkeypatch):
    folder = stack(tmp_path / "s", images(np.uint16, 0, 4000, 7))
    (frame,) = frames_of(open_image(folder / "03.dcm", "03.dcm"))
    path = folder / "03.dcm"
    read = stored_pixels

    def cut_off_first(one):
        if path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:1000])
        return read(one)

    monkeypatch.setattr("SliceInterpolationLib.dicom.assembling.stored_pixels", cut_off_first)
    found = read_series(folder)
    assert [run.volume.slice_count for run in found.runs] == [3, 3]
    assert {entry.name: entry.fate for entry in found.report.entries}["03.dcm"] == DAMAGED
    assert frame.size == (24, 24)


def test_tilt_of_either_sign(tmp_path):
    for degrees in (-20, 20):
        tilt = np.deg2rad(degrees)
        folder = tmp_path / str(degrees)
        folder.mkdir()
        for k in range(4):
            write_slice(
                folder, f"{k}.dcm", (0, 0, 5 * k), SERIES, (ROW, COLUMN * np.cos(tilt) + [0, 0, np.sin(tilt)])
            )
        volume, _ = read_volume(folder)
        assert volume.slice_distance == pytest.approx(5 * np.cos(tilt))
        np.testing.assert_allclose(volume.direction[:, 2], (0, 0, 1), atol=1e-12)
        assert volume.direction[2, 1] == pytest.approx(np.sin(tilt))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux tells it")
def test_a_long_series_is_in_memory_once(tmp_path):
    """Slices of 0.5 MiB: 80 of them take 40 MiB more than 2, and hardly anything beside."""
    pixels = images(np.uint16, 0, 4000, 1, 512)[0]
    code = (
        "import sys; from SliceInterpolationLib.dicom import read_series; (run,) = read_series(sys.argv[1]).runs\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    peaks = []
    for count in (2, 80):
        folder = stack(tmp_path / str(count), [pixels] * count)
        done = subprocess.run(
            [sys.executable, "-c", code, folder], env=environment, capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 39 + 8
