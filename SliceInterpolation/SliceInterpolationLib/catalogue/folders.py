"""Where models live."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import InputError

OVERRIDE = "SLICE_INTERPOLATION_MODELS"


def bundled_folder() -> Path:
    """Resources/Models beside the package (source tree and Slicer) or inside of it (pip)."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "Resources" / "Models"
    return beside if beside.is_dir() else package / "Resources" / "Models"


def user_folder() -> Path:
    """Where models of the user live, whether or not it exists yet; SLICE_INTERPOLATION_MODELS overrides it.

    Raises InputError for a user without a home folder.
    """
    if os.environ.get(OVERRIDE):
        return Path(os.environ[OVERRIDE])
    variable, below_home = {
        "win32": ("LOCALAPPDATA", ("AppData", "Local")),
        "darwin": (None, ("Library", "Application Support")),
    }.get(sys.platform, ("XDG_DATA_HOME", (".local", "share")))
    base = Path(os.environ.get(variable or "", ""))
    if not base.is_absolute():  # not set, or of no use
        try:
            base = Path.home().joinpath(*below_home)
        except RuntimeError:
            raise InputError(f"There is no home folder for models; set {OVERRIDE} to a folder.") from None
    return base / "SliceInterpolation" / "Models"
