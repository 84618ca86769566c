"""Our mark in DICOM: which slice was acquired and which was made, coded, bound to the pixels, and read back.

A series of ours says it of every slice in three ways: a coded derivation, a comment for people, and a record of the run
as the parameters of the algorithm in Contributing Equipment. Nothing of it is a private attribute.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..volume import ACQUIRED, DENOISED, PROVENANCE_NAMES, SYNTHESIZED, UNKNOWN

if TYPE_CHECKING:
    import pydicom

PROGRAM = "SliceInterpolation"
MAKER = "SliceInterpolation developers"
SCHEME = "99SLICEINTERP"
"""Our coding scheme, for what DICOM has no code for; local schemes begin with 99."""

_CODES = {
    ACQUIRED: ("ACQUIRED", "Acquired slice, copied unchanged"),
    SYNTHESIZED: ("SYNTHESIZED", "Slice synthesized from its neighbors, not acquired"),
    DENOISED: ("DENOISED", "Acquired slice, denoised"),
    UNKNOWN: ("UNKNOWN", "Slice of unknown origin"),
}
_LONGEST_RECORD = 10240  # characters of an LT


@dataclass(frozen=True)
class Mark:
    """What a slice of ours says of itself: provenance letter, hash of its stored pixels, history of its volume."""

    letter: str
    pixels_sha256: str
    history: tuple[dict[str, Any], ...]

    def is_of(self, stored: np.ndarray) -> bool:
        """Whether the stored pixels of an image are those that were marked; another program may have changed them."""
        return self.pixels_sha256 == pixel_hash(stored)


def pixel_hash(stored: np.ndarray) -> str:
    """SHA-256 of stored pixel values as little-endian int32, however they are encoded in the file."""
    return hashlib.sha256(np.ascontiguousarray(stored, dtype="<i4").data).hexdigest()


def record(letter: str, stored: np.ndarray, history: tuple[dict[str, Any], ...]) -> str:
    """The mark of a slice as text; of a history that is too long for DICOM the latest runs."""
    for first in range(len(history) + 1):
        text = json.dumps(
            {"slice": letter, "pixels_sha256": pixel_hash(stored), "history": history[first:]},
            ensure_ascii=True,
        )
        if len(text) <= _LONGEST_RECORD:
            break
    return text


def read_mark(dataset: pydicom.Dataset) -> Mark | None:
    """The mark in a header; None where the image is none of ours, or does not say it in a way that is understood."""
    for item in reversed(_items(dataset, "ContributingEquipmentSequence")):
        if str(item.get("ManufacturerModelName", "")) != PROGRAM:
            continue
        try:
            told = json.loads(str(item.get("AlgorithmParameters", "")))
            letter, digest, history = told["slice"], told["pixels_sha256"], told["history"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        is_history = isinstance(history, list) and all(isinstance(run, dict) for run in history)
        coded = [str(one.get("CodeValue", "")) for one in _items(dataset, "DerivationCodeSequence")]
        if not is_history or letter not in PROVENANCE_NAMES or _CODES.get(letter, ("",))[0] not in coded:
            return None
        return Mark(letter, str(digest), tuple(history))
    return None


def letters_of(marks: Sequence[Mark | None]) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Provenance of slices by their marks, unknown where there is none, and the history that all of them share."""
    letters = "".join(one.letter if one else UNKNOWN for one in marks)
    first = marks[0] if marks else None
    shared = first is not None and all(one is not None and one.history == first.history for one in marks)
    return letters, first.history if shared else ()


def mark_code(letter: str) -> tuple[str, str, str]:
    """Value, scheme and meaning of the code of a provenance letter."""
    value, meaning = _CODES[letter]
    return value, SCHEME, meaning


def _items(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    try:
        return list(dataset.get(keyword) or ())
    except Exception:  # what pydicom raises for a damaged sequence has many names
        return []
