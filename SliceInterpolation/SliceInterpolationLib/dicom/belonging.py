"""Which DICOM images a result was made of, where it comes from a program that read these on its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..volume import ACQUIRED, UNKNOWN, Volume
from .series import Run


def result_of(result: Volume, runs: Sequence[Run]) -> tuple[Volume, Run]:
    """The run that a result was made of, and the result on the grid and with the marks that follow from that.

    A slice that is one of the run's, voxel by voxel, is what the run says of it, such as acquired; the bare volume of
    another program did not know. Where the grid is another one, as Slicer's of a tilted series, which stands upright
    under a transform, the images decide: the two ends, which no run changes, and all slices that pass for acquired must
    be those of the series.
    Raises InputError where the result belongs to none.
    """
    for run in runs:
        found = _matched(result, run)
        if found is not None:
            return found, run
    raise InputError(
        "The result was not made of this DICOM series: neither do its slices lie where those of the series refined "
        "would, nor are the acquired ones among them those of the series."
    )


def _matched(result: Volume, run: Run) -> Volume | None:
    scan = run.volume
    try:
        factor = result.refinement_of(scan)
        same_grid = True
    except InputError:
        factor, rest = divmod(result.slice_count - 1, max(scan.slice_count - 1, 1))
        same_grid = False
        plane = result.array.shape[1:] == scan.array.shape[1:]
        if rest or factor < 1 or not plane or result.slice_axis != scan.slice_axis:
            return None
    letters = list(result.provenance)
    kept = [
        number for number in range(0, result.slice_count, factor) if _is_slice(result, number, run, factor)
    ]
    for number in kept:
        if letters[number] in (ACQUIRED, UNKNOWN):
            letters[number] = scan.provenance[number // factor]
    claimed = {number for number, letter in enumerate(result.provenance) if letter in (ACQUIRED, UNKNOWN)}
    if not same_grid and not {0, result.slice_count - 1} | claimed <= set(kept):
        return None
    for number in claimed - set(kept):
        letters[number] = UNKNOWN
    return scan.refined(
        _with_padding(result, scan, kept, factor), factor, "".join(letters), history=result.history
    )


def _is_slice(result: Volume, number: int, run: Run, factor: int) -> bool:
    """Whether a slice is one of the run's; outside of the field of view other programs have other numbers."""
    given = number // factor
    differs = ~np.isclose(result.array[number], run.volume.array[given], rtol=1e-6, atol=1e-3)
    outside = run.volume.outside(given)
    return not np.any(differs if outside is None else differs & ~outside)


def _with_padding(result: Volume, scan: Volume, kept: Sequence[int], factor: int) -> np.ndarray:
    """The voxels in the type of the scan, and outside of the field of view as the scan has them."""
    if scan.padding is None and result.array.dtype == scan.array.dtype:
        return result.array
    whole = scan.array.dtype.kind in "iu"
    array = np.empty(result.array.shape, scan.array.dtype)
    limits = np.iinfo(scan.array.dtype) if whole else None
    known = set(kept)
    for number, values in enumerate(result.array):
        if number in known:
            array[number] = scan.array[number // factor]
            continue
        array[number] = np.clip(np.rint(values), limits.min, limits.max) if whole else values
        below, above = scan.outside(number // factor), scan.outside(-(-number // factor))
        if below is not None:
            array[number][below & above] = scan.padding
    return array
