"""Keys that work wherever the focus is, a slice view included, while the panel is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer


class Shortcuts:
    """Keys of the application, off at first.

    actions: what each key does. Letters that are typed into a text field stay letters: it takes them first.
    """

    def __init__(self, parent: Any, actions: dict[str, Callable[[], Any]]):
        window = slicer.util.mainWindow() or parent
        self._shortcuts = []
        for key, action in actions.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.setContext(qt.Qt.ApplicationShortcut)  # views may lie in a window of their own
            shortcut.connect("activated()", action)
            shortcut.enabled = False
            self._shortcuts.append(shortcut)

    def setEnabled(self, enabled: bool) -> None:
        """On while the panel is open, off while another module is."""
        for shortcut in self._shortcuts:
            shortcut.enabled = enabled

    def remove(self) -> None:
        """Give the keys back."""
        for shortcut in self._shortcuts:
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
