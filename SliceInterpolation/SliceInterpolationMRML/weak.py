"""Nodes that are remembered without being kept alive."""

from __future__ import annotations

from typing import Any

import slicer
import vtk


class Weak:
    """A node, or dicts of nodes and plain values, for as long as the nodes are in the scene.

    A node that Python holds stays in memory with its voxels when it is removed, or the scene is closed.

    Example::

        remembered = Weak({"table": tableNode, "rows": rows})
        remembered.get()["table"]  # None where the node was removed since
    """

    def __init__(self, value: Any = None) -> None:
        self._value = _without(value)

    def get(self) -> Any:
        """The value as it was, with None for nodes that were removed."""
        return _with(self._value)


def _without(value: Any) -> Any:
    """The value with a weak reference for each node."""
    if isinstance(value, dict):
        return {key: _without(each) for key, each in value.items()}
    if isinstance(value, slicer.vtkMRMLNode):
        reference = vtk.vtkWeakReference()
        reference.Set(value)
        return reference
    return value


def _with(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with(each) for key, each in value.items()}
    if isinstance(value, vtk.vtkWeakReference):
        node = value.Get()
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None
    return value
