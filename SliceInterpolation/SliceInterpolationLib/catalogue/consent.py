"""Which programs the user trusts: a TorchScript file runs only after its user has said so.

Such a file is a program. It can read and write files with the rights of whoever loads it, already while it is
loaded, so nothing here or in `models add` loads one. Trust is given to a file, by its SHA-256, and remembered
in the user's model folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..atomic import replacing
from ..errors import InputError
from ..weights import check_hash
from .folders import user_folder

if TYPE_CHECKING:
    from .models import Model

_FILE = "trusted.txt"  # one SHA-256 a line


def needs_consent(model: Model) -> bool:
    """Whether running a model means running a program that the user has not trusted yet."""
    return model.is_script and model.card["weights_sha256"] not in _trusted()


def check_consent(model: Model) -> None:
    """InputError, with the way out, where a model needs a consent that was not given."""
    if needs_consent(model):
        raise InputError(
            f"'{model.name}' is a TorchScript file, that is a program: it can read, change and send whatever "
            "you can. If you trust where it comes from, say so once by "
            f"'slice-interpolation models trust {model.name}'."
        )


def grant_consent(model: Model) -> None:
    """Trust the file of a model from now on. Raises InputError where it is not the one its card describes."""
    check_hash(model.weights, model.card["weights_sha256"])
    _remember(_trusted() | {model.card["weights_sha256"]})


def withdraw_consent(model: Model) -> None:
    """Trust the file of a model no more."""
    trusted = _trusted()
    if model.card["weights_sha256"] in trusted:
        _remember(trusted - {model.card["weights_sha256"]})


def _trusted() -> set[str]:
    """What is remembered; a file that cannot be read remembers nothing."""
    try:
        lines = (user_folder() / _FILE).read_text(encoding="ascii", errors="replace").split()
    except (OSError, InputError):
        return set()
    return {line for line in lines if re.fullmatch("[0-9a-f]{64}", line)}


def _remember(trusted: set[str]) -> None:
    folder = user_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / _FILE) as file:
        file.write("".join(f"{digest}\n" for digest in sorted(trusted)).encode("ascii"))
