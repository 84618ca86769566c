"""Training that is stopped, killed, damaged or fed with nonsense goes on as if nothing had been, or says why not."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_ellipse

from SliceInterpolationLib import atomic
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.networks import build
from SliceInterpolationLib.reports.metrics import psnr, windowed
from SliceInterpolationLib.stack import evenly
from SliceInterpolationTrainerLib import training as training_module
from SliceInterpolationTrainerLib.checkpoint import NAMES, load_checkpoint
from SliceInterpolationTrainerLib.data import ExampleSampler, Stack
from SliceInterpolationTrainerLib.tasks import build_task, slices
from SliceInterpolationTrainerLib.tasks.slices import SliceTask
from SliceInterpolationTrainerLib.training import Training, TrainingConfig, fit
from SliceInterpolationTrainerLib.validation import Validation

STEPS = 17
CONFIG = TrainingConfig(steps=STEPS, batch=2, warmup_steps=4, checkpoint_steps=5)
RUN = {"architecture": "msi-cnn", "config": {"channels": 4, "blocks": 1}, "scans": [{"file": "a.nrrd"}]}


@pytest.fixture(scope="module")
def sampler() -> ExampleSampler:
    rng = np.random.default_rng(0)
    dense = moving_ellipse(slices=24, size=64, shift=0.5) + rng.normal(0, 8, (24, 64, 64))
    stack = Stack("ellipses axial 1", dense.round().astype(np.int16), 1.0, 0.5, 1.0, (-1000.0, 800.0))
    return ExampleSampler([stack], patch=32, seed=0, middle_only=True)


def network() -> torch.nn.Module:
    torch.manual_seed(7)
    return build("msi-cnn", channels=4, blocks=1)


def task(trained: torch.nn.Module | None = None, **options) -> SliceTask:
    """The task of predicting a slice, on a small network if no other is given."""
    return SliceTask(trained or network(), "msi-cnn", **{"margin": 4, "ssim_from": 0.5, **options})


def weights(trained: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in trained.state_dict().values()])


@pytest.fixture(scope="module")
def undisturbed(sampler, tmp_path_factory) -> tuple[torch.Tensor, list[dict]]:
    """The weights of a run that nothing happened to, and its log."""
    folder = tmp_path_factory.mktemp("undisturbed")
    trained = weights(fit(task(), sampler, CONFIG, folder, RUN))
    assert not torch.equal(trained, weights(network()))
    return trained, read_log(folder)


def read_log(folder: Path) -> list[dict]:
    """The log without the time that the machine happened to take."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "minutes"} for line in lines]


class Failing:
    """A sampler that is as another one, but for some steps at which it does something else."""

    def __init__(self, sampler: ExampleSampler, at: set[int], what):
        self.sampler, self.at, self.what = sampler, at, what
        self.patch, self.drawn = sampler.patch, []

    def batch(self, number: int, size: int) -> dict[str, torch.Tensor]:
        self.drawn.append(number)
        batch = self.sampler.batch(number, size)
        return self.what(batch) if number in self.at else batch


class Stop(Exception):
    pass


def stop(batch: dict) -> dict:
    raise Stop


def nonsense(batch: dict) -> dict:
    return {**batch, "target": batch["target"] * float("nan")}


# Stopped and killed


@pytest.mark.parametrize("at", [2, 5, 6, 13, 16])
def test_a_resumed_run_takes_the_steps_that_are_left_and_ends_alike(sampler, undisturbed, tmp_path, at):
    with pytest.raises(Stop):
        fit(task(), Failing(sampler, {at}, stop), CONFIG, tmp_path, RUN)
    resumed = Failing(sampler, set(), stop)
    trained = fit(task(), resumed, CONFIG, tmp_path, RUN)
    assert resumed.drawn == list(range(at // 5 * 5, STEPS))
    assert torch.equal(weights(trained), undisturbed[0])
    assert read_log(tmp_path) == undisturbed[1]
    # The budget is spent: nothing more is done.
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = Failing(sampler, set(), stop)
    assert torch.equal(weights(fit(task(), again, CONFIG, tmp_path, RUN)), undisturbed[0])
    assert again.drawn == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_all_terms_and_layouts_come_back(sampler, tmp_path):
    """Flow-refine has a second loss term, convolutions in channels-last layout, and knows every position."""
    sampler = ExampleSampler(sampler.stacks, patch=32, seed=0)
    config = TrainingConfig(steps=8, batch=2, warmup_steps=2, checkpoint_steps=3)
    trained = []
    for folder, at in ((tmp_path / "whole", set()), (tmp_path / "stopped", {5})):
        torch.manual_seed(1)
        try:
            made = fit(refining(), Failing(sampler, at, stop), config, folder, RUN)
        except Stop:
            torch.manual_seed(2)  # what is resumed owes nothing to where it starts
            made = fit(refining(), sampler, config, folder, RUN)
        trained.append(weights(made))
    assert torch.equal(*trained)
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "stopped")
    assert all(line["uncertainty"] != 0 for line in read_log(tmp_path / "whole"))


def refining() -> SliceTask:
    return task(build("flow-refine", widths=(8, 8, 8)), ssim_from=0.4)


def die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _in_a_process(work) -> int:
    """Run `work` in a copy of this process; minus the signal that killed it, or 0."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not copied on this system")


@needs_fork
@pytest.mark.parametrize(
    ("place", "name"), [(os, "fsync"), (os, "replace"), (training_module, "save_checkpoint")]
)
def test_killed_at_every_moment_of_writing_it_ends_alike(
    sampler, undisturbed, tmp_path, monkeypatch, place, name
):
    """Each process comes one call further than the one before it and is killed there, until one comes through."""
    real, kills = getattr(place, name), 0

    def survive_calls(count: int):
        def call(*arguments, **named):
            nonlocal count
            if count == 0:
                die()
            count -= 1
            return real(*arguments, **named)

        monkeypatch.setattr(place, name, call)
        fit(task(), sampler, CONFIG, tmp_path, RUN)

    for count in range(40):
        code = _in_a_process(lambda count=count: survive_calls(count))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    else:
        pytest.fail("it never came through")
    assert kills >= 2
    trained = fit(task(), Failing(sampler, set(range(STEPS)), stop), CONFIG, tmp_path, RUN)
    assert torch.equal(weights(trained), undisturbed[0])
    assert read_log(tmp_path) == undisturbed[1]
    assert not list(tmp_path.glob("*.partial"))


@needs_fork
def test_killed_from_outside_it_ends_alike(sampler, undisturbed, tmp_path):
    """SIGKILL after times that nobody chose, in mid-step, in mid-writing, wherever it is then."""
    rng = np.random.default_rng(3)
    kills = 0
    while True:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                fit(task(), sampler, CONFIG, tmp_path, RUN)
                code = 0
            finally:
                os._exit(code)
        if kills < 8:
            time.sleep(float(rng.uniform(0.01, 0.12)))
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= 2
    trained = fit(task(), Failing(sampler, set(range(STEPS)), stop), CONFIG, tmp_path, RUN)
    assert torch.equal(weights(trained), undisturbed[0])


def test_what_the_guard_knows_survives(sampler, tmp_path):
    """Nonsense on both sides of the checkpoint: three steps in a row send the run back, wherever it was stopped."""
    at = {3, 8, 9, 10, 12, 13}
    whole = Failing(sampler, at, nonsense)
    expected = weights(fit(task(), whole, CONFIG, tmp_path / "whole", RUN))
    content = load_checkpoint(tmp_path / "whole")
    assert content["guard"]["skipped"] == 6
    assert content["guard"]["restores"] == 1
    assert content["guard"]["scale"] == 0.6
    with pytest.raises(Stop):
        fit(task(), Failing(Failing(sampler, at, nonsense), {11}, stop), CONFIG, tmp_path / "stopped", RUN)
    stopped = load_checkpoint(tmp_path / "stopped")
    assert stopped["state"]["step"] == 10  # though step 10 was skipped
    assert stopped["guard"]["hits"] == 2
    assert not any(torch.equal(a, b) for a, b in zip(_tensors(stopped["good"]), _tensors(stopped)))
    resumed = fit(task(), Failing(sampler, at, nonsense), CONFIG, tmp_path / "stopped", RUN)
    assert torch.equal(weights(resumed), expected)
    assert read_log(tmp_path / "stopped") == read_log(tmp_path / "whole")


def _tensors(content: dict) -> list[torch.Tensor]:
    return list(content["network"].values())


def test_a_skipped_step_does_not_skip_its_checkpoint(sampler, tmp_path):
    with pytest.raises(Stop):
        fit(task(), Failing(Failing(sampler, {4}, nonsense), {5}, stop), CONFIG, tmp_path, RUN)
    assert load_checkpoint(tmp_path)["state"]["step"] == 5
    assert [line["step"] for line in read_log(tmp_path)] == [5]


# Nonsense in a step


class ExplodingGradient(torch.autograd.Function):
    """Passes values on, and NaN or infinity back."""

    @staticmethod
    def forward(context, values: torch.Tensor, gradient: float) -> torch.Tensor:
        context.gradient = gradient
        return values.clone()

    @staticmethod
    def backward(context, gradients: torch.Tensor):
        return gradients * context.gradient, None


class Exploding(torch.nn.Module):
    """A network whose loss is finite and whose gradient is not, at one of its steps."""

    def __init__(self, at: int, gradient: float):
        super().__init__()
        self.inner, self.at, self.gradient, self.calls = network(), at, gradient, 0

    def forward(self, pair, t):
        self.calls += 1
        out = self.inner(pair, t)
        return ExplodingGradient.apply(out, self.gradient) if self.calls == self.at else out


@pytest.mark.parametrize("gradient", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(sampler, monkeypatch, gradient):
    exploding = Exploding(3, gradient)
    monkeypatch.setattr(
        slices,
        "predict",
        lambda net, batch: (net(batch["slices"][:, 1:3] / 1000, 0.5), batch["target"], None),
    )
    training = Training(task(exploding), CONFIG)
    states = []
    for number in range(4):
        training.step(sampler.batch(number, 2))
        states.append(
            [t.clone() for t in (*exploding.state_dict().values(), *training.average.state_dict().values())]
        )
    same = [all(torch.equal(a, b) for a, b in zip(one, other)) for one, other in zip(states, states[1:])]
    assert same == [False, True, False]
    assert training.guard.skipped == 1
    assert all(bool(tensor.isfinite().all()) for state in states for tensor in state)


def test_statistics_of_a_skipped_step_are_forgotten(sampler):
    """Batch normalization takes its means from what it sees, also where the step is then refused."""
    torch.manual_seed(0)
    trained = build("dsi-unet", norm="batch")
    training = Training(task(trained), CONFIG)
    bad = sampler.batch(0, 2)
    training.step(
        {**bad, "slices": bad["slices"] * float("nan"), "percentiles": bad["percentiles"] * float("nan")}
    )
    assert training.guard.skipped == 1
    assert all(bool(buffer.isfinite().all()) for buffer in trained.buffers())


def test_three_bad_steps_lead_back_to_good_weights(sampler):
    trained = network()
    training = Training(task(trained), CONFIG)
    for number in range(4):
        training.step(sampler.batch(number, 2))
    training.note()
    good = weights(trained)
    training.step(sampler.batch(4, 2))
    assert not torch.equal(weights(trained), good)
    for _ in range(3):
        training.step(nonsense(sampler.batch(5, 2)))
    assert torch.equal(weights(trained), good)
    assert training.guard.restores == 1
    training.step(sampler.batch(6, 2))
    assert not torch.equal(weights(trained), good)
    assert training.optimizers[0].param_groups[0]["lr"] < 0.61 * CONFIG.learning_rate


def test_validation_is_the_same_for_all_losses_and_networks(sampler):
    """Linear interpolation in the disguise of a network scores as linear interpolation does."""
    watched = Validation(sampler.stacks, side=48)
    trained = network().eval()
    for parameter in trained.parameters():
        torch.nn.init.zeros_(parameter)
    found = watched.score("msi-cnn", trained)
    assert watched.score("msi-cnn", trained) == found
    (crop,) = watched.crops
    images = [crop.truth[k].astype(float) for k in range(len(crop.truth))]
    chosen = [2 * n + 1 for n in evenly(list(range(1, 4)), 2)]
    linear = [(0.5 * (images[k - 1] + images[k + 1]), images[k]) for k in chosen]
    assert found["psnr"] == pytest.approx(
        np.mean([psnr(windowed(a), windowed(b)) for a, b in linear]), abs=2e-3
    )
    assert found["mae_hu"] == pytest.approx(np.mean([np.abs(a - b).mean() for a, b in linear]), abs=0.3)
    assert found["validation_not_finite"] == 0


def test_bad_validation_slices_are_counted_not_averaged(sampler):
    watched = Validation([*sampler.stacks, *sampler.stacks], side=48)
    trained = network().eval()
    good = watched.score("msi-cnn", trained)
    torch.nn.init.constant_(trained.exit.bias, float("nan"))
    bad = watched.score("msi-cnn", trained)
    assert bad == {"validation_not_finite": 4, "psnr": None, "mae_hu": None}
    assert good["validation_not_finite"] == 0


def test_validation_is_logged_and_changes_nothing_but_what_is_kept(sampler, undisturbed, tmp_path):
    trained = fit(task(), sampler, CONFIG, tmp_path, RUN, validation=Validation(sampler.stacks, side=48))
    assert torch.equal(weights(trained), undisturbed[0])
    log = read_log(tmp_path)
    assert [line["step"] for line in log] == [5, 10, 15, 17]
    best = load_checkpoint(tmp_path)["best"]
    assert best["psnr"] == max(line["psnr"] for line in log)
    assert best["step"] in [line["step"] for line in log if line["psnr"] == best["psnr"]]


def test_training_ends_where_nothing_is_gained_and_a_resumed_one_ends_there_too(sampler, tmp_path):
    """Nearly no learning: each validation is as the one before, to the relative delta."""
    config = TrainingConfig(**{**vars(CONFIG), "steps": 40, "learning_rate": 1e-9, "patience": 3})
    watched = Validation(sampler.stacks, side=48)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = weights(fit(task(), sampler, config, whole, RUN, watched))
    assert [line["step"] for line in read_log(whole)] == [5, 10, 15, 20]
    with pytest.raises(Stop):
        fit(task(), Failing(sampler, {17}, stop), config, stopped, RUN, watched)
    assert torch.equal(weights(fit(task(), sampler, config, stopped, RUN, watched)), expected)
    assert read_log(stopped) == read_log(whole)
    again = Failing(sampler, set(range(40)), stop)
    fit(task(), again, config, stopped, RUN, watched)
    assert again.drawn == []


def test_asked_to_stop_it_stops_at_once_and_what_goes_on_cannot_tell(sampler, undisturbed, tmp_path):
    class AfterStep:
        def __init__(self, count: int):
            self.count = count

        def __call__(self) -> bool:
            self.count -= 1
            return self.count < 0

    fit(task(), sampler, CONFIG, tmp_path, RUN, stop=AfterStep(7))
    assert load_checkpoint(tmp_path)["state"]["step"] == 8
    assert [line["step"] for line in read_log(tmp_path)] == [5]
    resumed = Failing(sampler, set(), stop)
    trained = fit(task(), resumed, CONFIG, tmp_path, RUN)
    assert resumed.drawn == list(range(8, STEPS))
    assert torch.equal(weights(trained), undisturbed[0])
    assert read_log(tmp_path) == undisturbed[1]


@pytest.mark.parametrize("kind", ["adversarial", "diffusion", "four-slices", "saint-ami", "saint-rfn"])
def test_every_kind_of_task_resumes_to_the_same_bits(kind, tmp_path):
    rng = np.random.default_rng(0)
    dense = moving_ellipse(slices=24, size=64, shift=0.5) + rng.normal(0, 8, (24, 64, 64))
    stacks = [Stack("ellipses", dense.round().astype(np.int16), 1.0, 0.5, 1.0, (-1000.0, 800.0))]
    small = {"features": 8, "blocks": 1, "layers": 1, "growth": 4}
    architecture, config, examples = {
        "adversarial": ("msi-gan", {"channels": 4, "blocks": 1}, {"patch": 32}),
        "diffusion": ("ddpm", {"channels": 8}, {"patch": 32}),
        "four-slices": ("i3net", {"channels": 4, "blocks": 3}, {"patch": 32}),
        "saint-ami": ("saint", {"ami": small, "rfn": small}, {"patch": 32, "slices": 4}),
        "saint-rfn": ("saint", {"ami": small, "rfn": small}, {"patch": 16, "slices": 3}),
    }[kind]
    settings = TrainingConfig(steps=5, batch=2, warmup_steps=2, checkpoint_steps=2)
    ends = []
    for folder, at in ((tmp_path / "whole", set()), (tmp_path / "stopped", {3})):
        for attempt in range(2):
            torch.manual_seed(attempt if at else 0)
            trained = build_task(kind, architecture, config, {})
            sampler = Failing(trained.sampler(stacks, 0, **examples), at if attempt == 0 else set(), stop)
            if attempt == 0:
                torch.manual_seed(0)
                trained = build_task(kind, architecture, config, {})
            elif kind == "adversarial":  # the checkpoint holds the discriminator too
                torch.nn.init.zeros_(trained.judge.head.weight)
            try:
                made = fit(trained, sampler, settings, folder, RUN)
            except Stop:
                continue
            break
        ends.append(weights(made))
    assert torch.equal(*ends)


# Checkpoints


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "other file"])
def test_the_checkpoint_before_stands_in_for_a_damaged_one(sampler, undisturbed, tmp_path, damage):
    with pytest.raises(Stop):
        fit(task(), Failing(sampler, {12}, stop), CONFIG, tmp_path, RUN)
    latest, previous = (tmp_path / name for name in NAMES)
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1
    latest.write_bytes(
        {"cut": content[:-900], "empty": b"", "bit": content, "other file": b"PK and nothing"}[damage]
    )
    assert load_checkpoint(tmp_path)["state"]["step"] == 5
    trained = fit(task(), sampler, CONFIG, tmp_path, RUN)
    assert torch.equal(weights(trained), undisturbed[0])
    for path in (latest, previous):
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="remove what is damaged"):
        fit(task(), sampler, CONFIG, tmp_path, RUN)


def test_a_full_disk_leaves_the_checkpoint_before(sampler, tmp_path, monkeypatch):
    real = training_module.save_checkpoint

    def save(folder: Path, content: dict) -> None:
        if content["state"]["step"] == 10:
            monkeypatch.setattr(atomic.os, "fsync", full)
        real(folder, content)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_module, "save_checkpoint", save)
    with pytest.raises(OSError, match="No space"):
        fit(task(), sampler, CONFIG, tmp_path, RUN)
    assert load_checkpoint(tmp_path)["state"]["step"] == 5
    assert not list(tmp_path.glob("*.partial"))


OTHERS = {
    "architecture": ({"run": {**RUN, "architecture": "msi-unet"}}, "architecture"),
    "config": ({"run": {**RUN, "config": {"channels": 8, "blocks": 1}}}, "config"),
    "scans": ({"run": {**RUN, "scans": [{"file": "b.nrrd"}]}}, "scans"),
    "settings": ({"config": TrainingConfig(**{**vars(CONFIG), "learning_rate": 1e-4})}, "learning_rate"),
    "patches": ({"patch": 48}, "patch"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_run_is_refused_and_leaves_all_as_it_was(sampler, tmp_path, case):
    changes, word = OTHERS[case]
    with pytest.raises(Stop):
        fit(task(), Failing(sampler, {12}, stop), CONFIG, tmp_path, RUN)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = ExampleSampler(sampler.stacks, patch=changes.get("patch", 32), seed=0, middle_only=True)
    with pytest.raises(InputError, match=f"differs in: {word}"):
        fit(task(), other, changes.get("config", CONFIG), tmp_path, changes.get("run", RUN))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_of_an_earlier_version_is_refused(sampler, tmp_path):
    torch.save({"average": {}, "state": {"step": 5}}, tmp_path / NAMES[0])
    with pytest.raises(InputError, match="earlier version"):
        fit(task(), sampler, CONFIG, tmp_path, RUN)
    assert os.listdir(tmp_path) == [NAMES[0]]


def test_a_larger_budget_goes_on(sampler, tmp_path):
    fit(task(), sampler, CONFIG, tmp_path, RUN)
    more = Failing(sampler, set(), stop)
    fit(task(), more, TrainingConfig(**{**vars(CONFIG), "steps": 20}), tmp_path, RUN)
    assert more.drawn == [17, 18, 19]
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["steps"] == 20


def test_minutes_count_over_all_parts_of_a_run(sampler, tmp_path, monkeypatch):
    """A clock on which each step takes six seconds: ten steps a minute, however the run is cut."""
    now = [1000.0]

    class Clock(Failing):
        def batch(self, number: int, size: int) -> dict:
            now[0] += 6.0
            return super().batch(number, size)

    monkeypatch.setattr(training_module.time, "monotonic", lambda: now[0])
    config = TrainingConfig(minutes=1.75, batch=2, checkpoint_steps=5)
    with pytest.raises(Stop):
        fit(task(), Clock(sampler, {12}, stop), config, tmp_path, RUN)
    now[0] += 1e6  # a long night in between
    resumed = Clock(sampler, set(), stop)
    fit(task(), resumed, config, tmp_path, RUN)
    assert resumed.drawn == list(range(10, 18))
    content = load_checkpoint(tmp_path)
    assert content["state"] == {"step": 18, "seconds": 108.0}
    assert (
        content["optimizer"][0]["param_groups"][0]["lr"] < 0.05 * config.learning_rate
    )  # annealed to the end


@pytest.mark.parametrize(
    "settings",
    [
        {"minutes": 0},
        {"minutes": float("nan")},
        {"steps": 0},
        {"batch": -1},
        {"learning_rate": 0.0},
        {"batch": "8"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(InputError, match="must be a positive number"):
        TrainingConfig(**settings)
