"""Where tasks run: processes of this machine, a scheduler's address, or the cluster that the user's factory returns.

A client is returned only once its workers are there and have the versions of this process. Limit: workers that join
later are not checked.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from sli.config.model import Config
from sli.config.sections import Cluster, Factory, Scheduler, Workers
from sli.engine.storage import message_of
from sli.errors import ConfigError, EngineError, SliError
from sli.masking import masked
from sli.slis.custom.imports import load

LOG = logging.getLogger("sli.cluster")
"""Logs what concerns a cluster, but not its tasks."""
Client = Any
"""A distributed Client. Dask has partial types and is imported only when it is needed."""

PATIENCE = "10s"
"""How long to wait for a scheduler to answer, and for its first worker."""
BOOT = "10 minutes"
"""How long to wait for the first worker of a cluster that a factory has just started."""
BASE = 768 << 20
"""Bytes of a worker process outside DuckDB: interpreter, libraries, the Arrow tables of a task and, in a shuffle, rows
being sent or received. If a worker is lost, the others take over its rows."""
BUFFER = 16 << 20
"""Bytes of rows that a local worker buffers in a shuffle before it sends them or writes them to disk."""
EXACT = ("sli", "dask", "distributed", "duckdb")
"""Packages that workers need in exactly the same version: they exchange messages, or results depend on them."""
MINOR = ("cloudpickle", "numpy", "pandas", "pyarrow")
"""Packages whose first two version numbers must agree, like Python's own: what they pickle may differ otherwise."""


@contextmanager
def open_client(config: Config, tasks: int) -> Iterator[Client]:
    """A distributed Client of the place that `dask:` names. At the end the client, and a cluster started for it, close.

    At most `tasks` local workers are started. Raises EngineError, and ConfigError for a factory that cannot be used.
    """
    where = place_name(config.dask)
    with ExitStack() as stack:
        if isinstance(config.dask, Factory):
            factory = factory_call(config.dask, config.factory_folder)
            client = stack.enter_context(_client_of_factory(factory, where))
        elif isinstance(config.dask, Scheduler):
            client = stack.enter_context(_client(config.dask.scheduler, where))
        else:
            cluster = _local_cluster(config.dask, tasks, config.task_memory, config.parallel)
            client = stack.enter_context(_client(stack.enter_context(cluster), where))
        try:
            client.wait_for_workers(1, timeout=_patience(config.dask))
        except TimeoutError as error:
            raise no_workers_error(config.dask) from error
        if isinstance(config.dask, Scheduler | Factory):
            _check_versions(client, where)
            if lack := lack_of_memory(config.task_memory, client):
                LOG.warning("%s: %s", *lack)
        yield client


def place_name(dask: Cluster) -> str:
    """The name of the place in messages."""
    match dask:
        case Scheduler(scheduler=address):
            return address
        case Workers(workers=workers):
            return f"dask: {{workers: {workers}}}"
        case Factory(factory=call):
            return f"dask: {{factory: {call}}}"
    return "dask: in-process"


def factory_call(dask: Factory, folder: str) -> Callable[[], object]:
    """The user's factory with its options; its module may lie in the folder.

    Raises ConfigError if it cannot be found or does not take its options.
    """
    where, options = place_name(dask), dict(dask.options)
    try:
        call = load(dask.factory, Path(folder))
    except ConfigError as error:
        error.where = where
        raise
    try:
        signature = inspect.signature(call)
    except ValueError:  # a callable written in C has no signature
        return lambda: call(**options)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ConfigError(
            "the factory does not take its options",
            where=where,
            expected=f"{dask.factory}{signature}",
            found=str(error),
            todo="see `options:`",
        ) from error
    return lambda: call(**options)


def worker_memory(memory: int) -> int:
    """Bytes at which a local worker process is killed.

    DuckDB spills to disk at `task_memory`, and the process may grow a quarter beyond that before it is killed.
    """
    return memory * 5 // 4 + BASE


def no_workers_error(dask: Cluster) -> EngineError:
    """The error if a scheduler answers but has no workers."""
    return EngineError(
        "the Dask scheduler has no workers",
        where=place_name(dask),
        expected=f"one within {_patience(dask)}",
        todo="start some (`dask worker ADDRESS`), or set `dask: in-process`",
        passes=True,
    )


@contextmanager
def _client_of_factory(factory: Callable[[], object], where: str) -> Iterator[Client]:
    """The client that a factory returns, or a client of the cluster that it returns."""
    try:
        with _no_version_warnings():
            returned = factory()
            client: Client = returned.get_client() if hasattr(returned, "get_client") else returned
    except SliError:
        raise
    except Exception as error:
        raise EngineError(
            "the factory of the cluster failed",
            where=where,
            found=f"{type(error).__name__}: {message_of(error)}",
            todo="call it by itself in Python to see where",
            passes=True,
        ) from error
    if not isinstance(client, dask_module("distributed").Client):
        raise ConfigError(
            "the factory returned no Dask client",
            where=where,
            expected="a distributed.Client",
            found=masked(repr(client))[:200],
        )
    if client.status != "running":
        raise ConfigError(
            "the factory returned a client that is not connected",
            where=where,
            expected="one that is running",
            found=f"one that is {client.status}",
        )
    try:
        yield client
    finally:
        for started in (client, client.cluster):
            try:
                started and started.close()
            except Exception as error:
                LOG.warning(
                    "what %s started could not be closed: %s: %s", where, type(error).__name__, message_of(error)
                )


def _local_cluster(
    dask: Workers | Literal["in-process"], tasks: int, memory: int, threads: int
) -> AbstractContextManager[object]:
    if isinstance(dask, Workers):
        # Else a worker above a share of its limit could pause for ever, as a process may keep memory that a task freed.
        pauses = ("target", "spill", "pause")
        limits: dict[str, object] = {f"distributed.worker.memory.{name}": False for name in pauses}
        limits |= {f"distributed.p2p.{name}.buffer": BUFFER for name in ("comm", "storage")}
        workers, limit = min(dask.workers, max(1, tasks)), worker_memory(memory)
        options: dict[str, object] = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": limit}
        options |= {"config": limits, "dashboard_address": "127.0.0.1:0"}
    else:
        # No memory limit, because Dask would compare it with the memory of this whole process.
        options = {"processes": False, "n_workers": 1, "threads_per_worker": threads, "memory_limit": 0}
        options["dashboard_address"] = None
    try:
        # Any free port, even without a dashboard; otherwise Dask insists on port 8787.
        cluster: AbstractContextManager[object] = dask_module("distributed").LocalCluster(
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, **options
        )
    except (OSError, RuntimeError) as error:
        raise EngineError(
            "the local worker processes did not start",
            where=place_name(dask),
            found=message_of(error),
            todo="call sli under `if __name__ == '__main__':` in a script, or set `dask: in-process`",
        ) from error
    return cluster


@contextmanager
def _no_version_warnings() -> Iterator[None]:
    """Silence the warnings of a new client about versions, since `_check_versions` raises an error if they matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dask_module("distributed.versions").VersionMismatchWarning)
        yield


def _client(place: object, where: str) -> Client:
    try:
        if isinstance(place, str):
            # If the text is not an address, a client of it would be left unfinished and never closed.
            dask_module("distributed.comm").resolve_address(place)
        with _no_version_warnings():
            return dask_module("distributed").Client(place, timeout=PATIENCE)
    except Exception as error:
        # A wrong address leads to many errors: no connection, no such host, not an address, another protocol.
        raise EngineError(
            "nobody answers at the Dask scheduler",
            where=where,
            found=message_of(error),
            todo="start it, or set `dask: in-process`",
            passes=True,
        ) from error


def lack_of_memory(memory: int, client: Client) -> tuple[str, str] | None:
    """What to say, and to do, if tasks on all threads of a worker may take more memory than it has; None: it suffices.

    The worker would be killed.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    for address, worker in workers.items():
        share = (worker["memory_limit"] - BASE) // worker["nthreads"] * 4 // 5
        if worker["memory_limit"] and share < memory:
            return (
                f"worker {address} has {worker['memory_limit'] >> 20} MiB for {worker['nthreads']} threads, and a task "
                f"may use {memory >> 20} MiB",
                f"set `memory: {max(1, share >> 20)}MB`, or start workers with more memory or fewer threads",
            )
    return None


def _patience(dask: Cluster) -> str:
    return BOOT if isinstance(dask, Factory) else PATIENCE


def _check_versions(client: Client, where: str) -> None:
    """Raise EngineError if a worker or the scheduler lacks a package that matters, or has another version of it."""
    versions = client.get_versions(packages=[*EXACT, *MINOR])
    own = versions["client"]["packages"]
    # The scheduler is checked, too, because it unpickles what it passes on.
    workers = {f"worker {address}": worker for address, worker in versions["workers"].items()}
    different = [
        (name, process["packages"].get(name), who)
        for who, process in {"the scheduler": versions["scheduler"], **workers}.items()
        for name in ("python", *EXACT, *MINOR)
        if _differs(name, own, process["packages"])
    ]
    if not different:
        return
    name, version, who = different[0]
    install = f"install {name}=={own[name]} there and restart it, or run sli in an environment like the cluster's"
    python = f"run sli and the cluster with the same Python, for example {'.'.join(own[name].split('.')[:2])}"
    raise EngineError(
        f"the cluster has another version of {name}" if version else f"the cluster lacks the package {name}",
        where=where,
        expected=f"{name} {own[name]}, as in this process",
        found=f"{name} {version or 'missing'} at {who}",
        todo=python if name == "python" else install,
        others="\n".join(f"also {other} {has or 'missing'} at {at}" for other, has, at in different[1:6]),
    )


def _differs(name: str, own: Mapping[str, str | None], other: Mapping[str, str | None]) -> bool:
    here, there = own.get(name), other.get(name)
    if here is None:
        return False
    if there is None or name in EXACT:
        return here != there
    return here.split(".")[:2] != there.split(".")[:2]


def dask_module(name: str) -> Any:
    """A module of Dask, imported only when it is needed, and without its partial types."""
    return importlib.import_module(name)
