"""Day tiles: the merged states of whole local days, so that a long window reads a few rows and no hour of its inside.

They follow from the hour tiles and are written with them. Limit: one row a day and slice, whatever its size.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.blocks import Blocks
from sli.config import Config
from sli.scan import connect
from sli.schemas import UTC, state_type
from sli.slis.states import integers


def renewed(config: Config, before: pa.Table, tiles: pa.Table, touched: Collection[str]) -> pa.Table:
    """All day tiles after a run: those of touched days made anew from hour tiles."""
    kept = before.filter(pc.invert(pc.is_in(before.column("day"), pa.array(sorted(touched), pa.string()))))
    days = pa.concat_tables([kept, day_tiles(config, tiles, touched)], promote_options="permissive")
    for state in config.states.values():
        if state.kind != "window" and state.id not in days.schema.names:
            days = days.append_column(state.id, pa.nulls(len(days), state_type(state.kind)))
    return days


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
        blocks = Blocks(con, mine, states, config.tile, {})
        blocks.merge(starts, ends, once=True)
        packed = blocks.packed()
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
