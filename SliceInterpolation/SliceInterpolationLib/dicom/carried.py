"""What a derived image takes over from the images that it was made of: a list, so that nothing else comes along.

Private attributes, dose, and what only held for the original (its UIDs, times, equipment, comments) are not on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pydicom

IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID",
    "StudyID", "StudyDate", "StudyTime", "FrameOfReferenceUID",
)  # fmt: skip
"""By what a PACS files images: taken over as it stands, byte by byte, valid or not, or the study falls apart."""

PATIENT_AND_STUDY = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "TypeOfPatientID", "PatientBirthTime", "PatientSex",
    "OtherPatientIDsSequence",
    "OtherPatientNames", "EthnicGroup", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "QualityControlSubject", "PatientAge", "PatientSize", "PatientWeight",
    "AdmittingDiagnosesDescription", "MedicalAlerts", "Allergies", "PregnancyStatus", "AdditionalPatientHistory",
    "StudyDescription", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "PhysiciansOfRecord",
    "ProcedureCodeSequence", "ReferencedStudySequence", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
    "ClinicalTrialCoordinatingCenterName",
)  # fmt: skip
"""Of the patient and the study; the same in all images."""

SERIES = (
    "Modality", "BodyPartExamined", "Laterality", "PatientPosition", "ProtocolName", "RequestAttributesSequence",
    "AnatomicRegionSequence", "PositionReferenceIndicator",
)  # fmt: skip
"""Of the series that holds for the derived one as well."""

ACQUISITION = (
    "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "AcquisitionNumber", "ScanOptions",
    "ContrastBolusAgent", "ContrastBolusAgentSequence", "ContrastBolusRoute", "ContrastBolusVolume",
    "ContrastBolusIngredient", "ContrastBolusIngredientConcentration", "ContrastFlowRate", "ContrastFlowDuration",
    "KVP", "DataCollectionDiameter", "ReconstructionDiameter", "DistanceSourceToDetector", "DistanceSourceToPatient",
    "GantryDetectorTilt", "TableHeight", "RotationDirection", "FilterType", "FocalSpots", "ConvolutionKernel",
    "RevolutionTime", "SingleCollimationWidth", "TotalCollimationWidth", "TableSpeed", "TableFeedPerRotation",
    "SpiralPitchFactor", "DataCollectionCenterPatient", "ReconstructionTargetCenterPatient",
    "ScanningSequence", "SequenceVariant", "MRAcquisitionType", "SequenceName", "AngioFlag", "RepetitionTime",
    "EchoTime", "EchoNumbers", "EchoTrainLength", "InversionTime", "NumberOfAverages",
    "ImagingFrequency",
    "ImagedNucleus", "MagneticFieldStrength", "NumberOfPhaseEncodingSteps", "PercentSampling",
    "PercentPhaseFieldOfView", "PixelBandwidth", "ReceiveCoilName", "TransmitCoilName", "AcquisitionMatrix",
    "InPlanePhaseEncodingDirection", "FlipAngle", "VariableFlipAngleFlag",
)  # fmt: skip
"""Of how a slice was acquired; a slice made of several takes over in what they agree."""

DISPLAY = (
    "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
"""Of how it is displayed, and what was done to its pixels before."""

_TEXTS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"))

_OTHER_NAMES = {
    "FrameType": "ImageType",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "EffectiveEchoTime": "EchoTime",
}
"""What enhanced multi-frame images call otherwise."""

_ENUMERATED = {
    "PatientSex": ("M", "F", "O"),
    "PatientIdentityRemoved": ("YES", "NO"),
    "QualityControlSubject": ("YES", "NO"),
    "PregnancyStatus": (1, 2, 3, 4),
    "AngioFlag": ("Y", "N"),
    "VariableFlipAngleFlag": ("Y", "N"),
    "MRAcquisitionType": ("2D", "3D"),
    "RotationDirection": ("CW", "CC"),
    "InPlanePhaseEncodingDirection": ("ROW", "COLUMN", "OTHER"),
    "ScanningSequence": ("SE", "IR", "GR", "EP", "RM"),
    "LossyImageCompression": ("00", "01"),
}
"""Attributes that allow these values alone."""

_CLINICAL_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
_CLINICAL_SUBJECT = ("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")
_CLINICAL_TYPE_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_LONG_TEXTS = ("LT", "ST", "UT")
"""Which alone may have line breaks."""

_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_OF_IMAGES = ("PositionReferenceIndicator", "AcquisitionNumber", "PatientPosition")
_TYPE_2_OF = {
    "CT": (*_OF_IMAGES, "KVP"),
    "MR": (*_OF_IMAGES, "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
    "OT": (),
}
"""What must be there, if only empty, by modality."""


def flat_header(dataset: pydicom.Dataset, frame: int | None) -> pydicom.Dataset:
    """The header of one image; of a frame (from 1) with its functional groups on the top level."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not shared and not frames:
        return dataset
    import pydicom

    flat = pydicom.Dataset()
    flat.update({element.tag: element for element in dataset if element.VR != "SQ"})
    flat.update({tag: dataset[tag] for tag in (0x00400275, 0x0018A001) if tag in dataset})
    groups = [*shared[:1], *([frames[frame - 1]] if frame and frame <= len(frames) else [])]
    for group in groups:
        for functional in group:
            if functional.VR == "SQ" and functional.value:
                flat.update({element.tag: element for element in functional.value[0]})
    for name, plain in _OTHER_NAMES.items():
        if name in flat:
            setattr(flat, plain, flat[name].value)
    if "ScanningSequence" not in flat and flat.get("Modality") == "MR":
        pulse = str(flat.get("EchoPulseSequence", ""))
        flat.ScanningSequence = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}.get(pulse, ["RM"])
    return flat


def carry_over(target: pydicom.Dataset, sources: Sequence[pydicom.Dataset], keywords: Iterable[str]) -> None:
    """Take over the attributes that all sources have with the same value, as far as they are valid DICOM."""
    for keyword in keywords:
        found = [_element(source, keyword) for source in sources]
        if all(one is not None and one.value == found[0].value for one in found):
            target[keyword] = found[0]


def carry_identity(target: pydicom.Dataset, source: pydicom.Dataset) -> None:
    """Take over what the study is filed by, as it stands in the file."""
    from pydicom.datadict import tag_for_keyword

    for keyword in IDENTITY:
        if keyword in source:
            tag = tag_for_keyword(keyword)
            target[tag] = source.get_item(tag)


def text_of(source: pydicom.Dataset, keyword: str) -> str:
    """A text of a header; empty where there is none, or none that is valid."""
    element = _element(source, keyword)
    return "" if element is None else str(element.value).strip()


def fill_required(dataset: pydicom.Dataset) -> None:
    """Make empty what must be there and is not known."""
    modality = str(dataset.Modality)
    for keyword in (*_TYPE_2, *_TYPE_2_OF.get(modality, ())):
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    if modality in _TYPE_2_OF and "BodyPartExamined" not in dataset and "Laterality" not in dataset:
        dataset.Laterality = None  # of what may be one of a pair
    if modality == "MR":
        for keyword, unknown in (("ScanningSequence", "RM"), ("SequenceVariant", "NONE")):
            if not dataset.get(keyword):
                setattr(dataset, keyword, unknown)
    if not all(dataset.get(one) for one in _CLINICAL_TRIAL) or not any(
        dataset.get(one) for one in _CLINICAL_SUBJECT
    ):
        for keyword in [one for one in dataset.dir("ClinicalTrial") if one.startswith("ClinicalTrial")]:
            del dataset[keyword]
    else:
        time_point = "ClinicalTrialTimePointDescription" in dataset
        for keyword in (*_CLINICAL_TYPE_2, *(["ClinicalTrialTimePointID"] if time_point else [])):
            if keyword not in dataset:
                setattr(dataset, keyword, None)
    stated = dataset.get("DeidentificationMethod") or dataset.get("DeidentificationMethodCodeSequence")
    if "DeidentificationMethod" in dataset and not dataset.DeidentificationMethod:
        del dataset.DeidentificationMethod
    if dataset.get("PatientIdentityRemoved") == "YES" and not stated:
        dataset.DeidentificationMethod = "not stated in the source images"
    if "WindowWidth" not in dataset or "WindowCenter" not in dataset:
        for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction"):
            dataset.pop(keyword, None)


def _element(source: pydicom.Dataset, keyword: str) -> pydicom.DataElement | None:
    """An attribute that is there, with a value, valid, and without private ones inside; else None."""
    if keyword not in source:
        return None
    try:
        element = source[keyword]
        if element.is_empty or not _is_valid(element):
            return None
    except Exception:  # what pydicom raises for a value that cannot be parsed has many names
        return None
    if element.VR != "SQ":
        return element
    from copy import deepcopy

    element = deepcopy(element)
    for item in element.value:
        item.remove_private_tags()
    return element


def _is_valid(element: pydicom.DataElement) -> bool:
    from pydicom.charset import python_encoding
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VM, dictionary_VR
    from pydicom.valuerep import validate_value

    if element.VR == "SQ":
        return all(_is_valid(inner) for item in element.value for inner in item if not inner.tag.is_private)
    values = list(element.value) if element.VM > 1 else [element.value]
    named = dictionary_VR(element.tag).split(" or ")
    if element.VR not in named or not _is_number_of_values(len(values), dictionary_VM(element.tag)):
        return False
    allowed = _ENUMERATED.get(element.keyword)
    if allowed and any(value not in allowed for value in values):
        return False
    if element.keyword == "SpecificCharacterSet":
        return all((value or "") in python_encoding for value in values)
    if element.VR in _TEXTS and len(values) > 1 and any(value in (None, "") for value in values):
        return False
    if element.VR in _TEXTS and not all(_is_plain(str(value), element.VR) for value in values):
        return False
    for value in values:
        validate_value(element.VR, str(value) if element.VR in _TEXTS else value, RAISE)
    return True


def _is_number_of_values(count: int, stated: str) -> bool:
    """Whether so many values are allowed; stated: as in the dictionary, "3", "1-3", "1-n", "2-2n"."""
    least, _, most = stated.partition("-")
    if not most:
        return count == int(least)
    if most.endswith("n"):
        return count >= int(least) and count % int(most[:-1] or 1) == 0
    return int(least) <= count <= int(most)


def _is_plain(text: str, kind: str) -> bool:
    """Whether a text is without control characters, which show that it was damaged or is in other characters."""
    breaks = "\r\n\f\t" if kind in _LONG_TEXTS else ""
    if any((letter < " " and letter not in breaks) or "\x7f" <= letter < "\xa0" for letter in text):
        return False
    return kind != "PN" or all(part.count("^") <= 4 for part in text.split("="))
