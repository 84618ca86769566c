"""Geometry against SimpleITK's own physical points, whatever the orientation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from SliceInterpolationLib import InputError, Volume, interpolate

OBLIQUE = Rotation.from_euler("xyz", [17, -23, 40], degrees=True).as_matrix()
DIRECTIONS = {
    "identity": np.eye(3),
    "oblique": OBLIQUE,
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "oblique left-handed": OBLIQUE @ np.diag([-1.0, 1.0, 1.0]),
    "permuted": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
}


def make_volume(axis: str, direction: np.ndarray, dtype=np.int16) -> Volume:
    spacing = [0.5, 0.7, 0.6]
    spacing["ijk".index(axis)] = 4.0
    size = [24, 22, 20]
    size["ijk".index(axis)] = 5
    rng = np.random.default_rng(3)
    array = rng.integers(-1000, 2000, size[::-1]).astype(dtype)
    return Volume(array, spacing, (11.0, -7.5, 120.25), direction)


@pytest.mark.parametrize("axis", "ijk")
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("factor", [2, 3])
def test_acquired_slices_keep_their_place_and_value(axis, direction, factor):
    volume = make_volume(axis, direction)
    assert volume.slice_axis == axis
    made = interpolate(volume, factor=factor, method="linear").volume
    before, after = volume.to_sitk(), made.to_sitk()
    number = "ijk".index(axis)
    assert after.GetSize()[number] == 4 * factor + 1
    assert after.GetSpacing()[number] == pytest.approx(4.0 / factor)
    for index in [(0, 0, 0), (3, 4, 2), (4, 1, 3)]:
        refined = list(index)
        refined[number] *= factor
        place = before.TransformIndexToPhysicalPoint(index)
        assert after.TransformIndexToPhysicalPoint(refined) == pytest.approx(place, abs=1e-9)
        assert after[refined] == before[index]
    # A point midway between two slices of the scan lies on a slice of the result.
    middle = [2.0, 3.0, 2.0]
    middle[number] = 1.5
    place = before.TransformContinuousIndexToPhysicalPoint(middle)
    found = after.TransformPhysicalPointToContinuousIndex(place)
    assert found[number] == pytest.approx(1.5 * factor)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.uint8, np.float32, np.float64])
def test_types_are_kept(dtype):
    volume = make_volume("k", np.eye(3))
    volume = Volume((volume.array % 256).astype(dtype), volume.spacing, units="HU")
    made = interpolate(volume, method="cubic").volume
    assert made.array.dtype == dtype
    np.testing.assert_array_equal(made.slices[::2], volume.slices)


def test_integers_do_not_wrap_around():
    array = np.zeros((4, 12, 12), np.uint8)
    array[1:3] = 255  # cubic overshoots between the two bright slices and undershoots beside them
    made = interpolate(Volume(array, (1, 1, 5), units="HU"), method="cubic", force=True).volume
    assert made.array[3].min() == 255


def test_metal_survives(phantom_volume):
    array = phantom_volume.array.astype(np.int32)
    array[11:13, 60:64, 60:64] = 30000
    volume = replace(phantom_volume, array=array)
    made = interpolate(volume).volume
    assert made.array[23, 61:63, 61:63].min() > 25000


def test_input_is_never_changed(phantom_volume):
    phantom_volume.array.setflags(write=False)
    before = phantom_volume.array.copy()
    for mode in ("interpolated", "denoised", "denoise-only"):
        interpolate(phantom_volume, output_mode=mode)
    np.testing.assert_array_equal(phantom_volume.array, before)


def test_isotropic_is_the_nearest_integer_factor():
    volume = make_volume("k", np.eye(3))
    result = interpolate(volume, factor="isotropic", method="nearest")
    assert volume.isotropic_factor == 7  # 4 mm over the mean of 0.5 and 0.7 mm is 6.67
    assert result.volume.slice_count == 4 * 7 + 1
    assert any("factor 7" in remark for remark in result.remarks)


def test_provenance_and_its_words():
    volume = make_volume("k", np.eye(3))
    assert volume.describe_slice(1) == "slice 2, origin unknown"
    assert interpolate(volume, method="linear").volume.provenance == "?S?S?S?S?"
    volume = replace(volume, provenance="AAAAA")
    made = interpolate(volume, factor=3, method="linear").volume
    assert made.provenance == "ASSASSASSASSA"
    assert made.describe_slice(0) == "acquired slice 1"
    assert made.describe_slice(3) == "acquired slice 2"
    assert made.describe_slice(5) == "synthesized, between 2 and 3"
    again = interpolate(made, factor=2, method="linear", force=True).volume
    assert again.provenance[::2] == made.provenance
    denoised = interpolate(volume, method="linear", output_mode="denoised").volume
    assert denoised.provenance == "ASDSDSDSA"
    assert denoised.describe_slice(2) == "denoised slice 2"


def test_sheared_stack_keeps_its_shear():
    direction = np.eye(3)
    step = np.array([0.0, np.sin(0.3), np.cos(0.3)])
    direction[:, 2] = step
    volume = Volume(np.zeros((4, 16, 16), np.int16) - 1000, (0.5, 0.5, 4.0), direction=direction)
    assert volume.is_sheared
    assert volume.slice_distance == pytest.approx(4.0 * np.cos(0.3))
    made = interpolate(volume, method="linear", force=True).volume
    np.testing.assert_allclose(made.affine[:3, 2] * 2, volume.affine[:3, 2])


def test_unknown_axis_is_refused():
    with pytest.raises(InputError, match="i, j or k"):
        make_volume("k", np.eye(3)).along("z")


def test_sitk_round_trip_does_not_copy():
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    volume = Volume.from_sitk(image)
    assert not volume.array.flags.owndata
    np.testing.assert_array_equal(sitk.GetArrayFromImage(volume.to_sitk()), volume.array)


@pytest.mark.parametrize("spacing", [(1.0000001, 1.0, 1.0), (1.0, 1.00001, 1.0), (2.0, 0.5, 1.99999)])
def test_spacings_that_a_file_has_rounded_are_equal(spacing):
    """NIfTI keeps an oblique isotropic grid in single precision: it is cut along k all the same."""
    assert Volume(np.zeros((2, 3, 4), np.int16), spacing).slice_axis == "k"
    assert Volume(np.zeros((2, 3, 4), np.int16), (1.01, 1.0, 1.0)).slice_axis == "i"
