"""The work of a flow as one Prefect task, retried only if that can help.

Limit: to Prefect the whole work is one unit; the store keeps how far a backfill has come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from prefect import Task, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import FailedRun
from prefect.states import Failed

from flows.telling import Progress, forward_logs
from sli.errors import SliError

RETRIES = 2
DELAYS: list[float] = [10, 60]
"""Seconds before each further try."""
Result = TypeVar("Result")


def may_pass(attempted: Task[..., object], run: TaskRun, state: State[object]) -> bool:  # noqa: ARG001
    """Whether a retry may help, because storage, a worker or a scheduler was away."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SliError) and error.passes


@task(name="work", retries=RETRIES, retry_delay_seconds=DELAYS, retry_condition_fn=may_pass, persist_result=False)
def attempt(job: Callable[[], Result]) -> Result | SliError:
    """Do the work. An error that a retry cannot help is returned, so the flow ends with its message alone."""
    try:
        return job()
    except SliError as error:
        if error.passes:
            raise
        return error


def do_work(model: str, job: Callable[[], Result], progress: Progress) -> Result | SliError:
    """Do the work as a task that shows its log and progress. Returns the result, or the error it ended with."""
    with forward_logs():
        try:
            result = attempt.with_options(task_run_name=model.replace("{", "(").replace("}", ")"))(job)
        except SliError as error:
            result = error
    if isinstance(result, SliError):
        progress.fail(result.what)
    return result


def failed_state(error: SliError) -> State[None]:
    """The state of a flow run that failed; its message says what to do."""
    for name in ("prefect.engine", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(_without_traceback)
    return Failed(message=str(error))


def _without_traceback(record: logging.LogRecord) -> bool:
    """Leave out the engine's traceback for a failed state that the flow returned on purpose."""
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))
