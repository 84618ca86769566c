"""The qMRML and CTK widgets of the panel, on the real scene; as much of them as the panel uses."""

from __future__ import annotations

from PySide6.QtCore import Property, QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPalette, QPolygon
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

_HEADER = 26


class qMRMLWidget(QWidget):
    """A widget that knows a scene and hands it on, as the connections of the .ui file say."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self.sceneReceivers = []
        self._entered = True

    def setMRMLScene(self, scene) -> None:
        """Use a scene."""
        self._scene = scene
        for receiver in self.sceneReceivers:
            receiver.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        """The scene."""
        return self._scene

    def _isEntered(self) -> bool:
        return self._entered

    def _setEntered(self, entered: bool) -> None:
        self._entered = entered

    isEntered = Property(bool, _isEntered, _setEntered)


class qMRMLNodeComboBox(QWidget):
    """Chooses a node of some types of the scene, or none.

    While a scene is being loaded the list stays as it was, and a node that is not in the list cannot be chosen: a
    panel that follows the parameter node during loading shows none, until it is told again afterwards.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._tags, self._ids = None, [], []
        self._types, self._noneEnabled, self._noneDisplay, self._showChildren = [], False, "None", True
        self._add = self._remove = self._rename = self._edit = True
        self._current, self._listed = None, []
        self._box = QComboBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._box.activated.connect(self._onActivated)

    def setMRMLScene(self, scene) -> None:
        """List the nodes of a scene."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            for event in (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndCloseEvent,
                scene.EndImportEvent,
            ):
                self._tags.append(scene.AddObserver(event, self._onSceneChanged))
        self._refresh()

    def mrmlScene(self):
        """The scene."""
        return self._scene

    def currentNode(self):
        """The chosen node or None."""
        return self._current

    def setCurrentNode(self, node) -> None:
        """Choose a node; None chooses none."""
        if node is not None and node not in self._listed:
            node = None
        self._choose(node)
        self._show()

    def setCurrentNodeID(self, nodeId) -> None:
        """Choose a node by its ID."""
        self.setCurrentNode(self._scene.GetNodeByID(nodeId) if self._scene is not None and nodeId else None)

    def nodeCount(self) -> int:
        """Number of nodes in the list."""
        return len(self._listed)

    def _nodes(self) -> list:
        if self._scene is None or self._scene.IsClosing():
            return []
        found = []
        for number in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(number)
            if node.GetHideFromEditors():
                continue
            exact = node.GetClassName() in self._types
            if exact or (self._showChildren and any(node.IsA(kind) for kind in self._types)):
                found.append(node)
        return found

    def _onSceneChanged(self, caller, event) -> None:
        if not caller.IsImporting():
            self._refresh()

    def _refresh(self) -> None:
        nodes = self._listed = self._nodes()
        if self._current not in nodes:
            self._choose(None if self._noneEnabled or not nodes else nodes[0])
        self._show()

    def _show(self) -> None:
        nodes = self._listed
        self._box.blockSignals(True)
        self._box.clear()
        self._ids = [None] if self._noneEnabled else []
        if self._noneEnabled:
            self._box.addItem(self._noneDisplay)
        for node in nodes:
            self._box.addItem(node.GetName())
            self._ids.append(node.GetID())
        current = self._current.GetID() if self._current is not None else None
        self._box.setCurrentIndex(self._ids.index(current) if current in self._ids else -1)
        self._box.blockSignals(False)

    def _onActivated(self, index: int) -> None:
        self.setCurrentNodeID(self._ids[index])

    def _choose(self, node) -> None:
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _setTypes(self, types) -> None:
        self._types = list(types)
        self._refresh()

    def _setNoneEnabled(self, enabled) -> None:
        self._noneEnabled = enabled
        self._refresh()

    def _setNoneDisplay(self, text) -> None:
        self._noneDisplay = text
        self._refresh()

    def _setShowChildren(self, show) -> None:
        self._showChildren = show
        self._refresh()

    def setSizeAdjustPolicy(self, policy) -> None:
        """How wide the box is: as wide as its longest name, or no wider than it must be."""
        self._box.setSizeAdjustPolicy(policy)

    nodeTypes = Property("QStringList", lambda self: self._types, _setTypes)
    noneEnabled = Property(bool, lambda self: self._noneEnabled, _setNoneEnabled)
    noneDisplay = Property(str, lambda self: self._noneDisplay, _setNoneDisplay)
    showChildNodeTypes = Property(bool, lambda self: self._showChildren, _setShowChildren)
    addEnabled = Property(bool, lambda self: self._add, lambda self, on: setattr(self, "_add", on))
    removeEnabled = Property(bool, lambda self: self._remove, lambda self, on: setattr(self, "_remove", on))
    renameEnabled = Property(bool, lambda self: self._rename, lambda self, on: setattr(self, "_rename", on))
    editEnabled = Property(bool, lambda self: self._edit, lambda self, on: setattr(self, "_edit", on))
    currentNodeID = Property(
        str, lambda self: self._current.GetID() if self._current is not None else "", setCurrentNodeID
    )


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Chooses a segmentation node and a segment of it."""

    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._nodes, self._segments = qMRMLNodeComboBox(self), QComboBox(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodes)
        layout.addWidget(self._segments)
        self._ids, self._observed = [], None
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.currentNodeChanged.connect(self._onNodeChanged)
        self._segments.currentIndexChanged.connect(
            lambda _: self.currentSegmentChanged.emit(self.currentSegmentID())
        )

    def setMRMLScene(self, scene) -> None:
        """Use a scene."""
        super().setMRMLScene(scene)
        self._nodes.setMRMLScene(scene)

    def currentNode(self):
        """The chosen segmentation or None."""
        return self._nodes.currentNode()

    def setCurrentNode(self, node) -> None:
        """Choose a segmentation."""
        self._nodes.setCurrentNode(node)

    def currentSegmentID(self) -> str:
        """The ID of the chosen segment, empty without one."""
        index = self._segments.currentIndex()
        return self._ids[index] if 0 <= index < len(self._ids) else ""

    def setCurrentSegmentID(self, segmentId: str) -> None:
        """Choose a segment."""
        self._segments.setCurrentIndex(self._ids.index(segmentId))

    def _onNodeChanged(self, node) -> None:
        if self._observed is not None:
            for tag in self._observed[1]:
                self._observed[0].RemoveObserver(tag)
            self._observed = None
        if node is not None:
            segmentation = node.GetSegmentation()
            events = (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified)
            tags = [
                segmentation.AddObserver(event, lambda caller, event: self._refresh()) for event in events
            ]
            self._observed = (segmentation, tags)
        self._refresh()
        self.currentNodeChanged.emit(node)

    def _refresh(self) -> None:
        node, before = self.currentNode(), self.currentSegmentID()
        ids = list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []
        self._segments.blockSignals(True)
        self._segments.clear()
        for segmentId in ids:
            self._segments.addItem(node.GetSegmentation().GetSegment(segmentId).GetName())
        self._ids = ids
        self._segments.setCurrentIndex(ids.index(before) if before in ids else (0 if ids else -1))
        self._segments.blockSignals(False)
        if self.currentSegmentID() != before:
            self.currentSegmentChanged.emit(self.currentSegmentID())


class ctkCollapsibleButton(QAbstractButton):
    """A section with a header; a click on it folds the contents away."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False
        self._hiddenByUs, self._folding = [], False
        self.setContentsMargins(4, _HEADER, 4, 4)
        self.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
        self.clicked.connect(lambda: self._setCollapsed(not self._collapsed))

    def _isCollapsed(self) -> bool:
        return self._collapsed

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._apply()
        self.contentsCollapsed.emit(collapsed)

    def _apply(self) -> None:
        self._folding = True
        if self._collapsed:
            for child in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
                child.installEventFilter(self)
                if not child.isHidden():
                    self._hiddenByUs.append(child)
                    child.hide()
        else:
            for child in self._hiddenByUs:
                child.show()
            self._hiddenByUs = []
        self._folding = False
        self.setMaximumHeight(_HEADER + 2 if self._collapsed else 16777215)
        self.updateGeometry()

    def eventFilter(self, child, event) -> bool:
        """A child that is shown or hidden while the section is folded appears, or not, when it is unfolded."""
        if self._collapsed and not self._folding:
            self._folding = True
            if event.type() == QEvent.Type.ShowToParent:
                if child not in self._hiddenByUs:
                    self._hiddenByUs.append(child)
                child.hide()
            elif event.type() == QEvent.Type.HideToParent and child in self._hiddenByUs:
                self._hiddenByUs.remove(child)
            self._folding = False
        return False

    def showEvent(self, event) -> None:
        """Children of a section that is folded in the .ui file are only known now."""
        super().showEvent(event)
        if self._collapsed:
            self._apply()

    def sizeHint(self) -> QSize:
        """Of the header, or of the contents below it: less than they need, see `hasHeightForWidth`."""
        if self._collapsed or self.layout() is None:
            return QSize(200, _HEADER + 2)
        hint = self.layout().totalSizeHint()
        if not self.layout().hasHeightForWidth():
            return hint
        return QSize(hint.width(), self.layout().totalHeightForWidth(2 * max(self.width(), hint.width())))

    def minimumSizeHint(self) -> QSize:
        """As small as the contents allow."""
        if self._collapsed or self.layout() is None:
            return QSize(80, _HEADER + 2)
        return self.layout().totalMinimumSize().boundedTo(self.sizeHint())

    def hasHeightForWidth(self) -> bool:
        """False: labels that wrap get less height than their `heightForWidth`.

        That was seen in the desktop: last lines are cut off. Here a section is as high as if it were twice as wide.
        A minimum height of the label itself is respected, here as there.
        """
        return False

    def resizeEvent(self, event) -> None:
        """The height that is asked for depends on the width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    def paintEvent(self, event) -> None:
        """Header with an arrow, frame around the contents."""
        painter = QPainter(self)
        palette = self.palette()
        header = QRect(0, 0, self.width() - 1, _HEADER - 4)
        painter.fillRect(header, palette.color(QPalette.ColorRole.Button))
        painter.setPen(palette.color(QPalette.ColorRole.Mid))
        painter.drawRect(header)
        if not self._collapsed:
            painter.drawRect(QRect(0, 0, self.width() - 1, self.height() - 1))
        painter.setPen(palette.color(QPalette.ColorRole.ButtonText))
        painter.setBrush(palette.color(QPalette.ColorRole.ButtonText))
        x, y = 10, header.center().y()
        points = (
            [x - 3, y - 4, x + 3, y, x - 3, y + 4]
            if self._collapsed
            else [x - 4, y - 2, x + 4, y - 2, x, y + 4]
        )
        painter.drawPolygon(QPolygon([QPoint(points[n], points[n + 1]) for n in range(0, 6, 2)]))
        painter.drawText(header.adjusted(22, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self.text())
        painter.end()  # not left to the garbage collector

    collapsed = Property(bool, _isCollapsed, _setCollapsed)


class ctkSliderWidget(QWidget):
    """A slider and a spin box with one floating point value."""

    valueChanged = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider, self._spin = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._slider.setRange(0, 1000)
        self._spin.setRange(0.0, 99.0)
        self._spin.valueChanged.connect(self._onSpin)
        self._slider.sliderMoved.connect(self._onSlider)

    def setValue(self, value: float) -> None:
        """Set the value, kept inside of the range."""
        self._spin.setValue(value)

    def _onSpin(self, value: float) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._slider.setValue(round(1000 * (value - low) / max(high - low, 1e-12)))
        self.valueChanged.emit(value)

    def _onSlider(self, position: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._spin.setValue(low + position / 1000 * (high - low))

    value = Property(float, lambda self: self._spin.value(), setValue)
    minimum = Property(float, lambda self: self._spin.minimum(), lambda self, v: self._spin.setMinimum(v))
    maximum = Property(float, lambda self: self._spin.maximum(), lambda self, v: self._spin.setMaximum(v))
    singleStep = Property(
        float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v)
    )
    decimals = Property(int, lambda self: self._spin.decimals(), lambda self, v: self._spin.setDecimals(v))


CLASSES = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentSelectorWidget, ctkCollapsibleButton, ctkSliderWidget)
KEYS = {
    "qMRMLWidget": "slicer.qMRMLWidget",
    "qMRMLNodeComboBox": "slicer.qMRMLNodeComboBox",
    "qMRMLSegmentSelectorWidget": "slicer.qMRMLSegmentSelectorWidget",
    "ctkCollapsibleButton": "ctk.ctkCollapsibleButton",
    "ctkSliderWidget": "ctk.ctkSliderWidget",
}
__all__ = ["CLASSES", "KEYS", *KEYS]
