"""How long the panel takes from the click to the visible result, against the bare command line, on one scan.

python Testing/Benchmarks/benchmark_panel.py [--size 512] [--slices 30] [--method default] [--runs 3]

Both run in turn, so that other load on the machine falls on both; the medians are compared. The aim is a ratio of at
most 1.5.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing" / "Desktop"))

import slicer  # noqa: E402
import standins  # noqa: E402


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--slices", type=int, default=30)
    parser.add_argument("--method", default="default")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    panel, scan = _openPanel(options.size, options.slices, options.method)
    panelTimes, shellTimes = [], []
    with tempfile.TemporaryDirectory() as folder:
        source = _write(scan, Path(folder) / "scan.nrrd")
        for _ in range(options.runs):
            shellTimes.append(_runShell(source, options.method))
            panelTimes.append(_runPanel(panel))
            slicer.mrmlScene.RemoveNode(panel._parameterNode.resultVolume)
    panel.cleanup()
    shell, click = statistics.median(shellTimes), statistics.median(panelTimes)
    print(f"command line {shell:.2f} s, click to visible result {click:.2f} s, ratio {click / shell:.2f}")


def _openPanel(size: int, slices: int, method: str):
    standins.newScene()
    from SliceInterpolationMRML.sampleData import loadPhantom

    desktop = standins.newScene(views=True)
    panel = desktop.makeWidget()
    while panel._probe.running:
        slicer.app.processEvents()
        time.sleep(0.02)
    scan, _ = loadPhantom(size=size, pixel_spacing=230.0 / size, slices=slices)
    panel._parameterNode.inputVolume, panel._parameterNode.method = scan, method
    panel.desktop = desktop
    return panel, scan


def _write(scan, path: Path) -> Path:
    from SliceInterpolationLib.files import write_volume
    from SliceInterpolationMRML.nodes import volumeFromNode

    write_volume(volumeFromNode(scan), path)
    return path


def _runShell(source: Path, method: str) -> float:
    target = source.with_name("result.nrrd")
    command = [sys.executable, "-m", "SliceInterpolationLib", "interpolate", str(source), str(target)]
    started = time.monotonic()
    subprocess.run(
        [*command, "--method", method, "--progress", "none"], cwd=ROOT / "SliceInterpolation", check=True
    )
    return time.monotonic() - started


def _runPanel(panel) -> float:
    started = time.monotonic()
    panel.ui.applyButton.click()
    while panel.logic.running:
        slicer.app.processEvents()
        time.sleep(0.005)
    panel.desktop.picture()  # the compare views are drawn
    seconds = time.monotonic() - started
    if panel.logic.job.state != "done":
        raise RuntimeError(panel.logic.job.message)
    return seconds


if __name__ == "__main__":
    main()
