"""Every interpolator on volumes whose truth is known in closed form, and the flow on its own."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import moving_ellipse
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, map_coordinates, median_filter
from scipy.ndimage import shift as move

from SliceInterpolationLib import InputError
from SliceInterpolationLib.interpolators import create
from SliceInterpolationLib.interpolators.cubic import lagrange_weights
from SliceInterpolationLib.networks.lucas_kanade import _median3, full_flow, symmetric_flow, warp
from SliceInterpolationLib.reports.metrics import psnr, windowed
from SliceInterpolationLib.stack import SliceStack

ALL = ("nearest", "linear", "cubic", "bspline", "flow", "default")


def stack_of(array: np.ndarray) -> SliceStack:
    return SliceStack(array, gap=5.0, pixel=(0.5, 0.5))


@pytest.mark.parametrize("method", ["linear", "cubic", "bspline", "flow", "default"])
def test_linear_ramp_along_the_stack(method):
    """Also in the first and the last gap; the network is trained, so it may be off by little."""
    ramp = np.arange(7.0)[:, None, None] * 12.0 + np.zeros((7, 48, 40))
    positions = [0.25, 0.5, 1.5, 3.2, 5.5, 5.9]
    made = np.stack(list(create(method).synthesize(stack_of(ramp), positions)))
    error = np.abs(made - 12.0 * np.array(positions)[:, None, None])
    assert error.max() < (4.0 if method == "default" else 1e-3)


@pytest.mark.parametrize("method", ALL)
def test_ramp_in_plane_and_constant(method):
    y, x = np.mgrid[:48, :40].astype(float)
    plane = 20.0 + 0.5 * x + 0.3 * y
    made = np.stack(list(create(method).synthesize(stack_of(np.stack([plane] * 5)), [0.5, 2.25, 3.5])))
    assert np.abs(made - plane).max() < (4.0 if method == "default" else 1e-3)


@pytest.mark.parametrize("method", ALL)
def test_positions_on_slices_return_them(method):
    array = moving_ellipse(5).astype(np.float32)
    made = list(create(method).synthesize(stack_of(array), [0, 2, 4]))
    for image, number in zip(made, (0, 2, 4)):
        np.testing.assert_allclose(image, array[number], atol=1e-3 if method == "bspline" else 0)


def moving_error(method: str, t: float) -> float:
    dense = moving_ellipse(slices=17, shift=0.75)
    made = list(create(method).synthesize(stack_of(dense[::4]), [1 + t, 2 + t]))
    truth = [dense[4 + round(4 * t)], dense[8 + round(4 * t)]]
    return float(np.mean([psnr(windowed(m), windowed(d)) for m, d in zip(made, truth)]))


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_moving_ellipse_needs_motion(t):
    linear, flow, network = (moving_error(method, t) for method in ("linear", "flow", "default"))
    assert flow > linear + 5.0
    assert network > linear + 5.0


def test_cubic_is_exact_for_cubics_everywhere():
    k = np.arange(6.0)

    def course(x):
        return 3 * x**3 - 20 * x**2 + 7 * x + 5

    array = course(k)[:, None, None] + np.zeros((6, 4, 4))
    positions = [0.1, 0.5, 1.5, 2.7, 4.5, 4.9]
    made = [image[0, 0] for image in create("cubic").synthesize(stack_of(array), positions)]
    np.testing.assert_allclose(made, course(np.array(positions)), rtol=1e-5)
    np.testing.assert_allclose(lagrange_weights(4, 1.5), np.array([-1, 9, 9, -1]) / 16)


@pytest.mark.parametrize("count", [2, 3])
def test_short_stacks(count):
    array = moving_ellipse(count)
    for method in ALL:
        (made,) = create(method).synthesize(stack_of(array), [0.5])
        assert made.shape == array.shape[1:]
        assert np.isfinite(made).all()


def test_bspline_agrees_with_a_spline_along_the_slices():
    rng = np.random.default_rng(0)
    array = rng.normal(0, 100, (12, 6, 5))
    positions = [4.5, 5.25, 6.75]
    made = np.stack(list(create("bspline").synthesize(stack_of(array), positions)))
    # Far from the ends the choice of boundary does not matter.
    expected = CubicSpline(np.arange(12), array, axis=0, bc_type="natural")(positions)
    np.testing.assert_allclose(made, expected, atol=0.5)


def test_bspline_agrees_with_simpleitk_resample():
    rng = np.random.default_rng(1)
    array = rng.normal(0, 100, (16, 10, 10)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    whole = sitk.Resample(image, (10, 10, 31), sitk.Transform(), sitk.sitkBSpline, (0, 0, 0), (1, 1, 0.5))
    made = np.stack(list(create("bspline").synthesize(stack_of(array), [6.5, 7.5, 8.5])))
    np.testing.assert_allclose(made, sitk.GetArrayFromImage(whole)[[13, 15, 17]], atol=0.2)


def test_withheld_prediction_never_sees_the_slice():
    array = moving_ellipse(7)
    changed = array.copy()
    changed[3] += 500
    for method in ("linear", "cubic", "flow", "default"):
        before, after = (
            list(create(method).predict_withheld(stack_of(a)))[2] for a in (array, changed)
        )  # the prediction of slice 3
        np.testing.assert_array_equal(before, after)
    assert len(list(create("linear").predict_withheld(stack_of(array)))) == 5


@pytest.mark.parametrize("method", ["linear", "bspline", "flow", "default"])
def test_chosen_withheld_slices_are_those_of_all(method):
    stack = stack_of(moving_ellipse(8))
    everything = list(create(method).predict_withheld(stack))
    for numbers in ([1], [2, 3, 6], [4, 6], []):
        chosen = list(create(method).predict_withheld(stack, numbers))
        np.testing.assert_array_equal(chosen, [everything[number - 1] for number in numbers])


def test_withheld_slices_come_with_their_uncertainty():
    stack = stack_of(moving_ellipse(8))
    network = create("default")
    images, sds = zip(*network.predict_withheld_with_uncertainty(stack, [3, 4]))
    np.testing.assert_array_equal(images, list(network.predict_withheld(stack, [3, 4])))
    assert np.min(sds) >= 0
    assert np.mean(sds) > 1
    with pytest.raises(InputError, match="does not estimate"):
        list(create("linear").predict_withheld_with_uncertainty(stack))


def test_streaming_computes_one_slice_at_a_time():
    """The first slice must be there before the last is looked at."""

    class Slices(np.ndarray):
        seen: set

        def __getitem__(self, key):
            if isinstance(key, (int, np.integer)):
                type(self).seen.add(int(key))
            return super().__getitem__(key)

    Slices.seen = set()
    array = moving_ellipse(30, size=32, shift=0.2).view(Slices)
    stream = create("cubic").synthesize(stack_of(array), [k + 0.5 for k in range(29)])
    next(stream)
    assert max(Slices.seen) <= 3


def test_positions_outside_are_refused():
    with pytest.raises(InputError, match="outside"):
        list(create("linear").synthesize(stack_of(moving_ellipse(3)), [2.5]))
    with pytest.raises(InputError, match="at least 2"):
        list(create("linear").synthesize(stack_of(moving_ellipse(1)), [0.5]))
    with pytest.raises(InputError, match="There is no model 'quadratic'"):
        create("quadratic")


@pytest.mark.parametrize("shift", [(0.0, 3.0), (2.5, -4.0), (-6.0, 5.0)])
def test_flow_finds_a_shift(shift):
    """Half of the displacement, and A(x - m) lies on B(x + m)."""
    rng = np.random.default_rng(2)
    texture = 40 + 400 * gaussian_filter(rng.standard_normal((128, 120)), 4)
    a, b = (move(texture, sign * np.array(shift) / 2, order=3, mode="nearest") for sign in (-1, 1))
    before, after = (torch.from_numpy(x.astype(np.float32))[None, None] for x in (a, b))
    flow = full_flow(symmetric_flow(before, after), before.shape[-2:])
    inner = flow[0, :, 24:-24, 24:-24]
    assert inner[1].median().item() == pytest.approx(shift[0] / 2, abs=0.1)
    assert inner[0].median().item() == pytest.approx(shift[1] / 2, abs=0.1)
    aligned = (warp(before, -flow) - warp(after, flow))[..., 24:-24, 24:-24].abs().mean()
    assert aligned < 0.15 * (before - after)[..., 24:-24, 24:-24].abs().mean()


def test_flow_is_symmetric():
    array = moving_ellipse(2, size=90)
    a, b = (torch.from_numpy(x.astype(np.float32))[None, None] for x in array)
    forward, backward = symmetric_flow(a, b), symmetric_flow(b, a)
    assert torch.allclose(forward, -backward, atol=1e-3)


def test_median_agrees_with_scipy():
    field = torch.randn(1, 2, 31, 17)
    expected = [median_filter(channel, 3, mode="nearest") for channel in field[0].numpy()]
    np.testing.assert_array_equal(_median3(field)[0].numpy(), np.stack(expected))


def test_warp_agrees_with_scipy():
    image, flow = torch.randn(1, 1, 20, 30), 2 * torch.randn(1, 2, 20, 30)
    y, x = np.mgrid[:20, :30]
    places = [y + flow[0, 1].numpy(), x + flow[0, 0].numpy()]
    expected = map_coordinates(image[0, 0].numpy(), places, order=1, mode="nearest")
    np.testing.assert_allclose(warp(image, flow)[0, 0].numpy(), expected, atol=1e-4)
