"""Who made a DICOM object of ours, and how: equipment, algorithm and codes, as attributes and for highdicom."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from .. import __version__
from .carried import carry_over
from .marks import MAKER, PROGRAM, SCHEME

if TYPE_CHECKING:
    import pydicom

_OF_EQUIPMENT = (
    "Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName",
    "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "SpatialResolution", "DateOfLastCalibration",
    "TimeOfLastCalibration",
)  # fmt: skip


def code_item(value: str, scheme: str, meaning: str) -> pydicom.Dataset:
    """An item of a code sequence."""
    import pydicom

    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def scheme_item() -> pydicom.Dataset:
    """What Coding Scheme Identification says of our own codes."""
    import pydicom

    item = pydicom.Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeName = SCHEME, f"{PROGRAM} codes"
    item.CodingSchemeResponsibleOrganization = MAKER
    return item


def set_equipment(dataset: pydicom.Dataset) -> None:
    """General Equipment: what produced these instances, which is this program and not the scanner."""
    dataset.Manufacturer, dataset.ManufacturerModelName = MAKER, PROGRAM
    dataset.SoftwareVersions = __version__


def contributions(
    source: pydicom.Dataset, run: dict[str, Any] | None, parameters: str, now: datetime
) -> list[pydicom.Dataset]:
    """Items of Contributing Equipment: the scanner, what has contributed before, and this program with its algorithm.

    source: header of the source. run: the record of the run that made the result, None where there is none.
    parameters: of the algorithm, as text, see `marks.record`.
    """
    import pydicom

    items = [
        pydicom.Dataset.from_json(one.to_json()) for one in source.get("ContributingEquipmentSequence") or ()
    ]
    if str(source.get("ManufacturerModelName", "")) != PROGRAM:
        original = str((source.get("ImageType") or [""])[0]) != "DERIVED"
        before = pydicom.Dataset()
        purpose = ("109101", "Acquisition Equipment") if original else ("109102", "Processing Equipment")
        before.PurposeOfReferenceCodeSequence = [code_item(purpose[0], "DCM", purpose[1])]
        before.Manufacturer = "unknown"
        carry_over(before, [source], _OF_EQUIPMENT)
        items.append(before)
    own = pydicom.Dataset()
    own.PurposeOfReferenceCodeSequence = [code_item("109102", "DCM", "Processing Equipment")]
    set_equipment(own)
    own.ContributionDateTime = now.strftime("%Y%m%d%H%M%S%z")
    own.ContributionDescription = describe_run(run)[:1024]
    if run is not None:
        own.AlgorithmFamilyCodeSequence = [algorithm_family(run)]
        own.AlgorithmName, own.AlgorithmVersion = algorithm_name(run), algorithm_version(run)
        own.AlgorithmSource = MAKER
        own.AlgorithmParameters = parameters
    return [*items, own]


def algorithm_family(run: dict[str, Any]) -> pydicom.Dataset:
    """Artificial intelligence for a network, our own code for a classical interpolator."""
    if "model_sha256" in run:
        return code_item("123110", "DCM", "Artificial Intelligence")
    return code_item("INTERPOLATION", SCHEME, "Interpolation without a learned model")


def algorithm_name(run: dict[str, Any]) -> str:
    """The method, as users call it."""
    return str(run.get("method", "unknown"))[:64]


def algorithm_version(run: dict[str, Any]) -> str:
    """SHA-256 of the weights of a network, which is what tells versions of it apart; else that of the program."""
    return str(run.get("model_sha256") or run.get("version") or __version__)[:64]


def describe_run(run: dict[str, Any] | None) -> str:
    """One sentence on how the result was made."""
    if run is None:
        return f"Written by {PROGRAM} {__version__}."
    weights = f", weights SHA-256 {run['model_sha256']}" if "model_sha256" in run else ""
    return (
        f"{PROGRAM} {run.get('version', __version__)}: method {algorithm_name(run)}{weights}; factor "
        f"{run.get('factor')}, output mode {run.get('output_mode')}, strength {run.get('strength')}. "
        "Not a medical device."
    )
