"""How the readers of ITK want to be called, and what can be made of their errors."""

from __future__ import annotations

import os
import re
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


def last_sentence(error: Exception) -> str:
    """What an error of ITK says is wrong, without the lines of addresses before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sentence = lines[-1] if lines else ""
    if not sentence or sentence.startswith("Reason:"):  # that of the operating system, of another moment
        return "its reader refuses it and gives no reason; convert it to .nrrd"
    return re.sub(r"^(ITK ERROR: \w+\(\w+\): |\[nrrd\] \w+: |sitk::ERROR: )", "", sentence).rstrip(".!")
