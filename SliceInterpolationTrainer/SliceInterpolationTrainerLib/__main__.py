"""Train the flow-refine network: `python -m SliceInterpolationTrainerLib --data FOLDER --output FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Parse the arguments, train on the `train` CT rows of the folder's manifest.csv, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m SliceInterpolationTrainerLib", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the scans")
    parser.add_argument("--output", type=Path, required=True, help="run folder: checkpoint, log, weights")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: as torch chooses")
    arguments = parser.parse_args()

    import torch
    from safetensors.torch import save_file

    from SliceInterpolationLib.networks.flow_refine import FlowRefine

    from .data import ExampleSampler, load_stacks, read_manifest
    from .training import TrainingConfig, train

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rows = read_manifest(arguments.data, "train", "CT")
    sampler = ExampleSampler(load_stacks(arguments.data, rows), seed=arguments.seed)
    config = TrainingConfig(minutes=arguments.minutes, seed=arguments.seed)
    network = train(FlowRefine(), sampler, config, arguments.output)
    save_file(
        {k: v.contiguous() for k, v in network.state_dict().items()}, arguments.output / "weights.safetensors"
    )


if __name__ == "__main__":
    main()
