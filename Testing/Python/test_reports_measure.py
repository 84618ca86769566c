"""Segments measured: volume, surface, ABC/2, HU and what is carried over, against known bodies in any grid."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from SliceInterpolationLib import InputError, Volume, interpolate, write_volume
from SliceInterpolationLib.reports.measure import (
    abc2,
    measure,
    measure_segment,
    measure_surface,
    read_segmentation,
    threshold_near,
)
from SliceInterpolationLib.reports.pictures import compare_picture
from SliceInterpolationLib.reports.shape import carry_over

RADIUS = 15.0
BALL_ML = 4 / 3 * np.pi * RADIUS**3 / 1000
BALL_MM2 = 4 * np.pi * RADIUS**2


def tilted(degrees: float) -> np.ndarray:
    """The direction of a stack whose slices a gantry tilted about i, while the table moved along k."""
    turn = np.deg2rad(degrees)
    return np.array([[1, 0, 0], [0, np.cos(turn), 0], [0, np.sin(turn), 1.0]])


def grid(spacing: tuple[float, float, float], mask: np.ndarray, direction=None, axis: str = "k") -> Volume:
    """A volume of noise around a segment of 60 HU, both (k, j, i)."""
    noise = np.random.default_rng(0).normal(np.where(mask, 60, 20), 2)
    direction = np.eye(3) if direction is None else direction
    return Volume(noise.astype(np.int16), spacing, direction=direction, slice_axis=axis, units="HU")


def ball(
    spacing: tuple[float, float, float], shape: tuple[int, int, int], direction=None, axis: str = "k"
) -> tuple[Volume, np.ndarray]:
    """A ball in the middle of a grid, sheared or not: the volume and the mask as (slices, rows, columns)."""
    empty = grid(spacing, np.zeros(shape, bool), direction, axis)
    k, j, i = np.indices(shape)
    places = np.stack([i, j, k], -1) @ empty.affine[:3, :3].T
    middle = empty.affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    mask = np.linalg.norm(places - middle, axis=-1) < RADIUS
    volume = grid(spacing, mask, direction, axis)
    return volume, volume.as_slices(mask)


@pytest.mark.parametrize("axis", ["k", "j", "i"])
@pytest.mark.parametrize("degrees", [0, 12, 25, -30])
def test_measures_of_a_ball(degrees, axis):
    """Also under gantry tilt, and where the tilted stack is cut along another axis."""
    volume, mask = ball((0.5, 0.5, 1.0), (60, 90, 80), tilted(degrees), axis)
    assert volume.is_sheared == (degrees != 0)
    figures = measure_segment(volume, mask)
    assert figures["volume_ml"] == pytest.approx(BALL_ML, rel=0.01)
    assert figures["surface_volume_ml"] == pytest.approx(BALL_ML, rel=0.02)
    assert figures["surface_area_mm2"] == pytest.approx(BALL_MM2, rel=0.015)
    assert figures["mean_hu"] == pytest.approx(60, abs=0.6)
    assert figures["a_mm"] == pytest.approx(2 * RADIUS, abs=1.0)
    assert figures["b_mm"] == pytest.approx(2 * RADIUS, abs=1.0)
    # Of a ball the slices with 75% of the largest area count whole, those down to 25% half: 68.3% of the height.
    assert figures["c_mm"] == pytest.approx(0.683 * 2 * RADIUS, abs=1.0)
    assert figures["abc2_ml"] == pytest.approx(0.652 * BALL_ML, rel=0.06)


def test_a_leaning_box_has_the_area_of_its_faces():
    """Smoothing rounds the edges of a box; of a leaning one as much as of an upright one."""
    mask = np.zeros((30, 60, 70), bool)
    mask[8:20, 10:50, 10:60] = True
    shares = []
    for degrees in (0, 30):
        volume = grid((1.0, 1.0, 3.0), mask, tilted(degrees))
        surface = measure_surface(volume, mask)
        edges = volume.steps.T * np.array([[12], [40], [50]])
        faces = 2 * sum(np.linalg.norm(np.cross(a, b)) for a, b in zip(edges, np.roll(edges, 1, axis=0)))
        shares.append(surface["surface_area_mm2"] / faces)
        inside = abs(np.linalg.det(edges)) / 1000
        assert surface["surface_volume_ml"] == pytest.approx(inside, rel=0.01)
    assert shares[0] == pytest.approx(shares[1], rel=0.01)


@pytest.mark.parametrize("shape", [(3, 12, 16), (1, 12, 16), (3, 1, 1)])
def test_a_segment_that_fills_the_volume(shape):
    mask = np.ones(shape, bool)
    figures = measure_segment(grid((0.5, 1.0, 4.0), mask), mask)
    millimeters = shape[0] * 4.0, shape[1] * 1.0, shape[2] * 0.5
    assert figures["volume_ml"] == pytest.approx(np.prod(millimeters) / 1000)
    if min(shape[1:]) > 1:  # a surface cuts the corners off
        assert figures["surface_volume_ml"] == pytest.approx(np.prod(millimeters) / 1000, rel=0.1)
    assert figures["surface_area_mm2"] > 0
    assert figures["c_mm"] == millimeters[0]
    assert figures["a_mm"] == pytest.approx(np.hypot(*millimeters[1:]), abs=1.0)


def test_a_segment_at_the_border_is_closed_there():
    inside, outside = np.zeros((12, 30, 30), bool), np.zeros((12, 30, 30), bool)
    inside[4:8, 10:20, 10:20] = True
    outside[:4, :10, 20:] = True
    one, other = (measure_segment(grid((1.0, 1.0, 3.0), mask), mask) for mask in (inside, outside))
    for key in ("volume_ml", "surface_volume_ml", "surface_area_mm2", "a_mm", "b_mm", "c_mm"):
        assert one[key] == pytest.approx(other[key]), key


def test_abc2_weights_slices_by_area():
    mask = np.zeros((5, 40, 60), bool)
    for k, width in enumerate((8, 20, 40, 28, 40)):  # of 40: 20%, 50%, 100%, 70%, 100%
        mask[k, 10:20, 5 : 5 + width] = True
    a, b, c = abc2(grid((1.0, 1.0, 4.0), mask), mask)
    assert c == pytest.approx(4.0 * (0.5 + 1 + 0.5 + 1))
    assert a == pytest.approx(np.hypot(9, 39) + 1, abs=0.2)
    assert b < a


# Carried over


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_carried_segment_keeps_its_volume(factor):
    """Over random positions of the slices the carried volume of a sphere is unbiased."""
    errors = []
    for offset in np.linspace(-2.4, 2.4, 9):
        z = (np.arange(14) - 6.5) * 5.0 + offset
        y, x = np.meshgrid(np.arange(-40, 40.0), np.arange(-40, 40.0), indexing="ij")
        mask = z[:, None, None] ** 2 + (y**2 + x**2)[None] < 18.0**2
        carried = carry_over(mask, (1.0, 1.0), factor)
        np.testing.assert_array_equal(carried[::factor], mask)
        errors.append(carried.sum() * 5.0 / factor / (4 / 3 * np.pi * 18**3) - 1)
    assert abs(np.mean(errors)) < 0.03
    assert np.abs(errors).max() < 0.08


def test_empty_segment_is_carried_empty():
    assert not carry_over(np.zeros((3, 8, 8), bool), (1, 1), 2).any()


@pytest.mark.parametrize("factor", [2, 3])
def test_slices_that_are_full_are_carried(factor):
    """A segment that fills its slices stays full between them, and ends halfway to a slice that it half fills."""
    mask = np.ones((4, 20, 24), bool)
    assert carry_over(mask, (1.0, 1.0), factor).all()
    mask[2, :, 12:] = False
    mask[3] = False
    carried = carry_over(mask, (1.0, 1.0), factor)
    np.testing.assert_array_equal(carried[::factor], mask)
    assert carried[1].all()
    between = carried[factor + 1, 10]
    assert between[:12].all()
    assert not between.all()


def test_factor_1_changes_nothing():
    mask = np.random.default_rng(0).random((4, 12, 12)) > 0.5
    np.testing.assert_array_equal(carry_over(mask, (1, 1), 1), mask)


@pytest.mark.parametrize(
    ("mask", "factor", "words"),
    [
        (np.array([[[0, 1, 2]]] * 3), 2, "one segment"),
        (np.ones((3, 4), bool), 2, "one segment"),
        (np.ones((3, 4, 4), bool), 0, "whole number"),
        (np.ones((3, 4, 4), bool), 1.5, "whole number"),
    ],
)
def test_what_cannot_be_carried_is_refused(mask, factor, words):
    """Several labels at once would melt into one segment without a word."""
    with pytest.raises(ValueError, match=words):
        carry_over(mask, (1, 1), factor)


def test_labels_that_touch_stay_apart():
    labels = np.zeros((5, 40, 40), np.int16)
    labels[1:4, 5:20, 10:30], labels[1:4, 20:35, 10:30] = 3, 7
    volume = grid((1.0, 1.0, 5.0), labels > 0)
    result = interpolate(volume, method="linear", force=True).volume
    rows = [row for row in measure(volume, labels, result).rows if row["grid"] == "interpolated"]
    assert [row["segment"] for row in rows] == [3, 7]
    assert rows[0]["volume_ml"] == rows[1]["volume_ml"]
    single = measure(volume, (labels == 3).astype(np.uint8), result).rows[1]
    assert single["voxels"] == rows[0]["voxels"]


def test_carrying_over_needs_little_more_than_its_result():
    """Distances are kept for one gap, not for the whole stack: 60 slices took 60 times their memory."""
    mask = np.zeros((60, 200, 200), bool)
    mask[5:55, 20:180, 20:180] = True
    carry_over(mask[:3], (1, 1), 2)
    tracemalloc.start()
    carried = carry_over(mask, (1, 1), 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < carried.nbytes + 25 * 8 * 164 * 164


# On both grids


def test_phantom_hematoma_on_both_grids(phantom):
    volume = Volume(phantom.image, phantom.spacing, phantom.origin, units="HU", slice_thickness=5.0)
    result = interpolate(volume, output_mode="denoised").volume
    rows = measure(volume, phantom.mask, result).rows
    assert [row["segment"] for row in rows] == [1, 1, 1]
    for row in rows:
        assert row["volume_ml"] == pytest.approx(phantom.hematoma_ml, rel=0.12)
    assert rows[0]["difference_ml"] == 0


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_a_result_that_would_choose_another_axis_for_itself(phantom, axis):
    """At isotropic spacing a file that says nothing is cut along k; the scan says along which axis it was refined."""
    order = {"i": (2, 1, 0), "j": (1, 0, 2), "k": (0, 1, 2)}[axis]  # of (k, j, i)
    scan = Volume(
        np.ascontiguousarray(phantom.image.transpose(order)),
        tuple(phantom.spacing[::-1][source] for source in order)[::-1],
        units="HU",
        slice_axis=axis,
    )
    made = interpolate(scan, factor=3, method="linear").volume
    unsaid = Volume(made.array, made.spacing, made.origin, made.direction, units="HU", slice_axis="i")
    rows, plain = (measure(scan, phantom.mask.transpose(order), result).rows for result in (unsaid, made))
    assert [row["volume_ml"] for row in rows] == [row["volume_ml"] for row in plain]
    straight = Volume(phantom.image, phantom.spacing, units="HU")
    expected = measure(straight, phantom.mask, interpolate(straight, factor=3, method="linear").volume).rows
    for row, other in zip(rows, expected):
        for key in ("voxels", "volume_ml", "surface_area_mm2", "mean_hu", "abc2_ml"):
            # Marching cubes cuts a mirrored grid into other triangles.
            assert row[key] == pytest.approx(other[key], rel=1e-3), (row["grid"], key)


def test_threshold_stays_near_the_drawing(phantom, phantom_volume):
    drawn = phantom.mask > 0
    found = threshold_near(phantom_volume, drawn, (30.0, 100.0), margin_mm=4.0)
    assert found.any()
    assert (found & ~drawn).any()
    distance = distance_transform_edt(~drawn, sampling=(5.0, 1.8, 1.8))
    assert distance[found].max() <= 4.0


@pytest.mark.parametrize("degrees", [0, 30])
@pytest.mark.parametrize("margin", [2.0, 4.3])
def test_margin_is_counted_in_the_patient(degrees, margin):
    """Every voxel as near as the margin and none beyond, by brute force; a tilted stack is not an upright one."""
    mask = np.zeros((9, 24, 20), bool)
    mask[4, 10:13, 8:12] = True
    mask[5, 11, 9] = True
    volume = replace(grid((1.0, 1.0, 2.0), mask, tilted(degrees)), array=np.full(mask.shape, 60, np.int16))
    places = np.argwhere(np.ones(mask.shape, bool)) @ volume.steps.T
    drawn = np.argwhere(mask) @ volume.steps.T
    near = np.linalg.norm(places[:, None] - drawn[None], axis=-1).min(axis=1) <= margin + 1e-9
    found = threshold_near(volume, mask, margin_mm=margin)
    np.testing.assert_array_equal(found.ravel(), near)
    upright = distance_transform_edt(~mask, sampling=(volume.slice_distance, *volume.pixel_spacing)) <= margin
    assert (upright == found).all() == (degrees == 0)


def test_segmentation_files(phantom, phantom_volume, tmp_path):
    labels = Volume(phantom.mask, phantom.spacing, phantom.origin, slice_axis="k", units="label")
    write_volume(labels, tmp_path / "mask.nrrd")
    np.testing.assert_array_equal(read_segmentation(tmp_path / "mask.nrrd", phantom_volume), phantom.mask)
    moved = Volume(phantom.mask, phantom.spacing, (0, 0, 0), slice_axis="k", units="label")
    write_volume(moved, tmp_path / "moved.nrrd")
    with pytest.raises(InputError, match="grid of the scan"):
        read_segmentation(tmp_path / "moved.nrrd", phantom_volume)
    write_volume(replace(phantom_volume, array=phantom.mask.astype(np.float32)), tmp_path / "float.nrrd")
    np.testing.assert_array_equal(read_segmentation(tmp_path / "float.nrrd", phantom_volume), phantom.mask)
    write_volume(replace(phantom_volume, array=phantom.mask * np.float32(0.5)), tmp_path / "halves.nrrd")
    with pytest.raises(InputError, match="whole numbers"):
        read_segmentation(tmp_path / "halves.nrrd", phantom_volume)
    with pytest.raises(InputError, match="empty"):
        measure(phantom_volume, np.zeros_like(phantom.mask))
    with pytest.raises(InputError, match="does not belong"):
        measure(phantom_volume, phantom.mask, Volume(phantom.image[:7], phantom.spacing, units="HU"))


def test_labels_of_any_whole_numbers(phantom, phantom_volume):
    expected = measure(phantom_volume, phantom.mask).rows
    for dtype in (np.uint8, np.int64, np.uint16, np.float32, np.float64, bool):
        assert measure(phantom_volume, phantom.mask.astype(dtype)).rows == expected
    for wrong in (phantom.mask * 0.5, np.where(phantom.mask > 0, np.nan, 0.0)):
        with pytest.raises(InputError, match="whole numbers"):
            measure(phantom_volume, wrong)
    with pytest.raises(InputError, match="with the scan as reference"):
        measure(phantom_volume, phantom.mask[1:])
    with pytest.raises(InputError, match="from low to high"):
        measure(phantom_volume, phantom.mask, hu_range=(100.0, 40.0))
    with pytest.raises(InputError, match="from low to high"):
        measure(phantom_volume, phantom.mask, hu_range=(float("nan"), 40.0))


# Side by side


def test_pictures_of_different_places_are_refused(phantom_volume, tmp_path):
    made = interpolate(phantom_volume, method="linear").volume
    assert compare_picture([("scan", phantom_volume), ("result", made)], tmp_path / "a.png").is_file()
    elsewhere = replace(made, origin=(0.0, 0.0, 500.0))
    turned = replace(made, direction=np.diag([-1.0, -1.0, 1.0]))
    for other in (elsewhere, turned, replace(made, spacing=(1.0, 1.0, 2.5))):
        with pytest.raises(InputError, match="does not belong to this scan"):
            compare_picture([("scan", phantom_volume), ("other", other)], tmp_path / "b.png")
    for width in (0.0, -5.0, float("nan")):
        with pytest.raises(InputError, match="width above 0"):
            compare_picture([("scan", phantom_volume)], tmp_path / "b.png", window=(40.0, width))
    assert not (tmp_path / "b.png").exists()
