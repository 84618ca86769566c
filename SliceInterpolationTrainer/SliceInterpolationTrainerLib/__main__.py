"""Train a network: `python -m SliceInterpolationTrainerLib --data FOLDER --output FOLDER`.

Exit codes: 0 done, 1 failed, 2 bad input or arguments, 3 cancelled; started again, a run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from SliceInterpolationLib.errors import Cancelled, InputError
from SliceInterpolationLib.process import run
from SliceInterpolationLib.progress import Reporter


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""

    def command() -> None:
        try:
            _train(_parser().parse_args(arguments))
        except KeyboardInterrupt:
            raise Cancelled("stopped; the same command goes on from the last checkpoint") from None

    return run(command, Reporter())


def _parser() -> argparse.ArgumentParser:
    from .prediction import TRAINABLE

    parser = argparse.ArgumentParser(
        prog="python -m SliceInterpolationTrainerLib", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the scans")
    parser.add_argument("--output", type=Path, required=True, help="run folder: checkpoint, log, weights")
    parser.add_argument("--network", choices=TRAINABLE, default="flow-refine")
    parser.add_argument("--config", default="{}", metavar="JSON", help="options of the network")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="train this many steps instead, which is reproducible")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--patch", type=int, default=160, help="side of the training patches in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: as torch chooses")
    return parser


def _train(options: argparse.Namespace) -> None:
    """Train on the `train` CT rows of the folder's manifest.csv, watch the `validation` ones, write the weights."""
    import torch

    from SliceInterpolationLib.catalogue import WEIGHTS
    from SliceInterpolationLib.networks import build
    from SliceInterpolationLib.weights import write_weights

    from .data import ExampleSampler, load_stacks, read_manifest
    from .publish import describe_run
    from .training import TrainingConfig, fit

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network_config = _table(options.config)
    network = build(options.network, **network_config)
    config = TrainingConfig(
        minutes=options.minutes,
        steps=options.steps,
        seed=options.seed,
        learning_rate=options.learning_rate,
    )

    def sampler(split: str) -> ExampleSampler | None:
        if not rows[split]:
            return None
        return ExampleSampler(
            load_stacks(options.data, rows[split]),
            patch=options.patch,
            seed=options.seed,
            middle_only=getattr(network, "middle_only", False),
        )

    rows = {split: read_manifest(options.data, split, "CT") for split in ("train", "validation")}
    training, validation = sampler("train"), sampler("validation")
    if training is None:
        raise InputError(f"'{options.data / 'manifest.csv'}' has no row of the split train and modality CT.")
    run = describe_run(options.network, network_config, training.gap_mm, rows["train"])
    network = fit(network, training, config, options.output, run, validation)
    write_weights(network, options.output / WEIGHTS)


def _table(text: str) -> dict:
    try:
        table = json.loads(text)
    except ValueError as error:
        raise InputError(f"--config is not JSON: {error}.") from None
    if not isinstance(table, dict):
        raise InputError("--config must be a table such as '{\"channels\": 32}'.")
    return table


if __name__ == "__main__":
    sys.exit(main())
