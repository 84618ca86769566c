"""DICOM series as volumes."""

from .reading import folder_info, read_series
from .series import Found, Run, SourceSlice

__all__ = ["Found", "Run", "SourceSlice", "folder_info", "read_series"]
