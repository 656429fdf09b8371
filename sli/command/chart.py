"""The chart of `sli show`: an SLI of one slice over time, a column of characters for each window.

`░` is the interval, `█` the value, `×` a breached one, `o` a provisional one, `-` the objective; coverage stands below.
A window without a value, or without a row, is a gap. Limit: if there are more windows than columns, the newest are
drawn; nothing is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sli.calendar.grain import TUMBLING
from sli.command.axes import ValueAxis, date_marks, value_axis
from sli.command.grid import shortened
from sli.command.output import red
from sli.reading.figures import Row, rows_of
from sli.slis.formula import Unit

if TYPE_CHECKING:
    import pandas as pd

ROWS = 12
LEAST = 10
"""Columns of a chart, however narrow the terminal."""
WIDEST = 4
"""Characters of a column where there are few windows."""
LEVELS = "▁▂▃▄▅▆▇█"
COVERAGE = "labelled"
WORDS = {"█": "final", "o": "provisional", "×": "breached"}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is drawn besides the rows: the unit of the values, the zone of the dates, and the bound of the objective."""

    unit: Unit
    timezone: str
    level: float
    objective: str | None = None
    """In words: `at least 0.4`."""
    bound: float | None = None


def chart(frame: pd.DataFrame, drawn: Drawn, width: int) -> list[str]:
    """The rows of one SLI, grain and slice as a chart of at most `width` characters a line."""
    rows = [*rows_of(frame.sort_values(["window_end", "window_start"], kind="stable"))]
    columns, seconds = columns_of(rows, max(width - len(COVERAGE) - 2, LEAST))
    known = [row for row in columns if row is not None and np.isfinite(row.value)]
    if not known:
        reasons = [row.reason for row in rows if isinstance(row.reason, str)]
        return ["no value to draw" + (f": {reasons[-1]}" if reasons else "")]
    ends = np.array([(row.ci_low, row.ci_high) for row in known], dtype=np.float64).ravel()
    axis = value_axis(np.array([row.value for row in known]), ends, drawn.bound, ROWS, drawn.unit)
    left = max(len(axis.labels[0]), len(COVERAGE))
    room = max(width - left - 2, LEAST)
    columns, seconds = columns[-room:], seconds[-room:]
    wide = max(1, min(WIDEST, (width - left - 2) // len(columns)))
    marks = {axis.row(at, ROWS): label for at, label in zip(axis.at, axis.labels, strict=True)}
    grid = [*zip(*(_column(row, axis, drawn.bound) for row in columns), strict=True)]
    lines = [
        f"{marks.get(place, ''):>{left}}{'┤' if place in marks else '│'}" + "".join(_wide(cell, wide) for cell in cells)
        for place, cells in reversed([*enumerate(grid)])
    ]
    strip = "".join(_wide(" " if row is None else level(row.coverage), wide) for row in columns)
    dates = [(column * wide, label) for column, label in date_marks(seconds, drawn.timezone, wide)]
    rule, labels = _time_axis(dates, len(columns) * wide)
    lines += [f"{'':{left}}└{rule}", f"{COVERAGE:>{left}} {strip}", f"{'':{left}} {labels}"]
    missing = len(rows) - sum(row is not None for row in columns)
    lines = [shortened(line.rstrip(), width) for line in [*lines, *_legend(columns, drawn, axis, missing, width)]]
    return [line[:left] + red(line[left:], "×") if place < ROWS else line for place, line in enumerate(lines)]


def columns_of(rows: Sequence[Row], most: int) -> tuple[list[Row | None], npt.NDArray[np.int64]]:
    """The newest windows, at most so many, with None where a window has no row; and the time of each, in seconds.

    The time is the start of hours, days, weeks and months, the end of windows that overlap.
    """
    ends = [row.window_start if row.grain in TUMBLING else row.window_end for row in rows]
    times = np.array([end.timestamp() for end in ends], dtype=np.int64)
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 1.0
    columns: list[Row | None] = []
    at: list[int] = []
    for place in reversed(range(len(rows))):
        columns.append(rows[place])
        at.append(int(times[place]))
        if place == 0 or len(columns) >= most:
            break
        missing = round(float(steps[place - 1]) / usual) - 1 if usual else 0
        missing = min(max(missing, 0), most - len(columns))
        columns += [None] * missing
        at += [int(times[place] - n * usual) for n in range(1, missing + 1)]
    while columns and columns[-1] is None:
        columns.pop()
        at.pop()
    return columns[::-1][-most:], np.array(at[::-1][-most:], dtype=np.int64)


def level(share: float) -> str:
    """A share from 0 to 1 as a block of that height; a blank for no number."""
    return " " if np.isnan(share) else LEVELS[round(min(max(share, 0.0), 1.0) * (len(LEVELS) - 1))]


def mark_of(row: Row) -> str:
    """The mark of a value: breached before provisional."""
    return "×" if row.verdict == "breached" else "o" if row.maturity == "provisional" else "█"


def _column(row: Row | None, axis: ValueAxis, bound: float | None) -> list[str]:
    """The characters of a window from the bottom up."""
    cells = [" "] * ROWS
    known = row is not None and bool(np.isfinite(row.value))
    if row is not None and known and not np.isnan(row.ci_low) and not np.isnan(row.ci_high):
        low, high = axis.row(row.ci_low, ROWS), axis.row(row.ci_high, ROWS)
        cells[low : high + 1] = ["░"] * (high + 1 - low)
    if bound is not None and axis.low <= bound <= axis.high:
        cells[axis.row(bound, ROWS)] = "-"
    if row is not None and known:
        cells[axis.row(row.value, ROWS)] = mark_of(row)
    return cells


def _wide(cell: str, width: int) -> str:
    """A cell as wide as its column; with a blank between columns that are wide enough for it."""
    return cell * width if width < 3 or cell == "-" else cell * (width - 1) + " "


def _time_axis(marks: Sequence[tuple[int, str]], width: int) -> tuple[str, str]:
    """The line under the plot with its marks, and the labels that begin under them, moved inwards at the right."""
    rule, labels = ["─"] * width, ""
    for place, label in marks:
        start = min(place, max(width - len(label), 0))
        if not labels or start >= len(labels) + 2:
            rule[place] = "┬"
            labels = labels.ljust(start) + label
    return "".join(rule), labels


def _legend(columns: Sequence[Row | None], drawn: Drawn, axis: ValueAxis, left_out: int, width: int) -> list[str]:
    """What the marks mean that occur, and how many windows are not drawn."""
    rows = [row for row in columns if row is not None and np.isfinite(row.value)]
    marks = {mark_of(row) for row in rows}
    parts = [f"{mark} {word}" for mark, word in WORDS.items() if mark in marks]
    if any(not np.isnan(row.ci_low) for row in rows):
        parts.append(f"░ {drawn.level * 100:g}% interval")
    if drawn.objective is not None and drawn.bound is not None:
        # Where the line is, the axis says; where there is none, the bound is far from all values.
        parts.append(f"- {drawn.objective}" if axis.low <= drawn.bound <= axis.high else drawn.objective)
    total = left_out + sum(row is not None for row in columns)
    first = f"the newest {total - left_out:,} of {total:,} windows: --start and --end choose others"
    lines = [parts[0]]
    for part in parts[1:]:
        together = f"{lines[-1]}  {part}"
        lines[-1:] = [together] if len(together) <= width else [lines[-1], part]
    return [*lines, *[first] * (left_out > 0)]
