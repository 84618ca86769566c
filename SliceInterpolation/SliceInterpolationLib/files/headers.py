"""The text headers of NRRD and MetaImage as they stand in the file: readers fill in, mend or pass over things."""

from __future__ import annotations

import math
import re
import zlib
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


def _lines(file: BinaryIO, path: Path):
    while line := file.readline(_LONGEST):
        if file.tell() > _LONGEST:
            break
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _read_nrrd(file: BinaryIO, path: Path) -> TextHeader:
    if not file.readline(16).startswith(b"NRRD"):
        raise InputError(f"'{path.name}' is no NRRD file: it does not start with 'NRRD'.")
    header = TextHeader()
    lines = _lines(file, path)
    for line in lines:
        if not line:
            break
        if line.startswith("#"):
            continue
        key, divider, value = line.partition(":")
        if divider and value.startswith("="):
            header.entries[_unescaped(key)] = _unescaped(value[1:])
        elif divider:
            name = key.strip().lower().replace("datafile", "data file")
            header.fields[name] = value.strip()
            if name == "data file":
                header.data = _files_named(value.split(), "LIST", lines, path)
    header.length = file.tell()
    return header


def _read_metaimage(file: BinaryIO, path: Path) -> TextHeader:
    header = TextHeader()
    lines = _lines(file, path)
    for line in lines:
        key, divider, value = (part.strip() for part in line.partition("="))
        if not divider:
            break
        header.fields[key.lower()] = header.entries[key] = value
        if key.lower() == "elementdatafile":
            if value.upper() != "LOCAL":
                header.data = _files_named(value.split(), "LIST", lines, path)
            header.length = file.tell()
            return header
    raise InputError(f"'{path.name}' is no MetaImage file: its header has no line 'ElementDataFile = ...'.")


def _files_named(words: list[str], list_word: str, lines, path: Path) -> list[Path]:
    """The data files that a header names: one name, a pattern with first, last and step, or a list of lines."""
    if not words:
        return []
    if words[0].upper() == list_word:
        names = [line.strip() for line in lines if line.strip()]
    elif "%" in words[0] and len(words) >= 3:
        numbers = [int(word) for word in words[1:4] if word.lstrip("-").isdigit()]
        first, last, step = [*numbers, 1][:3] if len(numbers) >= 2 else (0, -1, 1)
        try:
            names = [words[0] % number for number in range(first, last + (1 if step > 0 else -1), step or 1)]
        except (TypeError, ValueError):
            names = []
    else:
        names = [" ".join(words)]
    return [path.parent / name for name in names]


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\\\", "\\")


def escaped(text: str) -> str:
    """A text as a NRRD key or value."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def check_header(path: Path, header: TextHeader, remarks: list[str]) -> None:
    """Refuse what the reader of ITK would mend or miss: a spacing that cannot be, and voxels that are not there."""
    is_nrrd = suffix_of(path) in (".nrrd", ".nhdr")
    spacing = _nrrd_spacing(header) if is_nrrd else _metaimage_spacing(header)
    if not spacing:
        remarks.append(f"'{path.name}' does not state its spacing; 1 mm is assumed.")
    if not all(math.isfinite(one) and one > 0 for one in spacing):
        stated = " x ".join(f"{one:g}" for one in spacing)
        raise InputError(
            f"'{path.name}' states a spacing of {stated} mm; no voxels lie so. Correct its header or export it again."
        )
    missing = [file for file in header.data if not file.is_file()]
    if missing:
        raise InputError(
            f"'{path.name}' is a header without voxels: they should lie in '{missing[0].name}' beside it, which is "
            "not there. Copy both."
        )


def check_length(path: Path, header: TextHeader, expected: int, unpack: bool = False) -> None:
    """Refuse a file, or the data files of a detached header, that hold fewer bytes of voxels than expected.

    unpack: whether compressed voxels are counted, too; their readers notice by themselves, but give other reasons.
    """
    fields = header.fields
    is_packed = (
        fields.get("encoding", "raw").lower() in ("gz", "gzip")
        or fields.get("compresseddata", "").lower() == "true"
    )
    if is_packed and not unpack:
        return
    if fields.get("encoding", "raw").lower() not in ("raw", "gz", "gzip"):
        return
    if fields.get("binarydata", "true").lower() != "true":
        return
    files = header.data or [path]
    present = sum(file.stat().st_size for file in files) - (0 if header.data else header.length)
    if is_packed:
        present = sum(_unpacked_bytes(file, 0 if header.data else header.length) for file in files)
    if present < expected:
        raise InputError(
            f"'{path.name}' is incomplete: {present} of {expected} bytes of voxels; copy it again."
        )


def _unpacked_bytes(path: Path, start: int) -> int:
    """Of a gzip or zlib stream, as far as it can be unpacked."""
    unpacker, count = zlib.decompressobj(47), 0
    with open(path, "rb") as file:
        file.seek(start)
        while block := file.read(1 << 20):
            try:
                count += len(unpacker.decompress(block))
            except zlib.error:
                break
    return count


def _numbers(text: str) -> list[float]:
    numbers = []
    for word in text.replace(",", " ").split():
        try:
            numbers.append(float(word))
        except ValueError:
            numbers.append(math.nan)
    return numbers


def _nrrd_spacing(header: TextHeader) -> list[float]:
    """Of the axes that have one."""
    if "space directions" in header.fields:
        vectors = re.findall(r"\(([^)]*)\)", header.fields["space directions"])
        return [math.hypot(*_numbers(vector)) for vector in vectors]
    words = header.fields.get("spacings", "").split()
    return _numbers(" ".join(words if len(words) <= 3 else [w for w in words if w.lower() != "nan"]))


def _metaimage_spacing(header: TextHeader) -> list[float]:
    return _numbers(header.fields.get("elementspacing", header.fields.get("elementsize", "")))
