"""The calendar of a time zone: its days, its clock hours, and the instants of its local times.

Limit: offsets of the zone from UTC must be whole minutes.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from sli.calendar.duration import DAY, HOUR, MINUTE, SECOND
from sli.calendar.interval import BEGINNING, END, Instants, instant, iso, moment
from sli.errors import ConfigError

Date = date
"""`datetime.date` by another name, since the method `Zone.date` hides it."""
FIRST_CHANGE = -5_364_662_400 * SECOND
"""The year 1800, before the first change of an offset in any zone: no need to search the weeks since the year 1."""
REPEATED = 2_208_988_800 * SECOND
"""The year 2040: from then on zones only repeat what they had before, as far as anybody has decided."""


@dataclass(frozen=True)
class Zone:
    """The calendar of one IANA time zone."""

    name: str
    info: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "info", ZoneInfo(self.name))
        except Exception as error:
            raise ValueError(f"'{self.name}' is not a known IANA time zone") from error

    def offset(self, micros: int) -> int:
        """Offset from UTC, in microseconds, in force at an instant."""
        offset = moment(min(max(micros, BEGINNING + DAY), END - DAY)).astimezone(self.info).utcoffset()
        assert offset is not None
        return offset // timedelta(microseconds=1)

    def changes(self, start: int, end: int) -> list[int]:
        """Instants in `(start, end]` from which another offset is in force."""
        changes: list[int] = []
        start = min(max(start, FIRST_CHANGE), end)
        step, at, before = 7 * DAY, start, self.offset(start)
        while at < end:
            after = min(at + step, end)
            if self.offset(after) != before:
                # Offsets change at whole seconds.
                low, high = at // SECOND, -(-after // SECOND)
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if self.offset(middle * SECOND) == before else (low, middle)
                at = high * SECOND
                changes.append(at)
                before = self.offset(at)
            else:
                at = after
        return changes

    @functools.cache  # noqa: B019 - there are few zones
    def tile(self, start: int, end: int) -> int:
        """Length of a tile in microseconds: an hour, or less if an offset in `[start, end]` is not whole hours."""
        end = min(end, max(start + 366 * DAY, REPEATED))
        offsets = [self.offset(start), *(self.offset(at) for at in self.changes(start, end))]
        if any(offset % MINUTE for offset in offsets):
            raise ValueError(f"time zone {self.name} has an offset after {iso(start)} that is not whole minutes")
        return math.gcd(HOUR, *offsets)

    def date(self, micros: int) -> Date:
        """The local date of an instant; the first or the last date there is where it would lie beyond these."""
        try:
            return moment(micros).astimezone(self.info).date()
        except OverflowError:
            return Date.min if micros < 0 else Date.max

    @functools.cache  # noqa: B019 - there are few zones
    def midnight(self, day: Date) -> int:
        """First instant of a local date, also if a change of the offset skips midnight."""
        at = instant(datetime(day.year, day.month, day.day, tzinfo=self.info))
        return next((change for change in self.changes(at - DAY, at) if self.date(change) == day), at)

    def text(self, micros: int) -> str:
        """`2014-01-01 00:00`, local and to the minute, with its offset where the same clock time comes twice.

        Text that `parse` reads; UTC, with `Z`, where it is not a whole minute.
        """
        if micros % MINUTE or not BEGINNING + DAY <= micros <= END - DAY:
            return iso(micros)
        at = moment(micros).astimezone(self.info)
        twice = at.replace(fold=0).utcoffset() != at.replace(fold=1).utcoffset()
        return f"{at:%Y-%m-%d %H:%M}{at.isoformat()[19:] if twice else ''}"

    def midnights(self, first: Date, last: Date, step: int = 1) -> list[int]:
        """First instants of `first`, `first + step`, ... up to and including `last`."""
        count = (last - first).days // step
        return [self.midnight(first + timedelta(days=i * step)) for i in range(count + 1)]

    def days_later(self, at: int, days: int) -> int:
        """The same time of day some days later (earlier if negative): midnight to midnight, else by the wall clock.

        A time that exists twice is the earlier instant; one that never exists is read with the offset before the
        change.
        """
        day = self.date(at)
        if at == self.midnight(day):
            return self.midnight(day + timedelta(days=days))
        wall = moment(at).astimezone(self.info).replace(tzinfo=None, fold=0) + timedelta(days=days)
        return instant(wall.replace(tzinfo=self.info))

    def hours(self, start: int, end: int) -> Instants:
        """Bounds of the local clock hours that cover `[start, end)`; the first is at or before `start`."""
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
        """The instant of an ISO 8601 date or time, which is local time if it names no zone. Raises ValueError."""
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
        """SQL of the UTC microseconds of a naive timestamp column, read as local time of this zone.

        A time that exists twice is the earlier instant; one that never exists is read with the offset before the change
        (PEP 495, fold=0). `first` and `last` bound the instants in question.
        """
        cases = ""
        for change in self.changes(first, last):
            before, after = self.offset(change - 1), self.offset(change)
            # fold=0 keeps the old offset until the wall clock has passed both readings of the change.
            wall = change + max(before, after)
            # One flat CASE with the latest change first: nested CASEs of a long span would be too deep.
            cases = f"WHEN epoch_us({column}) >= {wall} THEN {after} {cases}"
        offset = f"CASE {cases}ELSE {self.offset(first)} END" if cases else f"({self.offset(first)})"
        return f"epoch_us({column}) - {offset}"


@functools.lru_cache(maxsize=32)
def zone(name: str) -> Zone:
    """The zone of that name; raises ConfigError."""
    try:
        return Zone(name)
    except ValueError as error:
        raise ConfigError(str(error), where="timezone", todo="use a name like America/New_York or UTC") from error
