"""Stored tiles after a recompute: recomputed tiles replace the old ones, and new states and slices fill the others.

A final tile that input would change stays as it is (it is held) until a backfill. Limit: all stored and all recomputed
tiles are in memory at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from sli.calendar.interval import Interval, difference, union
from sli.engine.connection import scratch
from sli.engine.sql import inside_sql, literal
from sli.planning.published import Published
from sli.planning.stages import Recompute
from sli.planning.tasks import TaskSet
from sli.slis.states import State, with_states

KEYS = ("span", "start", "slice_by", "slice")


def with_recomputed(
    tile: int, stored: pa.Table, recomputed: pa.Table, stage: Recompute, published: Published | None
) -> tuple[pa.Table, list[Interval]]:
    """The stored tiles with the recomputed ones in their place, and the intervals of final tiles that are held."""
    con = scratch()
    con.register("stored_arrow", stored)
    con.register("recomputed_arrow", recomputed)
    held = _find_held(con, stored, recomputed, stage, tile, published)
    pairs = inside_sql("epoch_us(start)", difference([*stage.tiles, *stage.confirm], held))
    feedback = inside_sql("epoch_us(start)", stage.feedback_tiles)
    replaced = f"((span <> 'feedback' AND {pairs}) OR (span = 'feedback' AND {feedback}))"
    kept = con.sql(f"SELECT * FROM stored_arrow WHERE NOT {replaced}").to_arrow_table()
    new = con.sql(f"SELECT * FROM recomputed_arrow WHERE {replaced}").to_arrow_table()
    return pa.concat_tables([kept, new], promote_options="permissive"), held


def _find_held(
    con: duckdb.DuckDBPyConnection,
    stored: pa.Table,
    recomputed: pa.Table,
    stage: Recompute,
    tile: int,
    published: Published | None,
) -> list[Interval]:
    """The tiles to confirm that input would change."""
    if not stage.confirm or published is None:
        return []
    names = ["start", "slice_by", "slice", "predictions", "labelled"]
    # Some stored tiles lack the others.
    comparable = set(stored.schema.names) - set(published.needs.states)
    names += [name for name in recomputed.schema.names if name in comparable and "_" in name and name != "slice_by"]
    sets = ", ".join(literal(",".join(columns)) for columns in published.slice_sets)
    confirmed = f"span = 'tile' AND slice_by IN ({sets}) AND {inside_sql('epoch_us(start)', stage.confirm)}"
    rows = f"SELECT {', '.join(names)} FROM {{}} WHERE {confirmed}"
    old, new = rows.format("stored_arrow"), rows.format("recomputed_arrow")
    starts = con.execute(
        f"SELECT DISTINCT epoch_us(start) FROM (({old} EXCEPT {new}) UNION ALL ({new} EXCEPT {old})) ORDER BY ALL"
    ).fetchall()
    return union(Interval(start, start + tile) for (start,) in starts)


def changed_intervals(
    states: Mapping[str, State], tile: int, before: pa.Table, after: pa.Table, recomputed: Sequence[Interval]
) -> list[Interval]:
    """The recomputed tiles whose states, or values of Python functions, really changed."""
    names = [*KEYS, "predictions", "labelled", *states]
    # Tiles of feedback alone have no states, so a state that only this run brings may have no column yet.
    before, after = (with_states(tiles, states).select(names) for tiles in (before, after))
    # Comparing the states themselves takes ten times as long; two different states share a hash once in 2^64 times.
    old, new = (
        f"(SELECT span, epoch_us(start) AS start, slice_by, slice, hash({', '.join(names[4:])}) AS content FROM {name} "
        f"WHERE span IN ('tile', 'hour', 'day') AND {inside_sql('epoch_us(start)', recomputed)})"
        for name in ("before_arrow", "after_arrow")
    )
    with scratch() as con:
        con.register("after_arrow", after)
        con.register("before_arrow", before.cast(after.schema))
        starts = con.execute(
            f"SELECT DISTINCT start FROM {old} o FULL JOIN {new} n USING ({', '.join(KEYS)}) "
            "WHERE o.content IS DISTINCT FROM n.content"
        ).fetchall()
    return union(Interval(start, start + tile) for (start,) in starts)


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
    sets, full = (
        ", ".join(literal(",".join(columns)) for columns in sets) for sets in (task_set.slice_sets, published)
    )
    filled: pa.Table = con.sql(
        f"SELECT {columns} FROM tiles_arrow t FULL JOIN (SELECT * FROM filling_arrow "
        f"WHERE span IN ('tile', 'hour', 'day') AND slice_by IN ({sets})) f USING ({', '.join(KEYS)}) "
        # A held tile does not count predictions that came since, so it must not gain a row for their slice.
        f"WHERE t.day IS NOT NULL OR span <> 'tile' OR slice_by NOT IN ({full})"
    ).to_arrow_table()
    return filled
