"""The scans of a folder made ready for training: found, examined, split by patient, written down, and kept at hand.

What becomes of every scan stands in `scans.csv` of the run folder, with the reason where one is left out. The voxels
are kept as int16 arrays beside it and mapped into memory, so that hundreds of scans need no more of it than their pages
in use, which all processes share.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from SliceInterpolationLib.atomic import replacing
from SliceInterpolationLib.errors import InputError, SliceInterpolationError
from SliceInterpolationLib.files import SUFFIXES, read_volume
from SliceInterpolationLib.progress import Reporter
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.volume import Volume

from .data import MANIFEST, Stack, read_manifest, scan_stacks, share_out, whole_hu
from .quality import SMALLEST, objections

SCANS_FILE = "scans.csv"
SPLITS = ("train", "validation", "test")
_HEAD_WORDS = ("head", "brain", "skull", "cranial", "kopf", "schaedel")
_NO_SCANS = (".csv", ".tsv", ".txt", ".json", ".md", ".pdf", ".png", ".jpg", ".xml", ".yaml", ".zip", ".py")
_MARGIN = 16  # pixels around the body that are kept
_SQUARE = 1.05  # of the two sides of a pixel


@dataclass
class Scan:
    """One scan and what became of it; a line of `scans.csv`. objection: why it is left out, empty if it is not."""

    file: str
    series: str = ""
    patient: str = ""
    split: str = ""
    modality: str = ""
    body: str = ""
    source: str = ""
    license: str = ""
    slices: int = 0
    spacing_mm: float = 0.0
    pixel_mm: float = 0.0
    low: float = 0.0
    high: float = 0.0
    sha256: str = ""
    objection: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.file} {self.series}".strip()

    def row(self, number: int, by_name: bool) -> dict[str, Any]:
        """What a model card may say of it. by_name: False hides file names, which may name patients."""
        return {
            "file": self.file if by_name else f"scan {number}",
            "modality": self.modality,
            "body": self.body,
            "spacing_mm": f"{self.pixel_mm:.4g}x{self.pixel_mm:.4g}x{self.spacing_mm:.4g}",
            "licence": self.license,
            "source": self.source if by_name else "scans of the user",
        }


def prepare(
    data: Path,
    run: Path,
    modality: str = "CT",
    seed: int = 0,
    validation_part: float = 0.2,
    accept_all: bool = False,
    reporter: Reporter | None = None,
) -> list[Scan]:
    """Examine and split the scans of a folder, once for a run; what was written down is read again after that.

    data: a folder with `manifest.csv` (columns file, split, modality, body; patient, source and licence if known), or
    with scans in NRRD, NIfTI, MetaImage or DICOM at any depth. validation_part: of the patients, where no manifest
    says it. accept_all: examine, say what was found, but leave nothing out.
    Raises InputError where nothing is left to train on, and where a patient is on both sides of a split.
    """
    reporter = reporter or Reporter("none")
    kept = run / "scans"
    known = read_scans(run)
    if known is not None and all(_array_file(kept, scan).is_file() for scan in known if not scan.objection):
        return known
    given = (data / MANIFEST).is_file()
    scans: list[Scan] = []
    seen: dict[str, str] = {}
    candidates = list(_of_manifest(data, modality) if given else _of_folder(data, modality, run))
    for number, (scan, series) in enumerate(candidates):
        reporter("examine scans", number, len(candidates))
        scans.append(scan)
        if not scan.objection:
            _examine(scan, data / scan.file, series, kept, seen, accept_all)
        if scan.objection:
            reporter.message(f"'{scan.name}' is left out: {scan.objection}.")
    reporter("examine scans", len(candidates), max(len(candidates), 1))
    usable = [scan for scan in scans if not scan.objection]
    if not given:
        _split(usable, seed, validation_part)
    check_no_leak(usable)
    if not any(scan.split == "train" for scan in usable):
        where = f"'{data / MANIFEST}' has no row of the split train" if given else f"'{data}' holds no scan"
        reasons = "; ".join(sorted({scan.objection for scan in scans if scan.objection})[:3])
        raise InputError(
            f"{where} and modality {modality} that can be trained on{f': {reasons}' if reasons else ''}."
        )
    _write_scans(run, scans)
    return scans


def stacks_of(scans: Sequence[Scan], run: Path, split: str) -> list[Stack]:
    """The stacks of a split, their voxels mapped into memory, with their shares of the examples."""
    kept = run / "scans"
    stacks: list[Stack] = []
    for scan in scans:
        if scan.split != split or scan.objection:
            continue
        file = _array_file(kept, scan)

        def keep(array: np.ndarray, name: str, file: Path = file) -> np.ndarray:
            aside = file.with_name(f"{file.stem}-{name}.npy")
            if not aside.is_file():
                _write_array(array, aside)
            return np.load(aside, mmap_mode="r")

        voxels = np.load(file, mmap_mode="r")
        stacks += scan_stacks(
            asdict(scan), voxels, scan.spacing_mm, scan.pixel_mm, (scan.low, scan.high), keep
        )
    share_out(stacks)
    return stacks


def check_no_leak(scans: Sequence[Scan]) -> None:
    """InputError where one patient is in two splits: what is then measured was learned by heart."""
    where: dict[str, str] = {}
    for scan in scans:
        if where.setdefault(scan.patient, scan.split) != scan.split:
            raise InputError(
                f"The patient of '{scan.file}' is in the splits {where[scan.patient]} and {scan.split}; put all "
                "scans of one patient on one side."
            )


def read_scans(run: Path) -> list[Scan] | None:
    """What `prepare` wrote down for a run; None where it did not yet. InputError for a damaged file."""
    path = run / SCANS_FILE
    if not path.is_file():
        return None
    kinds = {one.name: {"int": int, "float": float}.get(one.type, str) for one in fields(Scan)}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                Scan(**{name: kinds[name](text) for name, text in row.items()})
                for row in csv.DictReader(file)
            ]
    except (KeyError, TypeError, ValueError, UnicodeDecodeError):
        raise InputError(f"'{path}' is damaged; remove it to have the scans examined anew.") from None


def _write_scans(run: Path, scans: Sequence[Scan]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [one.name for one in fields(Scan)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(scan) for scan in scans)
    with replacing(run / SCANS_FILE) as file:
        file.write(text.getvalue().encode())


def _of_manifest(data: Path, modality: str) -> Iterator[tuple[Scan, None]]:
    """The rows of a manifest that are of a split and of the modality."""
    for split in SPLITS[:2]:
        for row in read_manifest(data, split, modality):
            scan = Scan(row["file"], split=split, modality=modality, body=row["body"])
            scan.patient = row.get("patient") or row["file"]
            scan.source, scan.license = row.get("source") or row["file"], row.get("licence") or ""
            if not (data / row["file"]).exists():
                raise InputError(f"'{data / MANIFEST}' names '{row['file']}', which is not there.")
            yield scan, None


def _of_folder(data: Path, modality: str, run: Path) -> Iterator[tuple[Scan, str | None]]:
    """The volume files and the DICOM series of a folder, at any depth, with the name of the series."""
    if not data.is_dir():
        raise InputError(f"There is no folder '{data}'; check the path.")
    for place, folders, files in os.walk(data):
        folders[:] = sorted(one for one in folders if Path(place, one).resolve() != run.resolve())
        files = sorted(one for one in files if not one.startswith("."))
        relative = Path(place).relative_to(data)
        volumes = [one for one in files if one.lower().endswith(SUFFIXES)]
        for name in volumes:
            in_folder = relative.parts[0] if relative.parts else ""
            yield (
                Scan(
                    (relative / name).as_posix(),
                    patient=in_folder or name.partition(".")[0],
                    modality=modality,
                    body=_body((relative / name).as_posix()),
                ),
                None,
            )
        others = [one for one in files if one not in volumes and not one.lower().endswith(_NO_SCANS)]
        if others and not volumes:
            folders.clear()  # what is below is read with it
            yield from _of_dicom(Path(place), relative, modality)


def _of_dicom(folder: Path, relative: Path, modality: str) -> Iterator[tuple[Scan, str]]:
    from SliceInterpolationLib.dicom import folder_info

    try:
        infos = folder_info(folder)[0]
    except SliceInterpolationError as error:
        yield Scan(relative.as_posix(), objection=str(error).rstrip(".")), ""
        return
    for info in infos:
        found = info.text.partition(",")[0]
        scan = Scan(relative.as_posix(), info.name, modality=found)
        if found != modality:
            scan.objection = f"its modality is {found}"
        elif info.slices < SMALLEST:
            scan.objection = f"{info.slices} slices, fewer than {SMALLEST}"
        yield scan, info.name


def _body(text: str) -> str:
    return "head" if any(word in text.lower() for word in _HEAD_WORDS) else "other"


def _examine(
    scan: Scan,
    path: Path,
    series: str | None,
    kept: Path,
    seen: dict[str, str],
    accept_all: bool,
) -> None:
    """Read a scan, note what speaks against it, and keep its voxels if nothing does."""
    try:
        volume = _read_series(scan, path, series) if series else read_volume(path)[0]
    except SliceInterpolationError as error:
        scan.objection = str(error).rstrip(".")
        return
    found = [scan.objection] * bool(scan.objection)
    if scan.modality == "CT" and volume.units != "HU":
        found.append("its values do not look like HU")
        volume = replace(volume, units="HU")  # as they are taken where all is accepted
    found += objections(volume)
    stack = SliceStack.of(volume.without_padding())
    row_mm, column_mm = stack.pixel
    if max(row_mm, column_mm) > _SQUARE * min(row_mm, column_mm):
        found.append(f"pixels of {row_mm:.3g} x {column_mm:.3g} mm, which are not square")
    voxels = _cropped(whole_hu(stack))
    scan.sha256 = hashlib.sha256(voxels.tobytes()).hexdigest()
    scan.slices, scan.spacing_mm, scan.pixel_mm = len(voxels), round(stack.gap, 6), round(column_mm, 6)
    scan.low, scan.high = (round(one, 3) for one in stack.percentiles)
    scan.source = scan.source or scan.patient
    twin = seen.setdefault(scan.sha256, scan.name)
    if twin != scan.name:
        found.append(f"the same voxels as '{twin}'")
        accept_all = False
    scan.objection = "" if accept_all else "; ".join(found)
    if not scan.objection:
        _write_array(voxels, _array_file(kept, scan))


def _read_series(scan: Scan, folder: Path, series: str) -> Volume:
    """The longest uniform run of a DICOM series; notes the patient, and objects to derived images."""
    from SliceInterpolationLib.dicom import read_series

    found = read_series(folder, series)
    run = max(found.runs, key=lambda one: one.volume.slice_count)
    header = run.header
    identity = str(header.get("PatientID", "") or "") or str(header.get("StudyInstanceUID", ""))
    scan.patient = hashlib.sha256(identity.encode()).hexdigest()[:16]  # tells patients apart and names nobody
    scan.body = _body(f"{header.get('BodyPartExamined', '')} {header.get('StudyDescription', '')}")
    if "DERIVED" in [str(one) for one in header.get("ImageType", [])][:1]:
        scan.objection = "derived from other images"
    return run.volume


def _split(scans: Sequence[Scan], seed: int, validation_part: float) -> None:
    """Patients to training and validation, in an order that depends on the seed and their names alone."""
    if not 0 <= validation_part < 1:
        raise InputError(f"The part for validation must be between 0 and 1, not {validation_part:g}.")
    patients = sorted(
        {scan.patient for scan in scans},
        key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).hexdigest(),
    )
    count = round(validation_part * len(patients))
    if validation_part > 0 and len(patients) > 1:
        count = min(max(count, 1), len(patients) - 1)
    watched = set(patients[:count])
    for scan in scans:
        scan.split = "validation" if scan.patient in watched else "train"


def _cropped(voxels: np.ndarray) -> np.ndarray:
    """The rows and columns of the body with a margin: the rest is air."""
    body = SliceStack(voxels, 1.0, (1.0, 1.0)).body
    if body is None:
        return voxels
    box = [slice(max(one.start - _MARGIN, 0), one.stop + _MARGIN) for one in body]
    return np.ascontiguousarray(voxels[(slice(None), *box)])


def _array_file(kept: Path, scan: Scan) -> Path:
    return kept / f"{scan.sha256[:32]}.npy"


def _write_array(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.save(file, array)
