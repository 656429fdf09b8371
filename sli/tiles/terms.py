"""SQL of what each pair adds to the states of an SLI: one row a pair, the columns that `slis.terms` reads.

Only expressions of one row: no join and no aggregate. Limit: the columns of one state have names of their own, so a
table has them for one set of pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from sli.engine.expression import locked_database
from sli.engine.sql import quoted, text_of
from sli.slis import State
from sli.slis.custom.function import UserFunction


def terms_of(rows: pa.Table, states: Iterable[State], functions: Mapping[str, UserFunction]) -> pa.Table:
    """The columns of `terms_sql`, and `labelled`, for each of some rows: pairs, or queries for states of queries."""
    columns = {"labelled": "labelled", **terms_sql(states, functions)}
    con = locked_database().cursor()
    try:
        con.register("pairs", rows)
        selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
        terms: pa.Table = con.sql(f"SELECT {selected} FROM pairs").to_arrow_table()
        return terms
    finally:
        con.close()


def terms_sql(states: Iterable[State], functions: Mapping[str, UserFunction]) -> dict[str, str]:
    """SQL of each column by its name, over the columns of view `pairs`, or of `queries_sql` for states of queries."""
    columns: dict[str, str] = {}
    for state in states:
        columns |= _term(state, functions)
    return columns


def _term(state: State, functions: Mapping[str, UserFunction]) -> dict[str, str]:
    name, of = state.id, f"({state.of})"
    match state.kind:
        case "count":
            return {name: f"coalesce(({state.where})::INTEGER, 0)"}
        case "sum":
            return {name: _where(state, f"{of}::DOUBLE")}
        case "histogram":
            mark = {f"{name}:mark": f"({state.mark})::INTEGER"} if state.mark else {}
            return {name: _where(state, f"{of}::DOUBLE + 0.0::DOUBLE"), **mark}
        case "groups":
            amount = {f"{name}:amount": _where(state, f"({state.amount})::DOUBLE")} if state.amount else {}
            return {name: _where(state, f"{of}::VARCHAR"), **amount}
        case "min" | "max":
            return {name: _where(state, f"{of}::DOUBLE + 0.0::DOUBLE")}
        case "distinct":
            # The same hash as in a tile, which is never negative; -1 without a value.
            return {name: f"coalesce({_where(state, f'(md5_number_lower({text_of(state.of)}) >> 1)::BIGINT')}, -1)"}
        case "window" | "sample":
            prediction = "value" if state.of == "prediction" else state.of
            arguments = {
                f"{name}:label": _where(state, "truth::DOUBLE"),
                f"{name}:prediction": f"{prediction}::DOUBLE",
            }
            for column in state.columns:
                text = text_of(quoted(column))
                texts = state.kind == "sample" or functions[state.call].needs_texts(column)
                arguments[f"{name}:{column}"] = text if texts else f"({text})::DOUBLE"
            return arguments
    raise ValueError(f"no terms of the kind {state.kind}")


def _where(state: State, value: str) -> str:
    return f"CASE WHEN {state.where} THEN {value} END"
