"""The model catalogue: bundled and user models, each a folder with `weights.safetensors` and `card.json`.

`card` says what a card must hold, `folders` where models live, `models` finds them, `consent` remembers which
programs the user trusts, `adding` tries a model and copies it into the user's folder. Reading the catalogue
needs neither PyTorch nor the methods that run a model.
"""

from __future__ import annotations

from .card import CARD, DEFAULT, METHODS, WEIGHTS, check_name, read_card
from .folders import bundled_folder, user_folder
from .models import (
    Model,
    Unusable,
    find_model,
    grant_consent,
    list_models,
    model_hash,
    needs_consent,
    own_entries,
    read_catalogue,
    remove_model,
)

__all__ = [
    "CARD",
    "DEFAULT",
    "METHODS",
    "WEIGHTS",
    "Model",
    "Unusable",
    "bundled_folder",
    "check_name",
    "find_model",
    "grant_consent",
    "list_models",
    "model_hash",
    "needs_consent",
    "own_entries",
    "read_card",
    "read_catalogue",
    "remove_model",
    "user_folder",
]
