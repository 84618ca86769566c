"""How ITK wants to be called."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InputError


def itk_name(path: str | Path) -> str:
    """The name of a file for SimpleITK, which ends the whole process where a name is not valid UTF-8.

    Where the encoding of the system knows no UTF-8 (LC_ALL=C), Python has such names in a form of its own.
    """
    text = str(path)
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        pass
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeError:
        raise InputError(f"The name of '{path}' is not valid text (UTF-8); rename it.") from None
