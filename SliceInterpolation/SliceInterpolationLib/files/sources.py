"""Which files an input consists of, so that no output ever replaces one of them."""

from __future__ import annotations

import os
from pathlib import Path

from .headers import data_files


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
    return any(_same(target, file) for file in (source, *data_files(source)))


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
