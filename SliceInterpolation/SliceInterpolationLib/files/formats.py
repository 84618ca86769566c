"""The file formats: their suffixes, and what all of them hold."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError


class Content(NamedTuple):
    """What a volume file holds.

    array: (k, j, i) voxels. affine: (4, 4) from voxel indices (i, j, k) to LPS mm. entries: what programs have added to
    the header, ours among them (see `entries.HEADER_PREFIX`). is_label: whether the file calls itself a segmentation.
    """

    array: np.ndarray
    affine: np.ndarray
    entries: dict[str, str]
    is_label: bool


SUFFIXES = (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")
WRITABLE = (".nrrd", ".nii.gz", ".nii", ".mha")


def suffix_of(path: Path) -> str:
    """The suffix of a volume file, such as ".nii.gz"; empty where it is none that is read here."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def scalar_shape(sizes: list[int], path: Path) -> tuple[int, int, int]:
    """(k, j, i) of an image of these sizes (i, j, k, time, ...); InputError where it is not one 3-D volume."""
    more = [size for size in sizes[3:] if size > 1]
    if len(more) > 1:
        raise InputError(
            f"'{path.name}' has {len(sizes)} dimensions ({' x '.join(map(str, sizes))}); export one 3-D volume of it."
        )
    if more and sizes[3] > 1:
        raise InputError(
            f"'{path.name}' is a time series of {more[0]} volumes; export one of them and use that."
        )
    if more:
        raise InputError(
            f"'{path.name}' holds {more[0]} values a voxel (vectors); choose a scalar CT or MR volume."
        )
    if len(sizes) < 3:
        raise InputError(f"'{path.name}' is a single slice; at least 2 slices of a stack are needed.")
    return sizes[2], sizes[1], sizes[0]
