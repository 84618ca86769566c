"""The methods that the panel offers, each with a line about it; read from the model cards."""

from __future__ import annotations

from SliceInterpolationLib.catalogue import Model, list_models

from ..i18n import _


def methodChoices() -> list[tuple[str, str, str]]:
    """(name for the command line, label, one line about it) of each method, the default network first."""
    choices = []
    for model in sorted(list_models(), key=lambda model: not model.is_default):
        label = _("{name} (default)").format(name=model.name) if model.is_default else model.name
        choices.append(("default" if model.is_default else model.name, label, cardLine(model)))
    return choices + [(name, name, line) for name, line in _classicalLines().items()]


def cardLine(model: Model) -> str:
    """What the card of a model says about it, in one line."""
    low, high = model.gap_mm
    said = model.card.get("description", "").strip() or _("Network {name}").format(
        name=model.card["architecture"]
    )
    return _("{said}. Trained for gaps of {low:g} to {high:g} mm ({origin}).").format(
        said=said.splitlines()[0].rstrip(". "),
        low=low,
        high=high,
        origin=_("bundled") if model.bundled else _("yours"),
    )


def _classicalLines() -> dict[str, str]:
    return {
        "flow": _("Optical flow: follows structures from slice to slice, no training."),
        "cubic": _("Cubic through four slices: sharper than linear, can overshoot at bone."),
        "linear": _("Mean of the two neighbors weighted by distance: smooth, doubles contours that move."),
    }
