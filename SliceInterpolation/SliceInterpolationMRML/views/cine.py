"""A cine loop: something goes smoothly from 0 to 1 and back, until it is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

PERIOD_S = 2.4
_INTERVAL_MS = 40


class Cine:
    """Calls a function about 25 times a second with a figure that swings between 0 and 1.

    Example::

        cine = Cine(compareView.setOpacity)
        cine.start()
        cine.stop()
    """

    def __init__(self, show: Callable[[float], Any]):
        self._show = show
        self._timer: Any = None
        self._started = 0.0

    @property
    def isPlaying(self) -> bool:
        """True from `start` to `stop`."""
        return self._timer is not None

    def start(self) -> None:
        """Begin at 0; needs the event loop of the application."""
        import qt

        self.stop()
        self._started = time.monotonic()
        self._timer = qt.QTimer()
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.connect("timeout()", self._onTimeout)
        self._timer.start()

    def stop(self) -> None:
        """End it; harmless where it does not play."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _onTimeout(self) -> None:
        phase = (time.monotonic() - self._started) / PERIOD_S
        self._show(0.5 - 0.5 * math.cos(2 * math.pi * phase))
