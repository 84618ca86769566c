"""The pixels of frames: as they are stored, and in the units that the header gives them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..itk import itk_name
from .report import DAMAGED, UNREADABLE, Unusable

if TYPE_CHECKING:
    from .frames import Frame, PixelFormat


def stored_pixels(frame: Frame) -> np.ndarray:
    """(rows, columns) of the stored values, without rescale, as int32 or a smaller type. Raises Unusable."""
    number = (frame.source.frame or 1) - 1
    try:
        if frame.format.encapsulated:
            pixels = _decoded(frame, number)
        else:
            pixels = _native(frame, number)
    except OSError as error:
        raise Unusable(
            UNREADABLE, f"it cannot be read ({error.strerror or 'input or output error'})"
        ) from None
    except (Unusable, InputError, MemoryError):
        raise
    except Exception:  # pydicom raises anything for compressed frames, or a deflated file, that are damaged
        raise Unusable(DAMAGED, "its pixel data are damaged") from None
    return _without_other_bits(pixels, frame.format)


def _native(frame: Frame, number: int) -> np.ndarray:
    pixels = frame.format
    kind = np.dtype(f"{pixels.order}u{pixels.allocated // 8}")
    count = frame.size[0] * frame.size[1]
    if pixels.offset is None:  # deflated as a whole
        import pydicom

        data = pydicom.dcmread(frame.path).PixelData[number * count * kind.itemsize :]
    else:
        with open(frame.path, "rb") as file:
            file.seek(pixels.offset + number * count * kind.itemsize)
            data = file.read(count * kind.itemsize)
    if len(data) < count * kind.itemsize:
        raise Unusable(DAMAGED, "it is cut off: the pixel data are incomplete")
    return np.frombuffer(data, kind, count).reshape(frame.size).astype(kind.newbyteorder("="), copy=False)


def _without_other_bits(pixels: np.ndarray, form: PixelFormat) -> np.ndarray:
    """Bits outside of those stored belong to overlays of old; the sign is that of the highest bit stored."""
    unsigned = pixels.view(f"u{pixels.dtype.itemsize}")
    bits = 8 * pixels.dtype.itemsize
    shift, spare = form.high_bit + 1 - form.stored, bits - form.stored
    if not form.signed:
        out = unsigned if spare == 0 else (unsigned >> shift) & unsigned.dtype.type((1 << form.stored) - 1)
        return out.astype(np.int64) if bits == 32 else out
    signed = f"i{pixels.dtype.itemsize}"
    return (
        unsigned.view(signed)
        if spare == 0
        else (unsigned << (bits - form.high_bit - 1)).view(signed) >> spare
    )


def _decoded(frame: Frame, number: int) -> np.ndarray:
    """A compressed frame, decoded by GDCM, as an array of the type in which pixels are allocated."""
    with tempfile.TemporaryDirectory(prefix="slice-interpolation-") as folder:
        path = Path(folder, "frame.dcm")
        _write_alone(frame, _compressed(frame, number), path)
        try:
            image = sitk.ReadImage(itk_name(path))
        except RuntimeError:
            raise Unusable(DAMAGED, "its compressed pixel data cannot be decoded") from None
    array = sitk.GetArrayFromImage(image)
    if array.size != frame.size[0] * frame.size[1] or array.dtype.kind not in "iu":
        raise Unusable(DAMAGED, "its compressed image has another size than the header says")
    # GDCM gives signed values the sign that the header says; as bits they are what a file without compression has.
    kind = f"{'i' if frame.format.signed else 'u'}{frame.format.allocated // 8}"
    return np.ascontiguousarray(array.reshape(frame.size).astype(kind))


def _compressed(frame: Frame, number: int) -> bytes:
    try:
        from pydicom.encaps import get_frame, parse_basic_offsets, parse_fragments
    except ImportError:
        raise InputError(
            "Compressed DICOM needs pydicom 3 or newer: pip install --upgrade pydicom; or export without compression."
        ) from None
    with open(frame.path, "rb") as file:
        file.seek(0, 2)
        size = file.tell()
        file.seek(frame.format.offset)
        try:
            parse_basic_offsets(file)
            _, offsets = parse_fragments(file)
            file.seek(offsets[-1] + 4)
            complete = file.tell() + 4 + int.from_bytes(file.read(4), "little") <= size
            file.seek(frame.format.offset)
            data = get_frame(file, number, number_of_frames=frame.format.frames) if complete else b""
        except (ValueError, IndexError):  # no item where one must be
            data = b""
    if not data:
        raise Unusable(DAMAGED, "it is cut off: the compressed pixel data are incomplete")
    return data


def _write_alone(frame: Frame, data: bytes, path: Path) -> None:
    """A file of one frame that says nothing but how its pixels are stored: no rescale, and nothing of the patient."""
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    form = frame.format
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = form.syntax
    alone = pydicom.Dataset()
    alone.file_meta = meta
    alone.SOPClassUID, alone.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    alone.Rows, alone.Columns = frame.size
    alone.SamplesPerPixel, alone.PhotometricInterpretation = 1, "MONOCHROME2"
    alone.BitsAllocated, alone.BitsStored, alone.HighBit = form.allocated, form.stored, form.high_bit
    alone.PixelRepresentation = int(form.signed)
    alone.PixelData = encapsulate([data])
    alone["PixelData"].VR = "OB"
    alone["PixelData"].is_undefined_length = True
    alone.save_as(path, enforce_file_format=True)
