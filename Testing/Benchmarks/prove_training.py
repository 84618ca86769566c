"""Proofs about training that take minutes: `kills`, `loading`, `divergence`.

    python Testing/Benchmarks/prove_training.py kills [--count 20]
    python Testing/Benchmarks/prove_training.py loading [--data FOLDER] [--workers 2] [--steps 60]
    python Testing/Benchmarks/prove_training.py divergence [--steps 300]

kills: the training command is killed (SIGKILL) at random moments, again and again, and ends with the weights of a run
that nothing happened to. loading: what a step costs beside its forward and backward pass, with workers that draw the
examples. divergence: the SSIM loss at a high rate, as published and robust, with three seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

ROOT = Path(__file__).resolve().parents[2]
for folder in ("SliceInterpolation", "SliceInterpolationTrainer", "Testing/Python"):
    sys.path.insert(0, str(ROOT / folder))

from conftest import moving_ellipse  # noqa: E402

from SliceInterpolationTrainerLib.data import Stack  # noqa: E402
from SliceInterpolationTrainerLib.loading import load  # noqa: E402
from SliceInterpolationTrainerLib.recipe import find_recipe  # noqa: E402
from SliceInterpolationTrainerLib.scans import prepare, stacks_of  # noqa: E402
from SliceInterpolationTrainerLib.tasks import build_task  # noqa: E402
from SliceInterpolationTrainerLib.training import Training, TrainingConfig  # noqa: E402

_SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def kills(options: argparse.Namespace) -> None:
    """Kill the training command at random moments of its life, from its first import to its last file."""
    with tempfile.TemporaryDirectory() as folder:
        command = _small_command(Path(folder))
        started = time.monotonic()
        whole = _weights(command, Path(folder) / "whole")
        life = time.monotonic() - started
        generator, dead, run, passes = random.Random(options.seed), 0, Path(folder) / "0", 0
        while True:
            started = time.monotonic()
            process = subprocess.Popen([*command, "--output", str(run)], **_SILENT)
            moment = generator.uniform(0.2, 1.0) * life if dead < options.count else None
            try:
                code = process.wait(moment)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                dead += 1
                logs = sorted(run.glob("*/log.jsonl"))
                last = json.loads(logs[-1].read_text().splitlines()[-1])["step"] if logs else 0
                stage = logs[-1].parent.name if logs else "before the first"
                print(f"kill {dead} after {moment:.1f} s: checkpoint {stage}, step {last}", flush=True)
                continue
            same = code == 0 and _equal(whole, _checkpoint(run))
            passes += 1
            print(
                f"run {passes} came through after {dead} kills in all, the same weights: {same}", flush=True
            )
            assert same
            if dead >= options.count:
                break
            life = max(0.5 * life, time.monotonic() - started)  # the machine may have become faster
            run = Path(folder) / str(passes)
        print(f"{dead} kills, {passes} runs, the same weights bit by bit")


def _small_command(folder: Path) -> list[str]:
    """The training command of a network that trains for some seconds."""
    rng = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        voxels = (moving_ellipse(24, 80, 0.5) + rng.normal(0, 8, (24, 80, 80))).round().astype(np.int16)
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((0.8, 0.8, 2.0))
        (folder / "data").mkdir(exist_ok=True)
        sitk.WriteImage(image, str(folder / "data" / f"{name}.nrrd"))
    stages = [
        {
            "name": "generator",
            "network": "msi-gan",
            "config": {"channels": 8, "blocks": 2},
            "options": {"loss": "ssim+l1", "l1_part": 0.2},
            "examples": {"patch": 48},
            "training": {"batch": 2, "checkpoint_steps": 7, "patience": 50},
        }
    ]
    stages.append({**stages[0], "name": "adversarial", "task": "adversarial", "options": {}})
    (folder / "small.yaml").write_text(json.dumps({"title": "Small", "stages": stages}))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "SliceInterpolationTrainerLib", "train", str(folder / "small.yaml")]
    command += ["--data", str(folder / "data"), "--steps", "60", "--device", "cpu", "--threads", "1"]
    return [*command, "--workers", "1"]


def _weights(command: list[str], run: Path) -> dict:
    subprocess.run([*command, "--output", str(run)], check=True, **_SILENT)
    return _checkpoint(run)


def _checkpoint(run: Path) -> dict:
    return torch.load(run / "2-adversarial" / "checkpoint.pt", weights_only=True)


def _equal(one: dict, other: dict) -> bool:
    return all(
        torch.equal(one[part][name], tensor)
        for part in ("network", "average")
        for name, tensor in other[part].items()
    )


def loading(options: argparse.Namespace) -> None:
    """Seconds of a step with examples drawn ahead, over those of the same step on one batch again and again."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if options.data:
            found = prepare(Path(options.data), Path(folder), reporter=None)
            stacks = stacks_of(found, Path(folder), "train")
        else:
            voxels = moving_ellipse(60, 512, 0.5)
            voxels += np.random.default_rng(0).normal(0, 8, voxels.shape)
            stacks = [Stack("ellipse", voxels.round().astype(np.int16), 1.0, 0.5, 1.0, (-1000.0, 800.0))]
        stage = find_recipe(options.recipe).stages[0]
        task = build_task(stage.task, stage.network, stage.config, stage.options)
        examples = {**stage.examples, **({"patch": options.patch} if options.patch else {})}
        sampler = task.sampler(stacks, 0, **examples)
        training = Training(task, TrainingConfig(steps=10**6, batch=stage.training["batch"]))
        started = time.perf_counter()
        batch = sampler.batch(0, training.config.batch)
        drawn = time.perf_counter() - started
        training.step(batch)

        def seconds(batches: object) -> float:
            times = []
            for number, one in enumerate(batches):
                if number == 0:
                    started = time.perf_counter()
                    continue
                training.step(one)
                now = time.perf_counter()
                times.append(now - started)
                started = now
            return float(np.mean(times))

        alone = seconds(batch for _ in range(options.steps + 1))
        print(f"{options.recipe}, batch {training.config.batch}: step {alone:.3f} s, drawing {drawn:.3f} s")
        for workers in sorted({0, 1, options.workers}):
            step = seconds(load(sampler, training.config.batch, 1, options.steps + 2, workers))
            print(
                f"{workers} workers: {step:.3f} s a step, {step / alone:.3f} times forward and backward",
                flush=True,
            )


def divergence(options: argparse.Namespace) -> None:
    """The SSIM loss at a high rate, as the head CT study trained it and as the robust recipe does."""
    from test_training_stability import trained

    for seed in range(3):
        found = {name: trained(name, options.steps, seed) for name in ("dsi-ssim", "dsi-ssim-robust")}
        print(
            f"seed {seed}: " + ", ".join(f"{name} {error:.3g}" for name, error in found.items()), flush=True
        )
    print("mean absolute error in units of the brain window, after", options.steps, "steps")


def main() -> None:
    """Run one proof."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    proofs = parser.add_subparsers(required=True)
    proof = proofs.add_parser("kills")
    proof.add_argument("--count", type=int, default=20)
    proof.add_argument("--seed", type=int, default=0)
    proof.set_defaults(run=kills)
    proof = proofs.add_parser("loading")
    proof.add_argument("--data")
    proof.add_argument("--recipe", default="flow-refine")
    proof.add_argument("--patch", type=int, help="side of the patches, by default the recipe's")
    proof.add_argument("--workers", type=int, default=2)
    proof.add_argument("--steps", type=int, default=60)
    proof.set_defaults(run=loading)
    proof = proofs.add_parser("divergence")
    proof.add_argument("--steps", type=int, default=300)
    proof.set_defaults(run=divergence)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
