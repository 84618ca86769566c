"""The images that a result was made of: their headers, their stored pixels, and references to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .carried import flat_header
from .equipment import code_item
from .files import open_image
from .frames import Frame, frames_of
from .pixels import stored_pixels
from .report import Unusable
from .series import Run, SourceSlice
from .stored import RESCALE, Scale

if TYPE_CHECKING:
    import pydicom

_FILES_KEPT = 4
_ASKED = 3
"""How many images are asked for a rescale that one lacks: at most one or two do."""


class SourceHeaders:
    """The headers of a run's images, read when they are asked for; the last files stay open to the next question."""

    def __init__(self, run: Run):
        self._run = run
        self._kept: dict[Path, tuple[pydicom.Dataset, list[Frame]]] = {}
        self.there = [k for k, source in enumerate(run.sources) if source is not None]
        self.first = self.of(self.there[0])

    def of(self, k: int) -> pydicom.Dataset:
        """The header of slice k, as that of a single image. Raises InputError where it cannot be read any more."""
        return flat_header(self.raw(k), self._run.sources[k].frame)

    def scale(self, k: int) -> Scale:
        """How the stored values of slice k are meant; where it has no rescale of its own, as the others say."""
        header = self.of(k)
        own = Scale.of(header)
        if all(header.get(keyword) not in (None, "") for keyword in RESCALE):
            return own
        for other in self.there[:_ASKED]:
            if all(self.of(other).get(keyword) not in (None, "") for keyword in RESCALE):
                given = Scale.of(self.of(other))
                return replace(own, slope=given.slope, intercept=given.intercept, stated=True)
        return own

    def raw(self, k: int) -> pydicom.Dataset:
        """The header of the file of slice k, as it is. Errors as `of`."""
        return self._file(k)[0]

    def stored(self, k: int) -> np.ndarray:
        """(rows, columns) of the stored values of slice k. Errors as `of`."""
        source = self._run.sources[k]
        frames = self._file(k)[1]
        with _still_there(source):
            return stored_pixels(frames[(source.frame or 1) - 1])

    def _file(self, k: int) -> tuple[pydicom.Dataset, list[Frame]]:
        source = self._run.sources[k]
        if source.path not in self._kept:
            while len(self._kept) >= _FILES_KEPT:
                del self._kept[next(iter(self._kept))]
            with _still_there(source):
                image = open_image(source.path, source.path.name)
                self._kept[source.path] = image.header, list(frames_of(image))
        return self._kept[source.path]

    def reference(self, k: int, same_place: bool) -> pydicom.Dataset:
        """An item of Source Image Sequence. same_place: whether the pixels made of it lie where those of it lie."""
        import pydicom

        source = self._run.sources[k]
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
            source.sop_class_uid,
            source.sop_instance_uid,
        )
        if source.frame is not None:
            item.ReferencedFrameNumber = source.frame
        item.SpatialLocationsPreserved = "YES" if same_place else "NO"
        item.PurposeOfReferenceCodeSequence = [
            code_item("121322", "DCM", "Source image for image processing operation")
        ]
        return item

    def neighbors(self, place: float) -> tuple[int, int]:
        """The nearest slices with an image below and above a place between slices, or at it (2.5: after slice 2)."""
        below = [k for k in self.there if k <= place]
        above = [k for k in self.there if k >= place]
        return below[-1] if below else self.there[0], above[0] if above else self.there[-1]


@contextmanager
def _still_there(source: SourceSlice) -> Iterator[None]:
    """A file that cannot be read a second time as InputError."""
    try:
        yield
    except (Unusable, OSError) as error:
        reason = error.reason if isinstance(error, Unusable) else error.strerror
        raise InputError(
            f"'{source.path.name}' cannot be read any more ({reason}); keep the DICOM folder until the work is done."
        ) from error


def now_beside(header: pydicom.Dataset) -> datetime:
    """The present, in the time zone in which the times of a header are."""
    offset = str(header.get("TimezoneOffsetFromUTC", "") or "")
    try:
        sign = -1 if offset.startswith("-") else 1
        digits = offset.lstrip("+-")
        zone = timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:4])))
    except ValueError:
        return datetime.now().astimezone()
    return datetime.now(zone)


def derived_number(header: pydicom.Dataset, more: int = 0) -> int:
    """A SeriesNumber for what is derived of a series: 1002 for series 2; `more` for further ones."""
    try:
        number = int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    return number + 1000 + more if 0 <= number < 2**30 else 1000 + more


def ds(number: float) -> str:
    """A number as a Decimal String, as exactly as its 16 characters allow."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(number))
