"""What people see in a terminal: plans, outcomes, tables and plots of results.

Limit: a plot shows one SLI over one grain; slices are its lines, coverage its second panel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.backfill import BackfillOutcome, BackfillPlan
from sli.chunks import Job, size_text
from sli.config import Config
from sli.expected import Expected
from sli.intervals import HOUR, MINUTE, Interval, iso, union
from sli.plan import Plan
from sli.plot import plot, slice_name
from sli.recompute import Outcome
from sli.request import Backfill
from sli.slices import OTHER
from sli.slis.drift import P_VALUES
from sli.windows import TUMBLING

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 8
"""Examples shown of many."""
SLICES = 20
"""Slices in a table."""
MANY = 10_000
"""Predictions from which on a p-value says nothing: differences of 2 % of a standard deviation are significant."""
NAMED = 8
"""Windows named of many."""


def local(at: pd.Timestamp, config: Config, grain: str) -> str:
    """A window's time in the config's zone: a date for days, with the hour otherwise."""
    here = at.tz_convert(config.timezone)
    return here.strftime("%Y-%m-%d" if grain == "day" or (here.hour == 0 and here.minute == 0) else "%Y-%m-%d %H:%M")


def number(value: float | None, reason: str | None = None) -> str:
    """A value to four significant digits, or why there is none."""
    if value is None or np.isnan(value):
        return f"- ({reason})" if reason else "-"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def plan_lines(plan: Plan, config: Config) -> list[str]:
    """The plan in words."""
    older = " (older than what is published: only the history gains rows)" if plan.older else ""
    lines = [f"as of {iso(plan.as_of)}{older}"]
    if plan.request.look_back is not None:
        lines.append(f"looking back {plan.request.look_back / HOUR:g} hours from the newest published one")
    if plan.empty:
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


def outcome_lines(outcome: Outcome, config: Config) -> list[str]:
    """What a run did: how many of how many, why, and the first changes by name."""
    plan = outcome.plan
    if not outcome.published:
        done = (
            "nothing to do: the tables are up to date with the logs"
            if plan.empty
            else "nothing changed: recomputed and found equal"
        )
        return [f"{done} ({outcome.seconds:.1f} s)", *_waiting(plan)]
    rows, causes = outcome.changes.revised, outcome.changes.counts("cause")
    lines = [
        f"published {outcome.run_id} in {outcome.seconds:.1f} s: {plan.tiles:,} of {plan.tiles_total:,} "
        f"{'hours' if plan.tile == HOUR else 'tiles'} recomputed, {len(rows):,} results revised"
    ]
    lines += [f"  {count:,} {cause}" for cause, count in causes.most_common()]
    if "first run" not in causes:
        lines += _revisions(outcome.revised.to_pandas(), config, "revisions")
    return lines + _p_values(rows, config) + _waiting(plan)


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
    lines = [_backfill_name(chosen.backfill)]
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


def backfill_lines(outcome: BackfillOutcome, config: Config) -> list[str]:
    """What a backfill changed: how many results, why, and the first of them from old value to new."""
    changes = outcome.changes
    done = f"{_many(len(changes), 'result')} changed" if len(changes) else "nothing changed"
    lines = [f"{_backfill_name(outcome.backfill)}: {done} ({outcome.seconds:.1f} s)"]
    lines += [f"  {count:,} {cause}" for cause, count in changes.cause.value_counts().items()]
    lines += _revisions(changes, config, "backfills")
    return lines + (_waiting(outcome.runs[-1].plan) if outcome.runs else [])


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'s' * (count != 1)}"


def _revisions(rows: pd.DataFrame, config: Config, table: str) -> list[str]:
    """The windows that changed, by name, and some changes from old value to new."""
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
    examples = rows[rows.grain == "day"] if (rows.grain == "day").any() else rows
    row: Any
    for row in examples.head(SHOWN).itertuples():
        when = local(row.window_start if row.grain in TUMBLING else row.window_end, config, row.grain)
        change = f"{number(row.old_value)} -> {number(row.value, row.reason)}"
        lines.append(f"  {row.grain} {when} {slice_name(dict(row.slice))}, {row.sli}: {change} ({row.cause})")
    if len(rows) > min(SHOWN, len(examples)):
        lines.append(f"  all of them: sli show CONFIG --table {table}")
    return lines


def warning_lines(outcome: Outcome) -> list[str]:
    """Bad input that this run set aside, and Python functions that failed."""
    lines = []
    for row in outcome.newly_bad.to_pylist()[:SHOWN]:
        samples = f", such as {', '.join(row['samples'][:3])}" if row["samples"] else ""
        where = f" in {row['file']}" if row["file"] else ""
        rows = "rows unknown" if row["check"] == "unreadable" else f"{row['count']:,} row{'s' * (row['count'] != 1)}"
        lines.append(f"set aside: {row['log']}, {row['check']}, {rows}{where}{samples}: {row['explanation']}")
    more = len(outcome.newly_bad) - SHOWN
    if more > 0:
        lines.append(f"... {more:,} more: sli show CONFIG --table audit")
    return lines + [f"no value from {each}" for each in outcome.failing]


def audit_lines(audit: pd.DataFrame) -> list[str]:
    """The standing audit, summed over files."""
    if audit.empty:
        return ["audit: nothing to report"]
    total = audit.groupby(["log", "check", "explanation"], sort=True)["count"].sum().reset_index()
    return ["audit:"] + [
        f"  {row.log}: {row.count_:,} {row.check} ({row.explanation})"
        for row in total.rename(columns={"count": "count_"}).itertuples()
    ]


def results_table(frame: pd.DataFrame, config: Config, slis: Iterable[str], rows: int) -> Any:
    """A rich table: one line a window and slice, one column an SLI, then coverage and maturity; the newest windows."""
    from rich.table import Table

    slis = list(slis)
    grain = str(frame.grain.iloc[0])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("window" if grain in TUMBLING else "until", "slice"):
        table.add_column(name, no_wrap=True)
    for name in [*slis, "predictions", "coverage"]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("maturity", no_wrap=True)
    frame = _largest(frame.assign(name=frame["slice"].map(slice_name)))
    ends = sorted(frame.window_end.unique())[-rows:]
    at: Any
    for at, group in frame[frame.window_end.isin(ends)].groupby(["window_end", "name"], sort=True):
        end, name = at
        first = group.iloc[0]
        values = {row.sli: row for row in group.itertuples()}
        cells = [_cell(values.get(each)) for each in slis]
        when = first.window_start if grain in TUMBLING else end
        table.add_row(
            local(when, config, grain), name, *cells, f"{first.predictions:,}", f"{first.coverage:.1%}", first.maturity
        )
    return table


def _largest(frame: pd.DataFrame) -> pd.DataFrame:
    """The slices with the most predictions, as many as a table can show."""
    sizes = frame.groupby("name")["predictions"].sum().nlargest(SLICES)
    return frame[frame["name"].isin(sizes.index)]


def _cell(row: Any) -> str:
    if row is None:
        return ""
    mark = {"met": " ok", "breached": " !!", "undecided": " ?"}.get(row.verdict or "", "")
    unknown = np.isnan(row.error_bound) and not np.isnan(row.value)
    about = "~" if unknown or row.error_bound > 0 else ""
    return about + number(row.value, row.reason) + mark


def show(frame: pd.DataFrame, config: Config, slis: Sequence[str], rows: int) -> None:
    """Print the plot of the first SLI and the table of all."""
    from rich.console import Console

    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    print(plot(frame, config, slis[0], min(console.width, 120)))
    console.print(results_table(frame, config, slis, rows))
    slices = frame["slice"].map(slice_name).nunique()
    marks = [f"the {SLICES} largest of {slices:,} slices"] if slices > SLICES else []
    marks += _rest(frame, config)
    if frame.objective.notna().any():
        marks.append("objective ok: met, !!: breached, ?: undecided")
    if (frame.error_bound > 0).any():
        marks.append(f"~: approximate, off by at most {frame.error_bound.max():.2g}")
    if marks:
        console.print("; ".join(marks))


def show_query(frame: pd.DataFrame, config: Config, sli: str, rows: int) -> None:
    """Print the plot of several windows, and a table with intervals and worst cases of the newest."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    ends = sorted(frame.window_end.unique())
    if len(ends) > 1:
        print(plot(frame, config, sli, min(console.width, 120)))
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = ("from", "until", "slice", sli, f"{config.level:.0%} interval", "whatever is missing", "predictions")
    for name in (*names, "coverage", "maturity"):
        numeric = name not in ("from", "until", "slice", "maturity")
        table.add_column(name, no_wrap=True, justify="right" if numeric else "left")
    shown: Any = _largest(frame[frame.window_end.isin(ends[-rows:])].assign(name=frame["slice"].map(slice_name)))
    for row in shown.sort_values(["window_end", "name"], kind="stable").itertuples():
        open_ended = row.missing_low < row.value or row.missing_high > row.value
        table.add_row(
            local(row.window_start, config, "hour"),
            local(row.window_end, config, "hour"),
            row.name,
            _cell(row),
            _range(row.ci_low, row.ci_high),
            _range(row.missing_low, row.missing_high) if open_ended else "",
            f"{row.predictions:,}",
            f"{row.coverage:.1%}",
            row.maturity,
        )
    console.print(table)
    if marks := _rest(frame, config):
        console.print(marks[0])


def _rest(frame: pd.DataFrame, config: Config) -> list[str]:
    """What `(other)` is, where it is shown."""
    tops = {config.caps.get(tuple(each), 0) for each in frame["slice"] if OTHER in each.values()} - {0}
    return [f"{OTHER}: all slices of a window but its {' or '.join(map(str, sorted(tops)))} largest"] if tops else []


def _range(low: float, high: float) -> str:
    return "" if np.isnan(low) and np.isnan(high) else f"{number(low)} .. {number(high)}"


def show_slices(frame: pd.DataFrame, rows: int) -> None:
    """Print the worst slices beside the whole."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    first = frame.iloc[0]
    console.print(f"{first.sli}: {number(first.whole)} over all; {len(frame):,} slices with enough labels, worst first")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("slice", "value", "interval", "behind", "surely", "labelled", "coverage"):
        table.add_column(name, no_wrap=True, justify="left" if name == "slice" else "right")
    shown: Any = frame.head(rows)
    for row in shown.itertuples():
        named = ", ".join(f"{column}={'null' if value is None else value}" for column, value in row.slice.items())
        table.add_row(
            named,
            number(row.value),
            _range(row.ci_low, row.ci_high),
            number(row.behind),
            number(row.surely),
            f"{row.labelled:,}",
            f"{row.coverage:.1%}",
        )
    console.print(table)


def show_values(frame: pd.DataFrame, config: Config, rows: int) -> None:
    """Print the most common values of the newest window, by slice."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if Console().is_terminal else 160)
    newest = frame[frame.window_end == frame.window_end.max()]
    start, end = (local(newest[name].max(), config, "hour") for name in ("window_start", "window_end"))
    console.print(f"most common values, {start} .. {end}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("slice", "value", "count", "share"):
        table.add_column(name, no_wrap=True, justify="left" if name == "slice" else "right")
    for name, values in newest.groupby(newest["slice"].map(slice_name), sort=True):
        total = int(values["count"].sum())
        for value, count in values[["value", "count"]].head(rows).itertuples(index=False):
            text = value if isinstance(value, str) else number(value)
            table.add_row(str(name), text, f"{count:,}", f"{count / total:.1%}")
        if len(values) > rows:
            left = int(values["count"].iloc[rows:].sum())
            table.add_row(str(name), f"{len(values) - rows:,} more", f"{left:,}", f"{left / total:.1%}")
    console.print(table)
