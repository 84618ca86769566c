"""Volumes that are used together belong together: the grids are compared as a whole, by every command."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from SliceInterpolationLib import InputError, Volume, interpolate, write_volume
from SliceInterpolationLib.checks import check_interpolatable
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.reports.measure import measure, read_segmentation
from SliceInterpolationLib.reports.noise import noise_before_and_after
from SliceInterpolationLib.reports.pictures import compare_picture

VOXELS = np.random.default_rng(3).integers(-1000, 1000, (6, 24, 20)).astype(np.int16)
TURN = Rotation.from_euler("xyz", [10, 20, -30], degrees=True).as_matrix()
SCAN = Volume(VOXELS, (0.5, 0.6, 5.0), (11.0, -7.0, 120.0), TURN, units="HU", provenance="A" * 6)
MASK = np.zeros(VOXELS.shape, np.uint8)
MASK[2:4, 8:14, 6:12] = 1


def foreign(volume: Volume) -> dict[str, Volume]:
    """Volumes of the same size that lie elsewhere."""
    i, j, k = volume.spacing
    small = Rotation.from_euler("z", 0.5, degrees=True).as_matrix()
    return {
        "origin": replace(volume, origin=(11.0, -7.0, 120.5)),
        "pixel spacing": replace(volume, spacing=(i * 1.01, j * 1.01, k)),
        "slice spacing": replace(volume, spacing=(i, j, k * 1.01)),
        "left and right": replace(volume, direction=TURN * (-1, 1, 1)),
        "foot and head": replace(volume, direction=TURN * (1, 1, -1)),
        "half a degree": replace(volume, direction=small @ TURN),
        "no direction": replace(volume, direction=np.eye(3)),
        "one slice less": replace(volume, array=volume.array[1:], provenance=volume.provenance[1:]),
    }


MADE = interpolate(SCAN, method="linear").volume
NAMES = list(foreign(SCAN))


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_result_is_refused(name, tmp_path):
    result = foreign(MADE)[name]
    assert not MADE.same_grid(result)
    for use in (
        lambda: result.refinement_of(SCAN),
        lambda: measure(SCAN, MASK, result),
        lambda: noise_before_and_after(SCAN, result),
        lambda: compare_picture([("scan", SCAN), ("result", result)], tmp_path / "a.png"),
    ):
        with pytest.raises(InputError, match="does not belong to this scan"):
            use()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_commands_refuse_it(name, tmp_path, suffix, capsys):
    write_volume(SCAN, tmp_path / f"scan{suffix}")
    write_volume(replace(SCAN, array=MASK, units="label"), tmp_path / f"mask{suffix}")
    write_volume(foreign(MADE)[name], tmp_path / f"result{suffix}")
    write_volume(foreign(replace(SCAN, array=MASK, units="label"))[name], tmp_path / f"moved{suffix}")
    write_volume(MADE, tmp_path / f"good{suffix}")
    before = sorted(tmp_path.iterdir())
    for command in (
        ["compare", "scan", "result", "--output", "a.png"],
        ["noise", "scan", "--method", "linear", "--result", "result", "--output-dir", "noise"],
        ["measure", "scan", "--segmentation", "mask", "--result", "result", "--output", "a.csv"],
        ["measure", "scan", "--segmentation", "moved", "--output", "a.csv"],
        ["page", "scan", "result", "--output", "a.html"],
    ):
        files = {"scan", "result", "mask", "moved"}
        arguments = [f"{tmp_path / word}{suffix}" if word in files else word for word in command]
        arguments = [
            str(tmp_path / word) if word in ("noise", "a.png", "a.csv", "a.html") else word
            for word in arguments
        ]
        arguments[0] = command[0]
        assert main(arguments) == 2, command
        said = capsys.readouterr().err
        assert "does not belong" in said or "does not lie on the grid" in said
        assert said.strip().count("\n") == 0
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_what_belongs_together_is_taken(tmp_path, suffix):
    """Also after the rounding of headers in single precision."""
    write_volume(SCAN, tmp_path / f"scan{suffix}")
    write_volume(replace(SCAN, array=MASK, units="label"), tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(read_segmentation(tmp_path / f"mask{suffix}", SCAN), MASK)
    assert MADE.refinement_of(SCAN) == 2
    assert SCAN.refinement_of(SCAN) == 1
    assert interpolate(SCAN, factor=5, method="linear").volume.refinement_of(SCAN) == 5
    with pytest.raises(InputError, match="does not belong"):
        SCAN.refinement_of(MADE)


def test_what_is_no_image():
    labels = replace(SCAN, array=MASK)
    for array in (MASK, MASK.astype(np.int16), MASK.astype(np.float32), MASK.astype(np.float64) * 7):
        with pytest.raises(InputError, match="labelmap"):
            check_interpolatable(replace(labels, array=array))
    with pytest.raises(InputError, match="labelmap"):
        check_interpolatable(replace(SCAN, units="label"))
    rng = np.random.default_rng(0)
    many = rng.integers(0, 500, VOXELS.shape)
    for array in (
        many.astype(np.float32),
        MASK * np.float32(0.5),
        rng.normal(size=VOXELS.shape) - 5,
        many - 900.0,
    ):
        check_interpolatable(replace(labels, array=array, units="arbitrary"))


@pytest.mark.parametrize("value", [0, -1024, 300.5])
def test_an_empty_volume_is_named(value, tmp_path, capsys):
    array = np.full(VOXELS.shape, value, np.float32 if value == 300.5 else np.int16)
    write_volume(replace(SCAN, array=array), tmp_path / "empty.nrrd")
    for command in (
        ["interpolate", "{scan}", "{out}"],
        ["trust", "{scan}"],
        ["noise", "{scan}", "--output-dir", "{dir}"],
    ):
        words = {"scan": tmp_path / "empty.nrrd", "out": tmp_path / "out.nrrd", "dir": tmp_path / "noise"}
        assert main([*(word.format_map(words) for word in command), "--method", "linear"]) == 2
        assert f"All voxels have the value {value:g}" in capsys.readouterr().err
