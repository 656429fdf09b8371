"""What `show --table`, `query` and `slices` print as tables, and rows for `--json`.

Without a terminal (`width` is None) no text is cut and nothing is drawn. Limit: on a terminal a table of `query` has
the `SLICES` slices with the most predictions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict

from sli.command.grid import columns, lines, shortened
from sli.command.results import newest, picture_lines, rest_note, value_cell
from sli.command.trends import SLICES
from sli.config.model import Config
from sli.reading.figures import (
    change_text,
    counted,
    full_slice_name,
    interval_text,
    largest_first,
    local,
    number,
    plain,
    rows_of,
    slice_name,
    window_name,
)

if TYPE_CHECKING:
    import pandas as pd

    from sli.judging.since_when import Since


def records(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The rows of a frame for `--json`, with all digits; times as ISO 8601, NaN as None."""
    return [{str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


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


RUN = ("as_of", "tiles_recomputed", "results_changed", "seconds", "plan", "backfill", "run_id")


def run_lines(frame: pd.DataFrame, width: int | None) -> list[str]:
    """Rows of `runs`: what each run recomputed and changed, and why."""
    names = ("as of", "tiles", "changed", "seconds", "because", "backfill", "run")
    texts = [
        (
            _instant(as_of),
            f"{tiles:,}",
            f"{changed:,}",
            f"{seconds:.1f}",
            _causes(json.loads(plan)),
            backfill if isinstance(backfill, str) else "",
            run_id,
        )
        for as_of, tiles, changed, seconds, plan, backfill, run_id in frame[list(RUN)].itertuples(index=False)
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


def audit_lines(audit: pd.DataFrame, rows: int | None = None, width: int | None = None) -> list[str]:
    """The audit, summed over files; the first file is named."""
    if audit.empty:
        return ["audit: nothing to report"]
    grouped = audit.groupby(["log", "check", "explanation"], sort=True)
    total = grouped.agg(count=("count", "sum"), file=("file", "first"), files=("file", "nunique")).reset_index()
    shown = audit_rows(total, rows)
    more = len(total) - len(shown)
    checks = []
    for log, check, explanation, count, file, files in shown.itertuples(index=False):
        counted_rows = "rows unknown," if check == "unreadable" else f"{count:,}"
        others = f" and {files - 1:,} more" if files > 1 else ""
        where = f" in {file.rpartition('/')[2]}{others}" if files else ""
        checks.append(f"  {log}: {counted_rows} {check}{where} ({explanation})")
    return ["audit:", *(shortened(line, width) for line in checks), *[f"  {more:,} more, of fewer rows"] * bool(more)]


def query_lines(frame: pd.DataFrame, config: Config, sli: str, rows: int, width: int | None) -> list[str]:
    """A picture of several windows, and a table of the newest with their intervals.

    `if labels arrive` is the range the value can still reach, depending on the missing labels.
    """
    several = width is not None and frame.window_end.nunique() > 1
    picture = [*picture_lines(frame, config, sli, width), ""] if several and width is not None else []
    interval, unit = f"{config.level * 100:g}% interval", config.units.get(sli, "")
    names = ("from", "until", "slice", sli, interval, "if labels arrive", "predictions", "coverage", "maturity")
    frame = frame.assign(name=frame["slice"].map(slice_name))
    largest = frame.groupby("name")["predictions"].sum().nlargest(SLICES).index
    shown = frame if width is None else frame[frame["name"].isin(largest)]
    texts = []
    for row in rows_of(newest(shown, rows).sort_values(["window_end", "name"], kind="stable")):
        complete = row.missing_low == row.missing_high == row.value
        texts.append(
            (
                local(row.window_start, config.timezone, "hour"),
                local(row.window_end, config.timezone, "hour"),
                slice_name(row.slice),
                value_cell(row, unit),
                interval_text(row.ci_low, row.ci_high, unit),
                "" if complete else interval_text(row.missing_low, row.missing_high, unit),
                f"{row.predictions:,}",
                f"{row.coverage:.1%}",
                row.maturity,
            )
        )
    table = columns(names, texts, whole=names[:2], left=("slice", "maturity"))
    return [*picture, *lines(table, width, keys=3), *rest_note(frame, config.caps)]


def slice_lines(frame: pd.DataFrame, whole: Since, config: Config, rows: int, width: int | None) -> list[str]:
    """The slices of `compare_slices`, the worst first, below the value of the whole and since when that is worse."""
    first = frame.iloc[0]
    unit = config.units.get(first.sli, "")
    slices = counted(len(frame), "slice")
    since = f"worse since {whole.first_day}" if whole.first_day else "no lasting worsening found"
    since = since if whole.baseline else "since when it is worse cannot be said"
    head = f"{first.sli}: {number(first.whole, None, unit)} over all, {since}; {slices} with enough labels, worst first"
    names = ("slice", "value", "interval", "behind", "surely", "worse since", "labelled", "coverage")
    texts = []
    shown = frame.head(rows)
    for row, row_behind, surely, day, worsened in zip(
        rows_of(shown), shown.behind, shown.surely, shown.since, shown.worsened, strict=True
    ):
        interval = interval_text(row.ci_low, row.ci_high, unit)
        since = "-" if worsened is None else "no" if day is None else day.isoformat()
        behind = (number(row_behind, None, unit), number(surely, None, unit), since)
        texts.append(
            (
                full_slice_name(row.slice),
                number(row.value, None, unit),
                interval,
                *behind,
                f"{row.labelled:,}",
                f"{row.coverage:.1%}",
            )
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
