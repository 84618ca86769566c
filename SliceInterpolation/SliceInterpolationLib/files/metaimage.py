"""MetaImage headers, as https://itk.org/Wiki/ITK/MetaIO/Documentation describes them."""

from __future__ import annotations

import numpy as np

from ..volume import Volume
from .entries import HEADER_PREFIX
from .headers import escaped, unescaped

SIZE_DIGITS = 20
_LONGEST = 8000  # characters; the reader of ITK gives up at four times of this
_TYPES = {
    "i1": "CHAR", "u1": "UCHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT", "i8": "LONG_LONG",
    "u8": "ULONG_LONG", "f4": "FLOAT", "f8": "DOUBLE",
}  # fmt: skip


def metaimage_header(
    volume: Volume, stored: np.dtype, entries: dict[str, str], compressed_size: int | None
) -> bytes:
    """The header of a volume with attached voxels, raw, or a zlib stream of `compressed_size` bytes.

    The header is equally long for every compressed size, which is only known after the voxels.
    """
    numbers = {
        "TransformMatrix": volume.direction.T.ravel(),
        "Offset": volume.origin,
        "ElementSpacing": volume.spacing,
    }
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines.append(f"CompressedData = {compressed_size is not None}")
    if compressed_size is not None:
        lines.append(f"CompressedDataSize = {compressed_size:<{SIZE_DIGITS}}")
    lines += [f"{key} = {' '.join(repr(float(x)) for x in values)}" for key, values in numbers.items()]
    lines.append("DimSize = " + " ".join(str(size) for size in volume.array.shape[::-1]))
    lines.append(f"ElementType = MET_{_TYPES[stored.str[1:]]}")
    for key, value in entries.items():
        for number, part in enumerate(_parts(escaped(value))):
            lines.append(f"{HEADER_PREFIX}{key}{f'+{number}' if number else ''} = {part}")
    lines.append("ElementDataFile = LOCAL")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def joined(entries: dict[str, str]) -> dict[str, str]:
    """Entries as they were given: whole again where a value was too long for one line."""
    whole: dict[str, str] = {}
    for key, value in entries.items():
        name, divider, number = key.rpartition("+")
        if divider and number.isdigit() and name in whole:
            whole[name] += value
        else:
            whole[key] = value
    return {key: unescaped(value) for key, value in whole.items()}


def _parts(text: str) -> list[str]:
    """A text in parts that fit into a line; not cut at a space, since those at the ends of a line get lost."""
    parts = []
    while len(text) > _LONGEST:
        cut = next(n for n in range(_LONGEST, 0, -1) if not text[n - 1 : n + 1].count(" ") or n == 1)
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text]
