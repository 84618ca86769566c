"""The process that runs one command: how it begins, how it ends, and what it says then.

Standard library only: this is at work before NumPy, SimpleITK and torch, whose imports take seconds.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from typing import Callable

from .cancel import NOTHING_WRITTEN, let_go
from .device import tune_process
from .errors import (
    BAD_INPUT,
    CANCELLED,
    DONE,
    FAILED,
    Cancelled,
    InputError,
    SliceInterpolationError,
)
from .parent import end_with_parent
from .progress import Reporter

DEBUG = "SLICE_INTERPOLATION_DEBUG"
"""Environment variable: where it is set, an error comes with its traceback, and warnings of libraries are shown."""


def run(command: Callable[[], None], reporter: Reporter) -> int:
    """Run a command; returns the exit code. Whatever it raises is told in one sentence."""
    code, sentence = DONE, ""
    try:
        command()
    except SystemExit as leaving:  # argparse has shown the help or the version
        code = int(leaving.code or DONE)
    except BaseException as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        code, sentence = explain(error)
    let_go()
    if sentence:
        reporter.error(sentence)
    return code


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence for the user, for whatever has stopped a work."""
    if isinstance(error, InputError):
        return BAD_INPUT, str(error)
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return CANCELLED, str(error) or NOTHING_WRITTEN
    if isinstance(error, SliceInterpolationError):
        return FAILED, str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "alloc" in str(error).lower()):
        return FAILED, "the memory of this machine is used up; close other programs or crop the volume"
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return FAILED, f"{reason}: {error.filename}" if error.filename else reason
    if isinstance(error, ModuleNotFoundError) and error.name:
        return FAILED, f"the Python package '{error.name.split('.')[0]}' is missing; install it with pip"
    return FAILED, (
        f"internal error: {type(error).__name__}: {error}; please report it ({DEBUG}=1 in the environment shows "
        "where it happened)"
    )


def begin() -> None:
    """Make this process one that runs a single command, before anything else. InputError for a bad setting."""
    _open_closed_streams()
    tune_process()
    if not os.environ.get(DEBUG):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    end_with_parent(CANCELLED)


def end() -> None:
    """The last thing it does: what is left for Python to do cannot fail."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # what cannot be written must not fail again


def _open_closed_streams() -> None:
    """Where a shell has closed a standard stream (`>&-`), the next file that is opened would be taken for it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
