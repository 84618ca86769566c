"""How long a run takes: from the speed of earlier runs on this computer, or a first guess where there is none."""

from __future__ import annotations

from SliceInterpolationLib.interpolators import CLASSICAL
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


def estimateSeconds(
    volume: Volume, factor: int, request: Request, device: str, rates: dict[str, float]
) -> float:
    """Seconds that a run will take, from start to result.

    factor: the number that the factor of the request stands for, 1 where no new slices are made. device: as the run
    will choose it. rates: measured seconds a megapixel by `rateKey`.
    """
    key = rateKey(request.method, device)
    rate = rates.get(key, _FIRST_RATES[key])
    return _START_SECONDS[_kind(request.method)] + rate * megapixels(volume, factor, request.output_mode)


def measuredRate(
    volume: Volume, factor: int, request: Request, remarks: list[str], seconds: float
) -> tuple[str, float]:
    """The `rateKey` of a run that is over and the seconds a megapixel that it took, at least 0.1 ms.

    remarks: of the run, which say on what device it was.
    """
    onGpu = any(remark.startswith("Device: GPU") for remark in remarks)
    spent = max(seconds - _START_SECONDS[_kind(request.method)], 0.1 * seconds)
    rate = max(spent / max(megapixels(volume, factor, request.output_mode), 1e-6), 1e-4)
    return rateKey(request.method, "cuda" if onGpu else "cpu"), rate


def trustSeconds(volume: Volume, method: str, device: str, rates: dict[str, float]) -> float:
    """Seconds that a trust check of a scan will take; rates by `trustKey`."""
    key = trustKey(method, device)
    return _START_SECONDS["network"] + rates.get(key, _FIRST_TRUST_RATE) * _scoredMegapixels(volume)


def measuredTrustRate(volume: Volume, seconds: float) -> float:
    """Seconds a megapixel that a trust check that is over took: of all methods together."""
    spent = max(seconds - _START_SECONDS["network"], 0.1 * seconds)
    return max(spent / max(_scoredMegapixels(volume), 1e-6), 1e-4)


def trustKey(method: str, device: str) -> str:
    """Under which name the speed of a trust check is remembered."""
    return f"trust-{rateKey(method, device)}"


def _scoredMegapixels(volume: Volume) -> float:
    from SliceInterpolationLib.reports.trust import slices_to_score

    rows, columns = volume.slices.shape[1:]
    return slices_to_score(volume.slice_count) * rows * columns / 1e6


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


def _kind(method: str) -> str:
    if method in CLASSICAL:
        return "classical"
    return "flow" if method == "flow" else "network"
