"""Voxels as bytes of a file, block by block: no format makes a copy of the volume."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import InputError

_BLOCK = 1 << 22  # bytes


def stored_type(dtype: np.dtype) -> np.dtype:
    """The little-endian type in which voxels are stored; all formats here know it. InputError where there is none."""
    if dtype.kind == "b":
        return np.dtype("u1")
    if dtype == np.float16:
        return np.dtype("<f4")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            f"Voxels of type {dtype} cannot be stored; convert them to whole numbers or float first."
        )
    return dtype.newbyteorder("<")


def voxel_blocks(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of an array in C order, little endian, a few megabytes at a time; whatever its memory layout is."""
    stored = stored_type(array.dtype)
    row_bytes = max(1, stored.itemsize * int(np.prod(array.shape[1:])))
    step = max(1, _BLOCK // row_bytes)
    for first in range(0, len(array), step):
        block = np.ascontiguousarray(array[first : first + step], dtype=stored)
        yield memoryview(block.reshape(-1).view(np.uint8))
