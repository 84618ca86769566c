"""Measurements of segments as a DICOM Structured Report by the template TID 1500."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from .equipment import algorithm_family, algorithm_name, algorithm_version
from .marks import MAKER, PROGRAM, SCHEME
from .objects import Beside, refusals_explained
from .series import Run

if TYPE_CHECKING:
    import highdicom
    import pydicom

_NUMBER = 300
"""What is added to the number of the source's series."""

_HOUNSFIELD, _PLAIN = ("[hnsf'U]", "UCUM", "Hounsfield unit"), ("1", "UCUM", "no units")
_ML, _MM, _MM2 = (
    ("mL", "UCUM", "milliliter"),
    ("mm", "UCUM", "millimeter"),
    ("mm2", "UCUM", "square millimeter"),
)
_MEAN, _SD = ("373098007", "SCT", "Mean"), ("386136009", "SCT", "Standard Deviation")
_VOLUME, _ATTENUATION = ("118565006", "SCT", "Volume"), ("112031", "DCM", "Attenuation Coefficient")
_FIGURES = {
    "volume_ml": (_VOLUME, _ML, None, ("VOXELS", SCHEME, "Number of voxels times their size")),
    "surface_volume_ml": (
        _VOLUME,
        _ML,
        None,
        ("SURFACE", SCHEME, "Inside the closed surface through voxel edges"),
    ),
    "abc2_ml": (_VOLUME, _ML, None, ("ABC2", SCHEME, "ABC/2 estimate, Kothari et al. 1996")),
    "surface_area_mm2": (("SURFACE_AREA", SCHEME, "Area of the closed surface"), _MM2, None, None),
    "a_mm": (("ABC2_A", SCHEME, "Largest diameter, A of ABC/2"), _MM, None, None),
    "b_mm": (("ABC2_B", SCHEME, "Diameter across it, B of ABC/2"), _MM, None, None),
    "c_mm": (("ABC2_C", SCHEME, "Height, C of ABC/2"), _MM, None, None),
    "mean_hu": (_ATTENUATION, _HOUNSFIELD, _MEAN, None),
    "sd_hu": (_ATTENUATION, _HOUNSFIELD, _SD, None),
}
"""Of each figure in a row of `reports.measure`: what it is, its unit, its derivation and its method."""


@dataclass(frozen=True)
class MeasuredSegment:
    """A row of figures of one segment, and where that segment is: as `write_segmentation` returned it, on which run."""

    row: dict[str, Any]
    segmentation: highdicom.seg.Segmentation
    number: int
    run: Run


@refusals_explained()
def write_measurements(
    measured: Sequence[MeasuredSegment], run: Run, path: Path, *, made_by: dict[str, Any] | None = None
) -> None:
    """Write measurements as a Comprehensive 3D SR with a group for each segment and grid.

    run: the scan. made_by: the record of the run that made the result on which some were measured. Figures without a
    value are left out. Raises InputError without highdicom, OSError as the disk does.
    """
    beside = Beside(run, run.volume, _NUMBER)
    import highdicom as hd
    from pydicom.sr.codedict import codes

    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=PROGRAM, manufacturer_name=MAKER, model_name=f"{PROGRAM} {__version__}"
        ),
    )
    is_hu = run.volume.units == "HU"
    procedure = codes.LN.CTUnspecifiedBodyRegion if is_hu else codes.LN.MRIUnspecifiedBodyRegion
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=procedure,
        imaging_measurements=[_group(one, is_hu, made_by) for one in measured],
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence: dict[str, pydicom.Dataset] = {}
    for one in measured:
        evidence[one.segmentation.SOPInstanceUID] = one.segmentation
    for grid in {id(one.run): one.run for one in measured}.values():
        evidence.update({image.SOPInstanceUID: image for image in Beside(grid, grid.volume, 0).sources})
    made = hd.sr.Comprehensive3DSR(
        evidence=list(evidence.values()),
        content=report[0],
        is_complete=True,
        **beside.identity(),
    )
    beside.finish(made, "Measurements of segments", made_by, path)


def _group(
    one: MeasuredSegment, is_hu: bool, made_by: dict[str, Any] | None
) -> highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    grid = str(one.row["grid"])
    name = f"Segment {one.row['segment']} of labelmap {one.row['labelmap']}, {grid}"
    on_result = grid != "acquired" and made_by is not None
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=name),
        referenced_segment=hd.sr.ReferencedSegment.from_segmentation(one.segmentation, one.number),
        finding_type=codes.SCT.MorphologicallyAbnormalStructure,
        algorithm_id=_algorithm(made_by) if on_result else None,
        measurements=[
            _measurement(key, one.row[key], is_hu) for key in _FIGURES if _is_number(one.row.get(key))
        ],
    )


def _measurement(key: str, value: float, is_hu: bool) -> highdicom.sr.Measurement:
    import highdicom as hd

    name, unit, derivation, method = _FIGURES[key]
    if unit == _HOUNSFIELD and not is_hu:
        name, unit = ("INTENSITY", SCHEME, "Intensity of the image"), _PLAIN
    codes = {
        what: hd.sr.CodedConcept(*code)
        for what, code in (("derivation", derivation), ("method", method))
        if code
    }
    return hd.sr.Measurement(
        name=hd.sr.CodedConcept(*name), value=float(f"{value:.10g}"), unit=hd.sr.CodedConcept(*unit), **codes
    )


def _algorithm(made_by: dict[str, Any]) -> highdicom.sr.AlgorithmIdentification:
    import highdicom as hd

    family = algorithm_family(made_by)
    return hd.sr.AlgorithmIdentification(
        algorithm_name(made_by),
        algorithm_version(made_by),
        family=hd.sr.CodedConcept(family.CodeValue, family.CodingSchemeDesignator, family.CodeMeaning),
        manufacturer=MAKER,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
