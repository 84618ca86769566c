"""What runs on a worker: one study at a time, with PyTorch and the network loaded once."""

from __future__ import annotations

import os
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..device import tune_process
from ..interpolators import keep_models
from .discovery import Study
from .settings import Settings
from .study import process

_one_at_a_time = threading.Lock()  # the networks are shared, and a GPU has room for one study


def facts() -> dict[str, Any]:
    """What the engine wants to know of a worker before it gives it work."""
    return {"pid": os.getpid(), "version": __version__}


def work(study: dict[str, Any], settings: dict[str, Any], root: str) -> dict[str, Any]:
    """`study.process` for values that have come from another process."""
    with _one_at_a_time:
        _prepare()
        return process(Study.from_dict(study), Settings.from_dict(settings), Path(root))


@cache
def _prepare() -> None:
    tune_process()
    warnings.simplefilter("ignore")
    keep_models()
