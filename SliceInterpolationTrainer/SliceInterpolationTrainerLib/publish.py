"""From a training run to a model of the catalogue: its weights, and the card that says where they are from.

    slice-interpolation publish RUN --name NAME --license SPDX --figures FIGURES.json --output FOLDER

The weights are the averaged ones of the best validation, or of the last checkpoint where nothing was validated, so
that a run that was stopped can be published too. Of a recipe with several stages the last one is published. Under what
license the weights go is for whoever trained them to say.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SliceInterpolationLib.atomic import replacing
from SliceInterpolationLib.catalogue import CARD, WEIGHTS, Model, check_name
from SliceInterpolationLib.cli import Parser
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.networks import build
from SliceInterpolationLib.process import run as run_command
from SliceInterpolationLib.progress import Reporter
from SliceInterpolationLib.weights import load_strictly, sha256, write_weights

from .checkpoint import load_checkpoint
from .training import RUN_FILE

if TYPE_CHECKING:
    import torch

RECIPE_FILE = "recipe.json"
"""Which stages a run folder has, the last one being what is published."""

_ENTRY_NAMES = {"licence": "license"}
_SCAN_ENTRIES = ("file", "modality", "body", "spacing_mm", "slice_thickness_mm", "licence", "source")


def describe_run(
    architecture: str, config: dict[str, Any], gap_mm: Sequence[float], rows: list[dict]
) -> dict[str, Any]:
    """What a run is trained to be and on what; the training command writes it into the run folder.

    rows: of the manifest, one a training scan.
    """
    scans = [{_ENTRY_NAMES.get(key, key): row.get(key, "") for key in _SCAN_ENTRIES} for row in rows]
    return {"architecture": architecture, "config": config, "gap_mm": list(gap_mm), "scans": scans}


def publish(
    run: Path,
    name: str,
    license: str,
    figures: dict[str, Any],
    output: Path,
    description: str = "",
    half: bool = False,
    default: bool = False,
) -> Model:
    """Write a model folder from a run folder and load it once.

    license: of the weights, as an SPDX expression. figures: measured ones, put into the card as they are.
    description: one line for people who choose. half: store the weights as float16, in half of the space; they
    are widened again when loaded. default: mark it as the model that "default" means.
    Raises InputError for a folder that is not a run, for weights that half precision cannot hold, and for
    entries that a card cannot have; `output` is then left as it was.
    """
    check_name(name)
    check_figures(figures)
    if not license.strip():
        raise InputError("Say under what license the weights go, for example 'CC-BY-4.0'.")
    trained, checkpoint = read_run(run)
    network = build(trained["architecture"], **trained["config"])
    load_strictly(network, trained_weights(checkpoint), str(run))
    aside = output.with_name(f"{output.name}~partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write_weights(network, aside / WEIGHTS, half)
        card = {
            "name": name,
            "description": description,
            "license": license.strip(),
            "architecture": trained["architecture"],
            "config": trained["config"],
            "weights_sha256": sha256(aside / WEIGHTS),
            "gap_mm": trained["gap_mm"],
            "intensity": network.intensity,
            "default": default,
            "paper": network.paper,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "storage": "float16" if half else "float32",
            "training": {
                "steps": checkpoint["state"]["step"],
                "minutes": round(checkpoint["state"]["seconds"] / 60, 1),
                "settings": trained.get("settings", {}),
                **{name: trained[name] for name in ("recipe", "stage", "task", "options") if name in trained},
                "scans": trained["scans"],
            },
            "figures": figures,
            "limits": _limits(trained),
        }
        with replacing(aside / CARD) as file:
            file.write((json.dumps(card, indent=1) + "\n").encode())
        Model.open(aside).load()
        output.mkdir(parents=True, exist_ok=True)
        for file_name in (WEIGHTS, CARD):
            os.replace(aside / file_name, output / file_name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Model.open(output)


def trained_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that count: averaged, of the best validation, or of the end where there was none."""
    return (checkpoint.get("best") or checkpoint)["average"]


def read_run(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The description that `describe_run` made, and the checkpoint; of a recipe those of its last stage.

    Raises InputError where the folder lacks one of them or one is damaged.
    """
    if (run / RECIPE_FILE).is_file():
        stages = _read_table(run / RECIPE_FILE).get("stages")
        if not isinstance(stages, list) or not stages or not all(isinstance(stage, str) for stage in stages):
            raise InputError(f"'{run / RECIPE_FILE}' names no stages.")
        run = run / stages[-1]
    checkpoint = load_checkpoint(run)
    path = run / RUN_FILE
    for needed, there in (("a checkpoint", checkpoint is not None), (RUN_FILE, path.is_file())):
        if not there:
            raise InputError(f"'{run}' is not a training run: it lacks {needed}.")
    trained = _read_table(path)
    fits = {
        "architecture": lambda value: isinstance(value, str),
        "config": lambda value: isinstance(value, dict),
        "gap_mm": lambda value: (
            isinstance(value, list) and len(value) == 2 and all(isinstance(n, (int, float)) for n in value)
        ),
        "scans": lambda value: isinstance(value, list) and all(isinstance(scan, dict) for scan in value),
    }
    wrong = [name for name, is_right in fits.items() if not is_right(trained.get(name))]
    if wrong:
        raise InputError(f"'{path}' does not describe a run: {', '.join(wrong)} is not as it should be.")
    return trained, checkpoint


def read_figures(path: Path) -> dict[str, Any]:
    """Measured figures from a JSON file. InputError for anything that does not belong into a card."""
    figures = _read_table(path)
    check_figures(figures, str(path))
    return figures


def check_figures(figures: Any, place: str = "figures") -> None:
    """InputError unless figures are finite numbers and texts by name, in tables and lists as deep as needed."""
    if isinstance(figures, dict):
        for name, entry in figures.items():
            check_figures(entry, f"{place}: {name}")
    elif isinstance(figures, list):
        for number, entry in enumerate(figures, start=1):
            check_figures(entry, f"{place}, {number}")
    elif isinstance(figures, float) and not math.isfinite(figures):
        raise InputError(f"{place} is {figures}; a card holds measured numbers only.")


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        raise InputError(f"'{path}' is not JSON text.") from None
    if not isinstance(table, dict):
        raise InputError(f"'{path}' must hold a table of entries by name.")
    return table


def _limits(description: dict[str, Any]) -> str:
    scans = description["scans"]
    low, high = description["gap_mm"]
    kinds = ", ".join(sorted({f"{scan.get('modality')} {scan.get('body')}" for scan in scans}))
    return (
        f"Trained on {len(scans)} scans ({kinds}) for slices {low:g} to {high:g} mm apart; what is unlike "
        "them is untested unless the figures say otherwise. Structures that lie between two slices and show "
        "in neither cannot be recovered. Not a medical device."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    reporter = Reporter()
    return run_command(lambda: publish_command(arguments, reporter), reporter)


def publish_command(arguments: Sequence[str] | None, reporter: Reporter) -> None:
    """Run the command; raises what stops it."""
    options = _parser().parse_args(arguments)
    model = publish(**{**vars(options), "figures": read_figures(options.figures)})
    reporter.message(f"{model.weights.stat().st_size / 2**20:.2f} MiB of weights")
    reporter.result([str(model.folder)])


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="slice-interpolation publish", description="Make a model of a training run.")
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of the training command")
    parser.add_argument("--name", required=True)
    parser.add_argument(
        "--license", required=True, metavar="SPDX", help="of the weights, for example CC-BY-4.0"
    )
    parser.add_argument("--figures", type=Path, required=True, help="JSON file with measured figures")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the model's folder")
    parser.add_argument("--description", default="", help="one line for people who choose a model")
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--default", action="store_true", help='mark it as the model "default"')
    return parser


if __name__ == "__main__":
    sys.exit(main())
