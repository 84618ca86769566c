"""Qt as PythonQt shows it, on top of PySide6: properties without parentheses, signals by signature.

Each Qt class gets a class here whose objects hold a PySide6 object. A name is looked up first among the properties
of the meta object, then among the methods, as PythonQt does; nothing else can be assigned.
"""

from __future__ import annotations

import inspect
import sys
import traceback
import types
import weakref
from typing import Any, ClassVar

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import api

_classes: dict[str, type] = {}
slotErrors: list[BaseException] = []
"""Exceptions that slots have raised; the event loop swallows them, in the desktop too, and tests look here."""


class _QtClass(type):
    """Enumerations of a Qt class are attributes of its face too."""

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.__dict__["qtClass"], name)


class QtObject(metaclass=_QtClass):
    """A QObject in the manner of PythonQt."""

    __slots__ = ("__weakref__", "_q", "_slots")
    qtClass: type = QtCore.QObject
    apiKey = ""

    def __init__(self, *arguments: Any):
        filters = any("eventFilter" in vars(kind) for kind in type(self).__mro__)
        object.__setattr__(self, "_q", _Filter(self) if filters else self.qtClass(*map(unwrap, arguments)))

    def __getattr__(self, name: str) -> Any:
        q = object.__getattribute__(self, "_q")
        if name == "name":
            return q.objectName()
        if q.metaObject().indexOfProperty(name) >= 0:
            api.check(self.apiKey, name, "property")
            return wrap(q.property(name))
        value = getattr(q, name)  # AttributeError as in the desktop
        api.check(self.apiKey, name, "method")
        if isinstance(value, QtCore.SignalInstance):
            return Signal(self, value, name)

        def call(*arguments: Any) -> Any:
            result = wrap(value(*map(unwrap, arguments)))
            if name == "setToolTip":
                wrapToolTip(q)
            return result

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        q = object.__getattribute__(self, "_q")
        name = "objectName" if name == "name" else name
        if q.metaObject().indexOfProperty(name) < 0:
            raise AttributeError(f"{name}: creating new attributes on C++ objects is not allowed")
        api.check(self.apiKey, name, "property")
        if not q.setProperty(name, unwrap(value)):
            raise ValueError(f"{self.apiKey}.{name} cannot be set to {value!r}")
        if name == "toolTip":
            wrapToolTip(q)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QtObject) and self._q is other._q

    def __hash__(self) -> int:
        return hash(id(self._q))

    def __bool__(self) -> bool:
        return True

    def connect(self, signal: str, slot: Any) -> bool:
        """`connect("clicked(bool)", f)`: f gets the arguments that the signature names."""
        name, _, rest = signal.partition("(")
        count = len([part for part in rest.rstrip(")").split(",") if part])
        api.check(self.apiKey, name, "method")
        Signal(self, getattr(self._q, name), name).connect(slot, count)
        return True

    def disconnect(self, signal: str, slot: Any) -> bool:
        """Undo `connect`."""
        name = signal.partition("(")[0]
        Signal(self, getattr(self._q, name), name).disconnect(slot)
        return True


class _Filter(QtCore.QObject):
    """The Qt object of a Python class that filters events."""

    def __init__(self, face: Any):
        super().__init__()
        self._face = weakref.ref(face)

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Ask the Python class."""
        face = self._face()
        try:
            return bool(face.eventFilter(wrap(watched), event)) if face is not None else False
        except Exception as error:
            slotErrors.append(error)
            traceback.print_exc(file=sys.stderr)
            return False


class Signal:
    """A signal of an object: `button.clicked.connect(f)`."""

    _connected: ClassVar[dict[tuple[int, str, Any], Any]] = {}

    def __init__(self, owner: QtObject, signal: QtCore.SignalInstance, name: str):
        self._key = (id(owner._q), name)
        # PySide6 would drop an argument that has a default; PythonQt hands it on.
        self._signal = signal[bool] if name in ("clicked", "triggered") else signal

    def connect(self, slot: Any, count: int | None = None) -> None:
        """Call a slot with as many of the arguments as it takes."""
        accepted = _positional(slot)

        def call(*arguments: Any) -> None:
            some = arguments[: accepted if count is None else min(accepted, count)]
            try:
                slot(*map(wrap, some))
            except Exception as error:
                slotErrors.append(error)
                traceback.print_exc(file=sys.stderr)

        self._connected[(*self._key, slot)] = call
        self._signal.connect(call)

    def disconnect(self, slot: Any) -> None:
        """Undo `connect`."""
        self._signal.disconnect(self._connected.pop((*self._key, slot)))

    def emit(self, *arguments: Any) -> None:
        """Send the signal."""
        self._signal.emit(*map(unwrap, arguments))

    def __call__(self, *arguments: Any) -> None:
        self.emit(*arguments)


def _positional(slot: Any) -> int:
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return sys.maxsize
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return sys.maxsize
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def wrapToolTip(widget: QtWidgets.QWidget) -> None:
    """Make a plain tool tip a paragraph, as the application does so that long ones wrap: "a" reads back "<p>a</p>"."""
    text = widget.toolTip()
    if text and not QtGui.Qt.mightBeRichText(text):
        widget.setToolTip(QtGui.Qt.convertFromPlainText(text, QtCore.Qt.WhiteSpaceMode.WhiteSpaceNormal))


def wrap(value: Any) -> Any:
    """A PySide6 object in the manner of PythonQt; other values as they are."""
    if isinstance(value, QtCore.QObject):
        meta = value.metaObject()
        while meta is not None and meta.className() not in _classes:
            meta = meta.superClass()
        made = object.__new__(_classes[meta.className()] if meta is not None else QtObject)
        object.__setattr__(made, "_q", value)
        return made
    if isinstance(value, list):
        return tuple(map(wrap, value)) if value and isinstance(value[0], QtCore.QObject) else value
    return value


def unwrap(value: Any) -> Any:
    """The PySide6 object behind; other values as they are."""
    if isinstance(value, tuple):
        return [unwrap(part) for part in value]
    return value._q if isinstance(value, QtObject) else value


def register(qtClass: type, key: str) -> type:
    """Make the PythonQt face of a class; key: its name in the list of the desktop."""
    name = qtClass.__name__
    statics = {
        member: staticmethod(_static(getattr(qtClass, member)))
        for member in ("getSaveFileName", "getExistingDirectory", "singleShot", "openUrl", "fromLocalFile")
        if hasattr(qtClass, member)
    }
    made = _QtClass(name, (QtObject,), {"__slots__": (), "qtClass": qtClass, "apiKey": key, **statics})
    _classes[name] = made
    return made


def _static(function: Any) -> Any:
    def call(*arguments: Any) -> Any:
        value = function(*map(unwrap, arguments))
        # PythonQt gives the file name alone, PySide6 also the filter.
        return wrap(value[0] if isinstance(value, tuple) else value)

    return call


def makeQtModule() -> types.ModuleType:
    """The module `qt` of the desktop, as far as the panel and slicer.util need it."""
    qt = types.ModuleType("qt")
    for name in (
        *(
            "QWidget",
            "QLabel",
            "QPushButton",
            "QComboBox",
            "QCheckBox",
            "QProgressBar",
            "QSpinBox",
            "QDoubleSpinBox",
        ),
        *("QLineEdit", "QTextEdit", "QSlider", "QGroupBox", "QFileDialog", "QMessageBox", "QVBoxLayout"),
        *("QHBoxLayout", "QFormLayout", "QToolButton", "QAction", "QShortcut", "QMenu", "QDialog", "QFrame"),
        "QTableWidget",
    ):
        module = QtGui if name in ("QAction", "QShortcut") else QtWidgets
        setattr(qt, name, register(getattr(module, name), f"qt.{name}"))
    qt.QTimer = register(QtCore.QTimer, "qt.QTimer")
    qt.QObject = register(QtCore.QObject, "")
    for name in ("QUrl", "QSettings", "QFile"):
        setattr(qt, name, getattr(QtCore, name))
    for name in ("QIcon", "QColor", "QPixmap", "QDesktopServices", "QKeySequence"):
        setattr(qt, name, getattr(QtGui, name))
    qt.QTableWidgetItem = QtWidgets.QTableWidgetItem
    qt.Qt, qt.QEvent = QtCore.Qt, QtCore.QEvent
    qt.QUiLoader = UiLoader
    return qt


class UiLoader:
    """Loads .ui files with Qt's own loader, except connections between MRML widgets: it does not know their types."""

    def load(self, file: Any) -> QtObject:
        """The widget of a file that is open."""
        import xml.etree.ElementTree as ElementTree

        from . import widgets

        text = bytes(file.readAll().data())
        tree = ElementTree.fromstring(text)
        connections = tree.find("connections")
        receivers = []
        if connections is not None:
            for connection in connections:
                if connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)":
                    receivers.append(connection.findtext("receiver"))
            tree.remove(connections)
        policies = {}
        for element in tree.iterfind(".//widget[@class='qMRMLNodeComboBox']"):
            policy = element.find("property[@name='sizeAdjustPolicy']")
            if policy is not None:  # the loader does not know the enumerations of widgets made in Python
                element.remove(policy)
                name = policy.findtext("enum").rpartition(":")[2]
                policies[element.get("name")] = getattr(QtWidgets.QComboBox.SizeAdjustPolicy, name)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        loader = QtUiTools.QUiLoader()
        for qtClass in widgets.CLASSES:
            loader.registerCustomWidget(qtClass)
        widget = loader.load(buffer)
        if widget is None:
            raise RuntimeError(loader.errorString())
        for receiver in receivers:
            child = widget.findChild(QtWidgets.QWidget, receiver)
            if child is None:
                raise RuntimeError(f"the .ui file connects to '{receiver}', which it does not contain")
            widget.sceneReceivers.append(child)
        for name, policy in policies.items():
            widget.findChild(QtWidgets.QWidget, name).setSizeAdjustPolicy(policy)
        for child in widget.findChildren(QtWidgets.QWidget):
            wrapToolTip(child)
        return wrap(widget)
