"""NRRD headers, as https://teem.sourceforge.net/nrrd/format.html defines them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..volume import Volume
from .entries import HEADER_PREFIX
from .headers import escaped


def nrrd_header(volume: Volume, stored: np.dtype, entries: dict[str, str], compress: bool) -> bytes:
    """The header of a volume with attached voxels, which follow raw or as gzip."""
    name = {"i": "int", "u": "uint"}.get(stored.kind, "")
    kind = f"{name}{8 * stored.itemsize}" if name else {4: "float", 8: "double"}[stored.itemsize]
    columns = volume.affine[:3, :3].T
    lines = [
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
    return ("\n".join(lines) + "\n\n").encode("utf-8", "surrogateescape")


def _vector(values: Iterable[float]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
