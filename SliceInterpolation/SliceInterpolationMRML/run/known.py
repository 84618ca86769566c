"""What takes a look at every voxel to find out about a volume node, remembered until the node changes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Callable

from SliceInterpolationLib.interpolation import as_requested
from SliceInterpolationLib.request import Request
from SliceInterpolationLib.volume import Volume

from ..nodes import volumeFromNode
from .plan import refusal

_MOST = 64


class KnownVolumes:
    """Volumes of nodes, and whether they can be interpolated, without a second look at their voxels.

    Only plain values are kept, by node ID and modification time; neither a node nor its voxels stay alive.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def volume(self, node) -> Volume:
        """As `volumeFromNode`, with the units that were guessed before. Raises InputError as it does."""
        key = ("units", *_state(node))
        volume = volumeFromNode(node, guessedUnits=self._known.get(key))
        self._learn(key, lambda: volume.units)
        return volume

    def refusal(self, node, request: Request) -> str:
        """Why the volume cannot, or need not, be interpolated as requested; empty where it can."""
        key = ("refusal", *_state(node), request.axis, request.force)
        return self._learn(key, lambda: refusal(as_requested(self.volume(node), request, []), request.force))

    def _learn(self, key: Hashable, find: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = find()
            while len(self._known) > _MOST:
                self._known.pop(next(iter(self._known)))
        return self._known[key]


def _state(node) -> tuple[Hashable, ...]:
    """Changes with anything that is done to the node or its voxels; times of VTK never come back."""
    image = node.GetImageData()
    return node.GetID(), node.GetMTime(), image.GetMTime() if image is not None else 0
