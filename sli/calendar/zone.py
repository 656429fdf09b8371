"""The calendar of a time zone: its days, its clock hours, and the instants of its local times.

Limit: offsets of the zone from UTC must be whole minutes.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from sli.calendar.duration import DAY, HOUR, MINUTE, SECOND
from sli.calendar.interval import BEGINNING, END, Instants, instant, iso, moment
from sli.errors import ConfigError

Date = date
"""The type, by a name that `Zone.date` does not hide."""
CLOCKS = -5_364_662_400 * SECOND
"""1800: no zone knows of an earlier change, and one time of the year 1 would have all weeks since looked at."""


class Zone:
    """Calendar of one IANA time zone."""

    def __init__(self, name: str) -> None:
        self.name = name
        try:
            self.info = ZoneInfo(name)
        except Exception as error:
            raise ValueError(f"'{name}' is not a known IANA time zone") from error

    def offset(self, micros: int) -> int:
        """Offset from UTC, in microseconds, in force at an instant."""
        held = moment(min(max(micros, BEGINNING + DAY), END - DAY)).astimezone(self.info).utcoffset()
        assert held is not None
        return held // timedelta(microseconds=1)

    def changes(self, start: int, end: int) -> list[int]:
        """Instants in `(start, end]` from which another offset is in force."""
        found: list[int] = []
        start = min(max(start, CLOCKS), end)
        step, at, before = 7 * DAY, start, self.offset(start)
        while at < end:
            after = min(at + step, end)
            if self.offset(after) != before:
                low, high = at, after
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if self.offset(middle) == before else (low, middle)
                found.append(high)
                at, before = high, self.offset(high)
            else:
                at = after
        return found

    @functools.cache  # noqa: B019 - there is one object a zone
    def tile(self, start: int, end: int) -> int:
        """Length of a tile in microseconds: an hour, or less where an offset in `[start, end]` is no whole hour."""
        offsets = [self.offset(start), *(self.offset(at) for at in self.changes(start, end))]
        if any(each % MINUTE for each in offsets):
            raise ValueError(f"time zone {self.name} has an offset that is no whole minute since {iso(start)}")
        return math.gcd(HOUR, *offsets)

    def date(self, micros: int) -> Date:
        return moment(micros).astimezone(self.info).date()

    @functools.cache  # noqa: B019 - there is one object a zone
    def midnight(self, day: Date) -> int:
        """First instant of a local date, also where midnight itself is skipped by a change of offset."""
        at = instant(datetime(day.year, day.month, day.day, tzinfo=self.info))
        if self.date(at - 1) == day:
            return next(change for change in self.changes(at - DAY, at) if self.date(change) == day)
        return at

    def midnights(self, first: Date, last: Date, step: int = 1) -> list[int]:
        """First instants of `first`, `first + step`, ... up to and including `last`."""
        count = (last - first).days // step
        return [self.midnight(first + timedelta(days=i * step)) for i in range(count + 1)]

    def days_later(self, at: int, days: int) -> int:
        """The same time of the day some days later: midnight to midnight, other times by the wall clock.

        A time that exists twice is the earlier instant, one that never exists is read with the offset before the
        change.
        """
        day = self.date(at)
        if at == self.midnight(day):
            return self.midnight(day + timedelta(days=days))
        wall = moment(at).astimezone(self.info).replace(tzinfo=None, fold=0) + timedelta(days=days)
        return instant(wall.replace(tzinfo=self.info))

    def hours(self, start: int, end: int) -> Instants:
        """Boundaries of the local clock hours that cover `[start, end)`, the first at or before `start`."""
        edges: list[Instants] = []
        changes = self.changes(start - DAY, end + HOUR)
        spans = zip([start - DAY, *changes], [*changes, end + HOUR], strict=True)
        for low, high in spans:
            offset = self.offset(low)
            first = -((-(low + offset)) // HOUR) * HOUR - offset
            edges.append(np.arange(first, high, HOUR, dtype=np.int64))
            edges.append(np.array([low], dtype=np.int64))
        bounds = np.unique(np.concatenate(edges))
        low_at = int(np.searchsorted(bounds, start, side="right")) - 1
        high_at = int(np.searchsorted(bounds, end, side="left"))
        return bounds[low_at : high_at + 1]

    def parse(self, text: str | Date | datetime) -> int:
        """An ISO 8601 date or time; without a zone it is read in this one. Raises ValueError."""
        if isinstance(text, str):
            text = text.strip()
            text = (
                date.fromisoformat(text)
                if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text)
                else datetime.fromisoformat(text.replace("Z", "+00:00") if text.endswith("Z") else text)
            )
        if isinstance(text, datetime):
            return instant(text if text.tzinfo else text.replace(tzinfo=self.info))
        return self.midnight(text)

    def to_utc(self, column: str, first: int, last: int) -> str:
        """SQL that reads a naive timestamp column as this zone's wall clock, in UTC microseconds.

        A time that exists twice is the earlier instant; one that never exists is read with the offset before the change
        (PEP 495, fold=0). `first` and `last` bound the instants in question.
        """
        cases = ""
        for change in self.changes(first, last):
            before, after = self.offset(change - 1), self.offset(change)
            # fold=0 keeps the old offset until the wall clock has passed both readings of the change.
            wall = change + max(before, after)
            # One flat CASE, the latest change first: nested ones of a long span would be too deep.
            cases = f"WHEN epoch_us({column}) >= {wall} THEN {after} {cases}"
        offset = f"CASE {cases}ELSE {self.offset(first)} END" if cases else f"({self.offset(first)})"
        return f"epoch_us({column}) - {offset}"


@functools.lru_cache(maxsize=32)
def zone(name: str) -> Zone:
    """The zone of that name; raises ConfigError."""
    try:
        return Zone(name)
    except ValueError as error:
        raise ConfigError(str(error), where="timezone", todo="use a name such as America/New_York or UTC") from error
