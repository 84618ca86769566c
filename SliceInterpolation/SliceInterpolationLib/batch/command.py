"""The command `batch`: find the studies, let the workers do them, and keep table and index up to date."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Callable

from ..errors import Cancelled, InputError, OutputError, SliceInterpolationError
from ..files import Outputs
from ..files.sources import belongs_to
from ..progress import Reporter
from .discovery import Study, discover
from .engine import Workers, run_studies
from .ledger import STUDIES, Ledger, read_records
from .pages import index_page
from .settings import Settings
from .study import fingerprint, finished
from .table import failure, in_order, write_parquet, write_table

INDEX, TABLE, PARQUET = "index.html", "results.csv", "results.parquet"
_STAGE = "studies"
_REWRITE_SHARE = 0.02  # of the time may go into bringing table and index up to date


def run_batch(
    source: str | Path,
    output: str | Path,
    settings: Settings,
    workers: Workers,
    reporter: Reporter,
    *,
    dry_run: bool = False,
    hold_cancel: Callable[[], Callable[[], None]] | None = None,
) -> None:
    """Interpolate all studies of a folder or list into an output folder, and go on where an earlier run was stopped.

    hold_cancel: as of `Outputs`; a cancel ends the workers and leaves what is finished, with its table.
    Raises InputError and OutputError before the work; SliceInterpolationError where no study succeeded, or where the
    disk takes nothing more; Cancelled.
    """
    root = Path(os.path.abspath(output))
    if root.is_dir() and Path(source).is_dir() and os.path.samefile(root, source):
        raise InputError("The output folder is the input folder; give one of its own.")
    if belongs_to(root, Path(source)) and Path(source).is_file():
        raise InputError(f"'{output}' is the list of the studies; give an output folder.")
    studies, remarks = discover(source, root)
    for remark in remarks:
        reporter.message(remark)
    ledger = Ledger(root, settings)
    if dry_run:
        ledger.check()
        _tell_plan(studies, settings, root, reporter)
        return
    _check_parquet()
    check_cancel = hold_cancel() if hold_cancel else lambda: None
    with ledger:
        _Run(studies, settings, ledger, workers, reporter, check_cancel).do()


def _check_parquet() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The table is written with PyArrow, which cannot be used here ({error}); install it: pip install pyarrow."
        ) from error


def _tell_plan(studies: list[Study], settings: Settings, root: Path, reporter: Reporter) -> None:
    """What would happen to each study; nothing is changed."""
    entries, lines = [], []
    for study in studies:
        entry = {
            "study": study.name,
            "scan": study.scan,
            "series_uid": study.series,
            "masks": list(study.masks),
        }
        target, plan = root / STUDIES / study.name, "would be made"
        try:
            if os.path.lexists(target):
                record = finished(target, fingerprint(study, settings)[0], study.name)
                plan = "finished" if record else plan
            else:
                for path in study.files or (study.scan, *study.masks):
                    if not os.access(path, os.R_OK):
                        raise InputError(f"'{path}' cannot be read; check path and permissions.")
        except SliceInterpolationError as error:
            plan = f"would fail: {error}"
        entries.append({**entry, "plan": plan})
        images = f", {len(study.files)} images" if study.files else ""
        masks = f", with {', '.join(study.masks)}" if study.masks else ""
        lines.append(f"{study.name}: {plan}. {study.scan}{images}{masks}")
    counts = {
        what: sum(e["plan"].startswith(what) for e in entries)
        for what in ("would be made", "finished", "would fail")
    }
    lines.append(", ".join(f"{count} {what}" for what, count in counts.items()))
    reporter.result(answer="\n".join(lines), studies=entries)


class _Run:
    """One run of a batch in its locked output folder."""

    def __init__(
        self,
        studies: list[Study],
        settings: Settings,
        ledger: Ledger,
        workers: Workers,
        reporter: Reporter,
        check_cancel: Callable[[], None],
    ):
        self.studies, self.settings, self.ledger = studies, settings, ledger
        self.workers, self.reporter, self.check_cancel = workers, reporter, check_cancel
        self.root = ledger.root
        self._look_again()
        self.failed: dict[str, dict[str, Any]] = {}
        self.done = self.known = 0
        self.started = self.written = time.monotonic()
        self.writing_s = 0.0

    def do(self) -> None:
        """Do what is left; see `run_batch`."""
        scans = {study.name: study.scan for study in self.studies}
        total = len(self.studies)
        self.reporter(_STAGE, 0, total)
        records = run_studies(
            self.studies, self.settings, self.root, self.workers, self.reporter.message, self.check_cancel
        )
        try:
            with closing(records):
                for record in records:
                    self._take(record, scans[record["name"]], total)
                    if record.get("full"):
                        raise OutputError(
                            f"'{self.root}' takes nothing more ({record['full']}); free some space."
                        )
        except Cancelled as error:
            self._look_again()
            self._write()
            raise Cancelled(f"cancelled; {self._state(total)}") from error
        except OutputError as error:
            self._look_again()
            try:
                self._write()
            except OutputError:  # the same disk
                pass
            raise OutputError(f"{error} The batch has stopped: {self._state(total)}") from error
        except SliceInterpolationError:
            if self.done:
                self._look_again()
                self._write()
            raise
        self._write()
        if self.failed and len(self.failed) == total:
            raise SliceInterpolationError(
                f"None of {total} studies succeeded; the reasons are in '{self.root / TABLE}'. The first one: "
                f"{next(iter(self.failed.values()))['reason']}"
            )
        paths = [self.root / name for name in (INDEX, TABLE, PARQUET)]
        answer = (
            f"{total - len(self.failed)} of {total} studies are finished ({self.known} of them were before)."
        )
        if self.failed:
            answer += f" {len(self.failed)} failed; the reasons are in the table."
        self.reporter.result(paths, answer=answer, finished=total - len(self.failed), failed=len(self.failed))

    def _look_again(self) -> None:
        """Take what is finished from the folder: some of it may have ended untold, as the workers did."""
        self.rows = {record["name"]: record["rows"] for record in read_records(self.root)}

    def _take(self, record: dict[str, Any], scan: str, total: int) -> None:
        name = record["name"]
        if "failed" in record:
            rows = [failure(name, scan, record["failed"])]
            self.failed[name] = rows[0]
            self.reporter.message(f"{name}: {record['failed']}")
        else:
            rows = self.rows[name] = record["rows"]
            self.known += not record["fresh"]
        self.done += 1
        seconds = time.monotonic() - self.started
        worked = self.done - self.known
        rate = worked / seconds
        # Finished ones pass in no time, and say nothing of those that are left.
        eta = (total - self.done) / rate if worked else None
        pace = f"{60 * rate:.3g} a minute"
        self.reporter(
            _STAGE, self.done, total, eta_s=eta, note=f"{pace}, {len(self.failed)} failed" if self.failed else pace,
            rows=in_order(rows),
        )  # fmt: skip
        now = time.monotonic()
        if self.writing_s < _REWRITE_SHARE * (now - self.written):
            self._write()

    def _state(self, total: int) -> str:
        good = sum(study.name in self.rows for study in self.studies)
        return f"{good} of {total} studies are finished. The same command goes on with what is left."

    def _write(self) -> None:
        """Bring table and index up to date: all that is finished in the folder, and what failed in this run."""
        started = time.monotonic()
        rows = in_order(
            [
                *(row for rows in self.rows.values() for row in rows),
                *(r for n, r in self.failed.items() if n not in self.rows),
            ]
        )
        left = sum(study.name not in self.rows and study.name not in self.failed for study in self.studies)
        with Outputs() as outputs:
            with outputs.file(self.root / TABLE) as aside:
                write_table(aside, rows)
            with outputs.file(self.root / PARQUET) as aside:
                write_parquet(aside, rows)
            outputs.text(self.root / INDEX, index_page(rows, left))
        self.written = time.monotonic()
        self.writing_s = self.written - started
