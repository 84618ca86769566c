"""Time and memory of reading a long DICOM series that is written here."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Python"))
from dicomfiles import write_slice

from SliceInterpolationLib.dicom import read_series


def main() -> None:
    """Write the series, read it, and print seconds and the peak of the memory beside the size of the voxels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 4000, (options.size, options.size), dtype=np.uint16)
        for k in range(options.slices):
            write_slice(
                Path(folder),
                f"{k:05d}.dcm",
                (0, 0, 0.7 * k),
                "1.2.3",
                size=options.size,
                PixelData=pixels.tobytes(),
            )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = time.perf_counter()
        (run,) = read_series(folder).runs
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = run.volume.array.nbytes / 2**20
    print(f"{run.volume.slice_count} slices in {seconds:.1f} s")
    print(f"memory: {before:.0f} MiB before, {peak:.0f} MiB at the peak; the voxels have {size:.0f} MiB")


if __name__ == "__main__":
    main()
