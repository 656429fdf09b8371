"""The marks of a chart's axes: round values, and local dates that have room for their labels.

Limit: a mark is at the first window of its hour, day, month or year, also where that window begins later.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from sli.reading.figures import number
from sli.slis.formula import Unit

DURATIONS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
"""Steps in seconds from one mark to the next; longer ones are whole days."""
HOURS, DAYS, MONTHS = (1, 2, 3, 6, 12), (1, 2, 7, 14), (1, 2, 3, 6, 12, 24, 60, 120, 1_200)
GREATEST = 1e300
"""Values beyond it are drawn at it."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ValueAxis:
    """The values at the bottom and at the top, and marks between them with their labels, all as wide."""

    low: float
    high: float
    at: tuple[float, ...]
    labels: tuple[str, ...]

    def row(self, value: float, rows: int) -> int:
        """The row of a value, counted from the bottom."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(share * (rows - 1))


def value_axis(values: Numbers, ends: Numbers, bound: float | None, rows: int, unit: Unit) -> ValueAxis:
    """From the least to the greatest value, with room for the ends of intervals and the bound where they are near.

    An end farther away than the values are from each other is drawn at the edge.
    """
    values, ends = np.clip(values, -GREATEST, GREATEST), np.clip(ends[np.isfinite(ends)], -GREATEST, GREATEST)
    low, high = float(values.min()), float(values.max())
    room = max(high - low, float(np.median(np.abs(ends - np.median(values)))) if len(ends) else 0.0)
    near = ends[(ends >= low - room) & (ends <= high + room)]
    low, high = min([low, *near]), max([high, *near])
    if bound is not None and low - room <= bound <= high + room:
        low, high = min(low, bound), max(high, bound)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-300):
        low, high = low - (abs(low) / 10 or 1), high + (abs(high) / 10 or 1)
    step = _step(high - low, max(2, rows // 3), unit)
    marks = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    at = [min(max(mark * step, low), high) for mark in marks]
    labels = _labels(at, step, unit)
    width = max(map(len, labels))
    return ValueAxis(low, high, tuple(at), tuple(f"{label:>{width}}" for label in labels))


def _step(span: float, most: int, unit: Unit) -> float:
    """The least round step with at most so many marks, and at least two where there are any such steps."""
    if unit == "s" and span > DURATIONS[0] * 2:
        for seconds in DURATIONS:
            if span / seconds <= most:
                return float(seconds)
        return 86_400.0 * math.ceil(_step(span / 86_400, most, ""))
    power = 10.0 ** math.floor(math.log10(span))
    for step in (power / 10, power / 5, power / 4, power / 2, power, 2 * power, 2.5 * power, 5 * power):
        if span / step <= most:
            return step
    return 10 * power


def _labels(at: Sequence[float], step: float, unit: Unit) -> list[str]:
    if unit == "s":
        return [number(mark, None, unit) for mark in at]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not math.isclose(step * 10**decimals, round(step * 10**decimals)):
        decimals += 1  # a quarter of a power of ten
    far = max(abs(at[0]), abs(at[-1])) >= 1e9 or decimals > 6
    return [f"{mark:.6g}" if far else f"{mark:,.{decimals}f}" for mark in at]


def date_marks(seconds: npt.NDArray[np.int64], timezone: str, width: int) -> list[tuple[int, str]]:
    """The columns to mark and their labels, as many as have room: of hours, days, months or years.

    `seconds` has the time of each column, `width` is that of a column. The first column has a label where there is
    room for it.
    """
    local = pd.to_datetime(seconds, unit="s", utc=True).tz_convert(timezone).tz_localize(None)
    whole_days = bool((local == local.normalize()).all())
    days = (local.normalize() - pd.Timestamp("1970-01-05")).days.to_numpy()  # a Monday
    hours = days * 24 + local.hour.to_numpy()
    months = local.year.to_numpy() * 12 + local.month.to_numpy() - 1
    start = 0, local[0].strftime("%Y-%m-%d" if local[0] == local[0].normalize() else "%Y-%m-%d %H:%M")
    periods = [(days // n, "%Y-%m-%d") for n in DAYS] + [(months // n, "%Y-%m") for n in MONTHS]
    if not whole_days:
        periods = [(hours // n, "%Y-%m-%d %H:%M") for n in HOURS] + periods
    for keys, form in periods:
        columns = [int(column) + 1 for column in np.flatnonzero(np.diff(keys))]
        marks = [(column, local[column].strftime(form)) for column in columns]
        room = all(
            (after - before) * width >= len(label) + 2 for (before, label), (after, _) in itertools.pairwise(marks)
        )
        begins = bool(marks) and marks[0][0] * width >= len(start[1]) + 2
        if room and (begins or len(marks) > 1):
            return [start, *marks] if begins else marks
    return [start]
