"""The study page and what it is made of: planes, plots, the page itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from SliceInterpolationLib import Volume, interpolate
from SliceInterpolationLib.reports.reformat import PLANES, body_box, caption, cut, gray, number_at


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "SAL"])
@pytest.mark.parametrize("plane", PLANES)
def test_planes_stand_upright_in_every_orientation(phantom_volume, orientation, plane):
    """The same head stored in another orientation gives the same pixels, and the same slices beside them."""
    numbered = phantom_volume.array + 0.25 * np.arange(len(phantom_volume.array))[:, None, None]
    scan = replace(phantom_volume, array=numbered.astype(np.float32))
    turned = Volume.from_sitk(sitk.DICOMOrient(scan.to_sitk(), orientation), units="HU")
    turned.provenance = "A" * 24
    point = (1.37, 2.21, -9.3)  # not midway between voxels, where either may be shown
    one, other = (cut(v, plane, number_at(v, plane, point), body_box(v)) for v in (scan, turned))
    np.testing.assert_array_equal(one.image, other.image)
    assert (one.width, one.height) == pytest.approx((other.width, other.height))
    assert (one.row_letters, one.column_letters) == (other.row_letters, other.column_letters)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_planes_show_every_slice_of_scan_and_result(phantom_volume, factor):
    """The result's last slices lie within the last slice of the scan; neither is cut off, whatever the factor."""
    result = interpolate(phantom_volume, method="linear", factor=factor).volume
    box = body_box(result)
    for volume in (phantom_volume, result):
        view = cut(volume, "coronal", 60, box)
        assert view.image.shape[0] == volume.slice_count
        assert view.row_letters == volume.provenance[::-1]
        assert view.height == pytest.approx(volume.slice_count * volume.slice_spacing)
        assert view.image.shape[1] == cut(volume, "axial", 3, box).image.shape[1]


def test_planes_of_a_tilted_stack_are_upright():
    """What runs straight up in the patient runs straight up in the picture, though not in the voxels."""
    tilt = np.deg2rad(20.0)
    direction = np.eye(3)
    direction[:, 2] = (0.0, np.sin(tilt), np.cos(tilt))
    array = np.full((12, 80, 40), -1000.0, dtype=np.float32)
    for k in range(12):
        back = round(4.0 * k * np.sin(tilt))  # of the stack, in pixels of 1 mm
        array[k, 50 - back : 54 - back, 10:30] = 40.0
    volume = Volume(array, (1.0, 1.0, 4.0), direction=direction, units="HU")
    sagittal = cut(volume, "sagittal", 20, [(0.0, 1e3)] * 3)
    columns = [np.flatnonzero(row > 0) for row in sagittal.image]
    assert all(list(one) == list(columns[0]) for one in columns)
    assert sagittal.height == pytest.approx(12 * 4.0 * np.cos(tilt))
    assert sagittal.width == pytest.approx(sagittal.image.shape[1])
    np.testing.assert_array_equal(cut(volume, "coronal", 52, [(0.0, 1e3)] * 3).image, array[::-1, 52])


def test_captions_say_what_a_slice_is(phantom_volume):
    result = interpolate(phantom_volume, method="linear").volume
    box = body_box(result)
    assert caption(result, cut(result, "axial", 7, box)) == "axial: synthesized, between 4 and 5"
    assert caption(result, cut(result, "axial", 8, box)) == "axial: acquired slice 5"
    assert caption(result, cut(result, "coronal", 60, box)) == "coronal: slices every 2.5 mm"


def test_gray_values_by_hand():
    image = np.array([[-1000.0, -20.0, 44.0, 108.0, 3000.0, np.nan]])[:, :5]
    assert gray(image, (44.0, 128.0)).tolist() == [[0, 0, 128, 255, 255]]
