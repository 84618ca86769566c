"""The command line in a process of its own: started, followed, cancelled, and nothing of it left behind.

Exchange goes through one temporary folder: the volumes as uncompressed NRRD, standard output and standard error as
text files. Files instead of pipes need no reader thread (threads of Python starve while the event loop of the
desktop runs) and can never block the process. The event loop polls; everything happens on the main thread.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from SliceInterpolationLib.parent import FOLDER, FOLDER_PREFIX, PARENT, claim, sweep

from ..i18n import _

DONE, REFUSED, FAILED, CANCELLED = "done", "refused", "failed", "cancelled"
POLL_MS = 50
_MODULE_FOLDER = Path(__file__).resolve().parents[2]
_EXIT_STATES = {0: DONE, 2: REFUSED, 3: CANCELLED}


class RunError(RuntimeError):
    """A run that came to nothing; the text says why and what to do."""


@dataclass
class Outcome:
    """How a run ended: its state, what to tell the user, the remarks on the way and the last line of JSON."""

    state: str
    message: str = ""
    remarks: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Run:
    """One process with a temporary folder of its own; both are gone when it is over, however it ends.

    arguments: those of `python -m MODULE`. onProgress gets the dicts of the JSON lines, onFinished the `Outcome`,
    while the folder still exists. launch: as `subprocess.Popen`, for tests.

    Example::

        run = Run(onFinished=print)
        run.start(["models", "--progress", "json"])
        while run.poll():
            time.sleep(0.1)
    """

    def __init__(
        self,
        onProgress: Callable[[dict[str, Any]], None] | None = None,
        onFinished: Callable[[Outcome], None] | None = None,
        root: str | Path | None = None,
        launch: Callable[..., subprocess.Popen] = subprocess.Popen,
    ):
        sweep(Path(root or tempfile.gettempdir()))  # of an application that was killed
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=root))  # for this user's eyes only
        claim(self.folder)
        self.outcome: Outcome | None = None
        self._onProgress, self._onFinished, self._launch = onProgress, onFinished, launch
        self._process: subprocess.Popen | None = None
        self._output = None
        self._partial = b""
        self._lines: list[dict[str, Any]] = []
        self._started = time.monotonic()
        atexit.register(self.cancel)

    def start(self, arguments: Sequence[str], module: str = "SliceInterpolationLib") -> None:
        """Start the process. Raises RunError where that is impossible."""
        self._started = time.monotonic()
        options: dict[str, Any] = {"start_new_session": True}  # so that the whole tree can be ended
        if os.name == "nt":
            options = {"creationflags": subprocess.CREATE_NO_WINDOW}
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        environment.update({PARENT: str(os.getpid()), FOLDER: str(self.folder)})  # it ends with this process
        try:
            with open(self.folder / "stdout.txt", "wb") as out, open(self.folder / "stderr.txt", "wb") as err:
                self._process = self._launch(
                    [pythonExecutable(), "-m", module, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=str(_MODULE_FOLDER),  # where `-m` finds the packages
                    env=environment,
                    **options,
                )
        except OSError as error:
            self._clean()
            raise RunError(
                _("Python cannot be started ({error}); reinstall the application.").format(error=error)
            ) from error
        self._output = open(self.folder / "stdout.txt", "rb")  # noqa: SIM115 (closed in _clean)

    @property
    def running(self) -> bool:
        """True from the start until the outcome is known."""
        return self._process is not None and self.outcome is None

    @property
    def processId(self) -> int | None:
        """Of the process, which is also that of its session; None before it starts."""
        return self._process.pid if self._process is not None else None

    def poll(self) -> bool:
        """Hand on what the process has said; True while it goes on."""
        if not self.running:
            return False
        code = self._process.poll()  # first, so that nothing that was said before the end is missed
        self._read()
        if self.outcome is not None:  # cancelled from within onProgress
            return False
        if code is None:
            return True
        self._finish(self._outcomeOf(code))
        return False

    def wait(self, idle: Callable[[], None] | None = None) -> Outcome:
        """Poll until the end; `idle` is called in between, to keep windows alive."""
        while self.poll():
            if idle is not None:
                idle()
            time.sleep(0.02)
        return self.outcome

    def cancel(self, message: str = "") -> None:
        """End the process with everything that it has started, and remove the folder; harmless when it is over.

        message: told as the outcome, by default that nothing was changed.
        """
        if self.outcome is not None:
            return
        if self._process is not None and self._process.poll() is None:
            endTree(self._process)
        self._finish(Outcome(CANCELLED, message or _("Cancelled; nothing was changed.")))

    def _read(self) -> None:
        *lines, self._partial = (self._partial + self._output.read()).split(b"\n")
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a library that prints
            if not isinstance(entry, dict):
                continue
            self._lines.append(entry)
            if self._onProgress is not None and self.outcome is None:
                self._onProgress(entry)

    def _outcomeOf(self, code: int) -> Outcome:
        remarks = [
            line["message"] for line in self._lines if line.get("message") and line.get("stage") != "error"
        ]
        result = next((line for line in self._lines if line.get("stage") == "result"), {})
        state = _EXIT_STATES.get(code, FAILED)
        if state == DONE and not result:
            state = FAILED
        message = "" if state == DONE else self._errorText(code)
        return Outcome(state, message, remarks, result)

    def _errorText(self, code: int) -> str:
        for line in self._lines:
            if line.get("stage") == "error" and line.get("message"):
                return line["message"]
        if code < 0 or code == 137:
            return _(
                "The process was ended from outside (signal {number}), most often for want of memory: close other "
                "programs, crop the volume, or choose the method linear or cubic."
            ).format(number=-code if code < 0 else 9)
        said = (self.folder / "stderr.txt").read_text(encoding="utf-8", errors="replace").strip()
        return _("The process failed (exit code {code}): {last} Details are in the error log.").format(
            code=code, last=said.splitlines()[-1] if said else _("it said nothing.")
        )

    def _finish(self, outcome: Outcome) -> None:
        outcome.seconds = time.monotonic() - self._started
        self.outcome = outcome
        try:
            if outcome.state == FAILED:
                import logging

                said = self.folder / "stderr.txt"
                logging.error(said.read_text(encoding="utf-8", errors="replace") if said.exists() else "")
            if self._onFinished is not None:
                self._onFinished(outcome)
        finally:
            self._clean()

    def _clean(self) -> None:
        atexit.unregister(self.cancel)
        if self._output is not None:
            self._output.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def endTree(process: subprocess.Popen) -> None:
    """End a process and all that it has started, at once, and wait until it is gone."""
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(process.pid)],
            capture_output=True,
            creationflags=subprocess.CREATE_NO_WINDOW,
            check=False,
        )
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait(timeout=10)


def pythonExecutable() -> str:
    """The Python of the application: PythonSlicer in the desktop, else the one that runs this."""
    return shutil.which("PythonSlicer") or sys.executable
