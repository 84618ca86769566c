"""What a model card must hold, entry by entry: whatever is wrong in one is said in words and goes no further."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Callable

from ..errors import InputError
from ..intensity import DOMAINS
from ..networks import ARCHITECTURES

CARD = "card.json"
WEIGHTS = "weights.safetensors"
DEFAULT = "default"
METHODS = ("nearest", "linear", "cubic", "bspline", "flow")
"""Methods without weights, see `interpolators`. A model cannot take one of these names, nor "default"."""

CALIBRATION = ("between", "carry")
"""Factors of the entry "uncertainty", see `Model.calibration`."""

_LARGEST_CARD = 1 << 20
_DEEPEST = 16
_LARGEST_GAP_MM = 1000.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9_-]|[A-Za-z0-9]")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def read_card(path: Path) -> dict[str, Any]:
    """The entries of a model card, each of the right type and in range. InputError says what is not."""
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"'{path.parent}' lacks {CARD}: it is not a model, or only a half of one.")
        if path.stat().st_size > _LARGEST_CARD:
            raise InputError(f"The model card '{path}' is larger than {_LARGEST_CARD >> 20} MiB.")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"The model card '{path}' cannot be read: {error.strerror}.") from error
    try:
        card = json.loads(content.decode("utf-8-sig"))  # editors of Windows put a mark at the beginning
        _check_plain(card)
        _check_entries(card)
    except UnicodeDecodeError:
        raise InputError(f"The model card '{path}' is not UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"The model card '{path}' is not JSON: {error}.") from None
    except RecursionError:
        raise InputError(f"The model card '{path}' is nested too deeply.") from None
    except ValueError as error:
        raise InputError(f"The model card '{path}' cannot be used: {error}.") from None
    check_name(card["name"])
    return card


def check_name(name: str) -> None:
    """InputError unless a model may be called so: its folder must have the same name on every system."""
    if name.lower() in (DEFAULT, *METHODS):
        raise InputError(f"'{name}' cannot be a model name: it is the name of a method.")
    if not _NAME.fullmatch(name) or _WINDOWS_DEVICE.fullmatch(name):
        raise InputError(
            f"'{name}' cannot be a model name; use up to 64 letters, digits, '-', '_' and '.', "
            "and no device name of Windows."
        )


def _check_plain(value: Any, depth: int = 0) -> None:
    """ValueError unless a value of JSON is finite, can be written as text, and is not nested without end."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds a number that is not finite")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character") from None
    if isinstance(value, dict):
        for key, entry in value.items():
            _check_plain(key, depth + 1)
            _check_plain(entry, depth + 1)
    elif isinstance(value, list):
        for entry in value:
            _check_plain(entry, depth + 1)


def _check_entries(card: Any) -> None:
    """ValueError unless a card is a table with all entries that are needed, each as it should be."""
    if not isinstance(card, dict):
        raise ValueError("it is not a table of entries")
    missing = [name for name in _NEEDED if name not in card]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, (fits, words) in {**_NEEDED, **_OPTIONAL}.items():
        if name in card and not fits(card[name]):
            raise ValueError(f"{name} must be {words}")


def _one_of(names: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, str) and value in names), f"one of {', '.join(names)}"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and all(letter.isprintable() or letter in "\n\t" for letter in value)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None and value.lower() != CARD


def _is_range(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    if not all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in value):
        return False
    return 0 < value[0] <= value[1] <= _LARGEST_GAP_MM


def _is_calibration(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_digest(value.get("weights_sha256")):
        return False
    factors = [value.get(name) for name in CALIBRATION]
    return all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and 0 < one <= 100 for one in factors
    )


_TEXT = (_is_text, "a text")
_TABLE = ((lambda value: isinstance(value, dict)), "a table")
_NEEDED = {
    "name": _TEXT,
    "architecture": _one_of(tuple(ARCHITECTURES)),
    "config": ((lambda value: isinstance(value, dict)), "a table of the architecture's options"),
    "weights_sha256": (_is_digest, "64 hexadecimal digits, in small letters"),
    "gap_mm": (_is_range, "two distances in mm, the shorter one first"),
    "intensity": _one_of(DOMAINS),
}
_OPTIONAL = {
    "weights": (_is_file_name, "the name of a file beside the card"),
    "default": ((lambda value: isinstance(value, bool)), "true or false"),
    "description": _TEXT,
    "license": _TEXT,
    "paper": _TEXT,
    "limits": _TEXT,
    "training": _TABLE,
    "figures": _TABLE,
    "uncertainty": (_is_calibration, f"a table with weights_sha256 and the factors {', '.join(CALIBRATION)}"),
}
