"""Recompute an interval from the logs, part by part; or only show what that would do.

One flow run is one backfill. If it is cancelled or crashes, a run with the same parameters continues it.
"""

from __future__ import annotations

import functools
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

import sli
from flows.parameters import Backfill, check_parameters, provisional_name
from flows.sinks import send_to_sinks, tell_failure
from flows.telling import (
    Progress,
    best_effort,
    emit_breaches,
    emit_run,
    name_run,
    publish_report,
    show_outcome,
    show_text,
)
from flows.work import do_work, failed_state
from sli.calendar.interval import iso
from sli.command.text import backfill_lines, backfill_plan_lines, part_line, warning_lines
from sli.config.arguments import instant_of
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import SliError
from sli.masking import masked
from sli.planning.as_of import as_of_instant
from sli.runs.backfill import BackfillOutcome
from sli.runs.outcome import Outcome
from sli.runs.preview import check_reachable


@flow(name="backfill", flow_run_name=provisional_name, description=__doc__, validate_parameters=False)
def backfill(job: Backfill) -> State[Any]:
    """Recompute the hours of an interval from the logs, final ones too."""
    try:
        # Prefect would answer a typing error with a traceback, so it does not check the parameters.
        job = check_parameters(Backfill, job)
        config = load_config(job.config, job.settings)
        _name_run(config, job)
        check_reachable(config)
        arguments: dict[str, Any] = {"start": job.start, "end": job.end, "sli": job.sli, "chunk": job.chunk}
        if job.dry_run:
            return _dry_run(config, arguments)
    except SliError as error:
        return failed_state(error)
    progress = Progress(config)

    def part_done(number: int, parts: int, outcome: Outcome) -> None:
        get_run_logger().info(part_line(number, parts, outcome))
        with best_effort("the events of a part"):
            emit_run(config, outcome)
        progress.part_done(number, parts)

    work = functools.partial(sli.backfill, config, **arguments, progress=progress, done=part_done)
    outcome = do_work(config.model, work, progress)
    if isinstance(outcome, SliError):
        tell_failure(config, outcome)
        publish_report(config, outcome)
        return failed_state(outcome)
    publish_report(config)
    return _completed(config, outcome, progress)


def _name_run(config: Config, job: Backfill) -> None:
    only = f" of {', '.join(job.sli)}" if job.sli else ""
    dry = "dry run of a " * job.dry_run
    edges = (("start", job.start), ("end", job.end))
    span = " .. ".join(iso(instant_of(config.zone, name, time)) for name, time in edges)
    name_run(config.model, f"{dry}backfill {span}{only}", iso(_now(config)))


def _completed(config: Config, outcome: BackfillOutcome, progress: Progress) -> State[Any]:
    """Show what a backfill changed. Returns the state of its flow run."""
    not_sent = send_to_sinks(config, outcome.runs)
    try:
        lines = backfill_lines(outcome, config)
    except SliError as error:
        # Everything is published; only the changes cannot be read just now.
        return Completed(message=f"done, but what it changed cannot be read now: {error}")
    warnings = [*(line for run in outcome.runs for line in warning_lines(run)), *not_sent]
    # Not part by part: a window longer than a part may breach its objective only until the next part is published.
    emit_breaches(config, outcome.changes, _now(config))
    show_outcome(config, outcome.changes, lines, warnings, progress)
    return Completed(message="\n".join([lines[0], *warnings]))


def _now(config: Config) -> int:
    return as_of_instant(config.since_instant, config.zone, None)


def _dry_run(config: Config, arguments: dict[str, Any]) -> State[Any]:
    """Show the plan of a backfill as an artifact: the lines that the command prints."""
    planned = sli.plan_backfill(config, **arguments)
    lines = backfill_plan_lines(planned)
    get_run_logger().info(masked("\n".join(lines)))
    show_text(config.model, "backfill-plan", lines, lines[0])
    return Completed(message=lines[0])
