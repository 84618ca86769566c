"""The divergence of the head CT study's SSIM runs, reproduced, and prevented by what the robust recipes do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import moving_ellipse

from SliceInterpolationTrainerLib.data import Stack
from SliceInterpolationTrainerLib.prediction import in_domain
from SliceInterpolationTrainerLib.recipe import find_recipe
from SliceInterpolationTrainerLib.tasks import build_task
from SliceInterpolationTrainerLib.training import Training, TrainingConfig

RATE = 3e-2
"""High enough that the first steps are an excursion, as they may be by chance at the study's rates."""


def trained(
    recipe: str, steps: int, seed: int = 0, loss: str | None = None, kick: int | None = None
) -> float:
    """Mean absolute error (0..1) on held-out examples of a small network after a training as a recipe has it.

    Loss, warm start, guard, clipping and the bound of the output are the recipe's; the learning rate is `RATE` for all.
    """
    rng = np.random.default_rng(0)
    voxels = (moving_ellipse(24, 64, 0.5) + rng.normal(0, 8, (24, 64, 64))).round().astype(np.int16)
    (stage,) = find_recipe(recipe).stages
    torch.manual_seed(seed)
    # An output that corrects the mean of the inputs is what `residual` is to the study's own network.
    config = {"channels": 8, "blocks": 2, "global_skip": stage.config.get("residual", False)}
    task = build_task("slices", "msi-cnn", config, stage.options)
    sampler = task.sampler(
        [Stack("ellipse", voxels, 1.0, 0.5, 1.0, (-1000.0, 800.0))], seed, patch=32, augment="flips"
    )
    settings = {**stage.training, "steps": steps, "batch": 2, "warmup_steps": 1, "ema": 0.9}
    training = Training(task, TrainingConfig(**{**settings, "learning_rate": RATE}))
    for number in range(steps):
        training.step(sampler.batch(number, 2))
    with torch.no_grad():
        prediction, target = in_domain(training.average, sampler.batch(10**6, 8))
    return float((prediction - target).abs().mean())


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", [0, 1])
def test_ssim_as_published_runs_away_and_the_robust_recipe_does_not(seed):
    assert trained("dsi-ssim", 100, seed) > 1.0  # the whole window is 1
    assert trained("dsi-ssim-robust", 100, seed) < 0.1
