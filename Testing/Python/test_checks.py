"""What is refused before the work, with a reason, and the gate that every predicted slice goes through."""

from __future__ import annotations

import time

import numpy as np
import pytest

from SliceInterpolationLib import InputError, Volume, checks, interpolate
from SliceInterpolationLib.checks import check_memory, check_volume
from SliceInterpolationLib.denoising import smoothed_noise, structure_gain
from SliceInterpolationLib.errors import PredictionError
from SliceInterpolationLib.interpolation import as_requested, store
from SliceInterpolationLib.interpolators import CLASSICAL
from SliceInterpolationLib.interpolators.linear import Linear
from SliceInterpolationLib.memory import free_memory
from SliceInterpolationLib.reports.masks import intracranial_mask
from SliceInterpolationLib.reports.noise import analyze_noise
from SliceInterpolationLib.reports.trust import trust
from SliceInterpolationLib.request import Request

WHOLE = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


def scan(dtype=np.int16, low=-1000, high=1000, shape=(6, 24, 24), **fields) -> Volume:
    """Values of the whole range, the ends among them."""
    rng = np.random.default_rng(1)
    array = rng.uniform(low, high, shape).astype(dtype)
    array.flat[:2] = low, high
    return Volume(array, **{"spacing": (0.5, 0.5, 5.0), "units": "HU", **fields})


# The gate


class Bad(Linear):
    """A method that goes wrong on one slice."""

    name = "bad"
    value = np.nan

    def between(self, stack, before, t):
        image = super().between(stack, before, t)
        if before == 2:
            image[3, 4] = self.value
        return image


@pytest.fixture
def bad(monkeypatch):
    """Puts the bad method in the place of linear."""

    def install(value: float) -> None:
        monkeypatch.setattr(Bad, "value", value)
        monkeypatch.setitem(CLASSICAL, "linear", Bad)

    return install


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e6])
def test_nonsense_is_never_stored(bad, dtype, value):
    bad(value)
    with pytest.raises(PredictionError, match=r"'bad' predicts .* on slice 6 of the result"):
        interpolate(scan(dtype), method="linear")
    with pytest.raises(PredictionError, match="on slice 6"):
        interpolate(scan(dtype, shape=(12, 24, 24)), method="linear", output_mode="denoise-only")


@pytest.mark.parametrize("report", [analyze_noise, trust])
def test_nonsense_is_never_reported(bad, report):
    bad(np.nan)
    with pytest.raises(PredictionError, match="predicts values that are no numbers on slice 6"):
        report(scan(shape=(12, 24, 24)), method="linear")


@pytest.mark.parametrize("sd", [np.nan, np.inf, -1.0])
def test_nonsense_about_the_error_is_never_stored(monkeypatch, phantom_volume, sd):
    from SliceInterpolationLib.interpolators.flow_refine import FlowRefineInterpolator as Network

    def wrong(self, stack, positions):
        for position in positions:
            yield stack.image(int(position)), np.full(stack.slices.shape[1:], sd, np.float32)

    monkeypatch.setattr(Network, "synthesize_with_uncertainty", wrong)
    with pytest.raises(PredictionError, match=r"'flow-refine' predicts .* on the error of slice 2"):
        interpolate(phantom_volume, uncertainty=True)


@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "bspline"])
@pytest.mark.parametrize("dtype", [*WHOLE, np.float32, np.float64])
def test_the_ends_of_every_type(dtype, method):
    """Overshoot at the limits of a type is clipped and never wraps; acquired slices are there bit by bit."""
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    low, high = (limits.min, limits.max) if limits else (-1e18, 1e18)
    array = np.full((6, 12, 12), high, dtype)
    array[:, 6:] = low
    array[2:4, 3:6] = low  # cubic overshoots beside it
    array[2:4, 6:9] = high
    volume = Volume(array, (1, 1, 5), units="arbitrary")
    made = interpolate(volume, method=method, factor=3, force=True).volume.array
    assert made.dtype == dtype
    np.testing.assert_array_equal(made[::3], array)
    # Where all slices are at a limit, the result is there too, within single precision.
    tolerance = 0 if np.dtype(dtype).itemsize < 4 else abs(float(high)) * 1e-6
    assert np.abs(made[:, :3].astype(float) - float(high)).max() <= tolerance
    assert np.abs(made[:, 9:].astype(float) - float(low)).max() <= tolerance


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("method", ["linear", "cubic", "bspline", "flow", "default"])
def test_rounding_is_no_nonsense(dtype, method):
    """A volume of one value without HU scale has no range at all."""
    volume = Volume(np.full((4, 8, 8), 95, dtype), (1, 1, 5), units="arbitrary")
    made = interpolate(volume, method=method, factor=2, force=True).volume.array
    np.testing.assert_allclose(made, 95, rtol=1e-6)


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("source", [np.float32, np.float64])
def test_storing_keeps_to_the_range(dtype, source):
    limits = np.iinfo(dtype)
    image = np.array([[-np.inf, limits.min, -0.4, 0.4, 0.6, limits.max, np.inf]]).astype(source)
    target = np.empty(image.shape, dtype)
    store(image, target)
    said = [int(value) for value in target[0]]
    slack = 0 if limits.bits < np.finfo(source).nmant else 2 ** (limits.bits - np.finfo(source).nmant - 1)
    assert said[2:5] == [0, 0, 1]
    for at_low in said[:2]:
        assert limits.min <= at_low <= limits.min + slack
    for at_high in said[5:]:
        assert limits.max - slack <= at_high <= limits.max


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_acquired_slices_are_kept_beyond_single_precision(dtype):
    array = (np.arange(6 * 8 * 8).reshape(6, 8, 8) + 2**53 - 200).astype(dtype)
    made = interpolate(Volume(array, (1, 1, 5), units="HU"), method="cubic", force=True).volume
    np.testing.assert_array_equal(made.array[::2], array)


# Volumes


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"spacing": (0.5, 0.5, 0.0)}, "spacing of 0.5, 0.5, 0 mm"),
        ({"spacing": (0.5, np.nan, 5.0)}, "spacing of 0.5, nan, 5 mm"),
        ({"spacing": (0.5, 0.5, np.inf)}, "spacing"),
        ({"spacing": (-0.5, 0.5, 5.0)}, "spacing"),
        ({"spacing": (5e-4, 5e-4, 5e-3)}, "other units"),
        ({"spacing": (1e-6, 1e-6, 5.0)}, "other units"),
        ({"spacing": (500.0, 500.0, 5000.0)}, "other units"),
        ({"origin": (0, np.nan, 0)}, "position"),
        ({"direction": np.full((3, 3), np.nan)}, "position"),
        ({"direction": np.array([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])}, "do not span space"),
        ({"direction": 2 * np.eye(3)}, "do not span space"),
        ({"direction": np.zeros((3, 3))}, "do not span space"),
    ],
    ids=str,
)
@pytest.mark.parametrize("compute", [interpolate, analyze_noise, trust])
def test_a_grid_that_cannot_be_is_refused(fields, words, compute):
    with pytest.raises(InputError, match=words):
        compute(scan(**{"slice_axis": "k", **fields}), method="linear")


@pytest.mark.parametrize("tilt", [0, 30, 60])
def test_a_tilted_gantry_is_a_grid(tilt):
    angle = np.deg2rad(tilt)
    check_volume(scan(direction=np.column_stack(([1, 0, 0], [0, 1, 0], [0, np.sin(angle), np.cos(angle)]))))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 8, 8), bool), "type bool"),
        (np.zeros((4, 8, 0), np.int16), "empty"),
        (np.zeros((0, 8, 8), np.int16), "empty"),
        (np.full((4, 8, 8), np.nan, np.float32), "Slice 1 holds NaN"),
        (np.full((4, 8, 8), 3e38, np.float32), "no scan has"),
        (np.full((4, 8, 8), -1e300), "no scan has"),
    ],
)
def test_voxels_that_cannot_be_are_refused(array, words):
    with pytest.raises(InputError, match=words):
        interpolate(Volume(array, (0.5, 0.5, 5.0), units="HU", slice_axis="k"), force=True)


@pytest.mark.parametrize("pixel", [1e-6, 1e-4, 1e3])
def test_filters_are_no_wider_than_the_image(pixel):
    """Forced through with a spacing of a wrong unit, nothing runs for minutes or fills the memory."""
    began = time.monotonic()
    volume = scan(shape=(6, 64, 64), spacing=(pixel, pixel, 5 * pixel))
    assert interpolate(volume, method="linear", output_mode="denoised", force=True).volume.slice_count == 11
    noise = smoothed_noise(volume.slices[2], volume.slices[1], np.ones((64, 64), bool), (pixel, pixel))
    structure_gain(volume.slices[1], noise, (pixel, pixel))
    intracranial_mask(np.full((64, 64), 40.0), (pixel, pixel))
    assert time.monotonic() - began < 5


# Memory


def test_the_memory_of_this_machine():
    free = free_memory()
    assert free is not None
    assert 2**20 < free < 2**50


def test_a_result_without_room_is_refused_beforehand(monkeypatch):
    monkeypatch.setattr(checks, "free_memory", lambda: 8 * 2**30)
    big = Volume(np.broadcast_to(np.int16(0), (200, 1024, 1024)), (0.5, 0.5, 5.0), units="HU")
    check_memory(big, 2)
    with pytest.raises(InputError, match=r"needs 38.9 GiB of memory, 8.0 GiB are free"):
        check_memory(big, 100)
    with pytest.raises(InputError, match=r"needs 11.7 GiB"):
        check_memory(big, 10, uncertainty=True)
    check_memory(big, 100, force=True)
    monkeypatch.setattr(checks, "free_memory", lambda: None)
    check_memory(big, 100)


def test_no_room_is_said_before_the_work(monkeypatch):
    monkeypatch.setattr(checks, "free_memory", lambda: 1000)
    asked = []
    with pytest.raises(InputError, match="GiB are free"):
        interpolate(scan(), method="linear", progress=lambda *step: asked.append(step))
    assert not asked


# Units


@pytest.mark.parametrize(
    ("low", "dtype", "said"),
    [
        (-1000, np.int16, "HU is assumed, since it holds air"),
        (-100, np.int16, "HU is assumed, since it holds negative whole numbers"),
        (-100, np.float32, "arbitrary is assumed, since it holds neither air nor negative whole numbers"),
        (0, np.uint16, "arbitrary is assumed"),
    ],
)
def test_guessed_units_are_told_with_the_true_reason(low, dtype, said):
    remarks: list[str] = []
    as_requested(scan(dtype, low, 500, units=None), Request(), remarks)
    assert said in remarks[0]
    remarks.clear()
    as_requested(scan(dtype, low, 500, units=None), Request(units="HU"), remarks)
    assert not remarks
