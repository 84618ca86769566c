"""The synthetic head: true volumes, one head for all grids, honest noise, plausible HU."""

from __future__ import annotations

import numpy as np
import pytest

from SliceInterpolationLib.phantom import Hematoma, head_phantom
from SliceInterpolationLib.phantom.anatomy import anatomy
from SliceInterpolationLib.phantom.head import BOTTOM_MM
from SliceInterpolationLib.phantom.hematoma import StarBody

SMALL = {"size": 144, "pixel_spacing": 1.6}
DEEP = Hematoma(6.0, center_mm=(0.0, 0.0, 20.0), hu=70.0)


def at(head, x, y, z, radius_mm=2.0):
    """Median HU of the pixels within ``radius_mm`` of a world point, in its slice."""
    dx, dy, dz = head.spacing
    k = round((z - head.origin[2]) / dz)
    rows = head.origin[1] + dy * np.arange(head.image.shape[1])
    columns = head.origin[0] + dx * np.arange(head.image.shape[2])
    near = np.hypot(rows[:, None] - y, columns[None, :] - x) <= radius_mm
    return float(np.median(head.image[k][near]))


@pytest.fixture(scope="module")
def plain():
    """No hematoma, no noise."""
    return head_phantom(**SMALL, hematoma=None, noise_hu=0)


@pytest.fixture(scope="module")
def noise():
    """Noise alone: the same brain with and without it, from within the skull, so that nothing is clipped."""
    grid = {"size": 150, "pixel_spacing": 0.5, "slices": 8, "first_slice_mm": 20.0, "slice_spacing": 2.0}
    with_noise = head_phantom(**grid, noise_hu=4.0, seed=3)
    return with_noise.image.astype(float) - head_phantom(**grid, noise_hu=0).image


@pytest.mark.parametrize("shape", ["irregular", "ellipsoid"])
@pytest.mark.parametrize("volume_ml", [0.7, 12.0, 65.0])
def test_true_volume_is_the_volume_of_the_body(shape, volume_ml):
    body = StarBody.of(Hematoma(volume_ml, shape, (0.3, -0.2, 0.1), seed=5))
    axis = np.linspace(-body.reach - 0.5, body.reach + 0.5, 130)
    inside = body.level(axis[None, None, :], axis[None, :, None], axis[:, None, None]) < 0
    assert not any(np.take(inside, [0, -1], axis=i).any() for i in range(3))
    sampled = inside.sum() * (axis[1] - axis[0]) ** 3 / 1000
    assert sampled == pytest.approx(volume_ml, rel=5e-3)


def test_irregular_is_star_convex_and_not_an_ellipsoid():
    ellipsoid = StarBody.of(Hematoma(shape="ellipsoid"))
    assert np.ptp(np.linalg.norm((ellipsoid.surface - ellipsoid.center) @ ellipsoid.to_star.T, axis=1)) < 1e-9
    for seed in range(30):
        body = StarBody.of(Hematoma(seed=seed))
        radii = np.linalg.norm((body.surface - body.center) @ body.to_star.T, axis=1) / body.r0
        assert 0.3 < radii.min() < 0.9
        assert 1.1 < radii.max() < 1.7


def test_mask_counts_the_true_volume_on_a_fine_grid():
    fine = head_phantom(
        90,
        0.5,
        slices=80,
        slice_spacing=0.5,
        slice_thickness=0.5,
        first_slice_mm=0,
        hematoma=DEEP,
        noise_hu=0,
    )
    assert fine.hematoma_ml == 6.0
    assert not fine.mask[[0, -1]].any()
    assert fine.mask.sum() * np.prod(fine.spacing) / 1000 == pytest.approx(6.0, rel=5e-3)
    center = [o + 0.5 * n.mean() for o, n in zip(fine.origin, np.nonzero(fine.mask)[::-1])]
    assert center == pytest.approx(DEEP.center_mm, abs=2)
    assert np.median(fine.image[fine.mask > 0]) == DEEP.hu


def test_mask_needs_half_of_a_thick_voxel():
    thick = head_phantom(48, 0.9, slices=8, first_slice_mm=2.5, hematoma=DEEP, noise_hu=0)
    sub = (np.arange(5) - 2) / 5 * 0.9
    fine = ((np.arange(48)[:, None] - 23.5) * 0.9 + sub).ravel()
    body = StarBody.of(DEEP)
    share = np.zeros((8, 48, 48))
    for k in range(8):
        for z in 2.5 + 5 * k + (np.arange(20) - 9.5) / 4:
            inside = body.level(fine[None, :], fine[:, None], np.float64(z)) < 0
            share[k] += inside.reshape(48, 5, 48, 5).mean(axis=(1, 3)) / 20
    np.testing.assert_array_equal(thick.mask[share > 0.54], 1)
    np.testing.assert_array_equal(thick.mask[share < 0.46], 0)
    assert 0.5 * (share > 0).sum() < thick.mask.sum() < 0.9 * (share > 0).sum()


def test_thin_slices_average_to_thick_ones():
    thick = head_phantom(**SMALL, slices=10, first_slice_mm=-30, noise_hu=0)
    thin = head_phantom(
        **SMALL, slices=50, slice_spacing=1, slice_thickness=1, first_slice_mm=-32, noise_hu=0
    )
    mean = thin.image.reshape(10, 5, *thin.image.shape[1:]).mean(axis=1)
    assert np.abs(mean - thick.image).max() <= 1.0

    finer = head_phantom(
        **SMALL,
        slices=100,
        slice_spacing=0.5,
        slice_thickness=0.5,
        first_slice_mm=-32.25,
        subslice_mm=0.5,
        noise_hu=0,
    )
    difference = np.abs(finer.image.reshape(10, 10, *finer.image.shape[1:]).mean(axis=1) - thick.image)
    brain = (thick.image > 0) & (thick.image < 80)
    assert difference[brain].mean() < 0.5
    assert np.quantile(difference, 0.99) < 15


def test_spacing_does_not_move_the_head(plain):
    finer = head_phantom(
        **SMALL, hematoma=None, noise_hu=0, slices=21, slice_spacing=2.5, first_slice_mm=plain.origin[2]
    )
    np.testing.assert_array_equal(finer.image[::2], plain.image[:11])
    assert np.abs(finer.image[1::2].astype(int) - plain.image[:10]).max() > 500  # the base changes quickly
    default = head_phantom(**SMALL, hematoma=None, noise_hu=0, slices=2, slice_spacing=2.5)
    assert default.origin[2] - 1.25 == plain.origin[2] - 2.5 == BOTTOM_MM


def test_grid_is_as_asked(plain):
    assert plain.image.shape == plain.mask.shape == (30, 144, 144)
    assert plain.image.dtype == np.int16
    assert plain.mask.dtype == np.uint8
    assert plain.spacing == (1.6, 1.6, 5.0)
    assert plain.origin == pytest.approx((-114.4, -114.4, -63.5))
    assert plain.slice_thickness == 5.0
    assert plain.hematoma_ml == 0
    assert not plain.mask.any()


def test_named_places_have_their_hu(plain):
    image = plain.image
    assert image.min() >= -1024
    assert image[:, 0].max() < -950  # air in front of the nose
    assert image.max() > 1100
    assert at(plain, 19, 30, 11) == pytest.approx(8, abs=5)  # atrium of the left lateral ventricle
    assert at(plain, 24, 0, 36) == pytest.approx(29, abs=4)  # centrum semiovale
    assert at(plain, 25, 40, -40) == pytest.approx(34, abs=5)  # cerebellum
    assert at(plain, 2, -26, -44, 4) < -800  # sphenoid sinus
    # From the brain to the left: cortical bone, then fat of the scalp, then air.
    k = round((25 - plain.origin[2]) / 5)
    ray = image[k, 78, 72:]
    bone = np.flatnonzero(ray > 700)
    assert 2 <= bone.size <= 8
    assert ray[: bone[0] - 3].max() < 80
    assert -150 < ray[bone[-1] + 1 :].max() < 700
    assert ray[-1] == -1000


def test_brain_is_gray_and_white_and_wet(plain):
    k = round((30 - plain.origin[2]) / 5)
    brain = plain.image[k, 45:100, 50:95]
    assert 0.2 < np.mean((brain > 26) & (brain < 32)) < 0.9
    assert 0.1 < np.mean((brain > 34) & (brain < 45)) < 0.8
    assert np.mean(brain < 24) > 0.005


def test_head_tapers_toward_the_vertex(plain):
    area = (plain.image > -500).sum(axis=(1, 2))
    assert (np.diff(area[15:]) < 0).all()
    assert area[-1] < 0.5 * area[15]


def test_noise_has_the_asked_sd(noise):
    center = noise[:, 40:110, 40:110]
    assert center.std() == pytest.approx(4.0 * 1.06, rel=0.06)
    assert abs(center.mean()) < 0.1
    thin = {
        "size": 150,
        "pixel_spacing": 0.5,
        "slices": 4,
        "first_slice_mm": 20.0,
        "slice_thickness": 1.25,
        "slice_spacing": 2.0,
    }
    thin_noise = (
        head_phantom(**thin, noise_hu=4.0).image.astype(float) - head_phantom(**thin, noise_hu=0).image
    )
    assert thin_noise[:, 40:110, 40:110].std() == pytest.approx(2 * center.std(), rel=0.06)


def test_noise_spectrum_is_that_of_ct(noise):
    power = (np.abs(np.fft.fft2(noise - noise.mean(axis=(1, 2), keepdims=True))) ** 2).mean(axis=0)
    f = np.fft.fftfreq(150, 0.5)
    radial = np.hypot(f[:, None], f[None, :])
    edges = np.arange(0, 0.9, 0.05)
    profile = np.array([power[(radial >= a) & (radial < a + 0.05)].mean() for a in edges])
    peak = edges[profile.argmax()] + 0.025
    assert peak == pytest.approx(0.25, abs=0.06)
    assert profile[0] < 0.3 * profile.max()
    assert profile[-1] < 0.05 * profile.max()


def test_noise_is_correlated_in_plane_only(noise):
    in_plane = np.corrcoef(noise[:, :, :-1].ravel(), noise[:, :, 1:].ravel())[0, 1]
    through_plane = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
    assert in_plane > 0.4
    assert abs(through_plane) < 0.03


def test_deterministic_and_seeded():
    grid = {"size": 96, "pixel_spacing": 2.4, "slices": 4, "first_slice_mm": 0.0}
    first = head_phantom(**grid)
    anatomy.cache_clear()
    again = head_phantom(**grid)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    other_noise = head_phantom(**grid, seed=1)
    assert (other_noise.image != first.image).mean() > 0.5
    np.testing.assert_array_equal(other_noise.mask, first.mask)
    quiet = head_phantom(**grid, noise_hu=0).image.astype(int)
    other_head = head_phantom(**grid, noise_hu=0, anatomy_seed=1).image
    assert np.abs(other_head - quiet).mean() > 5


def test_refuses_what_it_cannot_make():
    with pytest.raises(ValueError, match="volume_ml"):
        Hematoma(volume_ml=0)
    with pytest.raises(ValueError, match="shape"):
        Hematoma(shape="round")
    with pytest.raises(ValueError, match="positive"):
        head_phantom(size=0)
    with pytest.raises(ValueError, match="noise_hu"):
        head_phantom(size=16, noise_hu=-1)
    with pytest.raises(ValueError, match="reaches beyond"):
        head_phantom(size=16, slices=1, hematoma=Hematoma(center_mm=(-60, 0, 10)))
