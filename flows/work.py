"""The work of a flow as one Prefect task, tried again only if that can help.

Limit: to Prefect the whole work is one unit; how far a backfill has come is kept in the store.
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
    """Whether trying again may help, because storage, a worker or a scheduler was away."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SliError) and error.passes


@task(name="work", retries=RETRIES, retry_delay_seconds=DELAYS, retry_condition_fn=passes, persist_result=False)
def attempt(job: Callable[[], Result]) -> Result | SliError:
    """Do the work. An error that will not pass is returned, so that the flow ends with its message and no traceback."""
    try:
        return job()
    except SliError as error:
        if error.passes:
            raise
        return error


def worked(job: Callable[[], Result], progress: Progress) -> Result | SliError:
    """Do the work as a task, with its log and its progress. Returns the result, or the error it ended with."""
    with heard():
        try:
            result = attempt(job)
        except SliError as error:
            result = error
    if isinstance(result, SliError):
        progress.fail(result.what)
    return result


def refused(error: SliError) -> State[None]:
    """The state of a flow run that failed; its message says what to do."""
    for name in ("prefect.engine", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(_without_traceback)
    return Failed(message=str(error))


def _without_traceback(record: logging.LogRecord) -> bool:
    """Leave out the engine's traceback for a failed state that the flow returned on purpose."""
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))
