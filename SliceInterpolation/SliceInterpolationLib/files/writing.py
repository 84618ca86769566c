"""Writing volumes with what is known about their slices."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import SimpleITK as sitk

from ..errors import InputError
from ..volume import Volume
from .formats import WRITABLE, last_sentence, suffix_of
from .sidecar import HEADER_PREFIX, SIDECAR_ENTRY, entries_of, read_json, sidecar_of


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
    own = entries_of(volume)
    in_header = suffix == ".nrrd"
    if in_header:
        for key, value in own.items():
            image.SetMetaData(HEADER_PREFIX + key, value)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.partial{suffix}")
    try:
        sitk.WriteImage(image, str(partial), useCompression=compress or suffix == ".nii.gz")
        os.replace(partial, path)
    except RuntimeError as error:
        raise InputError(f"'{path}' cannot be written ({last_sentence(error)}).") from error
    finally:
        partial.unlink(missing_ok=True)
    if in_header:
        return [path]
    sidecar = sidecar_of(path)
    sidecar.write_text(json.dumps({**read_json(sidecar), SIDECAR_ENTRY: own}, indent=1) + "\n")
    return [path, sidecar]


def check_writable(path: str | Path) -> str:
    """The suffix of an output path; InputError where it is unknown or its folder is missing."""
    path = Path(path)
    suffix = suffix_of(path)
    if suffix not in WRITABLE:
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
