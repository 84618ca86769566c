"""Which programs the user trusts, by the SHA-256 of their files, remembered in the user's model folder.

A TorchScript file is a program. It can read and write files with the rights of whoever loads it, already while it
is loaded, so nothing here or in `models add` loads one: it runs only after its user has said so.
"""

from __future__ import annotations

import re

from ..atomic import replacing
from ..errors import InputError
from .folders import user_folder

_FILE = "trusted.txt"  # one SHA-256 a line


def is_trusted(sha256: str) -> bool:
    """Whether the user trusts the file with this SHA-256; a memory that cannot be read remembers nothing."""
    return sha256 in _trusted()


def trust(sha256: str) -> None:
    """Remember that the user trusts a file."""
    _remember(_trusted() | {sha256})


def distrust(sha256: str) -> None:
    """Forget that the user trusts a file."""
    trusted = _trusted()
    if sha256 in trusted:
        _remember(trusted - {sha256})


def _trusted() -> set[str]:
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
