"""Where tasks run: processes of this machine, a scheduler's address, or what a factory of the user returns.

A client is given out only once its workers are there and run the versions this process runs. Limit: workers that join
later are not checked.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sli.config import Config, Scheduler, Workers
from sli.errors import EngineError

PATIENCE = "10s"
"""How long to wait for a scheduler to answer, and for its first worker."""
BASE = 512 << 20
"""Bytes of a worker process before and beside what the kernel counts: interpreter, libraries, a task's tables."""
EXACT = ("sli", "dask", "distributed", "duckdb")
"""Packages of which workers must have the very version: they speak with each other, or results rest on them."""
MINOR = ("cloudpickle", "numpy", "pandas", "pyarrow")
"""Packages, beside Python itself, of which the first two numbers must agree: what is sent may differ between them."""
SCHEDULING = ("python", "sli", "dask", "distributed", "cloudpickle")
"""Those that the scheduler needs."""


@contextmanager
def opened(config: Config, tasks: int) -> Iterator[Any]:
    """A distributed Client of the place that `dask:` names, closed afterwards with what was started for it.

    Local workers are no more than `tasks`. Raises EngineError.
    """
    where = name_of(config)
    with _place(config, tasks) as place, _client(place, where) as client:
        _check_workers(client, where)
        _check_versions(client, where)
        yield client


def name_of(config: Config) -> str:
    """How the place is called in messages."""
    if isinstance(config.dask, Scheduler):
        return config.dask.scheduler
    return f"dask: {{workers: {config.dask.workers}}}" if isinstance(config.dask, Workers) else "dask: in-process"


def worker_memory(config: Config) -> int:
    """Bytes at which a local worker process is killed.

    The kernel keeps to `task_memory` by spilling, so a process may grow somewhat beyond before it counts as astray.
    """
    return config.task_memory * 5 // 4 + BASE


def without_workers(where: str) -> EngineError:
    """The error of a scheduler that answers and has nobody to work."""
    return EngineError(
        "the Dask scheduler has no workers",
        where=where,
        expected=f"one within {PATIENCE}",
        todo="start some, such as `dask worker ADDRESS`, or set `dask: in-process`",
        passes=True,
    )


@contextmanager
def _place(config: Config, tasks: int) -> Iterator[Any]:
    """An address, or a local cluster that ends with the block."""
    if isinstance(config.dask, Scheduler):
        yield config.dask.scheduler
    else:
        with _local_cluster(config, tasks) as cluster:
            yield cluster


def _local_cluster(config: Config, tasks: int) -> Any:
    if isinstance(config.dask, Workers):
        # A worker above a share of its limit could pause for good: memory that a task freed may stay with the process.
        limits = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
        workers, memory = min(config.dask.workers, max(1, tasks)), worker_memory(config)
        kind = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": memory, "config": limits}
    else:
        # Without a limit of memory, which would be one of this whole process.
        kind = {"processes": False, "n_workers": 1, "threads_per_worker": config.parallel, "memory_limit": 0}
    try:
        return module("distributed").LocalCluster(
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any free port: without one it insists on 8787
            **kind,
        )
    except (OSError, RuntimeError) as error:
        raise EngineError(
            "the local worker processes did not start",
            where=name_of(config),
            found=str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__,
            todo="call sli under `if __name__ == '__main__':` in a script, or set `dask: in-process`",
        ) from error


def _client(place: Any, where: str) -> Any:
    try:
        if isinstance(place, str):
            # A client of an address that is none would linger, half made.
            module("distributed.comm").resolve_address(place)
        with warnings.catch_warnings():
            # It tells of every difference; those that matter are errors of ours.
            warnings.simplefilter("ignore", module("distributed.versions").VersionMismatchWarning)
            return module("distributed").Client(place, timeout=PATIENCE)
    except Exception as error:
        # Whatever a wrong address leads to: no connection, no such host, no address at all, another protocol.
        raise EngineError(
            "nobody answers at the Dask scheduler",
            where=where,
            found=str(error)[:200],
            todo="start it, or set `dask: in-process`",
            passes=True,
        ) from error


def _check_workers(client: Any, where: str) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise without_workers(where) from error


def _check_versions(client: Any, where: str) -> None:
    """Raise EngineError where a worker or the scheduler has another version of what matters, or has it not at all."""
    found = client.get_versions(packages=[*EXACT, *MINOR])
    own = found["client"]["packages"]
    others = {"the scheduler": found["scheduler"]} | {f"worker {each}": at for each, at in found["workers"].items()}
    odd = [
        (name, each["packages"].get(name), who)
        for who, each in others.items()
        for name in ("python", *EXACT, *MINOR)
        if (name in SCHEDULING or who != "the scheduler") and _differs(name, own, each["packages"])
    ]
    if not odd:
        return
    name, version, who = odd[0]
    anew = f"install {name}=={own[name]} there and start it anew, or run sli in an environment like the cluster's"
    python = f"run sli and the cluster with one Python, such as {'.'.join(own[name].split('.')[:2])}"
    raise EngineError(
        f"the cluster has another version of {name}" if version else f"the cluster lacks the package {name}",
        where=where,
        expected=f"{name} {own[name]}, as in this process",
        found=f"{name} {version or 'missing'} at {who}",
        todo=python if name == "python" else anew,
        others="\n".join(f"also {each} {at_version or 'missing'} at {at}" for each, at_version, at in odd[1:6]),
    )


def _differs(name: str, own: Mapping[str, str | None], other: Mapping[str, str | None]) -> bool:
    here, there = own.get(name), other.get(name)
    if here is None:
        return False
    if there is None or name in EXACT:
        return here != there
    return here.split(".")[:2] != there.split(".")[:2]


def module(name: str) -> Any:
    """A module of Dask, imported only where it is needed and without its partial types."""
    return importlib.import_module(name)
