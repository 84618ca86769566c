"""How a command is cancelled: by Ctrl-C, by SIGTERM, as desktops do, or with the terminal that it runs in.

Next to nothing is imported here, since this is at work before everything else, whose imports take up to seconds.
"""

from __future__ import annotations

import os
import signal

from .errors import CANCELLED, Cancelled

TYPE_CHECKING = False  # as of typing, which takes longer to import than all else here
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

NOTHING_WRITTEN = "cancelled; nothing was written"
_JSON = f'{{"stage": "error", "done": null, "total": null, "eta_s": null, "message": "{NOTHING_WRITTEN}"}}\n'
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]

_own = False  # whether this process belongs to one command alone
_replaced: dict[int, Any] = {}  # handlers of a process that does not


def at_once(arguments: Sequence[str]) -> None:
    """From now on a cancel ends this process, which belongs to the command alone, at once.

    That is safe while nothing is written. An exception instead could be lost in a library that catches everything,
    as some do during their import. arguments: of the command line, which say whether JSON is wanted.
    """
    global _own
    _own = True
    said = {2: f"slice-interpolation: {NOTHING_WRITTEN}\n"}
    if "--progress=json" in arguments or ("--progress", "json") in zip(arguments, arguments[1:]):
        said[1] = _JSON

    def leave(number: int, frame: object) -> None:
        if os.isatty(2):
            said[2] = "\n" + said[2]  # there may be a bar
        for stream, line in said.items():
            try:
                os.write(stream, line.encode())  # past the buffers, which may be in use
            except OSError:
                pass
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
            raise Cancelled(NOTHING_WRITTEN)

    return check_cancel


def let_go() -> None:
    """After the command: its own process cannot be cancelled any more, any other one is as it was before."""
    global _replaced
    if _own:
        _handle(signal.SIG_IGN)
    for number, handler in _replaced.items() if not _own else ():
        signal.signal(number, handler)
    _replaced = {}


def _handle(handler: Any) -> dict[int, Any]:
    """Put a handler to all signals that mean cancel; returns the previous ones. Only the main thread can."""
    previous: dict[int, Any] = {}
    for number in _SIGNALS:
        before = signal.getsignal(number)
        if number == getattr(signal, "SIGHUP", None) and before == signal.SIG_IGN:
            continue  # nohup: go on when the terminal is closed
        # SIGINT is taken in any case: a process that a shell started in the background has it ignored.
        try:
            signal.signal(number, handler)
        except ValueError:
            break  # not the main thread
        previous[number] = before or signal.SIG_DFL
    return previous
