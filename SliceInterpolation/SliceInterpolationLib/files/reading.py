"""Reading volumes: NRRD, NIfTI and MetaImage files, and DICOM folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..dicom import Run, is_dicom_file, read_series
from ..errors import InputError
from ..volume import UNKNOWN, Volume
from .entries import HEADER_PREFIX, VOXEL_HASH, attributes_from, letters_for, voxel_hash
from .formats import SUFFIXES, suffix_of
from .metaimage import read_metaimage, read_metaimage_entries
from .nifti import read_nifti, read_nifti_entries
from .nrrd import read_nrrd, read_nrrd_header


def read_volumes(path: str | Path, series: str | None = None, **how: Any) -> tuple[list[Volume], list[str]]:
    """Read a file or a DICOM folder; a DICOM file of several frames, too.

    Returns the volumes and remarks for the user. There is one volume, except for a DICOM series with irregular
    slice positions: then one for each uniform run. series, how: which series of a folder is read and how, see
    `dicom.read_series`. The voxels of what is read cannot be written to.
    Raises InputError where the path holds no usable scalar 3-D volume.
    """
    if not str(path) or not Path(path).exists():
        raise InputError(f"There is no file or folder '{path}'; check the path.")
    path = Path(path)
    if path.is_dir() or is_dicom_file(path):
        runs, remarks = read_runs(path, series, **how)
        volumes = [run.volume for run in runs]
    else:
        remarks = []
        volumes = [_read_file(path, remarks)]
    for volume in volumes:
        volume.array.setflags(write=False)
    return volumes, remarks


def read_volume(path: str | Path, series: str | None = None, **how: Any) -> tuple[Volume, list[str]]:
    """As `read_volumes`, but of several uniform runs the one with the most slices."""
    volumes, remarks = read_volumes(path, series, **how)
    volume = max(volumes, key=lambda v: v.slice_count)
    return volume, remarks + _only_longest(len(volumes), volume)


def _only_longest(count: int, volume: Volume) -> list[str]:
    """The remark where only one of several runs is used."""
    if count < 2:
        return []
    return [f"Of {count} uniform runs the longest, {volume.slice_count} slices, is used."]


def read_runs(path: str | Path, series: str | None = None, **how: Any) -> tuple[list[Run], list[str]]:
    """The uniform runs of a DICOM folder, from foot to head, with the images that they came from; and remarks.

    Raises InputError as `read_volumes`, and where the path is none of a DICOM folder.
    """
    if not Path(path).is_dir() and not is_dicom_file(Path(path)):
        raise InputError(
            f"DICOM is written beside the images that a scan came from, and '{path}' is no DICOM folder; "
            "give the folder of the scan, or write another format."
        )
    found = read_series(Path(path), series, **how)
    for run in found.runs:
        run.volume.array.setflags(write=False)
    return list(found.runs), list(found.remarks)


def read_run(path: str | Path, series: str | None = None, **how: Any) -> tuple[Run, list[str]]:
    """As `read_runs`, but the one with the most slices."""
    runs, remarks = read_runs(path, series, **how)
    run = max(runs, key=lambda one: one.volume.slice_count)
    return run, remarks + _only_longest(len(runs), run.volume)


def read_file(path: str | Path) -> Volume:
    """As `read_volume`, for one file of which nothing needs to be remarked, such as one of our own."""
    return read_volumes(path)[0][0]


def read_labelmap(path: str | Path) -> Volume:
    """Read a segmentation as whole numbers, 0 for background; whole numbers stored as float are taken, too.

    Raises InputError where the file is no labelmap.
    """
    path = Path(path)
    attributes, entries, _ = _load(path, [])
    array = attributes["array"]
    if array.dtype.kind == "f":
        if not all(np.array_equal(image, np.rint(image)) and np.abs(image).max() < 2**31 for image in array):
            raise InputError(
                f"'{path.name}' holds fractions, NaN or huge values; a labelmap has whole numbers."
            )
        array = array.astype(np.int32)
    axis = attributes_from(entries)["slice_axis"]
    return Volume(**{**attributes, "array": array}, units="label", slice_axis=axis)


def read_entries(path: str | Path) -> dict[str, str]:
    """What the header of a file says of its slices, without a look at the voxels; empty where it says nothing.

    Whether that is said of these voxels shows only when they are read (see `read_volume`).
    """
    path = Path(path)
    try:
        suffix = suffix_of(path)
        return _own(_HEADER_READERS[suffix](path)) if suffix else {}
    except (InputError, OSError):
        return {}


def _own(entries: dict[str, str]) -> dict[str, str]:
    return {
        key[len(HEADER_PREFIX) :]: value for key, value in entries.items() if key.startswith(HEADER_PREFIX)
    }


def _read_file(path: Path, remarks: list[str]) -> Volume:
    """One NRRD, NIfTI or MetaImage file with what its header tells about the slices, if that is of these voxels."""
    attributes, entries, is_label = _load(path, remarks)
    if is_label:
        raise InputError(f"'{path.name}' is a segmentation; choose the scan that it was drawn on.")
    volume = Volume(**attributes, **attributes_from(entries, remarks))
    letters = letters_for(volume, entries, remarks)
    digest = entries.get(VOXEL_HASH)
    if set(letters) != {UNKNOWN} and digest is not None and digest != voxel_hash(volume.array):
        remarks.append(
            f"'{path.name}' was changed since this program wrote it: which slices were acquired is unknown."
        )
        letters = UNKNOWN * volume.slice_count
    volume.provenance = letters
    return volume


def _load(path: Path, remarks: list[str]) -> tuple[dict[str, Any], dict[str, str], bool]:
    """Voxels and grid as attributes of `Volume`, our entries in the header, and whether it is a segmentation."""
    if not path.is_file():
        raise InputError(f"There is no file '{path}'; check the path.")
    suffix = suffix_of(path)
    if not suffix:
        raise InputError(
            f"'{path.name}' is not in a format read here; use {', '.join(SUFFIXES)} or the folder of a DICOM series."
        )
    try:
        content = _READERS[suffix](path, remarks)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror or error}).") from error
    spacing = np.linalg.norm(content.affine[:3, :3], axis=0)
    attributes = {
        "array": content.array,
        "spacing": tuple(spacing),
        "origin": tuple(content.affine[:3, 3]),
        "direction": content.affine[:3, :3] / spacing,
    }
    return attributes, _own(content.entries), content.is_label


_READERS = {
    **dict.fromkeys((".nrrd", ".nhdr"), read_nrrd),
    **dict.fromkeys((".mha", ".mhd"), read_metaimage),
    **dict.fromkeys((".nii", ".nii.gz"), read_nifti),
}
_HEADER_READERS = {
    **dict.fromkeys((".nrrd", ".nhdr"), lambda path: read_nrrd_header(path).entries),
    **dict.fromkeys((".mha", ".mhd"), read_metaimage_entries),
    **dict.fromkeys((".nii", ".nii.gz"), read_nifti_entries),
}
