"""Which stack of a folder is read: the thickest axial head CT, where there is one; and why not the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InputError
from .stacks import Stack

_ENOUGH_SLICES = 5
_AXIAL_COSINE = 0.7  # a gantry tilts by up to 30 degrees
_SAME_DISTANCE_MM = 0.05
_SHARP = re.compile(r"BONE|EDGE|LUNG|SHARP|\b[HBJU][rfcp]?[6-9]\d", re.IGNORECASE)


def choose(stacks: Sequence[Stack], name: str | None = None) -> tuple[Stack, dict[str, str]]:
    """The stack of that name (see `Stack.name`), or of that series, or of all; and why each other one is not it.

    Raises InputError where there is none of that name.
    """
    among = [stack for stack in stacks if name in (None, stack.name)] or [
        stack for stack in stacks if name == stack.series
    ]
    if not among:
        known = ", ".join(stack.name for stack in stacks)
        raise InputError(f"The folder holds no series {name}; it has {known}.")
    chosen = max(among, key=lambda stack: _rank(stack))
    reasons = {
        stack.name: _difference(stack, chosen) if name is None else "another was asked for"
        for stack in stacks
        if stack is not chosen
    }
    return chosen, reasons


def describe(stack: Stack) -> str:
    """A stack in a few words, none of them about the patient: "CT, 28 slices at 5 mm, axial, head"."""
    first = stack.frames[0]
    words = [first.modality or "modality unknown"]
    count = len(stack.frames)
    words.append(
        f"{count} slices at {stack.distance:.4g} mm"
        if stack.longest
        else f"{count} image{'s' * (count != 1)}"
    )
    for word, given in (
        ("axial", _is_axial(stack)),
        ("head", first.of_head),
        ("localizer", first.is_localizer),
    ):
        words += [word] * given
    return ", ".join([*words, *filter(None, [first.kernel])])


def praise(stack: Stack) -> str:
    """What a stack is chosen for: "the thickest axial head CT"."""
    first = stack.frames[0]
    words = [
        "the thickest",
        *["axial"] * _is_axial(stack),
        *["head"] * first.of_head,
        first.modality or "series",
    ]
    return " ".join(words)


def _is_axial(stack: Stack) -> bool:
    return bool(abs(stack.normal[2]) > _AXIAL_COSINE)


def _criteria(stack: Stack) -> list[tuple[float, str]]:
    """What counts, the first before all others: more is better; and what is said of a stack that has less."""
    first, longest = stack.frames[0], stack.longest
    uneven = "a single image" if len(stack.frames) == 1 else "its slices do not follow each other evenly"
    return [
        (not first.is_localizer, "a localizer"),
        (longest is not None, uneven),
        ({"CT": 2, "MR": 1}.get(first.modality, 0), f"it is {first.modality or 'of unknown modality'}"),
        (first.is_original, "derived from other images"),
        (_is_axial(stack), "not axial"),
        (first.of_head, "not said to show the head"),
        (
            longest is not None and len(longest.members) >= _ENOUGH_SLICES,
            f"fewer than {_ENOUGH_SLICES} slices",
        ),
        (round(stack.distance / _SAME_DISTANCE_MM), "thinner slices"),
        (not _SHARP.search(first.kernel), "a sharp kernel"),
        (len(longest.members) if longest else 0, "fewer slices"),
    ]


def _rank(stack: Stack) -> tuple[object, ...]:
    series, instance = min(frame.number for frame in stack.frames)
    return (*(value for value, _ in _criteria(stack)), -series, -instance, stack.name)


def _difference(stack: Stack, chosen: Stack) -> str:
    for (own, text), (better, _) in zip(_criteria(stack), _criteria(chosen)):
        if own < better:
            return text
    return "alike, but later"
