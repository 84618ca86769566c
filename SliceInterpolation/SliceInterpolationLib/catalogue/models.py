"""Finding models. One that cannot be used is listed with the reason and never stands in the way of another."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..weights import check_hash, check_script, load_strictly, read_script, read_shapes, read_weights, sha256
from .card import CALIBRATION, CARD, DEFAULT, METHODS, WEIGHTS, read_card
from .consent import distrust, is_trusted, trust
from .folders import bundled_folder, user_folder

if TYPE_CHECKING:
    import torch

UNFINISHED = "~"
"""In the name of a folder that a model is copied to before it is tried; no model can be called so."""


@dataclass(frozen=True)
class Model:
    """One entry: its folder, its card, and whether it came with the package."""

    folder: Path
    card: dict[str, Any]
    bundled: bool

    @classmethod
    def open(cls, folder: Path, bundled: bool = False) -> Model:
        """The model in a folder. Nothing is loaded, but InputError where card or file show that it cannot be."""
        model = cls(folder, read_card(folder / CARD), bundled)
        (check_script if model.is_script else read_shapes)(model.weights)
        return model

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
        """The file with the weights, in the model's own folder."""
        return self.folder / self.card.get("weights", WEIGHTS)

    @property
    def calibration(self) -> dict[str, float] | None:
        """What the error SD of this model must be multiplied by, measured on scans that it was not trained on.

        between: of new slices; carry: of new slices over what it is across twice their gap, on one scan. None where
        the card does not say it, or says it of other weights.
        """
        found = self.card.get("uncertainty")
        if not found or found["weights_sha256"] != self.card["weights_sha256"]:
            return None
        return {name: float(found[name]) for name in CALIBRATION}

    @property
    def is_default(self) -> bool:
        """Whether the method "default" means this model."""
        return self.bundled and self.card.get("default", False)

    @property
    def is_script(self) -> bool:
        """Whether its file is a program, see `consent`."""
        return self.card["architecture"] == "torchscript"

    def check_fits(self) -> None:
        """InputError unless architecture, config and weights fit. Takes no memory, however large they are."""
        import torch

        from ..networks import build

        if self.is_script:  # brings its own architecture
            return
        with torch.device("meta"):
            tensors = {name: torch.empty(shape) for name, shape in read_shapes(self.weights).items()}
            load_strictly(build(self.card["architecture"], **self.card["config"]), tensors, self.name)

    def load(self, trusted: bool = False) -> torch.nn.Module:
        """The network with its weights, ready to predict on the CPU.

        trusted: the user has just now agreed to run what may be a program.
        Raises InputError where they do not fit, and for a program that the user has not trusted.
        """
        from ..networks import build

        architecture, config, expected = (
            self.card[key] for key in ("architecture", "config", "weights_sha256")
        )
        if self.is_script:
            if not trusted and needs_consent(self):
                raise InputError(
                    f"'{self.name}' is a TorchScript file, that is a program: it can read, change and send whatever "
                    "you can. If you trust where it comes from, say so once by "
                    f"'slice-interpolation models trust {self.name}'."
                )
            return build(architecture, read_script(self.weights, expected), **config).eval()
        tensors = read_weights(self.weights, expected)
        self.check_fits()
        network = build(architecture, **config)
        load_strictly(network, tensors, self.name)
        return network.eval()


@dataclass(frozen=True)
class Unusable:
    """A folder of the catalogue that is no usable model, and why."""

    folder: Path
    reason: str
    bundled: bool

    @property
    def name(self) -> str:
        """What it is called, for want of a better name: its folder."""
        return self.folder.name


def read_catalogue() -> tuple[list[Model], list[Unusable]]:
    """All models, the bundled ones first, and every other folder that lies where models live."""
    models: list[Model] = []
    unusable: list[Unusable] = []
    for folder, bundled in _model_folders(unusable):
        try:
            if UNFINISHED in folder.name:
                raise InputError(
                    f"'{folder}' is an unfinished copy, left by a 'models add' that was stopped."
                )
            model = Model.open(folder, bundled)
            check_not_taken(model.name, models)
        except InputError as error:
            unusable.append(Unusable(folder, str(error), bundled))
        else:
            models.append(model)
    return models, unusable


def list_models() -> list[Model]:
    """All usable models, the bundled ones first."""
    return read_catalogue()[0]


def find_model(name: str = DEFAULT) -> Model:
    """The model called `name`; "default" is the bundled one whose card says so.

    Raises InputError where there is none, or where the folder of that name is no usable model.
    """
    models, unusable = read_catalogue()
    for model in models:
        if model.name == name or (name == DEFAULT and model.is_default):
            return model
    for folder in unusable:
        if folder.name == name:
            raise InputError(f"The model '{name}' cannot be used. {folder.reason}")
    known = ", ".join(model.name for model in models) or "none"
    raise InputError(
        f"There is no model '{name}'; the catalogue has: {known}; methods without weights are {', '.join(METHODS)}."
    )


def check_not_taken(name: str, models: list[Model]) -> None:
    """InputError where one of the models has the name; some systems do not tell capitals from small letters."""
    if any(name.lower() == other.name.lower() for other in models):
        raise InputError(f"A model '{name}' exists already; remove it or rename the new one in its card.")


def needs_consent(model: Model) -> bool:
    """Whether running a model means running a program that the user has not trusted yet, see `consent`."""
    return model.is_script and not is_trusted(model.card["weights_sha256"])


def grant_consent(model: Model) -> None:
    """Trust the file of a model from now on. Raises InputError where it is not the one its card describes."""
    check_hash(model.weights, model.card["weights_sha256"])
    trust(model.card["weights_sha256"])


def own_entries() -> list[Model | Unusable]:
    """What lies in the user's folder and can be removed from it, usable or not."""
    return [
        entry
        for entries in read_catalogue()
        for entry in entries
        if not entry.bundled and entry.folder.parent == user_folder()
    ]


def remove_model(name: str) -> None:
    """Delete a user model, or what is left of one: a folder of that name that is no usable model.

    Raises InputError for an unknown or a bundled one.
    """
    entry = next((entry for entry in own_entries() if entry.name == name), None)
    if entry is None:
        if name == DEFAULT or any(model.name == name for model in list_models()):
            raise InputError(f"'{name}' came with the package and cannot be removed.")
        raise InputError(f"There is no model '{name}' to remove; 'models list' shows what there is.")
    if isinstance(entry, Model):
        distrust(entry.card["weights_sha256"])
    if entry.folder.is_symlink():  # what it points to belongs to somebody else
        entry.folder.unlink()
    else:
        shutil.rmtree(entry.folder)


def model_hash(model: Model) -> str:
    """SHA-256 of the weights as they are on disk."""
    return sha256(model.weights)


def _model_folders(unusable: list[Unusable]) -> list[tuple[Path, bool]]:
    """Every folder where models live, and whether it is bundled; a place that cannot be read is noted."""
    folders = []
    for place, bundled in ((bundled_folder, True), (user_folder, False)):
        root = None
        try:
            root = place()
            with os.scandir(root) as entries:
                names = sorted(e.name for e in entries if e.is_symlink() or e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            continue
        except InputError:  # a user without a home has no models of their own
            continue
        except OSError as error:
            unusable.append(Unusable(root, f"'{root}' cannot be read: {error.strerror}.", bundled))
            continue
        folders += [(root / name, bundled) for name in names]
    return folders
