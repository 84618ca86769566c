"""Reading volumes: NRRD and MetaImage through SimpleITK, NIfTI and DICOM folders by readers of our own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..dicom import read_dicom_folder
from ..errors import InputError
from ..itk import itk_name, last_sentence
from ..volume import UNKNOWN, Volume
from .entries import HEADER_PREFIX, VOXEL_HASH, attributes_from, letters_for, voxel_hash
from .formats import SUFFIXES, scalar_shape, suffix_of
from .headers import TextHeader, read_header
from .metaimage import joined
from .nifti import read_nifti, read_nifti_entries
from .soundness import check_data, check_grid, check_length


def read_volumes(path: str | Path, series: str | None = None) -> tuple[list[Volume], list[str]]:
    """Read a file or a DICOM folder.

    Returns the volumes and remarks for the user. There is one volume, except for a DICOM series with irregular
    slice positions: then one for each uniform run. `series` picks a SeriesInstanceUID of a folder. The voxels of what
    is read cannot be written to.
    Raises InputError where the path holds no usable scalar 3-D volume.
    """
    if not str(path) or not Path(path).exists():
        raise InputError(f"There is no file or folder '{path}'; check the path.")
    path = Path(path)
    if path.is_dir():
        volumes, remarks = read_dicom_folder(path, series)
    else:
        remarks = []
        volumes = [_read_file(path, remarks)]
    for volume in volumes:
        volume.array.setflags(write=False)
    return volumes, remarks


def read_volume(path: str | Path, series: str | None = None) -> tuple[Volume, list[str]]:
    """As `read_volumes`, but of several uniform runs the one with the most slices."""
    volumes, remarks = read_volumes(path, series)
    volume = max(volumes, key=lambda v: v.slice_count)
    if len(volumes) > 1:
        remarks = [
            *remarks,
            f"Of {len(volumes)} uniform runs the longest, {volume.slice_count} slices, is used.",
        ]
    return volume, remarks


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
        if not all(np.array_equal(image, np.rint(image)) for image in array):
            raise InputError(f"'{path.name}' holds fractions or NaN; a labelmap has whole numbers.")
        array = array.astype(np.int32)
    axis = attributes_from(entries)["slice_axis"]
    return Volume(**{**attributes, "array": array}, units="label", slice_axis=axis)


def read_entries(path: str | Path) -> dict[str, str]:
    """What the header of a file says of its slices, without a look at the voxels; empty where it says nothing.

    Whether that is said of these voxels shows only when they are read (see `read_volume`).
    """
    path = Path(path)
    try:
        return _own(read_nifti_entries(path) if _is_nifti(path) else _text_entries(read_header(path)))
    except (InputError, OSError):
        return {}


def _is_nifti(path: Path) -> bool:
    return suffix_of(path).startswith(".nii")


def _text_entries(header: TextHeader) -> dict[str, str]:
    return header.entries if header.is_nrrd else joined(header.entries)


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
    if not suffix_of(path):
        raise InputError(
            f"'{path.name}' is not in a format read here; use {', '.join(SUFFIXES)} or the folder of a DICOM series."
        )
    try:
        if _is_nifti(path):
            array, affine, entries, is_label = read_nifti(path, remarks)
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            grid = {
                "spacing": tuple(spacing),
                "origin": tuple(affine[:3, 3]),
                "direction": affine[:3, :3] / spacing,
            }
            attributes = {"array": array, **grid}
        else:
            header = read_header(path)
            image = _read_image(path, header, remarks)
            read = Volume.from_sitk(image, units="label")
            attributes = {name: getattr(read, name) for name in ("array", "spacing", "origin", "direction")}
            entries = _text_entries(header)
            is_label = any(key.startswith("Segment0") for key in entries)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror or error}).") from error
    return attributes, _own(entries), is_label


def _read_image(path: Path, header: TextHeader, remarks: list[str]) -> sitk.Image:
    """The 3-D scalar image of a NRRD or MetaImage file, after a look at what ITK would mend in silence."""
    check_grid(path, header, remarks)
    check_data(path, header)
    reader, expected = sitk.ImageFileReader(), 0
    try:
        reader.SetFileName(itk_name(path))
        reader.ReadImageInformation()
        shape = scalar_shape(reader.GetSize(), path)
        count, kinds = reader.GetNumberOfComponents(), header.fields.get("kinds", "")
        if count != 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
            raise InputError(
                f"'{path.name}' holds {count} values a voxel ({kinds or 'colors, vectors or a time series'}); choose a "
                "scalar CT or MR volume."
            )
        expected = math.prod(shape) * sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
        check_length(path, header, expected)
        image = reader.Execute()
    except RuntimeError as error:
        check_length(path, header, expected, refused=True)
        raise InputError(f"'{path.name}' cannot be read: {last_sentence(error)}.") from error
    while image.GetDimension() > 3:
        image = image[..., 0]
    return image
