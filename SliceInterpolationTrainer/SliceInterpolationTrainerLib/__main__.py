"""Train a network: `python -m SliceInterpolationTrainerLib --data FOLDER --output FOLDER`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """Parse the arguments, train on the `train` CT rows of the folder's manifest.csv, write the weights."""
    from .prediction import TRAINABLE

    parser = argparse.ArgumentParser(prog="python -m SliceInterpolationTrainerLib", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the scans")
    parser.add_argument("--output", type=Path, required=True, help="run folder: checkpoint, log, weights")
    parser.add_argument("--network", choices=TRAINABLE, default="flow-refine")
    parser.add_argument(
        "--config", type=json.loads, default={}, metavar="JSON", help="options of the network"
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="train this many steps instead, which is reproducible")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--patch", type=int, default=160, help="side of the training patches in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: as torch chooses")
    arguments = parser.parse_args()

    import torch

    from SliceInterpolationLib.catalogue import WEIGHTS
    from SliceInterpolationLib.networks import build
    from SliceInterpolationLib.weights import write_weights

    from .data import ExampleSampler, load_stacks, read_manifest
    from .publish import RUN_FILE, describe_run
    from .training import TrainingConfig, train

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    network = build(arguments.network, **arguments.config)
    rows = read_manifest(arguments.data, "train", "CT")
    sampler = ExampleSampler(
        load_stacks(arguments.data, rows),
        patch=arguments.patch,
        seed=arguments.seed,
        middle_only=getattr(network, "middle_only", False),
    )
    config = TrainingConfig(
        minutes=arguments.minutes,
        steps=arguments.steps,
        seed=arguments.seed,
        learning_rate=arguments.learning_rate,
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    run = describe_run(arguments.network, arguments.config, sampler.gap_mm, rows)
    (arguments.output / RUN_FILE).write_text(json.dumps(run, indent=1) + "\n")
    network = train(network, sampler, config, arguments.output)
    write_weights(network, arguments.output / WEIGHTS)


if __name__ == "__main__":
    main()
