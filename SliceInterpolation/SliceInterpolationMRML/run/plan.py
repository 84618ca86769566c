"""What a run will do, said before it does it: sizes, spacing, time, and the reason where it would be refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from SliceInterpolationLib.checks import check_interpolatable
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.interpolation import as_requested, check_gap, factor_for
from SliceInterpolationLib.interpolators import CLASSICAL, METHODS, model_of
from SliceInterpolationLib.reports.trust import BASELINES, DEFAULT_SLICES
from SliceInterpolationLib.request import Request
from SliceInterpolationLib.volume import Volume

from ..i18n import _
from .estimate import estimateSeconds, scoredSlices, trustSeconds
from .words import formatMm, formatSeconds, inPanelWords


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
    request: Request,
    device: str = "cpu",
    rates: dict[str, float] | None = None,
    refused: str | None = None,
    uncertainty: bool = False,
) -> Plan:
    """Say what `interpolate` would do with this request, in a few milliseconds.

    device: as the run will choose it ("cpu" or "cuda:N"). rates: measured seconds a megapixel, see `rateKey`.
    refused: what `refusal` said of this volume before, which takes a look at every voxel to find out. uncertainty:
    the run also estimates its error.

    Example::

        planRun(volumeFromNode(node), Request()).text  # "30 slices at 5.0 mm -> 59 at 2.5 mm, about 8 s on CPU."
    """
    remarks: list[str] = []
    try:
        volume = as_requested(volume, request, remarks)
        refused = refusal(volume, request.force) if refused is None else refused
        if refused:
            raise InputError(refused)
        number = factor_for(volume, request, remarks)
        if request.method not in METHODS:
            check_gap(volume, model_of(request.method), request, number, remarks)
    except InputError as error:
        return Plan(inPanelWords(str(error)), problem=True)
    seconds = estimateSeconds(volume, number, request, device, rates or {}, uncertainty)
    text = _("{what}, about {time} on {device}.").format(
        what=_whatIsMade(volume, number, request.output_mode),
        time=formatSeconds(seconds),
        device=_deviceName(request.method, device),
    )
    remarks = [inPanelWords(remark) for remark in remarks if not remark.startswith("Isotropic")]
    return Plan(text, False, number, seconds, remarks)


def planTrust(
    volume: Volume,
    request: Request,
    device: str = "cpu",
    rates: dict[str, float] | None = None,
    slices: int | str = DEFAULT_SLICES,
) -> Plan:
    """Say what a trust check of a scan would do; device and rates as of `planRun`, the rates by `trustKey`.

    slices: how many are scored, or "all".

    Example::

        planTrust(volume, Request()).text  # "12 of the 30 slices are predicted by 4 methods, about 9 s on CPU."
    """
    try:
        volume = as_requested(volume, request, [])
        if volume.slice_count < 4:
            return Plan(_("The trust check needs at least 4 slices."), problem=True)
        model = model_of(request.method)
    except InputError as error:
        return Plan(inPanelWords(str(error)), problem=True)
    count = scoredSlices(volume, slices)
    seconds = trustSeconds(volume, count, request.method, device, rates or {})
    text = _(
        "{count} of the {all} slices are predicted by {methods} methods, about {time} on {device}."
    ).format(
        count=count,
        all=volume.slice_count,
        methods=len({request.method if model is None else model.name, *BASELINES}),
        time=formatSeconds(seconds),
        device=_deviceName(request.method, device),
    )
    return Plan(text, seconds=seconds)


def _deviceName(method: str, device: str) -> str:
    return "GPU" if device.startswith("cuda") and method not in CLASSICAL else "CPU"


def refusal(volume: Volume, force: bool) -> str:
    """Why a volume cannot, or need not, be interpolated; empty where it can. Takes a look at every voxel."""
    try:
        check_interpolatable(volume, force)
    except InputError as error:
        return str(error)
    return ""


def _whatIsMade(volume: Volume, factor: int, outputMode: str) -> str:
    count, spacing = volume.slice_count, volume.slice_spacing
    if outputMode == "denoise-only":
        return _("{count} slices at {spacing}, all but the two ends denoised").format(
            count=count, spacing=formatMm(spacing)
        )
    what = _("{count} slices at {spacing} \u2192 {newCount} at {newSpacing}").format(
        count=count,
        spacing=formatMm(spacing),
        newCount=(count - 1) * factor + 1,
        newSpacing=formatMm(spacing / factor),
    )
    if outputMode == "denoised":
        what += _(", acquired slices denoised but for the two ends")
    return what
