"""The task that rolls up a stretch: it reads tiles and published rows, compares, and writes what changed to files.

It runs in this process or on a worker, with the same bits. Tiles and results pass through the store; what it gets and
returns is small. Limit: the rows of one stretch are in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants
from sli.config.model import Config
from sli.publishing.delta_tables import table_errors
from sli.publishing.diff import Difference, Scope, compared, new_rows, partitions_in, revised_rows
from sli.publishing.history import restated_rows
from sli.publishing.parquet_files import Files, NewFile, Partition, Written
from sli.publishing.published_rows import PublishedRows
from sli.publishing.rows import encode_texts, stored_batches, text_counts
from sli.publishing.store import LAYOUT
from sli.publishing.tile_rows import EVERY_SLICE, TileRows
from sli.publishing.transaction import with_columns
from sli.rollup.evaluate import Evaluation, states_of
from sli.rollup.kept import Kept, PairsChanged
from sli.rollup.merge import TileTables
from sli.rollup.results import NOTHING, roll_up, tile_tables
from sli.runs.stretches import Stretch
from sli.schemas import REVISIONS
from sli.slis import Sli
from sli.slis.custom.function import calls_so_far


@dataclass(frozen=True, kw_only=True)
class RollUpTask:
    """What all stretches of a run share. Call it with a stretch; tell finished windows to `done`."""

    scope: Scope
    slis: tuple[tuple[str, ...], ...]
    """The names of the SLIs of each group."""
    hours: TileRows
    days: TileRows
    references: Mapping[str, pa.Table]
    """The tiles of reference tables, by their path."""
    before: PublishedRows
    changed: PairsChanged | None
    """Whose pairs changed since these were published; None: any may have."""
    later: int | None
    """The next as_of of a run of an older one, whose results stay."""
    results: Files
    revisions: Files
    stamp: Mapping[str, str | int | None]
    """What revisions have besides."""
    threads: int

    def beside(self, tasks: int) -> RollUpTask:
        """The same with its part of the memory and the threads of so many tasks at once."""
        config = self._config.model_copy(update={"task_memory": self._config.task_memory // tasks})
        scope = replace(self.scope, config=config)
        return replace(self, scope=scope, threads=max(1, self.threads // tasks))

    def __call__(self, stretch: Stretch, done: Callable[[int], None]) -> Difference:
        """Roll up a stretch, and write what it changes. If that fails, no file stays. Raises SliError."""
        called = calls_so_far()
        old = [self.before.rows(*days.bounds, stretch.slices) for days in stretch.days]
        published = pa.concat_tables(old, promote_options="permissive")
        new = list(self._rolled_up(stretch, done, published))
        pair = (published, pa.concat_tables(new or [NOTHING]))
        del old, new, published
        whole = stretch.slices != EVERY_SLICE
        tables = list(compared(pair, self.scope, self.threads, whole))
        del pair
        return replace(self._written(stretch, tables), calls=calls_so_far().since(called))

    @property
    def _config(self) -> Config:
        return self.scope.config

    @cached_property
    def _groups(self) -> list[tuple[Sli, ...]]:
        return [tuple(sli for sli in self._config.declared if sli.name in names) for names in self.slis]

    def _rolled_up(self, stretch: Stretch, done: Callable[[int], None], published: pa.Table) -> Iterator[pa.Table]:
        """The rows of all windows of a stretch, one group of SLIs after another."""
        kept = None if self.changed is None else Kept(self._config, self.changed, published)
        numbers = sorted({number for days in stretch.days for number, _ in days.windows})
        if not numbers:
            return
        tables = self._tables(stretch, [sli for number in numbers for sli in self._groups[number]])
        for number in numbers:
            slis = self._groups[number]
            with Evaluation(self._config, tables, slis, self._config.caps, self.threads, kept) as evaluation:
                for days in stretch.days:
                    for of_group, windows in days.windows:
                        if of_group == number:
                            yield from roll_up(evaluation, *windows, self.scope.plan.as_of, done)

    def _tables(self, stretch: Stretch, slis: Iterable[Sli]) -> TileTables:
        """The tiles that the windows of a stretch are merged from, with the states of these SLIs."""
        states, zone = states_of(slis), self._config.zone
        merging = {id: state for id, state in states.items() if state.merges}
        partly, months = set[str](), set[str]()
        for days in stretch.days:
            for number, (grain, starts, ends) in days.windows:
                times = _times(self._config, self._groups[number], grain, starts, ends)
                dates = {int(at): zone.date(int(at)) for at in np.unique(np.concatenate(times))}
                partly |= {day.isoformat() for at, day in dates.items() if at != zone.midnight(day)}
                months |= _months(min(dates.values()), max(dates.values()))
                if len(merging) < len(states):
                    # Values of Python functions for all pairs of an hour or a day lie beside the hour tiles.
                    partly |= {dates[int(at)].isoformat() for at in starts}
        hours = self.hours.rows(partly, states, stretch.slices)
        return tile_tables(zone, hours, self.days.rows(months, merging, stretch.slices), self.references)

    def _written(self, stretch: Stretch, tables: Sequence[pa.Table]) -> Difference:
        """What changed, in files."""
        revised = [rows for rows in map(revised_rows, tables) if len(rows)]
        now = [rows for rows in map(new_rows, tables) if len(rows)]
        restated = [] if self.later is None or not revised else [self._restated(stretch, self.later, revised)]
        results = [] if self.scope.plan.older else self._write(self.results, "results", now, {})
        try:
            revisions = self._write(self.revisions, "revisions", [*revised, *restated], self.stamp)
        except BaseException:
            self.results.remove(file.path for file in results)
            raise
        changed = frozenset[Partition]().union(*map(partitions_in, revised))
        return Difference(
            results=tuple(results),
            revisions=(Written(self.revisions, REVISIONS, tuple(revisions)),) if revisions else (),
            partitions=changed,
            unchanged=frozenset[Partition]().union(*map(partitions_in, now)) - changed,
            causes=sum((text_counts(rows.column("cause")) for rows in revised), Counter[str]()),
            count=sum(map(len, now)),
            reasons=sum((_reasons(self._config, rows) for rows in now), Counter[tuple[str, str]]()),
        )

    def _restated(self, stretch: Stretch, later: int, revised: Sequence[pa.Table]) -> pa.Table:
        """Rows that keep results as they were known at a later as_of."""
        parts = (self.before.known_at(later, *days.bounds, stretch.slices) for days in stretch.days)
        known = pa.concat_tables(parts, promote_options="permissive")
        rows = restated_rows(known, pa.concat_tables(revised), self.scope.plan.as_of, later)
        return encode_texts(rows)

    def _write(
        self, place: Files, name: str, tables: Sequence[pa.Table], stamp: Mapping[str, str | int | None]
    ) -> list[NewFile]:
        schema, partitions = LAYOUT[name]
        stored = (rows for flat in tables for rows in stored_batches(flat, stamp, partitions))
        with table_errors(place.folder):
            return list(place.write((with_columns(rows, schema) for rows in stored), packed=False))


def _times(config: Config, slis: Iterable[Sli], grain: Grain, starts: Instants, ends: Instants) -> list[Instants]:
    """Where windows, and those that they are compared with, begin and end."""
    times = [starts, ends]
    references = [sli.reference for sli in slis if sli.reference is not None]
    if any(reference.kind == "previous" for reference in references):
        times.append(grain.before(config.zone, starts, ends))
    return times + [np.array([r.interval.start, r.interval.end]) for r in references if r.interval is not None]


def _months(first: date, last: date) -> set[str]:
    """The months from one date to another, as partitions are named."""
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return {f"{number // 12:04}-{number % 12 + 1:02}" for number in numbers}


def _reasons(config: Config, rows: pa.Table) -> Counter[tuple[str, str]]:
    """In how many rows each SLI of the user's own has each reason."""
    counts = Counter[tuple[str, str]]()
    for sli in config.declared:
        if "sli" not in sli.declaration:
            of_sli = rows.select(["sli", "reason"]).filter(pc.field("sli") == sli.name)
            counts.update({(sli.name, text): count for text, count in text_counts(of_sli.column("reason")).items()})
    return counts
