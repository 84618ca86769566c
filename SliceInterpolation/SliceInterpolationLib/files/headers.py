"""Text headers, as NRRD and MetaImage have them: names and values as they stand in the file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError

_LONGEST = 1 << 24  # bytes; a header that goes on beyond is none
_MOST_FILES = 100_000
_FLATTEST = 1e-6  # volume of the cell that unit vectors along the axes span; below, they are in one plane


@dataclass
class TextHeader:
    """The header of a file.

    fields: what the format defines, names in lower case. entries: keys and values as others added them.
    data: the files that hold the voxels of a detached header, empty where they follow in the same file.
    length: bytes of the header in the file.
    """

    path: Path
    fields: dict[str, str] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)
    data: list[Path] = field(default_factory=list)
    length: int = 0

    def required(self, name: str) -> str:
        """A field without which there is no image. Raises InputError where it is missing."""
        if name.lower() not in self.fields:
            raise InputError(
                f"The header of '{self.path.name}' has no field '{name}'; export the volume again."
            )
        return self.fields[name.lower()]

    def impossible(self, name: str) -> InputError:
        """The error for a field that no image can have."""
        written = next((key for key in self.entries if key.lower() == name.lower()), name)
        value = self.fields.get(name.lower(), "")
        return InputError(
            f"The header of '{self.path.name}' states {written} {value if len(value) <= 60 else value[:60] + '...'}, "
            "which no image can have; correct it or export the volume again."
        )

    def integer(self, name: str, default: int, least: int = 0) -> int:
        """A whole number, `default` where it is not stated."""
        text = self.fields.get(name, str(default))
        if not re.fullmatch(r"-?\d{1,12}", text) or int(text) < least:
            raise self.impossible(name)
        return int(text)

    def sizes(self, name: str, count: int) -> list[int]:
        """Voxels along each of `count` axes."""
        words = self.required(name).split()
        if len(words) != count or not all(
            re.fullmatch(r"\d{1,12}", word) and int(word) > 0 for word in words
        ):
            raise self.impossible(name)
        return [int(word) for word in words]

    def place(self, name: str, count: int) -> np.ndarray:
        """A point of at least `count` coordinates, 0 where it is not stated."""
        values = numbers(self.fields.get(name, "0 " * count).strip("()"))
        if len(values) < count or not np.isfinite(values).all():
            raise self.impossible(name)
        return np.array(values[:count])

    def axes(self, name: str, vectors: Iterable[Iterable[float]]) -> np.ndarray:
        """(3, 3) matrix with the vectors as columns, which must span space."""
        matrix = np.array([list(vector) for vector in vectors], dtype=float).T
        lengths = np.linalg.norm(matrix, axis=0)
        if (
            not np.isfinite(matrix).all()
            or lengths.min() <= 0
            or abs(np.linalg.det(matrix / lengths)) < _FLATTEST
        ):
            raise self.impossible(name)
        return matrix

    def voxel_files(self) -> list[tuple[Path, int]]:
        """The files that hold the voxels, and where they start. Raises InputError where one is missing."""
        missing = [file for file in self.data if not file.is_file()]
        if missing:
            raise InputError(
                f"'{self.path.name}' is a header without voxels: they should lie in '{missing[0].name}' beside it, "
                "which is not there. Copy both."
            )
        return [(file, 0) for file in self.data] or [(self.path, self.length)]


def lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a header, as long as it can be one."""
    while line := file.readline(_LONGEST):
        if file.tell() > _LONGEST:
            break
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def files_named(value: str, rest: Iterator[str], path: Path) -> list[Path]:
    """The data files that a header names: one name, a pattern with first, last and step, or LIST and a line each."""
    words = value.split()
    pattern = re.fullmatch(r"([^%]*)%(0?\d?)d([^%]*)", words[0]) if words else None
    limits = [int(word) for word in words[1:4] if re.fullmatch(r"-?\d{1,6}", word)]
    if words and words[0].upper() == "LIST":
        names = [line.strip() for line in rest if line.strip()]
    elif pattern and len(limits) >= 2:
        first, last, step = (*limits, 1)[:3]
        before, width, after = pattern.groups()
        every = range(first, last + (1 if step > 0 else -1), step or 1)
        names = [f"{before}{n:{width}d}{after}" for n in every]
    else:
        names = [value]
    if len(names) > _MOST_FILES:
        raise InputError(f"'{path.name}' names {len(names)} data files; convert it to one file.")
    return [path.parent / name.replace("\0", "") for name in names]


def numbers(text: str) -> list[float]:
    """The numbers in a text, divided by spaces or commas; NaN for what is none."""
    found = []
    for word in text.replace(",", " ").split():
        try:
            found.append(float(word))
        except ValueError:
            found.append(math.nan)
    return found


def escaped(text: str) -> str:
    """A text without line breaks, as key or value of a header."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def unescaped(text: str) -> str:
    """The way back from `escaped`."""
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)
