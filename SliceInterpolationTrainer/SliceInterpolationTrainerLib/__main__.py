"""The commands of the trainer: `slice-interpolation train`, or `python -m SliceInterpolationTrainerLib train`.

Exit codes: 0 done, 1 failed, 2 bad input or arguments, 3 cancelled; started again, a run goes on where it was.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from SliceInterpolationLib import process
from SliceInterpolationLib.cancel import at_once, hold_cancel
from SliceInterpolationLib.cli import Parser
from SliceInterpolationLib.errors import Cancelled, InputError, SliceInterpolationError
from SliceInterpolationLib.progress import MODES, Reporter

if TYPE_CHECKING:
    from .devices import Crew
    from .recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default that of this process; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    reporter = Reporter.of_arguments(arguments)
    return process.run(lambda: run_command(arguments, reporter), reporter)


def run_command(arguments: Sequence[str], reporter: Reporter) -> None:
    """Run one command. Raises what stops it, see `process.run`, and SystemExit after --help."""
    if arguments and arguments[0] == "publish":
        from .publish import publish_command

        publish_command(arguments[1:], reporter)
        return
    options = _parser().parse_args(arguments)
    reporter.mode = options.progress
    options.run(options, reporter, list(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="slice-interpolation", description="Train networks on scans of your own.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("publish", help="make a model of a training run")
    command = commands.add_parser(
        "train",
        help="train a network by a recipe",
        description="Train a network by a recipe, from start to end; the same command goes on with a run that was "
        "stopped or killed.",
    )
    command.set_defaults(run=_train)
    command.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="name of a recipe, or a YAML file of your own"
    )
    command.add_argument("--list", action="store_true", help="list the recipes")
    command.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder with the scans and their manifest.csv"
    )
    command.add_argument("--output", type=Path, metavar="FOLDER", help="run folder: checkpoints, log")
    command.add_argument("--modality", choices=("CT", "MR"), default="CT")
    command.add_argument(
        "--validation-part",
        type=float,
        default=0.2,
        metavar="0..1",
        help="of the patients, without a manifest",
    )
    command.add_argument("--accept-all", action="store_true", help="leave out no scan for its quality")
    budget = command.add_argument_group("budget", "of all stages together")
    budget.add_argument("--minutes", type=float, help="default: what the recipe says")
    budget.add_argument("--steps", type=int, help="train this many steps instead, which is reproducible")
    budget.add_argument("--batch", type=int, help="examples a step, over all processes")
    budget.add_argument("--patch", type=int, help="side of the training patches in pixels")
    budget.add_argument("--learning-rate", type=float)
    budget.add_argument("--checkpoint-steps", type=int, help="steps between two checkpoints and validations")
    budget.add_argument("--seed", type=int, default=0)
    machine = command.add_argument_group("machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    machine.add_argument(
        "--devices", type=int, default=1, metavar="N", help="processes that train together here"
    )
    machine.add_argument("--precision", choices=("fp32", "bf16"), help="default: fp32")
    machine.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes that draw the examples"
    )
    machine.add_argument("--threads", type=int, default=0, help="CPU threads a process, 0: as torch chooses")
    model = command.add_argument_group("model")
    model.add_argument("--publish", metavar="NAME", help="add the result to your models under this name")
    model.add_argument("--license", metavar="SPDX", help="of the weights, for example CC-BY-4.0")
    command.add_argument("--progress", choices=MODES, default="bar", help="how progress is shown")
    return parser


def _train(options: argparse.Namespace, reporter: Reporter, arguments: list[str]) -> None:
    """Train a recipe, and publish the result if asked for."""
    from .recipe import find_recipe

    if options.list:
        _list_recipes(reporter)
        return
    for name, value in (("RECIPE", options.recipe), ("--data", options.data), ("--output", options.output)):
        if not value:
            raise InputError(f"Training needs {name}; see 'slice-interpolation train --help', or --list.")
    recipe = find_recipe(options.recipe)
    license_ = _license(options)
    if options.workers < 0:
        raise InputError(f"--workers cannot be negative, as {options.workers} is.")
    if options.devices < 1:
        raise InputError(f"--devices must be 1 or more, not {options.devices}.")
    from .devices import in_a_crew, join, launch

    if options.devices > 1 and not in_a_crew():
        code = launch(options.devices, ["-m", "SliceInterpolationTrainerLib", *arguments], _Stop())
        if code == 3:
            raise Cancelled("stopped; the same command goes on from the last checkpoint")
        if code:
            raise SliceInterpolationError(
                "One of the training processes has failed; what it said stands above."
            )
        return
    crew = join(options.device)
    try:
        folder = _train_recipe(options, recipe, crew, reporter)
        if crew.leads and options.publish:
            _publish(options, recipe, license_, folder, reporter)
        elif crew.leads:
            reporter.result([folder])
    finally:
        crew.leave()


def _train_recipe(options: argparse.Namespace, recipe: Recipe, crew: Crew, reporter: Reporter) -> Path:
    import torch

    from .course import Scans, run_recipe
    from .data import MANIFEST
    from .scans import prepare, stacks_of

    budget = {
        name: getattr(options, name)
        for name in (
            "minutes",
            "steps",
            "batch",
            "learning_rate",
            "checkpoint_steps",
            "seed",
            "precision",
        )
    }
    for number in range(len(recipe.stages)):
        recipe.config(number, **budget)  # what cannot be is said before the scans are examined
    if options.threads:
        torch.set_num_threads(options.threads)
    if not crew.leads:
        reporter = Reporter("none", io.StringIO(), io.StringIO())  # one of the crew is enough to tell
        crew.wait()  # until the scans are ready
    found = prepare(
        options.data,
        options.output,
        options.modality,
        options.seed,
        options.validation_part,
        options.accept_all,
        reporter,
    )
    if crew.leads:
        crew.wait()
    by_name = (options.data / MANIFEST).is_file()
    scans = Scans(
        stacks_of(found, options.output, "train"),
        stacks_of(found, options.output, "validation"),
        [scan.row(number, by_name) for number, scan in enumerate(found, 1) if scan.split == "train"],
    )
    if not scans.validation:
        reporter.message("No scan is left for validation: the weights of the end are published, unmeasured.")
    examples = {} if options.patch is None else {"patch": options.patch}
    stop = _Stop()
    try:
        folder = run_recipe(
            recipe, scans, options.output, crew, reporter, stop, examples, options.workers, **budget
        )
    except Cancelled:
        if crew.leads:
            _requeue(stop, reporter)
        raise
    return options.output if folder != options.output else folder


class _Stop:
    """Whether somebody asks to stop: by Ctrl-C, SIGTERM, or SLURM's SIGUSR1 before the time of a job is over."""

    def __init__(self) -> None:
        self._check = hold_cancel()
        self.time_is_over = False
        if hasattr(signal, "SIGUSR1"):
            try:
                signal.signal(signal.SIGUSR1, self._note)
            except ValueError:
                pass  # not the main thread

    def __call__(self) -> bool:
        try:
            self._check()
        except Cancelled:
            return True
        return self.time_is_over

    def _note(self, number: int, frame: object) -> None:
        self.time_is_over = True


def _requeue(stop: _Stop, reporter: Reporter) -> None:
    """Queue the SLURM job again whose time is over: it goes on from the checkpoint (as Lightning does it)."""
    job = os.environ.get("SLURM_JOB_ID")
    if not stop.time_is_over or job is None:
        return
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    reporter.message(
        f"Job {job} is queued again." if done.returncode == 0 else f"scontrol: {done.stderr.strip()}"
    )


def _license(options: argparse.Namespace) -> str:
    """Under what license the result goes; asked for on a terminal. InputError where it is needed and not said."""
    if not options.publish:
        return ""
    from SliceInterpolationLib.catalogue import check_name

    check_name(options.publish)
    if options.license:
        return options.license
    if sys.stdin is not None and sys.stdin.isatty():
        answer = input("License of the weights (SPDX, for example CC-BY-4.0): ").strip()
        if answer:
            return answer
    raise InputError("Say under what license the weights go: --license SPDX, for example CC-BY-4.0.")


def _publish(
    options: argparse.Namespace, recipe: Recipe, license_: str, folder: Path, reporter: Reporter
) -> None:
    from SliceInterpolationLib.catalogue.adding import add_model

    from .publish import publish, read_run

    best = read_run(folder)[1].get("best")
    figures = {"validation": best["figures"]} if best else {}
    made = publish(folder, options.publish, license_, figures, folder / "model", recipe.title)
    reporter.result([made.folder, add_model(made.folder).folder])


def _list_recipes(reporter: Reporter) -> None:
    from .recipe import bundled_recipes

    recipes = bundled_recipes()
    lines = [
        f"{one.name:<24}{one.network:<14}{one.variant:<14}{len(one.stages)} stage{'s' * (len(one.stages) > 1):<2}"
        f"{one.title}"
        for one in recipes
    ]
    entries = [
        {"name": one.name, "network": one.network, "variant": one.variant, "title": one.title, "paper": one.paper,
         "minutes": one.minutes, "stages": [stage.name for stage in one.stages]}
        for one in recipes
    ]  # fmt: skip
    reporter.result(answer="\n".join(lines), recipes=entries)


def _main() -> int:
    at_once(sys.argv[1:])
    reporter = Reporter.of_arguments(sys.argv[1:])

    def command() -> None:
        process.begin()
        run_command(sys.argv[1:], reporter)

    code = process.run(command, reporter)
    process.end()
    return code


if __name__ == "__main__":
    sys.exit(_main())
