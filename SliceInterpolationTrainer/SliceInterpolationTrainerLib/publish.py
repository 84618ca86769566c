"""From a training run to a model of the catalogue: its weights, and the card that says where they are from.

    python -m SliceInterpolationTrainerLib.publish RUN --name NAME --figures FIGURES.json --output FOLDER

The weights are the averaged ones of the last checkpoint, so a run that was stopped can be published too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from SliceInterpolationLib.catalogue import WEIGHTS, Model
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.networks import build
from SliceInterpolationLib.weights import load_strictly, sha256, write_weights

from .data import read_manifest

RUN_FILE = "run.json"
_ENTRY_NAMES = {"licence": "license"}
_SCAN_ENTRIES = ("file", "modality", "body", "spacing_mm", "slice_thickness_mm", "licence", "source")


def describe_run(
    architecture: str, config: dict[str, Any], gap_mm: Sequence[float], rows: list[dict]
) -> dict[str, Any]:
    """What a run is trained to be and on what; the training command writes it into the run folder.

    rows: of the manifest, one a training scan.
    """
    scans = [{_ENTRY_NAMES.get(key, key): row[key] for key in _SCAN_ENTRIES} for row in rows]
    return {"architecture": architecture, "config": config, "gap_mm": list(gap_mm), "scans": scans}


def publish(
    run: Path,
    name: str,
    figures: dict[str, Any],
    output: Path,
    description: str = "",
    half: bool = False,
    default: bool = False,
) -> Model:
    """Write a model folder from a run folder and load it once.

    figures: measured ones, put into the card as they are. description: one line for people who choose.
    half: store the weights as float16, in half of the space; they are widened again when loaded. default: mark
    it as the model that "default" means.
    Raises InputError for a folder that is not a run, and for weights that half precision cannot hold.
    """
    trained = read_run(run)
    checkpoint = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    network = build(trained["architecture"], **trained["config"])
    load_strictly(network, checkpoint["average"], str(run))
    output.mkdir(parents=True, exist_ok=True)
    write_weights(network, output / WEIGHTS, half)
    settings = run / "config.json"
    card = {
        "name": name,
        "description": description,
        "license": "Apache-2.0",
        "architecture": trained["architecture"],
        "config": trained["config"],
        "weights_sha256": sha256(output / WEIGHTS),
        "gap_mm": trained["gap_mm"],
        "intensity": network.intensity,
        "default": default,
        "paper": network.paper,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "storage": "float16" if half else "float32",
        "training": {
            "steps": checkpoint["state"]["step"],
            "minutes": round(checkpoint["state"]["seconds"] / 60, 1),
            "settings": json.loads(settings.read_text()) if settings.is_file() else {},
            "scans": trained["scans"],
        },
        "figures": figures,
        "limits": _limits(trained),
    }
    (output / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    model = Model(output, card, bundled=False)
    model.load()
    return model


def read_run(run: Path) -> dict[str, Any]:
    """The description that `describe_run` made. InputError where the folder lacks it or the checkpoint."""
    for needed in ("checkpoint.pt", RUN_FILE):
        if not (run / needed).is_file():
            raise InputError(f"'{run}' is not a training run: it lacks {needed}.")
    return json.loads((run / RUN_FILE).read_text())


def _limits(description: dict[str, Any]) -> str:
    scans = description["scans"]
    low, high = description["gap_mm"]
    kinds = ", ".join(sorted({f"{scan['modality']} {scan['body']}" for scan in scans}))
    return (
        f"Trained on {len(scans)} scans ({kinds}) for slices {low:g} to {high:g} mm apart; what is unlike "
        "them is untested unless the figures say otherwise. Structures that lie between two slices and show "
        "in neither cannot be recovered. Not a medical device."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m SliceInterpolationTrainerLib.publish", description="Make a model of a training run."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of the training command")
    parser.add_argument("--name", required=True)
    parser.add_argument("--figures", type=Path, required=True, help="JSON file with measured figures")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the model's folder")
    parser.add_argument("--description", default="", help="one line for people who choose a model")
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--default", action="store_true", help='mark it as the model "default"')
    parser.add_argument(
        "--data", type=Path, help="manifest of a run without description: flow-refine, all training CT"
    )
    options = parser.parse_args(arguments)
    try:
        if options.data and not (options.run / RUN_FILE).exists():
            rows = read_manifest(options.data, "train", "CT")
            run = describe_run("flow-refine", {}, (1.25, 10.0), rows)
            (options.run / RUN_FILE).write_text(json.dumps(run, indent=1) + "\n")
        figures = json.loads(options.figures.read_text())
        model = publish(
            options.run,
            options.name,
            figures,
            options.output,
            options.description,
            options.half,
            options.default,
        )
    except InputError as error:
        parser.error(str(error))
    print(f"{model.weights} {model.weights.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
