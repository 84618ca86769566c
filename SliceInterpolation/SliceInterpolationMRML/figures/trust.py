"""The trust report in the scene: a table and a plot, a slice a row, and the verdict for the panel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SliceInterpolationLib.errors import InputError

from ..i18n import _
from ..nodes import PREFIX, placeInFolderOf
from .kept import figure as keptFigure
from .kept import keepFigures
from .tablesAndPlots import plot, tableFromRows


def figureTitles() -> dict[str, str]:
    """Figures of the report that can be plotted, with the title of the axis."""
    return {
        "psnr_brain": _("PSNR in the brain window (dB)"),
        "ssim_brain": _("SSIM in the brain window"),
        "mae_hu": _("mean absolute error (HU)"),
        "mae_intracranial": _("mean absolute error inside the skull (HU)"),
        "noise_ratio": _("noise, predicted over acquired"),
        "lesion_hu": _("largest difference of a 3 mm blob (HU)"),
    }


def showTrust(scanNode, report: dict[str, Any] | str | Path, figure: str = "psnr_brain") -> dict[str, Any]:
    """Show a trust report of a scan: what `SliceInterpolationLib.reports.trust` returns `as_dict`, or its JSON file.

    figure: one of `figureTitles`, for table "bySlice" and the plot "plot": a row for each withheld slice, a column for
    each method. "means" is a table of the mean figures of each method. The verdict is an attribute of both tables
    ("SliceInterpolation.Verdict"). Raises InputError for something that is no trust report.
    """
    report = loadReport(report)
    titles = figureTitles()
    if figure not in titles:
        raise ValueError(f"{figure} is none of {tuple(titles)}")
    name = scanNode.GetName()
    title = _("{name} trust check").format(name=name)
    methods = list(report["means"])
    means = [{"method": method, **report["means"][method]} for method in methods]
    meansTable = tableFromRows(
        means,
        title,
        tableNode=keptFigure(scanNode, "trust", "means"),
        referenceNode=scanNode,
    )
    bySlice: dict[int, dict[str, Any]] = {}
    for row in report["rows"]:
        # Slices are counted from 1 wherever people read them.
        number = int(row["slice"]) + 1
        bySlice.setdefault(number, {"slice": number, **dict.fromkeys(methods)})[row["method"]] = row[figure]
    rows = [bySlice[number] for number in sorted(bySlice)]
    table = tableFromRows(
        rows,
        _("{name} trust check by slice").format(name=name),
        tableNode=keptFigure(scanNode, "trust", "bySlice"),
        referenceNode=scanNode,
    )
    chart = plot(table, title, methods, "slice", titles[figure])
    placeInFolderOf(chart, scanNode)
    for node in (meansTable, table):
        node.SetAttribute(PREFIX + "Verdict", report["verdict"])
        node.SetAttribute(PREFIX + "Trusted", "1" if report["trusted"] else "0")
    return keepFigures(scanNode, "trust", {"means": meansTable, "bySlice": table, "plot": chart})


def loadReport(report: dict[str, Any] | str | Path) -> dict[str, Any]:
    """A trust report as a dict, from a dict or a JSON file; InputError where it is none."""
    if not isinstance(report, dict):
        try:
            report = json.loads(Path(report).read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                _("'{report}' is not a readable trust report; run the trust check again.").format(
                    report=report
                )
            ) from error
    missing = {"method", "gap_mm", "rows", "means", "trusted", "verdict"} - set(report)
    if missing:
        raise InputError(
            _("The trust report lacks {missing}; run the trust check again.").format(
                missing=", ".join(sorted(missing))
            )
        )
    return report


def warnings(report: dict[str, Any] | str | Path) -> list[str]:
    """What the panel should warn of: the method does not win on this scan, or the gap is outside of its range.

    The check bridges twice the slice distance, interpolation the distance itself; the range of the model is
    compared with the latter. Empty where there is nothing to warn of.
    """
    from SliceInterpolationLib.catalogue import list_models

    report = loadReport(report)
    found = [] if report["trusted"] else [report["verdict"]]
    gap = report["gap_mm"] / 2
    for model in list_models():
        low, high = model.gap_mm
        if model.name == report["method"] and not low <= gap <= high:
            found.append(
                _(
                    "Slices {gap:.3g} mm apart lie outside of the range {low:g} to {high:g} mm that {model} was "
                    "trained for; compare with flow and cubic."
                ).format(gap=gap, low=low, high=high, model=model.name)
            )
    return found
