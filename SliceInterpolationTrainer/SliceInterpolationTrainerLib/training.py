"""The training loop of all networks: budgeted by time or steps, guarded against collapse, resumable.

By steps a run is reproducible to the last bit, however often it is killed and resumed, on the same machine with
the same number of threads.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable

import torch

from SliceInterpolationLib.atomic import replacing
from SliceInterpolationLib.errors import InputError

from .checkpoint import check_same_run, load_checkpoint, save_checkpoint
from .devices import PRECISIONS, Crew
from .tasks.base import Batch, Sampler, Task
from .validation import Validation

RUN_FILE = "run.json"
LOG_FILE = "log.jsonl"
OPTIMIZERS = ("adamw", "adam")
SCHEDULES = ("cosine", "constant")
_POSITIVE = (
    "minutes",
    "steps",
    "batch",
    "learning_rate",
    "warmup_steps",
    "checkpoint_steps",
    "horizon",
    "clip",
)


@dataclass(frozen=True)
class TrainingConfig:
    """How a stage is trained; raises InputError for values that cannot be.

    minutes: budget of this and all earlier parts of the run. steps: a budget in steps instead, with which a run is
    reproducible whatever the machine does. schedule: "cosine" ends at `final` of the learning rate after `horizon`
    budgets (1: it really anneals; larger: it never does, as in a paper that stops long before its schedule ends).
    clip: largest norm of a gradient, None for any. ema: weight that the averaged network keeps in a step.
    guard: refuse steps whose loss jumps, and go back after several in a row; steps that are not finite are refused
    in any case. patience: end after so many validations in a row without an improvement of the PSNR by more than
    `min_delta` times itself; 0: never. precision: see `devices.PRECISIONS`.
    """

    minutes: float = 60.0
    steps: int | None = None
    batch: int = 8
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    horizon: float = 1.0
    final: float = 0.01
    warmup_steps: int = 200
    clip: float | None = 1.0
    ema: float = 0.999
    guard: bool = True
    patience: int = 0
    min_delta: float = 1e-3
    checkpoint_steps: int = 500
    precision: str = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 < value < math.inf):
                raise InputError(f"{name.replace('_', ' ')} must be a positive number, not {value}.")
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, not '{getattr(self, name)}'.")

    def rate(self, steps: int, progress: float) -> float:
        """The learning rate of a step, of which `steps` were taken before and `progress` of the budget is spent."""
        warm = min(1.0, (steps + 1) / self.warmup_steps)
        if self.schedule == "constant":
            return self.learning_rate * warm
        place = min(progress / self.horizon, 1.0)
        return (
            self.learning_rate
            * warm
            * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * place)))
        )


class Guard:
    """Refuses steps whose loss jumps or whose gradient is not finite, and says when to go back.

    A residual that hits its bound early has hardly any gradient and never comes back; skipping non-finite
    losses alone does not catch that. factor: how many times its running mean a loss may be; patience: refused steps in
    a row after which it is time to go back, None for never.
    """

    def __init__(self, factor: float = 4.0, patience: int | None = 3):
        self.factor, self.patience = factor, patience
        self.mean: float | None = None
        self.hits = self.restores = self.skipped = 0
        self.scale = 1.0  # of the learning rate

    def suspects(self, loss: float) -> bool:
        """Whether a loss is not finite, or far beyond its running mean."""
        return not math.isfinite(loss) or (self.mean is not None and loss > self.factor * self.mean)

    def passed(self, loss: float) -> None:
        """Note a step that was taken."""
        self.hits = 0
        self.mean = loss if self.mean is None else 0.98 * self.mean + 0.02 * loss

    def refused(self) -> bool:
        """Note a step that was not taken; True when it is time to go back to a good snapshot, more slowly."""
        self.hits += 1
        self.skipped += 1
        if self.patience is None or self.hits < self.patience:
            return False
        self.mean, self.hits = None, 0
        self.restores += 1
        self.scale *= 0.6
        return True

    def state_dict(self) -> dict[str, float | None]:
        """Everything it remembers, as plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """Go on from `state_dict`."""
        vars(self).update(state)


class Training:
    """A run between two steps: what is trained, and all that the next step depends on."""

    def __init__(self, task: Task, config: TrainingConfig, crew: Crew | None = None):
        self.config, self.crew = config, crew or Crew()
        self.task = task
        for module in (task.network, *task.companions):
            module.to(self.crew.device).train()
            for weight in module.parameters():
                if weight.ndim == 4:  # the faster layout for convolutions of images
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self.network = task.network
        self.average = copy.deepcopy(task.network).eval()
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizers = [
            kind(
                [weight for weight in learner.parameters() if weight.requires_grad],
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
            )
            for learner in task.learners
        ]
        self.guard = Guard() if config.guard else Guard(factor=math.inf, patience=None)
        self.steps, self.seconds = 0, 0.0
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.waited, self.stopped = 0, False
        self._sums: dict[str, float] = {}
        self._taken = 0
        self._good = self._weights()

    @property
    def progress(self) -> float:
        """Part of the budget that is spent."""
        if self.config.steps:
            return self.steps / self.config.steps
        return self.seconds / (60 * self.config.minutes)

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent, or nothing was gained by more of it."""
        return self.stopped or self.progress >= 1.0

    def step(self, batch: Batch) -> None:
        """Learn from one batch, unless the guard refuses."""
        batch = {name: value.to(self.crew.device, non_blocking=True) for name, value in batch.items()}
        progress = self.progress
        rate = self.config.rate(self.steps, progress) * self.guard.scale
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        modules = (self.network, *self.task.companions)
        buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
        number, found = self.steps, {}
        self.steps += 1
        for learner in range(len(self.optimizers)):
            terms = self._losses(learner, batch, progress, number)
            first, total = self.crew.mean(next(iter(terms.values())).item(), sum(terms.values()).item())
            is_last = learner == len(self.optimizers) - 1
            suspect = not math.isfinite(total) or (is_last and self.guard.suspects(first))
            if suspect or not self._descend(learner, sum(terms.values())):
                for buffer, before in buffers:  # of batch normalization, mostly
                    buffer.copy_(before)
                if self.guard.refused():
                    self._load_weights(self._good)
                    for optimizer in self.optimizers:
                        optimizer.state.clear()
                return
            found.update(terms)
        self.guard.passed(first)
        self.crew.average([buffer for buffer, _ in buffers if buffer.is_floating_point()])
        self._update_average()
        for name, value in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.item()
        self._taken += 1

    def judge(self, figures: dict[str, Any]) -> None:
        """Keep the averaged weights where a validation is the best so far, and notice when nothing is gained."""
        score = figures.get("psnr")
        if score is None:  # nothing finite: no reason to stop, and none to keep
            return
        if self.best is None or score > self.best["psnr"] + self.config.min_delta * abs(self.best["psnr"]):
            self.waited = 0
        else:
            self.waited += 1
        if self.best is None or score > self.best["psnr"]:
            weights = copy.deepcopy(self.average.state_dict())
            self.best = {"psnr": score, "step": self.steps, "figures": figures, "average": weights}
        self.stopped = 0 < self.config.patience <= self.waited

    def note(self, **entries: Any) -> dict[str, Any]:
        """A line for the log: the mean losses since the line before; here the weights count as good, if so."""
        line = {"step": self.steps, "minutes": round(self.seconds / 60, 2)}
        line.update({name: round(total / self._taken, 5) for name, total in self._sums.items()})
        line.update(skipped=self.guard.skipped, restores=self.guard.restores, **entries)
        self.log.append(line)
        self._sums, self._taken = {}, 0
        if self.guard.hits == 0:
            self._good = self._weights()
        return line

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, and the best weights."""
        return {
            **self._views(),
            "good": self._good,
            "optimizer": [optimizer.state_dict() for optimizer in self.optimizers],
            "guard": self.guard.state_dict(),
            "random": torch.get_rng_state(),
            "state": {"step": self.steps, "seconds": self.seconds},
            "best": self.best,
            "waited": self.waited,
            "stopped": self.stopped,
            "sums": {"terms": self._sums, "taken": self._taken},
            "log": self.log,
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._load_weights(content)
        self._good = content["good"]
        for optimizer, state in zip(self.optimizers, content["optimizer"]):
            optimizer.load_state_dict(state)
        self.guard.load_state_dict(content["guard"])
        torch.set_rng_state(content["random"])
        self.steps, self.seconds = content["state"]["step"], content["state"]["seconds"]
        self.best, self.waited, self.stopped = content["best"], content["waited"], content["stopped"]
        self._sums, self._taken = dict(content["sums"]["terms"]), content["sums"]["taken"]
        self.log = content["log"]

    def _losses(self, learner: int, batch: Batch, progress: float, step: int) -> dict[str, torch.Tensor]:
        with torch.autocast(
            self.crew.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bf16"
        ):
            return self.task.losses(learner, batch, progress, step)

    def _descend(self, learner: int, loss: torch.Tensor) -> bool:
        """One step down; False, and nothing done, where the gradient is not finite."""
        optimizer = self.optimizers[learner]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if self.crew.size > 1:
            for weight in weights:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
            self.crew.average([weight.grad for weight in weights])
        length = torch.nn.utils.clip_grad_norm_(weights, self.config.clip or math.inf)
        if not bool(torch.isfinite(length)):
            return False
        optimizer.step()
        return True

    def _update_average(self) -> None:
        decay = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters()):
                kept.lerp_(new, 1 - decay)
            for kept, new in zip(self.average.buffers(), self.network.buffers()):
                kept.copy_(new)

    def _views(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "companions": [module.state_dict() for module in self.task.companions],
        }

    def _weights(self) -> dict[str, Any]:
        """A copy of all weights."""
        return copy.deepcopy(self._views())

    def _load_weights(self, weights: dict[str, Any]) -> None:
        self.network.load_state_dict(weights["network"])
        self.average.load_state_dict(weights["average"])
        for module, state in zip(self.task.companions, weights["companions"]):
            module.load_state_dict(state)


Report = Callable[[dict[str, Any], float], None]
"""Called with each line of the log, and the part of the budget that is spent."""


def fit(
    task: Task,
    sampler: Sampler,
    config: TrainingConfig,
    folder: Path,
    run: dict[str, Any] | None = None,
    validation: Validation | None = None,
    *,
    crew: Crew | None = None,
    report: Report = lambda line, progress: print(json.dumps(line), flush=True),
    batches: Callable[[int], Iterable[Batch]] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> torch.nn.Module:
    """Train and return the network with its averaged (EMA) weights.

    run: what is trained on what, see `publish.describe_run`; it goes into `run.json`. validation: withheld slices of
    other scans, scored at each checkpoint. batches: a function from the number of the first batch to all of them from
    there on, where they do not come from `sampler` one by one (see `loading`). stop: asked after each step; True ends
    this part of the run after a checkpoint, to be resumed. Writes `run.json`, `checkpoint.pt` (resumed from where it
    exists) and `log.jsonl` into `folder`.
    Raises InputError where the folder holds another run, which is left as it is.
    """
    crew = crew or Crew()
    run = {**(run or {}), "settings": {**asdict(config), "patch": sampler.patch}}
    torch.manual_seed(config.seed)
    training = Training(task, config, crew)
    content = load_checkpoint(folder)
    if content is not None:
        check_same_run(content, run, folder)
        training.load_state_dict(content)
    crew.wait()  # all have read what is there before the first of them writes
    if crew.leads:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / RUN_FILE) as file:
            file.write((json.dumps(run, indent=1) + "\n").encode())
    started = time.monotonic() - training.seconds
    written = training.steps if content is not None else None
    source = (
        _one_by_one(sampler, config.batch, crew, training.steps)
        if batches is None
        else batches(training.steps)
    )
    for batch in source if not training.is_over else ():
        training.step(batch)
        training.seconds, asked = crew.mean(time.monotonic() - started, float(stop()))
        if training.steps % config.checkpoint_steps == 0 or training.is_over:
            _write(training, folder, run, validation, report)
            written = training.steps
        elif asked:  # nothing but the state, so that what goes on from it cannot tell that it was stopped
            if crew.leads:
                save_checkpoint(folder, {**training.state_dict(), "run": run})
            return training.average
        if training.is_over or asked:
            break
    if written != training.steps:
        _write(training, folder, run, validation, report)
    return training.average


def _one_by_one(sampler: Sampler, size: int, crew: Crew, first: int) -> Iterator[Batch]:
    """Batches from `first` on, each drawn when it is asked for."""
    number = first
    while True:
        yield (
            sampler.batch(number, size)
            if crew.size == 1
            else sampler.batch(number, size, (crew.rank, crew.size))
        )
        number += 1


def _write(
    training: Training, folder: Path, run: dict[str, Any], validation: Validation | None, report: Report
) -> None:
    """Validation, checkpoint and log."""
    entries: dict[str, Any] = {}
    if validation is not None and training.crew.leads:
        entries = validation.score(training.task.architecture, training.average, str(training.crew.device))
    if training.crew.size > 1:
        found = training.crew.mean(entries.get("psnr") or 0.0, float(entries.get("psnr") is not None))
        if not training.crew.leads and found[1]:
            entries = {"psnr": found[0] * training.crew.size}
    training.judge(entries)
    line = training.note(**entries)
    if not training.crew.leads:
        return
    save_checkpoint(folder, {**training.state_dict(), "run": run})
    with replacing(folder / LOG_FILE) as file:
        file.write("".join(json.dumps(line) + "\n" for line in training.log).encode())
    report(line, min(training.progress, 1.0))
