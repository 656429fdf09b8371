"""Where tasks run: processes of this machine, a scheduler's address, or what a factory of the user returns.

A client is given out only once its workers are there and run the versions this process runs. Limit: workers that join
later are not checked.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sli.config.model import Config
from sli.config.sections import Factory, Scheduler, Workers
from sli.engine.storage import plain
from sli.errors import ConfigError, EngineError, SliError
from sli.masking import masked
from sli.slis.custom.imports import load

LOG = logging.getLogger("sli.cluster")
"""What there is to say of a cluster, whatever the tasks say."""

PATIENCE = "10s"
"""How long to wait for a scheduler to answer, and for its first worker."""
BOOT = "10 minutes"
"""How long to wait for the first worker of a cluster that a factory has just started."""
BASE = 768 << 20
"""Bytes of a worker process before and beside what the kernel counts: interpreter, libraries, a task's tables, and in a
shuffle rows on their way; those of a worker that was lost go to the others."""
BUFFER = 16 << 20
"""Bytes of rows on their way, from disk or to it, that a local worker holds in a shuffle."""
EXACT = ("sli", "dask", "distributed", "duckdb")
"""Packages of which workers must have the very version: they speak with each other, or results rest on them."""
MINOR = ("cloudpickle", "numpy", "pandas", "pyarrow")
"""Packages, beside Python itself, of which the first two numbers must agree: what is sent may differ between them."""


@contextmanager
def opened(config: Config, tasks: int) -> Iterator[Any]:
    """A distributed Client of the place that `dask:` names, closed afterwards with what was started for it.

    Local workers are no more than `tasks`. Raises EngineError.
    """
    with _client_of(config, tasks) as client:
        _check_workers(client, config)
        if isinstance(config.dask, Scheduler | Factory):
            _check_versions(client, name_of(config))
            _compare_memory(config, client)
        yield client


def name_of(config: Config) -> str:
    """How the place is called in messages."""
    match config.dask:
        case Scheduler(scheduler=address):
            return address
        case Workers(workers=workers):
            return f"dask: {{workers: {workers}}}"
        case Factory(factory=call):
            return f"dask: {{factory: {call}}}"
    return "dask: in-process"


def factory_of(config: Config) -> Callable[[], Any]:
    """The user's factory, ready to be called. Raises ConfigError where there is none that takes its options."""
    assert isinstance(config.dask, Factory)
    where, options = name_of(config), dict(config.dask.options)
    try:
        call = load(config.dask.factory, Path(config.folder))
    except ConfigError as error:
        error.where = where
        raise
    try:
        taken = inspect.signature(call)
    except ValueError:  # a callable of C that shows none
        return lambda: call(**options)
    try:
        taken.bind(**options)
    except TypeError as error:
        raise ConfigError(
            "the factory does not take its options",
            where=where,
            expected=f"{config.dask.factory}{taken}",
            found=str(error),
            todo="see `options:`",
        ) from error
    return lambda: call(**options)


def worker_memory(config: Config) -> int:
    """Bytes at which a local worker process is killed.

    The kernel keeps to `task_memory` by spilling, so a process may grow somewhat beyond before it counts as astray.
    """
    return config.task_memory * 5 // 4 + BASE


def without_workers(config: Config) -> EngineError:
    """The error of a scheduler that answers and has nobody to work."""
    return EngineError(
        "the Dask scheduler has no workers",
        where=name_of(config),
        expected=f"one within {_patience(config)}",
        todo="start some, such as `dask worker ADDRESS`, or set `dask: in-process`",
        passes=True,
    )


@contextmanager
def _client_of(config: Config, tasks: int) -> Iterator[Any]:
    """A client, closed at the end together with what was started for it."""
    if isinstance(config.dask, Factory):
        with _made(factory_of(config), name_of(config)) as client:
            yield client
    elif isinstance(config.dask, Scheduler):
        with _client(config.dask.scheduler, name_of(config)) as client:
            yield client
    else:
        with _local_cluster(config, tasks) as cluster, _client(cluster, name_of(config)) as client:
            yield client


@contextmanager
def _made(factory: Callable[[], Any], where: str) -> Iterator[Any]:
    """The client that a factory returns, or one of the cluster it returns."""
    try:
        with _differences_untold():
            found = factory()
            client = found.get_client() if hasattr(found, "get_client") else found
    except SliError:
        raise
    except Exception as error:
        raise EngineError(
            "the factory of the cluster failed",
            where=where,
            found=f"{type(error).__name__}: {plain(error)}",
            todo="call it by itself in Python to see where",
            passes=True,
        ) from error
    if not isinstance(client, module("distributed").Client):
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
        for each in (client, client.cluster):
            try:
                each and each.close()
            except Exception as error:
                LOG.warning("what %s started could not be closed: %s: %s", where, type(error).__name__, plain(error))


def _local_cluster(config: Config, tasks: int) -> Any:
    if isinstance(config.dask, Workers):
        # A worker above a share of its limit could pause for good: memory that a task freed may stay with the process.
        limits: dict[str, Any] = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
        limits |= {f"distributed.p2p.{name}.buffer": BUFFER for name in ("comm", "storage")}
        workers, memory = min(config.dask.workers, max(1, tasks)), worker_memory(config)
        kind = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": memory, "config": limits}
        kind["dashboard_address"] = "127.0.0.1:0"
    else:
        # Without a limit of memory, which would be one of this whole process.
        kind = {"processes": False, "n_workers": 1, "threads_per_worker": config.parallel, "memory_limit": 0}
        kind["dashboard_address"] = None
    try:
        # Any free port, also without a dashboard: it would insist on 8787.
        return module("distributed").LocalCluster(scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, **kind)
    except (OSError, RuntimeError) as error:
        raise EngineError(
            "the local worker processes did not start",
            where=name_of(config),
            found=plain(error),
            todo="call sli under `if __name__ == '__main__':` in a script, or set `dask: in-process`",
        ) from error


@contextmanager
def _differences_untold() -> Iterator[None]:
    """A new client warns of every difference between versions; those that matter are errors of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", module("distributed.versions").VersionMismatchWarning)
        yield


def _client(place: Any, where: str) -> Any:
    try:
        if isinstance(place, str):
            # A client of an address that is none would linger, half made.
            module("distributed.comm").resolve_address(place)
        with _differences_untold():
            return module("distributed").Client(place, timeout=PATIENCE)
    except Exception as error:
        # Whatever a wrong address leads to: no connection, no such host, no address at all, another protocol.
        raise EngineError(
            "nobody answers at the Dask scheduler",
            where=where,
            found=plain(error),
            todo="start it, or set `dask: in-process`",
            passes=True,
        ) from error


def _compare_memory(config: Config, client: Any) -> None:
    """Warn where tasks on all threads of a worker may outgrow it: it would be killed."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    for address, each in workers.items():
        share = (each["memory_limit"] - BASE) // each["nthreads"] * 4 // 5
        if each["memory_limit"] and share < config.task_memory:
            LOG.warning(
                "worker %s has %s MiB for %s threads, and a task may use %s MiB: set `memory: %sMB`, or start workers "
                "with more memory or fewer threads",
                address,
                each["memory_limit"] >> 20,
                each["nthreads"],
                config.task_memory >> 20,
                max(1, share >> 20),
            )
            return


def _patience(config: Config) -> str:
    return BOOT if isinstance(config.dask, Factory) else PATIENCE


def _check_workers(client: Any, config: Config) -> None:
    try:
        client.wait_for_workers(1, timeout=_patience(config))
    except TimeoutError as error:
        raise without_workers(config) from error


def _check_versions(client: Any, where: str) -> None:
    """Raise EngineError where a worker or the scheduler has another version of what matters, or has it not at all."""
    found = client.get_versions(packages=[*EXACT, *MINOR])
    own = found["client"]["packages"]
    # The scheduler too opens what it hands on.
    others = {"the scheduler": found["scheduler"]} | {f"worker {each}": at for each, at in found["workers"].items()}
    odd = [
        (name, each["packages"].get(name), who)
        for who, each in others.items()
        for name in ("python", *EXACT, *MINOR)
        if _differs(name, own, each["packages"])
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
        others="\n".join(f"also {each} {has or 'missing'} at {at}" for each, has, at in odd[1:6]),
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
