"""What the panel says before a run: sizes, times, refusals, methods."""

from __future__ import annotations

import numpy as np
import pytest

from SliceInterpolationLib.request import Request
from SliceInterpolationLib.volume import Volume
from SliceInterpolationMRML.run import estimate, plan, words


def planRun(volume, device="cpu", rates=None, uncertainty=False, **options):
    return plan.planRun(volume, Request(**options), device, rates, uncertainty=uncertainty)


def scan(slices=30, gap=5.0, size=64, pixel=0.45):
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 1500, (slices, size, size)).astype(np.int16)
    return Volume(array, (pixel, pixel, gap))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "30 slices at 5.0 mm \u2192 59 at 2.5 mm, about "),
        ({"factor": 4}, "\u2192 117 at 1.25 mm"),
        ({"factor": "isotropic"}, "\u2192 320 at 0.45 mm"),
        ({"output_mode": "denoised"}, "acquired slices denoised but for the two ends"),
        ({"output_mode": "denoise-only"}, "30 slices at 5.0 mm, all but the two ends denoised"),
        ({"device": "cuda:0"}, "on GPU."),
        ({"device": "cuda:0", "method": "linear"}, "on CPU."),
    ],
)
def test_the_sentence(options, words):
    made = planRun(scan(), **options)
    assert words in made.text
    assert not made.problem


@pytest.mark.parametrize(
    ("volume", "options", "words"),
    [
        (scan(slices=1), {}, "at least 2"),
        (scan(gap=0.5), {}, "switch on 'Run in spite of warnings'"),
        (scan(gap=30.0), {}, "choose flow or cubic, or switch on 'Run in spite of warnings'"),
        (scan(slices=2), {"output_mode": "denoised"}, "at least 3 slices"),
        (scan(), {"method": "nonsense"}, "There is no model 'nonsense'"),
        (Volume(np.eye(32, dtype=np.int16)[None].repeat(5, axis=0), (1.0, 1.0, 5.0)), {}, "labelmap"),
        (Volume(np.zeros((5, 32, 32), np.int16), (1.0, 1.0, 5.0)), {}, "All voxels have the value 0"),
    ],
)
def test_refusals_speak_of_the_panel(volume, options, words):
    made = planRun(volume, **options)
    assert made.problem
    assert words in made.text
    assert "--" not in made.text


def test_a_gap_outside_of_the_range_warns():
    made = planRun(scan(gap=12.0))
    assert not made.problem
    assert any("outside of the range" in remark for remark in made.remarks)


def test_measured_speed_is_used_and_comes_back():
    volume = scan(slices=30, size=512)
    key, rate = estimate.measuredRate(volume, 2, Request(), ["Device: CPU with 2 threads"], 20.0)
    assert key == "network-cpu"
    made = planRun(volume, rates={key: rate})
    assert made.seconds == pytest.approx(20.0, rel=1e-6)
    assert "about 20 s on CPU" in made.text
    assert estimate.measuredRate(volume, 2, Request(), ["Device: GPU X"], 3.0)[0] == "network-cuda"


def test_a_trust_check_is_estimated_by_the_last_one():
    from SliceInterpolationMRML.run.estimate import measuredTrustRate, trustKey, trustSeconds
    from SliceInterpolationMRML.run.plan import planTrust

    few, many = scan(slices=20), scan(slices=80)
    assert planTrust(many, Request()).seconds == planTrust(few, Request()).seconds  # bounded
    assert planTrust(many, Request(), slices="all").seconds > planTrust(many, Request()).seconds
    rates = {trustKey("default", "cpu"): measuredTrustRate(few, 12, 90.0)}
    assert trustSeconds(few, 12, "default", "cpu", rates) == pytest.approx(90.0)
    assert trustSeconds(few, 6, "default", "cpu", rates) == pytest.approx(2.5 + 87.5 / 2)


def test_a_trust_check_says_how_many_slices_it_predicts():
    from SliceInterpolationLib.reports.trust import trust
    from SliceInterpolationMRML.run.plan import planTrust

    made = planTrust(scan(slices=30, size=512), Request(method="flow"), "cuda:0", {"trust-flow-cuda": 1.0})
    assert made.text == "12 of the 30 slices are predicted by 3 methods, about 6 s on GPU."
    assert "by 4 methods" in planTrust(scan(), Request()).text
    assert "4 slices" in planTrust(scan(slices=3), Request()).text
    assert planTrust(scan(slices=3), Request()).problem
    # The same number that the check itself tells and reports.
    told = []
    volume = scan(slices=30, size=32)
    report = trust(volume, method="linear", baselines=("cubic",), progress=lambda *entry: told.append(entry))
    assert {total for _stage, _done, total in told} == {12}
    assert len(report.slices) == 12
    assert planTrust(volume, Request(method="linear")).text.startswith("12 of the 30 slices")


def test_a_run_that_estimates_its_error_has_a_speed_of_its_own():
    volume = scan(slices=30, size=512)
    key, rate = estimate.measuredRate(volume, 2, Request(), [], 60.0, uncertainty=True)
    assert key == "network-cpu-error"
    assert planRun(volume, rates={key: rate}, uncertainty=True).seconds == pytest.approx(60.0)
    assert planRun(volume, rates={key: rate}).seconds == planRun(volume).seconds
    assert planRun(volume, uncertainty=True).seconds > planRun(volume).seconds


def test_one_disturbed_run_does_not_decide_alone():
    assert estimate.learned(0.0, 3.0) == 3.0
    assert estimate.learned(1.0, 3.0) == 2.0


def runOf(secondsASlice: list[float], expected: float = 0.0) -> list[tuple[float, float]]:
    """(seconds said to be left, seconds really left) after each slice of a run."""
    timeLeft, now, said = estimate.TimeLeft(expected), 100.0, []
    ends = [now + sum(secondsASlice[:n]) for n in range(len(secondsASlice) + 1)]
    for done, now in enumerate(ends):
        entry = {"stage": "interpolated", "done": done, "total": len(secondsASlice), "eta_s": None}
        said.append((timeLeft.after(entry, now), ends[-1] - now))
    return said


def test_the_time_left_starts_from_earlier_runs():
    assert runOf([1.0] * 30, expected=45.0)[0][0] == pytest.approx(45.0)
    assert runOf([1.0] * 30)[0][0] is None
    assert runOf([1.0] * 30)[1][0] == pytest.approx(29.0)


@pytest.mark.parametrize("expected", [0.0, 7.0, 40.0, 200.0])
def test_the_time_left_converges_when_the_machine_becomes_busy(expected):
    """At half its speed from the middle on, as the 7 s that became 25 s; and whatever was expected before."""
    said = runOf([1.0] * 30 + [2.0] * 30, expected)
    for left, really in said[45:]:  # a quarter of the slices later
        assert left == pytest.approx(really, rel=0.1, abs=0.5)
    assert said[60] == (0.0, 0.0)
    # The mean over all slices, as it was said before, is still wrong by a quarter by then.
    mean = 60.0 / 45 * 15
    assert mean < 0.75 * said[45][1]


def test_one_slow_slice_upsets_nothing():
    said = runOf([1.0] * 20 + [4.0] + [1.0] * 20, 40.0)
    assert said[21][0] < 1.6 * said[21][1]
    assert said[30][0] == pytest.approx(said[30][1], rel=0.12)


def test_a_second_stage_is_counted_by_itself():
    timeLeft = estimate.TimeLeft(30.0)
    assert timeLeft.after({"stage": "interpolated", "done": 0, "total": 10}, 0.0) == pytest.approx(30.0)
    assert timeLeft.after({"stage": "start", "done": None}, 1.0) is None
    assert timeLeft.after({"stage": "uncertainty", "done": 0, "total": 8}, 40.0) is None
    assert timeLeft.after({"stage": "uncertainty", "done": 2, "total": 8}, 42.0) == pytest.approx(6.0)


def test_one_style_of_arrows_and_no_zero_counts():
    from SliceInterpolationLib import interpolate
    from SliceInterpolationLib.cli import _summary
    from SliceInterpolationMRML.run.words import inPanelWords

    volume = scan(slices=6, gap=20.0)
    said = inPanelWords(_summary(volume, interpolate(volume, method="linear", factor=2).volume))
    assert said == "6 slices at 20 mm \u2192 11 at 10 mm (5 synthesized), method linear"


def test_denoising_costs_the_inner_slices_too():
    volume = scan(slices=11, size=100)
    assert estimate.megapixels(volume, 2, "interpolated") == pytest.approx(10 * 1e4 / 1e6)
    assert estimate.megapixels(volume, 2, "denoised") == pytest.approx(19 * 1e4 / 1e6)
    assert estimate.megapixels(volume, 1, "denoise-only") == pytest.approx(9 * 1e4 / 1e6)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (8.4, "8 s"), (200, "3 min"), (9000, "2.5 h")])
def test_times(seconds, text):
    assert words.formatSeconds(seconds) == text


def test_planning_needs_neither_slicer_nor_qt_and_does_not_load_torch():
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['slicer'] = sys.modules['qt'] = None\n"
        "from SliceInterpolationMRML.run import plan\n"
        "from SliceInterpolationMRML.panel import methods, state\nmethods.methodChoices()\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    folder = plan.__file__.rsplit("SliceInterpolationMRML", 1)[0]
    subprocess.run([sys.executable, "-c", code, folder], check=True)
