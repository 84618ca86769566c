"""What was measured, on a page: the trust check, the noise, the segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

from ...volume import Volume
from ..markup import element
from ..noise import NoiseReport, noise_alternation
from ..reformat import body_box, caption, cut, slice_plane
from ..svg import Series, line_plot
from ..trust import COLUMNS, TrustReport
from .images import picture_row
from .pieces import Cell, defined, fixed, framed, headed, note, section, table


def verdict(trust: TrustReport) -> Element:
    """The sentence of the trust check, marked as good, as a warning, or as neither."""
    kind = {True: "good", False: "warn"}.get(trust.trusted, "open")
    return element("p", element("b", "Trust check. "), trust.verdict, class_=f"verdict {kind}")


def trust_section(trust: TrustReport) -> Element | None:
    """Mean figures of each method, the best of a column in bold, and the errors slice by slice."""
    columns = {
        figure: column
        for figure, column in COLUMNS.items()
        if any(math.isfinite(defined(means.get(figure))) for means in trust.means.values())
    }
    best = {}
    for figure, column in columns.items():
        values = [column.sign * defined(means.get(figure)) for means in trust.means.values()]
        best[figure] = max(value for value in values if not math.isnan(value)) if column.sign else None
    rows = []
    for method, means in trust.means.items():
        cells: list[Cell] = [method]
        for figure, column in columns.items():
            text = fixed(means.get(figure), column.digits)
            is_best = column.sign * defined(means.get(figure)) == best[figure]
            cells.append(element("b", text) if is_best else text)
        rows.append(cells)
    heads = [headed(column.title[0].upper() + column.title[1:], column.unit) for column in columns.values()]
    lines = []
    for method in trust.means:
        own = sorted((row["slice"] + 1, row["psnr_brain"]) for row in trust.rows if row["method"] == method)
        values = [defined(value) for _, value in own]
        lines.append(Series(method, [number for number, _ in own], values, strong=method == trust.method))
    explained = (
        f"Slices of the scan were withheld, predicted across gaps of {trust.gap_mm:.3g} mm from those around them, "
        "and compared with what was scanned. Interpolation bridges half of that: take these errors as an upper "
        "estimate of its own."
    )
    plot = line_plot(lines, "withheld slice", "PSNR in the window, dB")
    return section("Trust check", note(explained), table(["Method", *heads], rows), framed(plot))


def noise_section(
    scan: Volume,
    noise: NoiseReport | None,
    rows: Sequence[dict[str, Any]],
    window: tuple[float, float],
) -> Element | None:
    """What a prediction takes away from the slices of the scan, and the noise along scan and result.

    rows: of `noise_before_and_after`. window: of the picture of the scan.
    """
    unit = "HU" if scan.units == "HU" else ""
    along = _noise_along(rows)
    parts: list[Element | None] = []
    if noise is not None:
        own, predicted = (noise.median(key) for key in ("noise_acquired", "noise_predicted"))
        facts = [
            [headed("Noise SD of the slices of the scan", unit), fixed(own, 2)],
            [headed(f"Noise SD of the same slices predicted by {noise.method}", unit), fixed(predicted, 2)],
            ["Reduction", f"{fixed(100 * noise.median('reduction'), 0)} %"],
            ["Places where the residual holds more than noise", str(noise.blobs)],
        ]
        parts += [table(["Median over the slices", ""], facts), _residual(scan, noise, window, own, unit)]
        along = along or _noise_by_slice(noise)
    if along:
        x_label = "position along the slices, mm" if rows else "slice"
        y_label = f"noise SD, {unit}" if unit else "noise SD"
        parts.append(framed(line_plot(along, x_label, y_label, from_zero=True)))
    if rows:
        found = (
            f"{one.name} {fixed(noise_alternation([{'noise': value} for value in one.y]), 3)}"
            for one in along
        )
        parts.append(note(f"Alternation of the noise from slice to slice (0: none): {', '.join(found)}."))
    return section("Noise", *parts)


def _noise_along(rows: Sequence[dict[str, Any]]) -> list[Series]:
    lines = []
    for which in dict.fromkeys(row["volume"] for row in rows):
        own = [row for row in rows if row["volume"] == which]
        places, values = [defined(row["position_mm"]) for row in own], [defined(row["noise"]) for row in own]
        lines.append(Series(which, places, values, strong=which == "result"))
    return lines


def _noise_by_slice(noise: NoiseReport) -> list[Series]:
    numbers = [row["slice"] + 1 for row in noise.rows]
    names = {"scan": "noise_acquired", f"predicted by {noise.method}": "noise_predicted"}
    return [Series(name, numbers, [defined(row[key]) for row in noise.rows]) for name, key in names.items()]


def _residual(
    scan: Volume, noise: NoiseReport, window: tuple[float, float], sd: float, unit: str
) -> Element | None:
    """The slice with the most tissue, and what a prediction takes away from it, in gray around zero."""
    if not noise.rows or noise.residual is None:
        return None
    number = max(noise.rows, key=lambda row: row["tissue_pixels"])["slice"]
    plane, box = slice_plane(noise.residual), body_box(scan)
    limit = 4 * sd if sd > 0 else 20.0
    slice_view, residual_view = (cut(volume, plane, number, box) for volume in (scan, noise.residual))
    text = f"residual of it: black −{limit:.3g}, white {limit:.3g} {unit}".rstrip()
    return picture_row(
        [
            (scan, slice_view, window, caption(scan, slice_view)),
            (noise.residual, residual_view, (0.0, 2 * limit), text),
        ],
        "pair",
    )


def measure_section(rows: Sequence[dict[str, Any]]) -> Element | None:
    """Each segment on each grid; the change is against the acquired grid. rows: of `measure.measure`."""
    if not rows:
        return None
    heads = [
        "Segment", "Grid", headed("Volume", "mL"), headed("Surface", "mL"), headed("ABC/2", "mL"),
        headed("A × B × C", "mm"), headed("Mean ± SD", "HU"), headed("Change", "mL"), headed("Change", "%"),
    ]  # fmt: skip
    cells = [
        [
            str(row.get("segment", "")),
            str(row.get("grid", "")),
            *(fixed(row.get(key), 2) for key in ("volume_ml", "surface_volume_ml", "abc2_ml")),
            " × ".join(fixed(row.get(key), 0) for key in ("a_mm", "b_mm", "c_mm")),
            " ± ".join(fixed(row.get(key), 1) for key in ("mean_hu", "sd_hu")),
            fixed(row.get("difference_ml"), 2, signed=True),
            fixed(row.get("difference_percent"), 1, signed=True),
        ]
        for row in rows
    ]
    explained = (
        "Volume: voxels of the segment. Surface: what its closed surface encloses. ABC/2: the usual estimate of a "
        "hematoma from its largest diameters and its height. Change: of the volume against the acquired grid."
    )
    return section("Measurements", table(heads, cells, names=2), note(explained))
