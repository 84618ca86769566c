"""Volumes, files, headers and options of every kind, thought up by hypothesis; judged by SimpleITK and NumPy alone.

A few cases of each run with the other tests, always the same ones. `Testing/Benchmarks/fuzz.py` runs as many as wanted.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from SliceInterpolationLib import InputError, Request, Volume, cli, interpolate
from SliceInterpolationLib.volume import ACQUIRED, DENOISED, MAP, SYNTHESIZED, UNKNOWN

CASES = int(os.environ.get("FUZZ_CASES", "0"))
"""How many cases of all properties together; 0: the few of the test suite."""


def cases(share: float) -> settings:
    """Settings of a property that gets a share of all cases; those of the test suite are always the same."""
    return settings(
        max_examples=max(1, round(share * (CASES or 1000))),
        derandomize=not CASES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# What to try


TYPES = [
    np.uint8,
    np.int8,
    np.uint16,
    np.int16,
    np.uint32,
    np.int32,
    np.uint64,
    np.int64,
    np.float32,
    np.float64,
]
CONTENTS = ["head", "whole range", "ends", "constant", "labels", "small"]


def voxels(shape: tuple[int, int, int], dtype: type, content: str, seed: int) -> np.ndarray:
    """An array of a kind of content."""
    rng = np.random.default_rng(seed)
    whole = np.dtype(dtype).kind in "iu"
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if whole else (-1e18, 1e18)
    if content == "head":
        return rng.uniform(max(low, -1000), min(high, 2000), shape).astype(dtype)
    if content == "ends":
        return rng.choice(np.array([low, high], dtype=dtype), shape)
    if content == "whole range" and whole:
        return rng.integers(low, high, shape, dtype, endpoint=True)
    if content == "whole range":
        return rng.uniform(low, high, shape).astype(dtype)
    if content == "constant":
        return np.full(shape, rng.integers(0, 100), dtype)
    if content == "labels":
        return rng.integers(0, 3, shape).astype(dtype)
    return rng.normal(50, 5, shape).astype(dtype)


@st.composite
def directions(draw) -> np.ndarray:
    """Axes in space: turned, mirrored, in another order, sheared."""
    matrix = np.eye(3)[:, draw(st.permutations(range(3)))]
    matrix = matrix * draw(st.sampled_from([(1, 1, 1), (-1, 1, 1), (1, 1, -1), (-1, -1, -1)]))
    if draw(st.booleans()):
        angles = draw(st.tuples(*[st.integers(-90, 90)] * 3))
        matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ matrix
    if draw(st.integers(0, 3)) == 0:
        tilt = math.radians(draw(st.integers(-60, 60)))
        matrix = matrix.copy()
        matrix[:, 2] = math.cos(tilt) * matrix[:, 2] + math.sin(tilt) * matrix[:, 1]
    return matrix


SANE_MM = st.floats(0.01, 100).map(lambda mm: float(f"{mm:.4g}"))
ABSURD_MM = st.sampled_from([0.0, -1.0, 1e-6, 1e-3, 1e4, math.nan, math.inf])
ANY_MM = st.integers(0, 14).flatmap(lambda chance: SANE_MM if chance else ABSURD_MM)


@st.composite
def volumes(draw, spacing=SANE_MM, dtypes=tuple(TYPES)) -> Volume:
    """Small volumes with everything that a volume can have."""
    shape = draw(st.tuples(*[st.integers(1, 9).flatmap(lambda n: st.integers(min(n, 2), 9))] * 3))
    array = voxels(
        shape, draw(st.sampled_from(dtypes)), draw(st.sampled_from(CONTENTS)), draw(st.integers(0, 99))
    )
    if array.dtype.kind == "f" and draw(st.integers(0, 9)) == 0:
        array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([math.nan, math.inf, -3e38]))
    axis = draw(st.sampled_from(["i", "j", "k", None]))
    volume = Volume(
        array,
        draw(st.tuples(spacing, spacing, spacing)),
        draw(st.tuples(*[st.floats(-500, 500)] * 3)),
        draw(directions()),
        slice_axis=axis,
        units=draw(st.sampled_from(["HU", "arbitrary", None])),
        slice_thickness=draw(st.sampled_from([None, 5.0])),
    )
    letters = st.sampled_from([ACQUIRED, SYNTHESIZED, DENOISED, MAP, UNKNOWN])
    count = volume.slice_count
    return replace(volume, provenance=draw(st.text(letters, min_size=count, max_size=count)))


@st.composite
def requests(draw, methods=("nearest", "linear", "cubic", "bspline")) -> Request:
    """Every option but the device."""
    return Request(
        factor=draw(st.one_of(st.integers(2, 7), st.sampled_from(["isotropic", "2", " 3", 100]))),
        method=draw(st.sampled_from(methods)),
        output_mode=draw(st.sampled_from(["interpolated", "interpolated", "denoised", "denoise-only"])),
        strength=draw(st.sampled_from([0.0, 0.5, 1.0])),
        axis=draw(st.sampled_from(["auto", "auto", "i", "j", "k"])),
        units=draw(st.sampled_from(["auto", "HU", "arbitrary"])),
        force=draw(st.sampled_from([True, True, True, False])),
    )


# What is right


def must_be_taken(volume: Volume, request: Request) -> bool:
    """Whether nothing speaks against interpolating by force, so that a refusal would be wrong."""
    array = volume.array
    if not request.force or (array.dtype.kind == "f" and not (np.abs(array) <= 1e18).all()):
        return False
    number = "ijk".index(volume.slice_axis if request.axis == "auto" else request.axis)
    spacing = volume.spacing
    pixels = [mm for axis, mm in enumerate(spacing) if axis != number]
    slices = array.shape[2 - number]
    return (
        all(math.isfinite(mm) and mm > 0 for mm in spacing)
        and slices >= (2 if request.output_mode == "interpolated" else 3)
        and (request.factor != "isotropic" or spacing[number] / np.mean(pixels) <= 100)
    )


def check_result(volume: Volume, request: Request, made: Volume) -> None:
    """The result against formulas: grid, acquired slices, provenance, and the voxels where they are known."""
    number = "ijk".index(volume.slice_axis if request.axis == "auto" else request.axis)
    source, result = (np.moveaxis(one.array, 2 - number, 0) for one in (volume, made))
    pixels = [mm for axis, mm in enumerate(volume.spacing) if axis != number]
    factor = request.factor
    if factor == "isotropic":
        factor = max(2, round(volume.spacing[number] / np.mean(pixels)))
    if request.output_mode == "denoise-only":
        factor = 1
    assert made.slice_axis == "ijk"[number]
    assert result.shape == ((len(source) - 1) * factor + 1, *source.shape[1:])
    assert result.dtype == source.dtype
    wanted = [mm / factor if axis == number else mm for axis, mm in enumerate(volume.spacing)]
    np.testing.assert_allclose(made.spacing, wanted, rtol=1e-12)
    np.testing.assert_array_equal(made.origin, volume.origin)
    np.testing.assert_array_equal(made.direction, volume.direction)
    letters = volume.provenance
    if number != "ijk".index(volume.slice_axis):  # slices across the others
        same = len(set(letters)) == 1 and letters[0] in (ACQUIRED, MAP)
        letters = (letters[0] if same else UNKNOWN) * len(source)
    kept = made.provenance[::factor]
    assert all(one == SYNTHESIZED for n, one in enumerate(made.provenance) if n % factor)
    exact = [
        n for n in range(len(source)) if kept[n] == letters[n] != SYNTHESIZED or n in (0, len(source) - 1)
    ]
    if request.output_mode == "interpolated":
        assert kept == letters
        exact = list(range(len(source)))
    else:
        assert all(one in (DENOISED, letter) for one, letter in zip(kept, letters))
        exact = [n for n in exact if kept[n] != DENOISED or n in (0, len(source) - 1)]
    np.testing.assert_array_equal(result[::factor][exact], source[exact])
    if source.dtype.kind == "f":
        assert np.isfinite(result).all()
    for n in range(len(result)):
        before, step = divmod(n, factor)
        if step:
            check_between(source, before, step / factor, result[n], request.method)


def check_between(source: np.ndarray, before: int, t: float, image: np.ndarray, method: str) -> None:
    """One new slice against NumPy in double precision; single precision is what the methods compute in."""
    first, second = (source[n].astype(np.float64) for n in (before, before + 1))
    scale = max(np.abs(source.astype(np.float64)).max(), 1.0)
    slack = scale * 1e-6 + (0.5001 if source.dtype.kind in "iu" else 0)
    got = image.astype(np.float64)
    if method == "nearest":
        expected = first if t <= 0.5 else second
        assert np.abs(got - expected).max() <= scale * 1e-6
    elif method == "linear":
        assert np.abs(got - (first + t * (second - first))).max() <= slack
    elif method == "cubic":
        count = min(4, len(source))
        start = min(max(before - (count - 1) // 2, 0), len(source) - count)
        knots = np.arange(start, start + count)
        weights = [np.prod([(before + t - b) / (a - b) for b in knots if b != a]) for a in knots]
        expected = np.tensordot(weights, source[start : start + count].astype(np.float64), 1)
        if source.dtype.kind in "iu":
            limits = np.iinfo(source.dtype)
            expected = np.clip(expected, float(limits.min), float(limits.max))
        assert np.abs(got - expected).max() <= 4 * slack
    if method in ("flow", "default"):
        return  # the gate of the product is all that is known
    low, high = source.astype(np.float64).min(), source.astype(np.float64).max()
    assert got.min() >= low - (high - low) - slack
    assert got.max() <= high + (high - low) + slack


# The library


@cases(0.3)
@given(volumes(ANY_MM), requests())
def test_a_volume_is_interpolated_rightly_or_refused(volume, request):
    before, refusal = volume.array.copy(), ""
    try:
        made = interpolate(volume, request).volume
    except InputError as error:
        refusal = str(error)
    np.testing.assert_array_equal(volume.array, before)
    event("refused" if refusal else "interpolated")
    if refusal:
        assert re.fullmatch(r"[A-Z0-9'].*\.", refusal), "one sentence"
        assert not must_be_taken(volume, request), refusal
        return
    assert all(math.isfinite(mm) and mm > 0 for mm in volume.spacing)
    check_result(volume, request, made)
    if not volume.is_sheared:  # SimpleITK agrees where the slices lie
        scan, image = (sitk.GetImageFromArray(np.zeros(one.array.shape, np.uint8)) for one in (volume, made))
        for one, of in ((scan, volume), (image, made)):
            one.SetSpacing(of.spacing)
            one.SetOrigin(of.origin)
            one.SetDirection(of.direction.ravel().tolist())
        last = np.array(scan.GetSize()) - 1
        place = scan.TransformIndexToPhysicalPoint(last.tolist())
        end = (np.array(image.GetSize()) - 1).tolist()
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(end), place, atol=1e-6, rtol=1e-9)


@cases(0.02)
@given(volumes(st.floats(0.3, 8.0)), requests(methods=("flow", "default")))
def test_flow_and_network_keep_what_was_acquired(volume, request):
    request = replace(request, factor=request.factor if request.factor in (2, 3) else 2, device="cpu")
    try:
        made = interpolate(volume, request).volume
    except InputError:
        event("refused")
        return
    event("interpolated")
    check_result(volume, request, made)


@cases(0.05)
@given(requests(methods=("nearest", "linear", "cubic", "bspline", "flow", "default", "my-model")))
def test_a_request_comes_back(request):
    parser = cli._parser()
    options = parser.parse_args(["interpolate", "in", "out", *request.to_arguments()])
    assert Request.from_options(options) == request
    assert Request.from_dict(json.loads(json.dumps(request.as_dict()))) == request


# The command line


@dataclass
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Said:
    """Run a command in this process and check what holds for every one, whatever it was given."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(arguments))
    said = Said(code, out.getvalue(), err.getvalue())
    event(f"{arguments[0]} ends with {code}")
    assert code in (0, 1, 2, 3)
    assert "Traceback" not in said.err
    assert "internal error" not in said.err, said.err
    if code:
        assert code == 2, said.err  # nothing fails here but what was given
        assert said.err.endswith("\n")
        assert said.err.splitlines()[-1].startswith("slice-interpolation: "), said.err
        assert sum(line.startswith("slice-interpolation: ") for line in said.err.splitlines()) == 1
    modes = [value for flag, value in zip(arguments, arguments[1:]) if flag == "--progress"]
    if modes and modes[-1] == "json" and "--help" not in arguments:
        lines = [json.loads(line, parse_constant=pytest.fail) for line in said.out.splitlines()]
        assert not lines or lines[-1]["stage"] in ("result", "error")
    return said


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for one case, which is the current one."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(here)


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


def check_command(
    place: Path, before: dict[str, bytes], said: Said, output: str, factor: int, axis: str
) -> None:
    """A refused command leaves the folder as it was; a finished one adds what SimpleITK reads as it should be."""
    after = contents(place)
    if said.code:
        assert after == before
        return
    assert {name: after[name] for name in before if name != output} == {
        name: content for name, content in before.items() if name != output
    }
    scan, made = (sitk.ReadImage(name) for name in ("scan" + suffix_of(before), output))
    number = "ijk".index(axis)
    source, result = (
        np.moveaxis(sitk.GetArrayFromImage(image).reshape(image.GetSize()[2::-1]), 2 - number, 0)
        for image in (scan, made)
    )
    np.testing.assert_array_equal(result[::factor], source)
    assert made.GetSpacing()[number] == pytest.approx(scan.GetSpacing()[number] / factor, rel=1e-5)
    np.testing.assert_allclose(made.GetDirection(), scan.GetDirection()[:9], atol=1e-5)


def suffix_of(files: dict[str, bytes]) -> str:
    return next(name[4:] for name in files if name.startswith("scan."))


SUFFIXES = [".nrrd", ".nii", ".nii.gz", ".mha"]
STORED = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]


@cases(0.2)
@given(
    volumes(dtypes=tuple(STORED)),
    requests(),
    st.sampled_from(SUFFIXES),
    st.sampled_from(SUFFIXES),
    st.booleans(),
)
def test_files_of_others_become_files_for_others(volume, request, source, target, packed):
    """Written by SimpleITK, read by SimpleITK; in between our command."""
    factor = 2 if request.factor == "isotropic" else request.factor
    request = replace(request, output_mode="interpolated", factor=factor)
    with folder() as place:
        if volume.is_sheared and source.startswith(".nii"):
            volume = replace(volume, direction=np.eye(3))
        sitk.WriteImage(volume.to_sitk(), f"scan{source}", packed)
        before = contents(place)
        arguments = request.to_arguments()
        said = run("interpolate", f"scan{source}", f"out{target}", *arguments, "--progress", "json")
        spacing = sitk.ReadImage(f"scan{source}").GetSpacing()
        # The last of the largest spacings, which NIfTI rounds.
        widest = max(n for n in range(3) if spacing[n] > max(spacing) * (1 - 1e-5))
        axis = "ijk"[widest] if request.axis == "auto" else request.axis
        check_command(place, before, said, f"out{target}", request.factor, axis)
        if said.code and must_be_taken(replace(volume, slice_axis=axis, provenance=""), request):
            assert "faithfully" in said.err or "NIfTI" in said.err, said.err  # shear, which NIfTI cannot hold


NONSENSE = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e30",
    "5,0",
    "5 mm",
    "",
    "x",
    "2 2",
    "(1,0,0)",
    "none",
    "65536",
    "-0.0",
    "\t",
]


@cases(0.2)
@given(
    st.sampled_from(SUFFIXES),
    st.sampled_from([np.uint8, np.int16, np.float32]),
    st.sampled_from(["field", "byte", "cut", "longer", "line"]),
    st.integers(0, 10_000),
    st.sampled_from(NONSENSE),
    st.integers(0, 255),
)
def test_a_damaged_file_is_read_rightly_or_refused(suffix, dtype, kind, where, nonsense, byte):
    with folder() as place:
        array = voxels((4, 5, 6), dtype, "head", where)
        image = Volume(array, (0.5, 0.5, 4.0)).to_sitk()
        image.SetMetaData("SliceInterpolation.SliceProvenance", "ASAS")
        image.SetMetaData("SliceInterpolation.SliceThickness", "5")
        path = f"scan{suffix}"
        sitk.WriteImage(image, path)
        content = bytearray(Path(path).read_bytes())
        header = len(content) - array.nbytes if suffix in (".nii", ".mha") else min(len(content), 400)
        if kind == "cut":
            content = content[: where % len(content)]
        elif kind == "longer":
            content += bytes([byte]) * (where % 100 + 1)
        elif kind == "byte" or suffix.startswith(".nii"):
            content[where % max(header, 1)] = byte
        else:  # a line of a text header loses its value, or is there twice
            lines = bytes(content[:header]).split(b"\n")
            number = where % max(len(lines) - 1, 1)
            name, sign, _ = re.match(rb"([^:=]*)([:=]*=? ?)(.*)", lines[number], re.S).groups()
            if kind == "field":
                lines[number] = name + sign + nonsense.encode()
            else:
                lines.insert(number, lines[number])
            content = bytearray(b"\n".join(lines)) + content[header:]
        Path(path).write_bytes(content)
        before = contents(place)
        said = run("interpolate", path, "out.nrrd", "--method", "linear", "--force", "--axis", "k")
        after = contents(place)
        if said.code:
            assert after == before
        else:
            assert after[path] == before[path]
            seen = sitk.GetArrayFromImage(sitk.ReadImage("out.nrrd"))[::2]
            if not np.array_equal(seen, array) and not is_rescaled(seen, array, path, bytes(content)):
                np.testing.assert_array_equal(seen.ravel(), read_apart(path).ravel())


def is_rescaled(seen: np.ndarray, array: np.ndarray, path: str, content: bytes) -> bool:
    """Whether voxels are those of a NIfTI file by its scl_slope, of which ITK takes tiny ones for none."""
    if not path.endswith(".nii"):
        return False
    slope, intercept = np.frombuffer(content[112:120], "<f4").astype(float)
    return np.allclose(seen, array * slope + intercept, rtol=1e-5, atol=0)


def read_apart(path: str) -> np.ndarray:
    """What SimpleITK reads, in a process of its own, which damaged MetaImage headers end."""
    code = "import SimpleITK, numpy; numpy.save('seen.npy', SimpleITK.GetArrayFromImage(SimpleITK.ReadImage({!r})))"
    subprocess.run([sys.executable, "-c", code.format(path)], check=True, capture_output=True)
    return np.load("seen.npy")


TEXTS = st.one_of(st.sampled_from(NONSENSE), st.text(max_size=12))


@cases(0.1)
@given(
    st.dictionaries(
        st.sampled_from(
            ["SliceAxis", "SliceProvenance", "Units", "SliceThickness", "History", "VoxelSHA256", "Other"]
        ),
        st.one_of(
            TEXTS,
            st.sampled_from(
                ["k", "HU", "AAAA", "ASAA", "?AZA", "[]", "[1]", '[{"a": NaN}]', "{}", '"x"', "[" * 3000]
            ),
        ),
    ),
    st.sampled_from([".nrrd", ".mha"]),
)
def test_what_a_header_says_of_slices_never_stops_a_scan(entries, suffix):
    """Nonsense about slices is passed over with a remark, and never makes a slice acquired."""
    with folder():
        image = Volume(voxels((4, 5, 6), np.int16, "head", 1), (0.5, 0.5, 4.0)).to_sitk()
        for key, value in entries.items():
            image.SetMetaData(f"SliceInterpolation.{key}", value.replace("\n", " ").replace("\0", " "))
        try:
            sitk.WriteImage(image, f"scan{suffix}")
            sitk.ReadImage(f"scan{suffix}")
        except RuntimeError:  # not even SimpleITK reads it back
            return
        said = run("interpolate", f"scan{suffix}", "out.nrrd", "--method", "linear", "--axis", "k")
        assert said.code == 0, said.err
        letters = sitk.ReadImage("out.nrrd").GetMetaData("SliceInterpolation.SliceProvenance")
        assert len(letters) == 7
        assert letters[1::2] == "SSS"
        told = entries.get("SliceProvenance", "")
        for number, letter in enumerate(letters[::2]):
            assert letter != ACQUIRED or (len(told.strip()) == 4 and told.strip()[number] == ACQUIRED)


OPTIONS = {
    "interpolate": ["scan.nrrd", "out.nrrd"],
    "compare": ["scan.nrrd", "result.nrrd", "--output", "c.png"],
    "noise": ["scan.nrrd", "--output-dir", "noise", "--method", "linear"],
    "trust": ["scan.nrrd", "--method", "linear", "--slices", "1"],
    "measure": ["scan.nrrd", "--segmentation", "mask.nrrd"],
    "page": ["scan.nrrd", "--output", "page.html"],
    "phantom": ["phantom.nrrd", "--size", "16", "--slices", "2"],
    "models": ["list"],
    "thicken": ["scan.nrrd", "thick.nrrd", "--factor", "2"],
}
FLAGS = sorted({
    "--factor", "--method", "--output-mode", "--strength", "--axis", "--device", "--units", "--force", "--uncertainty",
    "--compress", "--series", "--progress", "--window", "--output", "--output-dir", "--result", "--range",
    "--segmentation", "--slices", "--margin", "--position", "--title", "--trust", "--noise", "--unknown", "--help",
    "--hematoma-ml", "--noise-hu", "--seed",
})  # fmt: skip
SUITABLE = {
    "--factor": ["2", "3", "isotropic"], "--method": ["linear", "cubic", "flow"], "--strength": ["0.3"],
    "--output-mode": ["interpolated", "denoised", "denoise-only"], "--axis": ["auto", "k"], "--device": ["cpu"],
    "--units": ["HU", "arbitrary"], "--uncertainty": ["sd.nii.gz"], "--progress": ["none", "json"],
    "--output": ["new.csv"], "--output-dir": ["new"], "--result": ["result.nrrd"], "--segmentation": ["mask.nrrd"],
    "--slices": ["2", "all"], "--margin": ["3"], "--title": ["Schädel →"], "--hematoma-ml": ["0"], "--noise-hu": ["2"],
    "--seed": ["5"], "--series": ["1.2.3"], "--force": [], "--compress": [], "--help": [],
}  # fmt: skip
"""What options are there for; the others are given nonsense only."""
WRITTEN = ("--output", "--uncertainty")
VALUES = st.one_of(
    TEXTS.map(lambda text: text.replace("\0", "")),
    st.sampled_from([
        "2", "3", "101", "isotropic", "²", "linear", "cubic", "magic", "denoised", "denoise-only", "0.5", "-0.5",
        "auto", "i", "j", "k", "cpu", "cuda", "cuda:9", "HU", "arbitrary", "scan.nrrd", "mask.nrrd", "result.nrrd",
        "other.nrrd", "sd.nii.gz", "none/x.nrrd", ".", "..", "~", "40", "80", "-5", "1e400", "bar", "none", "all",
        "9" * 30, "text.txt",
    ]),
)  # fmt: skip


GIVEN = st.one_of(
    st.tuples(st.sampled_from(FLAGS), st.lists(VALUES, max_size=2)),
    *[
        st.sampled_from(sorted(SUITABLE)).flatmap(
            lambda flag: st.tuples(st.just(flag), st.sampled_from([[one] for one in SUITABLE[flag]] or [[]]))
        )
    ]
    * 3,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict[str, bytes]:
    """Files that commands are given: a scan, its result, a mask, another scan, a text."""
    place = tmp_path_factory.mktemp("study")
    array = voxels((6, 18, 20), np.int16, "head", 5)
    scan = Volume(array, (0.8, 0.8, 5.0), provenance="AAAAAA", units="HU")
    sitk.WriteImage(scan.to_sitk(), str(place / "scan.nrrd"))
    sitk.WriteImage(interpolate(scan, method="linear").volume.to_sitk(), str(place / "result.nrrd"))
    sitk.WriteImage(replace(scan, array=(array > 500).astype(np.uint8)).to_sitk(), str(place / "mask.nrrd"))
    sitk.WriteImage(replace(scan, array=array[:3], provenance="").to_sitk(), str(place / "other.nrrd"))
    (place / "text.txt").write_text("words")
    return contents(place)


@cases(0.13)
@given(
    st.sampled_from(sorted(OPTIONS)),
    st.lists(GIVEN, max_size=3),
    st.booleans(),
)
def test_options_of_every_kind(study, command, more, as_json):
    """Whatever is written on the command line: an answer or one sentence; only what is called an output changes."""
    with folder() as place:
        for name, content in study.items():
            (place / name).write_bytes(content)
        arguments = [command, *OPTIONS[command]]
        for flag, values in more:
            arguments += [flag, *values]
        said = run(*arguments, *(["--progress", "json"] if as_json else []))
        after = contents_below(place)
        called_outputs = {value for flag, values in more for value in values if flag in WRITTEN} - {
            "scan.nrrd"
        }
        if command == "phantom":
            called_outputs |= set(arguments)
        for name, content in study.items():
            assert after[name] == content or (not said.code and name in called_outputs), name
        if said.code:
            assert set(after) == set(study)


@pytest.fixture(scope="module")
def reports(study, tmp_path_factory) -> dict[str, bytes]:
    """What the commands trust, noise and measure write, for the page."""
    place = tmp_path_factory.mktemp("reports")
    for name, content in study.items():
        (place / name).write_bytes(content)
    scan, mask = str(place / "scan.nrrd"), str(place / "mask.nrrd")
    cli.main(["trust", scan, "--method", "linear", "--output", str(place / "trust.json")])
    cli.main(["noise", scan, "--method", "linear", "--output-dir", str(place)])
    cli.main(["measure", scan, "--segmentation", mask, "--output", str(place / "table.csv")])
    return {
        name: (place / name).read_bytes()
        for name in ("trust.json", "noise.json", "residual.nrrd", "table.csv")
    }


def places(value: object, here: tuple = ()) -> Iterator[tuple]:
    """Where in nested lists and dicts something can be changed."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield (*here, key)
        yield from places(entry, (*here, key))


@cases(0.05)
@given(
    st.sampled_from(["trust", "noise", "measurements"]),
    st.integers(0, 10_000),
    st.one_of(
        st.sampled_from([None, -1, 1e400, "x", [], {}, [1], True, "<script>x", {"a": None}, "gone"]), TEXTS
    ),
)
def test_a_page_of_damaged_reports_is_made_or_refused(study, reports, which, where, nonsense):
    with folder() as place:
        for name, content in {**study, **reports}.items():
            (place / name).write_bytes(content)
        name = {"trust": "trust.json", "noise": "noise.json", "measurements": "table.csv"}[which]
        if which == "measurements":
            cells = (place / name).read_text(encoding="utf-8").split(",")
            cells[where % len(cells)] = str(nonsense)
            (place / name).write_text(",".join(cells), encoding="utf-8")
        else:
            values = json.loads((place / name).read_text(encoding="utf-8"))
            every = list(places(values))
            *way, last = every[where % len(every)]
            target = values
            for step in way:
                target = target[step]
            if nonsense == "gone":
                del target[last]
            else:
                target[last] = nonsense
            (place / name).write_text(json.dumps(values), encoding="utf-8")
        said = run("page", "scan.nrrd", f"--{which}", name, "--output", "page.html")
        assert (place / "page.html").exists() == (said.code == 0)
        if nonsense == "<script>x" and not said.code:
            assert "<script>x" not in (place / "page.html").read_text(encoding="utf-8")


def contents_below(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


def test_every_option_of_a_request_is_tried():
    assert {f"--{one.name.replace('_', '-')}" for one in fields(Request)} <= set(FLAGS)
