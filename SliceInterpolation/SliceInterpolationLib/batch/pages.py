"""The index page of a batch: every study in a line, the worst first, to sort and to filter in the page itself."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element

from .. import __version__
from ..reports.markup import element
from ..reports.page.pieces import document, fixed, headed, note
from .table import badness

MOST = 5000
"""Lines on the page: more make a browser slow. The table has all of them."""

_FIGURES = (
    ("slices_before", "Slices", "", 0), ("slices_after", "Result", "", 0), ("spacing_before_mm", "Spacing", "mm", 2),
    ("trust_psnr_db", "PSNR", "dB", 2), ("trust_gain_psnr_db", "Gain", "dB", 2), ("trust_ssim", "SSIM", "", 3),
    ("trust_mae_hu", "Error", "HU", 1), ("noise_sd", "Noise", "HU", 1),
    ("noise_alternation_after", "Alternation", "", 3), ("structure_places", "Places", "", 0),
    ("ml_before", "Before", "mL", 2), ("ml_after", "After", "mL", 2), ("ml_change_percent", "Change", "%", 1),
    ("total_s", "Time", "s", 1),
)  # fmt: skip
_STATES = ("failed", "not trusted", "warning", "open", "trusted")
_CLASSES = {"failed": "warn", "not trusted": "warn", "warning": "warn", "trusted": "good"}

_STYLE = """
main { max-width: none; }
.tools { margin: 20px 0 12px; display: flex; flex-wrap: wrap; gap: 8px 18px; align-items: center; font-size: 14px; }
.tools input[type=search] { font: inherit; padding: 4px 8px; min-width: 260px; }
th button {
  font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-align: inherit;
}
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.batch th, .batch td { padding-right: 14px; }
.batch thead th { position: sticky; top: 0; background: var(--paper); }
.state { white-space: nowrap; border-left: 4px solid var(--open); padding-left: 8px; }
.state.good { border-color: var(--good); }
.state.warn { border-color: var(--warn); }
.table { overflow: visible; }
.why { max-width: 560px; min-width: 260px; font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
.why div { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
@media print { .why div { display: block; } }
a { color: inherit; }
"""

_SCRIPT = """
"use strict";
const body = document.querySelector("tbody"), rows = Array.from(body.rows);
const search = document.querySelector("input[type=search]"), shown = document.querySelector("output");
const boxes = Array.from(document.querySelectorAll("input[type=checkbox]"));
function filter() {
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const states = new Set(boxes.filter(box => box.checked).map(box => box.value));
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(states.has(row.dataset.state) && words.every(word => text.includes(word)));
    count += row.hidden ? 0 : 1;
  }
  shown.textContent = count + " of " + rows.length;
}
function sort(head) {
  const column = head.cellIndex, up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const keys = new Map(rows.map(row => [row, row.cells[column].dataset.value]));
  const numbers = head.className === "number";
  rows.sort((one, other) => {
    const a = keys.get(one), b = keys.get(other);
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = numbers ? a - b : a.localeCompare(b, undefined, {numeric: true});
    return up ? order : -order;
  });
  body.append(...rows);
}
for (const head of document.querySelectorAll("thead th")) {
  head.querySelector("button").addEventListener("click", () => sort(head));
}
search.addEventListener("input", filter);
for (const box of boxes) box.addEventListener("change", filter);
filter();
"""


def index_page(rows: Sequence[dict[str, Any]], unfinished: int = 0) -> str:
    """The page as HTML text; it loads nothing from elsewhere, and its links lead to the pages of the studies.

    rows: of the table, in any order. unfinished: how many studies there is nothing of yet.
    """
    ordered = sorted(rows, key=badness)
    counts = Counter(map(_state, rows))
    lead = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    left = f" {unfinished} studies are not finished yet." if unfinished else ""
    cut = (
        [note(f"The {MOST} worst of {len(rows)} lines; results.csv and results.parquet have all of them.")]
        if len(rows) > MOST
        else []
    )
    boxes = [
        element(
            "label",
            element("input", type="checkbox", value=state, checked="checked"),
            f" {state} ({counts[state]})",
        )
        for state in _STATES
        if counts[state]
    ]
    heads = [
        _head("Study"),
        _head("State"),
        *(_head(title, unit, True) for _, title, unit, _ in _FIGURES),
        _head("Why"),
    ]
    return document(
        "Batch of slice interpolation",
        element("style", _STYLE),
        element("header", element("h1", "Batch of slice interpolation"), element("p", f"{lead}.{left}", class_="lead")),
        element(
            "div", element("input", type="search", placeholder="Search", aria_label="Search"), *boxes,
            element("output"), class_="tools",
        ),
        *cut,
        element(
            "div",
            element(
                "table",
                element("thead", element("tr", *heads)),
                element("tbody", *(_line(row) for row in ordered[:MOST])),
                class_="batch",
            ),
            class_="table",
        ),
        note(
            "PSNR, SSIM, error: of withheld slices, predicted across twice the gap. Gain: of the PSNR over the best "
            "other method. Alternation: of the noise from slice to slice of the result, 0 for none. Places: where a "
            "prediction takes away more than noise. Before, after: the segments on the acquired and on the new grid."
        ),
        element(
            "footer",
            f"Made by SliceInterpolation {__version__} on {datetime.date.today():%B %d, %Y}. "
            "Not a medical device: for research, not for diagnosis.",
        ),
        script=_SCRIPT,
    )  # fmt: skip


def _state(row: dict[str, Any]) -> str:
    if row.get("status") == "failed":
        return "failed"
    if row.get("verdict") != "not trusted" and row.get("warnings"):
        return "warning"
    return row.get("verdict") or "open"


def _head(title: str, unit: str = "", is_number: bool = False) -> Element:
    button = element("button", headed(title, unit), type="button")
    return element("th", button, scope="col", class_="number" if is_number else None)


def _line(row: dict[str, Any]) -> Element:
    state = _state(row)
    name = row["study"] if row["run"] == 1 else f"{row['study']}, run {row['run']}"
    link = element("a", name, href=quote(row["page"])) if row.get("page") else name
    why = " ".join(filter(None, (row.get("reason"), row.get("warnings"), row.get("verdict_text"))))
    cells = [
        element("th", link, scope="row", data_value=name),
        element("td", state, class_=f"state {_CLASSES.get(state, '')}".strip(), data_value=state),
    ]
    for column, _, _, digits in _FIGURES:
        value = row.get(column)
        text = "" if value is None else fixed(value, digits)
        cells.append(element("td", text, class_="number", data_value="" if value is None else f"{value:.8g}"))
    cells.append(element("td", element("div", why, title=why or None), class_="why", data_value=why))
    return element("tr", *cells, data_state=state)
