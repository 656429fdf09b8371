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
from sli.engine.arrow import combined, flatten_lists, integer_column, list_column, rows_in_order
from sli.engine.connection import connected, scratch
from sli.schemas import UTC
from sli.slis import State
from sli.slis.kinds.lists import SIGNS, Lists, ListState, check_none
from sli.slis.kinds.parts import LABELLED, PREDICTIONS, Part, PartsState
from sli.slis.states import CannotAmend, Integers, integers
from sli.tiles.audit_delta import RowKey

if TYPE_CHECKING:
    import duckdb

KEY = "start, slice_by, slice"


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


def _placed(sides: Mapping[str, pa.Table], keys: pa.Table) -> pa.Table:
    """The `keys` in the order of the stored tiles, with column `row`, and the places of their tiles in each of `sides`.

    A place is -1 where a side has no such tile.
    """
    with scratch() as con:
        con.register("keys_arrow", keys)
        for side, table in sides.items():
            con.register(f"{side}_arrow", _with_places(table.select(["span", *KEY.split(", ")])))
        joins = (f"LEFT JOIN (FROM {side}_arrow WHERE span = 'tile') {side} USING ({KEY})" for side in sides)
        places = (f"coalesce({side}.place, -1) AS {side}" for side in sides)
        placed: pa.Table = con.sql(
            f"SELECT row_number() OVER (ORDER BY stored.place NULLS LAST, {KEY}) - 1 AS row, day, {KEY}, "
            f"{', '.join(places)} FROM keys_arrow {' '.join(joins)} ORDER BY row"
        ).to_arrow_table()
    return placed


def _with_places(rows: pa.Table) -> pa.Table:
    return rows.append_column("place", pa.array(np.arange(len(rows)), pa.int64()))


def _updated(
    con: duckdb.DuckDBPyConnection, states: Iterable[State], sides: Mapping[str, pa.Table], placed: pa.Table
) -> pa.Table:
    """The tiles of `_placed` after an update, as SIGNS says of the `sides`, if they still have predictions.

    In the form of `schemas.TILES`. Raises CannotAmend.
    """
    con.register("keys_arrow", placed)
    con.execute("CREATE TEMP TABLE changed AS FROM keys_arrow")
    of_parts = [state for state in states if isinstance(state, PartsState)]
    names = ["predictions", "labelled", *(state.id for state in of_parts)]
    places = {side: integers(placed.column(side)) for side in SIGNS}
    for side, table in sides.items():
        rows = np.flatnonzero(places[side] >= 0)
        of_rows = rows_in_order(table.select(names), places[side][rows]).append_column("row", integer_column(rows))
        con.register(f"{side}_arrow", of_rows)
        con.execute(f"CREATE TEMP TABLE {side} AS FROM {side}_arrow")
    lost = (part.lost(*(state.stored(part, side) for side in SIGNS)) for state in of_parts for part in state.parts)
    joined = "before JOIN stored USING (row) LEFT JOIN after USING (row)"
    check_none(con, f"SELECT 1 FROM {joined} WHERE {' OR '.join(['false', *lost])}")
    tiles: pa.Table = con.sql(_updated_sql(of_parts)).to_arrow_table()
    for state in states:
        if isinstance(state, ListState):
            lists = {side: _lists_at(state, sides[side], places[side]) for side in SIGNS}
            updated = state.updated(lists, len(placed))
            tiles = tiles.append_column(state.id, list_column(*updated, state.type))
    counts = integers(tiles.column("predictions"))
    if len(counts) and counts.min() < 0:
        raise CannotAmend
    left = tiles if counts.all() else tiles.filter(pa.array(counts > 0))
    return left.drop_columns(["row"])


def _lists_at(state: ListState, tiles: pa.Table, places: Integers) -> Lists:
    """The lists that tiles at some places have of a state; an empty one at -1."""
    rows = np.flatnonzero(places >= 0)
    column = combined(rows_in_order(tiles.select([state.id]), places[rows]).column(state.id))
    offsets, elements = flatten_lists(column, list(state.fields))
    sizes = np.zeros(len(places), dtype=np.int64)
    sizes[rows] = np.diff(offsets)
    return Lists(np.concatenate([[0], np.cumsum(sizes)]), elements)


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
    joins = (f"LEFT JOIN {side} USING (row)" for side in SIGNS)
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
    sides = {"stored": stored, "before": before, "after": after}
    with connected(config.parallel, config.task_memory) as con:
        updated = _updated(con, config.states.values(), sides, _placed(sides, keys))
    con = scratch()
    names = ["span", "start", "slice_by", "slice"]
    con.register("stored_arrow", _with_places(stored.select(names)))
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
