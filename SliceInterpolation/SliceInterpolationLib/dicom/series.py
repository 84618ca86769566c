"""What a DICOM folder gives: runs of uniform slices, each slice with the image that it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..volume import Volume
from .quiet import quiet
from .report import FolderReport

if TYPE_CHECKING:
    import pydicom


@dataclass(frozen=True)
class SourceSlice:
    """The DICOM image of one slice.

    frame: number of the frame in a multi-frame file, from 1 as in Referenced Frame Number; None for a file of one.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """Slices that follow each other uniformly, as a volume whose slice axis is k.

    sources: `sources[k]` belongs to `volume.array[k]`; None for a slice that was missing and has been bridged.
    """

    volume: Volume
    sources: tuple[SourceSlice | None, ...]

    def dataset(self, k: int) -> pydicom.Dataset:
        """The header of slice k without its pixel data, read from its file now; InputError for a bridged slice.

        Of a multi-frame file it is the header of the whole file; `sources[k].frame` says which frame is meant.
        """
        source = self.sources[k]
        if source is None:
            raise InputError(f"Slice {k + 1} was missing in the series; it has no DICOM image.")
        import pydicom

        with quiet():
            return pydicom.dcmread(source.path, stop_before_pixels=True, force=True)

    @property
    def header(self) -> pydicom.Dataset:
        """The header of the first slice, without pixel data."""
        return self.dataset(0)

    @property
    def padding(self) -> np.ndarray | None:
        """Where the voxels lie outside of the field of view: bool (slices, rows, columns), None for nowhere."""
        value = self.volume.padding
        return None if value is None else self.volume.array == value


@dataclass(frozen=True, eq=False)
class Found:
    """What was read of a folder: runs from foot to head, remarks for the user, and what became of every file."""

    runs: tuple[Run, ...]
    remarks: tuple[str, ...]
    report: FolderReport
