"""Stored tiles after a recompute: recomputed tiles replace the old ones, and new states and slices fill the others.

A final tile that input would change stays as it is (it is held) until a backfill. What changed is found in outlines:
tiles with a hash in place of each state. Limit: two different states share a hash once in 2^64 times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Interval, difference, meets_any, union
from sli.engine.arrow import rows_in_order
from sli.engine.connection import scratch
from sli.engine.sql import inside_sql, literal
from sli.planning.published import Published
from sli.planning.stages import Recompute
from sli.planning.tasks import TaskSet
from sli.schemas import TILES
from sli.slices import SliceBy
from sli.slis.states import Flags, integers

KEYS = ("span", "start", "slice_by", "slice")
CELLS = pa.schema([TILES.field("start").with_type(pa.int64()), TILES.field("slice_by"), TILES.field("slice")])
"""The columns of `changed_cells`: the start of a tile, an hour or a day, and a slice."""
MADE_OF_PAIRS = "span IN ('tile', 'hour', 'day')"
"""SQL condition of the rows with states, or with values of Python functions."""


def outline(rows: pa.Table, states: Iterable[str]) -> pa.Table:
    """Tiles with a hash in place of each of these states, null where there is none."""
    present = [name for name in states if name in rows.schema.names]
    hashes = [f'CASE WHEN "{name}" IS NOT NULL THEN hash("{name}") END AS "{name}"' for name in present]
    with scratch() as con:
        con.register("rows_arrow", rows)
        outlined: pa.Table = con.sql(f"SELECT {', '.join([*TILES.names, *hashes])} FROM rows_arrow").to_arrow_table()
    return outlined


def with_recomputed(stored: pa.Table, recomputed: pa.Table, stage: Recompute, held: Sequence[Interval]) -> pa.Table:
    """The stored tiles with the recomputed ones in their place, but for those that are held: of all days or of some."""
    pairs = difference([*stage.tiles, *stage.confirm], held)

    def replaced(rows: pa.Table) -> Flags:
        starts = integers(rows.column("start").cast(pa.int64()))
        of_feedback = pc.equal(rows.column("span"), pa.scalar("feedback")).to_numpy()
        return np.where(
            of_feedback,
            meets_any(starts, starts + 1, stage.feedback_tiles),
            meets_any(starts, starts + 1, pairs),
        )

    # Most are whole stretches of rows, which are not copied.
    kept = rows_in_order(stored, np.flatnonzero(~replaced(stored)))
    new = rows_in_order(recomputed, np.flatnonzero(replaced(recomputed)))
    return pa.concat_tables([kept, new], promote_options="permissive")


def find_held(
    tile: int, stored: pa.Table, recomputed: pa.Table, stage: Recompute, published: Published | None
) -> list[Interval]:
    """The tiles to confirm that input would change, by the outlines of stored and recomputed tiles."""
    if not stage.confirm or published is None:
        return []
    # Some stored tiles lack the others.
    comparable = {*stored.schema.names} & {*recomputed.schema.names} - {*published.needs.states}
    states = [name for name in stage.task_set.states if name in comparable]
    where = f"span = 'tile' AND slice_by IN ({_texts_of(published.slice_sets)})"
    return _differing(tile, stored, recomputed, states, where, stage.confirm)


def changed_intervals(
    states: Iterable[str], tile: int, before: pa.Table, after: pa.Table, recomputed: Sequence[Interval]
) -> list[Interval]:
    """The recomputed tiles whose states, or values of Python functions, really changed, by outlines."""
    return _differing(tile, before, after, list(states), MADE_OF_PAIRS, recomputed)


def changed_cells(states: Iterable[str], before: pa.Table, after: pa.Table, recomputed: Sequence[Interval]) -> pa.Table:
    """Of the recomputed tiles the starts and slices in which one of these states changed: rows of `CELLS`."""
    return _differing_cells(before, after, list(states), MADE_OF_PAIRS, recomputed)


def _differing(
    tile: int, before: pa.Table, after: pa.Table, states: list[str], where: str, within: Sequence[Interval]
) -> list[Interval]:
    """Those of the tiles `within` that differ between two outlines, in the rows of the SQL condition `where`."""
    starts = integers(_differing_cells(before, after, states, where, within).column("start"))
    return union(Interval(start, start + tile) for start in np.unique(starts).tolist())


def _differing_cells(
    before: pa.Table, after: pa.Table, states: list[str], where: str, within: Sequence[Interval]
) -> pa.Table:
    """The starts and slices of the rows that differ, as in `_differing`."""
    names = [*KEYS, "predictions", "labelled", *states]
    # Tiles of feedback alone have no states, so a state that only this run brings may have no column yet.
    before, after = (_with_hashes(rows, states).select(names) for rows in (before, after))
    # Comparing the columns themselves takes ten times as long.
    old, new = (
        f"(SELECT span, epoch_us(start) AS start, slice_by, slice, hash({', '.join(names[4:])}) AS content FROM {name} "
        f"WHERE {where} AND {inside_sql('epoch_us(start)', within)})"
        for name in ("before_arrow", "after_arrow")
    )
    with scratch() as con:
        con.register("after_arrow", after)
        con.register("before_arrow", before)
        cells: pa.Table = con.sql(
            f"SELECT DISTINCT {', '.join(CELLS.names)} FROM {old} o FULL JOIN {new} n USING ({', '.join(KEYS)}) "
            "WHERE o.content IS DISTINCT FROM n.content"
        ).to_arrow_table()
    return cells.cast(CELLS)


def _with_hashes(rows: pa.Table, states: Iterable[str]) -> pa.Table:
    """An outline with a column for each of these states."""
    for name in states:
        if name not in rows.schema.names:
            rows = rows.append_column(name, pa.nulls(len(rows), pa.uint64()))
    return rows


def _texts_of(slice_sets: Iterable[SliceBy]) -> str:
    """SQL of slice sets as tiles name them."""
    return ", ".join(literal(",".join(columns)) for columns in slice_sets)


def with_filled(
    tiles: pa.Table, computed: pa.Table, task_set: TaskSet, published: Sequence[tuple[str, ...]]
) -> pa.Table:
    """The tiles with what a set of tasks computed: new states as columns, new slices and windows as rows.

    `published` are the slice sets that the tiles had before the run.
    """
    con = scratch()
    con.register("tiles_arrow", tiles)
    con.register("filling_arrow", computed)
    old, new = tiles.schema.names, computed.schema.names
    columns = ", ".join(
        name
        if name in KEYS
        else f"coalesce(t.{name}, f.{name}) AS {name}"
        if name in old and name in new
        else f"t.{name}"
        if name in old
        else f"f.{name}"
        for name in dict.fromkeys([*old, *(name for name in new if name in task_set.states)])
    )
    filling = f"FROM filling_arrow WHERE {MADE_OF_PAIRS} AND slice_by IN ({_texts_of(task_set.slice_sets)})"
    filled: pa.Table = con.sql(
        f"SELECT {columns} FROM tiles_arrow t FULL JOIN ({filling}) f USING ({', '.join(KEYS)}) "
        # A held tile does not count predictions that came since, so it must not gain a row for their slice.
        f"WHERE t.day IS NOT NULL OR span <> 'tile' OR slice_by NOT IN ({_texts_of(published)})"
    ).to_arrow_table()
    return filled
