"""Fuzz of the DICOM reader: whatever is done to the files, it reads what they were made with, or says why not."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pydicom
from dicomfiles import write_enhanced, write_slice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SliceInterpolationLib import InputError
from SliceInterpolationLib.dicom import folder_info, read_series
from SliceInterpolationLib.dicom.report import USED

EXAMPLES = int(os.environ.get("DICOM_FUZZ_EXAMPLES", "60"))
LONGEST_S = 10.0
SIZE = 8
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not os.environ.get("DICOM_FUZZ_EXAMPLES"),
)


@st.composite
def series(draw):
    """A place and a shape of a stack: what its files are written with, and the oracle."""
    angles = [draw(st.sampled_from([0.0, 0.1, -0.4, np.pi / 2])) for _ in range(2)]
    rx = np.array(
        [[1, 0, 0], [0, np.cos(angles[0]), -np.sin(angles[0])], [0, np.sin(angles[0]), np.cos(angles[0])]]
    )
    rz = np.array(
        [[np.cos(angles[1]), -np.sin(angles[1]), 0], [np.sin(angles[1]), np.cos(angles[1]), 0], [0, 0, 1]]
    )
    axes = rz @ rx
    shear = draw(st.sampled_from([0.0, 0.3, -0.3]))
    step = draw(st.sampled_from([0.6, 1.25, 5.0, 7.5])) * (axes[:, 2] + shear * axes[:, 1])
    count = draw(st.integers(2, 9))
    gap = draw(st.one_of(st.none(), st.integers(1, max(1, count - 2))))
    digits = draw(st.sampled_from([1, 3, 6]))
    origin = np.array([draw(st.floats(-300, 300)) for _ in range(3)])
    positions = [np.round(origin + step * (k + (gap is not None and k > gap)), digits) for k in range(count)]
    return {
        "positions": positions,
        "orientation": (axes[:, 0], axes[:, 1]),
        "names": draw(st.permutations(range(count))),
        "intercept": draw(st.sampled_from([-1024, 0, -1024.5])),
        "signed": draw(st.booleans()),
    }


ATTRIBUTES = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope",
    "RescaleIntercept", "SliceThickness", "PhotometricInterpretation", "SOPInstanceUID", "SeriesInstanceUID",
    "Modality", "ImageType", "ConvolutionKernel", "PixelPaddingValue", "AcquisitionNumber",
)  # fmt: skip
VALUES = (
    0, 1, -1, 2, 12, 64, 65535, "", "0", "nan", "1e400", "x", [0, 0, 0], [1, 0, 0, 0, 1, 0], [1, 0, 0, 1, 0, 0],
    [0.5, 0.5], [0, 0], [-1, 1], "1.2", "MONOCHROME1", "RGB", ["ORIGINAL", "PRIMARY", "LOCALIZER"], None, b"\xff\xfe",
)  # fmt: skip
damage = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(
        st.just("bytes"), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6)
    ),
    st.tuples(st.just("attribute"), st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES)),
    st.tuples(st.just("delete"), st.sampled_from(ATTRIBUTES)),
    st.tuples(st.just("copy"), st.just(0)),
    st.tuples(st.just("preamble"), st.just(0)),
    st.tuples(st.just("append"), st.binary(max_size=40)),
)


def do(path: Path, what, *how) -> None:
    """Damage a file."""
    data = path.read_bytes()
    if what == "cut":
        path.write_bytes(data[: int(len(data) * how[0])])
    elif what == "bytes":
        changed = bytearray(data)
        for place, value in how[0] if data else ():
            changed[int(place * (len(data) - 1))] = value
        path.write_bytes(changed)
    elif what == "copy":
        path.with_name(path.name + " (1)").write_bytes(data)
    elif what == "preamble":
        path.write_bytes(data[132:])
    elif what == "append":
        path.write_bytes(data + how[0])
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ds = pydicom.dcmread(path)
                if what == "delete":
                    ds.pop(how[0], None)
                else:
                    setattr(ds, how[0], how[1])
                ds.save_as(path)
        except Exception:  # pydicom does not write everything; then the file stays as it is
            path.write_bytes(data)


def stored(number: int, made) -> np.ndarray:
    values = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) * 7 + 100 * number
    return (values - (300 if made["signed"] else 0)).astype(np.int16)


def told_by(path: Path):
    """Position and values of a damaged file as pydicom alone reads them; None where it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, force=True)
            position = np.array([float(x) for x in ds.ImagePositionPatient])
            values = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        return position, values
    except Exception:
        return None


def check(found, folder: Path, truth) -> None:
    """Every slice lies where its file says, and shows what it holds; every file is accounted for, once."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    assert sorted(entry.name for entry in found.report.entries) == names
    used = {entry.name for entry in found.report.entries if entry.fate == USED}
    assert used == {source.path.name for run in found.runs for source in run.sources if source}
    for run in found.runs:
        volume = run.volume
        assert np.isfinite(volume.affine).all()
        assert len(run.sources) == volume.slice_count >= 2
        for k, source in enumerate(run.sources):
            assert (source is None) == (volume.provenance[k] == "S")
            if source is None:
                continue
            expected = truth.get(source.path.name) or told_by(source.path)
            if expected is None:
                continue
            position, values = expected
            np.testing.assert_allclose((volume.affine @ (0, 0, k, 1))[:3], position, rtol=0, atol=0.1001)
            outside = (
                volume.array[k] == volume.padding
                if volume.padding is not None
                else np.zeros(values.shape, bool)
            )
            np.testing.assert_allclose(volume.array[k][~outside], values[~outside], rtol=1e-6, atol=1e-3)


def read_or_refused(folder: Path):
    """What was found, None where that was refused, in a sentence and in time; the listing agrees with the disk."""
    started = time.perf_counter()
    found = None
    for what in (read_series, folder_info):
        try:
            result = what(folder)
        except InputError as error:
            refusal = str(error)
        else:
            refusal = "."
            found = result if what is read_series else found
        assert refusal.endswith((".", "alone", "1.2.3"))
        assert "\n" not in refusal
    assert time.perf_counter() - started < LONGEST_S
    return found


@fuzz
@given(series(), st.lists(st.tuples(st.integers(0, 8), damage), max_size=4))
def test_single_frames(made, damages):
    with tempfile.TemporaryDirectory() as place:
        folder, truth = Path(place), {}
        for number, position in enumerate(made["positions"]):
            name = f"{made['names'][number]}.dcm"
            pixels = stored(number, made)
            write_slice(
                folder, name, position, "1.2.3", made["orientation"], SIZE, PixelData=pixels.tobytes(),
                PixelRepresentation=int(made["signed"]), RescaleIntercept=made["intercept"],
            )  # fmt: skip
            truth[name] = np.array(position), pixels + made["intercept"]
        for which, (what, *how) in damages:
            name = f"{which % len(truth)}.dcm" if len(truth) > 1 else next(iter(truth))
            do(folder / name, what, *how)
            if what not in ("copy", "preamble"):
                truth = {**truth, name: None}
        found = read_or_refused(folder)
        if found:
            check(found, folder, truth)
            bridged = read_series(folder, bridge=lambda pair: pair.array[0])
            check(bridged, folder, truth)
            assert len(bridged.runs) <= len(found.runs)
        elif not damages:  # only where the steps are no grid, or one of two slices is missing
            assert len(truth) < 5


@fuzz
@given(series(), st.lists(damage, max_size=3))
def test_enhanced_files(made, damages):
    """Nothing but what pydicom reads is known of a damaged one; here it must end well, and soon."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_enhanced(folder / "all.dcm", made["positions"], "1.2.3", made["orientation"], SIZE + 4)
        for what, *how in damages:
            do(folder / "all.dcm", what, *how)
        found = read_or_refused(folder)
        harmless = all(what in ("copy", "preamble", "append") for what, *_ in damages)
        for run in found.runs if found and harmless else ():
            for k, source in enumerate(run.sources):
                at = (run.volume.affine @ (0, 0, k, 1))[:3]
                np.testing.assert_allclose(at, made["positions"][source.frame - 1], rtol=0, atol=0.1001)


@fuzz
@given(st.binary(max_size=600), st.booleans())
def test_any_bytes(data, with_letters):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "a").write_bytes(bytes(128) + b"DICM" + data if with_letters else data)
        (folder / "b").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + data)
        assert read_or_refused(folder) is None
