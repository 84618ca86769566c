"""The training loop of the regression networks: budgeted by time or steps, guarded against collapse, resumable.

By steps a run is reproducible to the last bit, however often it is killed and resumed, on the same machine with
the same number of threads.
"""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from SliceInterpolationLib.atomic import replacing
from SliceInterpolationLib.errors import InputError

from .checkpoint import check_same_run, load_checkpoint, save_checkpoint
from .data import ExampleSampler
from .objective import reconstruction_loss, uncertainty_loss
from .prediction import predict

RUN_FILE = "run.json"
LOG_FILE = "log.jsonl"
_VALIDATION_BATCHES = 4


@dataclass(frozen=True)
class TrainingConfig:
    """minutes: budget of this and all earlier parts of the run. steps: a budget in steps instead, with which a run
    is reproducible whatever the machine does. Everything else as the names say. Raises InputError for values
    that cannot be.
    """

    minutes: float = 60.0
    steps: int | None = None
    batch: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    ema: float = 0.999
    ssim_weight: float = 0.15
    ssim_from: float = 0.3  # part of the budget after which SSIM joins in
    margin: int = 16  # px at the patch border that do not count: the flow lacks its surroundings there
    checkpoint_steps: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("minutes", "steps", "batch", "learning_rate", "warmup_steps", "checkpoint_steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name.replace('_', ' ')} must be a positive number, not {value}.")


class Guard:
    """Refuses steps whose loss jumps or whose gradient is not finite, and says when to go back.

    A residual that hits its bound early has hardly any gradient and never comes back; skipping non-finite
    losses alone does not catch that.
    """

    def __init__(self, factor: float = 4.0, patience: int = 3):
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
        if self.hits < self.patience:
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

    def __init__(self, network: torch.nn.Module, config: TrainingConfig):
        self.config = config
        self.network = network.to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(network).eval()
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-4)
        self.guard = Guard()
        self.steps, self.seconds = 0, 0.0
        self.log: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._taken = 0
        self._good = self._weights()

    @property
    def progress(self) -> float:
        """Part of the budget that is spent."""
        if self.config.steps:
            return self.steps / self.config.steps
        return self.seconds / (60 * self.config.minutes)

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        """Learn from one batch, unless the guard refuses."""
        progress = self.progress
        warm = min(1.0, (self.steps + 1) / self.config.warmup_steps)
        cosine = 0.01 + 0.495 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self.guard.scale * warm * cosine
        ssim_weight = self.config.ssim_weight if progress > self.config.ssim_from else 0.0
        buffers = [buffer.clone() for buffer in self.network.buffers()]  # of batch normalization, mostly
        terms = losses(self.network, batch, self.config.margin, ssim_weight)
        self.steps += 1
        loss = terms["reconstruction"].item()
        if self.guard.suspects(loss) or not self._descend(sum(terms.values())):
            for buffer, before in zip(self.network.buffers(), buffers):
                buffer.copy_(before)
            if self.guard.refused():
                self._load_weights(self._good)
                self.optimizer.state.clear()
            return
        self.guard.passed(loss)
        self._update_average()
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.item()
        self._taken += 1

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
        """Everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "good": self._good,
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state_dict(),
            "random": torch.get_rng_state(),
            "state": {"step": self.steps, "seconds": self.seconds},
            "log": self.log,
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._load_weights(content)
        self._good = content["good"]
        self.optimizer.load_state_dict(content["optimizer"])
        self.guard.load_state_dict(content["guard"])
        torch.set_rng_state(content["random"])
        self.steps, self.seconds = content["state"]["step"], content["state"]["seconds"]
        self.log = content["log"]

    def _descend(self, loss: torch.Tensor) -> bool:
        """One step down; False, and nothing done, where the gradient is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if not bool(torch.isfinite(length)):
            return False
        self.optimizer.step()
        return True

    def _update_average(self) -> None:
        decay = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.network.parameters()):
                kept.lerp_(new, 1 - decay)
            for kept, new in zip(self.average.buffers(), self.network.buffers()):
                kept.copy_(new)

    def _weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """A copy of all weights."""
        return copy.deepcopy({"network": self.network.state_dict(), "average": self.average.state_dict()})

    def _load_weights(self, weights: dict[str, Any]) -> None:
        self.network.load_state_dict(weights["network"])
        self.average.load_state_dict(weights["average"])


def fit(
    network: torch.nn.Module,
    sampler: ExampleSampler,
    config: TrainingConfig,
    folder: Path,
    run: dict[str, Any] | None = None,
    validation: ExampleSampler | None = None,
) -> torch.nn.Module:
    """Train and return the network with its averaged (EMA) weights.

    network: any of `prediction.TRAINABLE`. run: what is trained on what, see `publish.describe_run`; it goes into
    `run.json`. validation: other scans, whose loss is logged at each checkpoint. Writes `run.json`,
    `checkpoint.pt` (resumed from where it exists) and `log.jsonl` into `folder`.
    Raises InputError where the folder holds another run, which is left as it is.
    """
    run = {**(run or {}), "settings": {**asdict(config), "patch": sampler.patch}}
    torch.manual_seed(config.seed)
    training = Training(network, config)
    content = load_checkpoint(folder)
    if content is not None:
        check_same_run(content, run, folder)
        training.load_state_dict(content)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / RUN_FILE) as file:
        file.write((json.dumps(run, indent=1) + "\n").encode())
    started = time.monotonic() - training.seconds
    written = training.steps if content is not None else None
    while training.progress < 1.0:
        training.step(sampler.batch(training.steps, config.batch))
        training.seconds = time.monotonic() - started
        if training.steps % config.checkpoint_steps == 0:
            _write(training, folder, run, validation)
            written = training.steps
    if written != training.steps:
        _write(training, folder, run, validation)
    return training.average


@torch.inference_mode()
def validate(network: torch.nn.Module, sampler: ExampleSampler, config: TrainingConfig) -> dict[str, Any]:
    """Mean reconstruction loss over the same few batches each time; those that are not finite are counted instead."""
    found = []
    for number in range(_VALIDATION_BATCHES):
        terms = losses(network, sampler.batch(number, config.batch), config.margin, ssim_weight=0.0)
        found.append(terms["reconstruction"].item())
    finite = [loss for loss in found if math.isfinite(loss)]
    mean = round(sum(finite) / len(finite), 5) if finite else None
    return {"validation": mean, "validation_not_finite": len(found) - len(finite)}


def losses(
    network: torch.nn.Module, batch: dict[str, torch.Tensor], margin: int, ssim_weight: float
) -> dict[str, torch.Tensor]:
    """The terms that are minimized, by name, over a batch of `ExampleSampler` without its border."""
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    prediction, target, sd = (x if x is None else x[inner] for x in predict(network, batch))
    terms = {"reconstruction": reconstruction_loss(prediction, target, ssim_weight)}
    if sd is not None:
        terms["uncertainty"] = uncertainty_loss(prediction, target, sd)
    return terms


def _write(training: Training, folder: Path, run: dict[str, Any], validation: ExampleSampler | None) -> None:
    """Checkpoint and log."""
    entries = {} if validation is None else validate(training.average, validation, training.config)
    print(json.dumps(training.note(**entries)), flush=True)
    save_checkpoint(folder, {**training.state_dict(), "run": run})
    with replacing(folder / LOG_FILE) as file:
        file.write("".join(json.dumps(line) + "\n" for line in training.log).encode())
