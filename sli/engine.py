"""Dask: tasks run in this process, in local processes, or on a cluster; results come back in the order of the tasks.

Limit: a task is one function call; what it reads and how much memory that takes was decided by the plan.
"""

from __future__ import annotations

import importlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sli.config import Config, Scheduler, Workers
from sli.errors import EngineError

Task = Callable[[], Any]
Report = Callable[[int, int], None]

LOG = logging.getLogger("sli")
"""What tasks say while they work; records of tasks on a cluster arrive in this process."""
TOPIC = "sli-log"
PATIENCE = "10s"
"""How long to wait for a scheduler to answer."""
BASE = 512 << 20
"""Bytes of a worker process before and beside what the kernel counts: interpreter, libraries, a task's tables."""


def execute(config: Config, tasks: Sequence[Task], progress: Report) -> list[Any]:
    """Run tasks with Dask: in this process, or on the cluster the config names. Results in the order of the tasks.

    The first error of a task ends all of them and is raised as it is. Raises EngineError for a cluster that fails.
    """
    if isinstance(config.dask, Workers):
        with _local_cluster(config, min(config.dask.workers, max(1, len(tasks)))) as cluster:
            return _on_cluster(config, cluster, "dask: workers", tasks, progress)
    if isinstance(config.dask, Scheduler):
        place = config.dask.scheduler
        return _on_cluster(config, place, place, tasks, progress)
    return _in_process(config, tasks, progress)


def check_cluster(config: Config) -> None:
    """Raise EngineError within seconds where the scheduler the config names does not answer or has no worker."""
    if isinstance(config.dask, Scheduler):
        with _client(config.dask.scheduler) as client:
            _check_workers(client, config.dask.scheduler)


def worker_memory(config: Config) -> int:
    """Bytes at which a local worker process is killed.

    The kernel keeps to `task_memory` by spilling, so a process may grow somewhat beyond before it counts as astray.
    """
    return config.task_memory * 5 // 4 + BASE


def _local_cluster(config: Config, workers: int) -> Any:
    # A worker above a share of its limit could pause for good: memory that a task freed may stay with the process.
    settings = {f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause")}
    try:
        return _module("distributed").LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=worker_memory(config),
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any free port: without one it insists on 8787
            config=settings,
        )
    except (OSError, RuntimeError) as error:
        raise EngineError(
            "the local worker processes did not start",
            where=f"dask: {{workers: {workers}}}",
            found=str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__,
            todo="call sli under `if __name__ == '__main__':` in a script, or set `dask: in-process`",
        ) from error


def _on_cluster(config: Config, place: Any, where: str, tasks: Sequence[Task], progress: Report) -> list[Any]:
    """Results are fetched as they come: none waits in a worker's memory for the last."""
    distributed = _module("distributed")
    results: list[Any] = [None] * len(tasks)
    with _client(place) as client, _heard(client) as run:
        _check_workers(client, where)
        futures = [client.submit(_Forwarded(task, run), pure=False) for task in tasks]
        positions = {future.key: i for i, future in enumerate(futures)}
        try:
            for done, future in enumerate(distributed.as_completed(futures), 1):
                results[positions[future.key]] = future.result()
                future.release()
                progress(done, len(tasks))
        except distributed.KilledWorker as error:
            raise EngineError(
                "a task killed every worker process that tried it",
                where=where,
                found=f"{error.allowed_failures + 1} killed; memory limit of a task {config.task_memory >> 20} MiB",
                todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices",
                passes=True,
            ) from error
        except distributed.scheduler.NoValidWorkerError as error:
            raise _without_workers(where) from error
        except (CancelledError, distributed.comm.CommClosedError) as error:
            raise EngineError(
                "the Dask scheduler was lost",
                where=where,
                found=str(error)[:200],
                todo="run again once it is back, or set `dask: in-process`",
                passes=True,
            ) from error
    return results


@dataclass(frozen=True)
class _Forwarded:
    """A task on a worker whose log records are sent to the process of the run."""

    task: Task
    run: str

    def __call__(self) -> Any:
        handler = _ToScheduler(self.run)
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)
        try:
            return self.task()
        finally:
            LOG.removeHandler(handler)


class _ToScheduler(logging.Handler):
    """Sends what the thread that made it logs."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self.run, self.thread = run, threading.get_ident()
        self.worker = _module("distributed").get_worker()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            where = f"{self.worker.name}"
            said = {"run": self.run, "level": record.levelno, "text": record.getMessage(), "worker": where}
            self.worker.log_event(TOPIC, said)


@contextmanager
def _heard(client: Any) -> Iterator[str]:
    """Log here what the tasks of a run log on their workers; yields the run's name among others on the cluster."""
    run = uuid.uuid4().hex

    def hear(event: tuple[float, Any]) -> None:
        said = event[1]
        if said["run"] == run:
            LOG.log(said["level"], "%s (worker %s)", said["text"], said["worker"])

    client.subscribe_topic(TOPIC, hear)
    try:
        yield run
    finally:
        with suppress(Exception):  # the scheduler may be gone, and that is told already
            client.unsubscribe_topic(TOPIC)


def _check_workers(client: Any, where: str) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise _without_workers(where) from error


def _without_workers(where: str) -> EngineError:
    return EngineError(
        "the Dask scheduler has no workers",
        where=where,
        expected=f"one within {PATIENCE}",
        todo="start some, such as `dask worker ADDRESS`, or set `dask: in-process`",
        passes=True,
    )


def _client(place: Any) -> Any:
    try:
        if isinstance(place, str):
            # A client of an address that is none would linger, half made.
            _module("distributed.comm").resolve_address(place)
        return _module("distributed").Client(place, timeout=PATIENCE)
    except Exception as error:
        # Whatever a wrong address leads to: no connection, no such host, no address at all, another protocol.
        raise EngineError(
            "nobody answers at the Dask scheduler",
            where=str(place),
            found=str(error)[:200],
            todo="start it, or set `dask: in-process`",
            passes=True,
        ) from error


def _in_process(config: Config, tasks: Sequence[Task], progress: Report) -> list[Any]:
    dask, done = _module("dask"), 0

    def count(*_: Any) -> None:
        nonlocal done
        done += 1
        progress(min(done, len(tasks)), len(tasks))

    with _module("dask.callbacks").Callback(posttask=count):
        delayed = [dask.delayed(each, pure=False)() for each in tasks]
        return list(dask.compute(*delayed, scheduler="threads", num_workers=config.parallel))


def _module(name: str) -> Any:
    """A module of Dask, imported only where it is needed and without its partial types."""
    return importlib.import_module(name)
