"""Values of Python functions on all pairs of an hour or a day, if it has more pairs than a sample keeps.

Values of such a function cannot be merged, so they are computed here and stored in rows of span `hour` or `day`.
Limit: the pairs of one hour or day, for one slice, are in memory at once.
"""

from __future__ import annotations

import pickle
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa

from sli.calendar.zone import zone
from sli.engine.sql import literal, quoted, text_of
from sli.matching.spec import Spec
from sli.slices import SliceBy
from sli.slis.custom.function import UserFunction, value_or_reason, without_warnings
from sli.slis.kinds.samples import SAMPLE_ROWS
from sli.slis.states import State, integers
from sli.tiles.aggregate import slice_names_sql, slice_sql, slice_values_sql

TRUTH, PREDICTION = "sli:truth", "sli:prediction"


def function_values(con: duckdb.DuckDBPyConnection, columns: SliceBy, spec: Spec, grain: str) -> pa.Table:
    """One row for each hour or day (`grain`) and slice with more pairs than a sample, one column a function.

    A window of fewer pairs gets no row: its sample has all pairs, and the roll-up calls the function on it.
    """
    states = [state for state in spec.states if not state.merges]
    if not states:
        return pa.table({"span": pa.array([], pa.string()), "tile": pa.array([], pa.int64())})
    _register_windows(con, spec, grain)
    functions = {state.id: pickle.loads(spec.functions[state.call]) for state in states}
    flags = {where: f'"sli:kept_{i}"' for i, where in enumerate(dict.fromkeys(state.where for state in states))}
    lists: dict[tuple[str, str], str] = {}
    arguments = {state.id: _arguments(state, functions[state.id], flags, lists) for state in states}
    windows: pa.Table = con.sql(_windows_sql(columns, spec, grain, states, flags, lists)).to_arrow_table()
    rows = windows.select(["span", "tile", "slice_by", "slice", "predictions"])
    for state in states:
        number = integers(windows.column(f"n_{list(flags).index(state.where)}"))
        values = [
            _value(functions[state.id], {name: windows.column(place)[i] for name, place in arguments[state.id].items()})
            if number[i] > SAMPLE_ROWS
            else None
            for i in range(len(windows))
        ]
        rows = rows.append_column(state.id, pa.array(values, type=state.type))
    return rows


def _windows_sql(
    columns: SliceBy,
    spec: Spec,
    grain: str,
    states: list[State],
    flags: dict[str, str],
    lists: dict[tuple[str, str], str],
) -> str:
    """SQL of the windows with more pairs than a sample: how many pairs each condition keeps, and the `lists`."""
    numbers = "".join(f", count(*) FILTER (WHERE {flag}) AS n_{i}" for i, flag in enumerate(flags.values()))
    listed = "".join(
        f", list({sql} ORDER BY k, t) FILTER (WHERE {flag}) AS {place}" for (sql, flag), place in lists.items()
    )
    kept = "".join(f", {quoted(name)}" for name in dict.fromkeys(name for state in states for name in state.columns))
    flag_columns = "".join(f", ({where}) AS {flag}" for where, flag in flags.items())
    large = " OR ".join(f"n_{i} > {SAMPLE_ROWS}" for i in range(len(flags)))
    values = slice_values_sql(columns, spec)
    return (
        f"SELECT '{grain}' AS span, tile, {literal(','.join(columns))} AS slice_by, {slice_sql(columns)} AS slice, "
        f"count(*) AS predictions{numbers}{listed} "
        f'FROM (SELECT "sli:start" // {spec.tile} AS tile{values}{kept}{flag_columns}, truth, value, decision, '
        'k, t FROM pairs JOIN window_of ON "sli:tile" = tile WHERE usable) '
        f"GROUP BY tile{slice_names_sql(columns)} HAVING {large} ORDER BY tile, slice"
    )


def _arguments(
    state: State, function: UserFunction, flags: dict[str, str], lists: dict[tuple[str, str], str]
) -> dict[str, str]:
    """For each argument of a function the name of its list: labels, predictions and its columns.

    Adds further lists to `lists`, which maps the SQL of a list and the flag of its rows to the list's name.
    """
    sql_of = {TRUTH: "truth", PREDICTION: "value::DOUBLE" if state.of == "prediction" else "decision::DOUBLE"}
    for name in state.columns:
        sql_of[name] = text_of(quoted(name)) if function.needs_texts(name) else f"({text_of(quoted(name))})::DOUBLE"
    flag = flags[state.where]
    return {name: lists.setdefault((sql, flag), f"list_{len(lists)}") for name, sql in sql_of.items()}


def _value(function: UserFunction, lists: dict[str, pa.ListScalar[pa.DataType]]) -> dict[str, float | str | None]:
    """The value of a function on all pairs of a window, and the reason if there is none."""
    truth, prediction = (np.asarray(lists.pop(name).values, dtype=np.float64) for name in (TRUTH, PREDICTION))
    columns = {
        name: np.array(column.as_py(), dtype=object)
        if function.needs_texts(name)
        else np.asarray(column.values, dtype=np.float64)
        for name, column in lists.items()
    }
    with without_warnings():
        value, reason = value_or_reason(function, truth, prediction, columns)
    return {"value": None if np.isnan(value) else value, "reason": reason}


def _register_windows(con: duckdb.DuckDBPyConnection, spec: Spec, grain: str) -> None:
    """Table `window_of`: the start of the hour or day that each tile belongs to."""
    tiles = integers(con.execute("SELECT DISTINCT tile FROM pairs").fetchnumpy()["tile"])
    starts = tiles * spec.tile
    if len(starts):
        local = zone(spec.zone)
        first, last = int(starts.min()), int(starts.max())
        edges = (
            local.hours(first, last + 1)
            if grain == "hour"
            else np.array(local.midnights(local.date(first), local.date(last) + timedelta(days=1)), dtype=np.int64)
        )
        starts = edges[np.searchsorted(edges, starts, side="right") - 1]
    con.register("windows_arrow", pa.table({"sli:tile": pa.array(tiles), "sli:start": pa.array(starts)}))
    con.execute("CREATE OR REPLACE TEMP TABLE window_of AS FROM windows_arrow")
    con.unregister("windows_arrow")
