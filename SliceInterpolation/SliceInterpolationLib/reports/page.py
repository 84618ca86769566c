"""One page about a scan and its result: a single HTML file that needs nothing beside it, to read, print and keep."""

from __future__ import annotations

import base64
import datetime
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from .. import __version__
from ..volume import ACQUIRED, DENOISED, MAP, PROVENANCE_NAMES, SYNTHESIZED, UNKNOWN, Volume
from .markup import as_html, element
from .noise import NoiseReport, noise_alternation
from .page_style import STYLE
from .reformat import (
    PLANES,
    View,
    body_box,
    caption,
    cut,
    default_window,
    gray,
    interesting_point,
    number_at,
    slice_plane,
)
from .svg import Series, band, line_plot
from .trust import COLUMNS, TrustReport

_LETTER_COLORS = {
    ACQUIRED: "#2f7d55", SYNTHESIZED: "#f0a33a", DENOISED: "#4f8fd0", MAP: "#a77bb5", UNKNOWN: "#9a9a9a",
}  # fmt: skip
_EDGES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # left, right, top, bottom of the picture
_BAR_MM = 50.0
_FINE = 300  # pixels in a row: fewer are enlarged on a screen, and then stay squares
_NONE = "–"


def study_page(
    scan: Volume,
    result: Volume | None = None,
    *,
    title: str = "Slice interpolation report",
    trust: TrustReport | None = None,
    noise: NoiseReport | None = None,
    noise_rows: Sequence[dict[str, Any]] = (),
    measurements: Sequence[dict[str, Any]] = (),
    remarks: Iterable[str] = (),
    window: tuple[float, float] | None = None,
    position: Sequence[float] | None = None,
) -> str:
    """The page as HTML text, without script and without anything loaded from elsewhere.

    Of the patient it says what `title` and `remarks` say, no more: file names and header entries stay out.
    result: `scan` interpolated or denoised. noise_rows: of `noise.noise_before_and_after`. measurements: rows of
    `measure.measure`. remarks: what the user was told; those that begin with "Warning" stand on top. window: center
    and width, as of `compare_picture`. position: LPS mm of the point that the planes go through; by default the
    middle, on a synthesized slice. A part that is not given has no place on the page.
    Raises InputError for a result that does not belong to the scan.
    """
    if result is not None:
        result.refinement_of(scan)
        result = result.along(scan.slice_axis)
    shown = [("Original", scan)] if result is None else [("Original", scan), ("Result", result)]
    told = list(
        dict.fromkeys([*remarks, *(trust.remarks if trust else ()), *(noise.remarks if noise else ())])
    )
    warnings = [text for text in told if text.lower().startswith("warning")]
    window = window or default_window(shown[-1][1])
    point = interesting_point(shown[-1][1]) if position is None else np.asarray(position, dtype=float)
    body = element(
        "main",
        element("header", element("h1", title), element("p", _lead(scan, result), class_="lead")),
        _verdict(trust) if trust else None,
        *(element("p", text, class_="verdict warn") for text in warnings),
        _images(shown, window, point),
        _trust(trust) if trust else None,
        _noise(scan, noise, noise_rows, window),
        _measurements(measurements),
        _geometry(shown),
        _history((result or scan).history),
        _remarks([text for text in told if text not in warnings]),
        element(
            "footer",
            f"Made by SliceInterpolation {__version__} on {datetime.date.today():%B %d, %Y}. "
            "Not a medical device: for research, not for diagnosis.",
        ),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        # Whatever a text on the page may hold, a browser loads and runs nothing.
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; img-src data:; style-src 'unsafe-inline'",
        ),
        element("title", title),
        element("style", STYLE),
    )
    return as_html(element("html", head, element("body", body), lang="en"))


def _lead(scan: Volume, result: Volume | None) -> str:
    """What was made of what, in one sentence."""
    given = f"{scan.slice_count} slices every {scan.slice_spacing:.4g} mm"
    if result is None:
        return f"{given}: {_counted(scan)}."
    made = _counted(result)
    if result.slice_count == scan.slice_count:
        return f"{given}, denoised: {made}."
    return f"{given} became {result.slice_count} every {result.slice_spacing:.4g} mm: {made}."


def _counted(volume: Volume) -> str:
    counts = {letter: volume.provenance.count(letter) for letter in _LETTER_COLORS}
    return ", ".join(f"{count} {PROVENANCE_NAMES[letter]}" for letter, count in counts.items() if count)


def _verdict(trust: TrustReport) -> Element:
    kind = {True: "good", False: "warn"}.get(trust.trusted, "open")
    return element("p", element("b", "Trust check. "), trust.verdict, class_=f"verdict {kind}")


def _section(title: str, *parts: Element | None) -> Element | None:
    """A part of the page with its heading; None where there is nothing in it."""
    return element("section", element("h2", title), *parts) if any(p is not None for p in parts) else None


# ------------------------------------------------------------------------------------------------------- images


def _images(
    shown: list[tuple[str, Volume]], window: tuple[float, float], point: np.ndarray
) -> Element | None:
    """A row a volume, the planes as columns, all at one scale; below, what their colors and grays mean."""
    box = body_box(shown[-1][1])
    rows = []
    letters = ""
    for name, volume in shown:
        views = [cut(volume, plane, number_at(volume, plane, point), box) for plane in PLANES]
        letters += volume.provenance
        spacing = f"slices every {volume.slice_spacing:.4g} mm"
        rows.append(element("h3", name, element("small", f" {spacing}")))
        rows.append(
            _picture_row([_figure(volume, view, window, caption(volume, view)) for view in views], views)
        )
    key = [
        element("span", element("i", style=f"background:{color}"), PROVENANCE_NAMES[letter])
        for letter, color in _LETTER_COLORS.items()
        if letter in letters
    ]
    center, width = window
    units = "HU" if shown[-1][1].units == "HU" else "in the units of the scan"
    place = ", ".join(
        f"{positive if mm >= 0 else negative} {abs(mm):.1f}"
        for mm, positive, negative in zip(point, "LPS", "RAI")
    )
    note = (
        f"Window: center {center:.4g}, width {width:.4g} {units}, the same in all pictures. All planes go through "
        f"{place} mm. Slices are as high as they lie apart, in true proportions; nothing is interpolated for display."
    )
    return _section(
        "Original and result" if len(shown) > 1 else "Images",
        *rows,
        element("p", *key, class_="key"),
        element("p", note, class_="note"),
    )


def _picture_row(figures: list[Element], views: Sequence[View]) -> Element:
    columns = " ".join(f"{view.width:.6g}fr" for view in views)
    return element("div", *figures, class_="views", style=f"grid-template-columns:{columns}")


def _figure(volume: Volume, view: View, window: tuple[float, float], text: str) -> Element:
    """A plane with the letters of its sides, a bar of 5 cm, and the provenance of the slices along its edge."""
    pixels = _stretched(gray(view.image, window), view)
    picture = element(
        "img", src=_data_uri(pixels), alt=text, width=float(pixels.shape[1]), height=float(pixels.shape[0]),
        class_="coarse" if view.image.shape[1] < _FINE else None,
        style=f"aspect-ratio:{view.width:.6g}/{view.height:.6g}",
    )  # fmt: skip
    sides = [
        element("span", letter, class_=f"side {side}")
        for letter, side in zip(_EDGES[view.plane], ("left", "right", "top", "bottom"))
    ]
    bar = None
    if view.plane == "axial" and view.width > 2 * _BAR_MM:
        bar = element("span", "5 cm", class_="bar", style=f"width:{100 * _BAR_MM / view.width:.4g}%")
    strips = [
        element("div", band([_LETTER_COLORS[letter] for letter in letters], vertical), class_=f"strip {where}")
        for letters, vertical, where in ((view.row_letters, True, "beside"), (view.column_letters, False, "below"))
        if letters
    ]  # fmt: skip
    letter = volume.provenance[view.number] if view.plane == slice_plane(volume) else ""
    made = f" made-{letter.lower()}" if letter in (SYNTHESIZED, DENOISED) else ""
    return element(
        "figure",
        element("div", picture, *sides, bar, *strips, class_="frame" + made),
        element("figcaption", text[0].upper() + text[1:], class_=made.strip() or None),
    )


def _stretched(pixels: np.ndarray, view: View) -> np.ndarray:
    """Rows and columns repeated until pixels are about square, as thick slices are: no viewer then blends them."""
    height, width = view.height / view.image.shape[0], view.width / view.image.shape[1]
    rows, columns = (max(1, round(mm / min(height, width))) for mm in (height, width))
    return pixels.repeat(rows, axis=0).repeat(columns, axis=1)


def _data_uri(pixels: np.ndarray) -> str:
    """A gray image, (rows, columns) uint8, as a PNG inside a link; in memory, so that it is left behind nowhere."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


# ------------------------------------------------------------------------------------------------------ figures


def _trust(trust: TrustReport) -> Element | None:
    """Mean figures of each method, the best of a column in bold, and the errors slice by slice."""
    columns = {
        figure: column
        for figure, column in COLUMNS.items()
        if any(math.isfinite(_value(means.get(figure))) for means in trust.means.values())
    }
    best = {}
    for figure, column in columns.items():
        values = [column.sign * _value(means.get(figure)) for means in trust.means.values()]
        best[figure] = max(value for value in values if not math.isnan(value)) if column.sign else None
    rows = []
    for method, means in trust.means.items():
        cells: list[Any] = [method]
        for figure, column in columns.items():
            value = _value(means.get(figure))
            text = _fixed(value, column.digits)
            cells.append(element("b", text) if column.sign * value == best[figure] else text)
        rows.append(cells)
    heads = [_headed(column.title[0].upper() + column.title[1:], column.unit) for column in columns.values()]
    table = _table(["Method", *heads], rows)
    lines = []
    for method in trust.means:
        own = sorted(
            (row["slice"] + 1, _value(row["psnr_brain"])) for row in trust.rows if row["method"] == method
        )
        lines.append(Series(method, *(zip(*own) if own else ((), ())), strong=method == trust.method))
    note = (
        f"Slices of the scan were withheld, predicted across gaps of {trust.gap_mm:.3g} mm from those around them, "
        "and compared with what was scanned. Interpolation bridges half of that; its own errors are smaller."
    )
    plot = line_plot(lines, "withheld slice", "PSNR in the window, dB")
    return _section("Trust check", element("p", note, class_="note"), table, _plot(plot))


def _noise(
    scan: Volume, noise: NoiseReport | None, rows: Sequence[dict[str, Any]], window: tuple[float, float]
) -> Element | None:
    """What the method would remove from the acquired slices, and the noise along scan and result."""
    parts: list[Element | None] = []
    unit = "HU" if scan.units == "HU" else ""
    noise_sd = f"noise SD, {unit}" if unit else "noise SD"
    if noise is not None:
        acquired, predicted = (_median(noise.rows, key) for key in ("noise_acquired", "noise_predicted"))
        facts = [
            [_headed("Noise SD of the slices of the scan", unit), _fixed(acquired, 2)],
            [_headed(f"Noise SD of the same slices predicted by {noise.method}", unit), _fixed(predicted, 2)],
            ["Reduction", f"{_fixed(100 * _median(noise.rows, 'reduction'), 0)} %"],
            ["Places where the residual holds more than noise", str(noise.blobs)],
        ]
        parts.append(_table(["Median over the slices", ""], facts))
        parts.append(_residual(scan, noise, window, acquired, unit))
    lines = [
        Series(
            which,
            [row["position_mm"] for row in rows if row["volume"] == which],
            [_value(row["noise"]) for row in rows if row["volume"] == which],
            strong=which == "result",
        )
        for which in dict.fromkeys(row["volume"] for row in rows)
    ]
    plot = line_plot(lines, "position along the slices, mm", noise_sd, from_zero=True)
    if plot is not None:
        alternation = ", ".join(
            f"{one.name} {_fixed(noise_alternation([{'noise': value} for value in one.y]), 3)}"
            for one in lines
        )
        parts += [
            _plot(plot),
            element(
                "p", f"Alternation of the noise from slice to slice (0: none): {alternation}.", class_="note"
            ),
        ]
    elif noise is not None:
        numbers = [row["slice"] + 1 for row in noise.rows]
        parts.append(_plot(line_plot(
            [Series(name, numbers, [_value(row[key]) for row in noise.rows])
             for name, key in (("acquired", "noise_acquired"), (f"predicted by {noise.method}", "noise_predicted"))],
            "slice", noise_sd, from_zero=True,
        )))  # fmt: skip
    return _section("Noise", *parts)


def _residual(
    scan: Volume, noise: NoiseReport, window: tuple[float, float], sd: float, unit: str
) -> Element | None:
    """The slice with the most tissue, and what prediction takes away from it, in gray around zero."""
    if not noise.rows:
        return None
    number = max(noise.rows, key=lambda row: row["tissue_pixels"])["slice"]
    plane, box = slice_plane(scan), body_box(scan)
    limit = 4 * sd if math.isfinite(sd) and sd > 0 else 20.0
    pictures = (
        (scan, window, caption(scan, cut(scan, plane, number, box))),
        (
            noise.residual,
            (0.0, 2 * limit),
            f"residual of it: black −{limit:.3g}, white {limit:.3g} {unit}".rstrip(),
        ),
    )
    views = [cut(volume, plane, number, box) for volume, _, _ in pictures]
    figures = [
        _figure(volume, view, gray_window, text) for (volume, gray_window, text), view in zip(pictures, views)
    ]
    row = _picture_row(figures, views)
    row.set("class", "views pair")
    return row


_MEASURE_COLUMNS = (
    ("Volume", "mL", lambda row: _fixed(_value(row.get("volume_ml")), 2)),
    ("Surface", "mL", lambda row: _fixed(_value(row.get("surface_volume_ml")), 2)),
    ("ABC/2", "mL", lambda row: _fixed(_value(row.get("abc2_ml")), 2)),
    ("A × B × C", "mm", lambda row: " × ".join(_fixed(_value(row.get(f"{a}_mm")), 0) for a in "abc")),
    ("Mean ± SD", "HU", lambda row: " ± ".join(_fixed(_value(row.get(f"{a}_hu")), 1) for a in ("mean", "sd"))),
    ("Change", "mL", lambda row: _fixed(_value(row.get("difference_ml")), 2, signed=True)),
    ("Change", "%", lambda row: _fixed(_value(row.get("difference_percent")), 1, signed=True)),
)  # fmt: skip


def _measurements(rows: Sequence[dict[str, Any]]) -> Element | None:
    """Each segment on each grid; the change is against the acquired grid."""
    if not rows:
        return None
    heads = ["Segment", "Grid", *(_headed(title, unit) for title, unit, _ in _MEASURE_COLUMNS)]
    cells = [
        [str(row.get("segment", "")), str(row.get("grid", "")), *(shown(row) for _, _, shown in _MEASURE_COLUMNS)]
        for row in rows
    ]  # fmt: skip
    note = (
        "Volume: voxels of the segment. Surface: what its closed surface encloses. ABC/2: the usual estimate of a "
        "hematoma from its largest diameters and its height. Change: of the volume against the acquired grid."
    )
    return _section("Measurements", _table(heads, cells, names=2), element("p", note, class_="note"))


def _geometry(shown: list[tuple[str, Volume]]) -> Element | None:
    """What each volume is made of, and its grid."""
    volumes = [volume for _, volume in shown]
    facts: list[list[Any]] = [["Slices", *(str(v.slice_count) for v in volumes)]]
    for letter, name in PROVENANCE_NAMES.items():
        counts = [v.provenance.count(letter) for v in volumes]
        if any(counts):
            facts.append([element("span", name, class_="sub"), *(str(count) for count in counts)])
    facts.append([_headed("Slice spacing", "mm"), *(f"{v.slice_spacing:.4g}" for v in volumes)])
    if any(v.slice_thickness for v in volumes):
        thickness = (f"{v.slice_thickness:.4g}" if v.slice_thickness else _NONE for v in volumes)
        facts.append([_headed("Slice thickness", "mm"), *thickness])
    facts.append(["Slices lie", *(slice_plane(v) for v in volumes)])
    if any(v.is_sheared for v in volumes):
        tilts = (np.degrees(np.arccos(min(v.slice_distance / v.slice_spacing, 1.0))) for v in volumes)
        facts.append([_headed("Gantry tilt", "degrees"), *(f"{tilt:.1f}" for tilt in tilts)])
    facts += [
        [_headed("Rows × columns", "pixels"), *(f"{v.slices.shape[1]} × {v.slices.shape[2]}" for v in volumes)],
        [_headed("Pixel", "mm"), *(" × ".join(f"{mm:.4g}" for mm in v.pixel_spacing) for v in volumes)],
        [_headed("Origin", "LPS mm"), *(", ".join(_fixed(mm, 2) for mm in v.origin) for v in volumes)],
        ["Voxels", *(f"{v.array.dtype}, {_units(v)}" for v in volumes)],
    ]  # fmt: skip
    return _section("Slices and geometry", _table(["", *(name for name, _ in shown)], facts))


def _units(volume: Volume) -> str:
    return f"{volume.units} (assumed)" if volume.units_guessed else volume.units


_RUN_ENTRIES = {
    "method": "Method",
    "model_sha256": "SHA-256 of the model",
    "factor": "Factor",
    "output_mode": "Output mode",
    "strength": "Denoising strength",
    "axis": "Slice axis",
    "units": "Units",
    "slices": "Slices given",
    "device": "Device",
    "force": "Forced",
    "version": "Version of SliceInterpolation",
}


def _history(history: Sequence[dict[str, Any]]) -> Element | None:
    """How the volume was made, run by run; of a header only the entries that are known here."""
    facts = []
    for key, title in _RUN_ENTRIES.items():
        values = [run.get(key) for run in history]
        if key == "strength":
            values = [
                v if run.get("output_mode") != "interpolated" else None for v, run in zip(values, history)
            ]
        if key == "force":
            values = ["yes" if value else None for value in values]
        if any(value is not None for value in values):
            facts.append([title, *(_NONE if value is None else str(value) for value in values)])
    if not facts:
        return None
    heads = ["", *(f"Run {n}" if len(history) > 1 else "" for n in range(1, len(history) + 1))]
    return _section("How it was made", _table(heads, facts, numbers=False))


def _remarks(texts: list[str]) -> Element | None:
    items = [element("li", text) for text in texts]
    return _section("Remarks", element("ul", *items)) if items else None


# ------------------------------------------------------------------------------------------------------- pieces


def _table(
    heads: Sequence[Any], rows: Sequence[Sequence[Any]], names: int = 1, numbers: bool = True
) -> Element:
    """A table of texts and elements: the first `names` columns are words, the others numbers, aligned right."""

    def cells(tag: str, values: Sequence[Any]) -> list[Element]:
        return [
            element("th" if n < names and tag == "td" else tag, value,
                    class_="number" if n >= names and numbers else None,
                    scope="col" if tag == "th" else "row" if n < names else None)
            for n, value in enumerate(values)
        ]  # fmt: skip

    head = element("thead", element("tr", *cells("th", heads))) if any(heads) else None
    body = element("tbody", *(element("tr", *cells("td", row)) for row in rows))
    return element("div", element("table", head, body), class_="table" if numbers else "table words")


def _headed(title: str, unit: str) -> Element | str:
    """A title with its unit, lighter."""
    return element("span", title, element("small", f" {unit}")) if unit else title


def _plot(plot: Element | None) -> Element | None:
    return None if plot is None else element("div", plot, class_="plot")


def _median(rows: Sequence[dict[str, Any]], key: str) -> float:
    finite = [value for value in (_value(row[key]) for row in rows) if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan


def _value(value: Any) -> float:
    """A figure as a number; NaN where there is none: reports in JSON have None there, tables in CSV an empty text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _fixed(value: float, digits: int, signed: bool = False) -> str:
    if math.isnan(value):
        return _NONE
    if math.isinf(value):
        return "∞"
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return (text[1:] if float(text) == 0 and text[0] in "+-" else text).replace("-", "−")
