"""The panel: the widget, the logic behind it, and what it says as plain functions of plain values."""
