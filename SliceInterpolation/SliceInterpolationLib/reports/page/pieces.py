"""What pages are put together from: the document, sections, tables, numbers."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from typing import Union
from xml.etree.ElementTree import Element

from ..markup import as_html, element
from .style import STYLE

NOTHING = "–"
"""Stands where a figure is undefined."""

Cell = Union[Element, str]


def document(title: str, *parts: Element | None, script: str = "") -> str:
    """A whole page as HTML text. script: of our own, the only one that a browser runs there."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        # Whatever a text on the page may hold, a browser loads and runs nothing.
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content=policy,
        ),
        element("title", title),
        element("style", STYLE),
    )
    body = element("body", element("main", *parts), element("script", script) if script else None)
    return as_html(element("html", head, body, lang="en"))


def section(title: str, *parts: Element | None) -> Element | None:
    """A part of the page with its heading; None where there is nothing in it."""
    return element("section", element("h2", title), *parts) if any(p is not None for p in parts) else None


def note(text: str) -> Element:
    """A paragraph that explains, smaller than the rest."""
    return element("p", text, class_="note")


def table(
    heads: Sequence[Cell], rows: Sequence[Sequence[Cell]], names: int = 1, numbers: bool = True
) -> Element:
    """A table: the first `names` columns are words, the others numbers, aligned right; or all words.

    Where all heads are empty there is no line of them.
    """

    def cells(tag: str, row: Sequence[Cell]) -> Element:
        made = [element("th", cell, scope="col" if tag == "th" else "row") for cell in row[:names]]
        made += [element(tag, cell, class_="number" if numbers else None) for cell in row[names:]]
        return element("tr", *made)

    head = element("thead", cells("th", heads)) if any(one != "" for one in heads) else None
    body = element("tbody", *(cells("td", row) for row in rows))
    return element("div", element("table", head, body), class_="table" if numbers else "table words")


def headed(title: str, unit: str) -> Cell:
    """A title with its unit, lighter."""
    return element("span", title, element("small", f" {unit}")) if unit else title


def framed(plot: Element | None) -> Element | None:
    """A plot in its place; None where there is none."""
    return None if plot is None else element("div", plot, class_="plot")


def defined(value: object) -> float:
    """A figure as a number, NaN where there is none: None in reports from JSON, an empty text in tables from CSV."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def fixed(value: object, digits: int, signed: bool = False) -> str:
    """A figure with so many decimals; a dash where it is undefined."""
    number = defined(value)
    if math.isnan(number):
        return NOTHING
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    text = f"{number:{'+' if signed else ''}.{digits}f}"
    return (text[1:] if float(text) == 0 and text[0] in "+-" else text).replace("-", "−")
