"""The files of a folder: which are DICOM, and the header of each."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..errors import InputError
from .report import DAMAGED, NO_IMAGE, NOT_DICOM, SPECIAL, UNREADABLE, UNSUITABLE, Unusable

if TYPE_CHECKING:
    import pydicom

_UNDEFINED = 0xFFFFFFFF
_PREAMBLE = 128
_BLOCK = 1 << 20
_PIXEL_DATA = {b"\xe0\x7f\x10\x00": "<", b"\x7f\xe0\x00\x10": ">"}
_REAL_PIXEL_DATA = (b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00", b"\x7f\xe0\x00\x08", b"\x7f\xe0\x00\x09")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LONG_FORM = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN")


@dataclass(frozen=True)
class ImageFile:
    """A DICOM file with an image: its header, and where in it the pixel data are.

    name: path in the folder, for the user. offset: of the first byte of native pixel data, or of the first item of
    encapsulated ones; None in a file that is deflated as a whole. length: bytes of native pixel data.
    order: of the bytes in a word, "<" or ">".
    """

    path: Path
    name: str
    header: pydicom.Dataset
    syntax: str
    offset: int | None
    length: int
    order: str

    @property
    def is_encapsulated(self) -> bool:
        """Whether the frames are compressed."""
        return self.length == _UNDEFINED

    def is_blank_from(self, start: int) -> bool:
        """Whether native pixel data hold nothing but zeros from a byte on, as some programs fill them up."""
        if self.offset is None or self.length - start <= 1:
            return self.length - start <= 1
        with open(self.path, "rb") as file:
            file.seek(self.offset + start)
            rest = self.length - start
            while rest > 0:
                block = file.read(min(rest, _BLOCK))
                if not block or any(block):
                    return False
                rest -= len(block)
        return True


def is_dicom_file(path: Path) -> bool:
    """Whether a path is that of a file with the letters DICM behind a preamble."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """All that lies in a folder and below, with its path in the folder, in the order of names; or a file alone.

    Links to folders are not followed; they, and folders that may not be opened, come as entries of their own.
    """
    if not folder.is_dir():
        yield folder, folder.name
        return
    failed: list[OSError] = []
    for root, folders, files in os.walk(folder, onerror=failed.append):
        folders.sort()
        links = [one for one in folders if os.path.islink(os.path.join(root, one))]
        for name in sorted([*files, *links]):
            path = Path(root, name)
            yield path, str(path.relative_to(folder))
    for error in failed:
        path = Path(error.filename)
        if path == folder:
            raise InputError(f"The folder '{folder.name}' cannot be opened ({error.strerror}).")
        yield path, str(path.relative_to(folder))


def open_image(path: Path, name: str) -> ImageFile:
    """Read the header of a file up to the pixel data. Raises Unusable with the reason."""
    try:
        import pydicom
    except ImportError:
        raise InputError("Reading DICOM needs the package pydicom: pip install pydicom") from None
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind):
            what = (
                "a folder that cannot be opened, or a link to one"
                if stat.S_ISDIR(kind)
                else "a pipe or device"
            )
            raise Unusable(SPECIAL, f"it is {what}")
        with open(path, "rb") as file:
            _check_is_dicom(file.read(_PREAMBLE + 4))
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            return _image(path, name, header, file)
    except FileNotFoundError:
        raise Unusable(SPECIAL, "it is a link that leads nowhere") from None
    except OSError as error:
        raise Unusable(
            UNREADABLE, f"it cannot be read ({error.strerror or 'input or output error'})"
        ) from None
    except (Unusable, InputError):
        raise
    except Exception:  # damaged headers raise whatever the parser stumbles over
        raise Unusable(DAMAGED, "its header is damaged") from None


def _check_is_dicom(start: bytes) -> None:
    """A file has the four letters, or, without a preamble, begins with an element of a group that comes first."""
    if start[_PREAMBLE:] == b"DICM":
        return
    group, element = struct.unpack("<HH", start[:4]) if len(start) > 8 else (0, 0)
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    short = len(start) > 8 and struct.unpack("<I", start[4:8])[0] < 1024
    if not (group in (2, 8) and element <= 0x70 and (explicit or short)):
        raise Unusable(NOT_DICOM, "")


def _image(path: Path, name: str, header: pydicom.Dataset, file: BinaryIO) -> ImageFile:
    if "Rows" not in header:
        raise _without_image(header)
    syntax = str(header.file_meta.get("TransferSyntaxUID", "") or "")
    if syntax == _DEFLATED:
        return _deflated(path, name, syntax)
    size = os.fstat(file.fileno()).st_size
    start = file.tell()
    head = file.read(12)
    if len(head) < 12:
        raise Unusable(DAMAGED, "it is cut off before the image")
    if head[:4] not in _PIXEL_DATA:
        real = head[:4] in _REAL_PIXEL_DATA
        raise Unusable(UNSUITABLE if real else DAMAGED, "it has no pixel data of whole numbers")
    order = _PIXEL_DATA[head[:4]]
    long_form = head[4:6] in _LONG_FORM
    length = struct.unpack(order + "I", head[8:12] if long_form else head[4:8])[0]
    offset = start + (12 if long_form else 8)
    if length != _UNDEFINED and offset + length > size:
        raise Unusable(DAMAGED, "it is cut off: the pixel data are incomplete")
    return ImageFile(path, name, header, syntax, offset, length, order)


def _without_image(header: pydicom.Dataset) -> Unusable:
    """Reports, plans and directories have no image; of an image class the rest of the file is missing."""
    kinds = [header.get("SOPClassUID"), header.file_meta.get("MediaStorageSOPClassUID")]
    if any("Image Storage" in getattr(kind, "name", "") for kind in kinds):
        return Unusable(DAMAGED, "it is cut off before the image")
    return Unusable(NO_IMAGE if any(kinds) else NOT_DICOM, "")


def _deflated(path: Path, name: str, syntax: str) -> ImageFile:
    import pydicom

    dataset = pydicom.dcmread(path)
    if "PixelData" not in dataset:
        raise Unusable(NO_IMAGE, "")
    length = len(dataset.PixelData)
    del dataset.PixelData
    return ImageFile(path, name, dataset, syntax, None, length, "<")
