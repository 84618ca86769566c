"""What may be asked for, without an import of what does it: for the command line, which is parsed first."""

from __future__ import annotations

SAME = "same"
DICOM = "dicom"
FORMATS = (SAME, "nrrd", "nii.gz", "nii", "mha", DICOM)
"""Of the volumes that are written; the first one: as the scan, and .nrrd for DICOM."""

PARTS = ("trust", "noise", "page")
"""What a study gets beside its volume, and can go without."""

LOOPBACK = "127.0.0.1"
DASHBOARD = f"{LOOPBACK}:8787"
"""Where Dask shows its work, for this machine alone."""
