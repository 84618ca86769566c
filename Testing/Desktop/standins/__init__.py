"""Stand-ins for what only the desktop application has, so that the real panel runs without it.

The scene, its nodes and logics are Slicer's own (slicer-core); the widgets are Qt's own (PySide6), seen the way
PythonQt shows them; only what neither brings is imitated: the qMRML and CTK widgets of the panel, `slicer.app`, the
base classes of scripted modules and the parameter node wrapper. Where the desktop behaves otherwise, the stand-in is
wrong: every attribute is checked against `slicer-desktop-api.json`, read off the running application.

Call `start()` once in a process, before the module is imported, and `newScene()` for each test.
"""

import sys
from pathlib import Path

# The scene and the offscreen views are those of the tests that need no panel.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Python"))

from .application import Desktop, newScene, start
from .modules import SLICER_SOURCE

__all__ = ["SLICER_SOURCE", "Desktop", "newScene", "start"]
