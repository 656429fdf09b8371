"""Time: instants are UTC microseconds, stretches of time are half-open intervals, days and hours belong to a zone.

Limit: instants must lie between the years 1 and 9999, offsets of the zone must be whole minutes.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from sli.errors import ConfigError

Instants = npt.NDArray[np.int64]
Date = date
"""The type, by a name that `Zone.date` does not hide."""

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BEGINNING = -62_135_596_800 * SECOND
END = 253_402_300_800 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CLOCKS = -5_364_662_400 * SECOND
"""1800: no zone knows of an earlier change, and one time of the year 1 would have all weeks since looked at."""


def instant(moment: datetime) -> int:
    """UTC microseconds of an aware datetime."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment(micros: int) -> datetime:
    """The aware UTC datetime of UTC microseconds."""
    return EPOCH + timedelta(microseconds=micros)


def iso(micros: int) -> str:
    """`2013-02-01T05:00Z`, with seconds and fractions only where they are not zero."""
    if micros <= BEGINNING:
        return "the beginning"
    if micros >= END:
        return "the end"
    at = moment(micros)
    text = at.strftime("%Y-%m-%dT%H:%M")
    if at.second or at.microsecond:
        text += at.strftime(":%S") + (f".{at.microsecond:06d}".rstrip("0") if at.microsecond else "")
    return text + "Z"


@dataclass(frozen=True, order=True)
class Interval:
    """`[start, end)` in UTC microseconds."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise ValueError(f"an interval cannot end before it starts: {self}")

    def __str__(self) -> str:
        return f"{iso(self.start)} .. {iso(self.end)}"

    @property
    def empty(self) -> bool:
        return self.start == self.end

    def meets(self, other: Interval) -> bool:
        """Whether the two share an instant."""
        return self.start < other.end and other.start < self.end

    def grown(self, before: int, after: int) -> Interval:
        return Interval(max(BEGINNING, self.start - before), min(END, self.end + after))


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same instants as disjoint intervals in order, touching ones joined, empty ones gone."""
    spans = np.array([(each.start, each.end) for each in intervals], np.int64).reshape(-1, 2)
    return joined(spans[:, 0], spans[:, 1])


def joined(starts: Instants, ends: Instants) -> list[Interval]:
    """The union of intervals given as starts and ends: much faster where there is one for every file of a log."""
    some = np.flatnonzero(starts < ends)
    some = some[np.argsort(starts[some], kind="stable")]
    starts, reached = starts[some], np.maximum.accumulate(ends[some])
    begins = np.flatnonzero(np.append(True, starts[1:] > reached[:-1])[: len(some)])
    finishes = np.append(begins[1:], len(some))[: len(begins)] - 1
    return [Interval(*each) for each in zip(starts[begins].tolist(), reached[finishes].tolist(), strict=True)]


def common(a: Iterable[Interval], b: Iterable[Interval]) -> list[Interval]:
    """The instants in both."""
    b = list(b)
    return union(Interval(max(x.start, y.start), min(x.end, y.end)) for x in a for y in b if x.meets(y))


def without(a: Iterable[Interval], b: Iterable[Interval]) -> list[Interval]:
    """The instants in `a` that are not in `b`."""
    left = union(a)
    for hole in union(b):
        left = [
            part
            for each in left
            for part in (
                [Interval(each.start, max(each.start, hole.start)), Interval(min(each.end, hole.end), each.end)]
                if each.meets(hole)
                else [each]
            )
            if not part.empty
        ]
    return left


def inside(starts: Instants, ends: Instants, intervals: Iterable[Interval]) -> npt.NDArray[np.bool_]:
    """For each window `[start, end)`: does it share an instant with any of the intervals?"""
    hit = np.zeros(len(starts), dtype=bool)
    for each in intervals:
        hit |= (starts < each.end) & (ends > each.start)
    return hit


LONGEST = 36_525 * DAY
"""The longest duration: beyond it times do not fit what dates and 64 bits can tell."""
_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}


def tiles_named(tile: int) -> str:
    """What is made of whole tiles of this length: `hours`, or `30 minutes`."""
    return "hours" if tile == HOUR else f"{tile // MINUTE} minutes"


@dataclass(frozen=True)
class Duration:
    """A length such as `7d`, `6h`, `15m`. `days` is set when it is whole days, which windows count on the calendar."""

    text: str
    micros: int
    days: int | None

    @staticmethod
    def parse(text: str) -> Duration:
        found = re.fullmatch(r"\s*(\d+)\s*([dhms])\s*", str(text))
        if not found:
            raise ValueError(f"'{text}' is not a duration; write a whole number and d, h, m or s, such as 7d, 6h, 15m")
        if len(found[1]) > 18 or int(found[1]) * _UNITS[found[2]] > LONGEST:
            raise ValueError(f"'{text[:40]}' is longer than {LONGEST // DAY:,} days, which is 100 years")
        count, unit = int(found[1]), found[2]
        return Duration(f"{count}{unit}", count * _UNITS[unit], count if unit == "d" else None)


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

    def shifted(self, at: int, days: int) -> int:
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
