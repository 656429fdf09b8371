"""Values of Python functions on all pairs of an hour or a day, if it has more pairs than a sample keeps.

Values of such a function cannot be merged, so they are computed here and stored in rows of span `hour` or `day`.
Limit: the arguments of all such windows of a task and a slice set are in memory at once.
"""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa

from sli.calendar.grain import Grain
from sli.calendar.zone import zone
from sli.engine.arrow import Column
from sli.engine.sql import literal, quoted
from sli.matching.spec import Spec
from sli.slices import SliceBy
from sli.slis.custom.function import UserFunction
from sli.slis.kinds.samples import SAMPLE_ROWS
from sli.slis.kinds.terms import Reader
from sli.slis.kinds.windows import WindowState, WindowValues
from sli.slis.states import integers
from sli.slis.terms import drawn_once
from sli.tiles.aggregate import slice_names_sql, slice_sql, slice_values_sql

if TYPE_CHECKING:
    import duckdb


def function_values(con: duckdb.DuckDBPyConnection, columns: SliceBy, spec: Spec, grain: str) -> pa.Table:
    """One row for each hour or day (`grain`) and slice with more pairs than a sample, one column a function.

    A window of fewer pairs gets no row: its sample has all pairs, and the roll-up calls the function on it.
    """
    states = [state for state in spec.states if isinstance(state, WindowState)]
    if not states:
        return pa.table({"span": pa.array([], pa.string()), "tile": pa.array([], pa.int64())})
    _register_windows(con, spec, grain)
    kept = "".join(f", ({state.where}) AS kept_{i}" for i, state in enumerate(states))
    numbers = "".join(f", count(*) FILTER (WHERE kept_{i}) AS n_{i}" for i in range(len(states)))
    large = " OR ".join(f"n_{i} > {SAMPLE_ROWS}" for i in range(len(states)))
    con.execute(
        "CREATE OR REPLACE TEMP TABLE large AS SELECT row_number() OVER (ORDER BY tile, slice) - 1 AS place, * FROM ("
        f"SELECT tile, {slice_sql(columns)} AS slice, count(*) AS predictions{numbers}{slice_names_sql(columns)} "
        f"FROM ({_pairs_sql(columns, spec, kept)}) GROUP BY tile{slice_names_sql(columns)} HAVING {large})"
    )
    rows: pa.Table = con.sql(
        f"SELECT '{grain}' AS span, tile, {literal(','.join(columns))} AS slice_by, slice, predictions "
        "FROM large ORDER BY place"
    ).to_arrow_table()
    for i, state in enumerate(states):
        terms = "".join(f", {sql} AS {quoted(name)}" for name, sql in state.term_sql.items())
        on = "".join(f" AND w.slice_{at} IS NOT DISTINCT FROM p.slice_{at}" for at in range(len(columns)))
        arguments = con.sql(
            f"SELECT w.place, p.* FROM ({_pairs_sql(columns, spec, terms)}) p JOIN large w ON w.tile = p.tile{on} "
            f"WHERE w.n_{i} > {SAMPLE_ROWS} ORDER BY w.place, p.k, p.t"
        ).to_arrow_table()
        function = pickle.loads(spec.functions[state.call])
        rows = rows.append_column(state.id, _values(state, function, arguments, len(rows)))
    return rows


def _pairs_sql(columns: SliceBy, spec: Spec, more: str) -> str:
    """SQL of the usable pairs with their hour or day (as the number of a tile), their slice, and `more` columns."""
    values = slice_values_sql(columns, spec)
    return (
        f'SELECT "sli:start" // {spec.tile} AS tile, k, t{values}{more} '
        'FROM pairs JOIN window_of ON "sli:tile" = pairs.tile WHERE usable'
    )


def _values(state: WindowState, function: UserFunction, arguments: pa.Table, windows: int) -> Column:
    """For each window the function's value or the reason why it has none; null for a window without `arguments`."""
    offsets = np.searchsorted(integers(arguments.column("place")), np.arange(windows + 1))
    values: list[dict[str, float | str | None] | None] = []
    for first, last in itertools.pairwise(offsets):
        if first == last:
            values.append(None)
            continue
        reader = Reader(arguments.slice(first, last - first), "", {state.call: function}, rounds=False)
        window = cast(WindowValues, state.term(reader)(drawn_once(np.ones(last - first, dtype=np.int64))))
        value = None if np.isnan(window.value[0]) else window.value[0]
        values.append({"value": value, "reason": window.reason[0]})
    return pa.array(values, type=state.type)


def _register_windows(con: duckdb.DuckDBPyConnection, spec: Spec, grain: str) -> None:
    """Table `window_of`: the start of the hour or day that each tile belongs to."""
    tiles = integers(con.execute("SELECT DISTINCT tile FROM pairs").fetchnumpy()["tile"])
    starts = tiles * spec.tile
    if len(starts):
        windows, _ = Grain(grain).windows(zone(spec.zone), int(starts.min()), int(starts.max()) + 1)
        starts = windows[np.searchsorted(windows, starts, side="right") - 1]
    con.register("windows_arrow", pa.table({"sli:tile": pa.array(tiles), "sli:start": pa.array(starts)}))
    con.execute("CREATE OR REPLACE TEMP TABLE window_of AS FROM windows_arrow")
    con.unregister("windows_arrow")
