"""How far the error SD that a network predicts can be believed, and by what it is multiplied on a scan.

A network has learned on its training scans how large its errors are where. On another scan they are larger or smaller
throughout: a sharper kernel, a lower dose, thinner slices. By how much is seen on the scan itself, on a few of its
slices that are predicted from the others. These lie twice as far from each other as those that interpolation works
with; how the ratio of error and predicted SD changes between the two distances (`carry`) was measured on scans that
the network was not trained on, stands in the model's card, and is taken to be the same on every scan.

The errors are the differences from slices as a scanner acquires them, noise included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .catalogue import Model
from .interpolators.base import Interpolator
from .progress import Progress
from .reports.masks import object_mask
from .stack import SliceStack, evenly, inner_numbers
from .volume import ACQUIRED, UNKNOWN

DEFAULT_SLICES = 8
FEWEST_SLICES = 3
_LEAST_SD = 1e-3  # HU; less is predicted nowhere but in the air around the body


@dataclass(frozen=True)
class Calibration:
    """The factor of the predicted error SD of new slices on one scan. remark: what it rests on, for the user."""

    factor: float
    remark: str


def calibrate(
    stack: SliceStack,
    provenance: str,
    interpolator: Interpolator,
    model: Model | None,
    progress: Progress | None = None,
) -> Calibration:
    """Measure on a few slices of a scan how large the errors are beside the predicted SD.

    provenance: of the slices; made ones are no truth. model: whose card says what holds for other scans. Where fewer
    than 3 acquired slices can be withheld, its factor is used.
    Raises InputError for a method that does not estimate its error.
    """
    known = model.calibration if model is not None else None
    numbers = evenly(inner_numbers(len(stack), DEFAULT_SLICES), DEFAULT_SLICES)
    errors = []
    if len(numbers) >= FEWEST_SLICES and set(provenance) <= {ACQUIRED, UNKNOWN}:
        errors = standardized_errors(stack, interpolator, numbers, progress)
    withheld = typical_size(errors)
    if len(errors) >= FEWEST_SLICES and withheld > 0:
        one, two = coverage(errors, withheld)
        factor = withheld * (known["carry"] if known else 1.0)
        how = f"by {factor:.2f}, as {len(errors)} withheld slices of this scan tell"
        if not known:
            how += " across twice the gap (it may be too large)"
        how += f"; {one:.0%} of their errors lie within one SD, {two:.0%} within two"
        return Calibration(factor, f"Error SD: what the network predicts, multiplied {how}.")
    factor = known["between"] if known else 1.0
    how = f", multiplied by {factor:.2f} as on other scans" if known else ""
    return Calibration(
        factor, f"Error SD: what the network predicts{how}; here are too few acquired slices to check it."
    )


def standardized_errors(
    stack: SliceStack,
    interpolator: Interpolator,
    numbers: Sequence[int],
    progress: Progress | None = None,
) -> list[np.ndarray]:
    """Errors of withheld slices over their predicted SD, the pixels of the patient, one array a slice.

    Slices that show nothing are left out.
    """
    errors = []
    predictions = interpolator.predict_withheld_with_uncertainty(stack, numbers)
    for done, (number, (predicted, sd)) in enumerate(zip(numbers, predictions), start=1):
        acquired = stack.image(number)
        inside = object_mask(acquired, stack.is_hu) & (sd * stack.hu_gain > _LEAST_SD)
        if inside.any():
            errors.append((acquired - predicted)[inside] / sd[inside])
        if progress:
            progress("uncertainty", done, len(numbers))
    return errors


def typical_size(errors: Sequence[np.ndarray]) -> float:
    """The rms of errors over SD, 1 where the SD is right: the median over slices, 0 without any.

    A single slice that nothing explains does not count.
    """
    return float(np.median([np.sqrt(np.mean(one**2)) for one in errors])) if len(errors) else 0.0


def coverage(errors: Sequence[np.ndarray], factor: float = 1.0) -> tuple[float, float]:
    """Shares of the errors within one and within two SD, the SD multiplied by the factor; means over slices."""
    one, two = (np.mean([np.mean(np.abs(each) <= size * factor) for each in errors]) for size in (1, 2))
    return float(one), float(two)
