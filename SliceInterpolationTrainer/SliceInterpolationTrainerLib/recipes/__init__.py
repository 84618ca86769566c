"""The recipes that come with the trainer: one YAML file each, see `recipe`. What is here needs no PyTorch."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The bundled recipes by name, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def recipes_by_network() -> dict[str, list[str]]:
    """Which recipes train which architecture, by its name in the catalogue."""
    import yaml

    found: dict[str, list[str]] = {}
    for name in names():
        table = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        found.setdefault(table["stages"][-1]["network"], []).append(name)
    return found
