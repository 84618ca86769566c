"""Volumes in files."""

from .formats import SUFFIXES
from .reading import read_file, read_image, read_volume, read_volumes
from .writing import check_storable, check_writable, write_volume

__all__ = [
    "SUFFIXES",
    "check_storable",
    "check_writable",
    "read_file",
    "read_image",
    "read_volume",
    "read_volumes",
    "write_volume",
]
