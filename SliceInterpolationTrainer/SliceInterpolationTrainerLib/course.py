"""A recipe from start to end: every stage trained, each on the weights of the one before, and resumed where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable

import torch

from SliceInterpolationLib.atomic import replacing
from SliceInterpolationLib.errors import Cancelled, InputError
from SliceInterpolationLib.progress import Reporter

from .checkpoint import load_checkpoint
from .data import Stack
from .devices import Crew
from .loading import load
from .publish import RECIPE_FILE, describe_run, trained_weights
from .recipe import Recipe
from .tasks import build_task
from .training import fit
from .validation import Validation

STOPPED = "stopped; the same command goes on from the last checkpoint"


@dataclass(frozen=True)
class Scans:
    """What a recipe is trained on: stacks to learn from, stacks to watch, and the rows that describe the former."""

    training: Sequence[Stack]
    validation: Sequence[Stack]
    rows: Sequence[dict[str, Any]]


def run_recipe(
    recipe: Recipe,
    scans: Scans,
    folder: Path,
    crew: Crew,
    reporter: Reporter,
    stop: Callable[[], bool] = lambda: False,
    examples: dict[str, Any] | None = None,
    workers: int = 0,
    **budget: Any,
) -> Path:
    """Train all stages of a recipe; returns the folder of the last one, which can be published.

    examples: options of the samplers that override those of the recipe. workers: processes
    that draw examples. budget: see `Recipe.config`.
    Raises InputError where something does not fit and Cancelled, after a checkpoint, when `stop` says so.
    """
    before: dict[str, torch.Tensor] | None = None
    watched = Validation(scans.validation) if scans.validation else None
    for number, stage in enumerate(recipe.stages):
        config = recipe.config(number, **budget)
        if config.batch % crew.size:
            raise InputError(
                f"A batch of {config.batch} cannot be shared by {crew.size} processes; change --batch."
            )
        torch.manual_seed(config.seed)
        task = build_task(stage.task, stage.network, stage.config, stage.options, before)
        try:
            drawn = {**stage.examples, **(examples or {})}
            sampler = task.sampler(list(scans.training), config.seed, **drawn)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The examples of the stage '{stage.name}' cannot be drawn so: {error}."
            ) from error
        run = describe_run(stage.network, stage.config, sampler.gap_mm, list(scans.rows))
        run.update(
            recipe=recipe.name, stage=stage.name, task=stage.task, options=stage.options, examples=drawn
        )
        if number == 0 and crew.leads:
            _write_recipe(recipe, folder)

        def report(line: dict[str, Any], progress: float, name: str = stage.name) -> None:
            reporter(name, round(1000 * progress), 1000)
            reporter.message(f"{name}: {_in_words(line)}")

        reporter(stage.name, 0, 1000)
        fit(
            task, sampler, config, recipe.folder(folder, number), run, watched,
            crew=crew, report=report, stop=stop,
            batches=partial(load, sampler, config.batch, last=config.steps, workers=workers, crew=crew),
        )  # fmt: skip
        crew.wait()
        if stop():
            raise Cancelled(STOPPED)
        before = trained_weights(load_checkpoint(recipe.folder(folder, number)))
    return recipe.folder(folder, len(recipe.stages) - 1)


def _write_recipe(recipe: Recipe, folder: Path) -> None:
    """Which stages a run folder has, so that it can be published as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    stages = [
        recipe.folder(folder, number).relative_to(folder).as_posix() for number in range(len(recipe.stages))
    ]
    with replacing(folder / RECIPE_FILE) as file:
        file.write((json.dumps({"recipe": recipe.name, "stages": stages}, indent=1) + "\n").encode())


def _in_words(line: dict[str, Any]) -> str:
    known = {
        "step": "step {}",
        "psnr": "PSNR {} dB",
        "mae_hu": "error {} HU",
        "skipped": "{} steps skipped",
        "restores": "went back {} times",
    }
    words = [text.format(line[name]) for name, text in known.items() if line.get(name)]
    others = {"minutes", "validation_not_finite", *known}
    words[1:1] = [f"{name} {value}" for name, value in line.items() if name not in others]
    return ", ".join(words)
