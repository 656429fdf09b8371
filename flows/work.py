"""The heavy part of a flow as one Prefect task, tried again only where that can help.

Limit: the task's Dask graph is one unit to Prefect; which chunk of a backfill it has reached is known to the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import FailedRun
from prefect.states import Failed

from flows.telling import Progress, heard
from sli.errors import SliError

RETRIES = 2
DELAYS: list[float] = [10, 60]
"""Seconds before each further try."""
Result = TypeVar("Result")


def passes(tried: Task[..., object], run: TaskRun, state: State[object]) -> bool:  # noqa: ARG001
    """Whether trying again may help: storage, a worker or a scheduler was away."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SliError) and error.passes


@task(name="work", retries=RETRIES, retry_delay_seconds=DELAYS, retry_condition_fn=passes, persist_result=False)
def attempt(job: Callable[[], Result]) -> Result | SliError:
    """Do it. An error that will not pass is a value, not a crash: the flow ends with its message and no traceback."""
    try:
        return job()
    except SliError as error:
        if error.passes:
            raise
        return error


def worked(job: Callable[[], Result], progress: Progress) -> Result | SliError:
    """The result of a job as a task, or the error it ended with; what it logs is heard, its progress has an end."""
    with heard():
        try:
            found = attempt(job)
        except SliError as error:
            found = error
    if isinstance(found, SliError):
        progress.fail(found.what)
    return found


def refused(error: SliError) -> State[None]:
    """The state of a flow run that could not do its work: the message says what to do."""
    for name in ("prefect.engine", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(_told_already)
    return Failed(message=str(error))


def _told_already(record: logging.LogRecord) -> bool:
    """Leave out the engine's own traceback of a state that was returned on purpose."""
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))
