"""How long a run takes: from the speed of earlier runs on this computer, or a first guess where there is none.

Corrected by the slices that are ready, while the run goes on.
"""

from __future__ import annotations

from typing import Any

from SliceInterpolationLib.interpolators import CLASSICAL
from SliceInterpolationLib.progress import Pace
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
_FIRST_TRUST_RATE = 3.0  # all methods predict each slice, and it is compared
_START_SECONDS = {"network": 2.5, "flow": 2.0, "classical": 0.6}
_WITH_ERROR = "-error"
_FIRST_SHARE_OF_ERROR = 2.0  # so many times longer does a run take that also estimates its error


class TimeLeft:
    """Seconds left of a run while it goes on: what was expected of it first, corrected by each slice.

    seconds: what the run is expected to take, 0 where that is not known. It is about the first stage that tells slices.

    Example::

        timeLeft = TimeLeft(30.0)
        timeLeft.after({"stage": "interpolated", "done": 0, "total": 59}, time.monotonic())  # 30.0
    """

    def __init__(self, seconds: float = 0.0):
        self.seconds = seconds
        self._stage: str | None = None
        self._pace = Pace()

    def after(self, entry: dict[str, Any], now: float) -> float | None:
        """Seconds left after an entry of progress that arrived at a time in seconds; None where nothing is known."""
        if entry.get("done") is None:
            return None
        if entry["stage"] != self._stage:
            expected = self.seconds / max(entry["total"], 1) if self._stage is None else 0.0
            self._stage, self._pace = entry["stage"], Pace(expected)
            self._pace.left(0, entry["total"], now)
        return self._pace.left(entry["done"], entry["total"], now)


def learned(former: float, rate: float) -> float:
    """The rate to remember after a run: the middle of its own and the former one, since one may have been disturbed."""
    return (former + rate) / 2 if former > 0 else rate


def estimateSeconds(
    volume: Volume,
    factor: int,
    request: Request,
    device: str,
    rates: dict[str, float],
    uncertainty: bool = False,
) -> float:
    """Seconds that a run will take, from start to result.

    factor: the number that the factor of the request stands for, 1 where no new slices are made. device: as the run
    will choose it. rates: measured seconds a megapixel by `rateKey`. uncertainty: the run also estimates its error.
    """
    key = rateKey(request.method, device, uncertainty)
    first = _FIRST_RATES[key.replace(_WITH_ERROR, "")] * (_FIRST_SHARE_OF_ERROR if uncertainty else 1.0)
    rate = rates.get(key, first)
    return _START_SECONDS[_kind(request.method)] + rate * megapixels(volume, factor, request.output_mode)


def measuredRate(
    volume: Volume,
    factor: int,
    request: Request,
    remarks: list[str],
    seconds: float,
    uncertainty: bool = False,
) -> tuple[str, float]:
    """The `rateKey` of a run that is over and the seconds a megapixel that it took, at least 0.1 ms.

    remarks: of the run, which say on what device it was. uncertainty: as of `estimateSeconds`.
    """
    onGpu = any(remark.startswith("Device: GPU") for remark in remarks)
    spent = max(seconds - _START_SECONDS[_kind(request.method)], 0.1 * seconds)
    rate = max(spent / max(megapixels(volume, factor, request.output_mode), 1e-6), 1e-4)
    return rateKey(request.method, "cuda" if onGpu else "cpu", uncertainty), rate


def trustSeconds(volume: Volume, count: int, method: str, device: str, rates: dict[str, float]) -> float:
    """Seconds that a trust check of a scan by so many slices will take; rates by `trustKey`."""
    rate = rates.get(trustKey(method, device), _FIRST_TRUST_RATE)
    return _START_SECONDS["network"] + rate * _megapixelsOf(volume, count)


def measuredTrustRate(volume: Volume, count: int, seconds: float) -> float:
    """Seconds a megapixel that a trust check by so many slices took: of all methods together."""
    spent = max(seconds - _START_SECONDS["network"], 0.1 * seconds)
    return max(spent / max(_megapixelsOf(volume, count), 1e-6), 1e-4)


def trustKey(method: str, device: str) -> str:
    """Under which name the speed of a trust check is remembered."""
    return f"trust-{rateKey(method, device)}"


def scoredSlices(volume: Volume, slices: int | str) -> int:
    """How many slices a trust check of a scan predicts, each of them once by each method; slices: as asked for."""
    from SliceInterpolationLib.reports.trust import slices_to_score

    return slices_to_score(volume.slice_count, slices)


def _megapixelsOf(volume: Volume, count: int) -> float:
    rows, columns = volume.slices.shape[1:]
    return count * rows * columns / 1e6


def megapixels(volume: Volume, factor: int, outputMode: str) -> float:
    """How much a run predicts: new slices, and with denoising each inner slice once more."""
    predicted = (volume.slice_count - 1) * (factor - 1)
    if outputMode != "interpolated":
        predicted += volume.slice_count - 2
    return _megapixelsOf(volume, predicted)


def rateKey(method: str, device: str, uncertainty: bool = False) -> str:
    """Under which name the speed of a method on a kind of device is remembered, with or without its error."""
    kind = _kind(method)
    if kind == "classical":
        return kind
    return f"{kind}-{'cuda' if device.startswith('cuda') else 'cpu'}{_WITH_ERROR if uncertainty else ''}"


def _kind(method: str) -> str:
    if method in CLASSICAL:
        return "classical"
    return "flow" if method == "flow" else "network"
