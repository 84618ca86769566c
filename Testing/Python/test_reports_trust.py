"""The trust check: which slices it takes, that methods are compared on the same ones, and when it says what."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import moving_ellipse
from scipy.stats import bootstrap

from SliceInterpolationLib import InputError, Volume, interpolate
from SliceInterpolationLib.catalogue import find_model
from SliceInterpolationLib.errors import PredictionError
from SliceInterpolationLib.files import read_file
from SliceInterpolationLib.interpolators import linear
from SliceInterpolationLib.reports import trust as module
from SliceInterpolationLib.reports.statistics import bootstrap_mean
from SliceInterpolationLib.reports.trust import FEWEST_SLICES, compare, judge, slices_to_score, trust
from SliceInterpolationLib.volume import ACQUIRED, MAP


def head(slices: int, **changes) -> Volume:
    array = np.clip(moving_ellipse(slices, shift=min(3.0, 40 / slices)), -1024, 3000).astype(np.int16)
    return Volume(array, (0.6, 0.6, 5.0), units="HU", provenance=ACQUIRED * slices, **changes)


def rows_of(**values):
    """Rows as `trust` makes them; values: for each method a list of (PSNR, SSIM, intracranial error)."""
    figures = ("psnr_brain", "ssim_brain", "mae_intracranial")
    return [
        {"slice": number, "method": method.replace("_", "-"), **dict(zip(figures, one))}
        for number in range(len(next(iter(values.values()))))
        for method, per_slice in values.items()
        for one in [per_slice[number]]
    ]


def verdict_of(**values):
    rows = rows_of(**values)
    name, *others = dict.fromkeys(row["method"] for row in rows)
    return judge(name, others, compare(rows, name), len(next(iter(values.values()))), 12.0)


def scattered(psnr, ssim, error, count=12, seed=0):
    rng = np.random.default_rng(seed)
    return [(psnr + a, ssim + b, error + c) for a, b, c in rng.normal(0, 1, (count, 3)) * (0.05, 0.002, 0.05)]


def test_bootstrap_agrees_with_scipy():
    """SciPy's BCa interval at the level that the widening for few values amounts to."""
    from scipy.special import ndtr, stdtrit

    values = np.random.default_rng(3).exponential(size=12)
    level = 2 * ndtr(np.sqrt(12 / 11) * stdtrit(11, 0.975)) - 1
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, confidence_level=level).confidence_interval
    ours = bootstrap_mean(values)
    assert ours.low == pytest.approx(theirs.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.high, abs=0.06)
    assert ours == bootstrap_mean(values)


@pytest.mark.parametrize(("count", "least"), [(6, 0.90), (12, 0.925)])
def test_intervals_hold_the_truth_as_often_as_they_say(count, least):
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(rng.normal(size=count)) for _ in range(600)]
    assert least < np.mean([one.low <= 0 <= one.high for one in intervals]) < 0.98


def test_bootstrap_of_equal_values_and_of_none():
    assert (bootstrap_mean([2.0] * 7).low, bootstrap_mean([2.0]).high) == (2.0, 2.0)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean([])


def test_trust_on_motion_prefers_motion():
    report = trust(head(14))
    assert set(report.means) == {"flow-refine", "linear", "cubic", "flow"}
    assert report.slices == list(range(3, 11))
    assert len(report.rows) == 8 * 4
    assert report.means["flow"]["psnr_brain"] > report.means["linear"]["psnr_brain"] + 3
    assert "8 withheld slices, each predicted across 10 mm, with linear, cubic and flow" in report.verdict
    json.dumps(report.as_dict(), allow_nan=False)


def test_trust_says_so_when_the_method_loses():
    """Linear interpolation of a moving head must not be called trusted."""
    report = trust(head(14), method="linear")
    assert report.trusted is False
    assert report.verdict.startswith("Warning: on this scan linear does not win")
    assert "--method flow" in report.verdict
    assert "95% interval" in report.verdict


def test_higher_psnr_does_not_outweigh_lost_structure():
    """The public MR of issue 10: the network wins 0.2 dB and loses 0.038 SSIM to flow."""
    trusted, text = verdict_of(
        network=scattered(21.2, 0.50, np.nan),
        flow=scattered(21.0, 0.538, np.nan),
        linear=scattered(18, 0.4, np.nan),
    )
    assert trusted is False
    assert text.startswith("Warning: on this scan network is not best throughout, it loses SSIM to flow")
    assert "SSIM 0.500 against 0.538 of flow (-0.038" in text
    assert text.endswith("Prefer --method flow.")


@pytest.mark.parametrize(
    ("own", "trusted", "text"),
    [
        ((22.0, 0.62, 4.0), True, "network predicts withheld slices best"),
        ((21.0, 0.60, 5.0), True, "no method is clearly better than network"),
        ((21.05, 0.60, 5.0), True, "no method is clearly better than network"),  # within the margin
        ((20.5, 0.60, 5.0), False, "network does not win"),
        ((22.0, 0.62, 5.5), False, "it loses mean error inside the skull to flow"),
        ((20.5, 0.62, 5.5), False, "it loses PSNR to flow and mean error inside the skull to flow"),
    ],
)
def test_all_three_figures_are_looked_at(own, trusted, text):
    got, verdict = verdict_of(network=scattered(*own), flow=scattered(21.0, 0.60, 5.0, seed=1))
    assert got is trusted
    assert text in verdict


def test_each_figure_is_compared_with_the_method_that_is_best_in_it():
    rows = rows_of(
        network=scattered(22.0, 0.60, 5.0), flow=scattered(21.0, 0.5, 5.5), linear=scattered(18.0, 0.65, 9.0)
    )
    assert {one.figure: one.rival for one in compare(rows, "network")} == {
        "psnr_brain": "flow", "ssim_brain": "linear", "mae_intracranial": "flow",
    }  # fmt: skip


def test_a_lead_within_chance_is_not_called_a_win():
    psnr = [21 + x for x in (3, -2, 2.5, -2, 1, -1, 2, -1.5)]
    trusted, text = verdict_of(network=[(p, 0.6, 5.0) for p in psnr], flow=[(21.0, 0.6, 5.0)] * len(psnr))
    assert trusted is True
    assert "no method is clearly better" in text


def test_methods_are_compared_on_the_slices_that_all_of_them_have():
    """A method that has no figure on the hard slices must not look better for it."""
    easy, hard = (25.0, 0.7, 4.0), (15.0, 0.4, 9.0)
    better = [(p + 0.5, s + 0.01, e - 0.2) for p, s, e in [easy] * 8 + [hard] * 4]
    rows = rows_of(network=better, flow=[easy] * 8 + [(np.nan,) * 3] * 4)
    comparisons = compare(rows, "network")
    assert {one.slices for one in comparisons} == {8}
    assert comparisons[0].gain == pytest.approx(0.5)
    assert judge("network", ["flow"], comparisons, 12, 10.0)[0] is True


@pytest.mark.parametrize("slices", [4, 5, 7])
def test_no_verdict_from_few_slices(slices):
    report = trust(head(slices), method="linear", baselines=("nearest",))
    assert report.trusted is None
    assert report.verdict.startswith(f"Too few slices to judge on this scan: {slices - 2} were")
    assert not report.comparisons
    assert report.means["linear"]["psnr_brain"] > 0


def test_no_verdict_without_another_method():
    report = trust(head(9), method="linear", baselines=())
    assert (report.trusted, report.verdict) == (None, "Nothing to compare with.")


def test_an_even_selection_is_scored_by_default(monkeypatch):
    """Only what is scored is predicted, and everything that is counted agrees."""
    predicted = []
    between = linear.Linear.between
    monkeypatch.setattr(linear.Linear, "between", lambda *a: predicted.append(a) or between(*a))
    steps = []
    volume = head(40)
    report = trust(volume, method="linear", baselines=("nearest",), progress=lambda *step: steps.append(step))
    assert len(report.slices) == len(predicted) == slices_to_score(40) == 12
    assert steps[-1] == ("trust", 12, 12)
    assert {row["slice"] for row in report.rows} == set(report.slices)
    assert "12 withheld slices" in report.verdict
    assert np.ptp(np.diff(report.slices)) <= 1  # evenly spread
    assert report.slices[0] < 6
    assert report.slices[-1] > 33
    assert {number % 2 for number in report.slices} == {0, 1}

    everything = trust(volume, method="linear", baselines=("nearest",), slices="all")
    assert everything.slices == list(range(3, 37))
    assert slices_to_score(40, "all") == 34
    same = [row for row in everything.rows if row["slice"] in report.slices]
    assert [row["ssim_brain"] for row in same] == [row["ssim_brain"] for row in report.rows]
    assert trust(volume, method="linear", baselines=("nearest",), slices=7).comparisons[0].slices == 7


@pytest.mark.parametrize("slices", [0, -3, "many", 2.5, True])
def test_a_count_of_slices_that_is_none(slices):
    with pytest.raises(InputError, match="whole number from 1 on, or 'all'"):
        trust(head(9), method="linear", slices=slices)


def test_slices_that_hold_nothing_are_left_out():
    volume = head(20)
    volume.array[5:9] = -1000
    report = trust(volume, method="linear", baselines=("nearest",), slices="all")
    assert set(report.slices) == {3, 4, *range(9, 17)}
    assert any("4 of 14 slices hold nothing" in remark for remark in report.remarks)
    assert all(np.isfinite(row["psnr_brain"]) for row in report.rows)


def test_constant_and_perfectly_predicted_volumes():
    empty = trust(
        head(
            20,
        ),
        method="linear",
        baselines=("nearest",),
    )
    assert empty.trusted is not None
    constant = Volume(np.full((20, 32, 32), 40, np.int16), (1, 1, 5), units="HU", provenance=ACQUIRED * 20)
    with pytest.raises(InputError, match="All voxels have the value 40"):
        trust(constant, method="linear", baselines=("nearest",))
    constant.array[0, 0, 0] = 41
    report = trust(constant, method="linear", baselines=("nearest",))
    assert report.trusted is None
    assert report.verdict.startswith("Too few slices to judge on this scan: 0 ")
    json.dumps(report.as_dict(), allow_nan=False)
    still = np.repeat(moving_ellipse(1), 20, axis=0).astype(np.int16)
    report = trust(Volume(still, (1, 1, 5), units="HU"), method="linear", baselines=("nearest",))
    assert report.means["linear"]["psnr_brain"] == 100
    assert "no method is clearly better" in report.verdict


def test_trust_needs_acquired_slices(phantom_volume):
    made = interpolate(phantom_volume, method="linear").volume
    with pytest.raises(InputError, match=r"23 synthesized are here; choose the original scan"):
        trust(made)
    with pytest.raises(InputError, match="22 denoised"):
        trust(interpolate(phantom_volume, method="linear", output_mode="denoise-only").volume)
    with pytest.raises(InputError, match="computed"):
        trust(replace(phantom_volume, provenance=MAP * phantom_volume.slice_count))
    with pytest.raises(InputError, match="at least 4"):
        trust(Volume(phantom_volume.array[:3], (1, 1, 5), provenance=ACQUIRED * 3))


def test_slices_of_unknown_origin_are_remarked(phantom_volume):
    known = trust(phantom_volume, method="linear", baselines=("nearest",))
    assert not any("origin" in remark for remark in known.remarks)
    unknown = trust(replace(phantom_volume, provenance=""), method="linear", baselines=("nearest",))
    assert any(remark.startswith("The origin of the slices is not known") for remark in unknown.remarks)
    some = replace(phantom_volume, provenance="??" + ACQUIRED * (phantom_volume.slice_count - 2))
    assert any("origin of 2 slices" in remark for remark in trust(some, method="linear").remarks)


def test_trust_says_that_it_bridges_twice_the_gap():
    high = find_model().gap_mm[1]
    volume = replace(head(9), spacing=(0.6, 0.6, 0.6 * high))
    report = trust(volume)
    assert any(
        "the trust check bridges slices 12 mm apart, outside of the range" in r for r in report.remarks
    )
    inside = replace(head(9), spacing=(0.6, 0.6, 0.5 * high))
    assert not any("outside" in remark for remark in trust(inside).remarks)


def test_predictions_that_are_no_numbers_end_in_a_sentence(monkeypatch):
    monkeypatch.setattr(
        linear.Linear, "between", lambda self, stack, before, t: np.full(stack.slices.shape[1:], np.nan)
    )
    with pytest.raises(PredictionError, match="'linear' predicts values that are no numbers on slice 4"):
        trust(head(14), method="flow", baselines=("linear",))


def test_verdict_on_real_scans(scans):
    """On an unseen head the network wins all three figures; across 12 mm of MR the report says what it rests on."""
    volume = read_file(scans / "head_toshiba_b_2mm_gaps.nii.gz")
    part = replace(volume, array=volume.array[30:46], provenance="")
    report = trust(part)
    assert [one.outcome for one in report.comparisons] == ["better"] * 3
    assert report.trusted
    volume = read_file(scans / "mr_brain_rembrandt_flair_1.nii.gz")
    volume = replace(volume, array=volume.array[::2], spacing=(*volume.spacing[:2], 6.0), provenance="")
    report = trust(volume)
    assert [one.figure for one in report.comparisons] == ["psnr_brain", "ssim_brain"]  # no skull in MR
    assert len(report.slices) == module.DEFAULT_SLICES >= FEWEST_SLICES
    assert any("12 mm apart" in remark for remark in report.remarks)


def test_the_flow_of_a_gap_is_found_once_for_all_methods(monkeypatch):
    """Network and flow look at the same pairs; what they predict is what each predicts alone."""
    from SliceInterpolationLib.networks import lucas_kanade

    found = []
    alone = lucas_kanade._symmetric_flow
    monkeypatch.setattr(lucas_kanade, "_symmetric_flow", lambda *pair: found.append(pair) or alone(*pair))
    array = np.rint(moving_ellipse(14, shift=1.0)).astype(np.int16)  # air all around
    volume = Volume(array, (0.6, 0.6, 5.0), units="HU", provenance=ACQUIRED * 14)
    report = trust(volume)
    assert len(found) == len(report.slices)
    for method in ("flow-refine", "flow"):
        by_itself = trust(volume, method=method, baselines=())
        np.testing.assert_equal(by_itself.means[method], report.means[method])
    assert len(found) == 3 * len(report.slices)


def test_flow_is_shared_only_where_it_is_the_same():
    import torch

    from SliceInterpolationLib.networks.lucas_kanade import shared_flow, symmetric_flow

    a, b, c = (torch.from_numpy(image).float()[None, None] for image in moving_ellipse(3))
    expected = [symmetric_flow(a, b), symmetric_flow(b, c), symmetric_flow(a, b, iterations=1)]
    with shared_flow():
        first = symmetric_flow(a, b)
        assert symmetric_flow(a.clone(), b) is first
        got = [first, symmetric_flow(b, c), symmetric_flow(a, b, iterations=1)]
        box = (slice(16, 64), slice(8, 80))
        assert symmetric_flow(a, b, box=box).shape == (1, 2, 24, 36)
    for one, other in zip(got, expected):
        assert torch.equal(one, other)
    assert symmetric_flow(a, b) is not symmetric_flow(a, b)
