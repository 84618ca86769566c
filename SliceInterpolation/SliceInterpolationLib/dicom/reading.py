"""Reading a DICOM folder as it was acquired: true positions, gantry tilt kept as shear, irregular steps split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..itk import itk_name
from ..volume import ACQUIRED, UNKNOWN, Volume
from .series import Found, Run, SourceSlice

_STEP_TOLERANCE = 0.02  # of the slice distance: what rounding in headers may do, and no more
_UIDS = ("0008|0016", "0008|0018")  # of the SOP class and instance


@dataclass
class _Slice:
    file: str
    position: np.ndarray  # (3,) LPS mm
    rows_columns: np.ndarray  # (2, 3) unit vectors along a row (i) and along a column (j)
    pixel_spacing: tuple[float, float]  # mm between rows, between columns
    size: tuple[int, int]
    thickness: float | None
    modality: str
    sop_class: str
    sop_instance: str
    is_original: bool  # as the scanner reconstructed it, not derived from other images


def read_dicom_folder(folder: Path, series: str | None = None) -> tuple[list[Volume], list[str]]:
    """The volumes of `read_series` and its remarks."""
    found = read_series(folder, series)
    return [run.volume for run in found.runs], list(found.remarks)


def read_series(folder: Path, series: str | None = None) -> Found:
    """Read one series of a folder: one run for each stretch of uniformly spaced slices.

    A tilted gantry shows as a step between slices that is not perpendicular to them: it stays in the third
    column of the direction.
    Raises InputError for an empty folder, several series, slices that do not belong together.
    """
    identifiers = sitk.ImageSeriesReader.GetGDCMSeriesIDs(itk_name(folder))
    if not identifiers:
        raise InputError(
            f"The folder '{folder.name}' holds no DICOM images; choose the folder of one series."
        )
    if series is None and len(identifiers) > 1:
        raise InputError(
            f"The folder '{folder.name}' holds {len(identifiers)} series; move one into a folder of its own "
            f"or name it with --series: {', '.join(identifiers[:4])}{'...' if len(identifiers) > 4 else ''}"
        )
    if series is not None and series not in identifiers:
        raise InputError(
            f"The folder '{folder.name}' holds no series {series}; it has {', '.join(identifiers)}."
        )
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(itk_name(folder), series or identifiers[0])
    slices = [_read_header(file) for file in files]
    _check_consistent(slices)
    normal = np.cross(*slices[0].rows_columns)
    slices.sort(key=lambda s: float(s.position @ normal))
    if len(slices) < 2:
        raise InputError("The series has a single slice; at least 2 are needed to interpolate between them.")
    steps = np.diff([s.position for s in slices], axis=0)
    distances = (
        steps @ normal
    )  # between the slice planes, as the scanner states them, also with a tilted gantry
    if distances.min() < 0.01:
        where = int(distances.argmin()) + 1
        raise InputError(
            f"Slices {where} and {where + 1} of the series lie at the same position: two acquisitions are mixed; "
            "export one of them alone."
        )
    runs = _uniform_runs(steps)
    remarks = _remarks(slices, distances, runs)
    if not runs:
        raise InputError(
            "No two neighboring steps between the slices are alike "
            f"({distances.min():.3g} to {distances.max():.3g} mm), so there is no uniform run to interpolate."
        )
    return Found(tuple(_read_run(slices[first : last + 1]) for first, last in runs), tuple(remarks))


def _read_header(file: str) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(
            f"'{Path(file).name}' cannot be read as DICOM; remove or export it again."
        ) from error

    def numbers(tag: str) -> list[float]:
        return [float(x) for x in reader.GetMetaData(tag).split("\\")] if reader.HasMetaDataKey(tag) else []

    position, orientation, pixels = numbers("0020|0032"), numbers("0020|0037"), numbers("0028|0030")
    if len(position) != 3 or len(orientation) != 6 or len(pixels) != 2:
        raise InputError(
            f"'{Path(file).name}' does not say where in the patient it lies (position, orientation or pixel "
            "spacing is missing); secondary captures cannot be interpolated, use the original series."
        )
    if reader.GetNumberOfComponents() != 1:
        raise InputError(f"'{Path(file).name}' is a color image; use the original grayscale series.")
    thickness = numbers("0018|0050")
    modality = reader.GetMetaData("0008|0060").strip() if reader.HasMetaDataKey("0008|0060") else ""
    uids = [reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else "" for tag in _UIDS]
    image_type = reader.GetMetaData("0008|0008") if reader.HasMetaDataKey("0008|0008") else ""
    return _Slice(
        file,
        np.array(position),
        np.array(orientation).reshape(2, 3),
        (pixels[0], pixels[1]),
        tuple(reader.GetSize()[:2]),
        thickness[0] if thickness and thickness[0] > 0 else None,
        modality,
        *uids,
        image_type.split("\\")[0].strip() == "ORIGINAL",
    )


def _check_consistent(slices: list[_Slice]) -> None:
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size or not np.allclose(other.pixel_spacing, first.pixel_spacing, rtol=1e-3):
            problem = "images of different size or pixel spacing"
        elif not np.allclose(other.rows_columns, first.rows_columns, atol=1e-3):
            problem = "images of different orientation (a localizer among them?)"
        else:
            continue
        raise InputError(
            f"The series mixes {problem}; export the stack alone. See '{Path(other.file).name}'."
        )


def _uniform_runs(steps: np.ndarray) -> list[tuple[int, int]]:
    """First and last slice of each run of at least two equal steps; a stack of two slices is a run."""
    if len(steps) == 1:
        return [(0, 1)]
    runs, start = [], 0
    for number in range(1, len(steps) + 1):
        tolerance = _STEP_TOLERANCE * np.linalg.norm(steps[start])
        if number < len(steps) and np.linalg.norm(steps[number] - steps[start]) <= tolerance:
            continue
        if number - start >= 2:
            runs.append((start, number))
        start = number
    return runs


def _remarks(slices: list[_Slice], distances: np.ndarray, runs: list[tuple[int, int]]) -> list[str]:
    covered = np.zeros(len(distances), dtype=bool)
    remarks = []
    for first, last in runs:
        covered[first:last] = True
        if len(runs) > 1:
            remarks.append(
                f"Slices {first + 1} to {last + 1} follow each other at {distances[first]:.4g} mm."
            )
    for gap in np.flatnonzero(~covered):
        remarks.append(
            f"Between slices {gap + 1} and {gap + 2} the stack jumps by {distances[gap]:.4g} mm; "
            "nothing is interpolated there."
        )
    return remarks


def _read_run(slices: list[_Slice]) -> Run:
    array = np.stack([_read_pixels(one.file) for one in slices])
    step = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    distance = float(np.linalg.norm(step))
    row, column = slices[0].pixel_spacing
    thicknesses = {s.thickness for s in slices}
    volume = Volume(
        array,
        spacing=(column, row, distance),
        origin=tuple(slices[0].position),
        direction=np.column_stack((*slices[0].rows_columns, step / distance)),
        slice_axis="k",
        provenance="".join(ACQUIRED if one.is_original else UNKNOWN for one in slices),
        units="HU" if slices[0].modality == "CT" else "arbitrary",
        slice_thickness=thicknesses.pop() if len(thicknesses) == 1 else None,
    )
    return Run(volume, tuple(SourceSlice(Path(s.file), s.sop_class, s.sop_instance) for s in slices))


def _read_pixels(file: str) -> np.ndarray:
    """(rows, columns) of one file, rescaled to HU."""
    try:
        image = sitk.ReadImage(itk_name(file))
    except RuntimeError as error:
        raise InputError(f"'{Path(file).name}' is damaged; export the series again.") from error
    return sitk.GetArrayFromImage(image).reshape(image.GetSize()[1::-1])
