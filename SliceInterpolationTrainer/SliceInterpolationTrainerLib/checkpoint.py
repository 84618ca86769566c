"""The checkpoint of a run: written whole, the one before it kept, and never continued as another run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from SliceInterpolationLib.atomic import replacing
from SliceInterpolationLib.errors import InputError

NAMES = ("checkpoint.pt", "checkpoint.previous.pt")
BUDGET = ("minutes", "steps")
"""Settings that may change when a run is resumed: more of the same is not another run."""


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint into a run folder. A process that is killed here leaves this one or the one before."""
    latest, previous = (folder / name for name in NAMES)
    with replacing(latest, keep_as=previous) as file:
        torch.save(content, file)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The latest checkpoint of a run folder that can be read, on the CPU; None where there is none.

    Raises InputError where there are some, but all of them are damaged.
    """
    damaged = []
    for name in NAMES:
        path = folder / name
        if not path.is_file():
            continue
        content = _read(path)
        if content is not None:
            return content
        damaged.append(name)
    if damaged:
        raise InputError(
            f"'{folder}': {' and '.join(damaged)} cannot be read; remove what is damaged to start the run anew."
        )
    return None


def check_same_run(content: dict[str, Any], run: dict[str, Any], folder: Path) -> None:
    """InputError unless a checkpoint belongs to the run that is asked for, whatever the budget.

    run: as `publish.describe_run` makes it, with "settings".
    """
    if "run" not in content:
        raise InputError(
            f"The checkpoint in '{folder}' was written by an earlier version and cannot be resumed; choose "
            "another folder."
        )
    before, now = _identity(content["run"]), _identity(run)
    if before != now:
        other = ", ".join(sorted(name for name in {**before, **now} if before.get(name) != now.get(name)))
        raise InputError(
            f"'{folder}' holds a run that differs in: {other}. Choose another folder, or the same options."
        )


def _read(path: Path) -> dict[str, Any] | None:
    """A checkpoint; None where the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # a sum that torch.load does not check
                return None
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # a damaged archive or pickle fails in many ways
        return None
    return content if isinstance(content, dict) else None


def _identity(run: dict[str, Any]) -> dict[str, Any]:
    """What makes a run this one, as plain values in one table."""
    run = json.loads(json.dumps(run))  # tuples and lists are the same
    settings = {name: value for name, value in run.pop("settings", {}).items() if name not in BUDGET}
    return {**run, **settings}
