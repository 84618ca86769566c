"""Reading a DICOM folder as it was acquired: true positions, gantry tilt kept as shear, irregular steps split."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..progress import Progress
from .assembling import BRIDGED, Bridge, read_run, units_of, with_scale
from .choice import choose, describe, praise
from .files import open_image, walk
from .frames import Frame, frames_of
from .geometry import Span, bridged_spans, errors
from .quiet import quiet
from .report import (
    DAMAGED,
    LOCALIZER,
    LONE,
    NO_PLACE,
    NOT_DICOM,
    OTHER_ACQUISITION,
    OTHER_SERIES,
    UNSUITABLE,
    USED,
    FileEntry,
    FolderReport,
    Unusable,
)
from .series import Found, Run
from .stacks import Stack, stacks_of

_WORTH_SAYING_MM = 0.02  # an error of a slice position


@quiet()
def read_series(
    folder: str | Path,
    series: str | None = None,
    bridge: Bridge | None = None,
    progress: Progress | None = None,
) -> Found:
    """Read one series of a folder and what is below it: one run for each stretch of uniformly spaced slices.

    folder: or a single file, of several frames.

    A tilted gantry shows as a step between slices that is not perpendicular to them: it stays in the third column of
    the direction. series: SeriesInstanceUID, or the name that `scan_folder` gives one of several acquisitions in a
    series; by default the thickest axial head CT (see `choice`). bridge: fills single missing slices; without it the
    runs end there. progress: told of the headers of all files, and of the pixels of all slices, that are read.
    Raises InputError where nothing can be interpolated, with the reason.
    """
    survey = scan_folder(Path(folder), progress)
    if not survey.stacks:
        raise InputError(_nothing(survey))
    stack, reasons = choose(survey.stacks, series)
    frames, unknown, remarks = with_scale(stack.frames)
    units = units_of(stack.frames, remarks)
    for frame, reason in unknown:
        survey.leave_out(frame, DAMAGED, reason)
    while True:
        stack = Stack(stack.name, tuple(frames))
        spans = _checked(stack, survey)
        could_bridge = bridged_spans(stack.positions, spans)
        if bridge is not None:
            spans = could_bridge
        runs, failed = [], []
        told = _counted(progress, sum(len(span.members) for span in spans))
        for span in spans:
            run, broken = read_run(frames, span, units, bridge, told)
            runs.append(run)
            failed += broken
        if not failed:
            break
        for frame, error in failed:
            survey.leave_out(frame, error.fate, error.reason)
        broken = {id(frame) for frame, _ in failed}
        frames = [frame for frame in frames if id(frame) not in broken]
    joined = sum(len(span.missing) for span in could_bridge) if bridge is None else 0
    remarks = [
        *_on_choice(survey, stack, reasons, series),
        *remarks,
        *_on_spans(stack, spans, joined),
        *_on_runs(runs),
    ]
    report = _report(survey, stack, spans)
    return Found(tuple(runs), (*report.summary(), *remarks), report)


def _counted(progress: Progress | None, total: int) -> Callable[[], None]:
    """To be called for each slice that is read."""
    done = itertools.count(1)
    return lambda: progress("read", next(done), total) if progress else None


@dataclass
class Survey:
    """What lies in a folder: its stacks, and all files by name with what is known of those that are in none."""

    folder: Path
    stacks: list[Stack] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    out: dict[str, FileEntry] = field(default_factory=dict)
    frames: Counter[str] = field(default_factory=Counter)

    def leave_out(self, frame: Frame, fate: str, reason: str) -> None:
        """Note why a frame is not used; the first reason counts for its file."""
        self.out.setdefault(frame.file, FileEntry(frame.file, fate, reason, frame.series))


def scan_folder(folder: Path, progress: Progress | None = None) -> Survey:
    """Read all headers of a folder and what is below it, and sort them into stacks."""
    survey = Survey(folder)
    frames: list[Frame] = []
    found = list(walk(folder))
    for number, (path, name) in enumerate(found):
        if progress:
            progress("headers", number, len(found))
        survey.names.append(name)
        series = ""
        try:
            image = open_image(path, name)
            series = str(image.header.get("SeriesInstanceUID", "") or "")
            own = list(frames_of(image))
        except Unusable as error:
            survey.out[name] = FileEntry(name, error.fate, error.reason, series)
            continue
        except InputError:
            raise
        except Exception:  # a header that contradicts itself may break anything that looks into it
            survey.out[name] = FileEntry(name, DAMAGED, "its header is damaged", series)
            continue
        frames += own
        survey.frames[name] = len(own)
    survey.stacks = stacks_of(frames, survey.leave_out)
    return survey


@dataclass(frozen=True)
class SeriesInfo:
    """A stack of a folder. name: as --series takes it. reason: why it is not chosen; praise: what for it is."""

    name: str
    text: str
    slices: int
    chosen: bool
    reason: str


@quiet()
def folder_info(
    folder: str | Path, series: str | None = None, progress: Progress | None = None
) -> tuple[list[SeriesInfo], list[str], FolderReport]:
    """What a folder holds, by its headers alone: all stacks, remarks on the one that is chosen, and every file."""
    survey = scan_folder(Path(folder), progress)
    if not survey.stacks:
        return [], [_nothing(survey)], _report(survey, None, [])
    stack, reasons = choose(survey.stacks, series)
    infos = []
    for one in survey.stacks:
        reason = reasons.get(one.name) or (praise(one) if series is None else "asked for")
        infos.append(SeriesInfo(one.name, describe(one), len(one.frames), one is stack, reason))
    try:
        spans = _checked(stack, survey)
    except InputError as error:
        return infos, [str(error)], _report(survey, stack, [])
    joined = sum(len(span.missing) for span in bridged_spans(stack.positions, spans))
    return infos, _on_spans(stack, spans, joined), _report(survey, stack, spans)


def _nothing(survey: Survey) -> str:
    """Why a folder has nothing to read, in a sentence."""
    where = f"{'The folder ' if survey.folder.is_dir() else ''}'{survey.folder.name}'"
    images = [entry for entry in survey.out.values() if entry.fate != NOT_DICOM]
    told = [entry for entry in images if entry.reason]
    if not told:
        return f"{where} holds no DICOM images; choose the folder of one series."
    first = next((one for one in told if one.fate in (NO_PLACE, UNSUITABLE)), told[0])
    more = f" The same or other reasons hold for {len(told) - 1} more." if len(told) > 1 else ""
    return f"{where} holds no DICOM image that can be used. '{first.name}' is left out: {first.reason}.{more}"


def _checked(stack: Stack, survey: Survey) -> list[Span]:
    """The spans of a stack. Raises InputError where there are none."""
    lost = [
        entry for entry in survey.out.values() if entry.series == stack.series and entry.fate != LOCALIZER
    ]
    also = f" '{lost[0].name}' could not be used: {lost[0].reason}." if lost else ""
    alone = "" if survey.folder.is_dir() else " Choose the folder of the series, not a file of it."
    if len(stack.frames) < 2:
        raise InputError(
            f"The series has {'a single slice' if stack.frames else 'no slice'} that can be used; at least 2 are "
            f"needed to interpolate between them.{alone}{also}"
        )
    if stack.repeated:
        number = stack.repeated[0]
        names = " and ".join(f"'{stack.frames[one].file}'" for one in (number - 1, number))
        raise InputError(
            f"Slices {number} and {number + 1} of the series lie at the same position ({names}): two acquisitions "
            "are mixed, and nothing in the headers tells them apart; export one of them alone."
        )
    if not stack.spans:
        low, high = stack.distances.min(), stack.distances.max()
        raise InputError(
            "No two neighboring steps between the slices are alike "
            f"({low:.3g} to {high:.3g} mm), so there is no uniform run to interpolate.{also}"
        )
    return stack.spans


def _on_choice(survey: Survey, stack: Stack, reasons: dict[str, str], series: str | None) -> list[str]:
    others = [one for one in survey.stacks if one.name in reasons and not one.frames[0].is_localizer]
    if not others:
        return []
    if series is not None:
        return []
    told = "; ".join(f"{describe(one)}: {reasons[one.name]}" for one in others[:3])
    more = f"; and {len(others) - 3} more" if len(others) > 3 else ""
    return [
        f"The folder holds {len(others) + 1} series or acquisitions; {praise(stack)} is used ({describe(stack)}), "
        f"not {told}{more}. 'dicom-info' lists them all, --series chooses."
    ]


def _on_spans(stack: Stack, spans: list[Span], bridgeable: int) -> list[str]:
    """Remarks about runs, jumps between them, slices in none of them, and positions that are not quite even."""
    between = np.zeros(len(stack.distances), dtype=bool)
    remarks, used = [], set()
    for span in spans:
        first, last = span.members[0], span.members[-1]
        between[first:last] = True
        used.update(span.members)
        if len(spans) > 1:
            step = abs(float(span.step @ stack.normal))
            remarks.append(f"Slices {first + 1} to {last + 1} follow each other at {step:.4g} mm.")
        error = float(errors(stack.positions, span).max())
        if error > _WORTH_SAYING_MM:
            remarks.append(
                f"The positions of slices {first + 1} to {last + 1} are not quite even; none is off by more than "
                f"{error:.2g} mm."
            )
    for gap in np.flatnonzero(~between):
        remarks.append(
            f"Between slices {gap + 1} and {gap + 2} the stack jumps by {stack.distances[gap]:.4g} mm; "
            "nothing is interpolated there."
        )
    lone = sorted(set(range(len(stack.frames))) - used)
    if lone:
        names = ", ".join(f"{one + 1} ('{stack.frames[one].file}')" for one in lone[:5])
        more = f" and {len(lone) - 5} more" if len(lone) > 5 else ""
        remarks.append(f"In no uniform run, and left out: slice{'s' * (len(lone) > 1)} {names}{more}.")
    if bridgeable:
        remarks.append(
            f"{bridgeable} single slice{'s are' if bridgeable > 1 else ' is'} missing in an otherwise even series; "
            "--bridge synthesizes what is missing."
        )
    return remarks


def _on_runs(runs: list[Run]) -> list[str]:
    return [
        f"Bridged: slice {run.volume.header[BRIDGED].replace(' ', ', ')} was missing in the series and is "
        "synthesized; it is marked so."
        for run in runs
        if BRIDGED in run.volume.header
    ]


def _report(survey: Survey, stack: Stack | None, spans: list[Span]) -> FolderReport:
    if stack is None:
        return FolderReport(tuple(survey.out[name] for name in survey.names))
    used = Counter(stack.frames[number].file for number in {n for span in spans for n in span.members})
    fates = {}
    for number, frame in enumerate(stack.frames):
        if not any(number in span.members for span in spans):
            place = f"slice {number + 1}, {frame.position @ stack.normal:.4g} mm along the stack"
            fates[frame.file] = FileEntry(frame.file, LONE, place, frame.series)
    for other in survey.stacks:
        for frame in other.frames:
            if frame.is_localizer:
                fate = LOCALIZER
            else:
                fate = OTHER_ACQUISITION if frame.series == stack.series else OTHER_SERIES
            fates.setdefault(frame.file, FileEntry(frame.file, fate, describe(other), frame.series))
    entries = []
    for name in survey.names:
        if name in used:
            total = survey.frames[name]
            part = f"{used[name]} of {total} frames" if used[name] < total else ""
            entries.append(FileEntry(name, USED, part, stack.series))
        else:
            entries.append(survey.out.get(name) or fates[name])
    return FolderReport(tuple(entries), stack.series)
