"""Where tasks run: in this process, or by Dask in local processes or on a cluster; results come back in their order.

Limit: a task is one function call; what it reads and how much memory that takes was decided by the plan.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sli.config.model import Config
from sli.config.sections import Factory, Scheduler, Workers
from sli.engine.interrupts import in_thread
from sli.engine.storage import plain
from sli.errors import EngineError
from sli.matching.cluster import LOG as CLUSTER_LOG
from sli.matching.cluster import PATIENCE, factory_of, module, name_of, opened, without_workers

Task = Callable[..., Any]
Report = Callable[[int, int], None]

LOG = logging.getLogger("sli")
"""What tasks say while they work; records of tasks on a cluster arrive in this process."""
TOPIC = "sli-log"


def execute(config: Config, tasks: Sequence[Task], progress: Report) -> list[Any]:
    """Run tasks one after another in this process, or on the cluster the config names. Results in their order.

    The first error of a task ends all of them and is raised as it is. Raises EngineError for a cluster that fails.
    """
    if config.dask == "in-process":
        return _in_process(tasks, progress)
    with connected(config, len(tasks)) as client:
        return _on_cluster(client, tasks, progress)


def check_cluster(config: Config) -> None:
    """Find out within seconds whether there is a cluster: a scheduler that answers, a factory that can be called.

    Raises EngineError, and ConfigError for a factory that is none.
    """
    if isinstance(config.dask, Factory):
        factory_of(config)
    if isinstance(config.dask, Scheduler):
        with connected(config, 1):
            pass


@contextmanager
def connected(config: Config, tasks: int) -> Iterator[Any]:
    """A distributed Client of the place `dask:` names, for about so many tasks at once.

    In-process, too: a scheduler and a worker in threads of this process. Whatever runs through it inside the block
    raises EngineError where the cluster fails, be it the workers, their memory or the scheduler. Tasks wrapped by
    `forwarded` log in this process. Inside `one_cluster` it is the same client each time.
    """
    where = name_of(config)
    with _kept_or_opened(config, tasks) as client:
        distributed = module("distributed")
        try:
            yield client
        except distributed.KilledWorker as error:
            raise EngineError(
                "a task killed every worker process that tried it",
                where=where,
                found=f"{error.allowed_failures + 1} killed; memory limit of a task {config.task_memory >> 20} MiB",
                todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices"
                if isinstance(config.dask, Workers)
                else f"see its log at {error.last_worker.address}; if it had too little memory, start workers with "
                "more memory or fewer threads, or lower `memory:` to what each thread has",
                passes=True,
            ) from error
        except distributed.scheduler.NoValidWorkerError as error:
            raise without_workers(config) from error
        except (ImportError, RuntimeError) as error:
            if not unopened(error):
                raise
            reason = error.__cause__ or error
            raise EngineError(
                "the cluster lacks a module that tasks need",
                where=where,
                found=f"{type(reason).__name__}: {plain(reason)}"[:200],
                todo="install there what this process has: the same sli, and the packages that Python SLIs import",
            ) from error
        except (CancelledError, distributed.comm.CommClosedError) as error:
            raise EngineError(
                "the Dask scheduler was lost",
                where=where,
                found=plain(error)[:200],
                todo="run again once it is back, or set `dask: in-process`",
                passes=True,
            ) from error


@dataclass
class _Kept:
    """The client of a run or backfill, once there is one."""

    stack: ExitStack
    client: Any = None


_KEPT: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def one_cluster() -> Iterator[None]:
    """Inside the block, of one config, a cluster is started or connected to once, when it is first needed.

    It is closed at the end of the outermost such block, or function: it serves as a decorator too.
    """
    if _KEPT.get() is not None:
        yield
        return
    with ExitStack() as stack:
        token = _KEPT.set(_Kept(stack))
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextmanager
def _kept_or_opened(config: Config, tasks: int) -> Iterator[Any]:
    kept = _KEPT.get()
    if kept is None:
        with _introduced(config, tasks) as client:
            yield client
        return
    if kept.client is None or kept.client.status != "running":
        kept.client = kept.stack.enter_context(_introduced(config, tasks))
    elif isinstance(config.dask, Workers):
        _enlarge(kept.client, min(tasks, config.dask.workers))
    yield kept.client


@contextmanager
def _introduced(config: Config, tasks: int) -> Iterator[Any]:
    """A client whose tasks are heard and whose dashboard, in-process has none, is told."""
    with opened(config, tasks) as client, _heard(client):
        if config.dask != "in-process" and client.dashboard_link:
            CLUSTER_LOG.info("dashboard: %s", client.dashboard_link)
        yield client


def _enlarge(client: Any, workers: int) -> None:
    """Start further local workers; tasks begin on those there are."""
    if workers > len(client.cluster.workers):
        client.cluster.scale(workers)
        with suppress(TimeoutError):
            client.wait_for_workers(workers, timeout=PATIENCE)


def unopened(error: Exception) -> bool:
    """Whether tasks could not be opened where they arrived; Dask has no error of its own for it."""
    return isinstance(error, ImportError) or "deserialization of the task graph" in str(error)


def forwarded(client: Any, task: Task) -> Task:
    """The task, such that what it logs on a worker in another process is logged in this one."""
    # In threads of this process records need no help.
    return task if client.scheduler.address.startswith("inproc://") else _Forwarded(task, client.id)


def _on_cluster(client: Any, tasks: Sequence[Task], progress: Report) -> list[Any]:
    """Results are fetched as they come: none waits in a worker's memory for the last."""
    results: list[Any] = [None] * len(tasks)
    futures = [client.submit(forwarded(client, task), pure=False) for task in tasks]
    positions = {future.key: i for i, future in enumerate(futures)}
    for done, future in enumerate(module("distributed").as_completed(futures), 1):
        results[positions[future.key]] = future.result()
        future.release()
        progress(done, len(tasks))
    return results


@dataclass(frozen=True)
class _Forwarded:
    """A task on a worker whose log records are sent to the process of the run."""

    task: Task
    run: str

    def __call__(self, *given: Any) -> Any:
        handler = _ToScheduler(self.run)
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)
        try:
            return self.task(*given)
        finally:
            LOG.removeHandler(handler)


class _ToScheduler(logging.Handler):
    """Sends what the thread that made it logs."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run, self.thread = run, threading.get_ident()
        self.worker = module("distributed").get_worker()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            where = f"{self.worker.name}"
            said = {"run": self.run, "level": record.levelno, "text": record.getMessage(), "worker": where}
            self.worker.log_event(TOPIC, said)


@contextmanager
def _heard(client: Any) -> Iterator[None]:
    """Log here what the tasks of this client log on their workers, and not those of others on the cluster."""

    def hear(event: tuple[float, Any]) -> None:
        said = event[1]
        if said["run"] == client.id:
            LOG.log(said["level"], "%s (worker %s)", said["text"], said["worker"])

    client.subscribe_topic(TOPIC, hear)
    try:
        yield
    finally:
        with suppress(Exception):  # the scheduler may be gone, and that is told already
            client.unsubscribe_topic(TOPIC)


def _in_process(tasks: Sequence[Task], progress: Report) -> list[Any]:
    made = []
    # In a thread, so that a signal can stop the query a task is at.
    with ThreadPoolExecutor(1) as pool:
        for done, task in enumerate(tasks, 1):
            made.append(in_thread(pool, task))
            progress(done, len(tasks))
    return made
