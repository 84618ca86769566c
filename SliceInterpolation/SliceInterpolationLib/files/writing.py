"""Writing volumes with what is known about their slices: streamed without a copy, and read back before it counts."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from ..errors import InputError, OutputError
from ..volume import Volume
from .entries import VOXEL_HASH, entries_of, voxel_hash
from .formats import WRITABLE, suffix_of
from .metaimage import metaimage_header
from .nifti import check_nifti, nifti_header
from .nrrd import nrrd_header
from .voxels import GZIP, ZLIB, file_blocks, packed, stored_type, unpacked, voxel_blocks

_CONTAINERS = {".nrrd": GZIP, ".nii.gz": GZIP, ".mha": ZLIB}


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
    container = _CONTAINERS.get(suffix) if compress or packs_head else None
    head = _head(volume, suffix, entries, compress)
    blocks: Iterable[bytes | memoryview] = voxel_blocks(volume.array)
    if packs_head:
        blocks = chain([head], blocks)
    if container is not None:
        blocks = packed(blocks, container)
    with open(path, "wb") as file:
        if not packs_head:
            file.write(head)
        for block in blocks:
            file.write(block)
        if suffix == ".mha" and compress:  # which states the size of what follows
            head = _head(volume, suffix, entries, compress, file.tell() - len(head))
            file.seek(0)
            file.write(head)
    with open(path, "rb") as file:
        start = b"" if packs_head else file.read(len(head))
        rest = file_blocks(file)
        held = chain([start], rest if container is None else unpacked(rest, container))
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


def _is_written(blocks: Iterable[bytes], head: bytes, digest: str) -> bool:
    """Whether these are the header and, by their hash, the voxels."""
    found, voxels = b"", hashlib.sha256()
    try:
        for block in blocks:
            missing = len(head) - len(found)
            found += block[:missing]
            voxels.update(block[missing:])
    except (zlib.error, EOFError):
        return False
    return found == head and voxels.hexdigest() == digest
