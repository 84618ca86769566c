"""How batches scale, whether their memory stays flat, and what is left when workers are killed or the disk is full.

    python Testing/Benchmarks/benchmark_batch.py --studies 200 --work-dir /tmp/batch [--side-by-side]

Every study is a crop of the synthetic head with noise of its own, 64 x 64 x 16 int16, and its mask. Runs with one and
with two workers take turns; then one with workers killed at random, whose table and files must equal those of the run
before; then, where a small file system can be mounted (root on Linux), one on a full disk. Times are from the first
finished study to the last one, since both runs start alike.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from SliceInterpolationLib import Volume, write_volume
from SliceInterpolationLib.phantom import Hematoma, phantom_volume

ROOT = Path(__file__).resolve().parents[2]


def make_studies(folder: Path, count: int) -> None:
    """Crops of the phantom and masks of the hematoma, each with other noise."""
    folder.mkdir(parents=True)
    head, labels, _ = phantom_volume(size=128, pixel_spacing=1.8, slices=16, hematoma=Hematoma(30.0))
    crop = np.s_[:, 24:88, 32:96]
    mask = Volume(
        np.ascontiguousarray(labels[crop]), head.spacing, head.origin, slice_axis="k", units="label"
    )
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 3, head.array[crop].shape)
        image = np.rint(head.array[crop] + noise).astype(np.int16)
        scan = Volume(image, head.spacing, head.origin, slice_axis="k", units="HU", slice_thickness=5.0)
        write_volume(scan, folder / f"s{number:04}.nrrd")
        write_volume(mask, folder / f"s{number:04}-mask.nrrd")


class Run:
    """One `slice-interpolation batch`, watched."""

    def __init__(self, studies: Path, output: Path, workers: int, *more: str):
        arguments = [
            "batch",
            studies,
            output,
            "--workers",
            workers,
            "--threads",
            1,
            "--progress",
            "json",
            *more,
        ]
        command = [sys.executable, "-m", "SliceInterpolationLib", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "SliceInterpolation")}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.times: list[float] = []
        self.megabytes: list[
            tuple[float, list[float]]
        ] = []  # of the engine and of its workers, study by study
        self.cpu_s: list[float] = []
        self.killed = 0

    def workers(self) -> list[psutil.Process]:
        """The worker processes."""
        found = []
        for one in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "spawn_main" in " ".join(one.cmdline()):
                    found.append(one)
            except psutil.Error:
                continue
        return found

    def watch(self, kill_every: int = 0) -> dict:
        """Until it has ended; its last line. kill_every: so many studies a worker is killed, on the average."""
        chance, last = random.Random(0), {}
        for line in self.process.stdout:
            last = json.loads(line)
            if not (last["stage"] == "studies" and last["done"]):
                continue
            self.times.append(time.monotonic())
            workers = self.workers()
            try:
                sizes = sorted(one.memory_info().rss / 2**20 for one in workers)
                self.megabytes.append((psutil.Process(self.process.pid).memory_info().rss / 2**20, sizes))
                self.cpu_s.append(sum(sum(one.cpu_times()[:2]) for one in workers))
            except psutil.Error:
                pass
            if kill_every and workers and chance.random() < 1 / kill_every:
                chance.choice(workers).kill()
                self.killed += 1
        self.process.wait()
        return last

    @property
    def pace(self) -> float:
        """Studies a minute, from the first one to the last one."""
        return 60 * (len(self.times) - 1) / (self.times[-1] - self.times[0])

    def told(self) -> str:
        """Pace and memory in words."""
        first, last = self.megabytes[len(self.megabytes) // 10], self.megabytes[-1]
        sizes = " ".join(f"{mb:.0f}" for mb in first[1]) + " -> " + " ".join(f"{mb:.0f}" for mb in last[1])
        wall = self.times[-1] - self.started
        cpu = (self.cpu_s[-1] - self.cpu_s[0]) / max(len(self.cpu_s) - 1, 1)
        return (
            f"{self.pace:.2f} studies a minute, {wall:.0f} s in all, first after {self.times[0] - self.started:.1f} s, "
            f"{cpu:.2f} CPU s a study; MB of the engine {first[0]:.0f} -> {last[0]:.0f}, of workers {sizes}"
        )


def outcome(output: Path) -> tuple[list[dict], dict[str, str]]:
    """The table without its times, and the hash of every file of a result."""
    with open(output / "results.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if not k.endswith("_s")} for row in csv.DictReader(file)]
    files = (path for path in (output / "studies").rglob("*") if path.is_file() and path.name != "study.json")
    return rows, {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def full_disk(studies: Path, base: Path) -> None:
    """A run on a file system with room for a few studies, and the same again with room for all."""
    disk = base / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]).returncode:
        print("full disk: nothing can be mounted here")
        return
    try:
        few = base / "few"
        few.mkdir()
        for path in sorted(studies.iterdir())[:60]:
            shutil.copy(path, few)
        run = Run(few, disk / "out", 2)
        last = run.watch()
        finished = len(list((disk / "out" / "studies").glob("*/study.json")))
        print(f"full disk: exit code {run.process.returncode} after {finished} studies: {last['message']}")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        run = Run(few, disk / "out", 2)
        print(
            f"with more room: exit code {run.watch() and run.process.returncode}, {outcome_count(disk / 'out')} studies"
        )
    finally:
        subprocess.run(["umount", str(disk)])


def outcome_count(output: Path) -> int:
    """How many rows the table has that succeeded."""
    return sum(row["status"] == "done" for row in outcome(output)[0])


def in_turns(base: Path) -> dict[int, Run]:
    """One worker, then two."""
    runs = {}
    for workers in (1, 2):
        runs[workers] = Run(base / "in", base / f"out-{workers}", workers)
        runs[workers].watch()
    return runs


def side_by_side(base: Path) -> dict[int, Run]:
    """Both at once, so that both meet the same load, until the faster one is done; only the common time counts."""
    runs = {workers: Run(base / "in", base / f"out-{workers}", workers) for workers in (1, 2)}
    threads = {workers: threading.Thread(target=run.watch) for workers, run in runs.items()}
    for thread in threads.values():
        thread.start()
    threads[2].join()
    runs[1].process.terminate()
    threads[1].join()
    start, end = max(run.times[0] for run in runs.values()), min(run.times[-1] for run in runs.values())
    for run in runs.values():
        run.times = [time for time in run.times if start <= time <= end]
    return runs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument(
        "--side-by-side", action="store_true", help="on a machine that is busy with other work"
    )
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--kill-every", type=int, default=15, metavar="STUDIES", help="0: none")
    options = parser.parse_args()
    base = options.work_dir
    shutil.rmtree(base, ignore_errors=True)
    make_studies(base / "in", options.studies)
    runs = (side_by_side if options.side_by_side else in_turns)(base)
    for workers, run in runs.items():
        print(f"{workers} workers: {run.told()}", flush=True)
    print(f"two workers are {runs[2].pace / runs[1].pace:.2f} times as fast as one", flush=True)
    expected = outcome(base / "out-2")
    if not options.side_by_side:
        print(f"one and two workers make the same: {outcome(base / 'out-1') == expected}", flush=True)
    if not options.kill_every:
        return
    run = Run(base / "in", base / "out-killed", 2)
    run.watch(options.kill_every)
    same = outcome(base / "out-killed") == expected
    print(
        f"{run.killed} workers killed: {len(run.times)} studies told, same table and files: {same}",
        flush=True,
    )
    full_disk(base / "in", base)


if __name__ == "__main__":
    main()
