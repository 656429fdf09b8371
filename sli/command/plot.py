"""The plot of `sli show` as plain text: a panel of dots for each slice, all on one scale, and their coverage below.

Each slice has its own panel, because without colours lines drawn over each other cannot be distinguished. Limit: one
SLI over one grain and the `PANELS` largest slices; if there are too many windows, every n-th is drawn, never a mean.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sli.calendar.grain import TUMBLING
from sli.reading.figures import slice_name

if TYPE_CHECKING:
    import pandas as pd

PANELS = 6
ROWS = 5
"""Least rows of a panel if there are several panels; a row has 4 dots."""
COVERAGE_ROWS = 3
WEEK = 168
"""Hours. Windows are skipped in steps that share no factor with it, so that every hour and weekday occurs."""
STEPS = ("1h", "2h", "3h", "6h", "12h", "1D", "2D", "7D", "14D", "MS", "2MS", "3MS", "6MS", "YS", "2YS", "5YS", "10YS")

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """The range of an axis, and its marks with their labels."""

    low: float
    high: float
    at: list[float]
    labels: list[str]


@dataclass(frozen=True)
class Canvas:
    """What the panels share: the time axis, columns for labels (`left`) and for dots, every n-th window drawn."""

    time: Axis
    left: int
    columns: int
    every: int


def plot(frame: pd.DataFrame, model: str, timezone: str, sli: str, width: int, height: int = 20) -> str:
    """The SLI over time as text: `height` lines, more where several slices need them."""
    frame = frame[frame.sli == sli]
    frame = frame[frame.grain == frame.grain.iloc[0]] if len(frame) else frame
    title = f"{model}: {sli}" + (f", {frame.grain.iloc[0]}" if len(frame) else "")
    frame = frame.assign(
        value=frame.value.where(np.isfinite(_floats(frame.value))), name=frame["slice"].map(slice_name)
    )
    if frame.value.isna().all():
        reasons = frame.reason.dropna().unique()
        return f"{title}: no value to plot" + (f" ({reasons[0]})" if len(reasons) else "")
    frame = frame.assign(at=_seconds(frame)).sort_values("at", kind="stable")
    names, left_out = _largest(frame)
    frame = frame[frame.name.isin(names)]
    several = len(names) > 1
    rows = max(ROWS, (height - COVERAGE_ROWS - 5) // len(names) - several)
    values = _value_axis(_floats(frame.value.dropna()), rows)
    columns = max(20, width - len(values.labels[0]) - 2)
    every = _every(int(frame.name.value_counts().max()), columns * rows)
    canvas = Canvas(_time_axis(frame, timezone, columns), len(values.labels[0]), columns, every)
    lines = [title + (f", one window in {every} drawn" if every > 1 else "")]
    for name in names:
        lines += [f"{'':{canvas.left + 2}}{name}"] if several else []
        lines += _panel(frame[frame.name == name], "value", values, canvas, rows)
    scope = f" of these {len(names)} slices" if several else ""
    lines += [_rule(canvas), f"{'':{canvas.left + 2}}coverage{scope}: labelled / predictions"]
    unit = Axis(0, 1, [0, 1], [f"{mark:>{canvas.left}}" for mark in (0, 1)])
    lines += [*_panel(_together(frame), "coverage", unit, canvas, COVERAGE_ROWS), _rule(canvas), _times(canvas)]
    return "\n".join(line[:width].rstrip() for line in lines + left_out)


def _floats(values: pd.Series) -> Numbers:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _seconds(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The place of each window on the time axis: the start of hours and days, the end of windows that overlap."""
    import pandas as pd

    column = "window_start" if frame.grain.iloc[0] in TUMBLING else "window_end"
    return np.asarray(pd.DatetimeIndex(frame[column]).as_unit("s").asi8)


def _largest(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names of the slices drawn, those with the most predictions, and a line about the others."""
    sizes = frame[frame.value.notna()].groupby("name").predictions.max().sort_values(ascending=False, kind="stable")
    shown = sorted(sizes.index[:PANELS])
    others = frame.name.nunique() - len(shown)
    return shown, [f"{others:,} more slices, smaller or without a value: --slice COLUMN=VALUE"] if others else []


def _together(frame: pd.DataFrame) -> pd.DataFrame:
    """Coverage of all slices drawn, from their counts."""
    counts = frame.groupby("at")[["predictions", "labelled"]].sum().reset_index()
    return counts.assign(coverage=counts.labelled / counts.predictions)


def _every(windows: int, cells: int) -> int:
    """The n of drawing every n-th window, so that the dots (eight to a cell) do not touch."""
    every = max(1, math.ceil(windows / cells))
    while math.gcd(every, WEEK) > 1:
        every += 1
    return every


def _value_axis(values: Numbers, rows: int) -> Axis:
    """From the least to the greatest value, with at least two or three round marks between."""
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    step, marks, least = 10.0 ** math.ceil(math.log10(high - low)), range(0), 2 if rows < 9 else 3
    for shrink in itertools.cycle((2, 2.5, 2)):
        marks = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(marks) >= least:
            break
        step /= shrink
    at = [min(max(mark * step, low), high) for mark in marks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    far = max(abs(at[0]), abs(at[-1])) >= 1e9 or decimals > 6
    labels = [f"{mark:.6g}" if far else f"{mark:,.{decimals}f}" for mark in at]
    return Axis(low, high, at, [f"{label:>{max(map(len, labels))}}" for label in labels])


def _time_axis(frame: pd.DataFrame, timezone: str, columns: int) -> Axis:
    """Marks at whole local hours, days, months or years, as many as have room for their labels."""
    import pandas as pd

    local = pd.to_datetime(frame["at"], unit="s", utc=True).dt.tz_convert(timezone).dt.tz_localize(None)
    low, high = float(frame["at"].min()), float(frame["at"].max())
    whole_days = bool((local == local.dt.normalize()).all())
    at, form = [low], "%Y-%m-%d" if whole_days else "%Y-%m-%d %H:%M"
    labels = [local.min().strftime(form)]
    for step in STEPS if high > low else ():
        if step.endswith("h") and whole_days:
            continue
        form = "%Y-%m-%d %H:%M" if step.endswith("h") else "%Y-%m-%d" if step.endswith("D") else "%Y-%m"
        walls = _walls(local.min(), local.max(), step, columns)
        room = (len(walls) + 1) * (len(local.min().strftime(form)) + 3) <= columns
        if len(walls) and (room or step == STEPS[-1]):
            instants = walls.map(lambda wall: wall.tz_localize(timezone, ambiguous=True, nonexistent="shift_forward"))
            at, labels = [instant.timestamp() for instant in instants], [wall.strftime(form) for wall in walls]
            break
    pad = 1 if high == low else 0
    first = local.min().strftime("%Y-%m-%d" if local.min() == local.min().normalize() else "%Y-%m-%d %H:%M")
    # If the first mark is far to the right, the left end gets a mark, too.
    if at[0] > low and (at[0] - low) / (high - low) * (columns - 1) >= len(first) + 2 + len(labels[0]) // 2:
        at, labels = [low, *at], [first, *labels]
    return Axis(low - pad, high + pad, at, labels)


def _walls(first: pd.Timestamp, last: pd.Timestamp, step: str, columns: int) -> pd.DatetimeIndex:
    """Round local times from first to last; if there are too many for the axis, only some more than fit."""
    import pandas as pd

    calendar = step[-1] == "S"
    begin = first.normalize().replace(month=1, day=1) if calendar else first.normalize()
    walls = (
        pd.date_range(begin, freq=step, periods=1 + columns + 366)
        if not calendar
        else pd.date_range(begin, last, freq=step)
    )
    return walls[(walls >= first) & (walls <= last)]


def _panel(rows: pd.DataFrame, column: str, values: Axis, canvas: Canvas, height: int) -> list[str]:
    """The values as dots; lines join them if there is room, except across windows without a value."""
    import plotext

    figure = plotext.figure.clear()
    # The size of the terminal must not cut the plot; all of this is plotext's own global state, hence the `finally`.
    plotext.terminal.limit(False, False)
    try:
        figure.plot_size(canvas.columns + canvas.left + 1, height)
        figure.theme("colorless").axes(False, axis="x").axes(False, axis="y", side="right")
        figure.ruler("x").lim(canvas.time.low, canvas.time.high).frequency(0)
        figure.ruler("y").lim(values.low, values.high).ticks(values.at, values.labels)
        known = rows[rows[column].notna()]
        drawn = known.iloc[:: canvas.every]
        x, y = drawn["at"].tolist(), drawn[column].tolist()
        lines = figure.signal(x, y, marker="braille").lines(canvas.every == 1 and 2 * len(x) <= 3 * canvas.columns)
        for i in _after_gaps(rows, column):
            lines.line(i, False)
        figure.draw(lines)
        if len(x) <= canvas.columns // 6:
            figure.draw(figure.signal(x, y, marker="•"))
        return str(figure.build().string(colorless=True)).rstrip("\n").split("\n")
    finally:
        plotext.terminal.limit()
        figure.clear()


def _after_gaps(rows: pd.DataFrame, column: str) -> list[int]:
    """The positions of known values that follow a window without a value or without predictions."""
    position = np.flatnonzero(rows[column].notna().to_numpy())
    at = rows["at"].to_numpy()[position]
    if len(at) < 2:
        return []
    usual = np.median(np.diff(rows["at"].to_numpy()))
    return [int(i) + 1 for i in np.flatnonzero((np.diff(position) > 1) | (np.diff(at) > 2 * usual))]


def _column(at: float, canvas: Canvas) -> int:
    span = canvas.time.high - canvas.time.low
    return round((at - canvas.time.low) / span * (canvas.columns - 1))


def _rule(canvas: Canvas) -> str:
    """The time axis with its marks."""
    marks = {_column(mark, canvas) for mark in canvas.time.at}
    return " " * canvas.left + "└" + "".join("┬" if i in marks else "─" for i in range(canvas.columns))


def _times(canvas: Canvas) -> str:
    """The labels under the marks, moved inwards at the edges."""
    line = ""
    for at, label in zip(canvas.time.at, canvas.time.labels, strict=True):
        start = min(_column(at, canvas) - len(label) // 2, canvas.columns - len(label))
        place = canvas.left + 1 + max(start, -canvas.left)
        line = line.ljust(place) + label if place >= len(line) + 2 or not line else line
    return line
