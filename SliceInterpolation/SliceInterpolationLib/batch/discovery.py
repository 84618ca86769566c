"""Finding studies: in a folder tree, or in a CSV list."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..files import SUFFIXES
from ..files.formats import suffix_of
from ..reports.tables import read_csv

MARKER = "batch.json"
"""A folder with this file is the output of a batch; nothing in it is an input."""
COLUMNS = ("study", "series")
"""What a CSV list must have; `mask` and `series_uid` are taken, too."""

_MASK = re.compile(
    r"(?:(?P<scan>.+?)[-_. ]+)?(?:mask|seg|segmentation|label|labelmap|hematoma|lesion)s?(?:[-_. ]?\d+)?",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f]')
_NOT_IMAGES = {
    "SR",
    "PR",
    "KO",
    "DOC",
    "SEG",
    "RTSTRUCT",
    "RTDOSE",
    "RTPLAN",
    "REG",
    "AU",
    "ECG",
    "FID",
    "RWV",
}
_PREAMBLE = 132


@dataclass(frozen=True)
class Study:
    """One scan with its masks. All paths are absolute.

    name: also the folder of its results, with / between its parts. scan: a file, or a DICOM folder. series: the
    SeriesInstanceUID where that is known. files: the images of a DICOM series found in a tree. masks: labelmaps on
    the grid of the scan.
    """

    name: str
    scan: str
    series: str = ""
    files: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the way to a worker."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Study:
        """The study that `as_dict` gave."""
        return cls(**{**values, "files": tuple(values["files"]), "masks": tuple(values["masks"])})


@dataclass
class _Folder:
    """What lies in one folder: files that may be scans, masks, and images of DICOM series."""

    path: Path
    scans: list[Path] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def discover(source: str | Path, output: str | Path) -> tuple[list[Study], list[str]]:
    """The studies of a folder tree or of a CSV list in the order of their names, and remarks for the user.

    In a tree every volume file is a scan, and every DICOM series of more than one image, wherever its files lie. A file
    called mask, seg, segmentation, label, hematoma or lesion, or `head1-mask` beside a scan `head1`, is a mask of it.
    output: left out, as are outputs of other batches and what begins with a dot.
    Raises InputError where there is nothing, and for a list that cannot be followed.
    """
    source = Path(source)
    if source.is_dir():
        studies, remarks = _in_tree(source, Path(output))
    elif source.suffix.lower() == ".csv":
        studies, remarks = _in_list(source), []
    else:
        raise InputError(
            f"'{source}' is neither a folder nor a .csv list; give the folder of the studies, or a list of them with "
            f"the columns {', '.join(COLUMNS)} and mask."
        )
    if not studies:
        raise InputError(
            f"'{source}' holds no study: no {', '.join(SUFFIXES)} and no DICOM series; choose another folder."
        )
    return sorted(studies, key=lambda study: study.name), remarks


def _in_list(path: Path) -> list[Study]:
    """The studies of a CSV list: study (a name), series (a file or DICOM folder), mask (none, or several by ;)."""
    rows = read_csv(path, COLUMNS)
    base = Path(os.path.abspath(path)).parent
    studies: dict[str, Study] = {}
    for number, row in enumerate(rows, start=2):
        values = {
            key: (value or "").strip() for key, value in row.items() if isinstance(value, (str, type(None)))
        }
        where = f"Line {number} of '{path.name}'"
        if not values["study"] or not values["series"]:
            raise InputError(f"{where} needs a study and a series; complete or remove it.")
        name = PurePosixPath(values["study"].replace("\\", "/")).as_posix()
        _check_name(name, where)
        if name.casefold() in studies:
            raise InputError(f"{where} calls a second study '{name}'; give each a name of its own.")
        masks = [str(base / one.strip()) for one in values.get("mask", "").split(";") if one.strip()]
        studies[name.casefold()] = Study(
            name, str(base / values["series"]), values.get("series_uid", ""), masks=tuple(masks)
        )
    for name, study in studies.items():
        for parent in PurePosixPath(name).parents:
            if str(parent) in studies:
                raise InputError(
                    f"'{path.name}' has a study '{study.name}' within the study '{studies[str(parent)].name}'; "
                    "rename one of them."
                )
    return list(studies.values())


def _check_name(name: str, where: str) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or any(part == ".." or part[0] == "." or part[-1] in ". " for part in parts):
        raise InputError(
            f"{where} has the name '{name}', which no folder of results can have; choose another."
        )
    if _FORBIDDEN.search(name):
        raise InputError(f"{where} has the name '{name}'; use none of < > : \" \\ | ? * in it.")


def _in_tree(root: Path, output: Path) -> tuple[list[Study], list[str]]:
    root = Path(os.path.abspath(root))
    remarks: list[str] = []
    folders = list(_folders(root, output, remarks))
    found: list[tuple[str, str, Study]] = []  # its name, another one where that is taken, and the study
    for folder in folders:
        for path in folder.scans:
            stem = path.name[: -len(suffix_of(path))]
            name = _relative(folder.path / stem, root)
            found.append((name, _relative(path, root), Study(name, str(path))))
    found += _series(folders, root, remarks)
    studies = _named(found)
    return _with_masks(studies, folders, remarks), remarks


def _folders(root: Path, output: Path, remarks: list[str]) -> Iterator[_Folder]:
    failed: list[OSError] = []
    for here, names, files in os.walk(root, onerror=failed.append):
        path = Path(here)
        if MARKER in files or (output.exists() and os.path.samefile(here, output)):
            names.clear()
            continue
        names[:] = sorted(name for name in names if not name.startswith("."))
        folder = _Folder(path)
        for name in sorted(name for name in files if not name.startswith(".")):
            suffix = suffix_of(Path(name))
            if not suffix:
                folder.others.append(path / name)
            elif _MASK.fullmatch(name[: -len(suffix)]):
                folder.masks.append(path / name)
            else:
                folder.scans.append(path / name)
        yield folder
    for error in failed:
        remarks.append(f"The folder '{error.filename}' cannot be opened ({error.strerror}); it is left out.")


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return root.name or "study" if relative == "." else relative


def _series(folders: Iterable[_Folder], root: Path, remarks: list[str]) -> Iterator[tuple[str, str, Study]]:
    """Every DICOM series of more than one image, with its files from whatever folders."""
    files: dict[str, list[Path]] = {}
    frames: dict[str, int] = {}
    for folder in folders:
        for path in folder.others:
            uid, count = _images_in(path)
            if count:
                files.setdefault(uid, []).append(path)
                frames[uid] = frames.get(uid, 0) + count
    single = [uid for uid, count in frames.items() if count < 2]
    if single:
        remarks.append(f"{len(single)} DICOM series of a single image, such as localizers, are left out.")
    for uid in files.keys() - set(single):
        place = Path(os.path.commonpath([path.parent for path in files[uid]]))
        name = _relative(place, root)
        own = tuple(str(path) for path in files[uid])
        other = uid if place == root else f"{name}/{uid}"
        yield name, other, Study(name, str(place), uid, own)


def _images_in(path: Path) -> tuple[str, int]:
    """SeriesInstanceUID and number of images of a DICOM file; 0 where it is none."""
    try:
        with open(path, "rb") as file:
            if file.read(_PREAMBLE)[128:] != b"DICM":
                return "", 0
    except OSError:
        return "", 0
    import pydicom

    tags = ["SeriesInstanceUID", "Modality", "NumberOfFrames", "Rows"]
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        uid = str(header.get("SeriesInstanceUID", "") or "")
        if not uid or header.get("Modality", "") in _NOT_IMAGES or not header.get("Rows"):
            return "", 0
        return uid, int(header.get("NumberOfFrames") or 1)
    except Exception:  # a damaged header may break anything; what reads the series says what is missing
        return "", 0


def _named(found: list[tuple[str, str, Study]]) -> list[Study]:
    """The studies by names that no other has, and that lie in no other."""
    counts = Counter(name.casefold() for name, _, _ in found)
    parents = {str(parent) for name in counts for parent in PurePosixPath(name).parents}
    taken: Counter[str] = Counter()
    studies = []
    for name, other, study in found:
        clashes = counts[name.casefold()] > 1 or name.casefold() in parents
        name = other if clashes else name
        taken[name.casefold()] += 1
        count = taken[name.casefold()]
        studies.append(replace(study, name=name if count == 1 else f"{name}-{count}"))
    return studies


def _with_masks(studies: list[Study], folders: Iterable[_Folder], remarks: list[str]) -> list[Study]:
    """The studies with the masks beside them."""
    files: dict[Path, list[int]] = {}
    series: dict[Path, list[int]] = {}
    for number, study in enumerate(studies):
        path = Path(study.scan)
        if study.files:
            series.setdefault(path, []).append(number)
        else:
            files.setdefault(path.parent, []).append(number)
    masks: dict[int, list[str]] = {}
    lost = []
    for folder in folders:
        own = [(Path(studies[n].scan).name, n) for n in files.get(folder.path, [])]
        stems = [(name[: -len(suffix_of(Path(name)))], n) for name, n in own]
        for path in folder.masks:
            prefix = _MASK.fullmatch(path.name[: -len(suffix_of(path))])["scan"]
            if prefix is None:
                candidates = [[n for _, n in own] + series.get(folder.path, [])]
            else:
                exact = [n for stem, n in stems if stem == prefix]
                longer = [n for stem, n in stems if re.match(re.escape(prefix) + "[-_. ]", stem)]
                candidates = [
                    exact,
                    series.get(folder.path / prefix, []),
                    longer,
                    series.get(folder.path, []),
                ]
            matching = next((one for one in candidates if one), [])
            if len(matching) == 1:
                masks.setdefault(matching[0], []).append(str(path))
            else:
                lost.append(str(path))
    for path in lost:
        remarks.append(
            f"Warning: the mask '{path}' belongs to no single scan; call it as its scan with -mask behind, or give a "
            "CSV list."
        )
    return [replace(study, masks=tuple(masks.get(n, ()))) for n, study in enumerate(studies)]
