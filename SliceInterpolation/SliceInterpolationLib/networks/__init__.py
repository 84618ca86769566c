"""The network catalogue: one file a network. Nothing here knows about Slicer, files or training.

`ARCHITECTURES` names them all; `build` makes one from its name and plain configuration values. The modules are
imported only when they are built, so that this package costs nothing where torch is not needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InputError

if TYPE_CHECKING:
    import torch

ARCHITECTURES = {
    "flow-refine": ("flow_refine", "FlowRefine"),
    "dsi-unet": ("dsi_unet", "DSIUNet"),
    "msi-cnn": ("msi_cnn", "MSICNN"),
    "msi-unet": ("msi_unet", "MSIUNet"),
    "msi-gan": ("msi_gan", "MSIGANGenerator"),
    "msi-gan-plus": ("msi_gan", "MSIGANPlusGenerator"),
    "ddpm": ("ddpm", "DDPM"),
    "saint": ("saint", "Saint"),
    "acvtt": ("acvtt", "Acvtt"),
    "rife-style": ("rife_style", "RIFEStyle"),
    "ifrnet-style": ("ifrnet_style", "IFRNetStyle"),
    "i3net": ("i3net", "I3Net"),
    "torchscript": ("torchscript", "TorchScript"),
}


def build(architecture: str, /, *parts: torch.nn.Module, **config: Any) -> torch.nn.Module:
    """A new network with random weights, of plain configuration values; parts: what else it is made of.

    Raises InputError for an unknown name and for values that the architecture refuses.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"There is no architecture '{architecture}'; known are {', '.join(sorted(ARCHITECTURES))}."
        )
    module, name = ARCHITECTURES[architecture]
    try:
        return getattr(import_module(f".{module}", __name__), name)(*parts, **config)
    except (Cancelled, ImportError):
        raise
    except Exception as error:  # values come from a card, and may make a constructor fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"The architecture '{architecture}' cannot be built so: {reason}") from error
