"""What a run will do, said before it does it: sizes, spacing, time, and the reason where it would be refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from SliceInterpolationLib.catalogue import Model, list_models
from SliceInterpolationLib.checks import check_interpolatable
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.interpolation import as_requested, check_gap, factor_for, find_model_or_explain
from SliceInterpolationLib.interpolators import CLASSICAL, METHODS
from SliceInterpolationLib.request import Request
from SliceInterpolationLib.volume import Volume

# Seconds for a megapixel of predicted slices, where this computer has no run of its own to go by.
_FIRST_RATES = {
    "network-cpu": 0.6,
    "flow-cpu": 0.3,
    "network-cuda": 0.03,
    "flow-cuda": 0.02,
    "classical": 0.02,
}
_START_SECONDS = {"network": 2.5, "flow": 2.0, "classical": 0.6}
_PANEL_WORDS = {
    "use --method flow or cubic, or --force": "choose flow or cubic, or switch on 'Run in spite of warnings'",
    "use --force": "switch on 'Run in spite of warnings'",
    "Use --device cpu": "Choose the device CPU",
    "Prefer --method": "Prefer the method",
}
CLASSICAL_LINES = {
    "flow": "Optical flow: follows structures from slice to slice, no training.",
    "cubic": "Cubic through four slices: sharper than linear, can overshoot at bone.",
    "linear": "Mean of the two neighbors weighted by distance: smooth, doubles contours that move.",
}


@dataclass
class Plan:
    """text: one sentence, or why nothing can be done. problem: True for the latter. remarks: warnings."""

    text: str
    problem: bool = False
    factor: int = 1
    seconds: float = 0.0
    remarks: list[str] = field(default_factory=list)


def planRun(
    volume: Volume,
    factor: int | str = 2,
    method: str = "default",
    outputMode: str = "interpolated",
    strength: float = 0.5,
    axis: str = "auto",
    device: str = "cpu",
    force: bool = False,
    rates: dict[str, float] | None = None,
) -> Plan:
    """Say what `interpolate` would do with these arguments, in a few milliseconds.

    device: as the run will choose it ("cpu" or "cuda:N"). rates: measured seconds a megapixel, see `rateKey`.

    Example::

        planRun(volumeFromNode(node)).text  # "30 slices at 5.0 mm -> 59 at 2.5 mm, about 8 s on CPU"
    """
    remarks: list[str] = []
    try:
        request = Request(
            factor=factor, method=method, output_mode=outputMode, strength=strength, axis=axis, force=force
        )
        volume = as_requested(volume, request, remarks)
        check_interpolatable(volume, force)
        number = factor_for(volume, request, remarks)
        if method not in METHODS:
            check_gap(volume, find_model_or_explain(method), request, number, remarks)
    except InputError as error:
        return Plan(inPanelWords(str(error)), problem=True)
    seconds = estimateSeconds(volume, number, method, outputMode, device, rates or {})
    made = (volume.slice_count - 1) * number + 1
    if outputMode == "denoise-only":
        what = f"{volume.slice_count} slices at {_mm(volume.slice_spacing)}, all but the two ends denoised"
    else:
        what = (
            f"{volume.slice_count} slices at {_mm(volume.slice_spacing)} \u2192 "
            f"{made} at {_mm(volume.slice_spacing / number)}"
        )
        if outputMode == "denoised":
            what += ", acquired slices denoised but for the two ends"
    where = "GPU" if device.startswith("cuda") and method not in CLASSICAL else "CPU"
    text = f"{what}, about {formatSeconds(seconds)} on {where}."
    remarks = [inPanelWords(remark) for remark in remarks if not remark.startswith("Isotropic")]
    return Plan(text, False, number, seconds, remarks)


def estimateSeconds(
    volume: Volume, factor: int, method: str, outputMode: str, device: str, rates: dict[str, float]
) -> float:
    """Seconds that a run will take, from start to result."""
    key = rateKey(method, device)
    return _START_SECONDS[_kind(method)] + rates.get(key, _FIRST_RATES[key]) * megapixels(
        volume, factor, outputMode
    )


def measuredRate(
    volume: Volume, factor: int, method: str, outputMode: str, remarks: list[str], seconds: float
) -> tuple[str, float]:
    """The `rateKey` of a run that is over and the seconds a megapixel that it took, at least 0.1 ms.

    remarks: of the run, which say on what device it was.
    """
    onGpu = any(remark.startswith("Device: GPU") for remark in remarks)
    spent = max(seconds - _START_SECONDS[_kind(method)], 0.1 * seconds)
    rate = max(spent / max(megapixels(volume, factor, outputMode), 1e-6), 1e-4)
    return rateKey(method, "cuda" if onGpu else "cpu"), rate


def megapixels(volume: Volume, factor: int, outputMode: str) -> float:
    """How much a run predicts: new slices, and with denoising each inner slice once more."""
    predicted = (volume.slice_count - 1) * (factor - 1)
    if outputMode != "interpolated":
        predicted += volume.slice_count - 2
    rows, columns = volume.slices.shape[1:]
    return predicted * rows * columns / 1e6


def rateKey(method: str, device: str) -> str:
    """Under which name the speed of a method on a kind of device is remembered."""
    kind = _kind(method)
    return kind if kind == "classical" else f"{kind}-{'cuda' if device.startswith('cuda') else 'cpu'}"


def methodChoices() -> list[tuple[str, str, str]]:
    """(name for the command line, label, one line about it) of each method, the default network first."""
    choices = []
    for model in sorted(list_models(), key=lambda model: not model.card.get("default")):
        isDefault = bool(model.bundled and model.card.get("default"))
        label = f"{model.name} (default)" if isDefault else model.name
        choices.append(("default" if isDefault else model.name, label, cardLine(model)))
    return choices + [(name, name, line) for name, line in CLASSICAL_LINES.items()]


def cardLine(model: Model) -> str:
    """What the card of a model says about it, in one line."""
    low, high = model.gap_mm
    said = model.card.get("description") or f"Network {model.card['architecture']}."
    origin = "bundled" if model.bundled else "yours"
    return f"{str(said).splitlines()[0].rstrip('. ')}. Trained for gaps of {low:g} to {high:g} mm ({origin})."


def formatSeconds(seconds: float) -> str:
    """'8 s', '3 min' or '1.5 h'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def inPanelWords(text: str) -> str:
    """An error text of the command line with the names of the panel instead of options."""
    for words, instead in _PANEL_WORDS.items():
        text = text.replace(words, instead)
    return text


def _kind(method: str) -> str:
    if method in CLASSICAL:
        return "classical"
    return "flow" if method == "flow" else "network"


def _mm(value: float) -> str:
    text = f"{value:.2f}".rstrip("0")
    return f"{text}0 mm" if text.endswith(".") else f"{text} mm"
