"""The output folder of a batch: what is finished, what was left by a run that was killed, and who is at work there."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError, OutputError
from ..files import Outputs
from ..reports.tables import is_shaped, read_json
from .discovery import MARKER
from .settings import Settings

STUDIES = "studies"
UNFINISHED = ".unfinished"
RECORD = "study.json"
_LOCK = ".lock"
_FULL = {errno.ENOSPC, errno.EROFS, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}
_SHAPE = {"name": str, "key": str, "rows": [{"study": str, "run": int}], "files": {str: int}}


def why_full(error: BaseException) -> str:
    """Why the disk takes nothing more, of any study; "" where the error is not about that."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause.strerror if isinstance(cause, OSError) and cause.errno in _FULL else ""


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a finished study; None where there is none that a batch has written."""
    try:
        record = read_json(folder / RECORD)
    except InputError:
        return None
    return record if is_shaped(record, _SHAPE) else None


def read_records(root: Path) -> Iterator[dict[str, Any]]:
    """The records of all finished studies in an output folder."""
    for here, names, files in os.walk(root / STUDIES):
        names.sort()
        if RECORD in files:
            record = read_record(Path(here))
            if record is not None:
                yield record


class Ledger:
    """The output folder while a batch works in it; as a context it is locked against a second one.

    Entering makes the folder and removes what a killed run left unfinished. Raises InputError for a folder of other
    settings or of something else, and where another batch is at work; OutputError where nothing can be written.
    """

    def __init__(self, root: Path, settings: Settings):
        self.root, self.settings = root, settings
        self._lock: BinaryIO | None = None

    def check(self) -> bool:
        """Whether a batch of these settings has been here; nothing is changed. Raises as entering does."""
        path = self.root / MARKER
        if not path.exists():
            if self.root.is_dir() and any(entry.name != _LOCK for entry in os.scandir(self.root)):
                raise InputError(
                    f"'{self.root}' holds something that no batch has made; choose an empty folder or a new one."
                )
            return False
        held = read_json(path)
        identity = held.get("settings") if isinstance(held, dict) else None
        if not isinstance(identity, dict):
            raise InputError(f"'{path}' is damaged; choose another output folder.")
        own = json.loads(json.dumps(self.settings.identity))
        other = [key for key in sorted(own.keys() | identity.keys()) if own.get(key) != identity.get(key)]
        if other:
            told = "; ".join(
                f"{key.replace('_', ' ')} {_said(identity.get(key))}, not {_said(own.get(key))}"
                for key in other
            )
            raise InputError(
                f"'{self.root}' holds a batch of other settings ({told}); nothing is overwritten, so choose another "
                "output folder."
            )
        return True

    def __enter__(self) -> Ledger:
        with Outputs() as outputs:
            outputs.check_folder(self.root, (MARKER,))
        known = self.check()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._take()
            self.sweep()
        except OSError as error:
            self.__exit__()
            raise OutputError(
                f"'{self.root}' cannot be written ({error.strerror or error}); choose another place."
            ) from error
        if not known:
            with Outputs() as outputs:
                outputs.text(
                    self.root / MARKER, json.dumps({"settings": self.settings.identity}, indent=1) + "\n"
                )
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self.sweep()
            self._lock.close()
            self._lock = None

    def sweep(self) -> None:
        """Remove what is unfinished; work that is still at it stops there."""
        shutil.rmtree(self.root / UNFINISHED, ignore_errors=True)

    def _take(self) -> None:
        """Lock the folder; the system lets go of it whatever ends this process."""
        lock = open(self.root / _LOCK, "ab")  # noqa: SIM115  held until the end
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                lock.close()
                raise InputError(
                    f"Another batch is at work in '{self.root}'; wait for it or choose another output folder."
                ) from error
            with suppress(OSError):  # a file system without locks
                lock.flush()
        self._lock = lock


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else f"'{value}'"
