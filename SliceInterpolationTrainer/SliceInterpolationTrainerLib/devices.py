"""Where a run is computed: one device by name, or several processes that train one network together.

Several processes see each a part of every batch and average their gradients, so that they take the step that one
process would take with the whole batch. `launch` starts them on this machine; under SLURM (`srun`) or `torchrun`
they are there already, and their environment says who is who.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Callable

import torch
import torch.distributed as distributed

from SliceInterpolationLib.device import choose_device
from SliceInterpolationLib.errors import InputError, SliceInterpolationError

_CPU = torch.device("cpu")
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
PRECISIONS = ("fp32", "bf16")
"""bf16: the convolutions in bfloat16, the losses and the weights in single precision. Half precision (fp16) is what
ended many runs of the head CT study, and is not offered."""


@dataclass(frozen=True)
class Crew:
    """The processes that train one network together, as one of them sees it; by default it is alone."""

    device: torch.device = _CPU
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace tensors of one type by their mean over all processes, in a single exchange."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(mean.view_as(tensor))

    def mean(self, *values: float) -> tuple[float, ...]:
        """Numbers averaged over all processes, so that all of them decide alike."""
        if self.size == 1:
            return values
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        self.average([numbers])
        return tuple(numbers.tolist())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the exchange."""
        if self.size > 1:
            distributed.destroy_process_group()


def join(device: str = "auto") -> Crew:
    """The crew that the environment of this process names (torchrun, SLURM), or a crew of one.

    device: auto, cpu, cuda or cuda:N; in a crew each process takes the GPU of its own number on its machine.
    InputError for a device that is not there.
    """
    place = _place()
    if place is None or place["WORLD_SIZE"] == "1":
        return Crew(torch.device(choose_device(device)[0]))
    os.environ.update(place)
    local = int(place["LOCAL_RANK"])
    if device != "cpu" and torch.cuda.is_available():
        if local >= torch.cuda.device_count():
            raise InputError(
                f"Process {local} of this machine has no GPU of its own; start {torch.cuda.device_count()}."
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    else:
        chosen = torch.device(choose_device(device)[0])
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Crew(chosen, distributed.get_rank(), distributed.get_world_size())


def in_a_crew() -> bool:
    """Whether the environment says that this process is one of several."""
    place = _place()
    return place is not None and place["WORLD_SIZE"] != "1"


def launch(count: int, command: Sequence[str], stop: Callable[[], bool] = lambda: False) -> int:
    """Run `count` processes of a Python command on this machine as one crew; the exit code of the first to fail.

    The others end with it: a crew that has lost a member would wait forever. stop: asked now and then; True asks all
    of them to end (SIGTERM).
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    crew = []
    try:
        for rank in range(count):
            place = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            crew.append(subprocess.Popen([sys.executable, *command], env={**os.environ, **place}))
        asked = False
        while True:
            if stop() and not asked:
                asked = True
                for process in crew:
                    process.terminate()
            codes = [process.poll() for process in crew]
            failed = [code for code in codes if code]
            if (failed and not asked) or all(code is not None for code in codes):
                return failed[0] if failed else 0
            time.sleep(0.2)
    finally:
        for process in crew:
            if process.poll() is None:
                process.terminate()
        for process in crew:
            process.wait()


def _place() -> dict[str, str] | None:
    """RANK and its fellows from the environment; None for a process on its own."""
    here = os.environ
    if all(name in here for name in _TORCHRUN):
        return {name: here[name] for name in _TORCHRUN}
    # Without srun, as in an interactive job or in the batch script itself, there is one process whatever was asked for.
    if "SLURM_PROCID" not in here or "SLURM_STEP_ID" not in here or here.get("SLURM_NTASKS", "1") == "1":
        return None
    if here.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    nodes = here.get("SLURM_STEP_NODELIST") or here.get("SLURM_NODELIST")
    if not nodes:
        raise SliceInterpolationError("SLURM names no nodes (SLURM_NODELIST); start the command by srun.")
    job = int(re.sub(r"\D", "", here.get("SLURM_JOB_ID", "0")) or 0)
    return {
        "RANK": here["SLURM_PROCID"],
        "WORLD_SIZE": here["SLURM_NTASKS"],
        "LOCAL_RANK": here.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": here.get("MASTER_ADDR", first_node(nodes)),
        "MASTER_PORT": here.get("MASTER_PORT", str(15000 + job % 15000)),  # the same for all of one job
    }


def first_node(nodes: str) -> str:
    """The first of a list of nodes as SLURM writes it: "gpu[03-05,9],big1" gives "gpu03"."""
    first = re.match(r"([^\[,]*)(?:\[(\w+))?", nodes)
    return first[1] + (first[2] or "")
