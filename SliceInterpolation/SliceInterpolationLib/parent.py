"""A process that works for another one, such as the desktop, ends with it, whatever ended that."""

from __future__ import annotations

import ctypes
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Callable

from .errors import InputError

PARENT = "SLICE_INTERPOLATION_PARENT"
"""Environment variable: the number of the process for which this one works."""
FOLDER = "SLICE_INTERPOLATION_FOLDER"
"""Environment variable: the folder for the exchange of files, which is removed when that process is gone."""
FOLDER_PREFIX = "SliceInterpolation-"
"""How the name of such a folder begins; no other is ever removed."""

_POLL_S = 0.5
_OWNER_FILE = "owner.txt"
_ORPHAN_S = 24 * 3600.0
"""A folder that does not say whose it is is left alone for so long."""


def end_with_parent(exit_code: int) -> None:
    """Watch the process that `PARENT` names, if any; once it is gone remove `FOLDER` and leave at once.

    Raises InputError where the variables make no sense.
    """
    parent, folder = os.environ.get(PARENT, ""), os.environ.get(FOLDER, "")
    if not parent:
        return
    if not (parent.isascii() and parent.isdigit() and len(parent) < 10):
        raise InputError(f"{PARENT} must be the number of a process, not '{parent}'.")
    if folder and not Path(folder).name.startswith(FOLDER_PREFIX):
        raise InputError(f"{FOLDER} must be a folder called {FOLDER_PREFIX}..., not '{folder}'.")
    wait = _waiter(int(parent))

    def watch() -> None:
        wait()
        for _ in range(5):  # other threads may still be writing there
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        os._exit(exit_code)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def claim(folder: Path) -> None:
    """Note in an exchange folder that it belongs to this process, for `sweep`."""
    number = os.getpid()
    (folder / _OWNER_FILE).write_text(f"{number} {_birth(number)}", encoding="ascii")


def sweep(root: Path) -> list[Path]:
    """Remove the exchange folders below `root` whose processes are gone, and return them.

    They hold scans of patients. Folders of other names, and of processes that live, are never touched.
    """
    removed = []
    for folder in root.glob(FOLDER_PREFIX + "*"):
        if folder.is_symlink() or not folder.is_dir() or _in_use(folder):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            removed.append(folder)
    return removed


def _in_use(folder: Path) -> bool:
    try:
        number, birth = (folder / _OWNER_FILE).read_text(encoding="ascii").split(" ", 1)
        return _birth(int(number)) == birth
    except (OSError, ValueError):
        pass
    try:
        return time.time() - folder.stat().st_mtime < _ORPHAN_S
    except OSError:
        return True


def _waiter(number: int) -> Callable[[], None]:
    """A function that returns when a process is gone; whether it is there is looked up now."""
    if os.name == "nt":
        synchronize, infinite = 0x00100000, 0xFFFFFFFF
        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(synchronize, False, number)
        if not handle:
            return lambda: None
        return lambda: kernel.WaitForSingleObject(ctypes.c_void_p(handle), infinite)
    birth = _birth(number)

    def wait() -> None:
        # Not os.getppid(): between the two processes there may be a launcher, as PythonSlicer is one.
        while birth is not None and _birth(number) == birth:
            time.sleep(_POLL_S)

    return wait


def _birth(number: int) -> str | None:
    """What tells a process from a later one of the same number, as far as the system says; None: it is gone."""
    if os.name == "nt":  # os.kill would end it there
        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = kernel.OpenProcess(0x00100000, False, number)
        if not handle:
            return None
        still_there = kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) == 258
        kernel.CloseHandle(ctypes.c_void_p(handle))
        return "there" if still_there else None
    try:
        state, *rest = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]  # the time it started at
    except (OSError, IndexError):
        pass  # gone, or a system without /proc
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "there"
