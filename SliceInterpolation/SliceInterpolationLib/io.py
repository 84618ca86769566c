"""Reading and writing volumes: NRRD, NIfTI, MetaImage and DICOM folders, through SimpleITK."""

from __future__ import annotations

import gzip
import json
import os
import uuid
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .dicom import read_dicom_folder
from .errors import InputError
from .volume import UNKNOWN, Volume

SUFFIXES = (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")
_HEADER_PREFIX = "SliceInterpolation."
_SIDECAR_ENTRY = "SliceInterpolation"
_GEOMETRY_KEYS = ("SliceAxis", "SliceProvenance", "Units", "SliceThickness")


def read_volumes(path: str | Path, series: str | None = None) -> tuple[list[Volume], list[str]]:
    """Read a file or a DICOM folder.

    Returns the volumes and remarks for the user. There is one volume, except for a DICOM series with irregular
    slice positions: then one for each uniform run. `series` picks a SeriesInstanceUID of a folder.
    Raises InputError where the path holds no usable scalar 3-D volume.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder '{path}'; check the path.")
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
    own = {k[len(_HEADER_PREFIX) :]: v for k, v in header.items() if k.startswith(_HEADER_PREFIX)}
    if not own:
        own = _read_json(_sidecar(path)).get(_SIDECAR_ENTRY, {})
    thickness = own.get("SliceThickness")
    volume = Volume.from_sitk(
        image,
        slice_axis=own.get("SliceAxis"),
        units=own.get("Units"),
        slice_thickness=float(thickness) if thickness else None,
        header={k: v for k, v in own.items() if k not in _GEOMETRY_KEYS},
    )
    letters = own.get("SliceProvenance", volume.provenance)
    # A result that was cropped elsewhere keeps its header: which slices are left is not known then.
    volume.provenance = letters if len(letters) == volume.slice_count else UNKNOWN * volume.slice_count
    return volume


def read_image(path: str | Path) -> sitk.Image:
    """The complete 3-D image of a file. Raises InputError for a damaged file, a time series, a single slice."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file '{path}'; check the path.")
    if not _suffix(path):
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
            f"({_last_sentence(error)})."
        ) from error
    return image[..., 0] if image.GetDimension() == 4 else image


def write_volume(volume: Volume, path: str | Path, compress: bool = False) -> list[Path]:
    """Write a volume with its provenance; a half-written file never appears under the final name.

    The provenance goes into the header of NRRD files and into a `.json` beside the others. A sheared volume can
    only be written as NRRD or MetaImage, since NIfTI readers disagree about shear.
    Returns the paths written. Raises InputError for an unknown suffix or a folder that cannot be written.
    """
    path = Path(path)
    suffix = check_writable(path)
    if volume.is_sheared and suffix.startswith(".nii"):
        raise InputError(
            "A stack with gantry tilt cannot be stored faithfully as NIfTI; write .nrrd instead."
        )
    image = volume.to_sitk()
    own = _own_header(volume)
    in_header = suffix == ".nrrd"
    if in_header:
        for key, value in own.items():
            image.SetMetaData(_HEADER_PREFIX + key, value)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.partial{suffix}")
    try:
        sitk.WriteImage(image, str(partial), useCompression=compress or suffix == ".nii.gz")
        os.replace(partial, path)
    except RuntimeError as error:
        raise InputError(f"'{path}' cannot be written ({_last_sentence(error)}).") from error
    finally:
        partial.unlink(missing_ok=True)
    if in_header:
        return [path]
    sidecar = _sidecar(path)
    sidecar.write_text(json.dumps({**_read_json(sidecar), _SIDECAR_ENTRY: own}, indent=1) + "\n")
    return [path, sidecar]


def check_writable(path: str | Path) -> str:
    """The suffix of an output path; InputError where it is unknown or its folder is missing."""
    path = Path(path)
    suffix = _suffix(path)
    if suffix not in (".nrrd", ".nii.gz", ".nii", ".mha"):
        raise InputError(f"'{path.name}' has no known suffix to write; use .nrrd, .nii.gz, .nii or .mha.")
    if not path.absolute().parent.is_dir():
        raise InputError(
            f"The folder '{path.absolute().parent}' does not exist; create it or choose another."
        )
    return suffix


def check_storable(volume: Volume, suffix: str) -> None:
    """InputError where a format cannot hold the geometry of a volume."""
    if volume.is_sheared and suffix.startswith(".nii"):
        raise InputError(
            "A stack with gantry tilt cannot be stored faithfully as NIfTI; write .nrrd instead."
        )


def _suffix(path: Path) -> str:
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name[: -len(_suffix(path))] + ".json")


def _read_json(path: Path) -> dict:
    """The object in a JSON file; others (BIDS) keep entries of their own there. Empty where there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _own_header(volume: Volume) -> dict[str, str]:
    own = {"SliceAxis": volume.slice_axis, "SliceProvenance": volume.provenance, "Units": volume.units}
    if volume.slice_thickness:
        own["SliceThickness"] = f"{volume.slice_thickness:g}"
    return {**own, **volume.header}


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
    suffix = _suffix(path)
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


def _last_sentence(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"
