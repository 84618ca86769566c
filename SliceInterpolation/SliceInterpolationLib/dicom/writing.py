"""A result as a new DICOM series beside its source: every slice says whether it was acquired or made, and of what."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..progress import Progress
from ..volume import DENOISED, MAP, PROVENANCE_NAMES, SYNTHESIZED, Volume
from .burning import burned
from .carried import (
    ACQUISITION,
    DISPLAY,
    PATIENT_AND_STUDY,
    SERIES,
    carry_identity,
    carry_over,
    fill_required,
    text_of,
)
from .equipment import code_item, contributions, describe_run, scheme_item, set_equipment
from .marks import mark_code, record
from .quiet import quiet
from .series import Run
from .sources import SourceHeaders, derived_number, ds, now_beside
from .stored import RESCALE, Scale, stored_as

if TYPE_CHECKING:
    import pydicom

_SOP_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_KINDS = {"CT": ("AXIAL", "LOCALIZER")}
"""Values that the third of Image Type may have."""
_LEAST_BITS, _BITS = 12, 16
_PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_DERIVATIONS = {
    SYNTHESIZED: ("113085", "DCM", "Spatial resampling"),
    DENOISED: ("113087", "DCM", "Smoothing"),
}
_SHORT, _LONG = 64, 1024  # characters of an LO and of an ST


def check_series(volume: Volume, run: Run) -> int:
    """The factor by which the slices of a run were refined in a result that can be written as a series of its own.

    Raises InputError for other modalities than CT and MR, a result along another axis, or that of another scan.
    """
    header = SourceHeaders(run).first
    modality = str(header.get("Modality", ""))
    if modality not in _SOP_CLASSES:
        raise InputError(
            f"Only CT and MR can be written as DICOM, and this series is {modality or 'of no stated modality'}; "
            "write a .nrrd file."
        )
    if not header.get("StudyInstanceUID"):
        raise InputError("The DICOM images do not say to which study they belong; write a .nrrd file.")
    if volume.slice_axis != run.volume.slice_axis:
        raise InputError(
            "New slices along another axis than that of the DICOM images belong to none of them; write a .nrrd file."
        )
    if MAP in volume.provenance:
        raise InputError("A map is no image of the patient; write it as a Parametric Map.")
    return volume.refinement_of(run.volume)


@quiet()
def write_series(
    result: Volume, run: Run, folder: Path, *, burn_in: bool = False, progress: Progress | None = None
) -> None:
    """Write a result as a series of single images into a folder that is there; names are 00001.dcm and so on.

    result: the volume of `run`, interpolated or denoised. Slices that are those of the source keep its stored pixels
    bit by bit, its rescale and its position. One slice at a time is held. burn_in: write "SYNTHESIZED" or "DENOISED"
    into the pixels of slices that were made, never into those of others. Files are readable by their owner alone.
    Raises InputError as `check_series`, and where a source image cannot be read any more; OSError as the disk does.
    """
    series = _Series(result, run, burn_in)
    for number in range(result.slice_count):
        save(series.image(number), folder / f"{number + 1:05d}.dcm")
        if progress:
            progress("dicom", number + 1, result.slice_count)


def save(dataset: pydicom.Dataset, path: Path) -> None:
    """Write a DICOM file for the eyes of its owner alone. Raises OSError as the disk does."""
    import pydicom

    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(handle, "wb") as file:
        if int(pydicom.__version__.split(".")[0]) >= 3:
            dataset.save_as(file, enforce_file_format=True)
        else:  # what Slicer brings may be older
            dataset.is_little_endian, dataset.is_implicit_VR = True, False
            dataset.save_as(file, write_like_original=False)


class _Series:
    """The images of one derived series, made one by one."""

    def __init__(self, result: Volume, run: Run, burn_in: bool):
        from pydicom.uid import generate_uid

        self._factor = check_series(result, run)
        self._result, self._run, self._burn_in = result, run, burn_in
        self._last_run = result.history[-1] if result.history else None
        self._headers = SourceHeaders(run)
        self._now = now_beside(self._headers.first)
        self._uid = generate_uid(prefix=None)
        self._frame_of_reference = generate_uid(prefix=None)  # for a source that states none
        self._modality = str(self._headers.first.Modality)
        self._description = self._described()

    def image(self, number: int) -> pydicom.Dataset:
        """Slice `number` of the result, from 0, with its pixels."""
        letter = self._result.provenance[number]
        given = self._given(number)  # the slice of the source at the same place, where there is one
        copied = given is not None and self._is_copy(number, given)
        below, above = self._headers.neighbors(number / self._factor)
        used = [below, above] if given is None else [given]
        if given is not None and not copied:
            around = (self._headers.neighbors(given + side)[index] for side, index in ((-1, 0), (1, 1)))
            used += [k for k in around if k != given]
        headers = [self._headers.of(k) for k in (used if given is None else [given])]

        image = self._new_image(number, headers)
        self._place(image, number, given, below, above)
        text = PROVENANCE_NAMES[letter].upper() if self._burn_in and not copied else ""
        stored = self._copy_pixels(image, given, headers[0]) if copied else None
        if stored is None:
            stored = self._set_made_pixels(image, number, used[0], text)
        self._say_what_it_is(image, number, used, given, copied, stored)
        stated = [str(header.get("BurnedInAnnotation", "")) for header in headers]
        if text or "YES" in stated:
            image.BurnedInAnnotation = "YES"
        elif set(stated) == {"NO"}:
            image.BurnedInAnnotation = "NO"
        fill_required(image)
        return image

    def _given(self, number: int) -> int | None:
        own, between = divmod(number, self._factor)
        return None if between or self._run.sources[own] is None else own

    def _is_copy(self, number: int, given: int) -> bool:
        """Whether a slice of the result is a slice of the source, and not one made that happens to be alike."""
        result, source = self._result, self._run.volume
        same = result.provenance[number] == source.provenance[given]
        return same and np.array_equal(result.slices[number], source.slices[given])

    def _new_image(self, number: int, headers: list[pydicom.Dataset]) -> pydicom.Dataset:
        """The attributes of patient, study, series, equipment and acquisition."""
        import pydicom
        from pydicom.uid import generate_uid

        image = pydicom.Dataset()
        carry_identity(image, self._headers.first)
        carry_over(image, [self._headers.first], (*PATIENT_AND_STUDY, *SERIES))
        carry_over(image, headers, ACQUISITION)
        carry_over(image, headers[:1], DISPLAY)
        lossy = any(str(header.get("LossyImageCompression", "")) == "01" for header in headers)
        image.LossyImageCompression = "01" if lossy else "00"
        image.SOPClassUID, image.SOPInstanceUID = _SOP_CLASSES[self._modality], generate_uid(prefix=None)
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
        image.ImageType = self._image_type(headers[0])
        image.SeriesInstanceUID, image.SeriesDescription = self._uid, self._description
        image.SeriesNumber, image.InstanceNumber = derived_number(self._headers.first), number + 1
        for what in ("InstanceCreation", "Series", "Content"):
            setattr(image, f"{what}Date", self._now.strftime("%Y%m%d"))
            setattr(image, f"{what}Time", self._now.strftime("%H%M%S"))
        if not image.get("FrameOfReferenceUID"):
            image.FrameOfReferenceUID = self._frame_of_reference
        set_equipment(image)
        return image

    def _image_type(self, header: pydicom.Dataset) -> list[str]:
        """DERIVED and SECONDARY, and then what the source says of itself as far as it holds for this object."""
        stated = header.get("ImageType") or []
        rest = [str(one) for one in stated[2:]] if not isinstance(stated, str) else []
        kinds = _KINDS.get(self._modality)
        if not rest or (kinds and rest[0] not in kinds):
            rest = [kinds[0] if kinds else "OTHER"]
        return ["DERIVED", "SECONDARY", *rest]

    def _place(self, image: pydicom.Dataset, number: int, given: int | None, below: int, above: int) -> None:
        """Position and spacing: as the source states them, between two of its slices where there was none."""
        result = self._result
        header = self._headers.of(below if given is None else given)
        carry_over(image, [header], ("ImageOrientationPatient", "PixelSpacing", "SliceLocation"))
        carry_over(
            image,
            [self._headers.of(k) for k in ((below, above) if given is None else (given,))],
            ("SliceThickness",),
        )
        if "SliceThickness" not in image:
            image.SliceThickness = None
        image.SpacingBetweenSlices = ds(result.slice_distance)
        if "ImageOrientationPatient" not in image:
            image.ImageOrientationPatient = [ds(one) for one in result.direction[:, :2].T.ravel()]
        if "PixelSpacing" not in image:
            image.PixelSpacing = [ds(one) for one in result.pixel_spacing]
        if given is not None:
            carry_over(image, [header], ("ImagePositionPatient",))
        else:
            image.pop("SliceLocation", None)
            share = (number / self._factor - below) / (above - below) if above > below else 0.0
            ends = [self._headers.of(k) for k in (below, above)]
            for keyword, count in (("ImagePositionPatient", 3), ("SliceLocation", 1)):
                places = [_numbers(end, keyword, count) for end in ends]
                if all(place is not None for place in places) and above > below:
                    place = [ds(one) for one in (1 - share) * places[0] + share * places[1]]
                    setattr(image, keyword, place if count > 1 else place[0])
        if "ImagePositionPatient" not in image:
            image.ImagePositionPatient = [ds(one) for one in (result.affine @ (0, 0, number, 1))[:3]]

    def _copy_pixels(self, image: pydicom.Dataset, given: int, header: pydicom.Dataset) -> np.ndarray | None:
        """The stored pixels of the source with its rescale; None where that does not hold them in 16 bits.

        So it is, too, where they do not mean what was read of them.
        """
        stored = self._headers.stored(given)
        scale = self._headers.scale(given)
        low, high = replace(scale, bits=_BITS).limits
        if stored.min() < low or stored.max() > high:
            return None
        read, outside = self._run.volume.slices[given], self._run.volume.outside(given)
        differs = ~np.isclose(scale.values(stored), read, rtol=1e-6, atol=1e-3)
        if np.any(differs if outside is None else differs & ~outside):
            return None
        stored = stored.astype(np.int16 if scale.signed else np.uint16)
        carry_over(image, [header], (*RESCALE, "RescaleType", *_PADDING))
        if scale.stated and not all(keyword in image for keyword in RESCALE):
            image.RescaleSlope, image.RescaleIntercept = ds(scale.slope), ds(scale.intercept)
        self._set_pixels(image, stored, scale, header)
        return stored

    def _set_made_pixels(self, image: pydicom.Dataset, number: int, nearest: int, text: str) -> np.ndarray:
        """The values of the result as stored numbers; where they mean that there is none, as padding."""
        header = self._headers.of(nearest)
        values, outside = self._result.slices[number], self._result.outside(number)
        stored, scale = stored_as(burned(values, text) if text else values, self._headers.scale(nearest))
        if outside is not None and outside.any():
            image.add_new("PixelPaddingValue", "SS" if scale.signed else "US", int(stored[outside].min()))
        carry_over(image, [header], ("RescaleType",))
        if scale.stated or self._modality == "CT":
            image.RescaleIntercept, image.RescaleSlope = ds(scale.intercept), ds(scale.slope)
        self._set_pixels(image, stored, scale, header)
        return stored

    def _set_pixels(
        self, image: pydicom.Dataset, stored: np.ndarray, scale: Scale, header: pydicom.Dataset
    ) -> None:
        image.SamplesPerPixel = 1
        inverted = str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1"
        image.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
        image.Rows, image.Columns = stored.shape
        image.BitsAllocated, image.BitsStored = _BITS, max(scale.bits, _LEAST_BITS)
        image.HighBit, image.PixelRepresentation = image.BitsStored - 1, int(scale.signed)
        if self._modality == "CT":
            for keyword, default in (("RescaleIntercept", "0"), ("RescaleSlope", "1"), ("RescaleType", "HU")):
                if keyword not in image:
                    setattr(image, keyword, default)
        image.PixelData = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
        image["PixelData"].VR = "OW"

    def _say_what_it_is(
        self,
        image: pydicom.Dataset,
        number: int,
        used: list[int],
        given: int | None,
        copied: bool,
        stored: np.ndarray,
    ) -> None:
        """Whether it was acquired, of what it was made and how: for people, and in codes."""
        result = self._result
        letter = result.provenance[number]
        image.SourceImageSequence = [self._headers.reference(k, k == given) for k in used]
        what = result.describe_slice(number)
        what = what[0].upper() + what[1:]
        how = "copied unchanged from the source series" if copied else describe_run(self._last_run)
        image.DerivationDescription = f"{what}: {how}"[:_LONG]
        codes = [mark_code(letter)]
        if not copied and letter in _DERIVATIONS:
            codes.insert(0, _DERIVATIONS[letter])
        image.DerivationCodeSequence = [code_item(*code) for code in codes]
        image.CodingSchemeIdentificationSequence = [scheme_item()]
        made = "MADE BY SOFTWARE, NOT ACQUIRED. " if letter in _DERIVATIONS else ""
        image.ImageComments = f"{made}{what}."
        parameters = record(letter, stored, result.history)
        source = self._headers.of(used[0])
        image.ContributingEquipmentSequence = contributions(source, self._last_run, parameters, self._now)

    def _described(self) -> str:
        """A name of the series that says what was made, within what DICOM allows, the end being the important part."""
        letters = self._result.provenance
        made = [
            f"{letters.count(letter)} {PROVENANCE_NAMES[letter].upper()}"
            for letter in (SYNTHESIZED, DENOISED)
            if letter in letters
        ]
        factor = f"x{self._factor}" if self._factor > 1 else ""
        method = str(self._last_run.get("method", ""))[:24] if self._last_run else ""
        how = " ".join(filter(None, [factor, method])) or "result"
        note = f"[{how}: {', '.join(made) or 'none made'} of {len(letters)}]"
        source = text_of(self._headers.first, "SeriesDescription")
        return f"{source[: max(0, _SHORT - 1 - len(note))]} {note}".strip()[:_SHORT]


def _numbers(header: pydicom.Dataset, keyword: str, count: int) -> np.ndarray | None:
    try:
        numbers = np.array(header[keyword].value, dtype=float).reshape(count)
    except Exception:  # missing, empty, or no number at all
        return None
    return numbers if np.isfinite(numbers).all() else None
