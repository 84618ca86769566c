"""The section Batch: a folder of scans, the table of its studies as it fills, and each of them to look at."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from typing import Any, Callable

import qt
import slicer

from SliceInterpolationLib.batch.command import INDEX, TABLE
from SliceInterpolationLib.batch.discovery import MARKER
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.reports.tables import read_csv
from SliceInterpolationLib.request import Request

from ..i18n import _
from ..run.process import CANCELLED, DONE, POLL_MS, Outcome, Run
from ..run.words import formatSeconds, inPanelWords
from .labels import LineKeeper, say

STUDY, STATE, SLICES, GAIN, BEFORE, AFTER, WHY = range(7)
_STOP_S = 20.0
"""How long a batch may take to stop by itself, before its processes are ended."""


_FITTED = 20
"""Columns get the width of so many rows; with more it would take long."""


class BatchSection:
    """What the section does; its widgets are `ui`.

    place: the widget whose layout gets the section. path: of its .ui file. request: gives what is chosen in the panel.
    open: shows a scan and its result, which are nodes.
    """

    def __init__(
        self, place, path: str, request: Callable[[], Request], open: Callable[[Any, Any], None]
    ) -> None:
        widget = slicer.util.loadUI(path)
        place.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self._request, self._open = request, open
        self._items: dict[tuple[str, int], list[Any]] = {}  # the table does not keep them alive everywhere
        self._run: Run | None = None
        self._timer = None
        self._stopAt: float | None = None
        ui = self.ui
        self._lineKeeper = LineKeeper()
        self._lineKeeper.watch(ui.batchStatusLabel)
        ui.batchInputButton.connect(
            "clicked(bool)", lambda checked=False: self._choose(ui.batchInputLineEdit)
        )
        ui.batchOutputButton.connect(
            "clicked(bool)", lambda checked=False: self._choose(ui.batchOutputLineEdit)
        )
        ui.batchInputLineEdit.connect("textChanged(QString)", self.update)
        ui.batchOutputLineEdit.connect("textChanged(QString)", self.onOutputChanged)
        ui.batchStartButton.connect("clicked(bool)", self.onStartButton)
        ui.batchIndexButton.connect("clicked(bool)", self.onIndexButton)
        ui.batchTable.connect("cellDoubleClicked(int,int)", self.onDoubleClick)
        say(ui.batchStatusLabel, "")
        self.update()

    def cleanup(self) -> None:
        """The panel goes; so does the batch, which can be gone on with."""
        if self._run is not None:
            self._run.cancel()

    @property
    def running(self) -> bool:
        """True while a batch is under way."""
        return self._run is not None and self._run.running

    # What the section says

    def update(self, *_arguments) -> None:
        """Bring buttons and tool tips up to date."""
        ui, output = self.ui, self._output
        button = ui.batchStartButton
        if self.running:
            stopping = self._stopAt is not None
            button.enabled = not stopping
            button.text = _("Stopping...") if stopping else _("Stop")
            button.toolTip = _("End the batch; what is finished stays, and it can be gone on with.")
        else:
            isKnown = output is not None and (output / MARKER).is_file()
            problem = self._problem()
            button.enabled = not problem
            button.text = _("Resume") if isKnown else _("Start")
            button.toolTip = problem or _(
                "Interpolate all scans by the method and the options chosen above. Finished ones are not done again."
            )
        for name in ("batchInputLineEdit", "batchInputButton", "batchOutputLineEdit", "batchOutputButton"):
            getattr(ui, name).enabled = not self.running
        ui.batchProgressBar.visible = self.running
        hasIndex = output is not None and (output / INDEX).is_file()
        ui.batchIndexButton.enabled = hasIndex
        ui.batchIndexButton.toolTip = (
            _("Show it in the browser, the worst studies first.") if hasIndex else _("There is none yet.")
        )

    @property
    def _output(self) -> Path | None:
        text = self.ui.batchOutputLineEdit.text.strip()
        return Path(text) if text else None

    def _problem(self) -> str:
        if not self.ui.batchInputLineEdit.text.strip():
            return _("Choose the folder of the scans first.")
        if self._output is None:
            return _("Choose a folder for the results first.")
        return ""

    def _showRows(self, rows: list[dict[str, Any]]) -> None:
        """Add rows of the table of results, or bring them up to date."""
        table = self.ui.batchTable
        table.sortingEnabled = False  # else rows would move while they are filled
        for row in rows:
            key = str(row["study"]), int(row["run"])
            self.rows[key] = row
            if key not in self._items:
                number = table.rowCount
                table.insertRow(number)
                self._items[key] = [qt.QTableWidgetItem() for _column in range(table.columnCount)]
                for column, item in enumerate(self._items[key]):
                    table.setItem(number, column, item)
            for item, value in zip(self._items[key], _cells(row)):
                item.setData(qt.Qt.DisplayRole, value)  # numbers, so that they are sorted as such
            self._items[key][WHY].setToolTip(_cells(row)[WHY])
        table.sortingEnabled = True
        if len(self.rows) <= _FITTED:
            for column in range(WHY):
                table.resizeColumnToContents(column)

    def _clear(self) -> None:
        self.ui.batchTable.rowCount = 0
        self.rows.clear()
        self._items.clear()

    # What the user does

    def _choose(self, lineEdit) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Choose a folder"), lineEdit.text)
        if folder:
            lineEdit.text = folder

    def onOutputChanged(self, *_arguments) -> None:
        """Show what an earlier batch has left there."""
        self._clear()
        output = self._output
        if output is not None and (output / MARKER).is_file() and (output / TABLE).is_file():
            with slicer.util.tryWithErrorDisplay(_("The table of this batch cannot be shown.")):
                self._showRows(read_csv(output / TABLE, ("study", "run", "status", "result")))
        self.update()

    def onIndexButton(self, checked: bool = False) -> None:
        """Show the page of all studies in the browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._output / INDEX)))

    def onStartButton(self, checked: bool = False) -> None:
        """Start the batch, or go on with it; stop it while it goes on."""
        if self.running:
            self.stop()
            return
        with slicer.util.tryWithErrorDisplay(_("The batch did not start.")):
            self.start()
        self.update()

    def start(self) -> None:
        """Start the process. Raises RunError, or DependencyError where a package is missing."""
        from ..run.dependencies import ensureBatchPackages, ensureTorch, needsTorch
        from ..run.jobs import temporaryRoot

        request = self._request()
        if needsTorch(request.method):
            ensureTorch()
        ensureBatchPackages()
        self._clear()
        self._stopAt = None
        self._run = Run(self._onProgress, self._onFinished, temporaryRoot())
        self._run.start(
            [
                "batch",
                os.path.abspath(self.ui.batchInputLineEdit.text.strip()),
                os.path.abspath(self._output),
                *request.to_arguments(),
                *("--dashboard", "none", "--progress", "json"),
            ]
        )
        self.ui.batchProgressBar.maximum = 0  # busy
        say(self.ui.batchStatusLabel, _("Looking for scans..."))
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._timer.start()

    def stop(self) -> None:
        """Let the batch write its table and end; where it does not do so in time it is ended."""
        if os.name == "nt":
            self._run.cancel(_stopped())
            return
        self._stopAt = time.monotonic() + _STOP_S
        try:
            os.killpg(self._run.processId, signal.SIGTERM)
        except ProcessLookupError:
            pass  # just over
        self.update()

    def onDoubleClick(self, row: int, column: int = 0) -> None:
        """Load a study with its result, and compare them."""
        key = next(key for key, items in self._items.items() if items[STUDY].row() == row)
        with slicer.util.tryWithErrorDisplay(_("The study cannot be shown."), waitCursor=True):
            self._open(*self._load(self.rows[key]))

    def _load(self, row: dict[str, Any]) -> tuple[Any, Any]:
        """Nodes of the scan and of its result. Raises InputError where there is none, or the files are gone."""
        from SliceInterpolationLib.files import read_volume, read_volumes

        from ..nodes import nodeFromVolume
        from ..run.jobs import addedNodesRemovedOnError

        if row["status"] != "done":
            raise InputError(_("It failed: {reason}").format(reason=inPanelWords(row["reason"] or "")))
        volumes, _remarks = read_volumes(row["scan"], row["series_uid"] or None)
        result, _remarks = read_volume(self._output / row["result"])
        name = row["study"].replace("/", " ")
        with addedNodesRemovedOnError():
            scanNode = nodeFromVolume(volumes[int(row["run"]) - 1], name)
            title = _("{name} interpolated").format(name=name)
            return scanNode, nodeFromVolume(result, title, scanNode)

    # What the process says

    def _poll(self) -> None:
        self._run.poll()
        if self._stopAt is not None and self.running and time.monotonic() > self._stopAt:
            self._run.cancel(_stopped())

    def _onProgress(self, entry: dict[str, Any]) -> None:
        if entry.get("rows"):
            self._showRows(entry["rows"])
        if entry.get("done") is None:
            return
        bar = self.ui.batchProgressBar
        bar.maximum, bar.value = max(entry["total"], 1), entry["done"]
        parts = [_("{done} of {total} studies").format(done=entry["done"], total=entry["total"])]
        if entry.get("message"):
            parts.append(entry["message"])
        if entry.get("eta_s"):
            parts.append(_("about {time} left").format(time=formatSeconds(entry["eta_s"])))
        if self._stopAt is None:
            say(self.ui.batchStatusLabel, ", ".join(parts))

    def _onFinished(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.disconnect("timeout()", self._poll)
            self._timer = None
        self._stopAt = None
        if outcome.state == DONE:
            say(self.ui.batchStatusLabel, outcome.result.get("message") or "")
        else:
            say(self.ui.batchStatusLabel, inPanelWords(outcome.message))
            if outcome.state != CANCELLED:
                slicer.util.errorDisplay(_("The batch has ended: {reason}").format(reason=outcome.message))
        self.update()


def _stopped() -> str:
    return _("Stopped; what is finished stays, and Resume goes on with the rest.")


def _cells(row: dict[str, Any]) -> list[Any]:
    """What the table shows of a row: texts and numbers, "" where there is none."""
    state = _("failed") if row["status"] == "failed" else row["verdict"] or _("done")
    why = " ".join(filter(None, (row["reason"], row["warnings"], row["verdict_text"])))
    numbers = [
        _number(row[name], digits)
        for name, digits in (("trust_gain_psnr_db", 2), ("ml_before", 2), ("ml_after", 2))
    ]
    name = row["study"] if int(row["run"]) == 1 else f"{row['study']} ({row['run']})"
    return [name, state, _number(row["slices_before"], 0), *numbers, inPanelWords(why)]


def _number(value: Any, digits: int) -> Any:
    """A number of a row, which is a text where it was read from a file; "" where there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return ""
    if not math.isfinite(number):
        return ""
    return round(number, digits) if digits else int(number)
