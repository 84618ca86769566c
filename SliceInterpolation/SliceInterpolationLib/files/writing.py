"""Writing volumes with what is known about their slices: streamed without a copy, and read back before it counts."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError, OutputError
from ..volume import Volume
from .entries import VOXEL_HASH, entries_of, voxel_hash
from .formats import WRITABLE, suffix_of
from .metaimage import metaimage_header
from .nifti import check_nifti, nifti_header
from .nrrd import nrrd_header
from .voxels import stored_type, voxel_blocks

_WINDOWS = {
    ".nrrd": 31,
    ".nii.gz": 31,
    ".mha": 15,
}  # window bits, by which zlib knows gzip and its own container
_LEVEL = 4  # beyond, CT gets hardly smaller and much slower
_BLOCK = 1 << 22


def check_writable(path: str | Path, volume: Volume | None = None) -> str:
    """The suffix of a volume file to be written. InputError where it is unknown, or cannot hold `volume`."""
    path = Path(path)
    suffix = suffix_of(path)
    if suffix not in WRITABLE:
        raise InputError(f"'{path.name}' has no known suffix to write; use .nrrd, .nii.gz, .nii or .mha.")
    if volume is not None:
        stored_type(volume.array.dtype)
        if suffix.startswith(".nii"):
            check_nifti(volume)
    return suffix


def write_aside(volume: Volume, path: Path, compress: bool = False) -> None:
    """Write a volume into a file that nobody knows of yet (see `outputs.Outputs`), and read back what was written.

    Provenance, history and a hash of the voxels go into the header: fields of NRRD and MetaImage, a comment extension
    of NIfTI. Raises InputError where the format cannot hold the volume, OSError as the disk does, OutputError where
    the file then holds something else.
    """
    suffix = check_writable(path, volume)
    digest = voxel_hash(volume.array)
    entries = {**entries_of(volume), VOXEL_HASH: digest}
    packs_head = suffix == ".nii.gz"
    window = _WINDOWS.get(suffix, 0) if compress or packs_head else 0
    head = _head(volume, suffix, entries, compress)
    blocks: Iterable[bytes | memoryview] = voxel_blocks(volume.array)
    with open(path, "wb") as file:
        if packs_head:
            blocks = chain([head], blocks)
        else:
            file.write(head)
        for block in _packed(blocks, window):
            file.write(block)
        if suffix == ".mha" and compress:  # which states the size of what follows
            head = _head(volume, suffix, entries, compress, file.tell() - len(head))
            file.seek(0)
            file.write(head)
    with open(path, "rb") as file:
        if packs_head:
            held = _unpacked(file, window)
        else:
            held = chain([file.read(len(head))], _unpacked(file, window))
        if not _is_written(held, head, digest):
            raise OutputError("The disk did not keep what was written to it; choose another one.")


def _head(
    volume: Volume, suffix: str, entries: dict[str, str], compress: bool, packed_size: int = 0
) -> bytes:
    stored = stored_type(volume.array.dtype)
    if suffix == ".nrrd":
        return nrrd_header(volume, stored, entries, compress)
    if suffix == ".mha":
        return metaimage_header(volume, stored, entries, packed_size if compress else None)
    return nifti_header(volume, stored, entries)


def _packed(blocks: Iterable[bytes | memoryview], window: int) -> Iterator[bytes | memoryview]:
    if not window:
        yield from blocks
        return
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, window)
    for block in blocks:
        yield packer.compress(block)
    yield packer.flush()


def _unpacked(file: BinaryIO, window: int) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(window) if window else None
    while block := file.read(_BLOCK):
        yield unpacker.decompress(block) if unpacker else block


def _is_written(blocks: Iterable[bytes], head: bytes, digest: str) -> bool:
    """Whether these are the header and, by their hash, the voxels."""
    found, voxels = b"", hashlib.sha256()
    try:
        for block in blocks:
            missing = len(head) - len(found)
            found += block[:missing]
            voxels.update(block[missing:])
    except zlib.error:
        return False
    return found == head and voxels.hexdigest() == digest
