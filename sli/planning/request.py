"""What a run is asked for: everything stale, everything stale that is young enough, or a part of a backfill.

Limit: a backfill works through its interval in order, so one instant says how far it has come.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from datetime import timedelta

from sli.calendar.duration import DAY
from sli.calendar.interval import Interval
from sli.calendar.zone import Zone


@dataclass(frozen=True)
class Backfill:
    """An interval to recompute, in whole tiles. With `slis` only what these lack."""

    id: str
    interval: Interval
    slis: tuple[str, ...]
    done: int
    """Everything before this instant is done."""

    @staticmethod
    def begun(interval: Interval, slis: tuple[str, ...], base: str, sequence: int) -> Backfill:
        """A new one; the same question asked of the same publication has the same id."""
        content = json.dumps([interval.start, interval.end, slis, base, sequence])
        return Backfill(hashlib.sha256(content.encode()).hexdigest()[:10], interval, slis, interval.start)

    @property
    def over(self) -> bool:
        return self.done >= self.interval.end

    @property
    def left(self) -> Interval:
        """What is still to do. What single SLIs lack, the tiles themselves know."""
        return self.interval if self.slis else Interval(self.done, self.interval.end)

    def parts(self, zone: Zone, days: int, limits: Interval) -> list[Interval]:
        """What is left, cut at a midnight of the zone every so many days of those within `limits`."""
        edges, end = [self.left.start], min(self.interval.end, limits.end)
        at = max(self.left.start, limits.start)
        days = min(days, max(0, end - at) // DAY + 2)
        while (at := zone.midnight(zone.date(at) + timedelta(days=days))) < end:
            edges.append(at)
        return [Interval(a, b) for a, b in itertools.pairwise([*edges, self.interval.end])]


@dataclass(frozen=True)
class Request:
    """A run as known at `as_of`. `look_back`: leave stale tiles older than this before the newest hour for later."""

    as_of: int
    look_back: int | None = None
    backfill: Backfill | None = None
    part: Interval | None = None
    """The part of the backfill to do now; it begins where the backfill has come to."""
    now: bool = False
    """Whether as_of was not asked for: it is the moment, and no older than what is published meanwhile."""
    continues: bool = False
    """Whether the backfill was begun before: then it is one that another process has finished if it is not recorded."""
    future: bool = False
    """Whether an as_of in the future is meant."""

    @property
    def slis(self) -> tuple[str, ...]:
        """The only SLIs to extend; empty: recompute whole tiles."""
        return self.backfill.slis if self.backfill else ()

    def not_before(self, published: int) -> Request:
        """The same as known when it is carried out: an older as_of would not replace what is published meanwhile."""
        return replace(self, as_of=max(self.as_of, published)) if self.now or self.part else self

    @property
    def reached(self) -> Backfill | None:
        """The backfill once this run is published."""
        if self.backfill is None or self.part is None:
            return None
        return replace(self.backfill, done=self.part.end)
