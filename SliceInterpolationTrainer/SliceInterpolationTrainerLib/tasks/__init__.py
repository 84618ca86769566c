"""What a stage of a recipe trains: one file a kind of task, all behind `base.Task`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from SliceInterpolationLib.errors import Cancelled, InputError
from SliceInterpolationLib.networks import build

from .acvtt import AcvttFusionTask, AcvttTransferTask
from .adversarial import AdversarialTask
from .base import Task
from .diffusion import DiffusionTask
from .four_slices import FourSlicesTask
from .saint import SaintAMITask, SaintRFNTask
from .slices import SliceTask

TASKS: dict[str, type[Task]] = {
    "slices": SliceTask,
    "adversarial": AdversarialTask,
    "diffusion": DiffusionTask,
    "four-slices": FourSlicesTask,
    "saint-ami": SaintAMITask,
    "saint-rfn": SaintRFNTask,
    "acvtt-transfer": AcvttTransferTask,
    "acvtt-fusion": AcvttFusionTask,
}


def build_task(
    kind: str,
    architecture: str,
    config: Mapping[str, Any],
    options: Mapping[str, Any],
    before: Mapping[str, torch.Tensor] | None = None,
) -> Task:
    """The task of that kind on a new network.

    config: of the network. options: of the task. before: weights that the stage before has trained, which the new
    network must have under the same names.
    Raises InputError for an unknown kind, and for options or weights that do not fit.
    """
    if kind not in TASKS:
        raise InputError(f"There is no task '{kind}'; known are {', '.join(TASKS)}.")
    if architecture not in TASKS[kind].networks:
        raise InputError(
            f"The task '{kind}' trains {', '.join(TASKS[kind].networks)}, and cannot train '{architecture}'."
        )
    network = build(architecture, **config)
    if before is not None:
        own = network.state_dict()
        strange = [
            name for name, tensor in before.items() if name not in own or own[name].shape != tensor.shape
        ]
        if strange:
            raise InputError(
                f"The stage before has trained '{strange[0]}', which the network of this stage lacks or has in "
                "another size; give both the same config."
            )
        network.load_state_dict({**own, **before})
    try:
        return TASKS[kind](network, architecture, **options)
    except Cancelled:
        raise
    except (TypeError, ValueError, AttributeError) as error:  # values come from a recipe
        raise InputError(f"The task '{kind}' cannot be set up so: {error}.") from error


__all__ = ["TASKS", "Task", "build_task"]
