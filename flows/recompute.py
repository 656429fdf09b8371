"""The scheduled run, hourly or nightly: bring the tables up to date with the logs.

It recomputes all that is stale, not only the hour it was scheduled for: so the next run catches up on a missed one, and
a run too many does nothing.
"""

from __future__ import annotations

import functools
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.parameters import Recompute, check_parameters, provisional_name
from flows.telling import Progress, best_effort, emit_breaches, emit_run, name_run, show_changes, show_latest
from flows.work import do_work, failed_state
from sli import run
from sli.command.text import outcome_lines, warning_lines
from sli.config.load import load_config
from sli.errors import SliError
from sli.masking import masked
from sli.planning.as_of import as_of_instant
from sli.runs.preview import check_reachable


@flow(name="recompute", flow_run_name=provisional_name, description=__doc__, validate_parameters=False)
def recompute(job: Recompute) -> State[Any]:
    """Bring the tables up to date with the logs, as known now or at `as_of`."""
    try:
        # Prefect would answer a typing error with a traceback, so it does not check the parameters.
        job = check_parameters(Recompute, job)
        config = load_config(job.config, job.settings)
        interval = f"last {job.look_back}" if job.look_back else "all that is stale"
        name_run(config, interval, as_of_instant(config.since_instant, config.zone, job.as_of))
        check_reachable(config)
    except SliError as error:
        return failed_state(error)
    progress = Progress(config)
    work = functools.partial(run, config, as_of=job.as_of, look_back=job.look_back, progress=progress)
    outcome = do_work(work, progress)
    if isinstance(outcome, SliError):
        return failed_state(outcome)
    # The run may have waited for another one, and then its as_of is later than its start.
    name_run(config, interval, outcome.plan.as_of)
    changes = outcome.revised.to_pandas()
    emit_run(config, outcome)
    if not outcome.plan.older:
        emit_breaches(config, changes, outcome.plan.as_of)
    lines = outcome_lines(outcome, config.declared, config.all_grains, config.timezone)
    warnings = warning_lines(outcome)
    log = get_run_logger()
    log.info(masked("\n".join(lines)))
    for line in warnings:
        log.warning(masked(line))
    with best_effort("the outcome"):
        show_changes(config, changes, lines[0])
        show_latest(config, [*lines, *warnings])
    progress.finish()
    return Completed(message=masked("\n".join([lines[0], *warnings])))
