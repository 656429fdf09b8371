"""One slice of a figure: its line, points, interval and coverage, with gaps where a window or its value is missing.

Limit: windows of `size/every` are told to be missing by their distance, so one of an hour more is still taken as next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from sli.calendar.duration import Duration
from sli.calendar.grain import TUMBLING
from sli.reading.figures import slice_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT = "#222222", "#6b6b6b"
FEW = 80
"""With at most so many windows every value has a point."""


@dataclass(frozen=True)
class Series:
    """The windows of one slice in order. `at`: where each is drawn; `joined`: whether it follows the one before it."""

    name: str
    rows: pd.DataFrame
    at: npt.NDArray[Any]
    joined: npt.NDArray[np.bool_]

    def column(self, name: str) -> npt.NDArray[np.float64]:
        return self.rows[name].to_numpy(np.float64, na_value=np.nan)

    @property
    def provisional(self) -> npt.NDArray[np.bool_]:
        return (self.rows["maturity"] == "provisional").to_numpy()


def all_series(frame: pd.DataFrame, zone: ZoneInfo) -> list[Series]:
    names = frame["slice"].map(lambda slice: slice_name(dict(slice)))
    tumbling = frame["grain"].iloc[0] in TUMBLING
    found = []
    for name, rows in frame.groupby(names, sort=True):
        ordered = rows.sort_values("window_end")
        start, end = ordered["window_start"], ordered["window_end"]
        # A window that no other overlaps is drawn in its middle, any other at its end, which names it.
        at = start + (end - start) / 2 if tumbling else end
        found.append(Series(str(name), ordered, at.dt.tz_convert(zone).to_numpy(), joined_windows(ordered, tumbling)))
    return found


def joined_windows(rows: pd.DataFrame, tumbling: bool) -> npt.NDArray[np.bool_]:
    """Whether each window and the one before it have a value, and no window is missing between them."""
    start, end = rows["window_start"], rows["window_end"]
    if tumbling:
        follows = (start == end.shift()).to_numpy()
    else:
        _, slash, every = str(rows["grain"].iloc[0]).partition("/")
        step = timedelta(microseconds=Duration.parse(every).micros if slash else Duration.parse("1d").micros)
        # A day may have 25 hours; a query may have any distance, which its windows tell.
        apart = end.diff()
        most = max(step, apart.min()) if apart.notna().any() else step
        follows = (apart <= most + timedelta(hours=1)).to_numpy()
    known = rows["value"].notna().to_numpy()
    joined: npt.NDArray[np.bool_] = follows & known & np.concatenate([[False], known[:-1]])
    return joined


def draw_series(axes: Axes, one: Series, colour: str, mark: str, dense: bool) -> None:
    """The line, points and interval of a slice."""
    value, low, high, provisional = one.column("value"), one.column("ci_low"), one.column("ci_high"), one.provisional
    known = ~np.isnan(value)
    if not dense:
        for first, last in runs_of(one.joined, known):
            part = np.s_[first:last]
            axes.fill_between(one.at[part], low[part], high[part], color=colour, alpha=0.16, linewidth=0, zorder=1)
            if last - first == 1:  # a band of one window has no width
                axes.vlines(one.at[part], low[part], high[part], color=colour, alpha=0.35, linewidth=2, zorder=1)
        draw_line(axes, one, colour)
    # A value between two gaps has no line, so it has a point in any case.
    alone = known & ~one.joined & ~np.append(one.joined[1:], False)
    pointed = known if len(value) <= FEW or dense else alone | (known & provisional)
    size = 2.2 if dense else 4.2
    for some, face in ((pointed & ~provisional, colour), (pointed & provisional, "white")):
        axes.plot(
            one.at[some],
            value[some],
            mark,
            color=colour,
            markerfacecolor=face,
            markersize=size,
            linestyle="",
            zorder=4,
            alpha=0.35 if dense else 1,
        )
    breached = known & (one.rows["verdict"] == "breached").to_numpy()
    axes.plot(
        one.at[breached],
        value[breached],
        "x",
        color=colour,
        markersize=3 if dense else 8,
        linestyle="",
        zorder=5,
        markeredgewidth=1.3,
    )
    axes.plot(
        one.at[~known],
        np.full((~known).sum(), 0.015),
        "|",
        color=SOFT,
        markersize=6,
        linestyle="",
        zorder=3,
        transform=axes.get_xaxis_transform(),
    )


def draw_line(axes: Axes, one: Series, colour: str, above: bool = False) -> None:
    """The line through the values of a slice: dashed where it leads to a provisional one; `above` many points."""
    from matplotlib.patheffects import Normal, Stroke

    outline = [Stroke(linewidth=3.6, foreground="white"), Normal()] if above else []
    value, provisional = one.column("value"), one.provisional
    for style, some in (("-", one.joined & ~provisional), ((0, (3, 2)), one.joined & provisional)):
        for first, last in runs_of(some, some):
            part = np.s_[first - 1 : last]
            axes.plot(
                one.at[part],
                value[part],
                linestyle=style,
                color=colour,
                linewidth=1.6,
                zorder=6 if above else 3,
                path_effects=outline,
            )


def runs_of(joined: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches of windows that follow each other: first, and one after the last.

    >>> runs_of(np.array([False, True, False, True]), np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    runs: list[tuple[int, int]] = []
    for place in np.flatnonzero(known).tolist():
        if runs and runs[-1][1] == place and joined[place]:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs


def draw_coverage(strip: Axes, one: Series, colour: str, alone: bool) -> None:
    """How much of each window is labelled: of one slice as a ground, of several as lines."""
    coverage = 100 * one.column("coverage")
    if alone:
        strip.fill_between(one.at, 0, coverage, step="mid", color=SOFT, alpha=0.45, linewidth=0)
    mark = "_" if len(coverage) == 1 else ""
    strip.plot(
        one.at, coverage, mark, drawstyle="steps-mid", color=SOFT if alone else colour, linewidth=1, markersize=30
    )
