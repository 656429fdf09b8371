"""Runs tasks: in this process, in local processes or on a Dask cluster, and returns their results in order.

Limit: a task is one function call. The plan, not this module, decides what it reads and how much memory it may take.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from sli.config.model import Config
from sli.config.sections import Cluster, Factory, Scheduler, Workers
from sli.engine.interrupts import run_in_threads
from sli.engine.storage import message_of
from sli.errors import EngineError
from sli.matching.cluster import LOG as CLUSTER_LOG
from sli.matching.cluster import PATIENCE, Client, dask_module, factory_call, no_workers_error, open_client, place_name

P = ParamSpec("P")
T = TypeVar("T")
Report = Callable[[int, int], None]
"""Called with the number of finished tasks and the number of all tasks."""

LOG = logging.getLogger("sli")
"""Logs the work of tasks. Records that tasks log on a cluster are sent to this process."""
TOPIC = "sli-log"


def execute(
    config: Config, tasks: Sequence[Callable[[], T]], progress: Report, arrived: Callable[[T], None] = lambda _: None
) -> list[T]:
    """Run tasks one after another in this process, or on the cluster that the config names.

    Returns their results in the order of the tasks. Each result is also told to `arrived` as soon as it is there. The
    first error of a task ends all tasks and is raised as it is. Raises EngineError if the cluster fails.
    """
    if config.dask == "in-process":
        return in_process(tasks, progress, arrived)
    with cluster_client(config, len(tasks)) as client:
        futures = [client.submit(forward_logs(client, task), pure=False) for task in tasks]
        return results_of(futures, progress, arrived)


def check_cluster(config: Config) -> None:
    """Find out within seconds whether the cluster can be used: its scheduler answers, or its factory can be called.

    Raises EngineError, and ConfigError for a factory that cannot be called.
    """
    if isinstance(config.dask, Factory):
        factory_call(config.dask, config.factory_folder)
    if isinstance(config.dask, Scheduler):
        with cluster_client(config, 1):
            pass


@contextmanager
def cluster_client(config: Config, tasks: int) -> Iterator[Client]:
    """A distributed Client of the place that `dask:` names, for about `tasks` tasks at once.

    With `in-process` the scheduler and a worker are threads of this process. Inside `one_cluster` all calls get the
    same client. Wrap tasks in `forward_logs` so that what they log arrives in this process. Raises EngineError
    if the cluster fails while it is used: its workers, their memory, or its scheduler.
    """
    with _shared_or_new_client(config, tasks) as client, _engine_errors(config.dask, config.task_memory):
        yield client


@contextmanager
def _engine_errors(dask: Cluster, memory: int) -> Iterator[None]:
    """Turn the errors that Dask raises when a cluster fails into EngineErrors."""
    distributed, where = dask_module("distributed"), place_name(dask)
    try:
        yield
    except distributed.KilledWorker as error:
        raise EngineError(
            "a task killed every worker process that tried it",
            where=where,
            found=f"{error.allowed_failures + 1} killed; memory limit of a task {memory >> 20} MiB",
            todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices"
            if isinstance(dask, Workers)
            else f"see its log at {error.last_worker.address}; if it had too little memory, start workers with "
            "more memory or fewer threads, or lower `memory:` to what each thread has",
            passes=True,
        ) from error
    except distributed.scheduler.NoValidWorkerError as error:
        raise no_workers_error(dask) from error
    except (ImportError, RuntimeError) as error:
        if not cannot_load(error):
            raise
        reason = error.__cause__ or error
        raise EngineError(
            "the cluster lacks a module that tasks need",
            where=where,
            found=f"{type(reason).__name__}: {message_of(reason)}"[:200],
            todo="install there what this process has: the same sli, and the packages that Python SLIs import",
        ) from error
    except (CancelledError, distributed.comm.CommClosedError) as error:
        raise EngineError(
            "the Dask scheduler was lost",
            where=where,
            found=message_of(error)[:200],
            todo="run again once it is back, or set `dask: in-process`",
            passes=True,
        ) from error


@dataclass
class _SharedClient:
    """The client that tasks share, once there is one; `stack` closes it and its cluster."""

    stack: ExitStack
    place: object = None
    client: Client | None = None


_SHARED: ContextVar[_SharedClient | None] = ContextVar("shared", default=None)


@contextmanager
def one_cluster() -> Iterator[None]:
    """Inside the block all tasks share one cluster, which is started, or connected to, when it is first needed.

    It is closed at the end of the outermost block, or when the tasks of a config need another cluster. It can also be
    used as a decorator.
    """
    if _SHARED.get() is not None:
        yield
        return
    with ExitStack() as stack:
        token = _SHARED.set(_SharedClient(stack))
        try:
            yield
        finally:
            _SHARED.reset(token)


def cluster_of(config: Config) -> object:
    """What is equal for configs that can share a cluster."""
    if isinstance(config.dask, Workers):
        return config.dask, config.task_memory
    return config.dask, config.factory_folder if isinstance(config.dask, Factory) else ""


@contextmanager
def _shared_or_new_client(config: Config, tasks: int) -> Iterator[Client]:
    shared = _SHARED.get()
    if shared is None:
        with _new_client(config, tasks) as client:
            yield client
        return
    place = cluster_of(config)
    if shared.client is None or shared.client.status != "running" or shared.place != place:
        shared.stack.close()
        shared.client = shared.stack.enter_context(_new_client(config, tasks))
        shared.place = place
    elif isinstance(config.dask, Workers):
        _enlarge(shared.client, min(tasks, config.dask.workers))
    yield shared.client


@contextmanager
def _new_client(config: Config, tasks: int) -> Iterator[Client]:
    """A new client; what its tasks log is logged here, and so is the address of its dashboard."""
    with open_client(config, tasks) as client, _receive_logs(client):
        if config.dask != "in-process" and client.dashboard_link:
            CLUSTER_LOG.info("dashboard: %s", client.dashboard_link)
        yield client


def _enlarge(client: Client, workers: int) -> None:
    """Start further local workers; if that takes long, tasks begin on the workers that are there."""
    if workers > len(client.cluster.workers):
        client.cluster.scale(workers)
        with suppress(TimeoutError):
            client.wait_for_workers(workers, timeout=PATIENCE)


def cannot_load(error: Exception) -> bool:
    """Whether a worker or the scheduler could not unpickle a task; Dask has no error of its own for it."""
    return isinstance(error, ImportError) or "deserialization of the task graph" in str(error)


def forward_logs(client: Client, task: Callable[P, T]) -> Callable[P, T]:
    """The task with forwarding: what it logs on a worker in another process is logged in this process, too."""
    # Threads of this process log here anyway.
    return task if client.scheduler.address.startswith("inproc://") else _ForwardingLogs(task, client.id)


def results_of(futures: Sequence[Any], progress: Report, arrived: Callable[[Any], None] = lambda _: None) -> list[Any]:
    """The results of futures, each fetched as soon as it is there, so that no worker keeps it until the last one."""
    results: dict[str, Any] = {}
    try:
        for done, future in enumerate(dask_module("distributed").as_completed(futures), 1):
            results[future.key] = future.result()
            future.release()
            arrived(results[future.key])
            progress(done, len(futures))
    finally:
        # After an error the cluster may serve the next try or another model: leave it no task that nobody waits for.
        for future in futures:
            future.release()
    return [results[future.key] for future in futures]


@dataclass(frozen=True)
class _ForwardingLogs(Generic[P, T]):
    """A task on a worker whose log records are sent to the process of the run."""

    task: Callable[P, T]
    run: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        handler = _ToScheduler(self.run)
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)
        try:
            return self.task(*args, **kwargs)
        finally:
            LOG.removeHandler(handler)


class _ToScheduler(logging.Handler):
    """Sends the log records of the thread that created the handler to the scheduler."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run, self.thread = run, threading.get_ident()
        self.worker = dask_module("distributed").get_worker()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            text = f"{record.getMessage()} (worker {self.worker.name})"
            self.worker.log_event(TOPIC, {"run": self.run, "level": record.levelno, "text": text})


@contextmanager
def _receive_logs(client: Client) -> Iterator[None]:
    """Log in this process what the tasks of this client log on workers, but not what other clients' tasks log."""

    def log(event: tuple[float, Mapping[str, Any]]) -> None:
        message = event[1]
        if message["run"] == client.id:
            LOG.log(message["level"], "%s", message["text"])

    client.subscribe_topic(TOPIC, log)
    try:
        yield
    finally:
        with suppress(Exception):  # the scheduler may be gone, which is reported already
            client.unsubscribe_topic(TOPIC)


def in_process(
    tasks: Sequence[Callable[[], T]],
    progress: Report,
    arrived: Callable[[T], None] = lambda _: None,
    at_once: int = 1,
) -> list[T]:
    """Run tasks in this process as `execute` does, so many at once."""

    def told(task: Callable[[], T]) -> T:
        # In the thread of the task, so that a signal loses no result.
        result = task()
        arrived(result)
        return result

    # Tasks run in a thread, so that a signal to the main thread can stop their query.
    with ThreadPoolExecutor(at_once) as pool:
        return run_in_threads(
            pool, [functools.partial(told, task) for task in tasks], lambda done: progress(done, len(tasks))
        )
