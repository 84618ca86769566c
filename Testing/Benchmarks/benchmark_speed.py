"""Time all interpolators on a 512x512x30 head CT, x2, beside SimpleITK's B-spline resample.

    python Testing/Benchmarks/benchmark_speed.py [--rounds 3] [--input FILE] [--output TABLE.md]

Every measurement is a fresh process, methods take turns within a round, and the median over the rounds is
reported: CPU seconds and wall seconds of the interpolation alone (a first run on four slices warms up imports
and weights), the peak memory of the whole process, and of that the working memory: without the input and output
volume and without what importing SimpleITK, SciPy and, where it is used, torch takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "SliceInterpolation"))

YARDSTICK = "SimpleITK B-spline"
METHODS = (YARDSTICK, "nearest", "linear", "cubic", "bspline", "flow", "default")


def measure_one(method: str, path: str) -> dict[str, float]:
    """Interpolate the saved volume in this process; its CPU and wall seconds and peak memory in MB."""
    from SliceInterpolationLib import Volume
    from SliceInterpolationLib.device import tune_process

    tune_process()
    if method in ("flow", "default"):
        import torch.nn.functional  # noqa: F401 - the programs' own memory must not count as working memory
    imports = peak_memory_mb()
    saved = np.load(path)
    volume = Volume(saved["array"], saved["spacing"], units="HU", slice_axis="k")
    run = _resample_bspline if method == YARDSTICK else _interpolate
    small = Volume(volume.array[:4], volume.spacing, units="HU", slice_axis="k")
    run(small, method)
    wall, cpu = time.perf_counter(), time.process_time()
    made = run(volume, method)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_memory_mb()
    volumes = (volume.array.nbytes + made.nbytes) / 2**20
    return {"cpu": cpu, "wall": wall, "peak": peak, "working": peak - volumes - imports}


def peak_memory_mb() -> float:
    """Peak resident memory of this process; on Linux of this program alone, not of the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _interpolate(volume, method: str) -> np.ndarray:
    from SliceInterpolationLib import interpolate

    return interpolate(volume, method=method, device="cpu").volume.array


def _resample_bspline(volume, method: str) -> np.ndarray:
    import SimpleITK as sitk

    image = volume.to_sitk()
    columns, rows, slices = image.GetSize()
    spacing = (*image.GetSpacing()[:2], image.GetSpacing()[2] / 2)
    size = (columns, rows, 2 * slices - 1)
    made = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkBSpline, image.GetOrigin(), spacing, image.GetDirection(), -1000,
        sitk.sitkInt16,
    )  # fmt: skip
    return sitk.GetArrayViewFromImage(made).copy()


def main() -> None:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--input", help="a volume instead of the 512x512x30 phantom")
    parser.add_argument("--output", type=Path, help="also write the table here")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure_one(*options.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "volume.npz")
        shape = _save_input(options.input, path)
        runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for number in range(options.rounds):
            for method in METHODS:
                command = [sys.executable, __file__, "--one", method, path]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                runs[method].append(json.loads(out.strip().splitlines()[-1]))
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    table = _table(runs, shape, options.rounds)
    print(table)
    if options.output:
        options.output.write_text(table + "\n")


def _save_input(source: str | None, path: str) -> tuple[int, ...]:
    from SliceInterpolationLib.files import read_volume
    from SliceInterpolationLib.phantom import head_phantom

    if source:
        volume, _ = read_volume(source)
        array, spacing = volume.array, volume.spacing
    else:
        phantom = head_phantom()
        array, spacing = phantom.image, phantom.spacing
    np.savez(path, array=array, spacing=np.asarray(spacing))
    return array.shape


def _table(runs: dict[str, list[dict[str, float]]], shape: tuple[int, ...], rounds: int) -> str:
    median = {m: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for m, rs in runs.items()}
    unit = median[YARDSTICK]
    lines = [
        f"{shape[2]}x{shape[1]}x{shape[0]} int16, x2, {os.cpu_count()} cores, median of {rounds} rounds",
        "",
        "| method | CPU s | CPU ratio | wall s | wall ratio | peak process MB | working memory MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, m in median.items():
        lines.append(
            f"| {method} | {m['cpu']:.2f} | {m['cpu'] / unit['cpu']:.2f} | {m['wall']:.2f} | "
            f"{m['wall'] / unit['wall']:.2f} | {m['peak']:.0f} | {m['working']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
