"""Single images and enhanced multi-frame files as one list of frames, each with its place, scale and pixel format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .files import ImageFile
from .marks import Mark, read_mark
from .report import DAMAGED, NO_PLACE, UNREADABLE, UNSUITABLE, Unusable
from .series import SourceSlice
from .values import Header

if TYPE_CHECKING:
    import pydicom

_UNIT_TOLERANCE = 0.01  # of the length of a direction, and of the right angle between two
_FARTHEST_MM = 1e5
_HEAD = re.compile(
    "HEAD|BRAIN|SKULL|CRANI|NEURO|CEREB|KOPF|SCH[AÄ]E?DEL|CABEZA|CRANEO|T[EÊ]TE", re.IGNORECASE
)

MARKS = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "InversionTime",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "KVP",
    "ContrastBolusAgent",
    "ScanOptions",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "FrameReferenceDateTime",
    "ImageType",
)
"""Attributes that tell acquisitions of the same place apart, in the order in which they are tried."""


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of a file are stored; see `files.ImageFile` for offset, length and order."""

    syntax: str
    offset: int | None
    order: str
    encapsulated: bool
    frames: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a file.

    position: LPS mm of the first pixel. rows_columns: (2, 3) unit vectors along a row (i) and along a column (j).
    pixel_spacing: mm between rows, between columns. size: rows, columns. slope, intercept: None where the header has
    none. padding: the least and largest stored value outside of the field of view. mark: what an image of ours says of
    itself, which counts only for its pixels. marks: see `MARKS`.
    """

    file: str
    source: SourceSlice
    series: str
    format: PixelFormat
    size: tuple[int, int]
    position: np.ndarray
    rows_columns: np.ndarray
    pixel_spacing: tuple[float, float]
    thickness: float | None
    modality: str
    image_type: tuple[str, ...]
    kernel: str
    reference: str
    slope: float | None
    intercept: float | None
    scale: str
    padding: tuple[int, int] | None
    inverted: bool
    number: tuple[float, float]
    of_head: bool
    mark: Mark | None
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return self.source.path

    @property
    def is_original(self) -> bool:
        """Whether the scanner reconstructed it, rather than that it was derived from other images."""
        return self.image_type[:1] == ("ORIGINAL",)

    @property
    def is_localizer(self) -> bool:
        """Whether it is a scout."""
        return "LOCALIZER" in self.image_type


def frames_of(image: ImageFile) -> Iterator[Frame]:
    """The frames of a file, in its order. Raises Unusable where one is no gray image with a place in the patient."""
    header = Header([image.header])
    count = header.whole("NumberOfFrames", 1)
    if count < 1:
        raise Unusable(DAMAGED, "it says that it has no frames")
    _check_gray(header)
    size = header.whole("Rows"), header.whole("Columns")
    pixels = _pixel_format(image, header, size, count)
    groups = image.header.get("PerFrameFunctionalGroupsSequence")
    if count > 1 and not groups:
        raise Unusable(NO_PLACE, "it holds several images and does not say where each lies")
    if groups and len(groups) != count:
        raise Unusable(DAMAGED, f"it has {count} frames and tells of {len(groups)}")
    shared = _items((image.header.get("SharedFunctionalGroupsSequence") or [None])[0])
    mark = None if header.texts("ImageType")[:1] == ("ORIGINAL",) else read_mark(image.header)
    for number in range(count):
        own = _items(groups[number]) if groups else []
        source = SourceSlice(
            image.path,
            header.text("SOPClassUID"),
            header.text("SOPInstanceUID"),
            number + 1 if "NumberOfFrames" in image.header else None,
        )
        yield _frame(image.name, source, pixels, size, Header([*own, *shared, image.header]), mark)


def _items(group: pydicom.Dataset | None) -> list[pydicom.Dataset]:
    """The first item of each functional group."""
    found = []
    for element in group or ():
        if element.VR == "SQ" and element.value:
            found.append(element.value[0])
    return found


def _check_gray(header: Header) -> None:
    colors = header.text("PhotometricInterpretation")
    if header.whole("SamplesPerPixel", 1) != 1 or not colors.startswith("MONOCHROME"):
        kind = f" ({colors.lower()})" if colors else ""
        raise Unusable(UNSUITABLE, f"it is a color image{kind}; use the original grayscale series")
    if "MOSAIC" in header.texts("ImageType"):
        raise Unusable(
            UNSUITABLE, "it is a mosaic, many slices tiled into one image; convert it with dcm2niix first"
        )


def _pixel_format(image: ImageFile, header: Header, size: tuple[int, int], count: int) -> PixelFormat:
    if min(size) < 1:
        raise Unusable(DAMAGED, "it says that its image has no pixels")
    allocated = header.whole("BitsAllocated", 16)
    stored = header.whole("BitsStored", allocated)
    high = header.whole("HighBit", stored - 1)
    if allocated not in (8, 16, 32) or not 1 <= stored <= high + 1 <= allocated:
        raise Unusable(UNSUITABLE, f"its pixels of {stored} in {allocated} bits are not read here")
    expected = size[0] * size[1] * count * allocated // 8
    if not image.is_encapsulated and (image.length < expected or not image.is_blank_from(expected)):
        raise Unusable(
            DAMAGED, f"it has {image.length} bytes of pixel data where its matrix needs {expected}"
        )
    if image.is_encapsulated and image.syntax in ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        raise Unusable(DAMAGED, "its pixel data are compressed, but it does not say how")
    signed = header.whole("PixelRepresentation", 0) == 1
    return PixelFormat(
        image.syntax, image.offset, image.order, image.is_encapsulated, count, allocated, stored, high, signed
    )


def _frame(
    name: str,
    source: SourceSlice,
    pixels: PixelFormat,
    size: tuple[int, int],
    header: Header,
    mark: Mark | None,
) -> Frame:
    if header.texts("ModalityLUTSequence"):
        raise Unusable(UNSUITABLE, "its values go through a lookup table, which is not read here")
    position, rows_columns, spacing = _place(header)
    slope, intercept = header.numbers("RescaleSlope", 1), header.numbers("RescaleIntercept", 1)
    if slope == (0.0,):
        raise Unusable(DAMAGED, "its rescale slope is 0")
    thickness = header.number("SliceThickness")
    image_type = header.texts("FrameType") or header.texts("ImageType")
    words = (
        "BodyPartExamined",
        "AnatomicRegionSequence",
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
    )
    return Frame(
        file=name,
        source=source,
        series=header.text("SeriesInstanceUID"),
        format=pixels,
        size=size,
        position=position,
        rows_columns=rows_columns,
        pixel_spacing=spacing,
        thickness=thickness if thickness and thickness > 0 else None,
        modality=header.text("Modality"),
        image_type=image_type,
        kernel=header.text("ConvolutionKernel"),
        reference=header.text("FrameOfReferenceUID"),
        slope=slope[0] if slope else None,
        intercept=intercept[0] if intercept else None,
        scale=header.text("RescaleType").upper(),
        padding=_padding(header, pixels),
        inverted=header.text("PhotometricInterpretation") == "MONOCHROME1",
        number=(header.number("SeriesNumber") or 0, header.number("InstanceNumber") or source.frame or 0),
        mark=mark,
        of_head=any(_HEAD.search(header.text(word)) for word in words),
        marks={**{keyword: header.text(keyword) for keyword in MARKS}, "ImageType": "\\".join(image_type)},
    )


def _place(header: Header) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    position = header.numbers("ImagePositionPatient", 3)
    orientation = header.numbers("ImageOrientationPatient", 6)
    spacing = header.numbers("PixelSpacing", 2)
    missing = [
        what
        for what, value in (("position", position), ("orientation", orientation), ("pixel spacing", spacing))
        if value is None
    ]
    if missing:
        raise Unusable(
            NO_PLACE,
            f"it does not say where in the patient it lies ({', '.join(missing)} missing), as secondary captures and "
            "reports do not; use the original series",
        )
    directions = np.array(orientation).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if abs(lengths - 1).max() > _UNIT_TOLERANCE or abs(directions[0] @ directions[1]) > _UNIT_TOLERANCE:
        raise Unusable(UNREADABLE, "its orientation is not two perpendicular directions")
    if min(spacing) <= 0:
        raise Unusable(UNREADABLE, "its pixel spacing is not positive")
    if max(map(abs, position)) > _FARTHEST_MM or max(spacing) > _FARTHEST_MM:
        raise Unusable(UNREADABLE, "its position or pixel spacing is beyond any scanner")
    return np.array(position), directions / lengths[:, None], (spacing[0], spacing[1])


def _padding(header: Header, pixels: PixelFormat) -> tuple[int, int] | None:
    value = header.number("PixelPaddingValue")
    if value is None:
        return None
    limit = header.number("PixelPaddingRangeLimit")
    ends = [_as_stored(int(one), pixels) for one in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_stored(value: int, pixels: PixelFormat) -> int:
    """A padding value that was written as unsigned for signed pixels, or the reverse, as the pixels have it."""
    if pixels.signed and value >= 1 << (pixels.allocated - 1):
        return value - (1 << pixels.allocated)
    return value + (1 << pixels.allocated) if not pixels.signed and value < 0 else value
