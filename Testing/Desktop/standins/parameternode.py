"""The parameter node wrapper, for the types that the panel has: str, bool, bounded float, enumeration and node.

Values are kept in the parameter node in the same form as the desktop keeps them. As in 5.10, `disconnectGui` leaves
the observer of `connectGui` on the node, which keeps the wrapper alive: one more with each re-entry of a module.
"""

from __future__ import annotations

import enum
import typing
import weakref
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

PROPERTY = "SlicerParameterName"


@dataclass
class WithinRange:
    """Annotation of a bounded number."""

    minimum: float
    maximum: float


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: typed properties in a vtkMRMLScriptedModuleNode, connected with widgets by `connectGui`."""
    types = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        bounds = [a for a in getattr(hint, "__metadata__", ()) if isinstance(a, WithinRange)]
        kind = typing.get_args(hint)[0] if bounds else hint
        types[name] = (kind, bounds[0] if bounds else None, getattr(cls, name, None))
        setattr(cls, name, property(*_accessors(name)))
    cls._types = types
    for method in (_init, _connectGui, _disconnectGui, _fromNode):
        setattr(cls, {"_init": "__init__"}.get(method.__name__, method.__name__), method)
    cls.connectGui, cls.disconnectGui = _connectGui, _disconnectGui
    cls.AddObserver = lambda self, event, callback, priority=0.0: self.parameterNode.AddObserver(
        event, callback, priority
    )
    cls.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    cls.StartModify = lambda self: self.parameterNode.StartModify()
    cls.EndModify = lambda self, was: self.parameterNode.EndModify(was)
    return cls


def _accessors(name: str):
    return (lambda self: self._values[name].value), (lambda self, value: self._values[name].set(value))


def _init(self, parameterNode) -> None:
    self.parameterNode = parameterNode
    self._guis: dict[int, Any] = {}
    self._updating = False
    self._values = {name: _Value(parameterNode, name, *about) for name, about in self._types.items()}


class _Value:
    """A parameter of a node: kept, written through, and read anew when the node says that it was modified.

    That happens in an observer of its own, and VTK calls the first observer of an object last.
    """

    def __init__(self, node, name: str, kind: type, bounds: WithinRange | None, default: Any):
        self._node, self._name, self._kind, self._bounds, self._default = node, name, kind, bounds, default
        self._isNode = issubclass(kind, slicer.vtkMRMLNode)
        self._writing = False
        self.value = self._read()
        reference = weakref.ref(self)  # the node does not keep what observes it
        self._tag = node.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda caller, event: reference()._onModified()
        )

    def __del__(self):
        self._node.RemoveObserver(self._tag)

    def set(self, value: Any) -> None:
        """Write a value of the right type, within bounds."""
        self._writing = True
        modifying = self._node.StartModify()
        try:
            self._write(value)
            self.value = self._read()
        finally:
            self._node.EndModify(modifying)
            self._writing = False

    def _onModified(self) -> None:
        if not self._writing:
            self.value = self._read()

    def _read(self) -> Any:
        if not self._node.HasParameter(self._name):  # also after the scene was closed, which resets the node
            default = self._default
            if default is None and not self._isNode:
                default = next(iter(self._kind)) if issubclass(self._kind, enum.Enum) else self._kind()
            self._write(default)
        if self._isNode:
            return self._node.GetNodeReference(self._name)
        text = self._node.GetParameter(self._name)
        if issubclass(self._kind, enum.Enum):
            return self._kind[text]
        return text == "True" if self._kind is bool else self._kind(text)

    def _write(self, value: Any) -> None:
        if self._isNode:
            if value is not None and not isinstance(value, self._kind):
                raise TypeError(f"{self._name} is a {self._kind}")
            self._node.SetParameter(self._name, "")
            self._node.SetNodeReferenceID(self._name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, (int, float) if self._kind is float else self._kind):
            raise TypeError(f"{self._name} is a {self._kind.__name__}, not {value!r}")
        if self._bounds and not self._bounds.minimum <= value <= self._bounds.maximum:
            raise ValueError(f"{self._name}: {value} is outside of {self._bounds}")
        self._node.SetParameter(self._name, value.name if issubclass(self._kind, enum.Enum) else str(value))


def _connectGui(self, gui) -> int:
    tag = max(self._guis, default=-1) + 1
    connected = []
    for widget in vars(gui).values():
        name = widget.property(PROPERTY)
        if not name:
            continue
        if name not in self._types:
            raise ValueError(f"the .ui file names a parameter '{name}' that the parameter node does not have")
        signal, read, write = _connector(widget, *self._types[name][:2])
        write(self._values[name].value)
        changed = _writer(self, name, read)
        getattr(widget, signal).connect(changed)
        connected.append((widget, signal, name, write, changed))
    self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._fromNode())
    self._guis[tag] = connected
    return tag


def _writer(self, name: str, read):
    def changed() -> None:
        if not self._updating:
            self._values[name].set(read())

    return changed


def _disconnectGui(self, tag) -> None:
    if tag in self._guis:
        for widget, signal, _name, _write, changed in self._guis.pop(tag):
            getattr(widget, signal).disconnect(changed)


def _fromNode(self) -> None:
    if self._updating:
        return
    self._updating = True
    try:
        for connected in self._guis.values():
            for _widget, _signal, name, write, _changed in connected:
                write(self._values[name].value)
    finally:
        self._updating = False


def _connector(widget, kind: type, bounds):
    """(signal, read, write) of a widget for a type; the pairs are those that the desktop can connect."""
    widgetClass = type(widget).__name__
    if widgetClass == "qMRMLNodeComboBox" and issubclass(kind, slicer.vtkMRMLNode):
        widget.nodeTypes = (kind.__name__,)
        return "currentNodeChanged", widget.currentNode, widget.setCurrentNode
    if widgetClass == "QComboBox" and issubclass(kind, enum.Enum):
        members = list(kind)
        chosen = max(widget.currentIndex, 0)
        widget.clear()
        for member in members:
            widget.addItem(member.label() if hasattr(member, "label") else member.name)
        widget.currentIndex = chosen
        return (
            "currentIndexChanged",
            lambda: members[widget.currentIndex],
            lambda value: setattr(widget, "currentIndex", members.index(value)),
        )
    if widgetClass == "QCheckBox" and kind is bool:
        return "stateChanged", lambda: widget.checked, lambda value: setattr(widget, "checked", value)
    if widgetClass in ("QDoubleSpinBox", "ctkSliderWidget") and kind is float:
        if bounds is None:
            raise RuntimeError(f"{widget.name}: an unbounded float cannot be connected")
        widget.minimum, widget.maximum = bounds.minimum, bounds.maximum
        return "valueChanged", lambda: widget.value, lambda value: setattr(widget, "value", value)
    raise RuntimeError(f"{widget.name}: a {widgetClass} cannot be connected with {kind}")
