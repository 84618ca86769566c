"""One study from its files to its folder of results, which appears as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .. import __version__
from ..checks import check_volume
from ..dicom import Run, check_series, need_highdicom, write_series
from ..dicom.segmentation import write_segmentation
from ..errors import Cancelled, InputError, OutputError, SliceInterpolationError
from ..files import Outputs, check_writable, read_runs, read_volumes
from ..files.formats import WRITABLE, suffix_of
from ..files.sources import files_of
from ..interpolation import Result, as_requested, interpolate
from ..plain import plain
from ..process import explain
from ..reports.measure import Measurement, measure, read_segmentation
from ..reports.noise import NoiseReport, analyze_noise, noise_alternation, noise_before_and_after
from ..reports.page import study_page
from ..reports.trust import TrustReport, trust
from ..volume import Volume
from .discovery import Study
from .ledger import RECORD, STUDIES, UNFINISHED, read_record, why_full
from .options import DICOM, SAME
from .settings import Settings

PAGE = "report.html"
_BLOCK = 1 << 20


def process(study: Study, settings: Settings, root: Path) -> dict[str, Any]:
    """Work on one study of the batch with the output folder `root`, unless it is finished.

    Returns its record: what `ledger.RECORD` holds of a finished study, with `fresh`: whether it was made just now. Of
    one that failed: name, failed (the reason), and full: why the disk takes nothing more, "" for other reasons. Raises
    nothing.
    """
    try:
        return _process(study, settings, root)
    except OutputError as error:
        return {"name": study.name, "failed": str(error), "full": why_full(error)}
    except BaseException as error:
        return {"name": study.name, "failed": explain(error)[1], "full": why_full(error)}


def _process(study: Study, settings: Settings, root: Path) -> dict[str, Any]:
    key, hashes = fingerprint(study, settings)
    target = root / STUDIES / study.name
    record = finished(target, key, study.name)
    if record is not None:
        return {**record, "fresh": False}
    folder = root / UNFINISHED / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        rows, paths = _Work(study, settings, folder).do()
        record = {
            "name": study.name,
            "key": key,
            "hashes": hashes,
            "settings": settings.as_dict(),
            "version": __version__,
        }
        record = plain({**record, "rows": rows, "files": _sizes(folder, paths)})
        with Outputs() as outputs:
            outputs.text(folder / RECORD, json.dumps(record, indent=1) + "\n")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)
        except (
            OSError
        ):  # made by a worker of an earlier run that was still at it, or something else lies there
            record = finished(target, key, study.name)
            if record is None:
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**record, "fresh": True}


def _sizes(folder: Path, paths: list[Path]) -> dict[str, int]:
    """The size of every file written, also of those in folders of their own."""
    files = [file for path in paths for file in files_of(path)]
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def fingerprint(study: Study, settings: Settings) -> tuple[str, dict[str, str]]:
    """The key of a study (see `Settings.key`) and the SHA-256 of each of its files; InputError where one is missing."""
    hashes: dict[str, str] = {}

    def digests(path: str) -> list[str]:
        files = (
            [Path(file) for file in study.files]
            if path == study.scan and study.files
            else files_of(Path(path))
        )
        for file in files:
            hashes[str(file)] = _sha256(file)
        return [hashes[str(file)] for file in files]

    scan = digests(study.scan)
    masks = [digest for path in study.masks for digest in digests(path)]
    return settings.key(scan, masks), hashes


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror or error}).") from error
    return digest.hexdigest()


def finished(target: Path, key: str, name: str) -> dict[str, Any] | None:
    """The record of a finished study; None where there is nothing yet.

    Raises InputError where something else lies there: it is never overwritten.
    """
    if not os.path.lexists(target) or (
        target.is_dir() and not (target / RECORD).exists() and _only_folders(target)
    ):
        return None
    record = read_record(target)
    if record is None:
        raise InputError(
            f"'{target}' holds something that no batch has made; nothing there is overwritten, so remove it."
        )
    if record["key"] != key:
        raise InputError(
            f"'{name}' was finished for other input: scan or mask have changed since. Nothing is overwritten; remove "
            f"'{target}' to have it made again."
        )
    for file, size in record["files"].items():
        path = target / file
        if not path.is_file() or path.stat().st_size != size:
            raise InputError(
                f"The results of '{name}' are not whole: '{file}' is missing or changed; remove '{target}' to have "
                "them made again."
            )
    return record


def _only_folders(target: Path) -> bool:
    """Whether nothing but folders lies there, as of studies whose names begin with this one's."""
    return all(entry.is_dir(follow_symlinks=False) for entry in os.scandir(target))


class _Work:
    """What is made of one study, in a folder of its own."""

    def __init__(self, study: Study, settings: Settings, folder: Path):
        self.study, self.settings, self.folder = study, settings, folder
        self.stem = study.name.rpartition("/")[2]
        self.seconds: dict[str, float] = {}
        self.measured = 0

    def do(self) -> tuple[list[dict[str, Any]], list[Path]]:
        """Make everything; returns a row of the table for each volume, and the files written."""
        with Outputs(self.study.scan, *self.study.masks) as outputs, self._images() as scan:
            with self.timed("read"):
                volumes, runs, remarks = self._read(scan)
            rows = []
            for number, (volume, run) in enumerate(zip(volumes, runs), start=1):
                name = self.stem + (f"-run{number}" if len(volumes) > 1 else "")
                row = self._one(volume, run, remarks, name, outputs)
                rows.append({"study": self.study.name, "run": number, **row})
            if self.study.masks and not self.measured:
                read_segmentation(self.study.masks[0], volumes[0])  # says what is wrong with it
        return rows, outputs.paths

    @contextmanager
    def _images(self) -> Iterator[Path]:
        """The file or folder to read: of a series found in a tree its images alone, whatever else lies beside them."""
        if not self.study.files:
            yield Path(self.study.scan)
            return
        with tempfile.TemporaryDirectory(prefix="series-") as staged:
            for number, file in enumerate(self.study.files):
                _link(Path(file), Path(staged, f"{number:06}-{Path(file).name}"))
            yield Path(staged)

    def _read(self, scan: Path) -> tuple[list[Volume], list[Run | None], list[str]]:
        """The volumes, the DICOM images they came from where these are needed, and remarks."""
        series = self.study.series or None
        if self.settings.output_format != DICOM:
            volumes, remarks = read_volumes(scan, series)
            for volume in volumes:
                check_writable(f"x{self._suffix()}", volume)
            return volumes, [None] * len(volumes), remarks
        if self.study.masks:
            need_highdicom()
        runs, remarks = read_runs(scan, series)
        axis = self.settings.request.axis
        for run in runs:
            check_series(run.volume if axis == "auto" else run.volume.along(axis), run)
        return [run.volume for run in runs], list(runs), remarks

    def _suffix(self) -> str:
        if self.settings.output_format != SAME:
            return f".{self.settings.output_format}"
        suffix = suffix_of(Path(self.study.scan))
        return suffix if suffix in WRITABLE else ".nrrd"

    def _one(
        self, volume: Volume, run: Run | None, remarks: list[str], name: str, outputs: Outputs
    ) -> dict[str, Any]:
        """The row of one volume; its files are written, and called `name`."""
        self.seconds = {"read": self.seconds["read"]}
        request, told = self.settings.request, list(remarks)
        check_volume(volume, request.force)
        volume = as_requested(volume, request, told)
        with self.timed("interpolate"):
            result = interpolate(volume, request, progress=self.progress)
        self._check_method(result)
        told += result.remarks
        report = self._attempt("trust", "trust check", trust, volume, told)
        noise = self._attempt("noise", "noise analysis", analyze_noise, volume, told)
        along: list[dict[str, Any]] = []
        if noise is not None:
            with self.timed("noise"):
                along = noise_before_and_after(volume, result.volume)
        with self.timed("measure"):
            measured = self._measure(volume, result.volume, told)
        write = self._write_volumes if run is None else partial(self._write_dicom, run)
        with self.timed("write"):
            names = write(result.volume, [one.carried for one in measured], name, outputs)
        segments = [row for one in measured for row in one.rows]
        if "page" not in self.settings.without:
            names["page"] = PAGE if name == self.stem else f"{name}-{PAGE}"
            with self.timed("page"):
                page = study_page(
                    volume, result.volume, title=self.study.name + name[len(self.stem) :], trust=report, noise=noise,
                    noise_rows=along, measurements=segments, remarks=told,
                )  # fmt: skip
                outputs.text(self.folder / names["page"], page)
        return {
            **self._facts(volume, result, told),
            **{key: f"{STUDIES}/{self.study.name}/{name}" for key, name in names.items()},
            **_trust_figures(report),
            **_noise_figures(noise, along),
            **_segment_figures(segments),
            **{f"{part}_s": round(seconds, 3) for part, seconds in self.seconds.items()},
            "total_s": round(sum(self.seconds.values()), 3),
        }

    def _write_volumes(
        self, made: Volume, masks: list[Volume], name: str, outputs: Outputs
    ) -> dict[str, str]:
        """Write a result and its masks as volume files; what each of them is called, by its column of the table."""
        suffix = self._suffix()
        names = {"result": f"{name}{suffix}"}
        outputs.volume(made, self.folder / names["result"], self.settings.compress)
        for mask, title in zip(masks, _numbered(f"{name}-mask", masks)):
            outputs.volume(mask, self.folder / f"{title}{suffix}", compress=True)
            names.setdefault("mask_result", f"{title}{suffix}")
        return names

    def _write_dicom(
        self, run: Run, made: Volume, masks: list[Volume], name: str, outputs: Outputs
    ) -> dict[str, str]:
        """As `_write_volumes`, as a series in a folder, and segmentations that refer to it."""
        names = {"result": name}
        with outputs.new_folder(self.folder / name) as folder:
            write_series(made, run, folder, progress=self.progress)
            series = read_runs(folder)[0][0]
            for mask, title in zip(masks, _numbered(f"{name}-mask", masks)):
                names.setdefault("mask_result", f"{title}.dcm")
                with outputs.file(self.folder / f"{title}.dcm") as aside:
                    write_segmentation(
                        mask, series, aside, name="Segments, carried", made_by=made.history[-1]
                    )
        return names

    def _attempt(self, part: str, what: str, make: Any, volume: Volume, told: list[str]) -> Any:
        """A report on the scan, or None with a warning where the scan does not allow it; its remarks are told."""
        if part in self.settings.without:
            return None
        try:
            with self.timed(part):
                report = make(volume, self.settings.request, progress=self.progress)
        except InputError as error:
            told.append(f"Warning: no {what}: {error}")
            return None
        told += report.remarks
        return report

    def _measure(self, volume: Volume, result: Volume, told: list[str]) -> list[Measurement]:
        """The masks on both grids; those of another grid are left to another run of the series."""
        found = []
        for path in self.study.masks:
            try:
                labels = read_segmentation(path, volume)
            except InputError:
                if self.study.files or Path(self.study.scan).is_dir():
                    continue
                raise
            found.append(measure(volume, labels, result))
            self.measured += 1
        if self.study.masks and not found:
            told.append("The mask lies on the grid of another run of the series.")
        return found

    def _check_method(self, result: Result) -> None:
        made = result.volume.history[-1]
        if made.get("model_sha256", "") != self.settings.model_sha256:
            raise SliceInterpolationError(
                f"The worker has another '{self.settings.method}' than this machine; install the same version there."
            )

    def _facts(self, volume: Volume, result: Result, told: list[str]) -> dict[str, Any]:
        made = result.volume
        run = made.history[-1]
        warnings = [text for text in dict.fromkeys(told) if text.startswith("Warning")]
        row, column = volume.pixel_spacing
        return {
            "status": "done",
            "warnings": " ".join(warnings),
            "remarks": " ".join(text for text in dict.fromkeys(told) if text not in warnings),
            "scan": self.study.scan,
            "series_uid": self.study.series,
            "mask": ";".join(self.study.masks),
            "result_sha256": hashlib.sha256(made.array.tobytes()).hexdigest(),
            "units": volume.units,
            "rows": volume.slices.shape[1],
            "columns": volume.slices.shape[2],
            "pixel_row_mm": row,
            "pixel_column_mm": column,
            "slices_before": volume.slice_count,
            "slices_after": made.slice_count,
            "spacing_before_mm": volume.slice_spacing,
            "spacing_after_mm": made.slice_spacing,
            "thickness_mm": volume.slice_thickness,
            "synthesized": made.provenance.count("S"),
            "denoised": made.provenance.count("D"),
            "method": self.settings.method,
            "model_sha256": self.settings.model_sha256,
            "factor": run["factor"],
            "output_mode": run["output_mode"],
            "version": __version__,
            "device": result.device,
        }

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the time of the block to a part of the work."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started

    def progress(self, stage: str, done: int, total: int) -> None:
        """Stop where the batch has been cancelled, which takes the folder away."""
        if not self.folder.is_dir():
            raise Cancelled("The batch was cancelled.")


def _numbered(name: str, among: list[Volume]) -> list[str]:
    """The name, with a number where there are several."""
    return [name] if len(among) == 1 else [f"{name}-{number}" for number in range(1, len(among) + 1)]


def _link(source: Path, target: Path) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # not allowed to everybody on Windows
        shutil.copyfile(source, target)


_VERDICTS = {True: "trusted", False: "not trusted", None: "open"}


def _trust_figures(report: TrustReport | None) -> dict[str, Any]:
    if report is None:
        return {}
    means = report.means[report.method]
    figures = {"psnr_db": "psnr_brain", "ssim": "ssim_brain", "mae_hu": "mae_intracranial"}
    by_figure = {one.figure: one for one in report.comparisons}
    row = {
        "verdict": _VERDICTS[report.trusted],
        "verdict_text": report.verdict,
        "trust_slices": len(report.slices),
    }
    for column, figure in figures.items():
        row[f"trust_{column}"] = means[figure]
        if figure in by_figure:
            row[f"trust_gain_{column}"] = by_figure[figure].gain
            row[f"trust_rival_{column}"] = by_figure[figure].rival
    return row


def _noise_figures(report: NoiseReport | None, along: list[dict[str, Any]]) -> dict[str, Any]:
    if report is None:
        return {}
    row: dict[str, Any] = {"structure_places": report.blobs}
    for column, figure in (("noise_sd", "noise_acquired"), ("noise_sd_predicted", "noise_predicted")):
        row[column] = report.median(figure)
    for which, column in (("scan", "noise_alternation_before"), ("result", "noise_alternation_after")):
        row[column] = noise_alternation([one for one in along if one["volume"] == which])
    return row


def _segment_figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The segments together; each of them is in the record and on the page."""
    grids = [[row for row in rows if row["grid"] == grid] for grid in ("acquired", "interpolated")]
    if not rows:
        return {}
    before, after = (sum(row["volume_ml"] for row in grid) for grid in grids)
    return {
        "segments": len(grids[0]),
        "ml_before": before,
        "ml_after": after,
        "ml_change_percent": 100 * (after - before) / before,
        "abc2_ml_before": sum(row["abc2_ml"] for row in grids[0]),
        "abc2_ml_after": sum(row["abc2_ml"] for row in grids[1]),
        "mean_hu_before": sum(row["mean_hu"] * row["voxels"] for row in grids[0])
        / sum(row["voxels"] for row in grids[0]),
        "ml_by_segment": "; ".join(
            f"{one['segment']}: {one['volume_ml']:.3f} -> {other['volume_ml']:.3f}"
            for one, other in zip(*grids)
        ),
    }
