"""Observers that keep nothing alive: what is observed is held weakly, and forgotten with its node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk


class Observers:
    """Observers of MRML objects, to be let go together.

    `slicer.util.VTKObservationMixin` holds what it has observed, up to 5.10 even after `removeObserver`; nodes and
    their voxels then stay in memory when they are removed from the scene.

    Example::

        observers = Observers()
        observers.add(node, vtk.vtkCommand.ModifiedEvent, print)
        observers.clear()
    """

    def __init__(self) -> None:
        self._tags: dict[tuple[str, Any, Any], tuple[vtk.vtkWeakReference, int]] = {}

    def __len__(self) -> int:
        return sum(reference.Get() is not None for reference, _tag in self._tags.values())

    def add(self, observed, event: Any, callback: Callable[..., Any]) -> None:
        """Observe an event of an object, which may be None; a second time does nothing."""
        if observed is None:
            return
        key = (observed.__this__, event, callback)
        known = self._tags.get(key)
        if known is not None and known[0].Get() is observed:
            return
        self._tags = {one: entry for one, entry in self._tags.items() if entry[0].Get() is not None}
        reference = vtk.vtkWeakReference()
        reference.Set(observed)
        self._tags[key] = (reference, observed.AddObserver(event, callback))

    def clear(self) -> None:
        """Observe nothing any more."""
        for reference, tag in self._tags.values():
            observed = reference.Get()
            if observed is not None:
                observed.RemoveObserver(tag)
        self._tags.clear()
