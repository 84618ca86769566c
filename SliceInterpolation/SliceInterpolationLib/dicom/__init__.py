"""DICOM series as volumes."""

from .reading import read_dicom_folder, read_series
from .series import Found, Run, SourceSlice

__all__ = ["Found", "Run", "SourceSlice", "read_dicom_folder", "read_series"]
