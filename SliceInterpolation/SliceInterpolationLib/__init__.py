"""SliceInterpolationLib: slice interpolation and denoising of thick-slice head CT, without Slicer.

    from SliceInterpolationLib import interpolate, read_volume, write_volume
    volume, remarks = read_volume("head.nrrd")
    write_volume(interpolate(volume, factor=2).volume, "head-x2.nrrd")

Using this package needs numpy, SciPy and SimpleITK; torch is imported when a network or flow runs. Importing it
alone needs nothing and takes no time, so that the command line can be cancelled from its first moment.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # as of typing, which is not imported: see above
if TYPE_CHECKING:
    from typing import Any

    from .errors import Cancelled, InputError, SliceInterpolationError
    from .files import read_volume, read_volumes, write_volume
    from .interpolation import Result, interpolate
    from .request import Request
    from .volume import ACQUIRED, DENOISED, SYNTHESIZED, Volume

__all__ = [
    "ACQUIRED",
    "DENOISED",
    "SYNTHESIZED",
    "Cancelled",
    "InputError",
    "Request",
    "Result",
    "SliceInterpolationError",
    "Volume",
    "interpolate",
    "read_volume",
    "read_volumes",
    "write_volume",
]

_HOMES = {
    "errors": ("Cancelled", "InputError", "SliceInterpolationError"),
    "files": ("read_volume", "read_volumes", "write_volume"),
    "interpolation": ("Result", "interpolate"),
    "request": ("Request",),
    "volume": ("ACQUIRED", "DENOISED", "SYNTHESIZED", "Volume"),
}


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported when it is first asked for."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
