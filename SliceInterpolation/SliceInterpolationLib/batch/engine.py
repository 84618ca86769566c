"""The workers: Dask on this machine, or a Dask cluster anywhere. Studies go in, their records come out."""

from __future__ import annotations

import os
import queue
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from ..device import gpus
from ..errors import InputError, SliceInterpolationError
from ..interpolators import needs_torch
from ..memory import free_memory
from .discovery import Study
from .options import DASHBOARD, LOOPBACK
from .settings import Settings
from .worker import facts, work

if TYPE_CHECKING:
    from distributed import Client, Future

WORKER_BYTES = 2 << 30
"""What a worker takes for a head CT of 512 x 512 x 60, PyTorch included, with room to spare."""
_GPU = "GPU"  # the resource that Dask workers with a GPU declare
_POLL_S = 0.2
_CONNECT_S = 20
_LIVES = 3  # a study whose worker has died so many times is tried once more, then given up
_QUIET = {"logging": dict.fromkeys(("distributed", "tornado", "asyncio", "bokeh"), "critical")}


@dataclass(frozen=True)
class Workers:
    """Who does the work. scheduler: address of a Dask scheduler, or None for workers on this machine.

    count, threads: of those, 0 for as many as cores, memory and GPUs allow. dashboard: HOST:PORT, or "none".
    """

    scheduler: str | None = None
    count: int = 0
    threads: int = 0
    dashboard: str = DASHBOARD


def plan(workers: Workers, gpu_count: int) -> tuple[int, int]:
    """How many workers on this machine, and threads for each: one worker a GPU, else one a core as memory allows."""
    from dask.system import CPU_COUNT

    free = free_memory()
    room = CPU_COUNT if free is None else max(1, free // WORKER_BYTES)
    count = workers.count or gpu_count or max(1, min(CPU_COUNT, room))
    return count, workers.threads or max(1, CPU_COUNT // count)


def run_studies(
    studies: Iterable[Study],
    settings: Settings,
    root: Path,
    workers: Workers,
    tell: Callable[[str], None],
    check_cancel: Callable[[], None],
) -> Iterator[dict[str, Any]]:
    """The record of each study as it is ready (see `study.process`), in whatever order.

    check_cancel: called several times a second; what it raises ends the work, as does closing the iterator. Workers of
    this machine end with it, and with this process.
    Raises InputError where Dask is missing or the cluster cannot be used, SliceInterpolationError where it is lost.
    """
    with _connected(workers, settings, tell, check_cancel) as (client, resources, settings):
        pending: dict[Future, Study] = {}
        ready: queue.SimpleQueue[Future] = queue.SimpleQueue()
        waiting = iter(studies)
        values, told = settings.as_dict(), False
        while True:
            check_cancel()
            if client.status != "running":
                raise SliceInterpolationError(
                    "The Dask scheduler is gone; give the same command again to go on with what is left."
                )
            count = len(client.nthreads())
            if not count and not told:
                tell("Waiting for Dask workers.")
            told = not count
            # Two for each worker: the next study is there when one is done, and a million fill no memory.
            while len(pending) < 2 * max(count, 1):
                study = next(waiting, None)
                if study is None:
                    break
                future = client.submit(
                    work,
                    study.as_dict(),
                    values,
                    str(root),
                    resources=resources,
                    pure=False,
                    key=f"study-{study.name}",
                )
                pending[future] = study
                future.add_done_callback(ready.put)
            if not pending:
                return
            try:
                future = ready.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            yield _record(future, pending.pop(future))


def _record(future: Future, study: Study) -> dict[str, Any]:
    from distributed import KilledWorker

    if future.status == "cancelled":
        raise SliceInterpolationError(
            "The Dask scheduler has dropped the work; give the same command again to go on with what is left."
        )
    try:
        return future.result()
    except KilledWorker:
        reason = (
            f"Its worker ended {_LIVES + 1} times while at it, as happens where memory runs out; crop the scan, or use "
            "fewer workers."
        )
    except Exception as error:  # of Dask or of the way to the worker
        reason = f"The worker failed: {type(error).__name__}: {error}"
    return {"name": study.name, "failed": reason, "full": ""}


@contextmanager
def _connected(
    workers: Workers, settings: Settings, tell: Callable[[str], None], check_cancel: Callable[[], None]
) -> Iterator[tuple[Client, dict[str, int] | None, Settings]]:
    """A client with workers behind it, the resources that a study takes, and the settings for the device they have."""
    distributed = _import_dask()
    with ExitStack() as stack:
        if workers.scheduler is None:
            client = stack.enter_context(_on_this_machine(workers, settings, tell))
        else:
            try:
                client = distributed.Client(workers.scheduler, timeout=_CONNECT_S, set_as_default=False)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"There is no Dask scheduler at '{workers.scheduler}' ({error}); check the address, such as "
                    "tcp://host:8786."
                ) from error
            stack.callback(client.close)
            if client.dashboard_link:
                tell(f"Dashboard: {client.dashboard_link}")
            told = False
            while not client.nthreads():
                if not told:
                    tell("Waiting for Dask workers.")
                told = True
                check_cancel()
                try:
                    client.wait_for_workers(1, timeout=1)
                except distributed.TimeoutError:
                    continue
            _check_same(client)
            if any(threads > 1 for threads in client.nthreads().values()):
                tell(
                    "A worker does one study at a time; start workers with --nthreads 1, and several of them."
                )
        found = _resources(client)
        with_gpu = sum(bool(one.get(_GPU)) for one in found.values())
        resources, device = None, settings.request.device
        if needs_torch(settings.method) and device != "cpu":
            if with_gpu:
                resources = {_GPU: 1}
                device = device.partition(":")[0]  # a worker sees its own GPU alone, and calls it the first
            elif device == "auto":
                device = "cpu"  # nothing keeps two studies from one GPU
            else:
                raise InputError(
                    f"No worker has a GPU for '{device}'; start workers with --resources 'GPU=1', or use --device cpu."
                )
        tell(f"Workers at hand: {len(found)}" + (f", {with_gpu} with a GPU" if with_gpu else ""))
        yield client, resources, replace(settings, request=replace(settings.request, device=device))


def _resources(client: Client) -> dict[str, dict[str, float]]:
    """The resources that each worker has declared, by its address."""
    # As a lambda it travels by value: the scheduler need not have this package.
    return client.run_on_scheduler(
        lambda dask_scheduler: {one.address: dict(one.resources) for one in dask_scheduler.workers.values()}
    )


def _import_dask() -> Any:
    try:
        import dask

        # Before its first import: what Dask logs of dying workers is told in the table.
        dask.config.set(_QUIET)
        import distributed
    except ImportError as error:
        raise InputError(
            f"Batches need Dask, which cannot be used here ({error}); install it: pip install 'dask[distributed]'."
        ) from error
    return distributed


def _check_same(client: Client) -> None:
    """InputError where the workers of a cluster do not have this package, or another version of it."""
    own = facts()["version"]
    for address, found in client.run(facts, on_error="return").items():
        if isinstance(found, Exception):
            raise InputError(
                f"The worker {address} cannot run SliceInterpolation ({found}); install version {own} there."
            )
        if found["version"] != own:
            raise InputError(
                f"The worker {address} has version {found['version']} of SliceInterpolation, this machine {own}; "
                "install the same."
            )


@contextmanager
def _on_this_machine(workers: Workers, settings: Settings, tell: Callable[[str], None]) -> Iterator[Client]:
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster
    from distributed.security import Security

    uses_gpu = needs_torch(settings.method) and settings.request.device != "cpu"
    found = gpus(settings.request.device) if uses_gpu else []
    count, threads = plan(workers, len(found))
    free = free_memory()
    security = Security.temporary()  # else whoever has an account here could run code as this user
    config = {
        **{
            f"distributed.nanny.pre-spawn-environ.{name}_NUM_THREADS": threads
            for name in ("OMP", "MKL", "OPENBLAS")
        },
        "distributed.scheduler.allowed-failures": _LIVES,
        "distributed.scheduler.worker-saturation": 1.0,
        # Both grow with every study, and tell nothing of work that is one call.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.low-level-log-length": 100,
        # A study holds what it needs until it is done: there is nothing to spill, and waiting frees nothing.
        **{f"distributed.worker.memory.{what}": False for what in ("target", "spill", "pause")},
    }
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="slice-interpolation-") as scratch, dask.config.set(config):
        nannies = {}
        for number in range(count):
            gpu = found[number % len(found)] if found else None
            nannies[number] = {
                "cls": Nanny,
                "options": {
                    "nthreads": 1,
                    "host": LOOPBACK,
                    "memory_limit": "auto" if free is None else max(free // count, WORKER_BYTES),
                    "local_directory": scratch,
                    "dashboard": False,
                    "security": security,
                    "silence_logs": "CRITICAL",
                    "resources": {_GPU: 1} if found and number < len(found) else {},
                    "env": {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)},
                },
            }
        shown = workers.dashboard != "none"
        options = {
            "host": LOOPBACK,
            "port": 0,
            "protocol": "tls://",
            "security": security,
            "dashboard": shown,
        }
        if shown:
            options["dashboard_address"] = _dashboard_address(workers.dashboard)
        cluster = SpecCluster(
            nannies, {"cls": Scheduler, "options": options}, security=security, silence_logs=False, name="batch",
            shutdown_on_close=True,
        )  # fmt: skip
        try:
            with Client(cluster, security=security, set_as_default=False) as client:
                if shown and _has_dashboard():
                    tell(f"Dashboard: {client.dashboard_link}")
                tell(f"On this machine: workers {count}, threads of each {threads}.")
                yield client
        finally:
            cluster.close()
            os.environ.clear()
            os.environ.update(before)


def _dashboard_address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise InputError(
            f"The dashboard's address is HOST:PORT, such as {DASHBOARD}, or none, not '{address}'."
        )
    return f"{host or LOOPBACK}:{port}"


def _has_dashboard() -> bool:
    try:
        import bokeh  # noqa: F401
    except ImportError:
        return False
    return True
