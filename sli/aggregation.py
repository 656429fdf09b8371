"""The SQL of states: one row a tile and slice, one column a state, from the pairs of a task.

Counts, sums and extremes are aggregates of one pass; each state that is a list is a query of its own. Limit: a group
keeps each of its values, so it is meant for columns of few.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from sli.match import Spec
from sli.slices import literal, quoted, sql_text, value_sql
from sli.slis import State
from sli.slis.states import DISTINCT, EXACT_ROWS, FRACTION, LIMIT, SAMPLE_ROWS, rounded_sql

PLAIN = ("count", "sum", "min", "max")
"""States that are one aggregate."""
NOTHING = {
    "count": "0",
    "sum": "{'whole': 0::DECIMAL(38, 0), 'fraction': 0::DECIMAL(38, 0), 'undefined': 0::BIGINT, 'terms': 0::BIGINT}",
}
"""SQL of a state of no rows."""


def aggregate(state: State) -> tuple[str, str]:
    """SQL of a state that is one aggregate, and of the term `x_<id>` it sums, if any."""
    if state.kind == "count":
        return f"coalesce(sum(({state.where})::INTEGER), 0)::BIGINT", ""
    if state.kind in ("min", "max"):
        return f"{state.kind}({state.of}) FILTER (WHERE {state.where})", ""
    x = f"x_{state.id}"
    whole, fraction, undefined = _fixed_point(x)
    parts = f"{{'whole': {whole}, 'fraction': {fraction}, 'undefined': {undefined}, 'terms': count({x})}}"
    return parts, f"CASE WHEN {state.where} THEN {state.of} END AS {x}"


def _fixed_point(x: str) -> tuple[str, str, str]:
    """SQL of a column's exact sum: its whole part, its fraction in 1 / FRACTION, the terms that do not fit."""
    fits = f"abs({x}) < {LIMIT!r}"
    whole = f"coalesce(sum(CASE WHEN {fits} THEN trunc({x})::HUGEINT END), 0)::DECIMAL(38, 0)"
    units = f"(({x} - trunc({x})) * {FRACTION!r}::DOUBLE)::HUGEINT"
    fraction = f"coalesce(sum(CASE WHEN {fits} THEN {units} END), 0)::DECIMAL(38, 0)"
    return whole, fraction, f"count(*) FILTER (WHERE {x} IS NOT NULL AND NOT ({fits}))"


def trial(state: State) -> str:
    """SQL that fails where a state's own would."""
    rows = "queries" if state.unit == "query" else "pairs"
    if state.kind in PLAIN:
        expression, term = aggregate(state)
        return f"SELECT {expression} FROM (SELECT *{', ' + term if term else ''} FROM {rows})"
    if state.kind in ("sample", "window"):
        return f"SELECT 1{''.join(f', {quoted(name)}' for name in state.columns)} FROM pairs WHERE {state.where}"
    kind = "DOUBLE" if state.kind == "histogram" else "VARCHAR"
    amount = f", ({state.amount})::DOUBLE" if state.amount else ""
    return f"SELECT ({state.of})::{kind}{amount} FROM pairs WHERE {state.where}"


def named(columns: tuple[str, ...], spec: Spec) -> str:
    """The slice columns' values as text: SLIs see the columns as they are."""
    return "".join(f", {value_sql(name, spec.edges.get(name))} AS slice_{i}" for i, name in enumerate(columns))


def grouping(columns: tuple[str, ...]) -> str:
    return "".join(f", slice_{i}" for i in range(len(columns)))


def states_of(con: duckdb.DuckDBPyConnection, columns: tuple[str, ...], spec: Spec) -> pa.Table:
    """One row a tile and slice, one column a state."""
    plain = [state for state in spec.states if state.kind in PLAIN and state.unit == "pair"]
    listed = [state for state in spec.states if state.kind in LISTED]
    made = [(state.id, *aggregate(state)) for state in plain]
    expressions = "".join(f", {sql} AS {name}" for name, sql, _ in made)
    # How many values a histogram has in a cell says how they are kept.
    expressions += "".join(
        f", count({state.of}) FILTER (WHERE {state.where}) AS n_{state.id}"
        for state in listed
        if state.kind == "histogram"
    )
    terms = "".join(f", {term}" for _, _, term in made if term)
    group = grouping(columns)
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE cells AS SELECT row_number() OVER () AS cell, * FROM ("
        f"SELECT tile{group}, count(*) AS predictions, "
        f"coalesce(sum(labelled::INTEGER), 0)::BIGINT AS labelled{expressions} "
        f"FROM (SELECT *{named(columns, spec)}{terms} FROM pairs) GROUP BY tile{group})"
    )
    joins, values = "", "".join(f", {state.id}" for state in plain)
    for state in listed:
        con.execute(f"CREATE OR REPLACE TEMP TABLE {state.id} AS {LISTED[state.kind](state, columns, spec)}")
        joins += f" LEFT JOIN {state.id} USING (cell)"
        values += f", coalesce({state.id}.content, []) AS {state.id}"
    ranked = [state for state in spec.states if state.unit == "query"]
    if ranked:
        con.execute(f"CREATE OR REPLACE TEMP TABLE ranked AS {_ofqueries(ranked, columns, spec)}")
        joins += " LEFT JOIN ranked USING (cell)"
        values += "".join(f", coalesce(ranked.{state.id}, {NOTHING[state.kind]}) AS {state.id}" for state in ranked)
    return con.sql(
        f"SELECT 'tile' AS span, tile, {literal(','.join(columns))} AS slice_by, {sql_text(columns)} AS slice, "
        f"predictions, labelled{values} FROM cells{joins}"
    ).to_arrow_table()


def _in_cells(of: str, where: str, columns: tuple[str, ...], spec: Spec) -> str:
    """SQL for rows of pairs with their cell; null slice values match null."""
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM v.slice_{i}" for i in range(len(columns)))
    return f"(SELECT tile{named(columns, spec)}, {of} FROM pairs WHERE {where}) v JOIN cells c ON c.tile = v.tile{on}"


def _histogram(state: State, columns: tuple[str, ...], spec: Spec) -> str:
    """Counts by value: the very values in a cell of at most EXACT_ROWS values, rounded ones otherwise."""
    mark = f", ({state.mark})::INTEGER AS mark" if state.mark else ""
    of = f"({state.of})::DOUBLE AS x{mark}"
    source = _in_cells(of, f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec)
    value = f"CASE WHEN c.n_{state.id} > {EXACT_ROWS} THEN {rounded_sql('x', state.spread)} ELSE x END"
    marked = f"{'sum(mark)' if state.mark else '0'}::BIGINT AS marked"
    return (
        "SELECT cell, list({'value': value, 'count': n, 'marked': marked} ORDER BY value) AS content FROM "
        f"(SELECT c.cell, {value} + 0.0::DOUBLE AS value, count(*) AS n, {marked} FROM {source} "
        "GROUP BY c.cell, value) GROUP BY cell"
    )


def _groups(state: State, columns: tuple[str, ...], spec: Spec) -> str:
    """Counts by text, with the exact sum of `amount` where there is one."""
    of = f"({state.of})::VARCHAR AS key{f', ({state.amount})::DOUBLE AS x' if state.amount else ''}"
    source = _in_cells(of, f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec)
    whole, fraction, undefined = _fixed_point("x") if state.amount else ("NULL", "NULL", "NULL")
    content = "{'key': key, 'count': n, 'whole': whole, 'fraction': fraction, 'undefined': undefined}"
    return (
        f"SELECT cell, list({content} ORDER BY key) AS content FROM (SELECT c.cell, key, count(*) AS n, "
        f"{whole}::DECIMAL(38, 0) AS whole, {fraction}::DECIMAL(38, 0) AS fraction, {undefined}::BIGINT AS undefined "
        f"FROM {source} GROUP BY c.cell, key) GROUP BY cell"
    )


def _distinct(state: State, columns: tuple[str, ...], spec: Spec) -> str:
    """The DISTINCT smallest hashes of the values."""
    # MD5, since it stays the same with every version of DuckDB; the lowest bit goes, for a signed integer.
    source = _in_cells(f"({state.of})::VARCHAR AS x", f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec)
    return (
        f"SELECT cell, list_sort(min(h, {DISTINCT})) AS content FROM (SELECT DISTINCT cell, "
        f"(md5_number_lower(x) >> 1)::BIGINT AS h FROM (SELECT DISTINCT c.cell, x FROM {source})) GROUP BY cell"
    )


def _sample(state: State, columns: tuple[str, ...], spec: Spec) -> str:
    """The SAMPLE_ROWS pairs with the smallest keys: a uniform sample, the same however rows are grouped."""
    kept = ", ".join(f"{quoted(name)}::VARCHAR" for name in state.columns)
    prediction = "value" if state.of == "prediction" else state.of
    of = (
        f"{{'key': (k >> 1)::BIGINT, 'truth': truth::DOUBLE, 'prediction': {prediction}::DOUBLE, "
        f"'columns': [{kept}]::VARCHAR[]}} AS x"
    )
    source = _in_cells(of, state.where, columns, spec)
    return f"SELECT c.cell, list_sort(min(x, {SAMPLE_ROWS})) AS content FROM {source} GROUP BY c.cell"


LISTED = {"histogram": _histogram, "groups": _groups, "distinct": _distinct, "sample": _sample}
"""States that are lists: each is made by a query of its own."""


def queries(columns: tuple[str, ...], spec: Spec) -> str:
    """SQL of the queries of a ranking, one row each within tile and slice."""
    group = f"tile{grouping(columns)}, query"
    return (
        f"SELECT {group}, list(truth ORDER BY value DESC NULLS LAST, truth ASC NULLS FIRST) AS ranked, "
        "list(truth ORDER BY truth DESC NULLS LAST) AS ideal, count(*) AS n, bool_and(usable) AS complete "
        f"FROM (SELECT *{named(columns, spec)} FROM pairs WHERE query IS NOT NULL) GROUP BY {group}"
    )


def _ofqueries(states: list[State], columns: tuple[str, ...], spec: Spec) -> str:
    """One row a cell, one column a state over its queries."""
    made = [(state.id, *aggregate(state)) for state in states]
    expressions = "".join(f", {sql} AS {name}" for name, sql, _ in made)
    terms = "".join(f", {term}" for _, _, term in made if term)
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM q.slice_{i}" for i in range(len(columns)))
    return (
        f"SELECT c.cell{expressions} FROM (SELECT *{terms} FROM ({queries(columns, spec)})) q "
        f"JOIN cells c ON c.tile = q.tile{on} GROUP BY c.cell"
    )
