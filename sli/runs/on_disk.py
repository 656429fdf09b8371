"""Hour tiles and day tiles on their way to disk, some days at a time: no more of them are in memory.

Limit: the rows of a month are in one file of day tiles, so the stored ones of its other days are read, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.arrow import rows_in_order
from sli.publishing.conflicts import new_conflicts
from sli.publishing.delta_tables import without_dictionaries
from sli.publishing.parquet_files import Written
from sli.publishing.tile_rows import EVERY_SLICE, TileRows
from sli.publishing.transaction import joined, with_columns
from sli.rollup.days import days_schema, updated_days
from sli.rollup.results import encode, newest_hour
from sli.runs.known import Known, Work
from sli.schemas import DAYS, TILES

GROUP_BYTES = 1 << 20
"""Rows are written in groups of at least so many bytes in memory: each group costs a reader the looking at it."""
DayTiles = tuple[Collection[str], pa.Table]
"""Some local days, and all of their hour tiles."""


def put_on_disk(work: Work, known: Known, parts: Iterable[DayTiles], touched: Collection[str]) -> Known:
    """What is known once hour tiles, and the day tiles merged from them, are on disk.

    `parts` have all tiles of the days `touched`, the days in order; they are read while they are written. Raises what
    they raise, duckdb.OutOfMemoryException and StoreError.
    """
    config, plan, transaction = work.config, known.plan, work.transaction
    hours: list[Written] = []
    audited = [DAYS.empty_table()]
    stored = work.stored(plan, "days")
    on_others = ~pc.field("day").isin(pa.array(sorted(touched), pa.string()))

    def kept(months: list[str]) -> pa.Table:
        return stored.rows([("month", "in", months)], only=on_others)

    def hours_written() -> Iterator[DayTiles]:
        for days, tiles in parts:
            rows = with_columns(tiles, TILES)
            hours.append(transaction.stage("tiles", by_slice_sets(rows), without_dictionaries(rows.schema)))
            yield days, tiles

    def told(rows: pa.Table) -> pa.Table:
        audited.append(rows.select(DAYS.names).filter(~on_others))
        return rows

    days: Written | None = None
    if touched or plan.from_scratch:
        days = transaction.stage("days", map(told, updated_days(config, kept, hours_written())), days_schema(config))
    before = stored.rows(columns=DAYS.names)
    audit_days = pa.concat_tables([before.filter(on_others), *audited], promote_options="permissive")
    of_hours = TileRows(
        stored=work.stored(plan, "tiles"),
        written=joined(hours) if hours else None,
        replaced=frozenset(touched),
    )
    # The newest hour may lie before the published one if predictions were removed.
    last = pc.max(audit_days.filter(pc.field("span") == "tile").column("day")).as_py()
    newest = newest_hour(config.since_instant, config.zone, of_hours.rows({last} if last else set(), {}, EVERY_SLICE))
    conflicts = new_conflicts(config.max_conflicts, config.slice_sets, before, audit_days, touched)
    return replace(
        known,
        outcome=replace(known.outcome, conflicts=conflicts),
        tiles=TILES.empty_table(),
        touched=set(touched),
        hours=of_hours,
        days=TileRows(stored=stored, written=days, replaced=frozenset(day[:7] for day in touched)),
        audit_days=audit_days,
        newest=newest,
    )


def by_slice_sets(tiles: pa.Table) -> Iterator[pa.Table]:
    """Hour tiles in groups of rows of a day and a slice set, or of several sets if they are small.

    What is written together is a group of rows in its file: a reader of one slice set reads no other group.
    """
    days, sets = (encode(tiles.column(name)) for name in ("day", "slice_by"))
    key = days.indices.to_numpy().astype(np.int64) * max(1, len(sets.dictionary)) + sets.indices.to_numpy()
    order = np.argsort(key, kind="stable")
    in_order, key = rows_in_order(tiles, order), key[order]
    firsts = np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(key))
    begin = 0
    for first, end in itertools.pairwise(firsts.tolist()):
        last_of_day = end == len(key) or key[end] // len(sets.dictionary) != key[first] // len(sets.dictionary)
        if last_of_day or in_order.slice(begin, end - begin).nbytes >= GROUP_BYTES:
            yield in_order.slice(begin, end - begin)
            begin = end
