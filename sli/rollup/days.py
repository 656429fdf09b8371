"""Day tiles: the merged states of whole local days, so that a long window reads a few rows and no hour of its inside.

They follow from the hour tiles and are written with them; the audit is put together from them, too. Limit: one row a
day and slice, whatever its size.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.config.model import Config
from sli.engine.connection import connect, scratch
from sli.matching.spec import SAMPLES
from sli.rollup.merge import TileTables, TileTree
from sli.schemas import UTC, with_states
from sli.slis.states import integers


def renewed(config: Config, before: pa.Table, tiles: pa.Table, touched: Collection[str]) -> pa.Table:
    """All day tiles after a run: those of touched days made anew from hour tiles."""
    kept = before.filter(pc.invert(pc.is_in(before.column("day"), pa.array(sorted(touched), pa.string()))))
    made = [day_tiles(config, tiles, touched), day_marks(tiles, touched)]
    days = pa.concat_tables([kept, *made], promote_options="permissive")
    return with_states(days, {id: kind for id, kind in config.kinds.items() if kind != "window"})


def day_tiles(config: Config, tiles: pa.Table, days: Collection[str]) -> pa.Table:
    """A row of `schemas.DAYS` for each of these local days and slice, from hour tiles."""
    chosen = pa.array(sorted(days), pa.string())
    mine = tiles.filter(pc.and_(pc.equal(tiles.column("span"), "tile"), pc.is_in(tiles.column("day"), chosen)))
    # Days of feedback alone have no tile; one of the year 1 has no midnight either.
    named = sorted(set(mine.column("day").to_pylist()))
    dates = [date.fromisoformat(each) for each in named]
    starts, ends = (
        np.array([config.zone.midnight(each + timedelta(days=i)) for each in dates], dtype=np.int64) for i in (0, 1)
    )
    states = {id: state for id, state in config.states.items() if state.kind != "window"}
    con = connect(config.parallel, config.task_memory)
    try:
        tree = TileTree(con, TileTables(mine), states, config.tile, {})
        packed = tree.packed(tree.merge(starts, ends, disjoint=True))
    finally:
        con.close()
    at = integers(packed.column("w"))
    day = np.array(named, dtype=object)[at]
    return (
        packed.drop_columns(["w"])
        .append_column("span", pa.array(["tile"] * len(packed), pa.string()))
        .append_column("start", pa.array(starts[at], pa.int64()).cast(UTC))
        .append_column("day", pa.array(day, pa.string()))
        .append_column("month", pa.array([each[:7] for each in day], pa.string()))
    )


def day_marks(tiles: pa.Table, days: Collection[str]) -> pa.Table:
    """The marks of these local days, one row a day and span; strays are counted by their reason."""
    con = scratch()
    mine = pc.is_in(tiles.column("day"), pa.array(sorted(days), pa.string()))
    con.register("tiles_arrow", tiles.select(["day", "span", "marks", "strays"]).filter(mine))
    told = "{'log': 'feedback', 'check': s.reason, 'file': NULL::VARCHAR, 'count': 1::BIGINT, 'samples': [s.id]}"
    con.execute(
        "CREATE TEMP TABLE marked AS SELECT day, span, unnest(marks) AS m FROM tiles_arrow UNION ALL "
        f"SELECT day, span, {told} FROM (SELECT day, span, unnest(strays) AS s FROM tiles_arrow)"
    )
    return con.sql(
        "SELECT day[1:7] AS month, day, span, '' AS slice_by, '' AS slice, 0::BIGINT AS predictions, "
        "0::BIGINT AS labelled, list({'log': log, 'check': \"check\", 'file': file, 'count': \"count\", "
        "'samples': samples} ORDER BY log, \"check\", file) AS marks "
        f"FROM ({added_up('marked', 'day, span, ')}) GROUP BY day, span ORDER BY day, span"
    ).to_arrow_table()


def added_up(marked: str, by: str = "") -> str:
    """SQL of marks `m` put together: one row a log, check and file (and what else they are told apart `by`)."""
    return (
        f'SELECT {by}m.log AS log, m."check" AS "check", m.file AS file, sum(m."count")::BIGINT AS "count", '
        f"list_slice(list_sort(list_distinct(flatten(list(m.samples)))), 1, {SAMPLES}) AS samples "
        f"FROM {marked} GROUP BY ALL"
    )
