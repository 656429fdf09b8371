"""Plans and outcomes in words: what a run would do, what it did, what changed, what it warns of.

Limit: examples of many are the largest; all of them are in the tables.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import HOUR, MINUTE
from sli.calendar.grain import TUMBLING
from sli.calendar.interval import Interval, iso, union
from sli.command.figures import change_text, kept_value, largest_first, local, window_name
from sli.command.plot import slice_name
from sli.config.model import Config
from sli.planning.expected import Expected
from sli.planning.plan import Plan
from sli.planning.request import Backfill
from sli.planning.tasks import Job, size_text
from sli.publishing.conflicts import Conflicts
from sli.runs.backfill import BackfillOutcome, BackfillPlan
from sli.runs.outcome import Outcome
from sli.slis.catalogue.drift import P_VALUES

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 8
"""Examples shown of many."""
MANY = 10_000
"""Predictions from which on a p-value says nothing: differences of 2 % of a standard deviation are significant."""
NAMED = 8
"""Windows named of many."""


def plan_lines(plan: Plan, config: Config) -> list[str]:
    """The plan in words."""
    older = " (older than what is published: only the history gains rows)" if plan.older else ""
    lines = [f"as of {iso(plan.as_of)}{older}"]
    if plan.request.look_back is not None:
        lines.append(f"looking back {plan.request.look_back / HOUR:g} hours from the newest published one")
    if plan.migration is not None:
        lines.append(str(plan.migration))
    if replace(plan, migration=None).empty:
        return [*lines, "nothing to do: the tables are up to date with the logs", *_waiting(plan)]
    lines.append(_work(plan))
    for cause in plan.causes:
        files = f", {len(cause.files):,} file{'s' * (len(cause.files) != 1)}" if cause.files else ""
        lines.append(f"  {cause.what}{files}: {_spans(cause.intervals)}")
    lines += dict.fromkeys(_strategy(job, config) for job in plan.jobs)
    if plan.pairs:
        grains = ", ".join(grain.name for grain in config.all_grains)
        lines.append(f"then roll up the windows ({grains}) that hold any of {_spans(plan.pairs)}")
    if plan.checked:
        lines.append(f"final hours to check, since the input might belong to them: {_spans(plan.checked)}")
    if plan.fresh_series and not plan.from_scratch:
        lines.append(f"new or changed: {', '.join(plan.fresh_series)}")
    lines += [f"compute {name} alone: {_spans(where)}" for name, where in plan.filled.items()]
    if plan.matured and not plan.from_scratch:
        lines.append(f"became final: windows that end in {_span(plan.matured)}")
    return lines + _waiting(plan)


def expected_lines(found: Expected, config: Config) -> list[str]:
    """How much a run will write, and how often it will call Python functions, in words."""
    windows = f"{_many(found.windows, 'window')}, {found.for_each_slice:,} results"
    if config.slice_sets == ((),):
        lines = [f"about {windows} to compute"]
    else:
        lines = [f"about {windows} for each slice, up to {found.results:,} in all, to compute"]
    if found.calls:
        named = ", ".join(found.functions)
        lines.append(
            f"Python functions ({named}): up to {found.calls:,} calls, those of bootstrap intervals among them"
        )
    return lines


def _work(plan: Plan) -> str:
    """How much is done, and how."""
    hours = f"{plan.tiles:,} of {plan.tiles_total:,} {'hours' if plan.tile == HOUR else 'tiles'}"
    size = size_text(plan.bytes)
    if plan.news is not None:
        return f"amend at most {hours} by {size} of new rows, and by older rows of the same ids:"
    return f"recompute {hours}, reading {size} in {_many(sum(job.tasks for job in plan.jobs), 'task')}:"


def _strategy(job: Job, config: Config) -> str:
    """How the rows of an id are brought together, and why."""
    if job.shuffle:
        how = f"shuffle on {config.predictions.id}, {_many(job.tasks, 'partition')}"
    else:
        how = f"co-located, {_many(job.tasks, 'task')}"
    return f"strategy: {how} ({job.estimate.reason})"


def _waiting(plan: Plan) -> list[str]:
    lines = []
    if plan.held:
        first, last = plan.held[0].start, plan.held[-1].end
        lines.append(f"held: input came for hours that are final, so it changed nothing: {_spans(plan.held)}")
        lines.append(f"  to apply it: sli backfill CONFIG --start {iso(first)} --end {iso(last)}")
    if plan.pending or plan.unchecked:
        lines.append(f"left for a run without limits: {_spans(union([*plan.pending, *plan.unchecked]))}")
    for name, where in plan.lacking.items():
        lines.append(f"left for a run without limits, or `sli backfill --sli {name}`: {name} of {_spans(where)}")
    for each in plan.backfills:
        slis = "".join(f" --sli {name}" for name in each.slis)
        asked = f"--start {iso(each.interval.start)} --end {iso(each.interval.end)}{slis}"
        lines.append(f"unfinished: a backfill of {_span(each.interval)}, done up to {iso(each.done)}")
        lines.append(f"  to finish it: sli backfill CONFIG {asked}")
    return lines


def _spans(intervals: Sequence[Interval]) -> str:
    """Stretches of time, to the minute."""
    shown = ", ".join(_span(each) for each in intervals[:3])
    more = f" and {len(intervals) - 3} more" if len(intervals) > 3 else ""
    return shown + more if intervals else "no time"


def _span(each: Interval) -> str:
    return f"{iso(each.start // MINUTE * MINUTE)} .. {iso(-(-each.end // MINUTE) * MINUTE)}"


def outcome_lines(outcome: Outcome, config: Config, began: float | None = None) -> list[str]:
    """What a run did: how many of how many, why, and the largest changes by name.

    The time told is the run's; with `began`, by the monotonic clock, all the time since then.
    """
    plan = outcome.plan
    if not outcome.published:
        done = (
            "nothing to do: the tables are up to date with the logs"
            if plan.empty
            else "nothing changed: recomputed and found equal"
        )
        return [f"{done} ({_seconds(outcome, began)})", *_waiting(plan)]
    rows, causes = outcome.changes.revised, outcome.changes.counts("cause")
    lines = [str(plan.migration)] if plan.migration is not None else []
    lines += [f"  {count:,} {cause}" for cause, count in causes.most_common()]
    if "first run" not in causes:
        lines += _revisions(outcome.revised.to_pandas(), config, "revisions")
    lines += _p_values(rows, config) + _waiting(plan)
    # Last, since to tell of many changes takes its time, too.
    head = (
        f"published {outcome.run_id} in {_seconds(outcome, began)}: {plan.tiles:,} of {plan.tiles_total:,} "
        f"{'hours' if plan.tile == HOUR else 'tiles'} recomputed, {len(rows):,} results revised"
    )
    return [head, *lines]


def _seconds(outcome: Outcome | BackfillOutcome, began: float | None) -> str:
    return f"{outcome.seconds if began is None else time.monotonic() - began:.1f} s"


def _p_values(rows: pa.Table, config: Config) -> list[str]:
    """A warning for each p-value that windows are too large for."""
    lines = []
    for each in config.declared:
        if each.declaration.get("sli") in P_VALUES:
            mine = rows.select(["sli", "predictions"]).filter(pc.field("sli") == each.name)
            largest = pc.max(mine.column("predictions")).as_py() or 0
            if largest >= MANY:
                lines.append(
                    f"{each.name}: with {largest:,} predictions in a window any difference is significant; "
                    f"judge by {each.declaration['sli'].removesuffix('_p')}"
                )
    return lines


def backfill_plan_lines(chosen: BackfillPlan, config: Config) -> list[str]:
    """The dry run of a backfill in words: its chunks, its windows and why each is recomputed."""
    plan = chosen.plan
    lines = [_backfill_name(chosen.backfill), *([str(plan.migration)] if plan.migration else [])]
    if chosen.resumed:
        lines.append(f"continues where it was interrupted: done up to {iso(chosen.backfill.done)}")
    if not chosen.chunks:
        complete = ", ".join(chosen.backfill.slis)
        todo = "leave --sli out to recompute all of it"
        return [*lines, f"nothing to do: {complete} lacks no hour there; {todo}", *_waiting(plan)]
    hours = "hours" if plan.tile == HOUR else "tiles"
    size = f"reading {size_text(plan.bytes)}"
    lines.append(
        f"recompute {plan.tiles:,} of {plan.tiles_total:,} {hours}, {size}, in {_many(len(chosen.chunks), 'chunk')}:"
    )
    lines += [f"  {number:>3}  {_span(each)}" for number, each in enumerate(chosen.chunks, 1)]
    lines.append("windows, and why:")
    group: Any
    for group, rows in chosen.windows.groupby(["grain", "slis", "reason"], sort=False):
        grain, slis, reason = group
        column = "window_start" if grain in TUMBLING else "window_end"
        first, last = (local(each, config, grain) for each in (rows[column].min(), rows[column].max()))
        until = "" if column == "window_start" else "until "
        span = f"{until}{first}" + f" .. {last}" * (first != last)
        only = "" if len(slis) == len(config.declared) else f" ({', '.join(slis)})"
        lines.append(f"  {grain:<10} {len(rows):>7,}  {span}: {reason}{only}")
    return lines


def _backfill_name(backfill: Backfill) -> str:
    slis = f" of {', '.join(backfill.slis)} alone" if backfill.slis else ""
    return f"backfill {backfill.id}{slis}: {_span(backfill.interval)}"


def chunk_line(number: int, of: int, outcome: Outcome) -> str:
    """One chunk of a backfill that is done."""
    asked = outcome.plan.request.chunk
    matured = outcome.changes.counts("cause")["matured"]
    what = f"{_many(len(outcome.changes.revised) - matured, 'result')} revised" + f", {matured:,} became final" * bool(
        matured
    )
    return f"  {number:>3} of {of}  {_span(asked) if asked else ''}: {what} ({outcome.seconds:.1f} s)"


def backfill_lines(outcome: BackfillOutcome, config: Config, began: float | None = None) -> list[str]:
    """What a backfill changed: how many results, why, and the largest changes from old value to new.

    The time told is the backfill's; with `began`, by the monotonic clock, all the time since then.
    """
    changes = outcome.changes
    lines = [f"  {count:,} {cause}" for cause, count in changes.cause.value_counts().items()]
    lines += _revisions(changes, config, "backfills")
    lines += _waiting(outcome.runs[-1].plan) if outcome.runs else []
    done = f"{_many(len(changes), 'result')} changed" if len(changes) else "nothing changed"
    return [f"{_backfill_name(outcome.backfill)}: {done} ({_seconds(outcome, began)})", *lines]


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' * (count != 1)}"


def _revisions(rows: pd.DataFrame, config: Config, table: str) -> list[str]:
    """The windows that changed, by name, and the largest changes from old value to new."""
    rows = rows[(rows.change != "removed") & (rows.cause != "matured")]
    if rows.empty:
        return []
    lines = ["changed windows:"]
    for grain in config.all_grains:
        mine = rows[rows.grain == grain.name]
        if len(mine):
            column = "window_start" if grain.name in TUMBLING else "window_end"
            names = [local(each, config, grain.name) for each in sorted(mine[column].unique())]
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lines.append(
                f"  {grain.name:<10} {'' if column == 'window_start' else 'until '}{', '.join(names[:NAMED])}{more}"
            )
    return [*lines, *_largest(rows, config, table)]


def _largest(rows: pd.DataFrame, config: Config, table: str) -> list[str]:
    """The largest changes of values from old to new, of days if any day changed."""
    moved = rows[~kept_value(rows)]
    days = moved[moved.grain == "day"]
    examples: Any = largest_first(days if len(days) else moved).head(SHOWN)
    lines = [
        f"  {row.grain} {window_name(row, config)} {slice_name(dict(row.slice))}, {row.sli}: "
        f"{change_text(row)} ({row.cause})"
        for row in examples.itertuples()
    ]
    if moved.empty:
        lines.append("  no value among them: only coverage, intervals or verdicts")
    if len(rows) > len(examples):
        lines.append(f"  all of them, the largest first: sli show CONFIG --table {table}")
    return lines


def warning_lines(outcome: Outcome) -> list[str]:
    """Bad input that this run set aside, a log that says nothing, rows in conflict, Python functions that failed."""
    lines = list(outcome.warnings)
    for row in outcome.newly_bad.to_pylist()[:SHOWN]:
        samples = f", such as {', '.join(row['samples'][:3])}" if row["samples"] else ""
        where = f" in {row['file']}" if row["file"] else ""
        rows = "rows unknown" if row["check"] == "unreadable" else f"{row['count']:,} row{'s' * (row['count'] != 1)}"
        lines.append(f"set aside: {row['log']}, {row['check']}, {rows}{where}{samples}: {row['explanation']}")
    more = len(outcome.newly_bad) - SHOWN
    if more > 0:
        lines.append(f"... {more:,} more: sli show CONFIG --table audit")
    lines += [_conflict_line(each) for each in outcome.conflicts]
    return lines + [f"no value from {each}" for each in outcome.failing]


def _conflict_line(found: Conflicts) -> str:
    """How large a share of a log lost to rows of the same id, where, and what to do."""
    days = found.days[0] if len(found.days) == 1 else f"{len(found.days)} days ({found.days[0]} .. {found.days[-1]})"
    what, todo = {
        "predictions": (
            "share an id with another prediction of another value, so only one of them counts",
            "log one model a folder with a config each, or make the ids unique",
        ),
        "feedback": (
            "came for the same prediction at the same time as another value, so only the greatest counts",
            "log one value for each id and time",
        ),
    }[found.log]
    share = f"{found.share:.2g}" if found.share < 0.01 else f"{found.share:.1%}"
    return (
        f"in conflict: {found.log}, {found.conflicts:,} of {found.rows:,} rows ({share}) of {days} {what}, "
        f"such as {', '.join(found.samples[:3])}; {todo}, or raise `max_conflicts`"
    )
