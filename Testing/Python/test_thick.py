"""Thick slices of thin ones: the mean that a thick slice is, in its right place, and nothing made up."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from SliceInterpolationLib.catalogue import list_models
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.files import read_file, write_volume
from SliceInterpolationLib.networks import ARCHITECTURES
from SliceInterpolationLib.process import BAD_INPUT, DONE
from SliceInterpolationLib.thick import slab_weights, thicken
from SliceInterpolationLib.volume import ACQUIRED, UNKNOWN, Volume


def volume(slices: int = 13, **attributes) -> Volume:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (slices, 6, 5)).astype(np.int16)
    return Volume(
        voxels,
        **{
            "spacing": (0.5, 0.5, 1.0),
            "origin": (1.0, 2.0, 3.0),
            "units": "HU",
            "slice_axis": "k",
            **attributes,
        },
    )


@pytest.mark.parametrize("count", range(1, 8))
def test_weights_are_a_centered_box(count):
    weights = slab_weights(count)
    assert weights.sum() == pytest.approx(1)
    assert len(weights) % 2 == 1
    assert np.array_equal(weights, weights[::-1])
    offsets = np.arange(len(weights)) - len(weights) // 2
    # A box of that width, whose second moment is known, each slice being a box of width 1 itself.
    blur = 0.25 * (count % 2 == 0)  # an even number is centered on a slice by taking two halves
    assert (weights * offsets**2).sum() == pytest.approx((count**2 - 1) / 12 + blur, abs=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_slab_is_the_mean_of_the_slices_around_it_and_lies_there(factor):
    thin = volume()
    before = thin.array.copy()
    thick = thicken(thin, factor)
    half = factor // 2
    for number in range(thick.slice_count):
        center = half + number * factor
        around = thin.array[center - half : center + half + 1].astype(float)
        weights = np.full(len(around), 1 / factor)
        if factor % 2 == 0:
            weights[[0, -1]] /= 2
        assert np.abs(thick.array[number] - np.tensordot(weights, around, 1)).max() <= 0.501
        place = thick.affine @ (0, 0, number, 1)
        np.testing.assert_allclose(place, thin.affine @ (0, 0, center, 1))
    assert thick.array.dtype == np.int16
    assert thick.spacing == (0.5, 0.5, factor)
    assert thick.slice_thickness == pytest.approx(1.0 + (factor - 1) * 1.0)
    assert set(thick.provenance) == {UNKNOWN}  # no scanner made these
    assert np.array_equal(thin.array, before)


def test_thin_slices_are_kept_as_they_are():
    thin = volume(provenance=ACQUIRED * 13, slice_thickness=1.25)
    kept = thicken(thin, 3, "thin")
    assert np.array_equal(kept.array, thin.array[::3])
    assert kept.provenance == ACQUIRED * 5
    assert kept.slice_thickness == 1.25
    assert kept.origin == thin.origin


def test_other_axes_and_oblique_volumes_work_alike():
    turned = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    thin = volume(direction=turned, slice_axis="i")
    thick = thicken(thin, 2)
    assert thick.array.shape == (13, 6, 2)
    np.testing.assert_allclose(thick.affine @ (1, 0, 0, 1), thin.affine @ (3, 0, 0, 1))


@pytest.mark.parametrize(
    ("slices", "factor", "profile", "words"),
    [(13, 1, "slab", "2 or more"), (4, 3, "slab", "too few"), (13, 2, "sinc", "must be one of")],
)
def test_what_cannot_be_made_thick_is_said(slices, factor, profile, words):
    with pytest.raises(InputError, match=words):
        thicken(volume(slices), factor, profile)


def test_the_command_writes_the_thick_scan(tmp_path, capsys):
    source, target = tmp_path / "thin.nrrd", tmp_path / "thick.nii.gz"
    write_volume(volume(), source)
    assert (
        main(["thicken", str(source), str(target), "--factor", "4", "--axis", "k", "--units", "HU"]) == DONE
    )
    assert "13 slices at 1 mm -> 3 at 4 mm, 4 mm thick" in capsys.readouterr().err
    made = sitk.ReadImage(str(target))
    assert made.GetSize() == (5, 6, 3)
    assert made.GetSpacing() == pytest.approx((0.5, 0.5, 4.0))
    assert made.GetOrigin() == pytest.approx((1.0, 2.0, 5.0))
    assert np.array_equal(sitk.GetArrayFromImage(made), thicken(volume(), 4).array)
    assert read_file(target).slice_thickness == pytest.approx(4.0)
    assert main(["thicken", str(source), str(target)]) == BAD_INPUT
    assert "--factor" in capsys.readouterr().err
    assert main(["thicken", str(source), str(source), "--factor", "2"]) == BAD_INPUT


def test_models_lists_every_network_with_the_recipes_that_train_it(capsys, monkeypatch):
    assert main(["models", "list", "--progress", "json"]) == DONE
    networks = json.loads(capsys.readouterr().out.splitlines()[-1])["networks"]
    assert [one["architecture"] for one in networks] == list(ARCHITECTURES)
    bundled = {model.card["architecture"] for model in list_models()}
    for one in networks:
        assert one["weights"] == (one["architecture"] in bundled)
        assert bool(one["recipes"]) == (one["architecture"] != "torchscript")
    assert main(["models"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("saint ")]
    assert line.split(maxsplit=3)[1:] == ["no", "weights", "saint, saint-robust"]
    from SliceInterpolationLib import cli

    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert main(["models"]) == DONE
    assert "needs the package SliceInterpolationTrainer" in capsys.readouterr().out
