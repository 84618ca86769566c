"""What the panel says, and what each button says and why: plain functions of plain values.

Nothing here knows Qt or the scene. The widget gathers `Choices`, and shows what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from SliceInterpolationLib.interpolators import CLASSICAL
from SliceInterpolationLib.request import Request

from ..i18n import _
from ..run.words import formatSeconds

SWITCH_KEY, NEXT_KEY, PREVIOUS_KEY, DIFFERENCE_KEY = "X", "N", "Shift+N", "D"
"""None of them is taken by the slice views (r, f, b, g, t, v, brackets, arrows) or by the main window."""


def keysText() -> str:
    """What the keys do, for tool tips."""
    return _(
        "Keys: {switch} switches between original and result in place, {next} and {previous} go to the next and the "
        "previous synthesized slice, {difference} shows the difference."
    ).format(switch=SWITCH_KEY, next=NEXT_KEY, previous=PREVIOUS_KEY, difference=DIFFERENCE_KEY)


def runningElsewhere() -> str:
    """Why a run cannot be started while another one goes on."""
    return _("A run is under way; wait for it or cancel it first.")


@dataclass(frozen=True)
class Choices:
    """What is chosen, there and going on in the panel.

    hasInput, hasResult, hasSegment, hasRegion: whether one is chosen. fromDicom: the input was loaded from DICOM.
    outputIsInput: the output volume is the input. planned: what the plan says, or with planRefused why nothing can be
    done. noTorch: why the method cannot run for want of PyTorch, empty where it can. trustPlanned: what a trust check
    would do, or with trustRefused why there can be none. torchExtension: PyTorch can be installed through its
    extension. running: the kind of the run under way, empty without one. comparing: the compare view is on. shown:
    kinds ("trust", "noise", "measure") of which there is something to plot. maps: names of the maps that can be laid
    over the scan.
    """

    request: Request = field(default_factory=Request)
    hasInput: bool = False
    hasResult: bool = False
    hasSegment: bool = False
    hasRegion: bool = False
    fromDicom: bool = True
    outputIsInput: bool = False
    planned: str = ""
    planRefused: bool = False
    noTorch: str = ""
    trustPlanned: str = ""
    trustRefused: bool = False
    torchInstalled: bool = True
    torchExtension: bool = True
    running: str = ""
    comparing: bool = False
    canRestoreLayout: bool = False
    shown: frozenset[str] = frozenset()
    maps: tuple[str, ...] = ()
    huLow: float = 40.0
    huHigh: float = 100.0


@dataclass(frozen=True)
class Look:
    """How a widget looks: disabled only with the reason in its tool tip. text: of a button, empty where it stays."""

    toolTip: str
    enabled: bool = True
    text: str = ""


def looks(choices: Choices) -> dict[str, Look]:
    """How every button, and every other widget that is not always usable, looks; by the name of the widget."""
    measured = "measure" in choices.shown
    return {
        "applyButton": _runLook(choices, "interpolate"),
        "trustButton": _runLook(choices, "trust"),
        "noiseButton": _runLook(choices, "noise"),
        "compareButton": _look(
            _noResult(choices), _("Show original and result side by side.") + " " + keysText()
        ),
        "cineButton": _look(
            "" if choices.comparing else _("Switch on the compare view first."),
            _("Fade to and fro between original and result on the result side."),
        ),
        "restoreLayoutButton": _look(
            "" if choices.canRestoreLayout else _("The layout is the one that you chose."),
            _("Back to the layout before the compare view, a plot or a table."),
        ),
        "shownComboBox": _look(
            "" if choices.comparing else _("Switch on the compare view first."),
            _("What the result side shows.") + " " + keysText(),
        ),
        "mapComboBox": _look(
            "" if choices.maps else _("Make noise maps, or let a run also estimate the error, first."),
            _("The map that is laid over the views of its volume."),
        ),
        "regionButton": _look(
            _noRegion(choices), _("Mean, SD and range of scan and maps in the region, as a table.")
        ),
        "measureButton": _runLook(choices, "measure"),
        "exportButton": _look("" if measured else _("Measure first."), _("Save the table of measurements.")),
        "trustPlotButton": _plotLook(choices, "trust"),
        "noisePlotButton": _plotLook(choices, "noise"),
        "measurePlotButton": _plotLook(choices, "measure"),
        **{f"{kind}TableButton": _tableLook(choices, kind) for kind in ("trust", "noise", "measure")},
        "trustMeansButton": _tableLook(choices, "trust", _("Show the mean figures of each method.")),
        "noiseBeforePlotButton": _plotLook(choices, "noise", _beforeAndAfter()),
        "noiseBeforeTableButton": _tableLook(choices, "noise", _beforeAndAfter()),
        "reportButton": _runLook(choices, "report"),
        "samplePhantomButton": _runLook(choices, "phantom"),
        "dicomButton": _runLook(choices, "dicom"),
        "strengthSlider": _look(
            _("Only for denoised output; the acquired slices are kept exact.")
            if choices.request.output_mode == "interpolated"
            else "",
            _("How much of the noise is removed: 0 keeps the acquired slices."),
        ),
        "estimateErrorCheckBox": _look(
            _("Classical methods predict no error; choose a network.")
            if choices.request.method in CLASSICAL
            else "",
            _(
                "Make a map of the error to be expected in the synthesized slices, calibrated on this scan; it "
                "takes longer. The map is shown under Noise."
            ),
        ),
        "factorComboBox": _look(
            _("Denoising only makes no new slices.") if choices.request.output_mode == "denoise-only" else "",
            _("How many times more slices."),
        ),
        "installButton": _look(
            _noInstall(choices),
            _("Download and install PyTorch through its extension."),
        ),
    }


def applyProblem(choices: Choices) -> str:
    """Why nothing can be interpolated now; empty where it can."""
    if not choices.hasInput:
        return _("Choose an input volume first.")
    if choices.outputIsInput:
        return _("The output must be another volume than the input, which is never changed.")
    return choices.planned if choices.planRefused else choices.noTorch


def planText(choices: Choices) -> str:
    """What will be made, or why nothing can be."""
    if not choices.hasInput:
        return _("Choose an input volume, or load the head phantom.")
    return applyProblem(choices) or choices.planned


def deviceText(choices: Choices, needsTorch: bool, devices: dict[str, Any]) -> str:
    """Where the method will compute, and why there.

    devices: what `run.probe` found, with the keys "device", "reason" and "gpus"; or "problem"; empty before.
    """
    if not needsTorch:
        return _("CPU: this method needs no more.")
    if not choices.torchInstalled:
        return _("PyTorch is not installed yet.")
    if "problem" in devices:
        return devices["problem"]
    if not devices:
        return _("Looking for a GPU...")
    device = choices.request.device
    if device == "auto":
        return _("{reason}.").format(reason=devices["reason"])
    return _("{device}, as chosen.").format(device="CPU" if device == "cpu" else device)


def deviceEntries(devices: dict[str, Any]) -> list[tuple[str, str]]:
    """(text, name for the command line) of each device that can be chosen."""
    gpus = [
        (_("{name}, {free:.1f} GiB free").format(name=gpu["name"], free=gpu["free_gib"]), gpu["device"])
        for gpu in devices.get("gpus", [])
    ]
    return [(_("automatic"), "auto"), *gpus, ("CPU", "cpu")]


def mapEntries(maps: Sequence[str]) -> list[tuple[str, str]]:
    """(text, name) of each map that can be shown, none first."""
    texts = {
        "residual": _("residual"),
        "noiseSd": _("noise SD"),
        "errorSd": _("error SD of result"),
    }
    return [(_("none"), ""), *((texts[name], name) for name in maps)]


def trustText(choices: Choices) -> str:
    """What a trust check would do, or why there can be none; empty without a scan."""
    return choices.trustPlanned if choices.hasInput else ""


def startingText(seconds: float) -> str:
    """What is said until the first slice of a run; seconds: what it is expected to take, 0 where that is not known."""
    if not seconds:
        return _("Starting...")
    return _("Starting, about {time}...").format(time=formatSeconds(seconds))


def progressText(entry: dict[str, Any], secondsLeft: float | None = None) -> str:
    """One line of progress: stage, slice and time left; empty where the entry is no progress."""
    if entry.get("done") is None:
        return ""
    text = _("{stage}: slice {done} of {total}").format(
        stage=_stages().get(entry["stage"], entry["stage"]), done=entry["done"], total=entry["total"]
    )
    if secondsLeft:
        text += _(", about {time} left").format(time=formatSeconds(secondsLeft))
    return text


def doneText(
    kind: str, remarks: Sequence[str], seconds: float, inputName: str, stillChosen: bool = True
) -> str:
    """What is said of a run that is done. stillChosen: its input is the one that is chosen now."""
    lines = [] if kind != "interpolate" else [one for one in remarks if not one.startswith("Device:")]
    done = _("Done in {time}.").format(time=formatSeconds(seconds))
    if not stillChosen:
        done += " " + _("This was '{name}', chosen when the run was started.").format(name=inputName)
    return "\n".join([*lines, done])


def aboutScan(name: str, method: str, lines: Sequence[str]) -> str:
    """Findings with the scan and, where there is one, the method that they are about; empty without findings."""
    said = "\n".join(lines)
    subject = _("{name}, {method}").format(name=name, method=method) if method else name
    return _("{subject}: {said}").format(subject=subject, said=said) if said else ""


def _runLook(choices: Choices, kind: str) -> Look:
    """A button that starts a run, and ends it while it goes on."""
    text, help_ = {
        "interpolate": (_("Interpolate"), _("Make the interpolated volume.")),
        "trust": (
            _("Check trust"),
            _("Predict withheld slices of this scan by the method and by linear, cubic and flow."),
        ),
        "noise": (
            _("Make noise maps"),
            _("Show what the method would remove as noise, slice by slice."),
        ),
        "measure": (
            _("Measure"),
            _("Measure the segment on the acquired and on the result grid."),
        ),
        "report": (
            _("Save report..."),
            _("Write one page about scan, result, trust check, noise and measurements, to keep or print."),
        ),
        "phantom": (
            _("Load the head phantom"),
            _(
                "A synthetic head CT, 30 slices at 5 mm with a hematoma of known volume, made on this computer."
            ),
        ),
        "dicom": (
            _("Save as DICOM..."),
            _(
                "Write the result as a new DICOM series of the same study into a folder; every slice says whether it "
                "was acquired or made."
            ),
        ),
    }[kind]
    if choices.running == kind:
        return Look(_("End the run; nothing is changed."), True, _("Cancel"))
    if choices.running:
        return _look(runningElsewhere(), help_, text)
    if kind == "interpolate":
        problem = applyProblem(choices)
    elif kind == "measure":
        problem = _noSegment(choices)
    elif kind == "report":
        problem = _noInput(choices)
    elif kind == "phantom":
        problem = ""
    elif kind == "dicom":
        problem = _noResult(choices) or _notFromDicom(choices)
    elif kind == "trust":
        problem = _noInput(choices) or (choices.trustPlanned if choices.trustRefused else choices.noTorch)
    else:
        problem = _noInput(choices) or choices.noTorch
    return _look(problem, help_, text)


def _plotLook(choices: Choices, kind: str, help_: str = "") -> Look:
    return _look(
        "" if kind in choices.shown else _("There is nothing to plot yet."),
        help_ or _("Show the plot in the views."),
    )


def _tableLook(choices: Choices, kind: str, help_: str = "") -> Look:
    return _look(
        "" if kind in choices.shown else _("There is no table yet."),
        help_ or _("Show the table in the views."),
    )


def _beforeAndAfter() -> str:
    return _("Show the noise of every slice of scan and result, which tells whether it goes up and down.")


def _noInstall(choices: Choices) -> str:
    if choices.torchInstalled:
        return _("Nothing to install.")
    if not choices.torchExtension:
        return _("Install the extension PyTorch in the Extensions Manager first, and restart Slicer.")
    return ""


def consentText(name: str) -> str:
    """What is asked before a model that is a program runs the first time."""
    return _(
        "The model '{name}' is a TorchScript file, that is a program: when it runs, it can read, change and send "
        "whatever you can, patient data included. Nobody has checked it. Run it only if you trust where it comes "
        "from.\n\nTrust this file and run it? You will not be asked again for it, unless the file changes."
    ).format(name=name)


def unusableText(models: Sequence[tuple[str, str]]) -> str:
    """(name, reason) of each model that cannot be used, a line each."""
    return "\n".join(
        _("Cannot be used: {name} ({reason})").format(name=name, reason=reason) for name, reason in models
    )


def _noInput(choices: Choices) -> str:
    return "" if choices.hasInput else _("Choose an input volume first.")


def _noResult(choices: Choices) -> str:
    if choices.hasInput and not choices.hasResult:
        return _("Interpolate first, or choose a result volume.")
    return _noInput(choices)


def _notFromDicom(choices: Choices) -> str:
    return (
        ""
        if choices.fromDicom
        else _("The input was not loaded from DICOM; save the result by Save Data instead.")
    )


def _noRegion(choices: Choices) -> str:
    if choices.hasInput and not choices.hasRegion:
        return _("Choose a region first.")
    return _noInput(choices)


def _noSegment(choices: Choices) -> str:
    if not choices.hasInput:
        return _noInput(choices)
    if not choices.hasSegment:
        return _("Choose a segment first.")
    if choices.huLow >= choices.huHigh:
        return _("The HU range is empty; its upper end must lie above its lower end.")
    return ""


def _look(problem: str, help_: str, text: str = "") -> Look:
    return Look(problem or help_, not problem, text)


def _stages() -> dict[str, str]:
    return {
        "start": _("Starting"),
        "interpolated": _("Interpolating"),
        "denoised": _("Interpolating and denoising"),
        "denoise-only": _("Denoising"),
        "trust": _("Predicting withheld slices"),
        "uncertainty": _("Checking the error estimate"),
        "noise": _("Predicting slices for the noise maps"),
        "measure": _("Measuring"),
        "page": _("Writing the report"),
        "phantom": _("Making the head phantom"),
        "dicom": _("Writing DICOM"),
    }
