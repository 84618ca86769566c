"""Interpolators: classical methods, optical flow and networks behind one interface (`base.Interpolator`)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from ..catalogue import METHODS, Model, find_model
from ..device import import_torch
from .base import Interpolator, SliceWise
from .bspline import BSpline
from .cubic import Cubic
from .linear import Linear
from .nearest import Nearest

if TYPE_CHECKING:
    import torch

CLASSICAL = {method.name: method for method in (Nearest, Linear, Cubic, BSpline)}

_PAIR = ("pair", "PairInterpolator")
NETWORKS = {
    "flow-refine": ("flow_refine", "FlowRefineInterpolator"),
    "dsi-unet": _PAIR,
    "msi-cnn": _PAIR,
    "msi-unet": _PAIR,
    "msi-gan": _PAIR,
    "msi-gan-plus": _PAIR,
    "ddpm": _PAIR,
    "rife-style": _PAIR,
    "ifrnet-style": _PAIR,
    "torchscript": _PAIR,
    "i3net": ("four_slices", "FourSlicesInterpolator"),
    "saint": ("through_plane", "SaintInterpolator"),
    "acvtt": ("through_plane", "AcvttInterpolator"),
}
"""What runs each architecture of `networks.ARCHITECTURES` on a stack: module and class."""


def needs_torch(method: str) -> bool:
    """Whether a method runs on PyTorch, as all but the classical ones do."""
    return method not in CLASSICAL


def model_of(method: str) -> Model | None:
    """The model of the catalogue that a method means, None for one of `METHODS`; InputError where there is neither."""
    return None if method in METHODS else find_model(method)


_kept: dict[tuple[Path, str], torch.nn.Module] | None = None


def keep_models() -> None:
    """From now on this process loads each network once, for one that works on many scans."""
    global _kept
    _kept = {} if _kept is None else _kept


def _load(model: Model) -> torch.nn.Module:
    if _kept is None:
        return model.load()
    key = model.weights, model.card["weights_sha256"]
    if key not in _kept:
        _kept[key] = model.load()
    return _kept[key]


def create(
    method: str = "default", device: str = "cpu", report: Callable[[str], None] | None = None
) -> Interpolator:
    """The interpolator called `method`: one of `METHODS`, or a model of the catalogue ("default": the bundled).

    device: as `choose_device` returns it. Raises InputError for an unknown name, unusable weights, and where PyTorch
    is needed and missing.
    """
    if method in CLASSICAL:
        return CLASSICAL[method](report)
    model = model_of(method)
    import_torch()
    if model is None:
        from .flow import Flow

        return Flow(device, report)
    return run_model(model, _load(model), device, report)


def run_model(
    model: Model,
    network: torch.nn.Module,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
) -> Interpolator:
    """The interpolator that runs a model of the catalogue, or of anywhere else, with its loaded network."""
    return run_network(model.card["architecture"], network, model.name, device, report)


def run_network(
    architecture: str,
    network: torch.nn.Module,
    name: str,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
) -> Interpolator:
    """The interpolator that runs a network of an architecture; name: what to call it in remarks."""
    module, adapter = NETWORKS[architecture]
    return getattr(import_module(f".{module}", __name__), adapter)(network, name, device, report)


__all__ = [
    "CLASSICAL",
    "METHODS",
    "NETWORKS",
    "Interpolator",
    "SliceWise",
    "create",
    "keep_models",
    "model_of",
    "needs_torch",
    "run_model",
    "run_network",
]
