"""Draws the icons of the extension and the thumbnail of the sample data: `python Testing/Desktop/draw_icons.py`.

The icon shows a stack of slices seen from above: acquired ones solid, synthesized ones between them translucent.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QPainter, QPainterPath, QPen, QPolygonF

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "SliceInterpolation"))
ACQUIRED, SYNTHESIZED = QColor(38, 84, 124), QColor(239, 138, 23)


def drawIcon(path: Path, size: int = 128) -> None:
    """Three acquired and two synthesized slices on a transparent ground."""
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(size / 128.0, size / 128.0)
    for number in range(5):  # from the lowest slice upward
        synthesized = number % 2 == 1
        _drawSlice(painter, 96.0 - 16.0 * number, SYNTHESIZED if synthesized else ACQUIRED, synthesized)
    painter.end()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not image.save(str(path)):
        raise OSError(f"'{path}' cannot be written")


def _drawSlice(painter: QPainter, y: float, color: QColor, synthesized: bool) -> None:
    corners = QPolygonF([QPointF(64, y - 26), QPointF(122, y), QPointF(64, y + 26), QPointF(6, y)])
    fill = QColor(color)
    fill.setAlpha(150 if synthesized else 245)
    pen = QPen(color.darker(140), 2.0)
    if synthesized:
        pen.setStyle(Qt.PenStyle.DashLine)
    painter.setPen(pen)
    painter.setBrush(fill)
    painter.drawPolygon(corners)
    head = QPainterPath()
    head.addEllipse(QRectF(64 - 24, y - 13, 48, 26))
    painter.setPen(QPen(QColor(255, 255, 255, 230), 2.5))
    painter.setBrush(QColor(255, 255, 255, 70))
    painter.drawPath(head)


def drawThumbnail(path: Path) -> None:
    """A slice of the head phantom through its hematoma, 260 x 280 pixels, brain window."""
    import numpy as np

    from SliceInterpolationLib.phantom import head_phantom

    phantom = head_phantom(size=260, pixel_spacing=0.85)
    number = int(phantom.mask.sum(axis=(1, 2)).argmax())
    gray = np.clip((phantom.image[number].astype(float) - 0.0) / 80.0, 0, 1) * 255
    canvas = np.zeros((280, 260), np.uint8)
    canvas[10:270] = gray.astype(np.uint8)
    image = QImage(canvas.tobytes(), 260, 280, 260, QImage.Format.Format_Grayscale8)
    if not image.save(str(path)):
        raise OSError(f"'{path}' cannot be written")


def main() -> None:
    """Write all icons to their places."""
    application = QGuiApplication(["icons", "-platform", "offscreen"])
    icons = ROOT / "SliceInterpolation" / "Resources" / "Icons"
    drawIcon(ROOT / "Resources" / "SliceInterpolation_128.png")
    drawIcon(icons / "SliceInterpolation.png")
    drawThumbnail(icons / "HeadPhantom.png")
    application.quit()


if __name__ == "__main__":
    main()
