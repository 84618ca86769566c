"""What the objects that highdicom makes for us have in common: sources, geometry, identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import InputError
from ..volume import Volume
from .carried import PATIENT_AND_STUDY, SERIES, carry_identity, carry_over, fill_required
from .equipment import (
    algorithm_family,
    algorithm_name,
    algorithm_version,
    contributions,
    describe_run,
    scheme_item,
)
from .marks import MAKER, PROGRAM
from .quiet import quiet
from .series import Run
from .sources import SourceHeaders, derived_number, ds, now_beside
from .writing import save

if TYPE_CHECKING:
    import highdicom
    import pydicom

_OF_THE_GRID = (
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
)
_OF_FRAMES = ("NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_OF_THE_SERIES = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber")


class Beside:
    """A new object in the study of a run, on its grid. Raises InputError where highdicom is missing.

    volume: on the grid of the run. number: added to the number of the source's series, so that each kind has its own.
    """

    def __init__(self, run: Run, volume: Volume, number: int):
        if not volume.same_grid(run.volume):
            raise InputError("This does not lie on the grid of the DICOM images; make it of the same series.")
        need_highdicom()
        from pydicom.uid import generate_uid

        self._run, self._volume = run, volume
        self._headers = SourceHeaders(run)
        self._number = number
        self._thickness = (
            volume.slice_thickness or volume.slice_distance
        )  # which segments and maps must state
        self._frame_of_reference = generate_uid(prefix=None)  # for images that state none

    @property
    def first(self) -> pydicom.Dataset:
        """The header of the first image."""
        return self._headers.first

    @property
    def sources(self) -> list[pydicom.Dataset]:
        """The headers of the images, one a file, with what is carried over and their place alone."""
        found: dict[Path, pydicom.Dataset] = {}
        for k in self._headers.there:
            path = self._run.sources[k].path
            if path not in found:
                found[path] = self._clean(k)
        return list(found.values())

    def identity(self) -> dict[str, Any]:
        """What every object of highdicom is told about itself."""
        from pydicom.uid import generate_uid

        return {
            "series_instance_uid": generate_uid(prefix=None),
            "series_number": derived_number(self.first, self._number),
            "sop_instance_uid": generate_uid(prefix=None),
            "instance_number": 1,
            "manufacturer": MAKER,
        }

    def equipment(self) -> dict[str, Any]:
        """What objects with Enhanced General Equipment are told of it besides."""
        return {
            "manufacturer_model_name": PROGRAM,
            "software_versions": __version__,
            "device_serial_number": "none",
        }

    def geometry(self) -> dict[str, Any]:
        """Place of every slice of the volume, so that frames lie where the voxels do, sheared or not."""
        import highdicom as hd

        volume = self._volume
        patient = hd.CoordinateSystemNames.PATIENT
        positions = [volume.affine @ (0, 0, k, 1) for k in range(volume.slice_count)]
        return {
            "pixel_measures": hd.PixelMeasuresSequence(
                [float(ds(one)) for one in volume.pixel_spacing],
                float(ds(self._thickness)),
                float(ds(volume.slice_distance)),
            ),
            "plane_orientation": hd.PlaneOrientationSequence(
                patient, [float(ds(one)) for one in volume.direction[:, :2].T.ravel()]
            ),
            "plane_positions": [
                hd.PlanePositionSequence(patient, [float(ds(one)) for one in place[:3]])
                for place in positions
            ],
        }

    def finish(
        self, dataset: pydicom.Dataset, description: str, made_by: dict[str, Any] | None, path: Path
    ) -> None:
        """Say who made it and how, and write it. made_by: the record of a run. Raises OSError as the disk does."""
        now = now_beside(self.first)
        frame_of_reference = dataset.get("FrameOfReferenceUID")
        carry_identity(dataset, self.first)
        carry_over(dataset, [self.first], PATIENT_AND_STUDY)
        if frame_of_reference:
            dataset.FrameOfReferenceUID = frame_of_reference
        else:  # reports have none
            dataset.pop("FrameOfReferenceUID", None)
        fill_required(dataset)
        dataset.SeriesDescription = description[:64]
        dataset.SoftwareVersions, dataset.ManufacturerModelName = __version__, PROGRAM
        dataset.CodingSchemeIdentificationSequence = [
            *(one for one in dataset.get("CodingSchemeIdentificationSequence") or ()),
            scheme_item(),
        ]
        dataset.ContributingEquipmentSequence = contributions(self.first, made_by, "", now)
        if dataset.ContributingEquipmentSequence[-1].get("AlgorithmParameters") == "":
            del dataset.ContributingEquipmentSequence[-1].AlgorithmParameters
        for what in ("Series", "Content"):
            setattr(dataset, f"{what}Date", now.strftime("%Y%m%d"))
            setattr(dataset, f"{what}Time", now.strftime("%H%M%S"))
        save(dataset, path)

    def _clean(self, k: int) -> pydicom.Dataset:
        """The header of slice k with what is known of it, and nothing that highdicom would stumble over."""
        import pydicom

        raw, flat = self._headers.raw(k), self._headers.of(k)
        clean = pydicom.Dataset()
        carry_identity(clean, flat)
        carry_over(clean, [flat], (*PATIENT_AND_STUDY, *SERIES, *_OF_THE_SERIES, *_OF_THE_GRID))
        volume = self._volume
        for keyword, value in (
            ("SliceThickness", ds(self._thickness)),
            ("PixelSpacing", [ds(one) for one in volume.pixel_spacing]),
            ("ImagePositionPatient", [ds(one) for one in (volume.affine @ (0, 0, k, 1))[:3]]),
            ("ImageOrientationPatient", [ds(one) for one in volume.direction[:, :2].T.ravel()]),
        ):
            if keyword not in clean:
                setattr(clean, keyword, value)
        for keyword in _OF_FRAMES:
            if keyword in raw:
                clean[keyword] = raw[keyword]
        clean.SOPClassUID, clean.SOPInstanceUID = raw.SOPClassUID, raw.SOPInstanceUID
        if not clean.get("FrameOfReferenceUID"):
            clean.FrameOfReferenceUID = self._frame_of_reference
        fill_required(clean)
        return clean


@contextmanager
def refusals_explained() -> Iterator[None]:
    """What highdicom does not make of odd headers, as InputError; nothing of what it warns of is told."""
    with quiet():
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                "The headers of the DICOM images lack what this object needs; write the other formats instead of DICOM."
            ) from error


def need_highdicom() -> None:
    """Raise InputError where highdicom is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise InputError(
            "Segmentations, measurements and maps in DICOM need the package highdicom: "
            "pip install 'slice-interpolation[dicom]'."
        ) from None


def algorithm(made_by: dict[str, Any]) -> highdicom.AlgorithmIdentificationSequence:
    """The algorithm of a run, as highdicom takes it."""
    import highdicom as hd

    family = algorithm_family(made_by)
    return hd.AlgorithmIdentificationSequence(
        algorithm_name(made_by),
        hd.sr.CodedConcept(family.CodeValue, family.CodingSchemeDesignator, family.CodeMeaning),
        algorithm_version(made_by),
        MAKER,
        {"description": describe_run(made_by)},
    )
