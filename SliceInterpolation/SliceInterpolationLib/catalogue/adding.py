"""Taking a model into the user's folder: checked, tried, copied aside, and only then given its name."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import numpy as np

from ..checks import check_prediction
from ..errors import Cancelled, InputError, PredictionError
from ..interpolators import run_model
from ..stack import SliceStack
from ..weights import check_hash
from .card import CARD
from .folders import user_folder
from .models import UNFINISHED, Model, check_not_taken, grant_consent, list_models

if TYPE_CHECKING:
    import torch

_SIDES = (64, 512)  # px of the trial slices; some networks know one size of slice only, the usual 512
_PLAUSIBLE = (-2000.0, 2000.0)  # HU; narrower than for a scan, since the trial volume holds -1000 to 1000


def add_model(path: str | Path, check: Callable[[], None] = lambda: None) -> Model:
    """Copy a model into the user folder, after it has been tried on a small synthetic volume.

    A TorchScript file is a program, and is neither loaded nor tried before the user trusts it (`trust_model`).

    path: the model's folder, its card.json or its weights file (the other one beside it). check: called between the
    steps, for example to cancel; what it raises undoes them.
    Raises InputError where card, weights and architecture do not fit, where the model does not work, or where
    its name is taken. Then, and where anything else goes wrong, nothing is left behind.
    """
    path = Path(path)
    source = Model.open(path if path.is_dir() else path.parent)
    check_not_taken(source.name, list_models())
    target = user_folder() / source.name
    if target.exists() or target.is_symlink():
        raise InputError(
            f"'{target}' is there already, but is no usable model; remove it by "
            f"'slice-interpolation models remove {source.name}' first."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{source.name}{UNFINISHED}{secrets.token_hex(4)}")
    aside.mkdir()
    try:
        for file in (source.folder / CARD, source.weights):
            check()
            shutil.copyfile(file, aside / file.name)
        model = Model.open(aside)
        check_hash(model.weights, model.card["weights_sha256"])
        check()
        if not model.is_script:
            try_model(model, model.load())
        check()
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return Model(target, model.card, bundled=False)


def trust_model(model: Model) -> None:
    """Try the program of a TorchScript model, and remember that the user trusts it.

    Raises InputError for a model that is none, and for one that does not work; that is not trusted then.
    """
    if not model.is_script:
        raise InputError(f"'{model.name}' holds numbers only; it needs no trust.")
    try_model(model, model.load(trusted=True))
    grant_consent(model)


def try_model(model: Model, network: torch.nn.Module) -> None:
    """Predict one slice of a small synthetic head; InputError where that fails or makes no sense."""
    if network.intensity != model.card["intensity"]:
        raise InputError(
            f"The card of '{model.name}' says intensity {model.card['intensity']}, but its network works on "
            f"{network.intensity}."
        )
    interpolator = run_model(model, network)
    predict = (
        interpolator.synthesize_with_uncertainty
        if interpolator.has_uncertainty
        else lambda stack, positions: ((image, None) for image in interpolator.synthesize(stack, positions))
    )
    for side in _SIDES:
        try:
            ((image, sd),) = predict(_small_head(side), [1.5])
            break
        except (Cancelled, MemoryError):
            raise
        except Exception as error:  # a network may stumble in any way
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            failure = InputError(f"'{model.name}' fails on a small synthetic volume: {reason}")
    else:
        raise failure
    low, high = _PLAUSIBLE
    try:
        check_prediction(image, (low, high), model.name, "a small synthetic volume")
        if sd is not None:
            check_prediction(sd, (0.0, high - low), model.name, "a small synthetic volume, for its error,")
    except PredictionError as error:
        raise InputError(str(error)) from None


def _small_head(side: int) -> SliceStack:
    """Four slices of `side` pixels, 5 mm apart: a skull that grows, with a patterned brain inside."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    brain = 35.0 + 20.0 * np.cos(40 * x) * np.cos(30 * y)
    slices = []
    for radius in (0.36, 0.38, 0.40, 0.41):
        distance = np.hypot(x, 0.9 * y) / radius
        slices.append(np.select([distance < 0.9, distance < 1.0], [brain, 1000.0], -1000.0))
    return SliceStack(
        np.stack(slices).astype(np.int16), gap=5.0, pixel=(200.0 / side, 200.0 / side), thickness=5.0
    )
