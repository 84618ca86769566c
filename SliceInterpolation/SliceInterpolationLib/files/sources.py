"""Which files an input consists of, so that no output ever replaces one of them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from .formats import suffix_of
from .metaimage import read_metaimage_header
from .nrrd import read_nrrd_header


def belongs_to(target: Path, source: Path) -> bool:
    """Whether a file is an input, a file in the folder that is the input, or the data file of a detached header.

    Files are compared, not paths: another spelling, a symbolic or hard link, another case where the file system
    ignores it, are the same file. A file that does not exist yet belongs to nothing.
    """
    if not target.exists():
        return False
    if source.is_dir():
        files = list(source.iterdir())
        return any(_same(target, file) for file in files) or any(_same(p, source) for p in target.parents)
    return any(_same(target, file) for file in (source, *_data_files(source)))


def files_of(source: Path) -> list[Path]:
    """The files that a volume is read from: itself with its data files, or all files in a folder and below."""
    if source.is_dir():
        return sorted(Path(here, name) for here, _, names in os.walk(source) for name in names)
    return [source, *(path for path in _data_files(source) if not _same(path, source))]


def _data_files(source: Path) -> list[Path]:
    """The further files that hold the voxels of a volume file; empty where it holds them itself, or is none."""
    suffix = suffix_of(source)
    try:
        if suffix in (".nrrd", ".nhdr"):
            return read_nrrd_header(source).data
        return read_metaimage_header(source).data if suffix in (".mha", ".mhd") else []
    except (InputError, OSError):
        return []  # told where it is read


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
