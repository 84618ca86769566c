"""Times, lengths and error texts of a run in the words of the panel; plain functions, no Slicer needed."""

from __future__ import annotations

from typing import Any

from ..i18n import _

_PANEL_WORDS = {
    "use --method flow or cubic, or --force": (
        "choose flow or cubic, or switch on 'Run in spite of warnings' under Advanced"
    ),
    "use --force": "switch on 'Run in spite of warnings' under Advanced",
    "Use --device cpu": "Choose the device CPU",
    "Use --units to say it": "Choose the units under Advanced",
    "Prefer --method": "Prefer the method",
    " -> ": " \u2192 ",
    "(0 synthesized, ": "(",
}


def formatSeconds(seconds: float) -> str:
    """'8 s', '3 min' or '1.5 h'."""
    if seconds < 90:
        return _("{number} s").format(number=max(1, round(seconds)))
    if seconds < 5400:
        return _("{number} min").format(number=round(seconds / 60))
    return _("{number:.1f} h").format(number=seconds / 3600)


def formatMm(value: float) -> str:
    """'5.0 mm' or '1.25 mm'."""
    text = f"{value:.2f}".rstrip("0")
    return f"{text}0 mm" if text.endswith(".") else f"{text} mm"


def inPanelWords(text: str) -> str:
    """An error text of the command line with the names of the panel instead of options."""
    for words, instead in _PANEL_WORDS.items():
        text = text.replace(words, instead)
    return text


def reportInPanelWords(report: Any) -> Any:
    """The same values of a report (JSON) of the library with all texts in the words of the panel."""
    if isinstance(report, dict):
        return {key: reportInPanelWords(value) for key, value in report.items()}
    if isinstance(report, list):
        return [reportInPanelWords(value) for value in report]
    return inPanelWords(report) if isinstance(report, str) else report
