"""MetaImage headers, as https://itk.org/Wiki/ITK/MetaIO/Documentation describes them."""

from __future__ import annotations

import numpy as np

from ..volume import Volume
from .entries import HEADER_PREFIX
from .headers import escaped

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
        text = escaped(value)
        parts = [text[first : first + _LONGEST] for first in range(0, len(text), _LONGEST)]
        lines += [f"{HEADER_PREFIX}{key}{f'+{n}' if n else ''} = {part}" for n, part in enumerate(parts)]
    lines.append("ElementDataFile = LOCAL")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def joined(entries: dict[str, str]) -> dict[str, str]:
    """Entries whose values were too long for one line, whole again."""
    whole: dict[str, str] = {}
    for key, value in entries.items():
        name, divider, number = key.rpartition("+")
        if divider and number.isdigit() and name in whole:
            whole[name] += value
        else:
            whole[key] = value
    return whole
