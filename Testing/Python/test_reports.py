"""Metrics, masks and noise analysis, against libraries and known truths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import gaussian_filter, sobel
from skimage.metrics import structural_similarity

from SliceInterpolationLib import InputError, interpolate
from SliceInterpolationLib.files import Outputs
from SliceInterpolationLib.reports import masks
from SliceInterpolationLib.reports.masks import body_mask, intracranial_mask
from SliceInterpolationLib.reports.metrics import SliceTruth, noise_sd, psnr, ssim_map, windowed
from SliceInterpolationLib.reports.noise import (
    analyze_noise,
    noise_before_and_after,
    write_noise_report,
)


def test_ssim_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    x = gaussian_filter(rng.random((60, 50)), 1)
    y = np.clip(x + 0.05 * rng.standard_normal(x.shape), 0, 1)
    _, theirs = structural_similarity(
        x, y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    np.testing.assert_allclose(ssim_map(x, y), theirs[5:-5, 5:-5], atol=1e-10)


def test_psnr_by_hand():
    assert psnr(np.full((4, 4), 0.1), np.zeros((4, 4))) == pytest.approx(20.0)
    assert psnr(np.ones((4, 4)), np.ones((4, 4))) == float("inf")


def test_perfect_and_shifted_predictions(phantom):
    truth = SliceTruth(phantom.image[12], (1.8, 1.8))
    perfect = truth.score(phantom.image[12])
    assert perfect["psnr_brain"] == float("inf")
    assert perfect["ssim_brain"] == pytest.approx(1.0)
    assert perfect["noise_ratio"] == pytest.approx(1.0)
    shifted = truth.score(phantom.image[12] + 5.0)
    assert shifted["mae_hu"] == pytest.approx(5.0)
    assert shifted["lesion_hu"] == pytest.approx(5.0, abs=0.1)


def test_fast_figures_equal_the_plain_ones(phantom):
    """Figures are computed only where slices differ; the values are those of the whole slices."""
    pixel = (1.8, 1.8)
    for shift in (0, 9):  # the second touches the border of the slice
        truth = np.roll(phantom.image[12].astype(np.float64), shift, axis=0)
        prediction = np.roll(phantom.image[13].astype(np.float64), shift, axis=0)
        got = SliceTruth(truth, pixel).score(prediction)
        x, y = windowed(prediction), windowed(truth)
        _, similarity = structural_similarity(
            x, y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        edges = [np.hypot(sobel(image, 0), sobel(image, 1))[1:-1, 1:-1] for image in (x, y)]
        brain = intracranial_mask(truth, pixel)
        smooth = gaussian_filter(prediction - truth, 3.0 / 2.355 / 1.8)
        high = [(image - gaussian_filter(image, 3.0))[brain] for image in (prediction, truth)]
        noise = [np.median(np.abs(one - np.median(one))) for one in high]
        assert got["ssim_brain"] == pytest.approx(similarity[5:-5, 5:-5].mean(), abs=1e-9)
        assert got["edge"] == pytest.approx(np.abs(edges[0] - edges[1]).mean(), abs=1e-9)
        assert got["lesion_hu"] == pytest.approx(np.abs(smooth[brain]).max(), abs=1e-9)
        assert got["noise_ratio"] == pytest.approx(noise[0] / noise[1], abs=1e-9)


def test_masks_are_those_of_whole_slices():
    """Holes are filled and the skull is closed as SciPy does it on the whole slice."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        blobs = gaussian_filter(rng.normal(size=(70, 90)), 4) > 0.01
        np.testing.assert_array_equal(masks._filled(blobs), ndimage.binary_fill_holes(blobs), str(seed))
    y, x = np.mgrid[:120, :150]
    radius = np.hypot(x - 70, y - 50)
    hu = np.where(radius < 45, 40.0, -1000.0)
    hu[(radius > 35) & (radius < 40)] = 900.0
    hu[48:51, 100:112] = 40.0  # a suture
    inside = intracranial_mask(hu, (1.0, 1.0))
    expected = radius < 35 - 4 * 1.5
    assert inside[expected].all()
    assert not inside[radius > 35].any()
    moved = intracranial_mask(hu[4:, 24:], (1.0, 1.0))  # bone touches the border
    np.testing.assert_array_equal(moved, inside[4:, 24:])


def test_a_deleted_lesion_is_seen(phantom):
    k = int(np.argmax(phantom.mask.sum(axis=(1, 2))))
    truth = SliceTruth(phantom.image[k], (1.8, 1.8))
    erased = phantom.image[k].astype(float)
    erased[phantom.mask[k] > 0] -= 30
    assert truth.score(erased)["lesion_hu"] == pytest.approx(30, abs=2)


def test_masks_find_body_and_brain(phantom):
    image = phantom.image[13]
    body, brain = body_mask(image), intracranial_mask(image, (1.8, 1.8))
    assert body[64, 64]
    assert not body[2, 2]
    values = image[brain]
    assert brain.sum() > 0.25 * body.sum()
    assert values.min() > -100
    assert values.max() < 150
    assert not (brain & ~body).any()
    assert not intracranial_mask(np.full((64, 64), -1000.0), (1, 1)).any()


def test_noise_sd_ignores_edges():
    rng = np.random.default_rng(0)
    image = rng.normal(40, 5, (200, 200))
    image[:, 100:] += 30
    assert noise_sd(image, np.ones(image.shape, bool)) == pytest.approx(5, rel=0.05)


def test_noise_maps_find_a_blob(phantom_volume, tmp_path):
    array = phantom_volume.array.copy()
    array[12, 58:66, 70:78] += 60  # only on one slice: nobody else can predict it
    volume = replace(phantom_volume, array=array)
    plain, report = (analyze_noise(v, method="flow") for v in (phantom_volume, volume))
    assert report.residual.array[12, 60:64, 72:76].mean() > 40
    assert report.residual.array[[0, -1]].max() == 0
    assert report.blobs > plain.blobs
    assert len(report.rows) == volume.slice_count - 2
    with Outputs() as outputs:
        text = write_noise_report(volume, report, tmp_path / "noise", outputs, noise_before_and_after(volume))
    paths = outputs.paths
    assert {path.name for path in paths} == {
        "residual.nrrd", "noise-sd.nrrd", "noise.csv", "noise.json", "noise.png", "before-and-after.csv",
    }  # fmt: skip
    assert all(path.stat().st_size > 500 for path in paths)
    assert "Noise SD" in text


def test_noise_of_made_slices_is_not_analyzed(phantom_volume):
    made = interpolate(phantom_volume, method="linear").volume
    with pytest.raises(InputError, match="23 synthesized are here; choose the original scan"):
        analyze_noise(made, method="linear")


def test_noise_maps_say_that_they_bridge_twice_the_gap(phantom_volume):
    far = replace(phantom_volume, spacing=(1.8, 1.8, 6.0), array=phantom_volume.array[:4], provenance="AAAA")
    assert any("bridges slices 12 mm apart, outside of the range" in r for r in analyze_noise(far).remarks)
    near = replace(far, spacing=(1.8, 1.8, 5.0))
    assert not any("outside" in remark for remark in analyze_noise(near).remarks)
