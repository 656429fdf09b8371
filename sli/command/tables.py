"""What `show`, `query` and `slices` print: tables and, on a terminal, a plot.

Without a terminal (`width` is None) there is no plot and no text is cut. Limit: a table of results shows the `SLICES`
slices with the most predictions, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Protocol, TypedDict, cast

import numpy as np

from sli.calendar.grain import TUMBLING
from sli.command.grid import Column, columns, lines, shortened
from sli.command.plot import plot
from sli.config.model import Config
from sli.reading.figures import (
    Row,
    change_text,
    counted,
    interval_text,
    largest_first,
    local,
    number,
    rows_of,
    slice_name,
    window_name,
)
from sli.slices import OTHER, SliceBy
from sli.slis.formula import Unit

if TYPE_CHECKING:
    import pandas as pd

ROWS = 14
"""Windows, or rows, in a table, unless asked otherwise."""
SLICES = 20
"""Slices in a table."""
PLOT_WIDTH = 120


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of a frame for `--json`, with all digits; times as ISO 8601, NaN as None."""

    def plain(value: object) -> object:
        if hasattr(value, "isoformat"):
            return None if value != value else value.isoformat()
        if isinstance(value, float) and value != value:
            return None
        return value.tolist() if hasattr(value, "tolist") else value

    return [{str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def newest(frame: pd.DataFrame, windows: int) -> pd.DataFrame:
    """The rows of the newest windows."""
    ends = sorted(frame.window_end.unique())
    return frame[frame.window_end.isin(ends[max(0, len(ends) - windows) :])]


def result_lines(frame: pd.DataFrame, config: Config, slis: Sequence[str], rows: int, width: int | None) -> list[str]:
    """The plot of the first SLI and a table of all: a line for each window and slice, a column for each SLI."""
    slices = frame["slice"].map(slice_name).nunique()
    notes = [f"the {SLICES} largest of {slices:,} slices"] if slices > SLICES else []
    notes += _rest_note(frame, config.caps)
    if frame.objective.notna().any():
        notes.append("objective ok: met, !!: breached, ?: undecided")
    if (frame.error_bound > 0).any():
        notes.append(f"~: approximate, off by at most {frame.error_bound.max():.2g}")
    plot_lines = _plot_lines(frame, config.model, config.timezone, slis[0], width)
    return [*plot_lines, *lines(_values(frame, config, slis, rows), width, keys=2), *["; ".join(notes)] * bool(notes)]


def _plot_lines(frame: pd.DataFrame, model: str, timezone: str, sli: str, width: int | None) -> list[str]:
    return [] if width is None else plot(frame, model, timezone, sli, min(width, PLOT_WIDTH)).split("\n")


def _values(frame: pd.DataFrame, config: Config, slis: Sequence[str], rows: int) -> list[Column]:
    """One line for each window and slice, one column for each SLI, then coverage and maturity."""
    grain = str(frame.grain.iloc[0])
    names = ("window" if grain in TUMBLING else "until", "slice", *slis, "predictions", "coverage", "maturity")
    texts = []
    for _, group in newest(_largest(frame), rows).groupby(["window_end", "name"], sort=True):
        values = list(rows_of(group))
        first, by_sli = values[0], {row.sli: row for row in values}
        name = slice_name(first.slice)
        when = local(first.window_start if grain in TUMBLING else first.window_end, config.timezone, grain)
        cells = [_cell(by_sli.get(sli), config.units.get(sli, "")) for sli in slis]
        texts.append((when, name, *cells, f"{first.predictions:,}", f"{first.coverage:.1%}", first.maturity))
    return columns(names, texts, whole=names[:1], left=("slice", "maturity"))


def _largest(frame: pd.DataFrame) -> pd.DataFrame:
    """The `SLICES` slices with the most predictions; their texts are in a new column `name`."""
    frame = frame.assign(name=frame["slice"].map(slice_name))
    sizes = frame.groupby("name")["predictions"].sum().nlargest(SLICES)
    return frame[frame["name"].isin(sizes.index)]


def _cell(row: Row | None, unit: Unit) -> str:
    """A value with `~` before it if it is approximate, and the sign of its verdict after it."""
    if row is None:
        return ""
    sign = {"met": " ok", "breached": " !!", "undecided": " ?"}.get(row.verdict or "", "")
    unknown_error = np.isnan(row.error_bound) and not np.isnan(row.value)
    approximate = "~" if unknown_error or row.error_bound > 0 else ""
    return approximate + number(row.value, row.reason, unit) + sign


def changes(frame: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """Rows of `revisions` or `backfills`: the newest publication first, and the largest change of each first."""
    ordered = largest_first(frame).sort_values("sequence", ascending=False, kind="stable")
    return ordered if rows is None else ordered.head(rows)


def change_lines(frame: pd.DataFrame, config: Config, width: int | None) -> list[str]:
    """Rows of `revisions` or `backfills`, from old value to new."""
    publication = "run_id" if "run_id" in frame.columns else "backfill"
    names = ("window", "slice", "SLI", "change", "because", "coverage", "maturity", "as of", publication.split("_")[0])
    texts = [
        (
            f"{row.grain} {window_name(row, config.timezone)}",
            slice_name(dict(row.slice)),
            row.sli,
            change_text(row, config.units.get(row.sli, "")),
            row.cause,
            f"{row.coverage:.1%}",
            row.maturity,
            _instant(row.as_of),
            id,
        )
        for row, id in zip(rows_of(frame), frame[publication], strict=True)
    ]
    return lines(columns(names, texts, whole=("window", "change"), left=names), width, must=5)


def _instant(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ" if time.second == 0 else "%Y-%m-%dT%H:%M:%SZ")


class _RunRow(Protocol):
    """A row of `runs`: the columns that are printed."""

    as_of: pd.Timestamp
    tiles_recomputed: int
    results_changed: int
    seconds: float
    plan: str
    backfill: str | None
    run_id: str


def run_lines(frame: pd.DataFrame, width: int | None) -> list[str]:
    """Rows of `runs`: what each run recomputed and changed, and why."""
    names = ("as of", "tiles", "changed", "seconds", "because", "backfill", "run")
    texts = [
        (
            _instant(row.as_of),
            f"{row.tiles_recomputed:,}",
            f"{row.results_changed:,}",
            f"{row.seconds:.1f}",
            _causes(json.loads(row.plan)),
            row.backfill if isinstance(row.backfill, str) else "",
            row.run_id,
        )
        for row in cast("Iterable[_RunRow]", frame.itertuples())
    ]
    return lines(columns(names, texts, whole=names[:1], left=("because", "backfill", "run")), width, must=5)


class _Cause(TypedDict):
    what: str
    files: list[str]


class _StoredPlan(TypedDict, total=False):
    """What is printed of the plan that a row of `runs` holds as JSON."""

    causes: list[_Cause]
    new_series: list[str]


def _causes(plan: _StoredPlan) -> str:
    """Why a run computed what it did: `new feedback (2 files), asked`."""
    causes = []
    for cause in plan.get("causes", ()):
        files = f" ({counted(len(cause['files']), 'file')})" if cause["files"] else ""
        causes.append(f"{cause['what']}{files}")
    return ", ".join(causes or (["new SLIs", *plan["new_series"]] if plan.get("new_series") else []))


def audit_rows(audit: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """The rows of an audit with the largest counts, in their order."""
    if rows is None or len(audit) <= rows:
        return audit
    return audit.loc[audit["count"].sort_values(ascending=False, kind="stable").index[:rows]].sort_index()


class _AuditRow(Protocol):
    """Rows of one log, check and explanation: how many in all, the first file, how many files."""

    log: str
    check: str
    explanation: str
    rows: int
    file: str
    files: int


def audit_lines(audit: pd.DataFrame, rows: int | None = None, width: int | None = None) -> list[str]:
    """The audit, summed over files; the first file is named."""
    if audit.empty:
        return ["audit: nothing to report"]
    grouped = audit.groupby(["log", "check", "explanation"], sort=True)
    total = grouped.agg(count=("count", "sum"), file=("file", "first"), files=("file", "nunique")).reset_index()
    shown = audit_rows(total, rows).rename(columns={"count": "rows"})
    more = len(total) - len(shown)
    checks = []
    for row in cast("Iterable[_AuditRow]", shown.itertuples()):
        count = "rows unknown," if row.check == "unreadable" else f"{row.rows:,}"
        others = f" and {row.files - 1:,} more" if row.files > 1 else ""
        where = f" in {row.file.rpartition('/')[2]}{others}" if row.files else ""
        checks.append(f"  {row.log}: {count} {row.check}{where} ({row.explanation})")
    return ["audit:", *(shortened(line, width) for line in checks), *[f"  {more:,} more, of fewer rows"] * bool(more)]


def query_lines(frame: pd.DataFrame, config: Config, sli: str, rows: int, width: int | None) -> list[str]:
    """The plot of several windows, and a table of the newest with their intervals.

    `if labels arrive` is the range the value can still reach, depending on the missing labels.
    """
    plot_lines = _plot_lines(frame, config.model, config.timezone, sli, width) if frame.window_end.nunique() > 1 else []
    unit, interval = config.units.get(sli, ""), f"{config.level:.0%} interval"
    names = ("from", "until", "slice", sli, interval, "if labels arrive", "predictions", "coverage", "maturity")
    shown = newest(_largest(frame), rows).sort_values(["window_end", "name"], kind="stable")
    texts = []
    for row in rows_of(shown):
        complete = row.missing_low == row.missing_high == row.value
        texts.append(
            (
                local(row.window_start, config.timezone, "hour"),
                local(row.window_end, config.timezone, "hour"),
                slice_name(row.slice),
                _cell(row, unit),
                interval_text(row.ci_low, row.ci_high, unit),
                "" if complete else interval_text(row.missing_low, row.missing_high, unit),
                f"{row.predictions:,}",
                f"{row.coverage:.1%}",
                row.maturity,
            )
        )
    table = columns(names, texts, whole=names[:2], left=("slice", "maturity"))
    return [*plot_lines, *lines(table, width, keys=3), *_rest_note(frame, config.caps)[:1]]


def _rest_note(frame: pd.DataFrame, caps: Mapping[SliceBy, int]) -> list[str]:
    """What `(other)` means, if it is shown."""
    tops = {caps.get(tuple(slice), 0) for slice in frame["slice"] if OTHER in slice.values()} - {0}
    return [f"{OTHER}: all slices of a window but its {' or '.join(map(str, sorted(tops)))} largest"] if tops else []


class _SliceRow(Protocol):
    """A row of `compare_slices`: the columns that are printed."""

    slice: dict[str, str | None]
    value: float
    ci_low: float
    ci_high: float
    behind: float
    surely: float
    since: date | None
    labelled: int
    coverage: float


def slice_lines(frame: pd.DataFrame, config: Config, rows: int, width: int | None) -> list[str]:
    """The slices of `compare_slices`, the worst first, below the value of the whole."""
    first = frame.iloc[0]
    unit = config.units.get(first.sli, "")
    slices = counted(len(frame), "slice")
    head = f"{first.sli}: {number(first.whole, None, unit)} over all; {slices} with enough labels, worst first"
    names = ("slice", "value", "interval", "behind", "surely", "worse since", "labelled", "coverage")
    texts = []
    for row in cast("Iterable[_SliceRow]", frame.head(rows).itertuples()):
        slice = ", ".join(f"{column}={'null' if value is None else value}" for column, value in row.slice.items())
        interval = interval_text(row.ci_low, row.ci_high, unit)
        since = "" if row.since is None else row.since.isoformat()
        behind = (number(row.behind, None, unit), number(row.surely, None, unit), since)
        texts.append(
            (slice, number(row.value, None, unit), interval, *behind, f"{row.labelled:,}", f"{row.coverage:.1%}")
        )
    return [shortened(head, width), *lines(columns(names, texts, left=("slice",)), width, keys=1)]


def most_common(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """The most common values of each window and slice."""
    return frame.groupby([frame.window_start, frame.window_end, frame["slice"].map(str)], sort=False).head(rows)


def value_lines(frame: pd.DataFrame, config: Config, sli: str, rows: int, width: int | None) -> list[str]:
    """The most common values of the newest window, by slice."""
    frame = frame[frame.window_end == frame.window_end.max()]
    start, end = (local(frame[name].max(), config.timezone, "hour") for name in ("window_start", "window_end"))
    texts: list[tuple[str, ...]] = []
    for name, of_slice in frame.groupby(frame["slice"].map(slice_name), sort=True):
        total = int(of_slice["count"].sum())
        for value, count in of_slice[["value", "count"]].head(rows).itertuples(index=False):
            text = value if isinstance(value, str) else number(value, None, config.units.get(sli, ""))
            texts.append((str(name), text, f"{count:,}", f"{count / total:.1%}"))
        if len(of_slice) > rows:
            left = int(of_slice["count"].iloc[rows:].sum())
            texts.append((str(name), f"{len(of_slice) - rows:,} more", f"{left:,}", f"{left / total:.1%}"))
    table = columns(("slice", "value", "count", "share"), texts, left=("slice",))
    return [f"most common values, {start} .. {end}", *lines(table, width, keys=1)]
