"""What became of every file of a folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

USED = "used"
COPY = "copied"
OTHER_SERIES = "of another series"
OTHER_ACQUISITION = "of another acquisition in the same series"
LOCALIZER = "of a localizer"
LONE = "in no uniform run"
DAMAGED = "damaged"
UNREADABLE = "that cannot be read"
NO_PLACE = "without a place in the patient"
UNSUITABLE = "that hold no stack of gray images"
NO_IMAGE = "DICOM without an image"
NOT_DICOM = "not DICOM"
SPECIAL = "not regular files"

LOST = (LONE, DAMAGED, UNREADABLE, SPECIAL, NO_PLACE, UNSUITABLE)
"""Fates of files that may have belonged to the series: these are named, in this order; the others only counted."""

_NAMED = 5


class Unusable(Exception):
    """A file, or what it holds, cannot be used: its fate and the reason in words. It never leaves this package."""

    def __init__(self, fate: str, reason: str):
        super().__init__(reason)
        self.fate, self.reason = fate, reason


@dataclass(frozen=True)
class FileEntry:
    """A file of the folder. name: its path in the folder. series: SeriesInstanceUID, "" where it is not known."""

    name: str
    fate: str
    reason: str = ""
    series: str = ""


@dataclass(frozen=True)
class FolderReport:
    """Every file of a folder by name, and what became of it. series: the SeriesInstanceUID that was read."""

    entries: tuple[FileEntry, ...]
    series: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many files met each fate."""
        return dict(Counter(entry.fate for entry in self.entries))

    @property
    def lost(self) -> list[FileEntry]:
        """The files that may have belonged to the series, and are not used."""
        own = [entry for entry in self.entries if entry.series in ("", self.series)]
        return [entry for fate in LOST for entry in own if entry.fate == fate]

    def summary(self) -> list[str]:
        """Sentences for the console: counts, and what is lost by name. Nothing where all files are used."""
        counts = self.counts
        used = counts.pop(USED, 0)
        if not counts:
            return []
        rest = ", ".join(f"{count} {fate}" for fate, count in counts.items())
        lines = [f"Of {len(self.entries)} files {used} are used; {rest}."]
        lost = [entry for entry in self.lost if entry.fate != LONE]  # of a lone slice the run tells
        lines += [f"'{entry.name}' is left out: {entry.reason}." for entry in lost[:_NAMED]]
        if len(lost) > _NAMED:
            lines.append(
                f"{len(lost) - _NAMED} more files are left out; 'dicom-info' lists all with reasons."
            )
        return lines

    def table(self) -> list[str]:
        """A line a file, those with the same fate together."""
        return [
            f"{entry.name}: {entry.fate}{f' ({entry.reason})' if entry.reason else ''}"
            for fate in self.counts
            for entry in self.entries
            if entry.fate == fate
        ]
