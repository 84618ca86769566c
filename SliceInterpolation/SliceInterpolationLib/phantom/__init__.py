"""The synthetic head CT with a hematoma of exactly known volume (`head.head_phantom`)."""

from .head import HeadPhantom, head_phantom, phantom_volume
from .hematoma import Hematoma

__all__ = ["HeadPhantom", "Hematoma", "head_phantom", "phantom_volume"]
