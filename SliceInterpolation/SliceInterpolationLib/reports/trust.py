"""The trust check: withhold acquired slices of this very scan, predict them, and compare with other methods.

The verdict looks at three figures together, on the same slices for all methods: a method that wins one of them and
loses another is not called best. `JUDGED` holds the margins, `FEWEST_SLICES` below how many slices nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from ..checks import check_acquired, check_prediction, check_volume
from ..device import choose_device, import_torch
from ..errors import InputError
from ..interpolation import as_requested, gap_warning
from ..interpolators import create, model_of, needs_torch
from ..plain import plain
from ..progress import Progress
from ..request import Request
from ..stack import SliceStack, evenly, inner_numbers, percentile_mapping
from ..volume import Volume
from .metrics import BRAIN_WINDOW, SliceTruth
from .statistics import bootstrap_mean
from .tables import FIGURE, figures_of, in_digits, is_shaped

BASELINES = ("linear", "cubic", "flow")
FIGURES = (
    "psnr_brain",
    "ssim_brain",
    "mae_hu",
    "psnr_hu",
    "mae_intracranial",
    "edge",
    "noise_ratio",
    "lesion_hu",
)
ALL_SLICES = "all"
DEFAULT_SLICES = 12
"""So many slices, evenly spread, tell as much as all within the interval, in a fraction of the time."""
FEWEST_SLICES = 6
"""Of fewer slices no interval is worth its name, and no verdict is given."""
_PERFECT_DB = 100.0  # what a prediction without any error counts as


@dataclass(frozen=True)
class Judged:
    """A figure of the verdict: what it is called, which direction is better, and up to which margin it is equal."""

    title: str
    unit: str
    sign: int
    margin: float
    digits: int


JUDGED = {
    "psnr_brain": Judged("PSNR", " dB", 1, 0.1, 2),
    "ssim_brain": Judged("SSIM", "", 1, 0.005, 3),
    "mae_intracranial": Judged("mean error inside the skull", " HU", -1, 0.1, 1),
}


@dataclass(frozen=True)
class Column:
    """A figure in tables of means: its title and unit, and which direction is better, 0 where none is."""

    title: str
    unit: str
    sign: int
    digits: int = 2


COLUMNS = {
    "psnr_brain": Column("PSNR window", "dB", 1),
    "ssim_brain": Column("SSIM window", "", 1, 4),
    "mae_hu": Column("MAE body", "HU", -1),
    "mae_intracranial": Column("MAE brain", "HU", -1),
    "psnr_hu": Column("PSNR full", "dB", 1),
    "noise_ratio": Column("noise ratio", "", 0, 3),
}


@dataclass(frozen=True)
class Comparison:
    """One figure of the method against the other method that is best in it, paired by slice.

    own, theirs: means over the same `slices` slices. gain: their mean difference, positive where the method asked
    about is better, with its 95% interval from `low` to `high`. outcome: "worse" where the gain is below minus the
    margin, "better" where it is above the margin and the interval above 0, "open" where only the former holds, else
    "equal".
    """

    figure: str
    rival: str
    own: float
    theirs: float
    gain: float
    low: float
    high: float
    slices: int
    outcome: str

    def __str__(self) -> str:
        judged = JUDGED[self.figure]
        own, theirs = (f"{value:.{judged.digits}f}" for value in (self.own, self.theirs))
        difference, low, high = (
            f"{judged.sign * value:+.{judged.digits}f}"
            for value in (self.gain, *(self.low, self.high)[:: judged.sign])
        )
        return (
            f"{judged.title} {own} against {theirs}{judged.unit} of {self.rival} ({difference}, 95% interval "
            f"{low} to {high})"
        )


@dataclass
class TrustReport:
    """Errors of withheld acquired slices.

    slices: the numbers (from 0) of the slices that were predicted and scored, the same for all methods. rows: one
    dict a slice and method with the figures of `metrics.SliceTruth.score`. means: figures of each method, over the
    slices where all methods have them. comparisons: what the verdict rests on, see `Comparison`. verdict: what was
    compared, the result, and which method to prefer. trusted: True where the method asked about is best or as good
    as any other, False where it loses, None where nothing can be said.
    """

    method: str
    gap_mm: float
    slices: list[int]
    rows: list[dict[str, Any]]
    means: dict[str, dict[str, float]]
    comparisons: list[Comparison]
    trusted: bool | None
    verdict: str
    remarks: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; undefined figures become None."""
        return plain(asdict(self))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrustReport:
        """The report that `as_dict` gave; InputError where something is missing, as in reports of other versions."""
        if not is_shaped(values, _REPORT) or not all(
            one["figure"] in JUDGED for one in values["comparisons"]
        ):
            raise InputError("This is no trust report of this version; run the trust check again.")
        known = {one.name: values[one.name] for one in fields(cls)}
        known["rows"] = [figures_of(row) for row in known["rows"]]
        known["means"] = {method: figures_of(means) for method, means in known["means"].items()}
        names = [one.name for one in fields(Comparison)]
        known["comparisons"] = [Comparison(**{n: one[n] for n in names}) for one in known["comparisons"]]
        return cls(**known)


_NUMBER = (int, float)
_REPORT = {
    "method": str, "gap_mm": _NUMBER, "slices": [int], "trusted": (bool, type(None)), "verdict": str, "remarks": [str],
    "rows": [{"slice": int, "method": str, **dict.fromkeys(FIGURES, FIGURE)}],
    "means": {str: {str: FIGURE}},
    "comparisons": [{
        **dict.fromkeys(("figure", "rival", "outcome"), str), "slices": int,
        **dict.fromkeys(("own", "theirs", "gain", "low", "high"), _NUMBER),
    }],
}  # fmt: skip
"""How `TrustReport.as_dict` is built."""


def trust(
    volume: Volume,
    request: Request | None = None,
    *,
    baselines: Sequence[str] = BASELINES,
    slices: int | str = DEFAULT_SLICES,
    progress: Progress | None = None,
    **options: Any,
) -> TrustReport:
    """Predict inner acquired slices from their neighbors, without themselves, by a method and by the baselines.

    request, options: as of `interpolate`; method, axis, units and device count. slices: how many are scored, evenly
    spread over the scan, or "all".

    The slices used lie twice as far apart as those that interpolation works with, so the errors are an upper
    estimate of what the interpolated slices have. Raises InputError for fewer than 4 slices, and for a volume
    that holds slices made by interpolation: only acquired ones can be the truth.
    """
    request = replace(request or Request(), **options)
    remarks: list[str] = []
    volume = as_requested(volume, request, remarks)
    check_volume(volume)
    check_acquired(volume, "The trust check", remarks)
    if volume.slice_count < 4:
        raise InputError(f"The trust check needs at least 4 slices; the volume has {volume.slice_count}.")
    if min(volume.slices.shape[1:]) < 16:
        raise InputError("The slices are smaller than 16 x 16 pixels; nothing can be compared on them.")
    gap = 2 * volume.slice_distance
    model = model_of(request.method)
    name = request.method if model is None else model.name
    if model is not None:
        warning = gap_warning(model, gap, "The trust check bridges slices")
        if warning:
            remarks.append(
                f"{warning} Interpolation bridges {gap / 2:.3g} mm only and may be better than this."
            )
    methods = (name, *(other for other in baselines if other != name))
    if not needs_torch(name):
        methods = _without_torch(methods, remarks)
    chosen, _ = choose_device(request.device, any(map(needs_torch, methods)))
    stack = SliceStack.of(volume)
    # Without HU scale the errors are counted in the window from the 1st to the 99th percentile.
    gain, offset = percentile_mapping(volume, *BRAIN_WINDOW)
    numbers = _choose(stack, slices, gain, offset, remarks)
    interpolators = {which: create(which, chosen, remarks.append) for which in methods}
    predictions = {which: one.predict_withheld(stack, numbers) for which, one in interpolators.items()}
    rows = []
    for done, number in enumerate(numbers, start=1):
        truth = SliceTruth(stack.image(number) * gain + offset, stack.pixel)
        for which, predicted in _next_of_all(predictions):
            check_prediction(predicted, stack.plausible, which, f"slice {number + 1}")
            figures = truth.score(predicted * gain + offset)
            for figure in figures:
                if figure.startswith("psnr"):
                    figures[figure] = min(figures[figure], _PERFECT_DB)
            rows.append({"slice": number, "method": which, **figures})
        if progress:
            progress("trust", done, len(numbers))
    if volume.units != "HU":
        remarks.append("No HU scale: percentiles 1 and 99 stand for -20 and 107 HU in all figures.")
    judged = [figure for figure in JUDGED if volume.units == "HU" or figure != "mae_intracranial"]
    comparisons = compare(rows, name, judged)
    trusted, verdict = judge(name, methods[1:], comparisons, len(numbers), gap)
    means = {which: {f: _mean(common(rows, f).get(which)) for f in FIGURES} for which in methods}
    return TrustReport(name, gap, numbers, rows, means, comparisons, trusted, verdict, remarks)


def _next_of_all(predictions: dict[str, Iterator[np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """The next slice of every method; those that need the flow there find it once."""
    if not any(map(needs_torch, predictions)):
        yield from ((which, next(stream)) for which, stream in predictions.items())
        return
    from ..networks.lucas_kanade import shared_flow

    with shared_flow():
        yield from ((which, next(stream)) for which, stream in predictions.items())


def _without_torch(methods: tuple[str, ...], remarks: list[str]) -> tuple[str, ...]:
    """The methods that can be used here: all, or without PyTorch the classical ones, and a remark."""
    try:
        import_torch()
    except InputError:
        left_out = [which for which in methods if needs_torch(which)]
        if left_out:
            remarks.append(f"Compared without {' and '.join(left_out)}, since PyTorch is not installed.")
        return tuple(which for which in methods if not needs_torch(which))
    return methods


def slices_to_score(slice_count: int, slices: int | str = DEFAULT_SLICES) -> int:
    """How many slices a trust check of so many slices scores, at most: each method predicts each of them once."""
    return len(_spread(inner_numbers(slice_count, FEWEST_SLICES), slices))


def _spread(numbers: list[int], slices: int | str) -> list[int]:
    """As many of the numbers as are asked for."""
    if slices == ALL_SLICES:
        return numbers
    if not isinstance(slices, int) or isinstance(slices, bool) or slices < 1:
        raise InputError(
            f"The slices to score are a whole number from 1 on, or '{ALL_SLICES}', not '{slices}'."
        )
    return evenly(numbers, slices)


def _choose(
    stack: SliceStack, slices: int | str, gain: float, offset: float, remarks: list[str]
) -> list[int]:
    """The slices to score: an even selection of those that hold something in the window."""
    low, high = BRAIN_WINDOW
    candidates, filled = inner_numbers(len(stack), FEWEST_SLICES), []
    for number in candidates:
        ends = stack.slices[number].min() * gain + offset, stack.slices[number].max() * gain + offset
        darkest, brightest = np.clip(ends, low, high)
        if darkest < brightest:
            filled.append(number)
    if len(filled) < len(candidates):
        remarks.append(
            f"{len(candidates) - len(filled)} of {len(candidates)} slices hold nothing in the window that errors are "
            "counted in, and are left out."
        )
    if candidates[0] == 1:
        remarks.append(
            "The stack is short: slices near its ends, predicted from fewer neighbors, are counted as well."
        )
    return _spread(filled, slices)


def common(rows: list[dict[str, Any]], figure: str) -> dict[str, np.ndarray]:
    """The values of a figure by method, on the slices where every method has it, so that means can be compared."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by_slice: dict[int, list[float]] = {}
    for row in rows:
        by_slice.setdefault(row["slice"], []).append(row[figure])
    table = np.array(list(by_slice.values()), dtype=np.float64).reshape(len(by_slice), len(methods))
    table = table[np.isfinite(table).all(axis=1)]
    return dict(zip(methods, table.T))


def compare(
    rows: list[dict[str, Any]], method: str, figures: Sequence[str] = tuple(JUDGED)
) -> list[Comparison]:
    """The method against the best other method in each figure; figures of too few slices are left out.

    rows: as of `TrustReport`, the same slices for every method in the same order.
    """
    comparisons = []
    for figure in figures:
        values, judged = common(rows, figure), JUDGED[figure]
        if len(values) < 2 or len(values[method]) < FEWEST_SLICES:
            continue
        others = [other for other in values if other != method]
        rival = max(others, key=lambda other: judged.sign * values[other].mean())
        interval = bootstrap_mean(judged.sign * (values[method] - values[rival]))
        if interval.mean < -judged.margin:
            outcome = "worse"
        elif interval.mean <= judged.margin:
            outcome = "equal"
        else:
            outcome = "better" if interval.low > 0 else "open"
        means = float(values[method].mean()), float(values[rival].mean())
        comparisons.append(
            Comparison(
                figure, rival, *means, interval.mean, interval.low, interval.high, interval.count, outcome
            )
        )
    return comparisons


def judge(
    method: str, others: Sequence[str], comparisons: list[Comparison], count: int, gap: float
) -> tuple[bool | None, str]:
    """Whether a method can be trusted on this scan, and why, in words; see `TrustReport`."""
    if not others:
        return None, "Nothing to compare with."
    if not comparisons:
        return None, (
            f"Too few slices to judge on this scan: {count} were withheld and compared, "
            f"at least {FEWEST_SLICES} are needed. "
            "Look at the slices themselves, beside those of --method flow."
        )
    what = (
        f"{'; '.join(str(one) for one in comparisons)}. Compared on {count} withheld slices, each predicted across "
        f"{gap:.3g} mm, with {_list(others)}"
    )
    lost = [one for one in comparisons if one.outcome == "worse"]
    won = any(one.outcome == "better" for one in comparisons)
    if not lost:
        how = (
            f"{method} predicts withheld slices best" if won else f"no method is clearly better than {method}"
        )
        return True, f"On this scan {how}: {what}."
    worst = min(lost, key=lambda one: one.gain / JUDGED[one.figure].margin)
    if won:
        losses = _list([f"{JUDGED[one.figure].title} to {one.rival}" for one in lost])
        how = f"{method} is not best throughout, it loses {losses}"
    else:
        how = f"{method} does not win"
    return False, f"Warning: on this scan {how}: {what}. Prefer --method {worst.rival}."


def _list(words: Sequence[str]) -> str:
    """'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _mean(values: np.ndarray | None) -> float:
    return float(values.mean()) if values is not None and len(values) else float("nan")


def trust_table(report: TrustReport) -> str:
    """Mean figures of each method as aligned text."""
    titles = (f"{one.title} {one.unit}".strip() for one in COLUMNS.values())
    lines = ["  ".join([f"{'method':<24}", *(f"{title:>14}" for title in titles)])]
    for method, means in report.means.items():
        values = [f"{in_digits(means[figure], one.digits):>14}" for figure, one in COLUMNS.items()]
        lines.append("  ".join([f"{method:<24}", *values]))
    return "\n".join(lines)
