"""Progress of the command line: a bar for people, JSON lines for programs, or nothing."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Callable, TextIO

Progress = Callable[[str, int, int], None]
"""Called with (stage, slices done, slices in all); it may raise `Cancelled` to stop the work."""

MODES = ("bar", "json", "none")
_BAR_WIDTH = 30


class Reporter:
    """Shows stages and messages in one of `MODES`; an instance is the `Progress` that the library calls.

    JSON lines go to standard output and carry `stage`, `done`, `total`, `eta_s` and `message`; the bar and
    its messages go to standard error, so that results can be piped.
    """

    def __init__(self, mode: str = "bar", out: TextIO | None = None, err: TextIO | None = None):
        self.mode = mode
        self.out, self.err = out or sys.stdout, err or sys.stderr
        self._stage, self._started, self._bar_open = "", 0.0, False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note that `done` of `total` slices of a stage are ready."""
        now = time.monotonic()
        if stage != self._stage or done == 0:
            self._stage, self._started = stage, now
        eta = (now - self._started) / done * (total - done) if done else None
        if self.mode == "json":
            self._json(stage=stage, done=done, total=total, eta_s=None if eta is None else round(eta, 1))
        elif self.mode == "bar" and self.err.isatty():
            filled = _BAR_WIDTH * done // max(total, 1)
            rest = "" if eta is None else f", {eta:.0f} s left"
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            self.err.write(f"\r{stage:<14} [{bar}] {done}/{total}{rest}   ")
            self._bar_open = True
            if done == total:
                self._close_bar()
            self.err.flush()

    def message(self, text: str) -> None:
        """Tell the user something."""
        if self.mode == "json":
            self._json(stage=self._stage or "start", message=text)
        elif self.mode == "bar":
            self._close_bar()
            print(text, file=self.err, flush=True)

    def result(self, paths: list[str], **entries: Any) -> None:
        """The last line: what was written, and figures."""
        if self.mode == "json":
            self._json(stage="result", paths=paths, **entries)
        else:
            self._close_bar()
            for path in paths:
                print(path, file=self.out, flush=True)

    def error(self, text: str) -> None:
        """Say why nothing came of it; errors are told in every mode."""
        self._close_bar()
        if self.mode == "json":
            self._json(stage="error", message=text)
        print(f"slice-interpolation: {text}", file=self.err, flush=True)

    def _json(self, **entries: Any) -> None:
        line = {"stage": None, "done": None, "total": None, "eta_s": None, "message": None, **entries}
        print(json.dumps(line), file=self.out, flush=True)

    def _close_bar(self) -> None:
        if self._bar_open:
            self.err.write("\n")
            self._bar_open = False
