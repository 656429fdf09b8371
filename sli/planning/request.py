"""What a run is asked to do: all stale tiles, only the recent ones, or a part of a backfill.

Limit: a backfill works through its interval in order, so that one instant records its progress.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, replace
from datetime import timedelta

from sli.calendar.duration import DAY
from sli.calendar.interval import Interval, iso
from sli.calendar.zone import Zone


@dataclass(frozen=True)
class Backfill:
    """An interval to recompute, in whole tiles. With `slis` only the states that these SLIs lack are computed."""

    id: str
    interval: Interval
    slis: tuple[str, ...]
    done: int
    """Everything before this instant is done."""

    @staticmethod
    def begin(interval: Interval, slis: tuple[str, ...], base: str, sequence: int) -> Backfill:
        """A new backfill; the same interval and SLIs asked of the same publication get the same id."""
        content = json.dumps([interval.start, interval.end, slis, base, sequence])
        return Backfill(hashlib.sha256(content.encode()).hexdigest()[:10], interval, slis, interval.start)

    @property
    def finished(self) -> bool:
        """Whether all of it is done."""
        return self.done >= self.interval.end

    @property
    def left(self) -> Interval:
        """The interval still to do; with `slis` all of it, since the ledger knows which tiles lack their states."""
        return self.interval if self.slis else Interval(self.done, self.interval.end)

    @property
    def command(self) -> str:
        """The command that begins or continues it."""
        slis = "".join(f" --sli {name}" for name in self.slis)
        return f"sli backfill CONFIG --start {iso(self.interval.start)} --end {iso(self.interval.end)}{slis}"

    def parts(self, zone: Zone, days: int, limits: Interval) -> list[Interval]:
        """The rest of the backfill in parts of `days` days, cut at midnights; only days within `limits` count."""
        edges, end = [self.left.start], min(self.interval.end, limits.end)
        at = max(self.left.start, limits.start)
        days = min(days, max(0, end - at) // DAY + 2)
        while (at := zone.midnight(zone.date(at) + timedelta(days=days))) < end:
            edges.append(at)
        return [Interval(a, b) for a, b in itertools.pairwise([*edges, self.interval.end])]


@dataclass(frozen=True)
class Request:
    """A run as known at `as_of`."""

    as_of: int
    look_back: int | None = None
    """Stale tiles further than this before the newest hour wait for a later run, in microseconds."""
    backfill: Backfill | None = None
    part: Interval | None = None
    """The part of the backfill to do now; it begins where the finished parts end."""
    now: bool = False
    """Whether the user left as_of out. Then it is raised if another run publishes a newer as_of meanwhile."""
    continues: bool = False
    """Whether the backfill began in an earlier run. If it is then no longer published, another process finished it."""
    future: bool = False
    """Whether an as_of in the future is allowed."""
    full_listing: bool = False
    """Whether every folder of the logs is listed."""

    @property
    def slis(self) -> tuple[str, ...]:
        """The only SLIs whose states are filled in; empty: whole tiles are recomputed."""
        return self.backfill.slis if self.backfill else ()

    def not_before(self, published: int) -> Request:
        """The same request with an as_of of at least `published`: an older one could not replace those results."""
        return replace(self, as_of=max(self.as_of, published)) if self.now or self.part else self

    @property
    def backfill_after(self) -> Backfill | None:
        """The backfill with the progress that this run publishes."""
        if self.backfill is None or self.part is None:
            return None
        return replace(self.backfill, done=self.part.end)
