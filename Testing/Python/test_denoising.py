"""Denoising: noise goes evenly, what one slice shows stays, a slice that its neighbors do not explain is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate, shift

from SliceInterpolationLib import InputError, interpolate
from SliceInterpolationLib.catalogue import find_model
from SliceInterpolationLib.denoising import smoothed_noise, structure_gain
from SliceInterpolationLib.files import read_file
from SliceInterpolationLib.interpolators import create
from SliceInterpolationLib.phantom import phantom_volume as full_phantom
from SliceInterpolationLib.phantom.noise import ScanNoise
from SliceInterpolationLib.reports.masks import tissue_mask
from SliceInterpolationLib.reports.noise import noise_alternation, noise_by_slice
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.volume import ACQUIRED, DENOISED, SYNTHESIZED

SIZE, PIXEL = 256, 0.7


@pytest.fixture(scope="module")
def head():
    """A phantom without hematoma on a fine grid, with CT noise."""
    volume, _, _ = full_phantom(size=256, pixel_spacing=0.9, slices=9, hematoma=None, noise_hu=4.0)
    return replace(volume, provenance=ACQUIRED * volume.slice_count)


def noise_of(kind: str, sd: float = 5.0, seed: int = 0) -> np.ndarray:
    if kind == "ct":
        return ScanNoise(SIZE, PIXEL, sd, seed).slice().astype(np.float64)
    return np.random.default_rng(seed).normal(0, sd, (SIZE, SIZE))


def gain_of(acquired, residual, tissue=None):
    tissue = np.ones(acquired.shape, bool) if tissue is None else tissue
    pixel = (PIXEL, PIXEL)
    return structure_gain(residual, smoothed_noise(acquired, residual, tissue, pixel), pixel)


def anatomy() -> np.ndarray:
    """Gray and white matter: 25 and 35 HU in patches of some millimeters."""
    patches = gaussian_filter(np.random.default_rng(9).normal(size=(SIZE, SIZE)), 6)
    return np.where(patches > 0, 35.0, 25.0)


@pytest.mark.parametrize("kind", ["ct", "white"])
@pytest.mark.parametrize("seed", range(3))
def test_pure_noise_goes_evenly(kind, seed):
    """Nothing of it survives in patches, whatever its spectrum."""
    noise = noise_of(kind, seed=seed)
    residual = noise - 0.4 * noise_of(kind, seed=seed + 100)  # the prediction is not free of noise either
    gain = gain_of(anatomy() + noise, residual)
    assert (gain > 0.1).mean() < 0.015
    assert np.var(gain * residual) < 0.005 * np.var(residual)


@pytest.mark.parametrize("kind", ["ct", "white"])
def test_noise_level_is_that_of_the_slice(kind):
    """Anatomy does not raise it much, and a residual full of structure does not raise it at all."""
    noise, pixel, tissue = noise_of(kind), (PIXEL, PIXEL), np.ones((SIZE, SIZE), bool)
    true = gaussian_filter(noise, 3 / 2.355 / PIXEL).std()
    alone = smoothed_noise(noise, 100 * noise_of("white"), tissue, pixel)
    assert true * 0.95 < alone < true * (1.1 if kind == "white" else 2.0)
    assert smoothed_noise(anatomy() + noise, 100 * noise_of("white"), tissue, pixel) < 2 * alone
    assert smoothed_noise(anatomy() + noise, noise, tissue, pixel) == pytest.approx(true, rel=0.1)


@pytest.mark.parametrize(
    ("diameter", "hu", "least"), [(10, 10, 0.9), (6, 15, 0.9), (4, 20, 0.9), (2, 60, 0.9)]
)
def test_what_only_one_slice_shows_survives(diameter, hu, least):
    noise = noise_of("ct", 4.0)
    y, x = np.indices(noise.shape)
    lesion = (np.hypot(y - 100, x - 120) * PIXEL <= diameter / 2) * float(hu)
    acquired = anatomy() + noise + lesion
    gain, without = gain_of(acquired, noise + lesion), gain_of(anatomy() + noise, noise)
    kept = gain * (noise + lesion) - without * noise
    assert kept[lesion > 0].mean() > least * hu


def test_a_residual_that_is_structure_throughout_is_kept():
    """Where the slice differs as a whole the residual must not set its own noise level."""
    noise, other = noise_of("ct", 4.0), 20 * gaussian_filter(noise_of("white", seed=5), 5)
    gain = gain_of(anatomy() + noise, noise + other)
    assert np.median(gain) == 1
    assert np.var((1 - gain) * other) < 0.05 * np.var(other)


def test_a_slice_without_tissue_stays():
    """Noise cannot be told from anything there."""
    volume, _, _ = full_phantom(size=64, pixel_spacing=3.6, slices=7)
    volume.array[2:5] = -1000
    result = interpolate(
        replace(volume, provenance=ACQUIRED * 7), method="linear", output_mode="denoise-only", force=True
    )
    assert result.volume.provenance[3] == ACQUIRED
    np.testing.assert_array_equal(result.volume.array[2:5], -1000)


@pytest.mark.parametrize("move", ["shift", "turn", "artifact"])
def test_a_slice_that_its_neighbors_do_not_explain_is_kept(head, move):
    slice_ = head.array[4].astype(float)
    if move == "shift":
        slice_ = shift(slice_, (6, 6), order=1, mode="nearest")
    elif move == "turn":
        slice_ = rotate(slice_, 8, reshape=False, order=1, mode="nearest")
    else:
        slice_ += 80 * np.cos(np.arange(slice_.shape[1]) / 6.0) * (slice_ > -500)
    array = head.array.copy()
    array[4] = np.rint(slice_)
    result = interpolate(replace(head, array=array), method="flow", output_mode="denoise-only", strength=1.0)
    assert result.volume.provenance == "ADDDADDDA"
    np.testing.assert_array_equal(result.volume.array[4], array[4])
    (remark,) = [remark for remark in result.remarks if "kept as acquired" in remark]
    assert remark.startswith("Slice 5 is kept as acquired")


def test_ordinary_slices_are_explained(head):
    result = interpolate(head, method="flow", output_mode="denoised")
    assert result.volume.provenance == "ASDSDSDSDSDSDSDSA"
    assert not [remark for remark in result.remarks if "kept" in remark]


def test_a_synthesized_slice_does_not_become_a_denoised_measurement(head):
    made = interpolate(replace(head, array=head.array[:5], provenance=ACQUIRED * 5), method="linear").volume
    again = interpolate(made, method="linear", output_mode="denoise-only", force=True).volume
    assert again.provenance == "ASDSDSDSA"
    assert (SYNTHESIZED, DENOISED) == ("S", "D")


def test_denoising_says_that_it_bridges_twice_the_gap(head):
    """Slices within the trained range, but a denoised one is predicted from further away than that."""
    high = find_model().gap_mm[1]
    volume = replace(head, spacing=(0.9, 0.9, 0.7 * high), array=head.array[:4], provenance=ACQUIRED * 4)
    assert not any("outside of" in remark for remark in interpolate(volume).remarks)
    for mode in ("denoised", "denoise-only"):
        remarks = interpolate(volume, output_mode=mode).remarks
        assert any(
            "denoising bridges slices 14 mm apart, outside of the range" in remark for remark in remarks
        )
    far = replace(volume, spacing=(0.9, 0.9, 0.8 * high))
    with pytest.raises(InputError, match="Denoising bridges slices 16 mm apart"):
        interpolate(far, output_mode="denoise-only")
    interpolate(far)


def test_real_noise_goes_and_real_slices_are_explained(scans):
    """An unseen head: almost all of the noise that the prediction lacks goes, all over the brain."""
    volume = read_file(scans / "head_crane_ge_soft_1mm.nii.gz")
    volume = replace(volume, array=volume.array[58:64], provenance=ACQUIRED * 6)
    result = interpolate(volume, output_mode="denoise-only", strength=1.0)
    assert result.volume.provenance == "ADDDDA"
    stack = SliceStack.of(volume)
    tissue = tissue_mask(stack.image(2), stack.pixel, True)
    (predicted,) = create().predict_withheld(stack, [2])
    left = (result.volume.array[2] - predicted)[tissue]
    assert np.mean(np.abs(left) > 0.6) < 0.1  # rounding alone leaves up to half a HU


def test_denoised_mode_evens_the_noise_out():
    """On a fine grid, where noise is noise: less alternation than interpolated, less noise than acquired."""
    volume, _, _ = full_phantom(size=200, pixel_spacing=1.15, slices=14, noise_hu=6.0)
    interpolated = interpolate(volume).volume
    denoised = interpolate(volume, output_mode="denoised").volume
    assert noise_alternation(noise_by_slice(volume)) < 0.05
    assert noise_alternation(noise_by_slice(interpolated)) > 0.15
    assert noise_alternation(noise_by_slice(denoised)) < 0.6 * noise_alternation(noise_by_slice(interpolated))


def test_strength_goes_from_nothing_to_everything(phantom_volume):
    acquired = phantom_volume.slices.astype(float)
    none, half, full = (
        interpolate(phantom_volume, output_mode="denoise-only", strength=s).volume.slices.astype(float)
        for s in (0.0, 0.5, 1.0)
    )
    np.testing.assert_array_equal(none, acquired)
    np.testing.assert_allclose(half - acquired, 0.5 * (full - acquired), atol=1.01)
    np.testing.assert_array_equal(full[[0, -1]], acquired[[0, -1]])
    assert np.abs(full - acquired)[1:-1].mean() > 0.3


def test_denoising_keeps_a_small_bleed(head):
    """On a single slice, at full strength, within the whole run."""
    array = head.array.copy()
    array[4, 120:132, 100:112] += 35
    made = interpolate(replace(head, array=array), output_mode="denoise-only", strength=1.0).volume
    gone = interpolate(head, output_mode="denoise-only", strength=1.0).volume
    kept = made.array[4, 122:130, 102:110].mean() - gone.array[4, 122:130, 102:110].mean()
    assert made.provenance[4] == DENOISED
    assert kept > 0.9 * 35
