"""MetaImage files (.mha, .mhd), as https://itk.org/Wiki/ITK/MetaIO/Documentation describes them.

Read here and not through ITK: its reader takes zeros for compressed voxels whose size the header does not state, calls
whatever it refuses "No such file or directory", and ends the process at some damaged headers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volume import Volume
from .entries import HEADER_PREFIX
from .formats import Content, scalar_shape
from .headers import TextHeader, escaped, files_named, lines, numbers, unescaped
from .voxels import ZLIB, file_blocks, number_block, read_voxels, unpacked

SIZE_DIGITS = 20
_LONGEST = 8000  # characters; the reader of ITK gives up at four times of this
_TYPES = {
    "i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT", "i8": "LONG_LONG",
    "u8": "ULONG_LONG", "f4": "FLOAT", "f8": "DOUBLE",
}  # fmt: skip
_CODES = {**{f"MET_{name}": code for code, name in _TYPES.items()}, "MET_LONG": "i4", "MET_ULONG": "u4"}
_MOST_UNPACKED = 1032  # bytes that one byte of a zlib stream can become


def read_metaimage(path: Path, remarks: list[str]) -> Content:
    """Everything in a file; remarks tell what it does not say.

    Raises InputError for what is damaged, incomplete or no scalar 3-D image.
    """
    header = read_metaimage_header(path)
    sizes = header.sizes("DimSize", header.integer("ndims", 3, least=1))
    channels = header.integer("elementnumberofchannels", 1, least=1)
    if channels > 1:
        raise InputError(
            f"'{path.name}' holds {channels} values a voxel (colors, vectors or a time series); choose a scalar CT or "
            "MR volume."
        )
    shape = scalar_shape(sizes, path)
    stored = _stored_type(header)
    affine = _affine(header, len(sizes), remarks)
    is_packed = _is_true(header, "compresseddata")
    held = sum(file.stat().st_size - start for file, start in header.voxel_files())
    blocks = _blocks(header, stored, math.prod(shape) * stored.itemsize, is_packed)
    array = read_voxels(path, blocks, shape, stored, held * (_MOST_UNPACKED if is_packed else 8))
    return Content(array, affine, _joined(header.entries), False)


def read_metaimage_entries(path: Path) -> dict[str, str]:
    """The fields of the header as they were given. Raises InputError where there is no header."""
    return _joined(read_metaimage_header(path).entries)


def read_metaimage_header(path: Path) -> TextHeader:
    """The header alone. Raises InputError where there is none, OSError as `open` does."""
    header = TextHeader(path)
    with open(path, "rb") as file:
        rest = lines(file)
        for line in rest:
            key, divider, value = (part.strip() for part in line.partition("="))
            if not divider:
                break
            header.fields[key.lower()] = header.entries[key] = value
            if key.lower() == "elementdatafile":
                if value.upper() != "LOCAL":
                    header.data = files_named(value, rest, path)
                header.length = file.tell()
                return header
    raise InputError(f"'{path.name}' is no MetaImage file: its header has no line 'ElementDataFile = ...'.")


def metaimage_header(
    volume: Volume, stored: np.dtype, entries: dict[str, str], compressed_size: int | None
) -> bytes:
    """The header of a volume with attached voxels, raw, or a zlib stream of `compressed_size` bytes.

    The header is equally long for every compressed size, which is only known after the voxels.
    """
    grid = {
        "TransformMatrix": volume.direction.T.ravel(),
        "Offset": volume.origin,
        "ElementSpacing": volume.spacing,
    }
    head = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    head.append(f"CompressedData = {compressed_size is not None}")
    if compressed_size is not None:
        head.append(f"CompressedDataSize = {compressed_size:<{SIZE_DIGITS}}")
    head += [f"{key} = {' '.join(repr(float(x)) for x in values)}" for key, values in grid.items()]
    head.append("DimSize = " + " ".join(str(size) for size in volume.array.shape[::-1]))
    head.append(f"ElementType = MET_{_TYPES[stored.str[1:]]}")
    for key, value in entries.items():
        for number, part in enumerate(_parts(escaped(value))):
            head.append(f"{HEADER_PREFIX}{key}{f'+{number}' if number else ''} = {part}")
    head.append("ElementDataFile = LOCAL")
    return ("\n".join(head) + "\n").encode("utf-8", "surrogateescape")


def _parts(text: str) -> list[str]:
    """A text in parts that fit into a line; not cut at a space, since those at the ends of a line get lost."""
    parts = []
    while len(text) > _LONGEST:
        cut = next(n for n in range(_LONGEST, 0, -1) if not text[n - 1 : n + 1].count(" ") or n == 1)
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]


def _joined(entries: dict[str, str]) -> dict[str, str]:
    """Entries as they were given: whole again where a value was too long for one line."""
    whole: dict[str, str] = {}
    for key, value in entries.items():
        name, divider, number = key.rpartition("+")
        if divider and number.isdigit() and name in whole:
            whole[name] += value
        else:
            whole[key] = value
    return {key: unescaped(value) for key, value in whole.items()}


def _is_true(header: TextHeader, *names: str) -> bool:
    """As MetaIO understands it, by the first letter, of the first name that is there."""
    stated = next((header.fields[name] for name in names if name in header.fields), "")
    return stated[:1].lower() in ("t", "1", "y")


def _stored_type(header: TextHeader) -> np.dtype:
    name = header.required("ElementType").upper()
    if name not in _CODES:
        raise InputError(
            f"'{header.path.name}' holds voxels of type '{name[:20]}'; choose a scalar CT or MR volume."
        )
    is_big = _is_true(header, "binarydatabyteordermsb", "elementbyteordermsb")
    return np.dtype(_CODES[name]).newbyteorder(">" if is_big else "<")


def _affine(header: TextHeader, count: int, remarks: list[str]) -> np.ndarray:
    """(4, 4) from voxel indices to LPS mm, of the first three of `count` axes."""
    spacing_name = next((name for name in ("elementspacing", "elementsize") if name in header.fields), None)
    spacing = [1.0] * 3
    if spacing_name is None:
        remarks.append(f"'{header.path.name}' does not state its spacing; 1 mm is assumed.")
    else:
        spacing = numbers(header.fields[spacing_name])[:3]
        if len(spacing) < 3 or not all(math.isfinite(one) and one > 0 for one in spacing):
            raise header.impossible(spacing_name)
    affine = np.diag([*spacing, 1.0])
    matrix_name = next(
        (n for n in ("transformmatrix", "rotation", "orientation") if n in header.fields), None
    )
    if matrix_name is not None:
        values = numbers(header.fields[matrix_name])
        if len(values) != count * count:
            raise header.impossible(matrix_name)
        rows = np.reshape(values, (count, count))[:3, :3]  # a row is where an axis points
        affine[:3, :3] = header.axes(matrix_name, rows) * np.asarray(spacing)
    place_name = next((name for name in ("offset", "position", "origin") if name in header.fields), None)
    if place_name is not None:
        affine[:3, 3] = header.place(place_name, 3)
    return affine


def _blocks(header: TextHeader, stored: np.dtype, expected: int, is_packed: bool) -> Iterator[bytes]:
    """The bytes of the voxels, from one file after the other."""
    files = header.voxel_files()
    share, skip = expected // len(files), header.integer("headersize", 0, least=-1)
    size = header.integer("compresseddatasize", 0) or None
    for file, start in files:
        with open(file, "rb") as plain:
            plain.seek(start if skip >= 0 else max(start, file.stat().st_size - share))
            plain.read(max(skip, 0))
            if is_packed:
                yield from unpacked(file_blocks(plain, size if len(files) == 1 else None), ZLIB)
            elif not _is_true(header, "binarydata"):
                yield number_block(plain.read(), stored)
            else:
                yield from file_blocks(plain, share)
