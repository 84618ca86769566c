"""DICOM series as volumes."""

from .reading import read_dicom_folder

__all__ = ["read_dicom_folder"]
