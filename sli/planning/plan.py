"""The plan as data: what a run does and why. `sli plan` prints it, `run` and `backfill` carry out this very object.

Limit: which of the results planned for really change shows only when they are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sli.calendar.interval import Interval, intersection, iso, union
from sli.masking import masked
from sli.planning.changes import Cause
from sli.planning.formats import Migration
from sli.planning.new_rows import News
from sli.planning.request import Backfill, Request
from sli.planning.tasks import Job


@dataclass(frozen=True)
class Plan:
    """What a run will do and why. Empty when everything published is up to date."""

    request: Request
    older: bool
    """Whether as_of lies before what is published: then only `revisions` gains rows."""
    causes: tuple[Cause, ...]
    pairs: tuple[Interval, ...]
    """Tiles of predictions to recompute."""
    checked: tuple[Interval, ...]
    """Final tiles that input may have come for: computed, and held back if they would change."""
    strays: tuple[Interval, ...]
    """Tiles of feedback to recompute."""
    jobs: tuple[Job, ...]
    news: News | None
    """The new rows, where tiles are amended by them: the hours planned are those they could belong to. None where hours
    are computed anew."""
    filled: Mapping[str, tuple[Interval, ...]]
    """For an SLI the tiles that gain its states."""
    lacking: Mapping[str, tuple[Interval, ...]]
    """For an SLI the tiles that lack its states still: its windows that hold any wait."""
    gaps: Mapping[str, tuple[Interval, ...]]
    """The same for each state."""
    partial: tuple[str, ...]
    """States that some published tiles lack."""
    known_sets: tuple[tuple[str, ...], ...]
    """Slices that published tiles have."""
    pending: tuple[Interval, ...]
    """Stale tiles left for a later run: windows that hold any wait."""
    unchecked: tuple[Interval, ...]
    """Final tiles that input may have come for, left for a later run."""
    held: tuple[Interval, ...]
    frozen_before: int
    matured: Interval | None
    """Window ends that became final since the last publication."""
    fresh_series: tuple[str, ...]
    """SLIs whose every window is rolled up: new definitions, or new objectives."""
    fresh_grains: tuple[str, ...]
    gone_series: tuple[str, ...]
    """Definitions no longer declared."""
    slice_sets: tuple[tuple[str, ...], ...]
    """Slices computed; those new to the config wait for a run without limits."""
    backfills: tuple[Backfill, ...]
    """Unfinished ones, once this run is published."""
    progressed: bool
    """Whether that differs from what is published."""
    winners_may_change: bool
    """Whether another prediction of an id may win than the tiles remember."""
    from_scratch: bool
    migration: Migration | None
    """What it does to a store of an older format."""
    files_changed: int
    tile: int
    existing: tuple[Interval, ...]
    bytes: int
    run_id: str
    smaller: int
    """How many times smaller tasks are than their memory should allow."""
    changed: tuple[Interval, ...] | None = None
    """Of the tiles recomputed those whose windows may change; None before they are computed, or where all tiles are."""

    @property
    def as_of(self) -> int:
        return self.request.as_of

    @property
    def empty(self) -> bool:
        return not (
            self.migration
            or self.progressed
            or self.jobs
            or self.pairs
            or self.checked
            or self.strays
            or self.matured
            or self.fresh_series
            or self.fresh_grains
            or self.gone_series
            or self.files_changed
        )

    @property
    def renewed(self) -> tuple[Interval, ...]:
        """Recomputed tiles whose windows may change: all of them before it is known which do."""
        return self.pairs if self.changed is None else self.changed

    @property
    def gaining(self) -> tuple[Interval, ...]:
        """Tiles that gain a state of any SLI."""
        return tuple(union(each for where in self.filled.values() for each in where))

    @property
    def extends(self) -> bool:
        """Whether tiles gain states or slices without being recomputed."""
        return bool(self.filled) or not (self.from_scratch or set(self.slice_sets) <= set(self.known_sets))

    @property
    def tiles(self) -> int:
        """How many tiles that may hold predictions are recomputed, or gain a state."""
        worked = intersection(union([*self.pairs, *self.gaining]), self.existing)
        return sum((each.end - each.start) // self.tile for each in worked)

    @property
    def tiles_total(self) -> int:
        """How many tiles may hold predictions."""
        return sum((each.end - each.start) // self.tile for each in self.existing)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, instants as ISO 8601."""

        def spans(intervals: Iterable[Interval]) -> list[list[str]]:
            return [[iso(each.start), iso(each.end)] for each in intervals]

        return {
            "run_id": self.run_id,
            "as_of": iso(self.as_of),
            "asked": spans([self.request.chunk])[0] if self.request.chunk else None,
            "backfill": self.request.backfill.id if self.request.backfill else None,
            "migration": self.migration.to_dict() if self.migration else None,
            "causes": [
                {"what": c.what, "files": [masked(file) for file in c.files], "intervals": spans(c.intervals)}
                for c in self.causes
            ],
            "tiles": self.tiles,
            "tiles_total": self.tiles_total,
            "recompute": spans(self.pairs),
            "check": spans(self.checked),
            "new_series": list(self.fresh_series),
            "gone_series": list(self.gone_series),
            "held": spans(self.held),
            "pending": spans(self.pending),
            "unchecked": spans(self.unchecked),
            "filled": {name: spans(found) for name, found in self.filled.items()},
            "lacking": {name: spans(found) for name, found in self.lacking.items()},
            "tasks": sum(job.tasks for job in self.jobs),
            "bytes": self.bytes,
            "jobs": [job.to_dict() for job in self.jobs],
        }
