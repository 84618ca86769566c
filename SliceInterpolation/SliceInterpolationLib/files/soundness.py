"""What the readers of ITK mend in silence, or refuse with another reason: looked for in the text header itself."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError
from .formats import scalar_shape
from .headers import TextHeader
from .voxels import EITHER, file_blocks, unpacked

_FLATTEST = 1e-6  # volume of the cell that unit vectors along the axes span; below, they are in one plane


def check_grid(path: Path, header: TextHeader, remarks: list[str]) -> None:
    """Refuse sizes, spacings, directions and origins that cannot be; remark on what is not stated."""
    fields = header.fields
    for name, is_sound in _RULES[header.is_nrrd].items():
        if name in fields and not is_sound(fields[name]):
            written = next((key for key in header.entries if key.lower() == name), name)
            raise InputError(
                f"The header of '{path.name}' states {written} {fields[name][:60]}, which no image can have; correct "
                "it or export the volume again."
            )
    scalar_shape(
        [int(size) for size in fields.get("sizes", fields.get("dimsize", "1 1 1")).split()][:3], path
    )
    if header.is_nrrd:
        stated = len(_vectors(fields.get("space directions", ""))) or len(fields.get("spacings", "").split())
        if "space directions" not in fields:
            remarks.append(
                f"'{path.name}' does not say how it lies in the patient; left, right and place are unknown."
            )
        unit = re.findall(r'"([^"]*)"', fields.get("space units", ""))
        if any(one not in ("mm", "") for one in unit):
            remarks.append(f"'{path.name}' gives its spacing in {unit[0]}; it is taken as mm.")
    else:
        stated = len(fields.get("elementspacing", fields.get("elementsize", "")).split())
    if stated < 3:
        remarks.append(f"'{path.name}' does not state its spacing along all axes; 1 mm is assumed.")


def check_data(path: Path, header: TextHeader) -> None:
    """Refuse a detached header without the files that hold its voxels."""
    missing = [file for file in header.data if not file.is_file()]
    if missing:
        raise InputError(
            f"'{path.name}' is a header without voxels: they should lie in '{missing[0].name}' beside it, which is "
            "not there. Copy both."
        )


def check_length(path: Path, header: TextHeader, expected: int, refused: bool = False) -> None:
    """Refuse a file that holds fewer bytes of voxels than expected, or cannot be unpacked.

    refused: whether ITK did not take the file. A good NRRD reader needs no help with gzip, but its reason may be
    another one; that of MetaImage takes zeros for what is missing, so there the voxels are always unpacked.
    """
    fields = header.fields
    encoding = fields.get("encoding", "raw").lower()
    files = header.data or [path]
    start = 0 if header.data else header.length
    if fields.get("compresseddata", "").lower() == "true":
        size = fields.get("compresseddatasize", "")
        if not size.isdigit():
            raise InputError(
                f"'{path.name}' does not state CompressedDataSize, without which it cannot be "
                "unpacked; export it again."
            )
        present = _unpacked_bytes(path, files, start, int(size))
    elif encoding in ("gz", "gzip"):
        present = _unpacked_bytes(path, files, start) if refused else expected
    elif encoding == "raw" and fields.get("binarydata", "true").lower() == "true":
        present = sum(file.stat().st_size for file in files) - start
    else:
        return
    if present < expected:
        raise InputError(
            f"'{path.name}' is incomplete: {present} of {expected} bytes of voxels; copy it again."
        )


def _unpacked_bytes(path: Path, files: list[Path], start: int, size: int | None = None) -> int:
    """Length of the unpacked voxels: a zlib stream of `size` bytes, or any number of gzip members."""
    count = 0
    for one in files:
        with open(one, "rb") as file:
            file.seek(start)
            try:
                count += sum(len(content) for content in unpacked(file_blocks(file, size), EITHER))
            except zlib.error as error:
                reason = str(error).rpartition(": ")[2]
                raise InputError(
                    f"'{path.name}' is damaged: its compressed voxels cannot be unpacked ({reason}); copy it again."
                ) from None
    return count


def _numbers(text: str) -> list[float]:
    """The numbers in a text; NaN for what is none."""
    numbers = []
    for word in text.replace(",", " ").split():
        try:
            numbers.append(float(word))
        except ValueError:
            numbers.append(math.nan)
    return numbers


def _vectors(text: str) -> list[list[float]]:
    return [_numbers(vector) for vector in re.findall(r"\(([^)]*)\)", text)]


def _are_sizes(text: str) -> bool:
    return all(word.isdigit() and int(word) > 0 for word in text.split())


def _are_lengths(text: str) -> bool:
    return all(math.isfinite(one) and one > 0 for one in _numbers(text))


def _are_spacings(text: str) -> bool:
    """As `_are_lengths`, where an axis that is none of space has none."""
    words = text.split()
    return _are_lengths(" ".join(word for word in words if len(words) <= 3 or word.lower() != "nan"))


def _is_place(text: str) -> bool:
    return all(math.isfinite(one) for one in _numbers(text.strip("()")))


def _are_axes(vectors: list[list[float]]) -> bool:
    lengths = [math.hypot(*vector) for vector in vectors]
    if not all(math.isfinite(length) and length > 0 for length in lengths):
        return False
    if len({len(vectors), *map(len, vectors)}) > 1:
        return True  # not all of them are axes of space
    return abs(np.linalg.det(np.array(vectors) / np.array(lengths)[:, None])) > _FLATTEST


def _is_matrix(text: str) -> bool:
    numbers = _numbers(text)
    count = math.isqrt(len(numbers))
    return _are_axes([numbers[first : first + count] for first in range(0, len(numbers), max(count, 1))])


_RULES = {
    True: {
        "sizes": _are_sizes,
        "spacings": _are_spacings,
        "space directions": lambda text: _are_axes(_vectors(text)),
        "space origin": _is_place,
    },
    False: {
        "dimsize": _are_sizes,
        **dict.fromkeys(("elementspacing", "elementsize"), _are_lengths),
        **dict.fromkeys(("transformmatrix", "rotation", "orientation"), _is_matrix),
        **dict.fromkeys(("offset", "position", "origin"), _is_place),
    },
}
