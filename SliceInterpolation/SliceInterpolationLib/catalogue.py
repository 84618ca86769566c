"""The model catalogue: bundled and user models, each a folder with `weights.safetensors` and `card.json`.

A card may name another weights file in its entry "weights"; with the architecture "torchscript" that is a
TorchScript file of the user's own, see `networks.torchscript`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .weights import load_strictly, read_script, read_weights, sha256

if TYPE_CHECKING:
    import torch

DEFAULT = "default"
WEIGHTS = "weights.safetensors"
_REQUIRED = ("name", "architecture", "config", "weights_sha256", "gap_mm", "intensity")


@dataclass(frozen=True)
class Model:
    """One entry: its folder, its card, and whether it came with the package."""

    folder: Path
    card: dict[str, Any]
    bundled: bool

    @property
    def name(self) -> str:
        """The name users call it by."""
        return self.card["name"]

    @property
    def gap_mm(self) -> tuple[float, float]:
        """Shortest and longest distance of two slices that the model was trained to bridge."""
        low, high = self.card["gap_mm"]
        return float(low), float(high)

    @property
    def weights(self) -> Path:
        """The file with the weights, always in the model's own folder."""
        return self.folder / Path(self.card.get("weights", WEIGHTS)).name

    def load(self) -> torch.nn.Module:
        """The network with its weights, ready to predict on the CPU. Raises InputError where they do not fit."""
        from .networks import build

        architecture, config, expected = (
            self.card[key] for key in ("architecture", "config", "weights_sha256")
        )
        if architecture == "torchscript":  # the file is the network
            return build(architecture, **config, script=read_script(self.weights, expected)).eval()
        tensors = read_weights(self.weights, expected)
        network = build(architecture, **config)
        load_strictly(network, tensors, self.name)
        return network.eval()


def bundled_folder() -> Path:
    """Resources/Models beside this package (source tree and Slicer) or inside of it (pip)."""
    here = Path(__file__).resolve().parent
    beside = here.parent / "Resources" / "Models"
    return beside if beside.is_dir() else here / "Resources" / "Models"


def user_folder() -> Path:
    """Where models of the user live; SLICE_INTERPOLATION_MODELS overrides it."""
    if "SLICE_INTERPOLATION_MODELS" in os.environ:
        return Path(os.environ["SLICE_INTERPOLATION_MODELS"])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "SliceInterpolation" / "Models"


def list_models() -> list[Model]:
    """All usable models, the bundled ones first. Folders without a readable card are passed over."""
    models = []
    for folder, bundled in ((bundled_folder(), True), (user_folder(), False)):
        for card_path in sorted(folder.glob("*/card.json")):
            try:
                models.append(Model(card_path.parent, read_card(card_path), bundled))
            except InputError:
                continue
    return models


def find_model(name: str = DEFAULT) -> Model:
    """The model called `name`; "default" is the bundled one whose card says so. InputError if there is none."""
    models = list_models()
    for model in models:
        if model.name == name or (name == DEFAULT and model.bundled and model.card.get("default")):
            return model
    known = ", ".join(model.name for model in models) or "none"
    raise InputError(f"There is no model '{name}'; the catalogue has: {known}.")


def read_card(path: Path) -> dict[str, Any]:
    """A model card; InputError where it is not JSON or lacks an entry that running the model needs."""
    try:
        card = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' is not a readable model card.") from error
    missing = [key for key in _REQUIRED if not isinstance(card, dict) or key not in card]
    if missing:
        raise InputError(f"The model card '{path}' lacks {', '.join(missing)}.")
    return card


def add_model(path: str | Path) -> Model:
    """Copy a model into the user folder, after its weights have been loaded once.

    path: the model's folder, its card.json or its weights file (the other one beside it).
    Raises InputError where card and weights do not fit or the name is taken.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not (folder / "card.json").is_file():
        raise InputError(f"A model needs card.json and {WEIGHTS} in one folder; '{folder}' lacks card.json.")
    model = Model(folder, read_card(folder / "card.json"), bundled=False)
    if not model.weights.is_file():
        raise InputError(
            f"A model needs card.json and its weights in one folder; '{folder}' lacks {model.weights.name}."
        )
    if not model.name.replace("-", "").replace("_", "").replace(".", "").isalnum() or model.name.startswith(
        "."
    ):
        raise InputError(f"'{model.name}' cannot be a model name; use letters, digits, '-', '_' and '.'.")
    if any(model.name == other.name for other in list_models()):
        raise InputError(
            f"A model '{model.name}' exists already; remove it or rename the new one in its card."
        )
    model.load()
    target = user_folder() / model.name
    target.mkdir(parents=True)
    for file in (model.weights, folder / "card.json"):
        shutil.copyfile(file, target / file.name)
    return Model(target, model.card, bundled=False)


def remove_model(name: str) -> None:
    """Delete a user model. Raises InputError for an unknown or a bundled one."""
    model = find_model(name)
    if model.bundled:
        raise InputError(f"'{model.name}' came with the package and cannot be removed.")
    shutil.rmtree(model.folder)


def model_hash(model: Model) -> str:
    """SHA-256 of the weights as they are on disk."""
    return sha256(model.weights)
