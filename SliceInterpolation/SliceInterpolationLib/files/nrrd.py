"""NRRD files, attached and detached, as https://teem.sourceforge.net/nrrd/format.html defines them.

Read here and not through ITK, which mends in silence: where a header does not say how far voxels lie apart, it is 1 mm.
"""

from __future__ import annotations

import bz2
import gzip
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from ..volume import Volume
from .entries import HEADER_PREFIX
from .formats import Content, scalar_shape
from .headers import TextHeader, escaped, files_named, lines, numbers, unescaped
from .voxels import file_blocks, hex_block, number_block, read_voxels

_NAMES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPES = {name: code for code, names in _NAMES.items() for name in names.split("|")}
_ENCODINGS = {"gz": "gzip", "bz2": "bzip2", "txt": "ascii", "text": "ascii"}
_SMALLEST_SHARE = {"raw": 1.0, "gzip": 1 / 1032, "bzip2": 1 / 65536, "ascii": 0.25, "hex": 1.0}
"""Bytes of a file for a byte of voxels, at least."""
_LPS_SIGNS = {
    "left-posterior-superior": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
}
_SHORT_SPACES = {
    "lps": "left-posterior-superior",
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
}
_SPACE_KINDS = ("domain", "space", "none", "???", "")


def read_nrrd(path: Path, remarks: list[str]) -> Content:
    """Everything in a file; remarks tell what it does not say.

    Raises InputError for what is damaged, incomplete or no scalar 3-D image.
    """
    header = read_nrrd_header(path)
    sizes = header.sizes("sizes", header.integer("dimension", 3, least=1))
    stored = _stored_type(header)
    axes = _space_axes(header, sizes)
    affine = _affine(header, axes, remarks)
    encoding = header.required("encoding").lower()
    encoding = _ENCODINGS.get(encoding, encoding)
    if encoding not in _SMALLEST_SHARE:
        raise header.impossible("encoding")
    blocks = _blocks(header, encoding, stored, math.prod(sizes) * stored.itemsize)
    array = read_voxels(path, blocks, sizes[::-1], stored, _held(header) / _SMALLEST_SHARE[encoding])
    is_label = any(key.startswith("Segment0") for key in header.entries)
    return Content(array.reshape([sizes[axis] for axis in reversed(axes)]), affine, header.entries, is_label)


def read_nrrd_header(path: Path) -> TextHeader:
    """The header alone. Raises InputError where there is none, OSError as `open` does."""
    header = TextHeader(path)
    with open(path, "rb") as file:
        if not file.readline(16).startswith(b"NRRD"):
            raise InputError(f"'{path.name}' is no NRRD file: it does not start with 'NRRD'.")
        rest = lines(file)
        for line in rest:
            if not line:
                break
            key, divider, value = line.partition(":")
            if line.startswith("#") or not divider:
                continue
            if value.startswith("="):
                header.entries[unescaped(key)] = unescaped(value[1:])
                continue
            name = key.strip().lower().replace("datafile", "data file").replace("centerings", "centers")
            header.fields[re.sub(r"^(line|byte)skip$", r"\1 skip", name)] = value.strip()
            if name == "data file":
                header.data = files_named(value.strip(), rest, path)
        header.length = file.tell()
    return header


def nrrd_header(volume: Volume, stored: np.dtype, entries: dict[str, str], compress: bool) -> bytes:
    """The header of a volume with attached voxels, which follow raw or as gzip."""
    name = {"i": "int", "u": "uint"}.get(stored.kind, "")
    kind = f"{name}{8 * stored.itemsize}" if name else {4: "float", 8: "double"}[stored.itemsize]
    columns = volume.affine[:3, :3].T
    head = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(size) for size in volume.array.shape[::-1]),
        "space directions: " + " ".join(_vector(column) for column in columns),
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if compress else 'raw'}",
        f"space origin: {_vector(volume.origin)}",
        *(f"{HEADER_PREFIX}{escaped(key)}:={escaped(value)}" for key, value in entries.items()),
    ]
    return ("\n".join(head) + "\n\n").encode("utf-8", "surrogateescape")


def _vector(values: Iterable[float]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def _stored_type(header: TextHeader) -> np.dtype:
    name = header.required("type").lower()
    if name not in _TYPES:
        raise InputError(
            f"'{header.path.name}' holds voxels of type '{name[:20]}'; choose a scalar CT or MR volume."
        )
    stored = np.dtype(_TYPES[name])
    if stored.itemsize == 1 or header.fields.get("encoding", "").lower() in ("ascii", "text", "txt"):
        return stored
    order = header.required("endian").lower()
    if order not in ("little", "big"):
        raise header.impossible("endian")
    return stored.newbyteorder("<" if order == "little" else ">")


def _space_axes(header: TextHeader, sizes: list[int]) -> list[int]:
    """The three axes of space, fastest first; InputError where more than one value belongs to a place."""
    directions = _directions(header, len(sizes))
    kinds = header.fields.get("kinds", "").lower().split()
    kinds = kinds if len(kinds) == len(sizes) else [""] * len(sizes)
    axes = [
        axis
        for axis, kind in enumerate(kinds)
        if kind in _SPACE_KINDS and (directions is None or directions[axis] is not None or kind == "domain")
    ]
    if directions is not None and any(directions[axis] is None for axis in axes):
        raise header.impossible("space directions")
    values = math.prod(size for axis, size in enumerate(sizes) if axis not in axes)
    if values > 1:
        what = " ".join(kinds).strip() or "vectors or a time series"
        raise InputError(
            f"'{header.path.name}' holds {values} values a voxel ({what}); choose a scalar CT or MR volume."
        )
    scalar_shape([sizes[axis] for axis in axes], header.path)
    return axes[:3]


def _directions(header: TextHeader, count: int) -> list[list[float] | None] | None:
    """The vector of each axis, None for one that is none of space; None where no directions are stated."""
    text = header.fields.get("space directions")
    if text is None:
        return None
    found = re.findall(r"\([^)]*\)|none|nan", text, re.IGNORECASE)
    if len(found) != count:
        raise header.impossible("space directions")
    return [numbers(one.strip("()")) if one.startswith("(") else None for one in found]


def _affine(header: TextHeader, axes: list[int], remarks: list[str]) -> np.ndarray:
    """(4, 4) from voxel indices to LPS mm."""
    affine, name = np.eye(4), header.path.name
    space = header.fields.get("space", "").lower()
    space = _SHORT_SPACES.get(space[:3], space) if len(space) <= 4 else space.replace("-time", "")
    count = max(header.fields.get("sizes", "").count(" ") + 1, 3)
    directions = _directions(header, count)
    if directions is None or space not in _LPS_SIGNS:
        remarks.append(
            f"'{name}' does not say how it lies in the patient; left, right and place are unknown."
        )
    if directions is not None:
        vectors = [directions[axis] for axis in axes]
        if any(len(vector) < 3 for vector in vectors):
            raise header.impossible("space directions")
        affine[:3, :3] = header.axes("space directions", (vector[:3] for vector in vectors))
        affine[:3, 3] = header.place("space origin", 3)
    else:
        affine[:3, :3] = np.diag(_spacings(header, axes, remarks))
    units = re.findall(r'"([^"]*)"', header.fields.get("space units", ""))
    if any(unit not in ("mm", "") for unit in units):
        remarks.append(f"'{name}' gives its spacing in {units[0][:20]}; it is taken as mm.")
    return np.diag([*_LPS_SIGNS.get(space, (1, 1, 1)), 1.0]) @ affine


def _spacings(header: TextHeader, axes: list[int], remarks: list[str]) -> list[float]:
    """Of the axes of space, 1 where they are not stated."""
    stated = numbers(header.fields.get("spacings", ""))
    if not stated:
        remarks.append(f"'{header.path.name}' does not state its spacing; 1 mm is assumed.")
        return [1.0] * len(axes)
    if len(stated) <= max(axes) or not all(math.isfinite(stated[axis]) and stated[axis] > 0 for axis in axes):
        raise header.impossible("spacings")
    return [stated[axis] for axis in axes]


def _held(header: TextHeader) -> int:
    """Bytes of the files with the voxels."""
    return sum(file.stat().st_size - start for file, start in header.voxel_files())


def _blocks(header: TextHeader, encoding: str, stored: np.dtype, expected: int) -> Iterator[bytes]:
    """The bytes of the voxels, from one file after the other."""
    files = header.voxel_files()
    line_skip, byte_skip = header.integer("line skip", 0), header.integer("byte skip", 0, least=-1)
    share = expected // len(files)
    for file, start in files:
        with open(file, "rb") as plain:
            plain.seek(start)
            for _ in range(line_skip):
                plain.readline()
            if byte_skip < 0:  # the voxels are the end of the file
                plain.seek(max(plain.tell(), file.stat().st_size - share))
            unpacked: BinaryIO = plain
            if encoding == "gzip":
                unpacked = gzip.GzipFile(fileobj=plain)
            elif encoding == "bzip2":
                unpacked = bz2.BZ2File(plain)
            unpacked.read(max(byte_skip, 0))
            if encoding == "ascii":
                yield number_block(unpacked.read(), stored)
            elif encoding == "hex":
                yield hex_block(unpacked.read())
            else:
                yield from file_blocks(unpacked, share if encoding == "raw" or len(files) > 1 else None)
