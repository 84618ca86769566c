"""Voxels as bytes of a file, packed or not, block by block: no format makes a copy of the volume."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError

ZLIB, GZIP = 15, 31
"""Window bits, by which zlib tells its two containers apart."""

_BLOCK = 1 << 22  # bytes
_LEVEL = 4  # beyond, CT gets hardly smaller and much slower


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


def file_blocks(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """The rest of a file, or the next `size` bytes of it."""
    while block := file.read(_BLOCK if size is None else min(_BLOCK, size)):
        size = None if size is None else size - len(block)
        yield block


def packed(blocks: Iterable[bytes | memoryview], container: int) -> Iterator[bytes]:
    """Blocks as one stream in a container of zlib."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, container)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()


def unpacked(blocks: Iterable[bytes], container: int) -> Iterator[bytes]:
    """What is in a stream of zlib, or in any number of gzip members one after the other. Raises zlib.error, EOFError.

    A block can become a thousand times larger: never more than a few megabytes come at once.
    """
    unpacker = zlib.decompressobj(container)
    for block in blocks:
        while block:
            if unpacker.eof:
                unpacker = zlib.decompressobj(container)
            content = unpacker.decompress(block, _BLOCK)
            block = unpacker.unused_data or unpacker.unconsumed_tail
            yield content
            while len(content) == _BLOCK and not block and not unpacker.eof:
                content = unpacker.decompress(b"", _BLOCK)
                yield content
    if not unpacker.eof:
        raise EOFError("it ends too early")


def number_block(text: bytes, stored: np.dtype) -> bytes:
    """Voxels that are written as text. Raises ValueError for what is no number."""
    return np.array(text.split(), dtype="S32").astype(stored).tobytes()


def hex_block(text: bytes) -> bytes:
    """Bytes that are written as pairs of hexadecimal digits. Raises ValueError."""
    return bytes.fromhex(b"".join(text.split()).decode("ascii"))


def read_voxels(
    path: Path, blocks: Iterable[bytes], shape: Sequence[int], stored: np.dtype, most: float
) -> np.ndarray:
    """An array of this shape, in the byte order of the machine, from the bytes that a file holds.

    most: bytes that the file can hold at all, so that no memory is asked for in vain. Raises InputError where there
    are fewer than there should be, or where they cannot be unpacked.
    """
    expected, done = math.prod(shape) * stored.itemsize, 0
    if expected > most:
        raise InputError(
            f"'{path.name}' is incomplete: its header announces {expected} bytes of voxels, which so short a file "
            "cannot hold; copy it again."
        )
    array = np.empty(shape, stored)
    view = memoryview(array.reshape(-1).view(np.uint8))
    try:
        for block in blocks:  # to the end, where checksums are
            count = min(len(block), expected - done)
            view[done : done + count] = block[:count]
            done += count
    except EOFError:
        if done == expected:
            raise InputError(
                f"'{path.name}' is incomplete: its compressed voxels lack their end; copy it again."
            ) from None
    except (ValueError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).rpartition(": ")[2]
        raise InputError(
            f"'{path.name}' is damaged: its voxels cannot be unpacked ({reason}); copy it again."
        ) from None
    if done < expected:
        raise InputError(f"'{path.name}' is incomplete: {done} of {expected} bytes of voxels; copy it again.")
    return array if stored.isnative else array.byteswap(inplace=True).view(stored.newbyteorder())
