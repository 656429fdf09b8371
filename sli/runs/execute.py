"""The stages of a plan, executed one after another.

Limit: what a stage finds out may only narrow what the later stages of its plan do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from sli.calendar.interval import Interval
from sli.planning.plan import Plan
from sli.planning.stages import Amend, Fill, Recompute, RollUp, Stage, Write
from sli.publishing.audit import audit_rows, current_audit, newly_bad, newly_late, same_audit, unsliced_rows
from sli.publishing.commit import Staged, commit, next_idle, next_state
from sli.publishing.files_seen import files_seen
from sli.publishing.thinning import cut_of
from sli.runs.amended import amend_tiles
from sli.runs.hour_tiles import fill_tiles, known_before, recompute_tiles
from sli.runs.known import Known, Work, step
from sli.runs.outcome import Outcome, nothing_counts_warnings
from sli.runs.windows import roll_up_windows
from sli.schemas import UTC


def executed(work: Work, outcome: Outcome, plan_with: Callable[[list[Interval]], Plan]) -> Known:
    """What is known once all stages of the plan of an outcome are executed.

    `plan_with` plans again with what is found out before the stages. Files that no commit named are removed at the end.
    Raises SliError.
    """
    try:
        known = known_before(work, outcome, plan_with)
        for number in range(len(known.plan.stages)):
            known = _execute(work, known.plan.stages[number], known)
        return known
    finally:
        work.transaction.discard_all()


def _execute(work: Work, stage: Stage, known: Known) -> Known:
    """What is known once a stage is executed, too."""
    match stage:
        case Recompute():
            return recompute_tiles(work, stage, known)
        case Amend():
            return amend_tiles(work, stage, known)
        case Fill():
            return fill_tiles(work, stage, known)
        case RollUp():
            return roll_up_windows(work, stage, known)
        case Write():
            return write_tables(work, known)


def write_tables(work: Work, known: Known) -> Known:
    """Write what the stages before computed, if anything changed. Raises ConflictError, StoreError."""
    config, transaction, plan, outcome = work.config, work.transaction, known.plan, known.outcome
    audit = _audit(work, known)
    before = transaction.rows("audit", only=current_audit(transaction.published))
    anew = plan.migration is not None or "inputs" not in transaction.versions
    staged = Staged(
        changes=outcome.changes,
        tiles=None if known.hours is None else known.hours.written,
        days=None if known.days is None else known.days.written,
        touched=known.touched,
        index=work.ids.new_rows(),
        forgotten=work.ids.forgotten,
        audit=audit,
        same_audit=same_audit(audit, before),
        files_seen=files_seen(config, work.inputs, work.seen, anew),
        idle=next_idle(config, plan, work.inputs, known.newest),
        history_from=_history_from(work, plan),
    )
    with step(work.progress, "writing"):
        state = next_state(config, transaction, plan, known.newest, work.ids.hash)
        published = commit(transaction, plan, staged, state, work.began)
    outcome = replace(
        outcome,
        published=published,
        audit=audit,
        newly_bad=newly_bad(audit, before),
        newly_late=newly_late(audit, before),
        warnings=outcome.warnings + nothing_counts_warnings(config, known.audit_days, audit),
    )
    return replace(known, outcome=outcome)


def _history_from(work: Work, plan: Plan) -> int | None:
    """Since when revisions stay, in the first run of a month: each time the whole table is read."""
    config, before = work.config, work.transaction.published
    months = [config.zone.date(as_of).replace(day=1) for as_of in (before.as_of, plan.as_of)] if before else []
    if len(set(months)) < 2:
        return None
    return cut_of(plan.as_of, config.stored.history)


def _audit(work: Work, known: Known) -> pa.Table:
    predictions = work.inputs.predictions
    rows = audit_rows(known.audit_days, work.inputs.files.audited, unsliced_rows(work.unsliced, predictions))
    run_id = pa.array([known.plan.run_id] * len(rows), pa.string())
    as_of = pa.array([known.plan.as_of] * len(rows), pa.int64()).cast(UTC)
    return rows.append_column("run_id", run_id).append_column("as_of", as_of)
