"""The error SD: calibrated on the scan itself, of denoised slices too, and what the card says about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SliceInterpolationLib import InputError, Volume, interpolate
from SliceInterpolationLib.catalogue import CARD, Model, find_model, read_card
from SliceInterpolationLib.files import read_file
from SliceInterpolationLib.interpolators import create
from SliceInterpolationLib.interpolators.linear import Linear
from SliceInterpolationLib.phantom import phantom_volume as full_phantom
from SliceInterpolationLib.reports.masks import tissue_mask
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.uncertainty import calibrate, coverage, standardized_errors, typical_size
from SliceInterpolationLib.volume import ACQUIRED


class Sure(Linear):
    """Linear interpolation that is always as sure of itself."""

    has_uncertainty = True
    sd = 2.0

    def synthesize_with_uncertainty(self, stack, positions):
        for image in self.synthesize(stack, positions):
            yield image, np.full_like(image, self.sd / stack.hu_gain)


def noisy(slices: int, sd: float = 5.0, units: str = "HU") -> SliceStack:
    array = np.random.default_rng(0).normal(40, sd, (slices, 64, 64)).astype(np.float32)
    return SliceStack.of(Volume(array, (0.7, 0.7, 5.0), units=units))


def model(**factors) -> Model:
    card = {"name": "sure", "weights_sha256": "a" * 64}
    if factors:
        card["uncertainty"] = {"weights_sha256": "a" * 64, **factors}
    return Model(Path("nowhere"), card, bundled=False)


FACTORS = {"between": 0.9, "carry": 0.5}


@pytest.mark.parametrize("units", ["HU", "arbitrary"])
def test_the_scan_itself_sets_the_factor(units):
    """Between noisy slices linear interpolation is wrong by sqrt(1.5) of the noise."""
    stack = noisy(20, units=units)
    seen = np.sqrt(1.5) * 5.0 * stack.hu_gain / Sure.sd
    found = calibrate(stack, "A" * 20, Sure(), model(**FACTORS))
    assert found.factor == pytest.approx(0.5 * seen, rel=0.05)
    assert f"multiplied by {found.factor:.2f}, as 8 withheld slices of this scan tell; 6" in found.remark


def test_one_slice_that_nothing_explains_does_not_count():
    stack, broken = noisy(20), noisy(20)
    broken.slices[7] += 500
    first, second = (calibrate(one, "A" * 20, Sure(), model(**FACTORS)).factor for one in (stack, broken))
    assert second == pytest.approx(first, rel=0.1)


def test_a_short_scan_takes_the_factors_of_the_card():
    found = calibrate(noisy(4), "AAAA", Sure(), model(**FACTORS))
    assert found.factor == 0.9
    assert "too few acquired slices" in found.remark
    assert calibrate(noisy(20), "AS" * 10, Sure(), model(**FACTORS)).factor == 0.9  # made slices are no truth
    assert calibrate(noisy(4), "AAAA", Sure(), model()).factor == 1.0
    constant = SliceStack.of(Volume(np.full((20, 32, 32), 40, np.int16), (1, 1, 5), units="HU"))
    assert (
        calibrate(constant, "A" * 20, Sure(), model(**FACTORS)).factor == 0.9
    )  # no error at all tells nothing


def test_without_a_card_it_says_that_it_bridged_twice_the_gap():
    known, found = (calibrate(noisy(20), "?" * 20, Sure(), one) for one in (model(**FACTORS), None))
    assert found.factor == pytest.approx(known.factor / FACTORS["carry"])
    assert "across twice the gap" in found.remark


def test_a_method_without_estimate_is_refused():
    with pytest.raises(InputError, match="does not estimate"):
        calibrate(noisy(20), "A" * 20, create("linear"), None)


def test_factors_of_other_weights_do_not_count():
    assert model(**FACTORS).calibration == FACTORS
    other = model(**FACTORS)
    assert replace(other, card={**other.card, "weights_sha256": "b" * 64}).calibration is None
    assert model().calibration is None


@pytest.mark.parametrize("value", [{}, {"weights_sha256": "a" * 64}, {**FACTORS, "weights_sha256": 1}, 3,
                                   {**FACTORS, "weights_sha256": "a" * 64, "carry": -1}])  # fmt: skip
def test_a_malformed_calibration_is_said(tmp_path, value):
    card = json.loads((find_model().folder / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps({**card, "uncertainty": value}))
    with pytest.raises(InputError, match="uncertainty must be a table with weights_sha256 and the factors"):
        read_card(tmp_path / CARD)


def test_the_default_model_is_calibrated():
    """After an exchange of the weights: Testing/Benchmarks/calibrate_uncertainty.py --write."""
    assert set(find_model().calibration) == set(FACTORS)
    found = find_model().card["uncertainty"]
    assert found["coverage"]["calibrated"]["rms_off_by"] < 0.7 * found["coverage"]["predicted"]["rms_off_by"]
    assert 0.9 < found["coverage"]["calibrated"]["within_2_sd"] < 0.98
    assert all(0.7 < row["calibrated"]["rms"] < 1.4 for row in found["scans"])


def test_every_slice_has_its_own_error():
    """Acquired slices have none, new ones that of the network, denoised ones that against the noise-free slice."""
    options = {"size": 200, "pixel_spacing": 1.1, "slices": 12, "hematoma": None}
    volume, _, _ = full_phantom(noise_hu=6.0, **options)
    volume = replace(volume, provenance=ACQUIRED * 12)
    truth, _, _ = full_phantom(noise_hu=0.0, **options)
    plain = interpolate(volume, uncertainty=True)
    assert np.all(plain.uncertainty.array[::2] == 0)
    assert np.all(plain.uncertainty.array[1::2].mean(axis=(1, 2)) > 0)
    assert sum(remark.startswith("Error SD: ") for remark in plain.remarks) == 1
    for strength in (0.5, 1.0):
        made = interpolate(volume, output_mode="denoised", strength=strength, uncertainty=True)
        assert made.volume.provenance == "A" + "SD" * 10 + "SA"
        np.testing.assert_array_equal(made.uncertainty.array[1::2], plain.uncertainty.array[1::2])
        assert not made.uncertainty.array[[0, -1]].any()
        ratios, shares = [], []
        for number in range(3, 9):
            sd, error = (
                one.array[2 * number].astype(float) - zero
                for one, zero in ((made.uncertainty, 0), (made.volume, truth.array[number]))
            )
            tissue = tissue_mask(truth.array[number].astype(np.float32), volume.pixel_spacing, True)
            assert sd[tissue].min() > 0.3
            ratios.append(np.sqrt(np.mean((error[tissue] / sd[tissue]) ** 2)))
            shares.append(np.mean(np.abs(error[tissue]) < 2 * sd[tissue]))
        assert 0.65 < np.median(ratios) < 1.2
        assert np.mean(shares) > 0.9


def test_the_error_of_made_slices_is_not_known(phantom_volume):
    made = interpolate(phantom_volume, method="linear").volume
    again = interpolate(made, uncertainty=True, force=True)
    assert any("0 is written for slices that an earlier run made" in remark for remark in again.remarks)
    assert any("too few acquired slices to check it" in remark for remark in again.remarks)
    first = interpolate(phantom_volume, uncertainty=True)
    assert not any("earlier run" in remark for remark in first.remarks)


def test_calibration_holds_on_an_unseen_head(scans):
    """Every second slice of a thin head as the truth: the SD as predicted is far too large there."""
    volume = read_file(scans / "head_crane_ge_soft_1mm.nii.gz")
    whole = replace(volume, array=volume.array[40:72], provenance=ACQUIRED * 32)
    given = replace(
        whole, array=whole.array[::2], spacing=(*volume.spacing[:2], 2.0), provenance=ACQUIRED * 16
    )
    errors = standardized_errors(SliceStack.of(whole), create(), [5, 11, 15, 21, 25])
    factor = calibrate(SliceStack.of(given), given.provenance, create(), find_model()).factor
    assert typical_size(errors) < 0.75
    assert typical_size(errors) / factor == pytest.approx(1.0, abs=0.2)
    one, two = coverage(errors, factor)
    assert 0.6 < one < 0.85
    assert 0.9 < two < 0.98
