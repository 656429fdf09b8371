"""What the stages of a run share: what they work with, and what is known after some of them.

Limit: of the stored tiles those are in memory that a stage needs, until windows are rolled up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sli.calendar.duration import DAY
from sli.calendar.interval import BEGINNING, END, Interval, intersection
from sli.config.model import Config
from sli.errors import OutOfMemory
from sli.logs.files import Inputs
from sli.planning.plan import Plan
from sli.publishing.diff import Difference
from sli.publishing.tile_rows import StoredRows, TileRows
from sli.publishing.transaction import Transaction
from sli.rollup.evaluate import stretches
from sli.rollup.kept import PairsChanged
from sli.runs.built import BuiltTiles, Computed
from sli.runs.outcome import Outcome
from sli.schemas import TILES

if TYPE_CHECKING:
    from sli.publishing.ids import Ids

SECOND_YEAR = "0002"
"""The first day of the first year has no midnight in zones east of Greenwich."""
FILE_BYTES = 6 << 20
"""Days are in memory together whose tiles take at most so many bytes in files: in memory ten times as many."""
Progress = Callable[[str, int, int], None]


class TooLarge(Exception):
    """Tasks ran out of memory. `error` is raised if smaller tasks do so, too."""

    def __init__(self, error: OutOfMemory) -> None:
        super().__init__("too large")
        self.error = error


@contextmanager
def step(progress: Progress, what: str) -> Iterator[None]:
    """Report the start and the end of a step that has no count."""
    progress(what, 0, 1)
    yield
    progress(what, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the stages of a run work with."""

    config: Config
    transaction: Transaction
    inputs: Inputs
    """The files there are now."""
    seen: Inputs
    """The files that the published run saw."""
    unsliced: Mapping[str, str]
    """The columns that cannot have slices, with their types."""
    ids: Ids
    progress: Progress
    began: float
    """The start of the run by `time.monotonic`."""

    def stored(self, plan: Plan, name: str) -> StoredRows:
        """The stored `tiles` or `days`: states and slices that are still declared, and the audit; none from scratch.

        If the config dropped a state and declares it again, the stored state is not used: runs in between did not
        update it.
        """
        transaction, published = self.transaction, self.transaction.published
        if published is None or plan.from_scratch:
            return StoredRows(store=transaction.store, name=name, table=None)
        return StoredRows(
            store=transaction.store,
            name=name,
            table=transaction.table_to_read(name),
            states=frozenset(state for state in self.config.states if state in published.states),
            slice_sets=tuple(
                ",".join(columns) for columns in self.config.slice_sets if columns in published.slice_sets
            ),
        )

    def hours_of(self, plan: Plan, days: set[str]) -> pa.Table:
        """The stored hour tiles of some local days."""
        return self.stored(plan, "tiles").rows([("day", "in", sorted(days))]) if days else TILES.empty_table()

    def days_meeting(self, plan: Plan) -> frozenset[str]:
        """The local days of stored hour tiles that may meet the intervals of a plan."""
        near = (day for day in self._tile_bytes(plan) if intersection([self._around(day)], plan.intervals))
        return frozenset(near)

    def _tile_bytes(self, plan: Plan) -> dict[str, int]:
        """The bytes of the files of stored hour tiles, by their local day; none from scratch."""
        if self.stored(plan, "tiles").table is None:
            return {}
        return {day: sum(sizes.values()) for (day,), sizes in self.transaction.files("tiles").items()}

    def _around(self, day: str) -> Interval:
        """A local day with one before and one after: where clocks go back to the day before, it has two parts."""
        if day < SECOND_YEAR:
            return Interval(BEGINNING, END)
        start = self.config.zone.midnight(date.fromisoformat(day))
        return Interval(start - DAY, start + 2 * DAY)

    def together(self, plan: Plan, days: Iterable[str], more: Mapping[str, int]) -> Iterator[tuple[list[str], int]]:
        """The days in order, some at a time, whose tiles are in memory together; one that is too large in some parts.

        `more` bytes of each day are in files besides the stored ones. Gives days and in how many parts they are taken.
        """
        stored, ordered = self._tile_bytes(plan), sorted(days)
        weights = np.array([stored.get(day, 0) + more.get(day, 0) for day in ordered])
        for first, last in stretches(weights, FILE_BYTES):
            yield ordered[first:last], max(1, math.ceil(weights[first:last].sum() / FILE_BYTES))

    def take_over_tiles(self, built: BuiltTiles) -> None:
        """Take over the files that a task wrote its tiles to, as `take_over`."""
        self.transaction.staged("tiles", built.files)

    def take_over(self, changes: Difference) -> None:
        """Take over the files that a task wrote: if no commit names them, the run removes them."""
        self.transaction.staged("results", changes.results)
        for written in changes.revisions:
            self.transaction.staged("revisions", written.files)


@dataclass(frozen=True)
class Merge:
    """What the tasks of a stage computed, and how it changes tiles with their states: those of all days or of some."""

    computed: Computed
    merged: Callable[[pa.Table, pa.Table], pa.Table]
    """The tiles with the computed ones in their place."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known after some stages of a run."""

    outcome: Outcome
    """What the stages did. A stage may narrow what the stages of its plan that are still to come do."""
    tiles: pa.Table
    """Hour tiles without their states, if tasks compute some: of days near these, and all rows for the audit."""
    computed: tuple[Merge, ...] = ()
    """What tasks computed, in the order in which it changes the stored tiles."""
    touched: set[str] = field(default_factory=set)
    """The local days whose tiles changed."""
    changed: PairsChanged = field(default_factory=PairsChanged)
    """Whose pairs changed, for Python functions."""
    losing: pa.Table = field(default_factory=lambda: pa.table({}))
    """The predictions that lose to one in another tile, if tasks match rows."""
    hours: TileRows | None = None
    """The hour tiles, once they are on disk."""
    days: TileRows | None = None
    """The day tiles."""
    audit_days: pa.Table = field(default_factory=lambda: pa.table({}))
    """All day tiles without their states."""
    newest: int = 0
    """The end of the newest hour with predictions."""

    @property
    def plan(self) -> Plan:
        return self.outcome.plan
