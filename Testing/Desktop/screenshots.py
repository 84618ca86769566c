"""Pictures of the panel in each of its states, made by running the real panel on the stand-ins: `make screenshots`.

python Testing/Desktop/screenshots.py [FOLDER [WIDTH...]]; by default Resources/Screenshots at 430 px. Of several widths
each has its pictures.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import slicer  # noqa: E402
import standins  # noqa: E402

WIDTH = 430  # px


class Photographer:
    """A panel, and the folder that its pictures go to."""

    def __init__(self, folder: Path, widths: list[int]):
        self.folder, self.widths = folder, widths
        folder.mkdir(parents=True, exist_ok=True)
        self.desktop = standins.newScene(views=True)
        self.panel = self.desktop.makeWidget()
        self.spin(lambda: self.panel._devices, 60)

    def spin(self, until, seconds: float = 300.0) -> None:
        """Run the event loop until a condition holds."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise TimeoutError("the panel did not get there in time")
            slicer.app.processEvents()
            time.sleep(0.01)

    def open(self, *names: str) -> None:
        """Unfold these sections and fold the others."""
        for name in ("interpolate", "compare", "trust", "noise", "measure", "setup"):
            getattr(self.panel.ui, f"{name}CollapsibleButton").collapsed = name not in names

    def take(self, name: str) -> None:
        """Photograph the panel as high as it needs to be."""
        for width in self.widths:
            self._settle(width)
            ending = f"-{width}" if len(self.widths) > 1 else ""
            path = self.folder / f"panel-{name}{ending}.png"
            self.panel.parent.grab().save(str(path))
            print(path)

    def _settle(self, width: int) -> None:
        """Give the panel a width; how high its lines are is known only then."""
        parent = self.panel.parent
        for _ in range(3):
            parent.resize(width, parent._q.layout().totalSizeHint().height())
            for _ in range(5):
                slicer.app.processEvents()

    def views(self, name: str) -> None:
        """Photograph the slice views."""
        from offscreen import savePng

        path = self.folder / f"{name}.png"
        savePng(self.desktop.picture(), path)
        print(path)

    def finish(self) -> None:
        """Wait for the run."""
        self.spin(lambda: not self.panel.logic.running)

    def close(self) -> None:
        """End everything."""
        self.panel.cleanup()
        self.panel.parent.close()


def main(folder: Path, widths: list[int]) -> None:
    """Take all pictures."""
    standins.start()
    from SliceInterpolationMRML.parameters import Arrangement
    from SliceInterpolationMRML.run import dependencies
    from SliceInterpolationMRML.sampleData import loadPhantom

    camera = Photographer(folder, widths)
    panel, ui = camera.panel, camera.panel.ui
    camera.open("interpolate", "compare", "trust")
    camera.take("empty")
    scan, hematoma = loadPhantom(size=256, pixel_spacing=0.9, slices=30, slice_spacing=5.0)
    panel._parameterNode.inputVolume = scan
    camera.take("ready")
    panel._parameterNode.arrangement = Arrangement.ROWS
    ui.applyButton.click()
    camera.spin(lambda: ui.progressBar.value >= 12)
    camera.take("running")
    ui.applyButton.click()
    camera.take("cancelled")
    ui.applyButton.click()
    camera.finish()
    camera.take("done")
    camera.views("compare-rows")
    ui.shownComboBox.currentIndex = 3
    camera.views("compare-difference")
    panel._parameterNode.arrangement = Arrangement.COLUMNS
    ui.compareButton.click()
    camera.views("compare-columns")
    ui.restoreLayoutButton.click()
    camera.open("trust")
    ui.trustButton.click()
    camera.spin(lambda: ui.progressBar.value >= 3)
    camera.open("interpolate", "trust")
    camera.take("trust-running")
    camera.finish()
    camera.open("trust")
    camera.take("trust")
    camera.open("noise")
    ui.noiseButton.click()
    camera.finish()
    camera.take("noise")
    camera.open("measure")
    ui.segmentSelector.setCurrentNode(hematoma)
    ui.measureButton.click()
    camera.spin(lambda: not panel.logic.running)
    camera.take("measure")
    camera.open("interpolate")
    _chooseOutput(panel, "denoised")
    camera.take("denoised")
    panel._parameterNode.outputVolume = scan
    camera.take("refused")
    panel._parameterNode.outputVolume = None
    real = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "torch" else real(name, *rest)
    try:
        camera.open("interpolate", "setup")
        panel._updatePanel()
        camera.take("no-pytorch")
    finally:
        importlib.util.find_spec = real
        dependencies._declined.clear()
    camera.close()


def _chooseOutput(panel, mode: str) -> None:
    from SliceInterpolationMRML.parameters import OutputMode

    panel._parameterNode.outputMode = OutputMode(mode)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots",
        [int(width) for width in sys.argv[2:]] or [WIDTH],
    )
