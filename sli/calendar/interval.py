"""Instants are UTC microseconds since 1970; a stretch of time is a half-open interval `[start, end)` of them.

Limit: instants lie between the years 1 and 9999.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from sli.calendar.duration import SECOND

Instants = npt.NDArray[np.int64]

BEGINNING = -62_135_596_800 * SECOND
END = 253_402_300_800 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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

    def within(self, limits: Interval) -> Interval:
        """The part of this interval that lies within `limits`; an empty one if there is none."""
        start = max(self.start, limits.start)
        return Interval(start, max(start, min(self.end, limits.end)))

    def widened(self, before: int, after: int) -> Interval:
        """The interval from `before` earlier to `after` later, in microseconds, at most all instants."""
        return Interval(max(BEGINNING, self.start - before), min(END, self.end + after))


ALWAYS = Interval(BEGINNING, END)


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same instants as disjoint intervals in order, touching ones joined, empty ones gone."""
    some = [interval for interval in intervals if interval.start < interval.end]
    if len(some) < 2:  # as nearly always, where a run has little to do
        return [Interval(int(only.start), int(only.end)) for only in some]
    spans = np.array([(interval.start, interval.end) for interval in some], np.int64)
    return union_of(spans[:, 0], spans[:, 1])


def union_of(starts: Instants, ends: Instants) -> list[Interval]:
    """The union of intervals given as arrays: much faster where there is one for each file of a log."""
    some = np.flatnonzero(starts < ends)
    some = some[np.argsort(starts[some], kind="stable")]
    starts, reached = starts[some], np.maximum.accumulate(ends[some])
    begins = np.flatnonzero(np.append(True, starts[1:] > reached[:-1])[: len(some)])
    finishes = np.append(begins[1:], len(some))[: len(begins)] - 1
    bounds = zip(starts[begins].tolist(), reached[finishes].tolist(), strict=True)
    return [Interval(start, end) for start, end in bounds]


def intersection(a: Iterable[Interval], b: Iterable[Interval]) -> list[Interval]:
    """The instants in both."""
    b = list(b)
    return union(Interval(max(x.start, y.start), min(x.end, y.end)) for x in a for y in b if x.meets(y))


def difference(a: Iterable[Interval], b: Iterable[Interval]) -> list[Interval]:
    """The instants in `a` that are not in `b`."""
    left = union(a)
    for hole in union(b):
        left = [
            part
            for old in left
            for part in (
                [Interval(old.start, max(old.start, hole.start)), Interval(min(old.end, hole.end), old.end)]
                if old.meets(hole)
                else [old]
            )
            if not part.empty
        ]
    return left


def meets_any(starts: Instants, ends: Instants, intervals: Iterable[Interval]) -> npt.NDArray[np.bool_]:
    """For each window `[start, end)` whether it shares an instant with any of the intervals."""
    hit = np.zeros(len(starts), dtype=bool)
    for interval in intervals:
        hit |= (starts < interval.end) & (ends > interval.start)
    return hit
