"""The command line as a user runs it: exit codes, progress, files, cancel, and the demo."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SliceInterpolationLib import Volume, read_volume, write_volume
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.reports.pictures import compare_picture

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scan(phantom_volume, tmp_path) -> Path:
    write_volume(phantom_volume, tmp_path / "scan.nrrd")
    return tmp_path / "scan.nrrd"


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_interpolate(scan, tmp_path, capsys):
    out = tmp_path / "out.nrrd"
    assert run("interpolate", scan, out, "--uncertainty", tmp_path / "sd.nrrd", "--progress", "json") == 0
    said = lines(capsys)
    assert said[-1]["stage"] == "result"
    assert said[-1]["paths"] == [str(out), str(tmp_path / "sd.nrrd")]
    steps = [line for line in said if line["done"] is not None]
    checked = [line["done"] for line in steps if line["stage"] == "uncertainty"]
    assert checked == list(range(1, 9))  # slices that the error SD is checked on, before all others
    steps = steps[len(checked) :]
    assert [line["done"] for line in steps] == list(range(48))
    assert all(line["total"] == 47 for line in steps)
    assert steps[5]["eta_s"] >= 0
    assert any("CPU" in (line["message"] or "") for line in said)
    scanned, _ = read_volume(scan)
    made, _ = read_volume(out)
    assert made.array.shape == (47, 128, 128)
    np.testing.assert_array_equal(made.array[::2], scanned.array)
    assert made.provenance == "AS" * 23 + "A"
    assert made.history[-1]["method"] == "flow-refine"
    assert len(made.history[-1]["model_sha256"]) == 64
    sd, _ = read_volume(tmp_path / "sd.nrrd")
    assert sd.array[::2].max() == 0
    assert sd.array[1::2].min() >= 0


def test_progress_modes(scan, tmp_path, capsys):
    assert run("interpolate", scan, tmp_path / "a.nrrd", "--method", "linear") == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "a.nrrd")
    assert "24 slices at 5 mm -> 47 at 2.5 mm" in captured.err
    assert run("interpolate", scan, tmp_path / "b.nrrd", "--method", "linear", "--progress", "none") == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "b.nrrd")
    assert "24 slices at 5 mm -> 47 at 2.5 mm" in captured.err  # silent is the progress, nothing else


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{scan}", "{out}", "--method", "magic"], "no model 'magic'"),
        (["{scan}", "{out}", "--factor", "1"], "factor must be"),
        (["{scan}", "{out}", "--factor", "two"], "factor must be"),
        (["{scan}", "{out}", "--strength", "3", "--output-mode", "denoised"], "between 0 and 1"),
        (["{scan}", "{out}", "--device", "tpu"], "no device 'tpu'"),
        (["{scan}", "{out}", "--axis", "i"], "--force"),
        (["{scan}", "{folder}/none/out.nrrd"], "does not exist"),
        (["{scan}", "{scan}"], "never overwritten"),
        (["{scan}", "{folder}/out.xyz"], "known suffix"),
        (["{folder}/nothing.nrrd", "{out}"], "check the path"),
        (["{scan}", "{out}", "--method", "linear", "--uncertainty", "{folder}/sd.nrrd"], "does not estimate"),
    ],
)
def test_bad_arguments_end_with_2_and_leave_nothing(scan, tmp_path, capsys, arguments, words):
    before = sorted(tmp_path.iterdir())
    filled = [a.format(scan=scan, out=tmp_path / "out.nrrd", folder=tmp_path) for a in arguments]
    assert run("interpolate", *filled) == 2
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "invalid choice"),
        (["interpolate", "a.nrrd"], "required: OUTPUT"),
        (["interpolate", "a.nrrd", "b.nrrd", "--fac", "2"], "--fac"),
        (["interpolate", "a.nrrd", "b.nrrd", "--strength", "much"], "'much'"),
        (["interpolate", "a.nrrd", "b.nrrd", "--factor", "9" * 5000], "largest is 100"),
        (["interpolate", "a.nrrd", "b.nrrd", "--factor", "²"], "factor must be"),
        (["interpolate", "a.nrrd", "b.nrrd", "--device", "cuda:²"], "no device"),
        (["interpolate", "", "b.nrrd"], "check the path"),
        (["compare", "a.nrrd", "b.nrrd", "--output", "c.png", "--window", "40", "-5"], "width above 0"),
        (["compare", "a.nrrd", "b.nrrd", "--output", "c.png", "--window", "nan", "80"], "invalid number"),
        (["measure", "a.nrrd", "--segmentation", "b.nrrd", "--range", "100", "40"], "from low to high"),
        (["measure", "a.nrrd", "--segmentation", "b.nrrd", "--range", "0", "inf"], "invalid number"),
    ],
)
def test_bad_arguments_are_one_sentence(phantom_volume, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_volume(phantom_volume, tmp_path / "a.nrrd")
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.nrrd"]
    assert run(*arguments, "--progress", "json") == 2
    assert json.loads(capsys.readouterr().out)["stage"] == "error"


@pytest.mark.parametrize(
    "arguments",
    [
        ["interpolate", "a.nrrd", "none/b.nrrd"],
        ["interpolate", "a.nrrd", "b.nrrd", "--uncertainty", "none/c.nrrd"],
        ["compare", "a.nrrd", "a.nrrd", "--output", "none/c.png"],
        ["noise", "a.nrrd", "--output-dir", "a.nrrd/noise"],
        ["trust", "a.nrrd", "--output", "none/t.json"],
        ["measure", "a.nrrd", "--segmentation", "a.nrrd", "--output", "none/m.csv"],
        ["demo", "--output-dir", "a.nrrd"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_work_is_begun_where_its_output_has_no_place(
    phantom_volume, tmp_path, monkeypatch, capsys, arguments
):
    monkeypatch.chdir(tmp_path)
    write_volume(phantom_volume, tmp_path / "a.nrrd")
    assert run(*arguments, "--progress", "json") == 2
    (said,) = lines(capsys)
    assert said["stage"] == "error"
    assert [path.name for path in tmp_path.iterdir()] == ["a.nrrd"]


@pytest.mark.parametrize("mode", ["bar", "none"])
def test_answers_go_to_standard_output_in_every_mode(phantom_volume, tmp_path, capsys, mode):
    """The mode silences the progress, not what was asked for."""
    write_volume(phantom_volume, tmp_path / "scan.nrrd")
    mask = Volume((phantom_volume.array > 55).astype(np.uint8), phantom_volume.spacing, units="label")
    write_volume(replace(mask, origin=phantom_volume.origin), tmp_path / "mask.nrrd")
    asked = {
        "withheld slices": ["trust", tmp_path / "scan.nrrd", "--method", "linear"],
        "surface mL": ["measure", tmp_path / "scan.nrrd", "--segmentation", tmp_path / "mask.nrrd"],
        "Noise SD": ["noise", tmp_path / "scan.nrrd", "--output-dir", tmp_path / "n", "--method", "linear"],
        "flow-refine": ["models"],
        '"training"': ["models", "info", "default"],
    }
    for words, arguments in asked.items():
        assert run(*arguments, "--progress", mode) == 0
        assert words in capsys.readouterr().out


def test_json_is_json(phantom_volume, tmp_path, capsys):
    """Every line of it, without NaN, which JSON does not know; also where figures are not defined."""
    flat = replace(phantom_volume, array=np.full_like(phantom_volume.array, 40))
    flat.array[:, 60:64, 60:64] = 50
    write_volume(flat, tmp_path / "flat.nrrd")
    mask = Volume((flat.array == 50).astype(np.uint8), flat.spacing, flat.origin, units="label")
    write_volume(mask, tmp_path / "mask.nrrd")
    commands = [
        ["models"],
        ["models", "info", "default"],
        ["interpolate", tmp_path / "flat.nrrd", tmp_path / "o.nrrd", "--method", "cubic", "--force"],
        ["measure", tmp_path / "flat.nrrd", "--segmentation", tmp_path / "mask.nrrd", "--range", "90", "95"],
        ["noise", tmp_path / "flat.nrrd", "--output-dir", tmp_path / "noise", "--method", "linear"],
        ["trust", tmp_path / "flat.nrrd", "--method", "linear"],
    ]
    for arguments in commands:
        assert run(*arguments, "--progress", "json") == 0
        said = capsys.readouterr()
        entries = [json.loads(line, parse_constant=pytest.fail) for line in said.out.splitlines()]
        assert entries[-1]["stage"] == "result"
        assert not re.search(r"\b(nan|inf)\b", said.out + said.err)


def test_units_can_be_said(phantom_volume, tmp_path, capsys):
    """A skull-stripped head without fat looks like anything; the user says what it is, and the guess is told."""
    head = replace(phantom_volume, array=np.clip(phantom_volume.array, 0, 80).astype(np.uint16), units=None)
    sitk.WriteImage(head.to_sitk(), str(tmp_path / "head.nrrd"))
    asked = ["interpolate", tmp_path / "head.nrrd", tmp_path / "out.nrrd", "--method", "linear"]
    assert run(*asked) == 0
    assert "does not say its units; arbitrary is assumed" in capsys.readouterr().err
    assert run(*asked, "--units", "HU") == 0
    assert "units" not in capsys.readouterr().err
    assert read_volume(tmp_path / "out.nrrd")[0].units == "HU"
    assert run("compare", tmp_path / "head.nrrd", tmp_path / "out.nrrd", "--output", tmp_path / "c.png") == 0
    said = capsys.readouterr().err
    assert "Original: The scan does not say its units" in said
    assert "Result:" not in said


def test_help_and_version_are_no_errors(capsys):
    assert run("--version") == 0
    assert run("interpolate", "--help") == 0
    assert "--factor" in capsys.readouterr().out


def test_error_as_json(tmp_path, capsys):
    assert run("interpolate", tmp_path / "no.nrrd", tmp_path / "out.nrrd", "--progress", "json") == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["stage"] == "error"
    assert captured.err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of another process are a POSIX matter")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_cancel_leaves_nothing(tmp_path, how):
    rng = np.random.default_rng(0)
    big = Volume(rng.integers(-100, 100, (60, 384, 384)).astype(np.int16), (0.5, 0.5, 5.0), units="HU")
    write_volume(big, tmp_path / "scan.nrrd")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "SliceInterpolationLib",
            "interpolate",
            "scan.nrrd",
            "out.nrrd",
            "--progress",
            "json",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "SliceInterpolation")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if (json.loads(line)["done"] or 0) >= 5:
            break
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "cancelled; nothing was written" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nrrd"]


def test_dicom_runs_become_files(scans, tmp_path):
    folder = scans / "dicom" / "head_ge_human_tilt_irregular"
    assert run("interpolate", folder, tmp_path / "head.nrrd", "--method", "linear") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["head-run1.nrrd", "head-run2.nrrd"]
    assert (
        run("interpolate", folder, tmp_path / "head.nii.gz", "--method", "linear") == 2
    )  # NIfTI has no shear
    assert len(list(tmp_path.iterdir())) == 2
    first, _ = read_volume(tmp_path / "head-run1.nrrd")
    assert first.is_sheared
    assert first.slice_count == 27


def test_compare_noise_trust_measure(scan, phantom, tmp_path, capsys):
    out = tmp_path / "out.nrrd"
    assert run("interpolate", scan, out, "--method", "flow") == 0
    assert run("compare", scan, out, "--output", tmp_path / "c.png", "--window", "40", "80") == 0
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert run("noise", scan, "--output-dir", tmp_path / "noise", "--method", "flow") == 0
    residual, _ = read_volume(tmp_path / "noise" / "residual.nrrd")
    assert residual.array.shape == phantom.image.shape
    capsys.readouterr()
    assert run("trust", scan, "--output", tmp_path / "t.json", "--method", "flow", "--progress", "json") == 0
    assert lines(capsys)[-1]["verdict"] == json.loads((tmp_path / "t.json").read_text())["verdict"]
    command = ("trust", scan, "--method", "linear", "--output", tmp_path / "t.json")
    for slices, count in (([], 12), (["--slices", "7"], 7), (["--slices", "all"], 18)):
        assert run(*command, *slices) == 0
        assert len(json.loads((tmp_path / "t.json").read_text())["slices"]) == count
    assert run(*command, "--slices", "some") == 2
    labels = Volume(phantom.mask, phantom.spacing, phantom.origin, slice_axis="k", units="label")
    write_volume(labels, tmp_path / "mask.nrrd")
    table = tmp_path / "m.csv"
    code = run("measure", scan, "--segmentation", tmp_path / "mask.nrrd", "--result", out, "--output", table)
    assert code == 0
    rows = list(csv.DictReader(table.open()))
    assert [row["grid"].split(",")[0] for row in rows] == ["acquired", "interpolated", "interpolated"]
    assert float(rows[0]["volume_ml"]) == pytest.approx(30, rel=0.1)


def test_overlapping_and_edited_segments_are_measured(scan, phantom, tmp_path, capsys):
    out, quiet = tmp_path / "out.nrrd", tmp_path / "quiet.nrrd"
    assert run("interpolate", scan, out, "--method", "linear") == 0
    assert run("interpolate", scan, quiet, "--method", "linear", "--output-mode", "denoised") == 0
    half = phantom.mask.copy()
    half[:, :, : half.shape[2] // 3] = 0
    for name, mask in (("whole", phantom.mask), ("half", half)):
        labels = Volume(mask, phantom.spacing, phantom.origin, slice_axis="k", units="label")
        write_volume(labels, tmp_path / f"{name}.nrrd")
    command = [
        "measure",
        scan,
        "--segmentation",
        tmp_path / "whole.nrrd",
        tmp_path / "half.nrrd",
        "--result",
        out,
    ]
    command += ["--denoised", quiet, "--margin", "2", "--progress", "json"]
    capsys.readouterr()
    assert run(*command, "--masks-dir", tmp_path / "masks", "--output", tmp_path / "m.csv") == 0
    rows = lines(capsys)[-1]["rows"]
    assert [row["labelmap"] for row in rows] == [1, 1, 1, 2, 2, 2]
    assert rows[2]["grid"] == "interpolated, 40 to 100 HU within 2 mm, denoised"
    assert len(list(csv.DictReader((tmp_path / "m.csv").open()))) == 6
    carried, _ = read_volume(tmp_path / "masks" / "carried-1.nrrd")
    assert (carried.array > 0).sum() == rows[1]["voxels"]
    edited = replace(
        carried, array=np.where(np.arange(carried.array.shape[0])[:, None, None] < 20, carried.array, 0)
    )
    write_volume(edited, tmp_path / "masks" / "carried-1.nrrd")
    capsys.readouterr()
    assert run(*command, "--edited-dir", tmp_path / "masks") == 0
    again = lines(capsys)[-1]["rows"]
    assert again[1]["voxels"] == (edited.array > 0).sum() < rows[1]["voxels"]
    assert [row["voxels"] for row in again[2:]] == [row["voxels"] for row in rows[2:]]
    assert run("measure", scan, "--segmentation", tmp_path / "half.nrrd", "--masks-dir", tmp_path / "x") == 2
    assert run(*command, "--margin", "-1") == 2


def test_models_command(capsys):
    assert run("models") == 0
    assert "flow-refine" in capsys.readouterr().out
    assert run("models", "info", "default") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["training"]["scans"]
    assert run("models", "remove", "flow-refine") == 2
    assert run("models", "add") == 2


def test_demo_on_the_phantom(tmp_path, capsys):
    """The whole demo, as `make demo` runs it."""
    folder = tmp_path / "demo"
    assert run("demo", "--output-dir", folder) == 0
    captured = capsys.readouterr()
    written = {str(Path(line).relative_to(folder)) for line in captured.out.split()}
    expected = {
        "original.nrrd", "interpolated.nrrd", "denoised.nrrd", "uncertainty.nrrd", "hematoma.nrrd", "compare.png",
        "trust.json", "measurements.csv", "noise/residual.nrrd", "noise/noise-sd.nrrd", "noise/noise.csv",
        "noise/noise.png", "noise/noise.json", "noise/before-and-after.csv", "report.html",
    }  # fmt: skip
    assert written == expected
    assert all((folder / name).stat().st_size for name in expected)
    made, _ = read_volume(folder / "interpolated.nrrd")
    assert made.array.shape == (59, 512, 512)
    report = json.loads((folder / "trust.json").read_text())
    assert report["trusted"]
    assert report["means"]["flow-refine"]["psnr_brain"] > report["means"]["flow"]["psnr_brain"]
    rows = list(csv.DictReader((folder / "measurements.csv").open()))
    assert all(abs(float(row["error_percent"])) < 6 for row in rows)
    assert "Hematoma, true volume 30.00 mL" in captured.err
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert report["verdict"] in html.unescape(page)
    assert "measured on the denoised result" in page


def test_demo_on_a_scan(scan, tmp_path, capsys):
    assert run("demo", "--input", scan, "--output-dir", tmp_path / "demo") == 0
    assert (tmp_path / "demo" / "compare.png").exists()
    assert not (tmp_path / "demo" / "measurements.csv").exists()


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "SAL"])
def test_pictures_stand_upright_in_every_orientation(phantom_volume, tmp_path, orientation):
    """The same head stored in another orientation gives the same picture."""
    from matplotlib.image import imread

    turned = Volume.from_sitk(sitk.DICOMOrient(phantom_volume.to_sitk(), orientation), units="HU")
    assert turned.slice_spacing == 5.0
    point = (1.37, 2.21, -9.3)  # not midway between voxels, where either may be shown
    pictures = [
        imread(compare_picture([("scan", v)], tmp_path / f"{n}.png", position=point))
        for n, v in enumerate((phantom_volume, turned))
    ]
    assert pictures[0].shape == pictures[1].shape
    # Captions may count slices from the other end; the images themselves start below them.
    below = pictures[0].shape[0] // 6
    assert np.abs(pictures[0][below:] - pictures[1][below:]).mean() < 0.01
