"""The training loop of the regression networks: time-budgeted, guarded against collapse, resumable."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from .data import ExampleSampler
from .objective import reconstruction_loss, uncertainty_loss
from .prediction import predict


@dataclass
class TrainingConfig:
    """minutes: budget of this and all earlier parts of the run. steps: a budget in steps instead, with which a run
    is reproducible whatever the machine does. Everything else as the names say.
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
    seed: int = 0


class Guard:
    """Skips steps whose loss jumps, and goes back to a good snapshot when they repeat.

    A residual that hits its bound early has hardly any gradient and never comes back; skipping non-finite
    steps alone does not catch that.
    """

    def __init__(self, factor: float = 4.0, patience: int = 3):
        self.factor, self.patience = factor, patience
        self.mean: float | None = None
        self.hits = self.restores = self.skipped = 0

    def accepts(self, loss: float) -> bool:
        bad = not math.isfinite(loss) or (self.mean is not None and loss > self.factor * self.mean)
        if bad:
            self.hits += 1
            self.skipped += 1
            return False
        self.hits = 0
        self.mean = loss if self.mean is None else 0.98 * self.mean + 0.02 * loss
        return True


def train(
    network: torch.nn.Module, sampler: ExampleSampler, config: TrainingConfig, folder: Path
) -> torch.nn.Module:
    """Train and return the network with its averaged (EMA) weights.

    network: any of `prediction.TRAINABLE`. Writes `checkpoint.pt` (resumed from where it exists) and
    `log.jsonl` into `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    network = network.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    state = {"step": 0, "seconds": 0.0}
    guard = Guard()
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = _restore(checkpoint, network, average, optimizer)
    good = _snapshot(network, average)
    scale = 1.0
    started = time.monotonic() - state["seconds"]
    sums, count = {}, 0
    while (progress := _progress(config, state["step"], time.monotonic() - started)) < 1.0:
        warm = min(1.0, (state["step"] + 1) / config.warmup_steps)
        for group in optimizer.param_groups:
            group["lr"] = (
                config.learning_rate * scale * warm * (0.01 + 0.495 * (1 + math.cos(math.pi * progress)))
            )
        batch = sampler.batch(state["step"], config.batch)
        ssim_weight = config.ssim_weight if progress > config.ssim_from else 0.0
        terms = _losses(network, batch, config.margin, ssim_weight)
        state["step"] += 1
        if not guard.accepts(terms["reconstruction"].item()):
            if guard.hits >= guard.patience:
                _recover(network, average, good)
                optimizer.state.clear()
                scale *= 0.6
                guard.hits, guard.restores = 0, guard.restores + 1
            continue
        optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0, error_if_nonfinite=False)
        optimizer.step()
        decay = min(config.ema, (1 + state["step"]) / (10 + state["step"]))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), network.parameters()):
                kept.lerp_(new, 1 - decay)
            for kept, new in zip(average.buffers(), network.buffers()):  # statistics of batch normalization
                kept.copy_(new)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        count += 1
        if state["step"] % 500 == 0:
            state["seconds"] = time.monotonic() - started
            good = _snapshot(network, average)
            _save(checkpoint, network, average, optimizer, state)
            line = {"step": state["step"], "minutes": round(state["seconds"] / 60, 2)}
            line.update({k: round(v / max(count, 1), 5) for k, v in sums.items()})
            line.update(skipped=guard.skipped, restores=guard.restores)
            with open(folder / "log.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            sums, count = {}, 0
    state["seconds"] = time.monotonic() - started
    _save(checkpoint, network, average, optimizer, state)
    (folder / "config.json").write_text(json.dumps({**asdict(config), "steps": state["step"]}, indent=1))
    return average


def _progress(config: TrainingConfig, step: int, seconds: float) -> float:
    """Part of the budget that is spent."""
    return step / config.steps if config.steps else seconds / (60 * config.minutes)


def _losses(
    network: torch.nn.Module, batch: dict, margin: int, ssim_weight: float
) -> dict[str, torch.Tensor]:
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    prediction, target, sd = (x if x is None else x[inner] for x in predict(network, batch))
    terms = {"reconstruction": reconstruction_loss(prediction, target, ssim_weight)}
    if sd is not None:
        terms["uncertainty"] = uncertainty_loss(prediction, target, sd)
    return terms


def _snapshot(network, average):
    return copy.deepcopy(network.state_dict()), copy.deepcopy(average.state_dict())


def _recover(network, average, snapshot) -> None:
    network.load_state_dict(snapshot[0])
    average.load_state_dict(snapshot[1])


def _save(path: Path, network, average, optimizer, state) -> None:
    content = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "state": state,
    }
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)  # a run that is stopped while saving keeps its previous checkpoint


def _restore(path: Path, network, average, optimizer) -> dict:
    content = torch.load(path, weights_only=True)
    network.load_state_dict(content["network"])
    average.load_state_dict(content["average"])
    optimizer.load_state_dict(content["optimizer"])
    return content["state"]
