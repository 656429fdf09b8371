"""What `show`, `query` and `slices` print: the tables of the store, and plots, for a terminal or a pipe.

Without a terminal (`width` None) there is no plot and every value is whole. Limit: a table of results holds the slices
with the most predictions, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.calendar.grain import TUMBLING
from sli.command.figures import change_text, largest_first, local, number, window_name
from sli.command.grid import Column, columns, lines, shortened
from sli.command.plot import plot, slice_name
from sli.config.model import Config
from sli.slices import OTHER

if TYPE_CHECKING:
    import pandas as pd

ROWS = 14
"""Windows, or rows, in a table."""
SLICES = 20
"""Slices in a table."""
PLOT_WIDTH = 120


def newest(frame: pd.DataFrame, windows: int) -> pd.DataFrame:
    """The rows of the newest windows."""
    ends = sorted(frame.window_end.unique())
    return frame[frame.window_end.isin(ends[max(0, len(ends) - windows) :])]


def results(frame: pd.DataFrame, config: Config, slis: Sequence[str], rows: int, width: int | None) -> list[str]:
    """The plot of the first SLI and the table of all: a line a window and slice, a column an SLI."""
    slices = frame["slice"].map(slice_name).nunique()
    marks = [f"the {SLICES} largest of {slices:,} slices"] if slices > SLICES else []
    marks += _rest(frame, config)
    if frame.objective.notna().any():
        marks.append("objective ok: met, !!: breached, ?: undecided")
    if (frame.error_bound > 0).any():
        marks.append(f"~: approximate, off by at most {frame.error_bound.max():.2g}")
    drawn = _plotted(frame, config, slis[0], width)
    return [*drawn, *lines(_values(frame, config, slis, rows), width, keys=2), *["; ".join(marks)] * bool(marks)]


def _plotted(frame: pd.DataFrame, config: Config, sli: str, width: int | None) -> list[str]:
    return [] if width is None else plot(frame, config, sli, min(width, PLOT_WIDTH)).split("\n")


def _values(frame: pd.DataFrame, config: Config, slis: Sequence[str], rows: int) -> list[Column]:
    """One line a window and slice, one column an SLI, then coverage and maturity."""
    grain = str(frame.grain.iloc[0])
    names = ("window" if grain in TUMBLING else "until", "slice", *slis, "predictions", "coverage", "maturity")
    texts = []
    at: Any
    for at, group in newest(_largest(frame), rows).groupby(["window_end", "name"], sort=True):
        end, name = at
        first = group.iloc[0]
        of_sli = {row.sli: row for row in group.itertuples()}
        when = local(first.window_start if grain in TUMBLING else end, config, grain)
        cells = [_cell(of_sli.get(each)) for each in slis]
        texts.append((when, name, *cells, f"{first.predictions:,}", f"{first.coverage:.1%}", first.maturity))
    return columns(names, texts, whole=names[:1], left=("slice", "maturity"))


def _largest(frame: pd.DataFrame) -> pd.DataFrame:
    """The slices with the most predictions, as many as a table can show, by `name`."""
    frame = frame.assign(name=frame["slice"].map(slice_name))
    sizes = frame.groupby("name")["predictions"].sum().nlargest(SLICES)
    return frame[frame["name"].isin(sizes.index)]


def _cell(row: Any) -> str:
    if row is None:
        return ""
    mark = {"met": " ok", "breached": " !!", "undecided": " ?"}.get(row.verdict or "", "")
    unknown = np.isnan(row.error_bound) and not np.isnan(row.value)
    about = "~" if unknown or row.error_bound > 0 else ""
    return about + number(row.value, row.reason) + mark


def changes(frame: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """Rows of `revisions` or `backfills`: the newest publication first, in each the largest change first."""
    ordered = largest_first(frame).sort_values("sequence", ascending=False, kind="stable")
    return ordered if rows is None else ordered.head(rows)


def change_lines(frame: pd.DataFrame, config: Config, width: int | None) -> list[str]:
    """Rows of `revisions` or `backfills`, from old value to new."""
    by = "backfill" if "run_id" not in frame.columns else "run_id"
    names = ("window", "slice", "SLI", "change", "because", "coverage", "maturity", "as of", by.split("_")[0])
    rows: Any = frame
    texts = [
        (
            f"{row.grain} {window_name(row, config)}",
            slice_name(dict(row.slice)),
            row.sli,
            change_text(row),
            row.cause,
            f"{row.coverage:.1%}",
            row.maturity,
            _instant(row.as_of),
            getattr(row, by),
        )
        for row in rows.itertuples()
    ]
    return lines(columns(names, texts, whole=("window", "change"), left=names), width, must=5)


def _instant(at: pd.Timestamp) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ" if at.second == 0 else "%Y-%m-%dT%H:%M:%SZ")


def run_lines(frame: pd.DataFrame, width: int | None) -> list[str]:
    """Rows of `runs`: what each was to do, in words, and what it did."""
    names = ("as of", "tiles", "changed", "seconds", "because", "backfill", "run")
    rows: Any = frame
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
        for row in rows.itertuples()
    ]
    return lines(columns(names, texts, whole=names[:1], left=("because", "backfill", "run")), width, must=5)


def _causes(plan: dict[str, Any]) -> str:
    """Why a run computed what it did: `new feedback (2 files), asked`."""
    told = []
    for cause in plan.get("causes", ()):
        files = len(cause["files"])
        told.append(cause["what"] + (f" ({files:,} file{'s' * (files != 1)})" if files else ""))
    return ", ".join(told) or ", ".join(["new SLIs", *plan["new_series"]] if plan.get("new_series") else [])


def audit_rows(audit: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    """The rows of an audit with the largest counts."""
    if rows is None or len(audit) <= rows:
        return audit
    return audit.loc[audit["count"].sort_values(ascending=False, kind="stable").index[:rows]].sort_index()


def audit_lines(audit: pd.DataFrame, rows: int | None = None, width: int | None = None) -> list[str]:
    """The standing audit, summed over files, of which the first is named."""
    if audit.empty:
        return ["audit: nothing to report"]
    grouped = audit.groupby(["log", "check", "explanation"], sort=True)
    total = grouped.agg(count=("count", "sum"), file=("file", "first"), files=("file", "nunique")).reset_index()
    shown: Any = audit_rows(total, rows).rename(columns={"count": "count_"})
    more = len(total) - len(shown)
    told = []
    for row in shown.itertuples():
        count = "rows unknown," if row.check == "unreadable" else f"{row.count_:,}"
        others = f" and {row.files - 1:,} more" if row.files > 1 else ""
        where = f" in {row.file.rpartition('/')[2]}{others}" if row.files else ""
        told.append(f"  {row.log}: {count} {row.check}{where} ({row.explanation})")
    return ["audit:", *(shortened(line, width) for line in told), *[f"  {more:,} more, of fewer rows"] * bool(more)]


def query(frame: pd.DataFrame, config: Config, sli: str, rows: int, width: int | None) -> list[str]:
    """The plot of several windows, and a table with intervals and worst cases of the newest."""
    drawn = _plotted(frame, config, sli, width) if frame.window_end.nunique() > 1 else []
    interval = f"{config.level:.0%} interval"
    names = ("from", "until", "slice", sli, interval, "if labels arrive", "predictions", "coverage", "maturity")
    texts = []
    shown: Any = newest(_largest(frame), rows).sort_values(["window_end", "name"], kind="stable")
    for row in shown.itertuples():
        settled = row.missing_low == row.missing_high == row.value
        texts.append(
            (
                local(row.window_start, config, "hour"),
                local(row.window_end, config, "hour"),
                row.name,
                _cell(row),
                _range(row.ci_low, row.ci_high),
                "" if settled else _range(row.missing_low, row.missing_high),
                f"{row.predictions:,}",
                f"{row.coverage:.1%}",
                row.maturity,
            )
        )
    table = columns(names, texts, whole=names[:2], left=("slice", "maturity"))
    return [*drawn, *lines(table, width, keys=3), *_rest(frame, config)[:1]]


def _rest(frame: pd.DataFrame, config: Config) -> list[str]:
    """What `(other)` is, where it is shown."""
    tops = {config.caps.get(tuple(each), 0) for each in frame["slice"] if OTHER in each.values()} - {0}
    return [f"{OTHER}: all slices of a window but its {' or '.join(map(str, sorted(tops)))} largest"] if tops else []


def _range(low: float, high: float) -> str:
    return "" if np.isnan(low) and np.isnan(high) else f"{number(low)} .. {number(high)}"


def slices(frame: pd.DataFrame, rows: int, width: int | None) -> list[str]:
    """The worst slices beside the whole."""
    first = frame.iloc[0]
    head = f"{first.sli}: {number(first.whole)} over all; {len(frame):,} slices with enough labels, worst first"
    names = ("slice", "value", "interval", "behind", "surely", "labelled", "coverage")
    texts = []
    shown: Any = frame.head(rows)
    for row in shown.itertuples():
        named = ", ".join(f"{column}={'null' if value is None else value}" for column, value in row.slice.items())
        interval = _range(row.ci_low, row.ci_high)
        behind = (number(row.behind), number(row.surely))
        texts.append((named, number(row.value), interval, *behind, f"{row.labelled:,}", f"{row.coverage:.1%}"))
    return [shortened(head, width), *lines(columns(names, texts, left=("slice",)), width, keys=1)]


def most_common(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Of each window and slice the most common values."""
    return frame.groupby([frame.window_start, frame.window_end, frame["slice"].map(str)], sort=False).head(rows)


def values(frame: pd.DataFrame, config: Config, rows: int, width: int | None) -> list[str]:
    """The most common values of the newest window, by slice."""
    mine = frame[frame.window_end == frame.window_end.max()]
    start, end = (local(mine[name].max(), config, "hour") for name in ("window_start", "window_end"))
    texts: list[tuple[str, ...]] = []
    for name, found in mine.groupby(mine["slice"].map(slice_name), sort=True):
        total = int(found["count"].sum())
        for value, count in found[["value", "count"]].head(rows).itertuples(index=False):
            text = value if isinstance(value, str) else number(value)
            texts.append((str(name), text, f"{count:,}", f"{count / total:.1%}"))
        if len(found) > rows:
            left = int(found["count"].iloc[rows:].sum())
            texts.append((str(name), f"{len(found) - rows:,} more", f"{left:,}", f"{left / total:.1%}"))
    table = columns(("slice", "value", "count", "share"), texts, left=("slice",))
    return [f"most common values, {start} .. {end}", *lines(table, width, keys=1)]
