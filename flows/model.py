"""One model brought up to date with its logs, as a task, and shown.

Limit: what is shown may be missing where the Prefect server is away; the tables are complete all the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from flows.parameters import Recompute
from flows.sinks import send_to_sinks, tell_failure
from flows.telling import Progress, emit_breaches, emit_run, publish_report, show_outcome
from flows.work import do_work
from sli import run
from sli.command.text import outcome_lines, warning_lines
from sli.config.model import Config
from sli.errors import SliError
from sli.runs.outcome import Outcome
from sli.runs.preview import check_reachable


@dataclass(frozen=True)
class Recomputed:
    """What a run did, in words."""

    outcome: Outcome
    first_line: str
    warnings: list[str]


def recompute_model(config: Config, job: Recompute) -> Recomputed:
    """Run, show what changed, and publish the page; it tells of a failure too. Raises SliError."""
    try:
        recomputed = _recompute(config, job)
    except Exception as error:
        tell_failure(config, error)
        publish_report(config, error)
        raise
    publish_report(config)
    return recomputed


def _recompute(config: Config, job: Recompute) -> Recomputed:
    check_reachable(config)
    progress = Progress(config)
    work = functools.partial(
        run, config, as_of=job.as_of, look_back=job.look_back, full_listing=job.full_listing, progress=progress
    )
    outcome = do_work(config.model, work, progress)
    if isinstance(outcome, SliError):
        raise outcome
    changes = outcome.revised.to_pandas()
    emit_run(config, outcome)
    if not outcome.plan.older:
        emit_breaches(config, changes, outcome.plan.as_of)
    lines = outcome_lines(outcome, config)
    warnings = [*warning_lines(outcome), *send_to_sinks(config, [outcome])]
    show_outcome(config, changes, lines, warnings, progress)
    return Recomputed(outcome, lines[0], warnings)
