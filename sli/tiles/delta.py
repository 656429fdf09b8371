"""Update stored tiles in place: subtract the old contribution of the changed pairs, add the new one.

Each kind of state says how: counts, sums, histograms and groups are exact integers, so subtracting is exact; an
extreme, a sample or a set of distinct values cannot be subtracted, unless the new contribution has the same values.
Limit: where a state cannot be subtracted, `CannotAmend` is raised, and the tile must be recomputed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sli.config.model import Config
from sli.engine.arrow import rows_in_order
from sli.engine.connection import connected, scratch
from sli.schemas import UTC
from sli.slis import State
from sli.slis.kinds.lists import SIGNS, ListState, check_none
from sli.slis.kinds.parts import LABELLED, PREDICTIONS, Part, PartsState
from sli.slis.states import CannotAmend, integers
from sli.tiles.audit_delta import RowKey

if TYPE_CHECKING:
    import duckdb

KEY = "start, slice_by, slice"
ON = " AND ".join(f"{{0}}.{name} = {{1}}.{name}" for name in ("start", "slice_by", "slice"))


def changed_tiles(before: pa.Table, after: pa.Table, states: Iterable[str]) -> pa.Table:
    """The keys (`day`, `start`, `slice_by`, `slice`) of the tiles that differ between two tables of tiles."""
    con = scratch()
    con.register("before_arrow", before)
    con.register("after_arrow", after)
    # Comparing the states themselves takes ten times as long; two different states share a hash once in 2^64 times.
    content = f"hash({', '.join(['predictions', 'labelled', *states])})"
    old, new = (
        f"(SELECT day, {KEY}, {content} AS content FROM {side}_arrow WHERE span = 'tile')"
        for side in ("before", "after")
    )
    keys: pa.Table = con.sql(
        f"SELECT day, {KEY} FROM {old} o FULL JOIN {new} n USING (day, {KEY}) "
        "WHERE o.content IS DISTINCT FROM n.content ORDER BY ALL"
    ).to_arrow_table()
    return keys


def _updated(
    con: duckdb.DuckDBPyConnection, states: Iterable[State], sides: Mapping[str, pa.Table], keys: pa.Table
) -> pa.Table:
    """The tiles named by `keys` after an update, as SIGNS says of the `sides`, if they still have predictions.

    In the form of `schemas.TILES`. Raises CannotAmend.
    """
    con.register("keys_arrow", keys.append_column("row", pa.array(np.arange(len(keys)), pa.int64())))
    con.execute("CREATE TEMP TABLE changed AS FROM keys_arrow")
    for side, table in sides.items():
        con.register(f"{side}_arrow", table)
        con.execute(
            f"CREATE TEMP TABLE {side} AS SELECT row, s.* FROM {side}_arrow s JOIN changed c "
            f"ON {ON.format('s', 'c')} WHERE s.span = 'tile'"
        )
    of_parts = [state for state in states if isinstance(state, PartsState)]
    lost = (part.lost(*(state.stored(part, side) for side in SIGNS)) for state in of_parts for part in state.parts)
    joined = "before JOIN stored USING (row) LEFT JOIN after USING (row)"
    check_none(con, f"SELECT 1 FROM {joined} WHERE {' OR '.join(['false', *lost])}")
    tiles: pa.Table = con.sql(_updated_sql(of_parts)).to_arrow_table()
    for state in states:
        if isinstance(state, ListState):
            tiles = tiles.append_column(state.id, state.column(con.sql(state.updated(con)), "row", len(keys)))
    counts = integers(tiles.column("predictions"))
    if len(counts) and counts.min() < 0:
        raise CannotAmend
    return tiles.filter(pa.array(counts > 0)).drop_columns(["row"])


def _updated_sql(states: Iterable[PartsState]) -> str:
    """SQL of the updated tiles with their states of parts."""
    values = "".join(
        f", ({part.updated(*(f'{side}.{part.name}' for side in SIGNS))})::{part.type} AS {part.name}"
        for part in (PREDICTIONS, LABELLED)
    )
    for state in states:

        def updated(part: Part, state: PartsState = state) -> str:
            return f"({part.updated(*(state.stored(part, side) for side in SIGNS))})"

        values += f", {state.packed(updated)} AS {state.id}"
    keys = "day, span, start, slice_by, slice"
    joins = (f"LEFT JOIN (SELECT * EXCLUDE ({keys}) FROM {side}) {side} USING (row)" for side in SIGNS)
    return (
        f"SELECT row, day, 'tile' AS span, {KEY}{values} "
        f"FROM (SELECT row, day, {KEY} FROM changed) {' '.join(joins)} ORDER BY row"
    )


def update_tiles(
    config: Config,
    stored: pa.Table,
    before: pa.Table,
    after: pa.Table,
    keys: pa.Table,
    audit: pa.Table,
    audited: Iterable[RowKey],
) -> pa.Table:
    """The `stored` tiles after an update: tiles named by `keys` lose the contribution `before` and gain `after`.

    The rows of `audit` replace the stored rows with the spans and starts in `audited`. Raises CannotAmend.
    """
    with connected(config.parallel, config.task_memory) as con:
        sides = {"stored": stored, "before": before, "after": after}
        updated = _updated(con, config.states.values(), sides, keys)
    con = scratch()
    names = ["span", "start", "slice_by", "slice"]
    con.register(
        "stored_arrow", stored.select(names).append_column("place", pa.array(np.arange(len(stored)), pa.int64()))
    )
    con.register("replaced", pa.concat_tables([_tile_keys(keys), _audit_keys(audited)]))
    kept = con.sql(f"SELECT place FROM stored_arrow ANTI JOIN replaced USING ({', '.join(names)}) ORDER BY place")
    places = integers(kept.to_arrow_table().column("place"))
    parts = [rows_in_order(stored, places), updated, audit]
    return pa.concat_tables(parts, promote_options="permissive")


def _tile_keys(keys: pa.Table) -> pa.Table:
    return keys.select(["start", "slice_by", "slice"]).add_column(0, "span", pa.repeat("tile", len(keys)))


def _audit_keys(audited: Iterable[RowKey]) -> pa.Table:
    spans, starts = zip(*keys, strict=True) if (keys := list(audited)) else ((), ())
    return pa.table(
        {
            "span": pa.array(spans, pa.string()),
            "start": pa.array(starts, UTC),
            "slice_by": pa.repeat("", len(spans)),
            "slice": pa.repeat("", len(spans)),
        }
    )
