"""One page about a scan and its result."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import __version__
from ...errors import InputError
from ...volume import AXES, GRID_TOLERANCE_MM, Volume
from ..markup import element
from ..noise import NoiseReport
from ..reformat import default_window, interesting_point, nearest_voxel
from ..trust import TrustReport
from .facts import geometry_section, history_section, lead
from .figures import measure_section, noise_section, trust_section, verdict
from .images import planes_section
from .pieces import document, section

TITLE = "Slice interpolation report"


def study_page(
    scan: Volume,
    result: Volume | None = None,
    *,
    title: str = TITLE,
    trust: TrustReport | None = None,
    noise: NoiseReport | None = None,
    noise_rows: Sequence[dict[str, Any]] = (),
    measurements: Sequence[dict[str, Any]] = (),
    remarks: Iterable[str] = (),
    window: tuple[float, float] | None = None,
    position: Sequence[float] | None = None,
) -> str:
    """The page as HTML text, without scripts and without anything loaded from elsewhere.

    Of the patient it says what `title` and `remarks` say, no more: file names and header entries stay out.
    result: `scan` interpolated or denoised. noise_rows: of `noise.noise_before_and_after`. measurements: rows of
    `measure.measure`. remarks: what the user was told; those that begin with "Warning" stand on top. window: center
    and width, by default as of `default_window`. position: LPS mm of the point that the planes go through, brought
    into the scan where it lies outside; by default the middle, on a synthesized slice where there is one. A part
    that is not given has no place on the page.
    Raises InputError for a result or report that does not belong to the scan, and for a window without width.

    Example::

        page = study_page(scan, result.volume, title="Case 7", trust=trust(scan), remarks=result.remarks)
        Path("case-7.html").write_text(page, encoding="utf-8")
    """
    shown = [("Original", scan)]
    if result is not None:
        result.refinement_of(scan)
        shown.append(("Result", result.along(scan.slice_axis)))
    if trust is not None:
        _check_trust(scan, trust)
    if noise is not None and noise.residual is not None and not noise.residual.same_grid(scan):
        raise InputError("The noise maps do not belong to this scan: their grid is another one.")
    last = shown[-1][1]
    window = window or default_window(last)
    if not window[1] > 0:
        raise InputError(f"The width of the window must be above 0, not {window[1]:g}.")
    point = interesting_point(last) if position is None else nearest_voxel(last, np.asarray(position, float))
    told = dict.fromkeys([*remarks, *(trust.remarks if trust else ()), *(noise.remarks if noise else ())])
    warnings = [text for text in told if text.lower().startswith("warning")]
    others = [element("li", text) for text in told if text not in warnings]
    title = title.strip() or TITLE
    return document(
        title,
        element("header", element("h1", title), element("p", lead(*(v for _, v in shown)), class_="lead")),
        verdict(trust) if trust else None,
        *(element("p", text, class_="verdict warn") for text in warnings),
        planes_section(shown, window, point),
        trust_section(trust) if trust else None,
        noise_section(scan, noise, noise_rows, window),
        measure_section(measurements),
        geometry_section(shown),
        history_section(last.history),
        section("Remarks", element("ul", *others) if others else None),
        element(
            "footer",
            f"Made by SliceInterpolation {__version__} on {datetime.date.today():%B %d, %Y}. "
            "Not a medical device: for research, not for diagnosis.",
        ),
    )


def _check_trust(scan: Volume, trust: TrustReport) -> None:
    """A report does not name its scan, but must fit it along one of the axes: gap and number of slices."""
    for axis in AXES:
        one = scan.along(axis)
        fits = abs(trust.gap_mm - 2 * one.slice_distance) < GRID_TOLERANCE_MM
        if fits and max(trust.slices, default=0) < one.slice_count:
            return
    raise InputError("The trust report does not belong to this scan: slices or gaps differ; check this scan.")
