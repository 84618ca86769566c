"""Interpolators: classical methods, optical flow and networks behind one interface (`base.Interpolator`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Callable

from ..catalogue import METHODS, Model, find_model, list_models
from ..errors import InputError
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
    "saint": ("through_plane", "SaintInterpolator"),
    "acvtt": ("through_plane", "AcvttInterpolator"),
}
"""What runs each architecture of `networks.ARCHITECTURES` on a stack: module and class."""


def create(
    method: str = "default", device: str = "cpu", report: Callable[[str], None] | None = None
) -> Interpolator:
    """The interpolator called `method`: one of `METHODS`, or a model of the catalogue ("default": the bundled).

    device: as `choose_device` returns it. Raises InputError for an unknown name or unusable weights.
    """
    if method in CLASSICAL:
        return CLASSICAL[method](report)
    if method == "flow":
        from .flow import Flow

        return Flow(device, report)
    try:
        model = find_model(method)
    except InputError:
        names = ", ".join((*METHODS, "default", *(m.name for m in list_models())))
        raise InputError(f"There is no method '{method}'; known are {names}.") from None
    return run_model(model, model.load(), device, report)


def run_model(
    model: Model,
    network: torch.nn.Module,
    device: str = "cpu",
    report: Callable[[str], None] | None = None,
) -> Interpolator:
    """The interpolator that runs a model of the catalogue, or of anywhere else, with its loaded network."""
    module, adapter = NETWORKS[model.card["architecture"]]
    return getattr(import_module(f".{module}", __name__), adapter)(network, model.name, device, report)


__all__ = ["CLASSICAL", "METHODS", "NETWORKS", "Interpolator", "SliceWise", "create", "run_model"]
