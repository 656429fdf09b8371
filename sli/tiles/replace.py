"""Stored tiles after a recompute: recomputed tiles replace the old ones, and new states and slices fill the others.

A final tile that input would change stays as it is (it is held) until a backfill. Limit: all stored and all recomputed
tiles are in memory at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from sli import schemas
from sli.calendar.interval import Interval, difference, union
from sli.config.model import Config
from sli.engine.connection import scratch
from sli.engine.sql import inside_sql, literal
from sli.planning.plan import Plan
from sli.planning.tasks import TaskSet


def replaced(
    config: Config, before: pa.Table, task_sets: list[tuple[TaskSet, pa.Table]], plan: Plan
) -> tuple[pa.Table, list[Interval]]:
    """All tiles after a run, and the final ones that input would change and an explicit interval must.

    Tiles recomputed are replaced, new states join the rows of the others.
    """
    con = scratch()
    con.register("before_arrow", before)
    held: list[Interval] = []
    whole = before
    if plan.to_recompute or plan.to_confirm or plan.feedback_tiles:
        made, task_sets = task_sets[0][1], task_sets[1:]
        con.register("made_arrow", made)
        held = _differing(con, before, made, plan, config.tile)
        done = inside_sql("epoch_us(start)", difference([*plan.to_recompute, *plan.to_confirm], held))
        fed = inside_sql("epoch_us(start)", plan.feedback_tiles)
        mine = f"((span <> 'feedback' AND {done}) OR (span = 'feedback' AND {fed}))"
        kept = con.sql(f"SELECT * FROM before_arrow WHERE NOT {mine}").to_arrow_table()
        new = con.sql(f"SELECT * FROM made_arrow WHERE {mine}").to_arrow_table()
        whole = pa.concat_tables([kept, new], promote_options="permissive")
    for task_set, made in task_sets:
        whole = _joined(con, whole, made, task_set)
    return schemas.with_states(whole, config.kinds), held


def _differing(
    con: duckdb.DuckDBPyConnection, before: pa.Table, made: pa.Table, plan: Plan, tile: int
) -> list[Interval]:
    """Tiles among those checked whose states would change."""
    if not plan.to_confirm or not plan.published_slice_sets:
        return []
    names = ["start", "slice_by", "slice", "predictions", "labelled"]
    # A state that tiles have yet to gain differs from nothing.
    comparable = set(before.schema.names) - set(plan.incomplete_states)
    names += [name for name in made.schema.names if name in comparable and "_" in name and name != "slice_by"]
    sets = ", ".join(literal(",".join(each)) for each in plan.published_slice_sets)
    mine = f"span = 'tile' AND slice_by IN ({sets}) AND {inside_sql('epoch_us(start)', plan.to_confirm)}"
    rows = f"SELECT {', '.join(names)} FROM {{}} WHERE {mine}"
    old, new = rows.format("before_arrow"), rows.format("made_arrow")
    found = con.execute(
        f"SELECT DISTINCT epoch_us(start) FROM (({old} EXCEPT {new}) UNION ALL ({new} EXCEPT {old})) ORDER BY ALL"
    ).fetchall()
    return union(Interval(start, start + tile) for (start,) in found)


def renewed(config: Config, before: pa.Table, after: pa.Table, among: Sequence[Interval]) -> list[Interval]:
    """Of these tiles those whose states, or values of Python functions, are not what they were."""
    names = ["span", "start", "slice_by", "slice", "predictions", "labelled", *config.kinds]
    after = after.select(names)
    # Two different states have one hash once in 2^64 times; to lay the states side by side takes ten times as long.
    old, new = (
        f"(SELECT span, epoch_us(start) AS start, slice_by, slice, hash({', '.join(names[4:])}) AS content FROM {name} "
        f"WHERE span IN ('tile', 'hour', 'day') AND {inside_sql('epoch_us(start)', among)})"
        for name in ("before_arrow", "after_arrow")
    )
    with scratch() as con:
        con.register("after_arrow", after)
        con.register("before_arrow", schemas.with_states(before, config.kinds).select(names).cast(after.schema))
        found = con.execute(
            f"SELECT DISTINCT start FROM {old} o FULL JOIN {new} n USING (span, start, slice_by, slice) "
            "WHERE o.content IS DISTINCT FROM n.content"
        ).fetchall()
    return union(Interval(start, start + config.tile) for (start,) in found)


def _joined(con: duckdb.DuckDBPyConnection, whole: pa.Table, made: pa.Table, task_set: TaskSet) -> pa.Table:
    """Add columns of new states to the rows there are, and rows of new slices or windows."""
    con.register("whole_arrow", whole)
    con.register("made_arrow", made)
    keys = ("span", "start", "slice_by", "slice")
    old, new = whole.schema.names, made.schema.names
    columns = ", ".join(
        name
        if name in keys
        else f"coalesce(w.{name}, m.{name}) AS {name}"
        if name in old and name in new
        else f"w.{name}"
        if name in old
        else f"m.{name}"
        for name in dict.fromkeys([*old, *(name for name in new if name in task_set.states)])
    )
    known = ", ".join(literal(",".join(each)) for each in task_set.slice_sets)
    return con.sql(
        f"SELECT {columns} FROM whole_arrow w FULL JOIN (SELECT * FROM made_arrow "
        f"WHERE span IN ('tile', 'hour', 'day') AND slice_by IN ({known})) m USING (span, start, slice_by, slice) "
        # A held tile has predictions in the logs that its published row does not know of: it gains no row here.
        "WHERE w.day IS NOT NULL OR span <> 'tile' OR slice_by NOT IN "
        "(SELECT DISTINCT slice_by FROM before_arrow WHERE span = 'tile')"
    ).to_arrow_table()
