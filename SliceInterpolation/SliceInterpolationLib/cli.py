"""The commands of `slice-interpolation`: their arguments, and what each does with files.

Exit codes: 0 done, 1 failed, 2 bad input or arguments, 3 cancelled (see `process`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, NoReturn

from . import __version__, cancel, process
from .errors import InputError
from .progress import MODES, Reporter
from .request import Request
from .thick import PROFILES, thicken

if TYPE_CHECKING:
    from .dicom import Run
    from .files import Outputs
    from .interpolation import Result
    from .volume import Volume

PREDICTION_OPTIONS = ("method", "axis", "device", "units")
"""The options of commands that predict slices of a scan without making a volume of it."""

TRAINER = {"train": "train a network on scans of your own", "publish": "make a model of a training run"}
"""Commands of the package SliceInterpolationTrainerLib, which need not be installed."""

_TRAINER_PACKAGE = "SliceInterpolationTrainerLib"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default that of this process; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    reporter = Reporter.of_arguments(arguments)
    return process.run(lambda: run_command(arguments, reporter), reporter)


def run_command(arguments: Sequence[str], reporter: Reporter) -> None:
    """Run one command. Raises what stops it, see `process.run`, and SystemExit after --help and --version."""
    if arguments and arguments[0] in TRAINER:
        _trainer().run_command(arguments, reporter)
        return
    options = _parser().parse_args(arguments)
    reporter.mode = options.progress
    options.run(options, reporter)


class Parser(argparse.ArgumentParser):
    """A parser that takes whole option names only, and whose errors are one sentence like all others."""

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message, where argparse would print its usage and leave."""
        raise InputError(f"{message[0].upper() + message[1:]}; see '{self.prog} --help'.")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="slice-interpolation",
        description="Interpolate and denoise thick-slice head CT. Inputs: NRRD, NIfTI, MetaImage, a DICOM folder.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(
        name: str, run: Callable[[argparse.Namespace, Reporter], None], text: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument("--progress", choices=MODES, default="bar", help="how progress is shown")
        return command

    def add_series(command: argparse.ArgumentParser, bridge: bool = True) -> None:
        command.add_argument(
            "--series",
            metavar="UID",
            help="of a DICOM folder, as 'dicom-info' lists them; else the thickest head CT",
        )
        if bridge:
            command.add_argument(
                "--bridge",
                action="store_true",
                help="synthesize single slices that are missing in a DICOM series",
            )

    def add_input(command: argparse.ArgumentParser, name: str = "INPUT", bridge: bool = True) -> None:
        command.add_argument("input", metavar=name, help="volume file or DICOM folder")
        add_series(command, bridge)

    def add_burn_in(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--burn-in",
            action="store_true",
            help="DICOM: write SYNTHESIZED or DENOISED into the pixels of made slices",
        )

    command = add("interpolate", _interpolate, "put new slices between the acquired ones")
    add_input(command)
    command.add_argument(
        "output", metavar="OUTPUT", help=".nrrd, .nii.gz, .nii or .mha; a new or empty folder for DICOM"
    )
    Request.add_arguments(command)
    command.add_argument(
        "--output-format",
        choices=("file", "dicom"),
        help="dicom: a new series in the folder OUTPUT, of a DICOM folder (default where OUTPUT is a folder)",
    )
    add_burn_in(command)
    command.add_argument(
        "--uncertainty", metavar="FILE", help="also write the predicted error SD (.dcm: a Parametric Map)"
    )
    command.add_argument("--compress", action="store_true", help="write files compressed (slower)")

    command = add(
        "dicom-write",
        _dicom_write,
        "write a result as a new DICOM series beside the scan that it was made of",
    )
    command.add_argument(
        "result", metavar="RESULT", help="the scan interpolated or denoised: .nrrd, .nii.gz, ..."
    )
    command.add_argument("output", metavar="OUTPUT", help="a new or empty folder")
    command.add_argument("--scan", required=True, metavar="FOLDER", help="the DICOM folder of the scan")
    add_series(command)
    add_burn_in(command)

    command = add("compare", _compare, "write a side-by-side MPR picture of a scan and its result")
    add_input(command, "ORIGINAL")
    command.add_argument("result", metavar="RESULT")
    command.add_argument("--output", required=True, metavar="PNG")
    command.add_argument("--window", nargs=2, type=_number, metavar=("CENTER", "WIDTH"))
    Request.add_arguments(command, ("units",))

    command = add("noise", _noise, "write residual and noise-SD maps, a table per slice and a picture")
    add_input(command, bridge=False)
    command.add_argument("--output-dir", required=True, metavar="DIR")
    command.add_argument(
        "--result", metavar="FILE", help="INPUT interpolated: its noise beside that of INPUT"
    )
    command.add_argument(
        "--dicom-dir", metavar="DIR", help="of a DICOM folder: also write the maps as DICOM Parametric Maps"
    )
    Request.add_arguments(command, PREDICTION_OPTIONS)

    command = add("trust", _trust, "compare predictions of withheld slices with linear, cubic and flow")
    add_input(command, bridge=False)
    command.add_argument("--output", metavar="JSON")
    command.add_argument(
        "--slices",
        type=lambda text: int(text) if text.isdecimal() else text,
        metavar="N|all",
        help="how many slices are scored, evenly spread (default: 12)",
    )
    Request.add_arguments(command, PREDICTION_OPTIONS)

    command = add("measure", _measure, "measure segments on the scan and on its result")
    add_input(command)
    command.add_argument(
        "--segmentation",
        required=True,
        nargs="+",
        metavar="FILE",
        help="labelmap on the grid of INPUT; several where segments overlap",
    )
    command.add_argument("--result", metavar="FILE", help="INPUT interpolated")
    command.add_argument(
        "--denoised", metavar="FILE", help="INPUT interpolated and denoised: the HU range is applied to it"
    )
    command.add_argument("--output", metavar="CSV")
    command.add_argument(
        "--masks-dir", metavar="DIR", help="write the segments on the grid of RESULT, numbered by labelmap"
    )
    command.add_argument(
        "--edited-dir", metavar="DIR", help="take these from an earlier --masks-dir, corrected by hand"
    )
    command.add_argument(
        "--dicom-dir",
        metavar="DIR",
        help="of a DICOM folder: also write segments (SEG) and figures (SR, TID 1500) as DICOM",
    )
    command.add_argument("--margin", type=_number, default=3.0, metavar="MM", help="around the segment")
    command.add_argument(
        "--range", nargs=2, type=_number, default=(40.0, 100.0), metavar=("LOW", "HIGH"), help="HU"
    )
    Request.add_arguments(command, ("units",))

    command = add("page", _page, "write one HTML page about a scan and its result, to keep or print")
    add_input(command)
    command.add_argument("result", nargs="?", metavar="RESULT", help="INPUT interpolated or denoised")
    command.add_argument("--output", required=True, metavar="HTML")
    command.add_argument("--title", default="", help="all that the page says of the patient")
    command.add_argument("--trust", metavar="JSON", help="as written by the command trust")
    command.add_argument("--noise", metavar="JSON", help="noise.json as written by the command noise")
    command.add_argument("--measurements", metavar="CSV", help="as written by the command measure")
    command.add_argument("--remark", action="append", default=[], metavar="TEXT", help="may be repeated")
    command.add_argument("--window", nargs=2, type=_number, metavar=("CENTER", "WIDTH"))
    command.add_argument(
        "--position", nargs=3, type=_number, metavar=("L", "P", "S"), help="mm, of the planes shown"
    )

    command = add(
        "dicom-info", _dicom_info, "list the series of a DICOM folder, and what becomes of each file"
    )
    add_input(command, bridge=False)

    _add_batch(
        add("batch", _batch, "interpolate all scans of a folder tree or a list, with a table and pages")
    )

    command = add("thicken", _thicken, "make thick slices of thin ones")
    add_input(command)
    command.add_argument("output", metavar="OUTPUT", help=".nrrd, .nii.gz, .nii or .mha")
    command.add_argument("--factor", type=_count, required=True, metavar="N", help="slice spacing times N")
    command.add_argument(
        "--profile",
        choices=PROFILES,
        default=PROFILES[0],
        help="slab: each slice the mean over the new spacing (default); thin: every N-th slice as it is",
    )
    command.add_argument("--compress", action="store_true", help="write compressed (slower)")
    Request.add_arguments(command, ("axis", "units"))

    command = add("models", _models, "list, describe, add, trust or remove networks")
    command.add_argument(
        "action", nargs="?", choices=("list", "info", "add", "trust", "remove"), default="list"
    )
    command.add_argument("argument", nargs="?", metavar="NAME or FILE")

    for name, text in TRAINER.items():  # for the help; they are taken by `run_command` before
        add(name, lambda options, reporter: None, text)

    command = add("phantom", _phantom, "make the synthetic head phantom, with a hematoma of known volume")
    command.add_argument("output", metavar="OUTPUT", help=".nrrd, .nii.gz, .nii or .mha")
    command.add_argument("--segmentation", metavar="FILE", help="also write the hematoma as a labelmap")
    command.add_argument("--size", type=_count, default=512, metavar="N", help="pixels a side")
    command.add_argument("--pixel-spacing", type=_number, default=0.45, metavar="MM")
    command.add_argument("--slices", type=_count, default=30, metavar="N")
    command.add_argument("--slice-spacing", type=_number, default=5.0, metavar="MM")
    command.add_argument("--slice-thickness", type=_number, default=5.0, metavar="MM")
    command.add_argument("--noise-hu", type=_number, default=3.5, metavar="HU", help="SD of the noise")
    command.add_argument("--hematoma-ml", type=_number, default=30.0, metavar="ML", help="0: none")
    command.add_argument("--seed", type=_count, default=0, help="of the noise")

    command = add("demo", _demo, "interpolate the synthetic head phantom, or a scan, and show everything")
    command.add_argument("--input", metavar="FILE", help="a scan instead of the phantom")
    command.add_argument("--output-dir", default="demo-output", metavar="DIR")
    Request.add_arguments(command, ("device", "units"))
    return parser


def _trainer() -> ModuleType:
    """The command line of the trainer. InputError where it is not installed."""
    if find_spec(_TRAINER_PACKAGE) is None:
        raise InputError(
            "Training needs the package SliceInterpolationTrainer, which is not installed here; install it with "
            "pip install 'slice-interpolation[train]', or put its folder on PYTHONPATH."
        )
    return import_module(f"{_TRAINER_PACKAGE}.__main__")


def _add_batch(command: argparse.ArgumentParser) -> None:
    """Give the command `batch` its arguments."""
    from .batch.options import DASHBOARD, FORMATS, PARTS

    command.add_argument(
        "input", metavar="INPUT", help="folder tree, or .csv with columns study, series, mask"
    )
    command.add_argument("output", metavar="OUTPUT", help="folder of its own; give the same again to go on")
    Request.add_arguments(command)
    command.add_argument(
        "--output-format",
        choices=FORMATS,
        default=FORMATS[0],
        help="of the volumes, by default that of the scan",
    )
    command.add_argument("--compress", action="store_true", help="write compressed (slower)")
    command.add_argument(
        "--without", nargs="+", choices=PARTS, default=(), metavar="PART", help=", ".join(PARTS)
    )
    command.add_argument("--dry-run", action="store_true", help="list what would happen, and change nothing")
    command.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786")
    command.add_argument(
        "--workers", type=_count, default=0, metavar="N", help="on this machine (default: as fit)"
    )
    command.add_argument("--threads", type=_count, default=0, metavar="N", help="of each of these workers")
    command.add_argument(
        "--dashboard",
        default=DASHBOARD,
        metavar="HOST:PORT",
        help=f"where Dask shows its work, or none ({DASHBOARD})",
    )


def _number(text: str) -> float:
    """A finite number, for argparse."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _count(text: str) -> int:
    """A whole number that is not negative, for argparse."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError
    return int(text)


_count.__name__ = "whole number"
_number.__name__ = "number"  # what argparse calls it where it is none


def _interpolate(options: argparse.Namespace, reporter: Reporter) -> None:
    from .files import check_writable, read_volumes

    request = Request.from_options(options)
    if options.output_format == "dicom" or (options.output_format is None and os.path.isdir(options.output)):
        _interpolate_dicom(options, request, reporter)
        return
    if options.burn_in:
        raise InputError("--burn-in is for DICOM; give --output-format dicom and a folder as OUTPUT.")
    with _outputs(options.input) as outputs:
        outputs.check_volume(options.output, options.uncertainty)
        volumes, remarks = read_volumes(options.input, **_how(options, reporter, request))
        runs = _run_names(len(volumes))
        targets = [
            [_numbered(path, run) for path in (options.output, options.uncertainty) if path] for run in runs
        ]
        outputs.check_volume(*itertools.chain(*targets))
        for path in itertools.chain(*targets):
            check_writable(path, volumes[0])
        results = _interpolated(volumes, remarks, request, bool(options.uncertainty), reporter)
        for result, paths in zip(results, targets):
            for made, path in zip((result.volume, result.uncertainty), paths):
                outputs.volume(made, path, options.compress)
    reporter.result(outputs.paths, provenance=[result.volume.provenance for result in results])


def _how(options: argparse.Namespace, reporter: Reporter, request: Request | None = None) -> dict[str, Any]:
    """How a scan is read: which series; what fills missing slices, the method that is asked for; the progress."""
    from .interpolation import between

    bridge = partial(between, request=request or Request()) if getattr(options, "bridge", False) else None
    return {"series": options.series, "bridge": bridge, "progress": reporter}


def _interpolate_dicom(options: argparse.Namespace, request: Request, reporter: Reporter) -> None:
    from .dicom import check_series, write_map, write_series
    from .files import read_runs

    with _outputs(options.input) as outputs:
        outputs.check_new_folder(options.output)
        is_map = bool(options.uncertainty) and options.uncertainty.lower().endswith(".dcm")
        (outputs.check if is_map else outputs.check_volume)(options.uncertainty)
        runs, remarks = read_runs(options.input, **_how(options, reporter, request))
        for run in runs:
            check_series(run.volume if request.axis == "auto" else run.volume.along(request.axis), run)
        names = _run_names(len(runs))
        volumes = [run.volume for run in runs]
        results = _interpolated(volumes, remarks, request, bool(options.uncertainty), reporter)
        with outputs.new_folder(options.output) as folder:
            for result, run, name in zip(results, runs, names):
                place = folder / name[1:]
                place.mkdir(mode=0o700, exist_ok=True)
                write_series(result.volume, run, place, burn_in=options.burn_in, progress=reporter)
            if is_map:
                for result, name in zip(results, names):
                    series = read_runs(folder / name[1:])[0][0]
                    with outputs.file(_numbered(options.uncertainty, name, ".dcm")) as aside:
                        write_map(result.uncertainty, series, "error", aside)
        if options.uncertainty and not is_map:
            for result, name in zip(results, names):
                outputs.volume(result.uncertainty, _numbered(options.uncertainty, name), options.compress)
    reporter.result(outputs.paths, provenance=[result.volume.provenance for result in results])


def _dicom_write(options: argparse.Namespace, reporter: Reporter) -> None:
    from .dicom import check_series, result_of, write_series
    from .files import read_runs, read_volume

    with _outputs(options.result, options.scan) as outputs:
        outputs.check_new_folder(options.output)
        result, remarks = read_volume(options.result)
        runs, more = read_runs(options.scan, **_how(options, reporter))
        for remark in [*remarks, *more]:
            reporter.message(remark)
        result, run = result_of(result, runs)
        check_series(result, run)
        with outputs.new_folder(options.output) as folder:
            write_series(result, run, folder, burn_in=options.burn_in, progress=reporter)
    reporter.result(outputs.paths, provenance=result.provenance)


def _run_names(count: int) -> list[str]:
    """What the outputs of each uniform run are called beside their common name."""
    return [f"-run{number}" if count > 1 else "" for number in range(1, count + 1)]


def _interpolated(
    volumes: list[Volume], remarks: list[str], request: Request, uncertainty: bool, reporter: Reporter
) -> list[Result]:
    """Interpolate the uniform runs of a scan, and say what there is to say."""
    from .interpolation import interpolate

    results = []
    for volume in volumes:
        for remark in remarks:
            reporter.message(remark)
        remarks = []
        result = interpolate(volume, request, uncertainty=uncertainty, progress=reporter)
        for remark in [f"Device: {result.device}", *result.remarks]:
            reporter.message(remark)
        reporter.message(_summary(volume, result.volume))
        results.append(result)
    return results


def _outputs(*inputs: str | Path | None) -> Outputs:
    """The files that a command writes, together or not at all, also where it is cancelled."""
    from .files import Outputs

    return Outputs(*inputs, hold_cancel=cancel.hold_cancel)


def _summary(volume: Volume, made: Volume) -> str:
    counts = {
        "synthesized": made.provenance.count("S"),
        "denoised": made.provenance.count("D"),
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return (
        f"{volume.slice_count} slices at {volume.slice_spacing:.4g} mm -> {made.slice_count} at "
        f"{made.slice_spacing:.4g} mm{f' ({said})' if said else ''}, method {made.history[-1]['method']}"
    )


def _numbered(path: str, run: str, suffix: str = "") -> str:
    from .files import check_writable

    suffix = suffix or check_writable(path)
    return path[: -len(suffix)] + run + path[-len(suffix) :]


def _compare(options: argparse.Namespace, reporter: Reporter) -> None:
    from .checks import check_volume
    from .files import read_volume
    from .interpolation import with_units
    from .reports.pictures import check_window, compare_picture

    window = tuple(options.window) if options.window else None
    check_window(window)
    request = Request.from_options(options)
    with _outputs(options.input, options.result) as outputs:
        outputs.check(options.output)
        shown = []
        for title, path, how in (
            ("original", options.input, _how(options, reporter)),
            ("result", options.result, {}),
        ):
            volume, remarks = read_volume(path, **how)
            check_volume(volume)
            volume = with_units(volume, request, remarks)
            for remark in remarks:
                reporter.message(f"{title.capitalize()}: {remark}")
            shown.append((title, volume))
        shown[1][1].refinement_of(shown[0][1])
        with outputs.file(options.output) as picture:
            compare_picture(shown, picture, window)
    reporter.result(outputs.paths)


def _noise(options: argparse.Namespace, reporter: Reporter) -> None:
    from .files import read_volume
    from .interpolation import method_record
    from .reports.noise import NOISE_FILES, analyze_noise, noise_before_and_after, write_noise_report

    request = Request.from_options(options)
    with _outputs(options.input, options.result) as outputs:
        folder = outputs.check_folder(options.output_dir, NOISE_FILES)
        run = None
        if options.dicom_dir:
            run, remarks = _run_to_write_beside(options, outputs, reporter)
            volume = run.volume
        else:
            volume, remarks = read_volume(options.input, **_how(options, reporter))
        result, more = read_volume(options.result) if options.result else (None, [])
        if result is not None:
            result.refinement_of(volume)
        report = analyze_noise(volume, request, progress=reporter)
        for remark in [*remarks, *more, *report.remarks]:
            reporter.message(remark)
        along = noise_before_and_after(volume, result)
        text = write_noise_report(volume, report, folder, outputs, along)
        if run is not None:
            from .dicom import write_map

            with outputs.new_folder(options.dicom_dir) as place:
                made_by = method_record(request.method)
                write_map(report.residual, run, "residual", place / "residual.dcm", made_by)
                write_map(report.noise_sd, run, "noise-sd", place / "noise-sd.dcm", made_by)
    reporter.result(outputs.paths, answer=text, blobs=report.blobs)


def _run_to_write_beside(
    options: argparse.Namespace, outputs: Outputs, reporter: Reporter
) -> tuple[Run, list[str]]:
    """The DICOM series that a command reads, where it shall write further objects into the study."""
    from .dicom import need_highdicom
    from .files import read_run

    outputs.check_new_folder(options.dicom_dir)
    need_highdicom()
    return read_run(options.input, **_how(options, reporter))


def _trust(options: argparse.Namespace, reporter: Reporter) -> None:
    from .files import read_volume
    from .reports.trust import DEFAULT_SLICES, trust, trust_table

    request = Request.from_options(options)
    with _outputs(options.input) as outputs:
        outputs.check(options.output)
        volume, remarks = read_volume(options.input, **_how(options, reporter))
        slices = DEFAULT_SLICES if options.slices is None else options.slices
        report = trust(volume, request, slices=slices, progress=reporter)
        for remark in [*remarks, *report.remarks]:
            reporter.message(remark)
        if options.output:
            outputs.text(options.output, json.dumps(report.as_dict(), indent=1) + "\n")
    text = f"{trust_table(report)}\n{report.verdict}"
    reporter.result(outputs.paths, answer=text, verdict=report.verdict, trusted=report.trusted)


def _measure(options: argparse.Namespace, reporter: Reporter) -> None:
    from .checks import check_volume
    from .files import read_run, read_volume
    from .interpolation import with_units
    from .reports.measure import (
        COLUMNS,
        check_hu_range,
        measure,
        measure_table,
        read_segmentation,
        surfaces_can_be_measured,
    )
    from .reports.tables import write_csv

    hu_range = tuple(options.range)
    check_hu_range(hu_range)
    if options.margin < 0:
        raise InputError(f"The margin around a segment cannot be negative, as {options.margin:g} mm is.")
    if not options.result and (options.denoised or options.masks_dir or options.edited_dir):
        raise InputError(
            "--denoised, --masks-dir and --edited-dir need the interpolated volume: --result FILE."
        )
    request = Request.from_options(options)
    sources = [options.input, *options.segmentation, options.result, options.denoised, options.edited_dir]
    with _outputs(*sources) as outputs:
        outputs.check(options.output)
        folder = outputs.check_folder(options.masks_dir) if options.masks_dir else None
        scan_run = result_run = None
        if options.dicom_dir:
            scan_run, remarks = _run_to_write_beside(options, outputs, reporter)
            volume = scan_run.volume
        else:
            volume, remarks = read_volume(options.input, **_how(options, reporter))
        check_volume(volume)
        volume = with_units(volume, request, remarks)
        if volume.units != "HU":
            remarks.append("No HU scale: what is called HU holds the values of the scan.")
        if not surfaces_can_be_measured():
            remarks.append("No closed surfaces: scikit-image, which makes them, is not installed.")
        if options.dicom_dir and options.result and Path(options.result).is_dir():
            result_run, more = read_run(options.result)
            result = result_run.volume
        else:
            result, more = read_volume(options.result) if options.result else (None, [])
        if options.dicom_dir and result is not None and result_run is None:
            more.append(
                "The result is no DICOM series: of the figures, those on its grid are left out of DICOM."
            )
        quiet, others = read_volume(options.denoised) if options.denoised else (None, [])
        for remark in [*remarks, *more, *others]:
            reporter.message(remark)
        if folder:
            outputs.folder(folder)
        rows: list[dict[str, Any]] = []
        found = []
        count = len(options.segmentation)
        reporter("measure", 0, count)
        for number, path in enumerate(options.segmentation, start=1):
            edited = {
                kind: read_segmentation(Path(options.edited_dir, f"{kind}-{number}.nrrd"), result)
                for kind in ("carried", "renewed")
                if options.edited_dir and Path(options.edited_dir, f"{kind}-{number}.nrrd").is_file()
            }
            labels = read_segmentation(path, volume)
            measured = measure(volume, labels, result, hu_range, options.margin, quiet=quiet, **edited)
            rows += [{**row, "labelmap": number} if count > 1 else row for row in measured.rows]
            if folder:
                outputs.volume(measured.carried, folder / f"carried-{number}.nrrd")
                outputs.volume(measured.renewed, folder / f"renewed-{number}.nrrd")
            if options.dicom_dir:
                found.append((labels, measured))
            reporter("measure", number, count)
        if options.dicom_dir:
            from .dicom import write_measured

            with outputs.new_folder(options.dicom_dir) as place:
                write_measured(place, replace(scan_run, volume=volume), found, result_run)
        if options.output:
            with outputs.file(options.output) as table:
                write_csv(table, rows, (*COLUMNS, "labelmap") if count > 1 else COLUMNS)
    reporter.result(outputs.paths, answer=measure_table(rows), rows=rows)


def _page(options: argparse.Namespace, reporter: Reporter) -> None:
    from .files import read_volume
    from .reports.noise import NoiseReport, rows_along
    from .reports.page import study_page
    from .reports.tables import read_csv, read_json
    from .reports.trust import TrustReport

    residual_file = Path(options.noise).with_name("residual.nrrd") if options.noise else None
    inputs = (
        options.input,
        options.result,
        options.trust,
        options.noise,
        options.measurements,
        residual_file,
    )
    with _outputs(*inputs) as outputs:
        outputs.check(options.output)
        report = TrustReport.from_dict(read_json(options.trust)) if options.trust else None
        noise, along = None, ()
        if options.noise:
            values = read_json(options.noise)
            residual = read_volume(residual_file)[0] if residual_file.is_file() else None
            noise, along = NoiseReport.from_dict(values, residual), rows_along(values)
        rows = read_csv(options.measurements, ("segment", "grid")) if options.measurements else ()
        volume, remarks = read_volume(options.input, **_how(options, reporter))
        result, more = read_volume(options.result) if options.result else (None, [])
        if noise and noise.residual and not noise.residual.same_grid(volume):
            raise InputError(f"'{residual_file}' was not made of this scan; make the noise maps of it.")
        for remark in [*remarks, *more]:  # not on the page: file names may name the patient
            reporter.message(remark)
        page = study_page(
            volume, result, title=options.title, trust=report, noise=noise, noise_rows=along, measurements=rows,
            remarks=options.remark, window=options.window, position=options.position,
        )  # fmt: skip
        outputs.text(options.output, page)
    reporter.result(outputs.paths)


def _dicom_info(options: argparse.Namespace, reporter: Reporter) -> None:
    from .dicom import folder_info, is_dicom_file

    folder = Path(options.input)
    if not folder.is_dir() and not is_dicom_file(folder):
        raise InputError(
            f"There is no folder '{folder}'; dicom-info takes the folder of a DICOM study or series."
        )
    series, remarks, report = folder_info(folder, options.series, reporter)
    lines = [f"{'*' if one.chosen else ' '} {one.name}: {one.text} ({one.reason})" for one in series]
    reporter.result(
        answer="\n".join([*lines, *remarks, *report.table()]),
        series=[asdict(one) for one in series],
        files=[asdict(one) for one in report.entries],
    )


def _batch(options: argparse.Namespace, reporter: Reporter) -> None:
    from .batch.command import run_batch
    from .batch.engine import Workers
    from .batch.settings import Settings

    settings = Settings.of(
        Request.from_options(options), options.output_format, options.compress, options.without
    )
    workers = Workers(options.scheduler, options.workers, options.threads, options.dashboard)
    run_batch(
        options.input, options.output, settings, workers, reporter,
        dry_run=options.dry_run, hold_cancel=cancel.hold_cancel,
    )  # fmt: skip


def _thicken(options: argparse.Namespace, reporter: Reporter) -> None:
    from .checks import check_volume
    from .files import check_writable, read_volume
    from .interpolation import with_units

    request = Request.from_options(options)
    with _outputs(options.input) as outputs:
        outputs.check_volume(options.output)
        volume, remarks = read_volume(options.input, options.series)
        check_volume(volume)
        volume = with_units(volume, request, remarks)
        if request.axis != "auto":
            volume = volume.along(request.axis)
        check_writable(options.output, volume)
        made = thicken(volume, options.factor, options.profile)
        for remark in remarks:
            reporter.message(remark)
        reporter.message(
            f"{volume.slice_count} slices at {volume.slice_spacing:.4g} mm -> {made.slice_count} at "
            f"{made.slice_spacing:.4g} mm, {made.slice_thickness:.4g} mm thick"
        )
        outputs.volume(made, options.output, options.compress)
    reporter.result(outputs.paths, provenance=made.provenance)


def _models(options: argparse.Namespace, reporter: Reporter) -> None:
    from .catalogue import find_model, remove_model
    from .catalogue.adding import add_model, trust_model

    action, name = options.action, options.argument
    if action == "list":
        _list_models(reporter)
        return
    if not name:
        raise InputError(f"models {action} needs a name or a file; 'models list' shows the names.")
    if action == "info":
        card = find_model(name).card
        reporter.result(answer=json.dumps(card, indent=1), card=card)
    elif action == "add":
        model = add_model(name, check=cancel.hold_cancel())
        if model.is_script:
            reporter.message(
                f"'{model.name}' is a program and was only copied, not tried. If you trust where it comes from, "
                f"go on with 'slice-interpolation models trust {model.name}'."
            )
        reporter.result([model.folder])
    else:
        if action == "trust":
            trust_model(find_model(name))
            cancel.hold_cancel()
        else:
            cancel.hold_cancel()
            remove_model(name)
        reporter.result()


def _list_models(reporter: Reporter) -> None:
    from .catalogue import Unusable, needs_consent, read_catalogue, user_folder

    models, unusable = read_catalogue()
    usable, lines = [], []
    for model in models:
        try:
            if not model.bundled:
                model.check_fits()
        except InputError as error:
            unusable.append(Unusable(model.folder, str(error), model.bundled))
            continue
        except (ImportError, OSError):  # without PyTorch a config cannot be tried
            pass
        low, high = model.gap_mm
        note = "bundled" if model.bundled else "user"
        note += ", default" if model.is_default else ""
        note += ", a program that is not trusted yet" if needs_consent(model) else ""
        lines.append(f"{model.name:<24}{model.card['architecture']:<16}gap {low:g}-{high:g} mm  {note}")
        usable.append(model.card)
    lines += [f"{folder.name:<24}unusable: {folder.reason}" for folder in unusable]
    try:
        lines.append(f"user models: {user_folder()}")
    except InputError as error:
        lines.append(f"user models: none. {error}")
    networks = _networks([card["architecture"] for card in usable])
    lines += ["", "networks, and the recipes that train them (slice-interpolation train):"]
    for network in networks:
        state = "with weights" if network["weights"] else "no weights"
        lines.append(
            f"{network['architecture']:<24}{state:<16}{', '.join(network['recipes']) or network['note']}"
        )
    reasons = [{"name": folder.name, "reason": folder.reason} for folder in unusable]
    reporter.result(answer="\n".join(lines), models=usable, unusable=reasons, networks=networks)


def _networks(with_weights: Sequence[str]) -> list[dict[str, Any]]:
    """Every architecture of the catalogue: whether a model has weights for it, and which recipes train it."""
    from .networks import ARCHITECTURES

    recipes, note = {}, "needs the package SliceInterpolationTrainer"
    if find_spec(_TRAINER_PACKAGE) is not None:
        try:
            recipes = import_module(f"{_TRAINER_PACKAGE}.recipes").recipes_by_network()
        except ImportError as error:
            note = f"needs the Python package {error.name}"
    scripts = "a program that somebody else has trained: models add FOLDER"
    return [
        {
            "architecture": name,
            "weights": name in with_weights,
            "recipes": recipes.get(name, []),
            "note": scripts if name == "torchscript" else note,
        }
        for name in ARCHITECTURES
    ]


def _phantom(options: argparse.Namespace, reporter: Reporter) -> None:
    from .phantom import Hematoma, phantom_volume
    from .volume import Volume

    with _outputs() as outputs:
        outputs.check_volume(options.output, options.segmentation)
        reporter("phantom", 0, options.slices)
        try:
            volume, labels, truth_ml = phantom_volume(
                size=options.size,
                pixel_spacing=options.pixel_spacing,
                slices=options.slices,
                slice_spacing=options.slice_spacing,
                slice_thickness=options.slice_thickness,
                noise_hu=options.noise_hu,
                hematoma=Hematoma(options.hematoma_ml) if options.hematoma_ml > 0 else None,
                seed=options.seed,
                progress=lambda done: reporter("phantom", done, options.slices),
            )
        except ValueError as error:  # what the phantom says of sizes that cannot be
            raise InputError(f"This phantom cannot be made: {error}.") from error
        outputs.volume(volume, options.output)
        if options.segmentation:
            mask = Volume(labels, volume.spacing, volume.origin, slice_axis="k", units="label")
            outputs.volume(mask, options.segmentation)
    reporter.result(outputs.paths, hematoma_ml=truth_ml)


def _demo(options: argparse.Namespace, reporter: Reporter) -> None:
    from .demo import run_demo

    run_demo(Path(options.output_dir), options.input, Request.from_options(options), reporter)
