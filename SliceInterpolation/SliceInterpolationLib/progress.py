"""Progress and answers of the command line: a bar for people, JSON lines for programs, or no progress at all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable, TextIO

from .errors import SliceInterpolationError
from .plain import plain

Progress = Callable[[str, int, int], None]
"""Called with (stage, slices done, slices in all); it may raise `Cancelled` to stop the work."""

MODES = ("bar", "json", "none")
_BAR_WIDTH = 30
_KEPT = 5 / 6


class Pace:
    """Seconds left of a stage by the speed of its latest slices, so that a change of speed is noticed.

    The seconds a slice are averaged exponentially: each slice counts 1/6 less than the one after it.
    slice_s: seconds a slice as known from elsewhere, 0 where it is not; it counts as the time of earlier slices.

    Example::

        pace = Pace()
        pace.left(0, 10, now=0.0)  # None: nothing is known yet
        pace.left(1, 10, now=2.0)  # 18.0
    """

    def __init__(self, slice_s: float = 0.0):
        self._slice_s, self._weight = slice_s, 1.0 if slice_s > 0 else 0.0
        self._done, self._now = 0, 0.0

    def left(self, done: int, total: int, now: float) -> float | None:
        """Seconds left at a time in seconds, when `done` of `total` slices are ready; None where nothing is known."""
        more = done - self._done
        if more > 0:
            kept = _KEPT**more
            self._slice_s = kept * self._slice_s + (1 - kept) * (now - self._now) / more
            self._weight = kept * self._weight + (1 - kept)
        if more or done == 0:
            self._done, self._now = done, now
        return self._slice_s / self._weight * (total - done) if self._weight else None


class Reporter:
    """Shows stages, messages and answers in one of `MODES`; an instance is the `Progress` that the library calls.

    What was asked for (the answer, paths) goes to standard output, what is said on the way (the bar, remarks) to
    standard error, so that results can be piped. In the mode "json" all of it goes to standard output as JSON lines
    with `stage`, `done`, `total`, `eta_s` and `message`. The mode "none" silences the progress only.
    """

    def __init__(self, mode: str = "bar", out: TextIO | None = None, err: TextIO | None = None):
        self.mode = mode
        self.out, self.err = out or sys.stdout, err or sys.stderr
        self._stage, self._pace, self._bar_open = "", Pace(), False

    @classmethod
    def of_arguments(cls, arguments: Sequence[str]) -> Reporter:
        """The reporter that arguments of the command line ask for, before they are parsed, and if they cannot be."""
        asked = [a.partition("=")[2] for a in arguments if a.startswith("--progress=")]
        asked += [value for flag, value in zip(arguments, arguments[1:]) if flag == "--progress"]
        return cls(asked[-1] if asked and asked[-1] in MODES else MODES[0])

    def __call__(
        self, stage: str, done: int, total: int, *, eta_s: float | None = None, note: str = "", **entries: Any
    ) -> None:
        """Note that `done` of `total` slices of a stage are ready.

        eta_s: seconds left, where the caller knows better. note: said beside the bar. entries: for the mode "json".
        """
        if stage != self._stage or done == 0:
            self._stage, self._pace = stage, Pace()
            self._pace.left(0, total, time.monotonic())
        eta = self._pace.left(done, total, time.monotonic()) if eta_s is None else eta_s
        if self.mode == "json":
            left = None if eta is None else round(eta, 1)
            self._json(stage=stage, done=done, total=total, eta_s=left, message=note or None, **entries)
        elif self.mode == "bar" and self.err is not None and self.err.isatty():
            filled = _BAR_WIDTH * done // max(total, 1)
            rest = "" if eta is None else f", {eta:.0f} s left"
            rest += f", {note}" if note else ""
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            _aside(f"\r{stage:<14} [{bar}] {done}/{total}{rest}   ", self.err)
            self._bar_open = True
            if done == total:
                self._close_bar()

    def message(self, text: str) -> None:
        """Tell the user something about the work."""
        if self.mode == "json":
            self._json(stage=self._stage or "start", message=text)
        else:
            self._close_bar()
            _aside(text + "\n", self.err)

    def result(self, paths: Iterable[str | Path] = (), answer: str = "", **entries: Any) -> None:
        """The last lines: the answer in words, what was written, and in the mode "json" further entries."""
        said = [str(path) for path in paths]
        try:
            if self.mode == "json":
                self._json(stage="result", message=answer or None, paths=said, **entries)
            else:
                self._close_bar()
                for line in [answer] * bool(answer) + said:
                    self._say(line)
        except SliceInterpolationError as error:
            if not said:
                raise
            raise SliceInterpolationError(f"{error} All files are complete: {', '.join(said)}.") from error

    def error(self, text: str) -> None:
        """Say in one line why nothing came of it; errors are told in every mode."""
        self._close_bar()
        text = " ".join(text.split())
        if self.mode == "json":
            try:
                self._json(stage="error", message=text)
            except SliceInterpolationError:
                pass  # standard error is left
        _aside(f"slice-interpolation: {text}\n", self.err)

    def _json(self, **entries: Any) -> None:
        self._say(_line(**entries)[:-1])

    def _say(self, text: str) -> None:
        """A line on standard output; a closed one is as good as the null device. Raises SliceInterpolationError."""
        try:
            if self.out is not None:
                self.out.write(_printable(text + "\n", self.out))
                self.out.flush()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SliceInterpolationError(f"Standard output cannot be written ({reason}).") from error

    def _close_bar(self) -> None:
        if self._bar_open:
            _aside("\n", self.err)
            self._bar_open = False


def _line(**entries: Any) -> str:
    line = {"stage": None, "done": None, "total": None, "eta_s": None, "message": None, **entries}
    return json.dumps(plain(line), allow_nan=False) + "\n"


def _aside(text: str, stream: TextIO | None) -> None:
    """Text on standard error, as far as anybody listens there."""
    try:
        if stream is not None:
            stream.write(_printable(text, stream))
            stream.flush()
    except (OSError, ValueError):
        pass


def _printable(text: str, stream: TextIO) -> str:
    """The text with escapes for what the encoding of the stream does not know, as in names of files."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
