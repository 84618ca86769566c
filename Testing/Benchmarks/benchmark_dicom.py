"""Time and memory of writing a long series as DICOM. Makes a source of half as many slices in a temporary folder.

python Testing/Benchmarks/benchmark_dicom.py [--slices 1000] [--size 512]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "SliceInterpolation"), str(ROOT / "Testing" / "Python")]

from dicomsources import write_scan  # noqa: E402

from SliceInterpolationLib import interpolate  # noqa: E402
from SliceInterpolationLib.dicom import read_series, write_series  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scan(folder / "scan", slices=(options.slices + 1) // 2, size=options.size, step=(0.0, 0.0, 2.0))
        started = time.perf_counter()
        (run,) = read_series(folder / "scan").runs
        print(f"read {run.volume.slice_count} slices: {time.perf_counter() - started:.1f} s")
        result = interpolate(run.volume, method="nearest").volume
        (folder / "out").mkdir()
        started = time.perf_counter()
        write_series(result, run, folder / "out")
        seconds = time.perf_counter() - started
        files = list((folder / "out").iterdir())
        print(f"wrote {len(files)} slices: {seconds:.1f} s, {1000 * seconds / len(files):.1f} ms a slice")
        for path in files:
            path.unlink()
        tracemalloc.start()
        write_series(result, run, folder / "out")
        peak = tracemalloc.get_traced_memory()[1]
        print(
            f"memory for it: at most {peak / 2**20:.1f} MiB beside the volumes ({result.array.nbytes / 2**20:.0f} MiB)"
        )


if __name__ == "__main__":
    main()
