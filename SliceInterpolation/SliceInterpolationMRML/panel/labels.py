"""Labels of several lines: as high as their texts need, whatever width the panel gets."""

from __future__ import annotations

import qt


class LineKeeper(qt.QObject):
    """Gives word-wrapped labels the height of all their lines, each time their width changes.

    Forms in collapsible buttons give less than the wrapped lines need, and the last one would be cut, or far more.
    """

    def watch(self, label) -> None:
        """Keep the height of a label up to date from now on."""
        label.installEventFilter(self)

    def eventFilter(self, label, event) -> bool:
        """Called by Qt for each event of a label that is watched; the event goes on."""
        if event.type() == qt.QEvent.Resize:
            fit(label)
        return False


def say(label, text: str) -> None:
    """Show a text; an empty label takes no room."""
    label.text = text
    label.visible = bool(text)
    fit(label)


def fit(label) -> None:
    """Give a label the height that its text needs at the width that it has; forms would give more or less."""
    label.minimumHeight = 0  # a label never wants less than its minimum
    wanted = label.heightForWidth(label.width) if label.text else 0
    label.minimumHeight, label.maximumHeight = wanted, wanted
