"""The file formats: their suffixes, and what can be said of their errors."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")
WRITABLE = (".nrrd", ".nii.gz", ".nii", ".mha")


def suffix_of(path: Path) -> str:
    """The suffix of a volume file, such as ".nii.gz"; empty where it is none that is read here."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def last_sentence(error: Exception) -> str:
    """The last line of an error of ITK, which says what is wrong after lines of addresses."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"
