"""The text headers of NRRD and MetaImage as they stand in the file: readers fill in, mend or pass over things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError
from .formats import suffix_of

_LONGEST = 1 << 24  # bytes; a header that goes on beyond is none


@dataclass
class TextHeader:
    """fields: what the format defines, names in lower case. entries: further keys and values, as others added them.

    data: the files that hold the voxels of a detached header, empty where they follow in the same file.
    length: bytes of the header in the file.
    """

    is_nrrd: bool
    fields: dict[str, str] = field(default_factory=dict)
    entries: dict[str, str] = field(default_factory=dict)
    data: list[Path] = field(default_factory=list)
    length: int = 0


def read_header(path: Path) -> TextHeader:
    """The header of a NRRD or MetaImage file. Raises InputError where there is none, OSError as `open` does."""
    with open(path, "rb") as file:
        if suffix_of(path) in (".nrrd", ".nhdr"):
            return _read_nrrd(file, path)
        return _read_metaimage(file, path)


def data_files(path: Path) -> list[Path]:
    """The further files that hold the voxels of a volume file; empty where it holds them itself, or is none."""
    if suffix_of(path) not in (".nrrd", ".nhdr", ".mha", ".mhd"):
        return []
    try:
        return read_header(path).data
    except (InputError, OSError):
        return []  # told where it is read


def _lines(file: BinaryIO) -> Iterator[str]:
    while line := file.readline(_LONGEST):
        if file.tell() > _LONGEST:
            break
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _read_nrrd(file: BinaryIO, path: Path) -> TextHeader:
    if not file.readline(16).startswith(b"NRRD"):
        raise InputError(f"'{path.name}' is no NRRD file: it does not start with 'NRRD'.")
    header = TextHeader(is_nrrd=True)
    lines = _lines(file)
    for line in lines:
        if not line:
            break
        if line.startswith("#"):
            continue
        key, divider, value = line.partition(":")
        if divider and value.startswith("="):
            header.entries[unescaped(key)] = unescaped(value[1:])
        elif divider:
            name = key.strip().lower().replace("datafile", "data file")
            header.fields[name] = value.strip()
            if name == "data file":
                header.data = _files_named(value.split(), lines, path)
    header.length = file.tell()
    return header


def _read_metaimage(file: BinaryIO, path: Path) -> TextHeader:
    header = TextHeader(is_nrrd=False)
    lines = _lines(file)
    for line in lines:
        key, divider, value = (part.strip() for part in line.partition("="))
        if not divider:
            break
        header.fields[key.lower()] = header.entries[key] = value
        if key.lower() == "elementdatafile":
            if value.upper() != "LOCAL":
                header.data = _files_named(value.split(), lines, path)
            header.length = file.tell()
            return header
    raise InputError(f"'{path.name}' is no MetaImage file: its header has no line 'ElementDataFile = ...'.")


def _files_named(words: list[str], lines: Iterator[str], path: Path) -> list[Path]:
    """The data files that a header names: one name, a pattern with first, last and step, or a list of lines."""
    if not words:
        return []
    pattern = re.fullmatch(r"([^%]*)%(0?\d?)d([^%]*)", words[0])
    numbers = [int(word) for word in words[1:4] if re.fullmatch(r"-?\d{1,6}", word)]
    if words[0].upper() == "LIST":
        names = [line.strip() for line in lines if line.strip()]
    elif pattern and len(numbers) >= 2:
        first, last, step = (*numbers, 1)[:3]
        before, width, after = pattern.groups()
        names = [
            f"{before}{n:{width}d}{after}" for n in range(first, last + (1 if step > 0 else -1), step or 1)
        ]
    else:
        names = [" ".join(words)]
    return [path.parent / name for name in names]


def unescaped(text: str) -> str:
    """The way back from `escaped`."""
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)


def escaped(text: str) -> str:
    """A text as a NRRD key or value."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")
