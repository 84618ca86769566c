"""Many studies at once: found in a folder or a list, worked on side by side, each finished one as a whole or not at all."""

from .command import run_batch
from .settings import PARTS, Settings

__all__ = ["PARTS", "Settings", "run_batch"]
