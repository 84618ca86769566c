"""Which device the networks run on, and why."""

from __future__ import annotations

import ctypes
import os

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


def choose_device(requested: str = "auto") -> tuple[str, str]:
    """The torch device to use and the reason in words for the user.

    requested: "auto" (the GPU with the most free memory, else the CPU), "cpu", "cuda" or "cuda:N".
    Raises InputError for an unknown name or a GPU that is not there.
    """
    import torch

    if requested == "cpu":
        return "cpu", "CPU, as asked for"
    if requested != "auto" and requested.split(":")[0] != "cuda":
        raise InputError(f"There is no device '{requested}'; use auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        if requested == "auto":
            return "cpu", f"CPU with {torch.get_num_threads()} threads: {_why_no_gpu(torch)}"
        raise InputError(f"'{requested}' cannot be used: {_why_no_gpu(torch)}. Use --device cpu.")
    free = {number: torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())}
    if ":" in requested:
        suffix = requested.split(":")[1]
        if not suffix.isdigit() or int(suffix) not in free:
            raise InputError(f"There is no GPU '{requested}'; this machine has {len(free)} (cuda:0 to ...).")
        number = int(suffix)
    else:
        number = max(free, key=free.get)
    gigabytes = free[number] / 2**30
    return f"cuda:{number}", f"GPU {torch.cuda.get_device_name(number)} with {gigabytes:.1f} GiB free"


def _why_no_gpu(torch) -> str:
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return "this PyTorch was built without GPU support"
    return "PyTorch finds no usable GPU or driver"
