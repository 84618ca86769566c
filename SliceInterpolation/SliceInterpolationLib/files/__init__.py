"""Volumes in files."""

from .formats import SUFFIXES
from .outputs import Outputs, write_volume
from .reading import read_entries, read_file, read_labelmap, read_run, read_runs, read_volume, read_volumes
from .writing import check_writable

__all__ = [
    "SUFFIXES",
    "Outputs",
    "check_writable",
    "read_entries",
    "read_file",
    "read_labelmap",
    "read_run",
    "read_runs",
    "read_volume",
    "read_volumes",
    "write_volume",
]
