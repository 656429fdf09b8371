"""Dask: tasks run in this process, in local processes, or on a cluster; results come back in the order of the tasks.

Limit: a task is one function call; what it reads and how much memory that takes was decided by the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sli.config import Config, Scheduler, Workers
from sli.errors import EngineError

Task = Callable[[], Any]
Report = Callable[[int, int], None]


def execute(config: Config, tasks: Sequence[Task], progress: Report) -> list[Any]:
    """Run tasks with Dask: in this process, or on the cluster the config names. Results in the order of the tasks."""
    if not isinstance(config.dask, Workers | Scheduler):
        return _in_process(config, tasks, progress)
    from distributed import Client, LocalCluster, as_completed

    if isinstance(config.dask, Workers):
        place: Any = LocalCluster(n_workers=config.dask.workers, threads_per_worker=1, dashboard_address=None)
    else:
        place = config.dask.scheduler
    try:
        client = Client(place, timeout="10s")
    except (OSError, TimeoutError) as error:
        raise EngineError(
            "nobody answers at the Dask scheduler",
            where=str(place),
            found=str(error)[:200],
            todo="start it, or set `dask: in-process`",
        ) from error
    with client:
        futures = [client.submit(each, pure=False) for each in tasks]
        for done, _ in enumerate(as_completed(futures), 1):
            progress(done, len(tasks))
        found = client.gather(futures)
    if isinstance(config.dask, Workers):
        place.close()
    return list(found)


def _in_process(config: Config, tasks: Sequence[Task], progress: Report) -> list[Any]:
    import dask
    from dask.callbacks import Callback

    done = 0

    class Count(Callback):
        def _posttask(self, *_: Any) -> None:
            nonlocal done
            done += 1
            progress(min(done, len(tasks)), len(tasks))

    with Count():
        return list(
            dask.compute(
                *[dask.delayed(each, pure=False)() for each in tasks], scheduler="threads", num_workers=config.parallel
            )
        )
