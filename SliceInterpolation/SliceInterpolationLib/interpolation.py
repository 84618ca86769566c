"""From a volume to the interpolated volume: check, stream slices through an interpolator, interleave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import __version__
from .catalogue import Model, model_hash
from .checks import check_interpolatable, check_memory, check_prediction
from .denoising import denoised_slices
from .device import choose_device
from .errors import InputError
from .interpolators import Interpolator, create, model_of, needs_torch
from .progress import Progress
from .request import ISOTROPIC, LARGEST_FACTOR, Request
from .stack import SliceStack
from .uncertainty import calibrate
from .volume import ACQUIRED, AIR_LIMIT_HU, SYNTHESIZED, UNKNOWN, Volume

_GAP_TOLERANCE = 1.5  # a gap this many times beyond the trained range is still bridged, with a warning


@dataclass
class Result:
    """What `interpolate` made: the volume, the predicted error SD if asked for, and what the user should know."""

    volume: Volume
    uncertainty: Volume | None = None
    device: str = ""
    remarks: list[str] = field(default_factory=list)


def interpolate(
    volume: Volume,
    request: Request | None = None,
    *,
    uncertainty: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Put factor - 1 new slices between any two neighboring slices of a volume.

    N slices at spacing s become (N - 1) * factor + 1 at s / factor, with the same origin and direction. The
    input is never changed, and in the mode "interpolated" its slices are in the result bit by bit.

    request, options: what is asked for; options are fields of `Request` and override those of `request`.
    Output modes: "interpolated"; "denoised" (the given slices are replaced by denoised ones, except the two ends);
    "denoise-only" (the same, without new slices).
    uncertainty: also return the SD of the error, in the units of the volume: what the network predicts, calibrated on
    the scan itself (see `uncertainty`); of denoised slices against the slice without noise (see `denoising`); 0 of
    slices as acquired.
    Raises InputError where the volume or an option does not fit; `force` overrides what it may. Raises Cancelled
    when `progress` does.

    Example::

        volume, _ = read_volume("head.nrrd")
        result = interpolate(volume, factor=2)
        write_volume(result.volume, "head-x2.nrrd")
    """
    request = replace(request or Request(), **options)
    remarks: list[str] = []
    volume = as_requested(volume, request, remarks)
    check_interpolatable(volume, request.force)
    factor = factor_for(volume, request, remarks)
    check_memory(volume, factor, uncertainty, request.force)
    model = model_of(request.method)
    if model is not None:
        check_gap(volume, model, request, factor, remarks)
    device, reason = choose_device(request.device, needs_torch(request.method))
    interpolator = create(request.method, device, remarks.append)
    progress = progress or (lambda stage, done, total: None)
    interpolator.progress = progress
    out, errors, provenance = _interleave(
        volume, interpolator, model, request, factor, uncertainty, progress, remarks
    )
    made = volume.refined(
        out, factor, provenance, history=(*volume.history, run_record(volume, request, factor, model, device))
    )
    return Result(made, None if errors is None else made.with_map(errors), reason, remarks)


def between(pair: Volume, request: Request | None = None) -> np.ndarray:
    """The slice halfway between the two slices of a volume, (rows, columns) of its type, however far apart they are.

    So single slices that are missing in a series can be bridged (see `dicom.read_series`).
    """
    made = interpolate(pair, request, factor=2, output_mode="interpolated", axis="auto", force=True)
    return made.volume.slices[1]


def as_requested(volume: Volume, request: Request, remarks: list[str]) -> Volume:
    """The volume along the axis and in the units that are asked for; says so where the units are only guessed."""
    if request.axis != "auto":
        volume = volume.along(request.axis)
    volume = with_units(volume, request, remarks)
    if volume.units != "HU":
        remarks.append("No HU scale: percentiles 1 and 99 stand for -100 and 200 HU inside the method.")
    return volume


def with_units(volume: Volume, request: Request, remarks: list[str]) -> Volume:
    """The volume in the units that are asked for; says so where they are only guessed."""
    if request.units != "auto":
        volume = replace(volume, units=request.units, units_guessed=False)
    elif volume.units_guessed:
        seen = "neither air nor negative whole numbers"
        if volume.units == "HU":
            seen = "air" if volume.array.min() <= AIR_LIMIT_HU else "negative whole numbers"
        remarks.append(
            f"The scan does not say its units; {volume.units} is assumed, since it holds {seen}. Use --units to say it."
        )
    return volume


def factor_for(volume: Volume, request: Request, remarks: list[str]) -> int:
    """The factor as a number, 1 for "denoise-only"; InputError where the volume has too few slices for the mode."""
    if request.output_mode != "interpolated" and volume.slice_count < 3:
        raise InputError("Denoising predicts a slice from both its neighbors and needs at least 3 slices.")
    if request.output_mode == "denoise-only":
        return 1
    if request.factor != ISOTROPIC:
        return int(request.factor)
    factor = max(2, volume.isotropic_factor)
    if factor > LARGEST_FACTOR:
        raise InputError(
            f"Slices as close as the pixels take a factor of {factor}; the largest is {LARGEST_FACTOR}, so give one."
        )
    remarks.append(f"Isotropic: factor {factor}, slices at {volume.slice_spacing / factor:.3g} mm.")
    return factor


def check_gap(volume: Volume, model: Model, request: Request, factor: int, remarks: list[str]) -> None:
    """Compare the gaps that are bridged with what the model was trained for; far beyond it InputError unless forced.

    Between two slices the gap is their distance; a denoised slice is predicted across twice of it.
    """
    bridged = {}
    if factor > 1:
        bridged["Slices"] = volume.slice_distance
    if request.output_mode != "interpolated":
        bridged["Denoising bridges slices"] = 2 * volume.slice_distance
    for what, gap in bridged.items():
        if gap > _GAP_TOLERANCE * model.gap_mm[1] and not request.force:
            raise InputError(
                f"{what} {gap:.3g} mm apart lie far beyond {_trained(model)}; use --method flow or cubic, or --force."
            )
        warning = gap_warning(model, gap, what)
        if warning:
            remarks.append(f"{warning} Compare with flow and cubic by the trust check.")


def gap_warning(model: Model, gap: float, what: str) -> str:
    """A sentence where a model bridges a gap in mm that it was not trained for, else "". what: lies so far apart."""
    low, high = model.gap_mm
    if low <= round(gap, 3) <= high:  # a spacing of 2.5 mm may be stored as 2.50001
        return ""
    return f"Warning: {what[0].lower() + what[1:]} {gap:.3g} mm apart, outside of {_trained(model)}."


def _trained(model: Model) -> str:
    low, high = model.gap_mm
    return f"the range {low:g} to {high:g} mm that '{model.name}' was trained for"


def run_record(
    volume: Volume, request: Request, factor: int, model: Model | None, device: str
) -> dict[str, Any]:
    """What a run was, for the history of its result: the request with what followed from it, as plain values."""
    record = {**request.as_dict(), "factor": factor, "axis": volume.slice_axis, "units": volume.units}
    record["device"] = device
    return {**record, **_method_entries(model), "slices": volume.slice_count, "version": __version__}


def method_record(method: str) -> dict[str, Any]:
    """What predicted, for the header of a map: the method by its name, and the hash of its weights."""
    return {"method": method, **_method_entries(model_of(method)), "version": __version__}


def _method_entries(model: Model | None) -> dict[str, Any]:
    return {} if model is None else {"method": model.name, "model_sha256": model_hash(model)}


def _interleave(
    volume: Volume,
    interpolator: Interpolator,
    model: Model | None,
    request: Request,
    factor: int,
    uncertainty: bool,
    progress: Progress,
    remarks: list[str],
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Voxels of the result, of the error SD, and the provenance of its slices."""
    stack = SliceStack.of(volume)
    calibration = None
    if uncertainty and not set(volume.provenance) <= {ACQUIRED, UNKNOWN}:
        remarks.append(
            "Error SD: 0 is written for slices that an earlier run made; their error is not known here."
        )
    if uncertainty and factor > 1:
        calibration = calibrate(stack, volume.provenance, interpolator, model, progress)
    total = (volume.slice_count - 1) * factor + 1
    between = [number / factor for number in range(total) if number % factor]
    if calibration:
        remarks.append(calibration.remark)
        new_slices = (
            (image, sd * np.float32(calibration.factor))
            for image, sd in interpolator.synthesize_with_uncertainty(stack, between)
        )
    else:
        new_slices = ((image, None) for image in interpolator.synthesize(stack, between))
    if request.output_mode == "interpolated":
        kept = ((image, "", 0.0) for image in volume.slices)
    else:
        kept = denoised_slices(stack, interpolator, request.strength, remarks, uncertainty)
    out = volume.empty_refined(factor)
    errors = np.zeros(out.shape, dtype=np.float32) if uncertainty else None
    name, (low, high) = interpolator.name, stack.plausible
    out_slices = volume.as_slices(out)
    letters = []
    progress(request.output_mode, 0, total)
    for number in range(total):
        outside = _outside(volume, number, factor)
        if number % factor:
            image, sd = next(new_slices)
            made = letter = SYNTHESIZED
        else:
            image, made, sd = next(kept)
            given = volume.provenance[number // factor]
            # Denoising makes no measurement of what was none.
            letter = given if not made or given == SYNTHESIZED else made
        if made:
            check_prediction(image, (low, high), name, f"slice {number + 1} of the result")
        if errors is not None:
            check_prediction(np.asarray(sd), (0.0, high - low), name, f"the error of slice {number + 1}")
            volume.as_slices(errors)[number] = sd if outside is None else np.where(outside, 0, sd)
        store(image, out_slices[number])
        if outside is not None:
            out_slices[number][outside] = volume.padding
        letters.append(letter)
        progress(request.output_mode, number + 1, total)
    return out, errors, "".join(letters)


def _outside(volume: Volume, number: int, factor: int) -> np.ndarray | None:
    """Where a slice of the result lies outside of the field of view: where all given slices around it do."""
    before, after = volume.outside(number // factor), volume.outside(-(-number // factor))
    return None if before is None else before & after


def store(image: np.ndarray, target: np.ndarray) -> None:
    """Write a slice into voxels of another type: whole numbers are rounded, all keep to the range of their type."""
    if image.dtype != target.dtype:
        if target.dtype.kind in "iu":
            image = np.rint(image)
        image = np.clip(image, *_limits(target.dtype, image.dtype))
    target[...] = image


def _limits(of: np.dtype, within: np.dtype) -> tuple[np.generic, np.generic]:
    """The least and the largest value of a type as values of another, which are never beyond them.

    The largest int32, for one, is no float32: rounded to the next one it would wrap around to the least.
    """
    limits = np.iinfo(of) if of.kind in "iu" else np.finfo(of)
    ends = []
    for limit in (limits.min, limits.max):
        with np.errstate(over="ignore"):
            end = within.type(limit)
        # Compared as Python numbers, which are exact.
        if abs(int(end) if of.kind in "iu" else float(end)) > abs(limit):
            end = np.nextafter(end, within.type(0))
        ends.append(end)
    return ends[0], ends[1]
