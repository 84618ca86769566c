"""SliceInterpolationLib: slice interpolation and denoising of thick-slice head CT, without Slicer.

    from SliceInterpolationLib import interpolate, read_volume, write_volume
    volume, remarks = read_volume("head.nrrd")
    write_volume(interpolate(volume, factor=2).volume, "head-x2.nrrd")

Importing this package needs numpy, SciPy and SimpleITK; torch is imported when a network or flow runs.
"""

__version__ = "0.1.0"

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
