"""Hour tiles and day tiles on their way to disk, some days at a time: no more of them are in memory.

Limit: the rows of a month are in one file of day tiles, so the stored ones of its other days are read, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.ahead import computed_ahead
from sli.planning.plan import Plan
from sli.publishing.conflicts import new_conflicts
from sli.publishing.delta_tables import without_dictionaries
from sli.publishing.parquet_files import Written
from sli.publishing.tile_rows import EVERY_SLICE, TileRows, of_pairs
from sli.publishing.transaction import joined, with_columns
from sli.rollup.days import days_schema, updated_days
from sli.rollup.results import newest_hour
from sli.runs.built import by_slice_sets
from sli.runs.known import Known, Work
from sli.runs.stretches import SliceCounts
from sli.schemas import DAYS, TILES
from sli.slis.states import with_states

DayTiles = tuple[Collection[str], pa.Table]
"""Some local days and their hour tiles, or a part of the tiles of one that is large."""


def computed_on_disk(work: Work, known: Known) -> Known:
    """What is known once the tiles that tasks computed are merged with the stored ones, and on disk.

    Raises duckdb.OutOfMemoryException and StoreError.
    """
    hours = _all_computed(work, known)
    try:
        return put_on_disk(work, known, computed_ahead(_merged_days(work, known)), known.touched, hours)
    finally:
        if hours is None:
            work.transaction.discard(
                "tiles", [file for merge in known.computed for file in merge.computed.written.files]
            )


def _merged_days(work: Work, known: Known) -> Iterator[DayTiles]:
    """The tiles of the days touched, some at a time: stored ones with the computed ones in their place."""
    stored, states = work.stored(known.plan, "tiles"), work.config.states
    audit = known.tiles.filter(~of_pairs())
    sizes = sum((merge.computed.sizes for merge in known.computed), Counter[str]())
    for days, parts in work.together(known.plan, known.touched, sizes):
        in_days = pc.field("day").isin(pa.array(days, pa.string()))
        of_days = audit.filter(in_days)
        tiles = known.tiles.filter(in_days & of_pairs())
        for slices in SliceCounts.of(tiles).cut(parts, {}) if parts > 1 else [EVERY_SLICE]:
            rows = stored.rows([("day", "in", days)], only=of_pairs() & slices.condition)
            for merge in known.computed:
                rows = merge.merged(rows, merge.computed.rows(days, slices))
            yield days, with_states(pa.concat_tables([rows, of_days], promote_options="permissive"), states)
            of_days = of_days.slice(0, 0)
    if known.plan.from_scratch and not known.touched:
        yield (), with_states(TILES.empty_table(), states)


def _all_computed(work: Work, known: Known) -> Written | None:
    """All hour tiles as the tasks wrote them, with the rest of the rows in further files, if nothing else is stored."""
    if not known.plan.from_scratch or len(known.computed) != 1:
        return None
    computed, transaction = known.computed[0].computed, work.transaction
    audit = known.tiles.filter(~of_pairs())
    if not computed.written.files or len(known.tiles) - len(audit) != len(computed):
        return None
    rest = with_states(with_columns(audit, TILES), work.config.states)
    rows = pa.concat_tables([computed.few, rest], promote_options="permissive").select(computed.written.schema.names)
    more = transaction.stage("tiles", [rows.cast(computed.written.schema)], computed.written.schema)
    return replace(more, files=(*computed.written.files, *more.files), few=None)


def put_on_disk(
    work: Work, known: Known, parts: Iterable[DayTiles], touched: Collection[str], hours: Written | None = None
) -> Known:
    """What is known once hour tiles, and the day tiles merged from them, are on disk.

    `parts` have all tiles of the days `touched`, in their order; they are read while they are written. With `hours`
    they are on disk already. Raises what `parts` raise, duckdb.OutOfMemoryException and StoreError.
    """
    config, plan = work.config, known.plan
    stored = work.stored(plan, "days")
    on_others = ~pc.field("day").isin(pa.array(sorted(touched), pa.string()))
    days, audited = None, DAYS.empty_table()
    if touched or plan.from_scratch:
        hours, days, audited = _written(work, plan, parts, on_others, hours)
    of_hours = TileRows(stored=work.stored(plan, "tiles"), written=hours, replaced=frozenset(touched))
    of_days = TileRows(stored=stored, written=days, replaced=frozenset(day[:7] for day in touched))
    before = stored.rows(columns=DAYS.names)
    audit_days = pa.concat_tables([before.filter(on_others), audited], promote_options="permissive")
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
        days=of_days,
        audit_days=audit_days,
        newest=newest,
    )


def _written(
    work: Work, plan: Plan, parts: Iterable[DayTiles], on_others: pc.Expression, hours: Written | None
) -> tuple[Written | None, Written, pa.Table]:
    """The files of hours, those of days, and the rows of these days without their states.

    `on_others`: that a row lies on a day of which no part has tiles.
    """
    config, transaction = work.config, work.transaction
    written, audited = [] if hours is None else [hours], [DAYS.empty_table()]

    def kept(months: list[str]) -> pa.Table:
        return work.stored(plan, "days").rows([("month", "in", months)], only=on_others)

    def hours_written() -> Iterator[DayTiles]:
        for days, tiles in parts:
            if hours is None:
                rows = with_columns(tiles, TILES)
                written.append(transaction.stage("tiles", by_slice_sets(rows), without_dictionaries(rows.schema)))
            yield days, tiles

    def told(rows: pa.Table) -> pa.Table:
        audited.append(rows.select(DAYS.names).filter(~on_others))
        return rows

    days = transaction.stage("days", map(told, updated_days(config, kept, hours_written())), days_schema(config))
    return joined(written) if written else None, days, pa.concat_tables(audited, promote_options="permissive")
