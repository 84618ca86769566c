"""The process that runs one command: how it ends, what it says then, and how it is cancelled.

Standard library only: this is at work before NumPy, SimpleITK and torch, whose imports take seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from typing import Any, Callable

from .device import tune_process
from .errors import Cancelled, InputError, SliceInterpolationError
from .parent import end_with_parent
from .progress import Reporter

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 3
"""Exit codes."""

DEBUG = "SLICE_INTERPOLATION_DEBUG"
"""Environment variable: where it is set, an error comes with its traceback, and warnings of libraries are shown."""

_NOTHING_WRITTEN = "cancelled; nothing was written"
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]
_own = False  # whether this process belongs to one command alone
_replaced: dict[int, Any] = {}  # handlers of a process that does not


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
        code, sentence = _explain(error)
    _let_go()
    if sentence:
        reporter.error(sentence)
    return code


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence for an exception."""
    if isinstance(error, InputError):
        return BAD_INPUT, str(error)
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return CANCELLED, str(error) or _NOTHING_WRITTEN
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


def begin(reporter: Reporter) -> None:
    """Make this process one that runs a single command, before anything else. InputError for a bad setting."""
    global _own
    _own = True
    _cancel_at_once(reporter)
    _open_closed_streams()
    tune_process()
    if not os.environ.get(DEBUG):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    end_with_parent(CANCELLED)


def end() -> None:
    """The last thing it does: what is left for Python to do can neither fail nor be cancelled."""
    _handle(signal.SIG_IGN)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # what cannot be written must not fail again


def _cancel_at_once(reporter: Reporter) -> None:
    """From now on Ctrl-C, a desktop's cancel or a closed terminal ends the process at once.

    That is safe while nothing is written. An exception instead could be lost in a library that catches everything,
    as some do during their import.
    """

    def leave(number: int, frame: object) -> None:
        reporter.last_words(_NOTHING_WRITTEN)
        os._exit(CANCELLED)

    _handle(leave)


def hold_cancel() -> Callable[[], None]:
    """From now on until the command ends a cancel is held back: it writes, and never leaves half of it.

    Returns a function that raises `Cancelled` where a cancel has come; call it as long as all can be taken back.
    After that a cancel comes too late and changes nothing.
    """
    global _replaced
    came: list[int] = []
    replaced = _handle(lambda number, frame: came.append(number))
    _replaced = _replaced or replaced

    def check_cancel() -> None:
        if came:
            raise Cancelled(_NOTHING_WRITTEN)

    return check_cancel


def _let_go() -> None:
    """After the command: its own process cannot be cancelled any more, any other one is as it was before."""
    global _replaced
    if _own:
        _handle(signal.SIG_IGN)
    else:
        for number, handler in _replaced.items():
            signal.signal(number, handler)
    _replaced = {}


def _handle(handler: Any) -> dict[int, Any]:
    """Put a handler to all signals that mean cancel; returns the previous ones. Only the main thread can."""
    previous: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        return previous
    for number in _SIGNALS:
        before = signal.getsignal(number)
        if number == getattr(signal, "SIGHUP", None) and before == signal.SIG_IGN:
            continue  # nohup: go on when the terminal is closed
        # SIGINT is taken in any case: a process that a shell started in the background has it ignored.
        previous[number] = before or signal.SIG_DFL
        signal.signal(number, handler)
    return previous


def _open_closed_streams() -> None:
    """Where a shell has closed a standard stream (`>&-`), the next file that is opened would be taken for it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
