"""Plans and outcomes as text: what a run would do, what it did, what changed, what it warns about.

Limit: of many changes only the largest are printed; the tables of the store hold all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from sli.calendar.duration import HOUR, MINUTE
from sli.calendar.grain import TUMBLING
from sli.calendar.interval import BEGINNING, Interval, difference, intersection, iso
from sli.command.idle import NOTHING_TO_DO
from sli.config.model import Config
from sli.logs.dated import week_text
from sli.planning.costs import Costs
from sli.planning.expected import Expected
from sli.planning.needs import CONFIRM, RECOMPUTE
from sli.planning.plan import Plan
from sli.planning.request import Backfill
from sli.planning.stages import Fill, Recompute, RollUp, Stage
from sli.planning.tasks import TaskSet, size_text
from sli.publishing.conflicts import Conflicts
from sli.reading.figures import (
    Row,
    change_text,
    counted,
    kept_value,
    largest_first,
    local,
    rows_of,
    slice_name,
    window_name,
)
from sli.slices import SliceBy
from sli.slis import Sli
from sli.slis.catalogue.drift import P_VALUES

if TYPE_CHECKING:
    import pandas as pd

    from sli.runs.backfill import BackfillOutcome, BackfillPlan
    from sli.runs.outcome import Outcome
    from sli.runs.preview import Kept

SHOWN = 8
"""Examples printed, and windows named, of many."""
MANY = 10_000
"""Predictions from which on a p-value says nothing: even 2 % of a standard deviation is a significant difference."""
IDS_A_SECOND = 100e6
"""How many entries of the index of ids a run scans in a second, about."""
OUTCOMES = "the outcomes of predictions (when labels came, and for which predictions), which this version of sli keeps"


def plan_lines(plan: Plan, config: Config) -> list[str]:
    """What `sli plan` prints, but for the lines of `expected_lines`."""
    older = " (older than what is published, so only the history changes)" if plan.older else ""
    lines = [f"as of {iso(plan.as_of)}{older}"]
    if plan.request.look_back is not None:
        lines.append(f"look back {plan.request.look_back / HOUR:g} hours from the newest published one")
    lines += plan.tables
    if plan.since > BEGINNING:
        lines.append(f"folders named by dates are listed from {week_text(plan.since)} on, and all of them once a day")
    if plan.migration is not None:
        lines.append(str(plan.migration))
    if replace(plan, migration=None).empty:
        return [*lines, NOTHING_TO_DO, *_left_lines(plan)]
    lines.append(_work_line(plan, counted(plan.task_count, "task")))
    for cause in plan.causes:
        files = f", {counted(len(cause.files), 'file')}" if cause.files else ""
        lines.append(f"  {cause.what}{files}: {_spans(cause.intervals)}")
    if plan.costs is not None:
        lines.append(_costs_line(plan.costs, _hours(plan)))
    lines += dict.fromkeys(line for stage in plan.stages for line in _stage_lines(plan, stage, config))
    if plan.rows_forever is not None:
        seconds = plan.rows_forever / IDS_A_SECOND
        about = f", about {seconds:,.1f} s and more with each run" if seconds >= 0.1 else ""
        rows = counted(plan.rows_forever, "row")
        lines.append(f"ids are looked up among all {rows} of both logs{about} (duplicates_within: forever)")
    return lines + _left_lines(plan)


def _stage_lines(plan: Plan, stage: Stage, config: Config) -> Iterator[str]:
    """How a stage matches rows, or which windows it rolls up and why."""
    if isinstance(stage, Recompute | Fill):
        yield _strategy_line(stage.task_set, config.id_columns)
    if isinstance(stage, RollUp):
        if stage.changed:
            names = ", ".join(grain.name for grain in config.all_grains)
            yield f"then roll up the windows ({names}) that contain any of {_spans(stage.changed)}"
        if plan.to_confirm:
            yield f"final hours to confirm, because new input may belong to them: {_spans(plan.to_confirm)}"
        if plan.new_series and not plan.from_scratch:
            yield f"new or changed SLIs: {', '.join(plan.new_series)}"
        yield from (f"compute only {name}: {_spans(intervals)}" for name, intervals in plan.to_fill.items())
        if plan.outcomes_to_fill:
            yield f"compute only {OUTCOMES}: {_spans(plan.outcomes_to_fill)}"
        if stage.newly_final:
            yield f"became final: windows that end in {_span(stage.newly_final)}"


def kept_lines(kept: Iterable[Kept]) -> list[str]:
    """How many of the rows to read exist for the config."""
    return [f"{one.key}.where keeps {f'{one.kept:,}' if one.kept else 'none'} of {one.rows:,} rows" for one in kept]


def expected_lines(expected: Expected, slice_sets: Sequence[SliceBy]) -> list[str]:
    """How many results a run will write at most, and how often it will call Python functions."""
    windows = f"about {counted(expected.windows, 'window')}"
    if slice_sets == ((),):
        lines = [f"{windows}, {expected.for_each_slice:,} results to compute"]
    else:
        lines = [
            f"{windows}, {expected.for_each_slice:,} results for each slice, at most {expected.results:,} in all, "
            "to compute"
        ]
    if expected.calls:
        names = ", ".join(expected.functions)
        lines.append(f"Python functions ({names}): at most {expected.calls:,} calls, bootstrap intervals included")
        lines.append(_calls_line(expected))
    return lines


def _calls_line(expected: Expected) -> str:
    """How long the calls of Python functions take."""
    each = expected.seconds_a_call
    if each is None:
        return "  how long they take is known after a run that makes some"
    one = f"{each * 1e6:,.0f} µs" if each < 1e-3 else f"{each:.2g} s"
    seconds = expected.calls * each
    whole = f"{max(1, seconds):,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
    return f"  they take at most {whole} of one core, at {one} a call as in the last runs"


def _work_line(plan: Plan, parts: str) -> str:
    """How many hours are recomputed or amended, and how much is read for it, in how many `parts`."""
    hours = f"{plan.tiles:,} of {plan.tiles_total:,} {_hours(plan)}"
    size = size_text(plan.bytes)
    if plan.new_rows is not None:
        return f"amend at most {hours} by {size} of new rows and the older rows with the same ids:"
    if not plan.task_sets:
        return f"no {_hours(plan)} to recompute: results follow from what is stored"
    return f"recompute {hours}, reading {size} in {parts}:"


def _costs_line(costs: Costs, hours: str) -> str:
    """Why tiles are amended or recomputed, where a run may do either."""
    other = "recompute" if costs.amends else "amend"
    least, most = sorted((costs.amend, costs.recompute))
    return f"  that takes about {least:,.1f} s of one core, to {other} these {hours} about {most:,.1f} s"


def _hours(plan: Plan) -> str:
    return "hours" if plan.tile == HOUR else "tiles"


def _strategy_line(task_set: TaskSet, id: str) -> str:
    """How rows with the same id are brought together, and why."""
    if task_set.shuffle:
        rounds = task_set.shuffle.rounds
        how = f"shuffle on {id}, {counted(task_set.task_count, 'partition')}{f' in {rounds} rounds' * (rounds > 1)}"
    else:
        how = f"co-located, {counted(task_set.task_count, 'task')}"
    return f"strategy: {how} ({task_set.estimate.reason})"


def _left_lines(plan: Plan) -> list[str]:
    """The work that a plan leaves, and the command for it."""
    lines = []
    if plan.held:
        first, last = plan.held[0].start, plan.held[-1].end
        lines.append(f"held: final hours that would change, which only a backfill does: {_spans(plan.held)}")
        lines.append(f"  to apply it: sli backfill CONFIG --start {iso(first)} --end {iso(last)}")
    if waiting := plan.left.of(RECOMPUTE, CONFIRM):
        lines.append(f"waiting for a run without a look-back: {_spans(waiting)}")
    for name, intervals in plan.lacking.items():
        lines += _lacking_lines(plan, name, intervals, f", or `sli backfill --sli {name}`")
    lines += _lacking_lines(plan, "the outcomes of predictions", difference(plan.outcomes_lacking, plan.held))
    if later := (plan.declared - plan.extent).slice_sets:
        slices = ", ".join(" x ".join(columns) or "all" for columns in later)
        lines.append(f"waiting for {_run_for_new_slices(plan)}: new slices ({slices})")
    for backfill in plan.backfills:
        lines.append(f"unfinished: the backfill of {_span(backfill.interval)}, done up to {iso(backfill.done)}")
        lines.append(f"  to continue it: {backfill.command}")
    return lines


def _run_for_new_slices(plan: Plan) -> str:
    """The run that computes the slices that a plan leaves."""
    if plan.held:
        return f"a run after the backfill of the held {_hours(plan)}"
    if plan.to_confirm:
        return f"a second run right after this one, which confirms final {_hours(plan)}"
    return "a run without a look-back"


def _lacking_lines(plan: Plan, what: str, tiles: Sequence[Interval], or_else: str = "") -> list[str]:
    """What tiles still lack, and the run that it waits for."""
    other = difference(tiles, plan.held)
    waits = {
        f"a run after the backfill of the held {_hours(plan)}": intersection(tiles, plan.held),
        f"a second run right after this one, which confirms these final {_hours(plan)}": intersection(
            other, plan.to_confirm
        ),
        f"a run without a look-back{or_else}": difference(other, plan.to_confirm),
    }
    return [f"waiting for {run}: {what} of {_spans(part)}" for run, part in waits.items() if part]


def _spans(intervals: Sequence[Interval]) -> str:
    """The first three intervals, to the minute, and how many more there are."""
    spans = ", ".join(_span(interval) for interval in intervals[:3])
    more = f" and {len(intervals) - 3} more" if len(intervals) > 3 else ""
    return spans + more if intervals else "no time"


def _span(interval: Interval) -> str:
    return f"{iso(interval.start // MINUTE * MINUTE)} .. {iso(-(-interval.end // MINUTE) * MINUTE)}"


def outcome_lines(outcome: Outcome, config: Config, began: float | None = None) -> list[str]:
    """What a run did: how many hours and results, why, and the largest changes.

    The time printed is the run's; with `began`, a time of the monotonic clock, all the time since then.
    """
    plan = outcome.plan
    if not outcome.published:
        done = NOTHING_TO_DO if plan.empty else "nothing changed: recomputed and found equal"
        return [f"{done} ({_seconds(outcome, began)})", *_left_lines(plan)]
    causes = outcome.changes.causes
    lines = [str(plan.migration)] if plan.migration is not None else []
    lines += [f"  {count:,} {cause}" for cause, count in causes.most_common()]
    if "first run" not in causes:
        lines += _change_lines(outcome.revised.to_pandas(), config, "revisions")
    if plan.outcomes_to_fill:
        lines.append(f"  added to stored {_hours(plan)}: {OUTCOMES}")
    lines += _p_value_lines(outcome, config.declared) + _left_lines(plan)
    # Computed last: its time includes the other lines, which take long if there are many changes.
    first = (
        f"published {outcome.run_id} in {_seconds(outcome, began)}: {outcome.tiles:,} of {plan.tiles_total:,} "
        f"{_hours(plan)} recomputed, {counted(outcome.changes.changed, 'result')} changed"
    )
    return [first, *lines]


def outcome_word(outcome: Outcome, warnings: Sequence[str]) -> str:
    """What a run did in two words, and how many warnings it has."""
    done = "published" if outcome.published else "nothing to do" if outcome.plan.empty else "nothing changed"
    return f"{done}, {counted(len(warnings), 'warning')}" if warnings else done


def _seconds(outcome: Outcome | BackfillOutcome, began: float | None) -> str:
    return f"{outcome.seconds if began is None else time.monotonic() - began:.1f} s"


def _p_value_lines(outcome: Outcome, slis: Sequence[Sli]) -> list[str]:
    """A warning for each p-value whose windows are too large for it."""
    lines = []
    for sli in slis:
        if sli.declaration.get("sli") in P_VALUES:
            of_sli = (rows.filter(pc.field("sli") == sli.name) for rows in outcome.changes.revised)
            largest = max((pc.max(rows.column("predictions")).as_py() or 0 for rows in of_sli), default=0)
            if largest >= MANY:
                lines.append(
                    f"{sli.name}: with {largest:,} predictions in a window even a tiny difference is significant; "
                    f"judge by {str(sli.declaration['sli']).removesuffix('_p')} instead"
                )
    return lines


def backfill_plan_lines(planned: BackfillPlan) -> list[str]:
    """The dry run of a backfill: its parts, its windows, and why each window is recomputed."""
    plan, config = planned.plan, planned.config
    lines = [_backfill_name(planned.backfill), *([str(plan.migration)] if plan.migration else [])]
    if planned.resumed:
        lines.append(f"continues where it was interrupted: done up to {iso(planned.backfill.done)}")
    if not planned.parts:
        lacking = ", ".join(planned.backfill.slis)
        done = f"nothing to do: no hour lacks {lacking}; leave out --sli to recompute everything"
        return [*lines, done, *_left_lines(plan)]
    lines.append(_work_line(plan, counted(len(planned.parts), "part")))
    lines += [f"  {number:>3}  {_span(part)}" for number, part in enumerate(planned.parts, 1)]
    lines.append("windows, and why:")
    for _, rows in planned.windows.groupby(["grain", "slis", "reason"], sort=False):
        grain, names, reason = rows[["grain", "slis", "reason"]].iloc[0]
        only = "" if len(names) == len(config.declared) else f" ({', '.join(names)})"
        until, times = _window_times(rows, config.timezone, grain)
        first, last = times[0], times[-1]
        span = f"{until}{first}" + f" .. {last}" * (first != last)
        lines.append(f"  {grain:<10} {len(rows):>7,}  {span}: {reason}{only}")
    return lines


def _window_times(rows: pd.DataFrame, timezone: str, grain: str) -> tuple[str, list[str]]:
    """The starts of the windows of a grain; or `until ` and their ends if they overlap. Sorted, without duplicates."""
    column = "window_start" if grain in TUMBLING else "window_end"
    times = [local(time, timezone, grain) for time in sorted(rows[column].unique())]
    return "" if grain in TUMBLING else "until ", times


def _backfill_name(backfill: Backfill) -> str:
    slis = f" of only {', '.join(backfill.slis)}" if backfill.slis else ""
    return f"backfill {backfill.id}{slis}: {_span(backfill.interval)}"


def part_line(number: int, parts: int, outcome: Outcome) -> str:
    """One line about a part of a backfill that is published."""
    part = outcome.plan.request.part
    matured = outcome.changes.causes["matured"]
    changed = f"{counted(outcome.changes.changed - matured, 'result')} changed"
    final = f", {matured:,} became final" if matured else ""
    return f"  {number:>3} of {parts}  {_span(part) if part else ''}: {changed}{final} ({outcome.seconds:.1f} s)"


def backfill_lines(outcome: BackfillOutcome, config: Config, began: float | None = None) -> list[str]:
    """What a backfill changed: how many results, why, and the largest changes from old value to new.

    The time printed is the backfill's; with `began`, a time of the monotonic clock, all the time since then.
    """
    changes = outcome.changes
    lines = [f"  {count:,} {cause}" for cause, count in changes.cause.value_counts().items()]
    lines += _change_lines(changes, config, "backfills")
    lines += _left_lines(outcome.runs[-1].plan) if outcome.runs else []
    done = f"{counted(len(changes), 'result')} changed" if len(changes) else "nothing changed"
    return [f"{_backfill_name(outcome.backfill)}: {done} ({_seconds(outcome, began)})", *lines]


def _change_lines(rows: pd.DataFrame, config: Config, table: str) -> list[str]:
    """The windows that changed, and the largest changes from old value to new."""
    rows = rows[(rows.change != "removed") & (rows.cause != "matured")]
    if rows.empty:
        return []
    lines = ["changed windows:"]
    for grain in config.all_grains:
        of_grain = rows[rows.grain == grain.name]
        if len(of_grain):
            until, times = _window_times(of_grain, config.timezone, grain.name)
            more = f" and {len(times) - SHOWN} more" if len(times) > SHOWN else ""
            lines.append(f"  {grain.name:<10} {until}{', '.join(times[:SHOWN])}{more}")
    return [*lines, *_largest_lines(rows, config, table)]


def _largest_lines(rows: pd.DataFrame, config: Config, table: str) -> list[str]:
    """The largest changes of values, equal ones in the order of the config; only of days if one of a day changed."""
    changed = rows[~kept_value(rows)]
    days = changed[changed.grain == "day"]
    shown = days if len(days) else changed
    places = {sli.name: place for place, sli in enumerate(config.declared)}
    examples = largest_first(shown.iloc[shown.sli.map(places).argsort(kind="stable")]).head(SHOWN)
    lines = [f"  {change_line(row, config)}" for row in rows_of(examples)]
    if changed.empty:
        lines.append("  no value changed, only other columns, for example coverage")
    if len(rows) > len(examples):
        lines.append(f"  all of them, the largest first: sli show CONFIG --table {table}")
    return lines


def change_line(row: Row, config: Config, same: str = "as before") -> str:
    """`day 2013-12-30 LGA, recall: 0.4386 -> 0.5 (late feedback)`; `same` says that the value did not change."""
    of = f"{row.grain} {window_name(row, config.timezone)} {slice_name(dict(row.slice))}, {row.sli}"
    return f"{of}: {change_text(row, config.units.get(row.sli, ''), same)} ({row.cause})"


def warning_lines(outcome: Outcome) -> list[str]:
    """Input set aside, logs without a usable row, rows in conflict, Python functions that failed."""
    lines = list(outcome.warnings)
    for row in outcome.newly_bad.to_pylist()[:SHOWN]:
        examples = f", for example {', '.join(row['samples'][:3])}" if row["samples"] else ""
        file = f" in {row['file']}" if row["file"] else ""
        rows = "rows unknown" if row["check"] == "unreadable" else counted(row["count"], "row")
        lines.append(f"set aside: {row['log']}, {row['check']}, {rows}{file}{examples}: {row['explanation']}")
    more = len(outcome.newly_bad) - SHOWN
    if more > 0:
        lines.append(f"... {more:,} more: sli show CONFIG --table audit")
    lines += [_conflict_line(conflicts) for conflicts in outcome.conflicts]
    return lines + [f"no value from {failure}" for failure in outcome.failing]


def _conflict_line(conflicts: Conflicts) -> str:
    """Which share of a log does not count because other rows have the same id, on which days, and what to do."""
    days = conflicts.days
    when = days[0] if len(days) == 1 else f"{len(days)} days ({days[0]} .. {days[-1]})"
    what, todo = {
        "predictions": (
            "share an id with a prediction of another value, and only one of them counts",
            "log each model to a folder of its own, with a config of its own, or make the ids unique",
        ),
        "feedback": (
            "came for the same prediction at the same time as another value, and only the greatest value counts",
            "log one value for each id and time",
        ),
    }[conflicts.log]
    share = f"{conflicts.share:.2g}" if conflicts.share < 0.01 else f"{conflicts.share:.1%}"
    return (
        f"in conflict: {conflicts.log}, {conflicts.conflicts:,} of {conflicts.rows:,} rows ({share}) of {when} {what}, "
        f"for example {', '.join(conflicts.samples[:3])}; {todo}, or raise `max_conflicts`"
    )
