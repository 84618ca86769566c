"""How much memory this machine has left."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path


def free_memory() -> int | None:
    """Bytes that a program can still take, within the limit of its container; None where the system does not say.

    On macOS, which gives away what it can take back, it is all memory of the machine.
    """
    if sys.platform == "win32":
        return _of_windows()
    if sys.platform != "linux":
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return None
    found = [_available(), *(_left_in_group(group) for group in _control_groups())]
    return min((one for one in found if one is not None), default=None)


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None


def _control_groups() -> list[Path]:
    """Folders of the control groups (version 2) around this process, the innermost first."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    own = next((root / line[4:] for line in lines if line.startswith("0::/")), root)
    return [own, *(parent for parent in own.parents if parent == root or root in parent.parents)]


def _left_in_group(group: Path) -> int | None:
    try:
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        taken = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    cache = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(limit - taken + cache, 0)


def _of_windows() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("rest", ctypes.c_uint64 * 5),
        )

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return status.available
