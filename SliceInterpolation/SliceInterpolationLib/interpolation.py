"""From a volume to the interpolated volume: check, stream slices through an interpolator, interleave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from . import __version__
from .catalogue import Model, find_model, model_hash
from .checks import check_interpolatable
from .denoising import denoised_slices
from .device import choose_device
from .errors import InputError
from .interpolators import METHODS, Interpolator, SliceStack, create
from .volume import ACQUIRED, DENOISED, SYNTHESIZED, Volume

OUTPUT_MODES = ("interpolated", "denoised", "denoise-only")
DEFAULT_STRENGTH = 0.5
_GAP_TOLERANCE = 1.5  # a gap this many times beyond the trained range is still bridged, with a warning

Progress = Callable[[str, int, int], None]
"""Called with (stage, slices done, slices in all); it may raise `Cancelled` to stop the work."""


@dataclass
class Result:
    """What `interpolate` made: the volume, the predicted error SD if asked for, and what the user should know."""

    volume: Volume
    uncertainty: Volume | None = None
    device: str = ""
    remarks: list[str] = field(default_factory=list)


def interpolate(
    volume: Volume,
    factor: int | str = 2,
    method: str = "default",
    output_mode: str = "interpolated",
    strength: float = DEFAULT_STRENGTH,
    axis: str = "auto",
    device: str = "auto",
    force: bool = False,
    uncertainty: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Put factor - 1 new slices between any two neighboring slices of a volume.

    N slices at spacing s become (N - 1) * factor + 1 at s / factor, with the same origin and direction. The
    input is never changed, and in the mode "interpolated" its slices are in the result bit by bit.

    factor: 2, 3, ... or "isotropic" (the integer that brings slices nearest to the pixel spacing).
    method: "default", a model of the catalogue, or nearest, linear, cubic, bspline, flow.
    output_mode: "interpolated"; "denoised" (acquired slices are replaced by denoised ones, except the two ends);
    "denoise-only" (the same, without new slices). strength: of the denoising, 0 to 1.
    axis: "auto" (the largest spacing), "i", "j" or "k". device: "auto", "cpu", "cuda" or "cuda:N".
    uncertainty: also return the SD of the error, in the units of the volume, that the network predicts.
    Raises InputError where the volume or an argument does not fit; `force` overrides what it may. Raises
    Cancelled when `progress` does.

    Example::

        volume, _ = read_volume("head.nrrd")
        result = interpolate(volume, factor=2)
        write_volume(result.volume, "head-x2.nrrd")
    """
    remarks: list[str] = []
    volume = volume if axis == "auto" else volume.along(axis)
    check_interpolatable(volume, force)
    factor = check_options(volume, factor, output_mode, strength, remarks)
    model = None if method in METHODS else find_model_or_explain(method)
    if model is not None:
        check_gap(volume, model, factor, force, remarks)
    device, reason = ("cpu", "CPU") if method in METHODS and method != "flow" else choose_device(device)
    interpolator = create(method, device, remarks.append)
    if volume.units != "HU":
        remarks.append("No HU scale: percentiles 1 and 99 stand for -100 and 200 HU inside the method.")
    progress = progress or (lambda stage, done, total: None)
    interpolator.progress = progress
    out, errors, provenance = _interleave(
        volume, interpolator, factor, output_mode, strength, uncertainty, progress
    )
    made = volume.refined(out, factor, provenance)
    made.header = {**volume.header, **describe(interpolator.name, model, factor, output_mode, strength)}
    errors = None if errors is None else volume.refined(errors, factor, provenance)
    return Result(made, errors, reason, remarks)


def find_model_or_explain(method: str) -> Model:
    """The model of that name; InputError that lists the methods as well where there is none."""
    try:
        return find_model(method)
    except InputError as error:
        raise InputError(f"{error} Methods without weights: {', '.join(METHODS)}.") from None


def check_options(
    volume: Volume, factor: int | str, output_mode: str, strength: float, remarks: list[str]
) -> int:
    """The factor as a number; InputError for options that do not fit the volume or each other."""
    if output_mode not in OUTPUT_MODES:
        raise InputError(f"There is no output mode '{output_mode}'; use {', '.join(OUTPUT_MODES)}.")
    if not 0 <= strength <= 1:
        raise InputError(f"The denoising strength must lie between 0 and 1, not {strength:g}.")
    if output_mode != "interpolated" and volume.slice_count < 3:
        raise InputError("Denoising predicts a slice from both its neighbors and needs at least 3 slices.")
    if output_mode == "denoise-only":
        return 1
    if factor == "isotropic":
        factor = max(2, volume.isotropic_factor)
        spacing = volume.slice_spacing / factor
        remarks.append(f"Isotropic: factor {factor}, slices at {spacing:.3g} mm.")
    elif isinstance(factor, str) and factor.isdigit():
        factor = int(factor)
    if not isinstance(factor, (int, np.integer)) or factor < 2:
        raise InputError(f"The factor must be a whole number from 2 on or 'isotropic', not '{factor}'.")
    return int(factor)


def check_gap(volume: Volume, model: Model, factor: int, force: bool, remarks: list[str]) -> None:
    """Compare the slice distance with what the model was trained for; far beyond it InputError unless forced."""
    low, high = model.gap_mm
    gap = volume.slice_distance if factor > 1 else 2 * volume.slice_distance
    trained = f"the range {low:g} to {high:g} mm that '{model.name}' was trained for"
    if gap > _GAP_TOLERANCE * high and not force:
        raise InputError(
            f"Slices {gap:.3g} mm apart lie far beyond {trained}; use --method flow or cubic, or --force."
        )
    if volume.units == "HU" and not low <= gap <= high:
        remarks.append(
            f"Warning: a distance of {gap:.3g} mm lies outside of {trained}; compare with flow and cubic "
            "by the trust check."
        )


def describe(
    method: str, model: Model | None, factor: int, output_mode: str, strength: float
) -> dict[str, str]:
    """How a result was made, as text entries for its header."""
    header = {"Method": method, "Factor": str(factor), "OutputMode": output_mode, "Version": __version__}
    if model is not None:
        header["ModelSHA256"] = model_hash(model)
    if output_mode != "interpolated":
        header["Strength"] = f"{strength:g}"
    return header


def _interleave(
    volume: Volume,
    interpolator: Interpolator,
    factor: int,
    output_mode: str,
    strength: float,
    uncertainty: bool,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Voxels of the result, of the error SD, and the provenance of its slices."""
    stack = SliceStack.of(volume)
    total = (volume.slice_count - 1) * factor + 1
    between = [number / factor for number in range(total) if number % factor]
    if uncertainty:
        new_slices = interpolator.synthesize_with_uncertainty(stack, between)
    else:
        new_slices = ((image, None) for image in interpolator.synthesize(stack, between))
    kept = (
        _acquired(stack) if output_mode == "interpolated" else denoised_slices(stack, interpolator, strength)
    )
    out = volume.empty_refined(factor)
    errors = np.zeros(out.shape, dtype=np.float32) if uncertainty else None
    out_slices = np.moveaxis(out, 2 - "ijk".index(volume.slice_axis), 0)
    letters = []
    progress(output_mode, 0, total)
    for number in range(total):
        if number % factor:
            image, sd = next(new_slices)
            letter = SYNTHESIZED
            if errors is not None:
                np.moveaxis(errors, 2 - "ijk".index(volume.slice_axis), 0)[number] = sd
        else:
            image, letter = next(kept)
            letter = letter or volume.provenance[number // factor]
        store(image, out_slices[number])
        letters.append(letter)
        progress(output_mode, number + 1, total)
    return out, errors, "".join(letters)


def _acquired(stack: SliceStack) -> Iterator[tuple[np.ndarray, str]]:
    for image in stack.slices:
        yield image, ""


def store(image: np.ndarray, target: np.ndarray) -> None:
    """Write a slice into voxels of another type: integers are rounded and keep to the range of their type."""
    if image.dtype != target.dtype and target.dtype.kind in "iu":
        limits = np.iinfo(target.dtype)
        image = np.clip(np.rint(image), limits.min, limits.max)
    target[...] = image


__all__ = ["ACQUIRED", "DENOISED", "OUTPUT_MODES", "SYNTHESIZED", "Result", "interpolate"]
