"""The first view of `sli show`: a row for each slice, or SLI, with its trend, its newest value and what to think of it.

Limit: of many slices the worst and the largest are shown; the trend is of the newest windows that have room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sli.command.chart import LEVELS, columns_of
from sli.command.grid import GAP, Column, columns, lines, needed
from sli.command.output import red
from sli.reading.figures import Row, interval_text, local, number, rows_of
from sli.slis.formula import Better, Unit

if TYPE_CHECKING:
    import pandas as pd

SLICES = 20
"""Slices shown: half of them the worst, the others the largest."""
SHORTEST, TREND = 8, 40
"""Fewest and most windows of a trend."""


@dataclass(frozen=True)
class Trend:
    """The rows of one slice or SLI, in the order of their windows; `name` is what its line is called."""

    name: str
    rows: tuple[Row, ...]

    @property
    def newest(self) -> Row:
        return self.rows[-1]


def trends(frame: pd.DataFrame, by: str = "name") -> list[Trend]:
    """A trend for each slice (or SLI) of a grain, by a column of the frame."""
    ordered = frame.sort_values(["window_end", "window_start"], kind="stable")
    # Rows one by one take long: only those of the windows that a trend may have, and the newest of each.
    ends = np.sort(ordered.window_end.unique())[-TREND:]
    ordered = ordered[ordered.window_end.isin(ends) | ~ordered.duplicated(by, keep="last")]
    groups: dict[str, list[Row]] = {}
    for name, row in zip(ordered[by], rows_of(ordered), strict=True):
        groups.setdefault(str(name), []).append(row)
    return [Trend(name, tuple(groups[name])) for name in sorted(groups)]


def worst_first(shown: Sequence[Trend], better: Better | None) -> list[Trend]:
    """Breached ones first, then by how bad the value surely is: the better end of its interval; else the largest."""

    def badness(trend: Trend) -> tuple[bool, bool, float, int]:
        row = trend.newest
        end = row.ci_high if better == "higher" else row.ci_low
        value = row.value if np.isnan(end) else end
        surely = value if better == "higher" else -value
        none = better is None or bool(np.isnan(row.value))
        return row.verdict != "breached", none, 0.0 if none else surely, -row.predictions

    return sorted(shown, key=badness)


def chosen(shown: Sequence[Trend], better: Better | None) -> list[Trend]:
    """At most `SLICES` of them, in the order of `worst_first`: the worst, and of the others the largest."""
    ordered = worst_first(shown, better)
    if len(ordered) <= SLICES:
        return ordered
    worst = ordered[: SLICES // 2 if better else 0]
    largest = sorted(ordered[len(worst) :], key=lambda trend: -sum(row.predictions for row in trend.rows))
    kept = {trend.name for trend in [*worst, *largest[: SLICES - len(worst)]]}
    return [trend for trend in ordered if trend.name in kept]


def sparks_of(shown: Sequence[Trend], most: int, *, one_scale: bool) -> list[str]:
    """The values of each over the same windows, the newest ones, as blocks; a blank where there is none."""
    windows = series(shown, most)
    together = [value for values in windows for value in values]
    return [spark(values, together if one_scale else values) for values in windows]


def spark(values: Sequence[float], scale: Sequence[float]) -> str:
    """Values as blocks on the scale of the finite ones in `scale`; in the middle where all are equal."""
    known = [value for value in scale if np.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    top = len(LEVELS) - 1

    def block(value: float) -> str:
        if not np.isfinite(value):
            return " "
        # Halves, since the distance of the largest doubles is no double.
        return LEVELS[round((value / 2 - low / 2) / (high / 2 - low / 2) * top) if high > low else top // 2]

    return "".join(map(block, values))


def trend_lines(
    shown: Sequence[Trend], units: Mapping[str, Unit], timezone: str, width: int, *, one_scale: bool = True
) -> list[str]:
    """A line for each: name, trend, value, interval, verdict, coverage, maturity; cut to the width.

    With `one_scale` the trends share a scale, as slices of one SLI do.
    """
    last = max(trend.newest.window_end for trend in shown)
    texts = [_cells(trend, units.get(trend.newest.sli, ""), last, timezone) for trend in shown]
    names = ("name", "value", "interval", "verdict", "labelled", "maturity")
    name, *rest = columns(names, texts, left=[name for name in names if name != "value"], whole=names[2:])
    rest = [Column("", column.cells, column.left) for column in rest if any(column.cells)]
    room = width - min(name.width, width // 4) - sum(column.width + GAP for column in rest) - GAP
    sparks = sparks_of(shown, min(TREND, max(SHORTEST, room)), one_scale=one_scale)
    headless = [Column("", name.cells, left=True, cut=True), Column("", sparks, left=True), *rest]
    while len(headless) > 3 and needed(headless) - max(0, name.width - width // 4) > width:
        headless.pop()
    drawn = lines(headless, width, must=len(headless))[1:]
    return [_reddened(line, trend.newest) for line, trend in zip(drawn, shown, strict=True)]


def _reddened(line: str, row: Row) -> str:
    before, verdict, after = line.rpartition("breached")
    return before + red(verdict, verdict) + after if row.verdict == "breached" and verdict else line


def series(shown: Sequence[Trend], most: int) -> list[list[float]]:
    """The values of the newest windows of each, all over the same windows."""
    by_end = {row.window_end: row for trend in shown for row in trend.rows}
    windows, _ = columns_of([by_end[end] for end in sorted(by_end)], most)
    every = []
    for trend in shown:
        values = {row.window_end: row.value for row in trend.rows}
        every.append([np.nan if row is None else values.get(row.window_end, np.nan) for row in windows])
    return every


def value_line(trend: Trend, unit: Unit, timezone: str) -> str:
    """The newest value of one trend, without the trend: `2013-12-31  0.434  [0.41 .. 0.458]  met  98.9% labelled`."""
    cells = _cells(trend, unit, trend.newest.window_end, timezone)
    return _reddened("  ".join(cell for cell in cells if cell), trend.newest)


def _cells(trend: Trend, unit: Unit, last: pd.Timestamp, timezone: str) -> tuple[str, ...]:
    row = trend.newest
    if row.window_end != last:
        since = local(row.window_end, timezone, row.grain)
        return trend.name, "-", f"(no predictions since {since})", "", "", ""
    interval = interval_text(row.ci_low, row.ci_high, unit)
    verdict = row.verdict if isinstance(row.verdict, str) and not np.isnan(row.value) else ""
    approximate = "~" if row.error_bound > 0 else ""
    reason = f"({row.reason})" if isinstance(row.reason, str) and np.isnan(row.value) else ""
    value = approximate + number(row.value, None, unit)
    coverage = "" if np.isnan(row.coverage) else f"{row.coverage * 100:.1f}% labelled"
    return trend.name, value, f"[{interval}]" if interval else reason, verdict, coverage, row.maturity
