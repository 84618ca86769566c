"""Plots as inline SVG: for pages that must show without scripts, files beside them, or matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from .markup import element

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00")
"""Of the series, told apart also by the color-blind (Okabe and Ito, 2008). A style sheet replaces them by the color of
the classes series-1, series-2, ..."""

_DASHES = (None, "7 4", "2 3", "9 3 2 3", "4 2", "1 2")  # told apart also in black and white
_FONT = 12.0
_LETTER = 0.56 * _FONT  # mean width
_LEFT, _RIGHT, _BOTTOM, _LINE = 64.0, 12.0, 44.0, 20.0
_MOST_MARKERS = 80  # of a series; more would hide the line


@dataclass(frozen=True)
class Series:
    """A line: x and y of equal length; what is not finite interrupts it. strong: the one that the plot is about."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    strong: bool = False


def line_plot(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    from_zero: bool = False,
    width: float = 760.0,
    height: float = 300.0,
) -> Element | None:
    """Lines over a common x axis, with axes, grid and a legend above; None where no value is finite.

    The picture fills the width of its place, in the proportions of width and height (the legend comes on top of
    that). Text and axes have the color of the text around them. Each marked point tells its value when pointed at.
    """
    points = [point for one in series for point in _finite(one)]
    if not points:
        return None
    xs, ys = zip(*points)
    x_low, x_high = min(xs), max(xs)
    whole = all(float(x).is_integer() for x in xs)
    x_ticks = _ticks(x_low, x_high, 10, inside=True, whole=whole)
    y_ticks = _ticks(min(0.0, *ys) if from_zero else min(ys), max(ys), 6)
    top, legend = _legend(series, width)
    right, bottom = width - _RIGHT, top + height - _BOTTOM

    def across(x: float) -> float:
        share = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        return round(_LEFT + 8 + share * (right - _LEFT - 16), 1)

    def up(y: float) -> float:
        return round(bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top), 1)

    parts = [_line(_LEFT, up(y), right, up(y), opacity=0.15) for y in y_ticks]
    parts += [_text(_LEFT - 8, up(y) + 4, _number(y, y_ticks), "end") for y in y_ticks]
    parts += [_line(across(x), bottom, across(x), bottom + 5) for x in x_ticks]
    parts += [_text(across(x), bottom + 18, _number(x, x_ticks), "middle") for x in x_ticks]
    parts.append(_line(_LEFT, bottom, right, bottom))
    parts.append(_text((_LEFT + right) / 2, bottom + 37, x_label, "middle"))
    middle = (top + bottom) / 2
    parts.append(_text(14, middle, y_label, "middle", transform=f"rotate(-90 14 {middle:g})"))
    for number, one in reversed(list(enumerate(series))):  # the first one on top
        parts.append(_colored(number, *_drawn(one, number, across, up)))
    return element(
        "svg", *legend, *parts, viewBox=f"0 0 {width:g} {top + height:g}", role="img", font_size=_FONT,
        aria_label=f"{y_label} against {x_label} of {', '.join(one.name for one in series)}",
    )  # fmt: skip


def band(colors: Sequence[str], vertical: bool = False) -> Element:
    """A row, or a column, of colored cells that fills its place, whatever its proportions."""
    count = len(colors)
    cells = [
        element("rect", x=0.0 if vertical else n + 0.04, y=n + 0.04 if vertical else 0.0, fill=color,
                width=1.0 if vertical else 0.92, height=0.92 if vertical else 1.0)
        for n, color in enumerate(colors)
    ]  # fmt: skip
    box = f"0 0 1 {count}" if vertical else f"0 0 {count} 1"
    return element("svg", *cells, viewBox=box, preserveAspectRatio="none", aria_hidden="true")


def _drawn(
    one: Series, number: int, across: Callable[[float], float], up: Callable[[float], float]
) -> Iterator[Element]:
    """The line of a series in its pieces, and its points."""
    pieces: list[list[str]] = [[]]
    for x, y in zip(one.x, one.y):
        if math.isfinite(x) and math.isfinite(y):
            pieces[-1].append(f"{across(x):g},{up(y):g}")
        else:
            pieces.append([])
    for piece in pieces:
        if len(piece) > 1:
            yield element("polyline", points=" ".join(piece), fill="none", **_stroke(one, number))
    points = list(_finite(one))
    if len(points) <= _MOST_MARKERS:
        for x, y in points:
            told = element("title", f"{one.name}: {y:.5g} at {x:g}")
            radius = 3.2 if one.strong else 2.2
            yield element("circle", told, cx=across(x), cy=up(y), r=radius, fill="currentColor")


def _legend(series: Sequence[Series], width: float) -> tuple[float, list[Element]]:
    """Where the plot below it begins, and the legend: as many lines of text as it needs."""
    x, y, parts = _LEFT, 14.0, []
    for number, one in enumerate(series):
        needed = 30 + len(one.name) * _LETTER + 20
        if x > _LEFT and x + needed > width:
            x, y = _LEFT, y + _LINE
        sample = element("line", x1=x, y1=y - 4, x2=x + 24, y2=y - 4, **_stroke(one, number))
        parts += [_colored(number, sample), _text(x + 30, y, one.name, "start")]
        x += needed
    return y + 14, parts


def _colored(number: int, *parts: Element) -> Element:
    """Parts in the color of a series."""
    number %= len(COLORS)
    return element("g", *parts, class_=f"series-{number + 1}", color=COLORS[number])


def _stroke(one: Series, number: int) -> dict[str, str | float | None]:
    dashes = None if one.strong else _DASHES[number % len(_DASHES)]
    return {"stroke": "currentColor", "stroke_width": 2.6 if one.strong else 1.6, "stroke_dasharray": dashes}


def _finite(one: Series) -> Iterator[tuple[float, float]]:
    return ((x, y) for x, y in zip(one.x, one.y) if math.isfinite(x) and math.isfinite(y))


def _ticks(low: float, high: float, count: int, inside: bool = False, whole: bool = False) -> list[float]:
    """Round numbers, about `count`, from `low` to `high`: around them, or with `inside` between them."""
    span = high - low or abs(high) * 0.1 or 1.0
    if high == low and not inside:
        low, high = low - span / 2, high + span / 2
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = low / step, high / step
    if inside:
        first, last = math.ceil(first - 1e-9), math.floor(last + 1e-9)
    else:
        first, last = math.floor(first + 1e-9), math.ceil(last - 1e-9)
    return [n * step for n in range(first, last + 1)] or [low]


def _number(value: float, ticks: Sequence[float]) -> str:
    """A tick in as many decimals as their distance needs."""
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9)) if len(ticks) > 1 else 7
    return f"{value:.{decimals}f}" if decimals < 7 and abs(value) < 1e6 else f"{value:g}"


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float = 0.6) -> Element:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke="currentColor", stroke_opacity=opacity)


def _text(x: float, y: float, text: str, anchor: str, **attributes: str) -> Element:
    return element("text", text, x=x, y=y, text_anchor=anchor, fill="currentColor", **attributes)
