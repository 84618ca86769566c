"""Reading volumes: NRRD, NIfTI, MetaImage and DICOM folders, through SimpleITK."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..dicom import read_dicom_folder
from ..errors import InputError
from ..volume import Volume
from .formats import SUFFIXES, last_sentence, suffix_of
from .sidecar import HEADER_PREFIX, SIDECAR_ENTRY, attributes_from, letters_for, read_json, sidecar_of


def read_volumes(path: str | Path, series: str | None = None) -> tuple[list[Volume], list[str]]:
    """Read a file or a DICOM folder.

    Returns the volumes and remarks for the user. There is one volume, except for a DICOM series with irregular
    slice positions: then one for each uniform run. `series` picks a SeriesInstanceUID of a folder.
    Raises InputError where the path holds no usable scalar 3-D volume.
    """
    if not str(path) or not Path(path).exists():
        raise InputError(f"There is no file or folder '{path}'; check the path.")
    path = Path(path)
    if path.is_dir():
        return read_dicom_folder(path, series)
    return [read_file(path)], []


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
    """Read one NRRD, NIfTI or MetaImage file with the provenance in its header, if it has one.

    Raises InputError for anything that is not a complete scalar 3-D image.
    """
    path = Path(path)
    image = read_image(path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"'{path.name}' holds {image.GetNumberOfComponentsPerPixel()} values a voxel (RGB or vectors); "
            "choose a scalar CT or MR volume."
        )
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    if any(key.startswith("Segment0") for key in header):
        raise InputError(f"'{path.name}' is a segmentation; choose the scan that it was drawn on.")
    own = {k[len(HEADER_PREFIX) :]: v for k, v in header.items() if k.startswith(HEADER_PREFIX)}
    if not own:
        own = read_json(sidecar_of(path)).get(SIDECAR_ENTRY, {})
    volume = Volume.from_sitk(image, **attributes_from(own))
    volume.provenance = letters_for(volume, own)
    return volume


def read_image(path: str | Path) -> sitk.Image:
    """The complete 3-D image of a file. Raises InputError for a damaged file, a time series, a single slice."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file '{path}'; check the path.")
    if not suffix_of(path):
        raise InputError(
            f"'{path.name}' is not in a format read here; use {', '.join(SUFFIXES)} or the folder of a DICOM series."
        )
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _check_layout(reader, path)
        _check_length(reader, path)
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"'{path.name}' cannot be read; the file is damaged or incomplete, so copy or export it again "
            f"({last_sentence(error)})."
        ) from error
    return image[..., 0] if image.GetDimension() == 4 else image


def _check_layout(reader: sitk.ImageFileReader, path: Path) -> None:
    size = reader.GetSize()
    if len(size) == 4 and size[3] > 1:
        raise InputError(
            f"'{path.name}' is a time series of {size[3]} volumes; export one of them and use that."
        )
    if len(size) < 3:
        raise InputError(f"'{path.name}' is a single slice; at least 2 slices of a stack are needed.")


def _check_length(reader: sitk.ImageFileReader, path: Path) -> None:
    """Some readers fill a truncated file with zeros without a word; its length tells."""
    expected = (
        int(np.prod(reader.GetSize())) * np.dtype(_NUMPY_TYPES.get(reader.GetPixelID(), np.uint8)).itemsize
    )
    suffix = suffix_of(path)
    if suffix == ".nii.gz":
        present = _gzip_length(path, expected)
    elif suffix == ".nii" or (suffix == ".mha" and not _is_compressed_mha(path)):
        present = path.stat().st_size
    else:
        return  # the other readers refuse by themselves
    if present < expected:
        raise InputError(
            f"'{path.name}' is incomplete: {present} of {expected} bytes of voxels; copy it again."
        )


def _gzip_length(path: Path, expected: int) -> int:
    """Uncompressed bytes of a gzip file: from its trailer where that is plausible, else by unpacking."""
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        trailer = int.from_bytes(file.read(4), "little")
    if expected <= trailer < expected + (1 << 20):
        return trailer
    present = 0
    try:
        with gzip.open(path) as file:
            while block := file.read(1 << 22):
                present += len(block)
    except (EOFError, OSError, zlib.error):
        return min(present, expected - 1)
    return present


def _is_compressed_mha(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"CompressedData = True" in file.read(4096)


_NUMPY_TYPES = {
    sitk.sitkUInt8: np.uint8,
    sitk.sitkInt8: np.int8,
    sitk.sitkUInt16: np.uint16,
    sitk.sitkInt16: np.int16,
    sitk.sitkUInt32: np.uint32,
    sitk.sitkInt32: np.int32,
    sitk.sitkFloat32: np.float32,
    sitk.sitkFloat64: np.float64,
}
