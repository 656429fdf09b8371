"""Grains and their windows: which half-open stretches of time a result is published for.

Limit: `size/every` counts whole days on the calendar and everything else in physical time from `since`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from sli.calendar.duration import DAY, Duration
from sli.calendar.interval import Instants
from sli.calendar.zone import Zone

TUMBLING = ("hour", "day", "week", "month")
"""Grains whose windows do not overlap. Their windows are named by their start, all others by their end."""


@dataclass(frozen=True)
class Grain:
    """`hour`, `day`, `week` (from Monday), `month`, `cumulative`, or `7d/1d`: a `size`, and how often a window ends."""

    name: str
    size: Duration | None = None
    every: Duration | None = None

    @staticmethod
    def sliding(size: Duration, every: Duration) -> Grain:
        """For example `7d/1d`: windows of seven days, one ends every day."""
        return Grain(f"{size.text}/{every.text}", size, every)

    def windows(self, zone: Zone, since: int, newest: int) -> tuple[Instants, Instants]:
        """Starts and ends of all windows of data in `[since, newest)`, in order of their ends."""
        if newest <= since:
            return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
        if self.name == "hour":
            edges = zone.hours(since, newest)
            return edges[:-1], edges[1:]
        if self.name in ("day", "week", "month"):
            edges = _calendar(zone, self.name, since, newest)
            return edges[:-1], edges[1:]
        if self.name == "cumulative":
            midnights = _calendar(zone, "day", since, newest)
            ends = np.append(midnights[(midnights > since) & (midnights < newest)], newest)
            return np.full(len(ends), since, dtype=np.int64), ends
        return self._sliding(zone, since, newest)

    def _sliding(self, zone: Zone, since: int, newest: int) -> tuple[Instants, Instants]:
        assert self.size is not None
        assert self.every is not None
        if self.every.days is not None:
            first = zone.date(since)
            steps = -(-((zone.date(newest - 1) - first).days + 1) // self.every.days)
            last = first + timedelta(days=steps * self.every.days)
            ends = np.array(zone.midnights(first, last, self.every.days)[1:], dtype=np.int64)
        else:
            ends = np.arange(since + self.every.micros, newest + self.every.micros, self.every.micros, dtype=np.int64)
        if self.size.days is None:
            return ends - self.size.micros, ends
        return _days_later(zone, ends, -self.size.days), ends

    def before(self, zone: Zone, starts: Instants, ends: Instants) -> Instants:
        """For each window the start of the window before it, which ends where the window starts."""
        if self.name == "cumulative":
            return starts
        if self.size is not None:
            if self.size.days is None:
                return starts - self.size.micros
            return _days_later(zone, starts, -self.size.days)
        if len(starts) == 0:
            return starts
        first, last = int(starts.min()) - 33 * DAY, int(ends.max())
        edges, _ = Grain(self.name).windows(zone, first, last)
        previous: Instants = edges[np.searchsorted(edges, starts, side="left") - 1]
        return previous


def _days_later(zone: Zone, instants: Instants, days: int) -> Instants:
    distinct, at = np.unique(instants, return_inverse=True)
    return np.array([zone.days_later(int(instant), days) for instant in distinct], dtype=np.int64)[at]


def _calendar(zone: Zone, name: str, start: int, end: int) -> Instants:
    """The first instants of the days, weeks or months that cover `[start, end)`, and of the next one."""
    day, last = zone.date(start), zone.date(end - 1)
    days = [{"week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}.get(name, day)]
    while days[-1] <= last:
        step = days[-1] + timedelta(days={"day": 1, "week": 7, "month": 31}[name])
        days.append(step.replace(day=1) if name == "month" else step)
    return np.array([zone.midnight(day) for day in days], dtype=np.int64)
