"""What Python sees in the running desktop, class by class, and what our code has touched of it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

API_FILE = Path(__file__).resolve().parent.parent / "slicer-desktop-api.json"
ALIASES = {"name"}  # PythonQt has it for objectName and does not list it
touched: set[tuple[str, str, str]] = set()
"""(object, attribute, kind) of all that was used."""
refused: list[str] = []
"""What was used and does not exist in the desktop, also where the code that used it caught the error."""


@functools.cache
def members(key: str) -> dict[str, str]:
    """Attribute -> "property", "method" or "class" of an object of the list, with those it inherits."""
    objects = json.loads(API_FILE.read_text())["objects"]
    if key not in objects:
        return {}
    own = dict(objects[key])
    base = own.pop("(also everything of)", None)
    return {**(members(base) if base else {}), **{name: kind.split(":")[0] for name, kind in own.items()}}


def check(key: str, name: str, kind: str) -> None:
    """Note that an attribute is used; AttributeError where the desktop has none of that name and kind."""
    known = members(key)
    if not known or name in ALIASES or (name.startswith("__") and name.endswith("__")):
        return
    if known.get(name) != kind:
        there = f"a {known[name]}" if name in known else "missing"
        refused.append(f"'{name}' of {key} is {there} in the desktop, here used as a {kind}")
        raise AttributeError(refused[-1])
    touched.add((key, name, kind))


class Checked:
    """Base of plain Python stand-ins: reading an attribute that the desktop does not have fails."""

    apiKey = ""

    def __getattribute__(self, name: str):
        value = object.__getattribute__(self, name)
        if not name.startswith("_") and name != "apiKey":
            kind = "method" if callable(value) else "property"
            check(object.__getattribute__(self, "apiKey"), name, kind)
        return value
