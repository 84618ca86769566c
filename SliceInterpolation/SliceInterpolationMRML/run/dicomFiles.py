"""The DICOM files that a volume node was loaded from, by the application's DICOM database."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import slicer

from SliceInterpolationLib.errors import InputError

from ..i18n import _

INSTANCES = "DICOM.instanceUIDs"
"""Attribute that the application gives to volumes which it loads from DICOM."""


def isFromDicom(node) -> bool:
    """True where the application has loaded the volume from its DICOM database."""
    return node is not None and bool((node.GetAttribute(INSTANCES) or "").strip())


def dicomFiles(node) -> list[Path]:
    """The files of a volume. Raises InputError where it was not loaded from DICOM, or they are gone."""
    if not isFromDicom(node):
        raise InputError(
            _("'{name}' was not loaded from DICOM; save the result by Save Data instead.").format(
                name=node.GetName() if node is not None else ""
            )
        )
    database = getattr(slicer, "dicomDatabase", None)
    uids = list(dict.fromkeys(node.GetAttribute(INSTANCES).split()))
    files = [Path(database.fileForInstance(uid) or "") if database is not None else Path() for uid in uids]
    if not all(file.is_file() for file in files):
        raise InputError(
            _(
                "The DICOM files of '{name}' are not all in the DICOM database any more; import them again, and load "
                "the scan from there."
            ).format(name=node.GetName())
        )
    return files


def placeTogether(files: list[Path], folder: Path) -> None:
    """Put files of anywhere into a new folder, by links where the disk allows it."""
    folder.mkdir()
    for number, file in enumerate(files):
        target = folder / f"{number:05d}.dcm"
        try:
            os.link(os.path.realpath(file), target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(file, target)


def newFolderIn(folder: str | Path, name: str = "interpolated") -> Path:
    """A folder to save in: the one that was chosen where it is empty, else a new one of that name in it."""
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        return folder
    number = 1
    while (path := folder / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path
