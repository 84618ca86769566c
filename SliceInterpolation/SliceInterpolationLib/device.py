"""Which device the networks run on, and why."""

from __future__ import annotations

import ctypes
import os
import re
from types import ModuleType

from .errors import InputError


def tune_process() -> None:
    """Settings for a process that does nothing but interpolate; call it before torch is imported.

    Waiting threads spin for microseconds, then sleep: where another program holds a core, long spinning took ten
    times the CPU time, and no spinning at all took half as long again on an idle machine. With glibc, freed
    memory stays with the process: the buffers of one slice serve the next, and no page is cleared twice.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # not glibc
    trim_threshold, mmap_threshold = -1, -3
    for option in (trim_threshold, mmap_threshold):
        set_option(option, 1 << 30)


def choose_device(requested: str = "auto", needs_torch: bool = True) -> tuple[str, str]:
    """The torch device to use and the reason in words for the user.

    requested: "auto" (the GPU with the most free memory, else the CPU), "cpu", "cuda" or "cuda:N". Methods that do
    without torch run on the CPU in any case.
    Raises InputError for an unknown name, a GPU that is not there, and where torch is needed and missing.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", requested):
        raise InputError(f"There is no device '{requested}'; use auto, cpu, cuda or cuda:N.")
    if not needs_torch:
        return "cpu", "CPU"
    torch = import_torch()
    if requested == "cpu":
        return "cpu", "CPU, as asked for"
    free = _free_memory(torch)
    if not free:
        if requested == "auto":
            threads = torch.get_num_threads()
            return "cpu", f"CPU with {threads} thread{'s' * (threads != 1)}: {_why_no_gpu(torch)}"
        raise InputError(f"'{requested}' cannot be used: {_why_no_gpu(torch)}. Use --device cpu.")
    number = int(requested[5:]) if ":" in requested else max(free, key=free.get)
    if number not in free:
        raise InputError(f"There is no usable GPU '{requested}'; use cuda:{', cuda:'.join(map(str, free))}.")
    gigabytes = free[number] / 2**30
    return f"cuda:{number}", f"GPU {torch.cuda.get_device_name(number)} with {gigabytes:.1f} GiB free"


def gpus(requested: str = "auto") -> list[int]:
    """The numbers of the GPUs that a device means: all usable ones, or the one that it names."""
    free = sorted(_free_memory(import_torch()))
    return [number for number in free if ":" not in requested or number == int(requested[5:])]


def import_torch() -> ModuleType:
    """PyTorch, which networks and optical flow need; InputError where it cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of its libraries is missing or broken
        raise InputError(
            f"Networks and optical flow need PyTorch, which cannot be used here ({error}); install it "
            "(pip install torch, in Slicer the extension PyTorch), or use linear, cubic, bspline or nearest."
        ) from error
    return torch


def _free_memory(torch: ModuleType) -> dict[int, int]:
    """Free bytes of every GPU that answers, by its number."""
    free = {}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        try:
            free[number] = torch.cuda.mem_get_info(number)[0]
        except RuntimeError:  # taken by another program alone, or its driver does not fit
            continue
    return free


def _why_no_gpu(torch: ModuleType) -> str:
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return "this PyTorch was built without GPU support"
    return "PyTorch finds no usable GPU or driver"
