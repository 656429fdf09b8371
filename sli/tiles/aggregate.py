"""The SQL of states: one row a tile and slice, one column a state, from the pairs of a task.

Counts, sums and extremes are aggregates of one pass; each state that is a list is a query of its own. Limit: a group
keeps each of its values, so it is meant for columns of few.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import duckdb
import pyarrow as pa

from sli.engine.arrow import list_column
from sli.engine.sql import literal, quoted, text_of
from sli.matching.spec import Spec
from sli.schemas import state_type
from sli.slices import ALL, SliceBy, bin_names
from sli.slis import State
from sli.slis.states import (
    DISTINCT,
    EXACT_ROWS,
    FRACTION,
    LIMIT,
    SAMPLE_ROWS,
    SUM_PARTS,
    integers,
    rounded_sql,
    sum_sql,
)

PLAIN = ("count", "sum", "min", "max")
"""States that are one aggregate."""
NOTHING = {"count": "0", "sum": sum_sql(lambda _: "0")}
"""SQL of a state of no rows."""


def aggregate(state: State) -> tuple[str, str]:
    """SQL of a state that is one aggregate, and of the term `x_<id>` it sums, if any."""
    if state.kind == "count":
        return f"coalesce(sum(({state.where})::INTEGER), 0)::BIGINT", ""
    if state.kind in ("min", "max"):
        # Of -0.0 and 0.0, which are equal, either could be the extreme.
        return f"{state.kind}(({state.of}) + 0.0::DOUBLE) FILTER (WHERE {state.where})", ""
    return sum_sql(_fixed_point(_x(state)).__getitem__), _term(state)


def _x(state: State) -> str:
    return f"x_{state.id}"


def _term(state: State) -> str:
    """SQL of the column a sum is taken of."""
    return f"CASE WHEN {state.where} THEN {state.of} END AS {_x(state)}"


def _fixed_point(x: str) -> dict[str, str]:
    """SQL of the parts of a column's exact sum."""
    fits = f"abs({x}) < {LIMIT!r}"
    whole = f"coalesce(sum(CASE WHEN {fits} THEN trunc({x})::HUGEINT END), 0)::DECIMAL(38, 0)"
    units = f"(({x} - trunc({x})) * {FRACTION!r}::DOUBLE)::HUGEINT"
    fraction = f"coalesce(sum(CASE WHEN {fits} THEN {units} END), 0)::DECIMAL(38, 0)"
    undefined = f"count(*) FILTER (WHERE {x} IS NOT NULL AND NOT ({fits}))"
    return {"whole": whole, "fraction": fraction, "undefined": undefined, "terms": f"count({x})"}


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
    return "".join(f", {slice_value_sql(name, spec.edges.get(name))} AS slice_{i}" for i, name in enumerate(columns))


def grouping(columns: tuple[str, ...]) -> str:
    return "".join(f", slice_{i}" for i in range(len(columns)))


WORTHWHILE = 4
"""Rows a group of all slice columns must have on average for sums to be taken once for all sets of slices."""
LOOKED_AT = 1_000_000
"""Rows that are looked at to tell."""


def prepare(con: duckdb.DuckDBPyConnection, spec: Spec) -> bool:
    """Table `fine`: counts, sums and extremes by all slice columns at once, where that spares work. False if not."""
    columns = _all_columns(spec)
    if len(spec.slice_sets) < 2 or not columns:
        return False
    distinct = f"approx_count_distinct(hash(tile{grouping(columns)}))"
    groups, rows = con.execute(
        f"SELECT {distinct}, count(*) FROM (SELECT tile{named(columns, spec)} FROM pairs LIMIT {LOOKED_AT})"
    ).fetchall()[0]
    if groups * WORTHWHILE > rows:
        return False
    con.execute(f"CREATE OR REPLACE TEMP TABLE fine AS {_summed(columns, spec)}")
    return True


def _all_columns(spec: Spec) -> tuple[str, ...]:
    return tuple(sorted({name for columns in spec.slice_sets for name in columns}))


def _plain(spec: Spec) -> list[State]:
    return [state for state in spec.states if state.kind in PLAIN and state.unit == "pair"]


def _summed(columns: tuple[str, ...], spec: Spec) -> str:
    """SQL of the plain states by tile and slice, a sum's parts apart."""
    parts, terms = "", ""
    for state in _plain(spec):
        if state.kind == "sum":
            terms += f", {_term(state)}"
            for name, sql in _fixed_point(_x(state)).items():
                parts += f", {sql} AS {state.id}_{name}"
        else:
            parts += f", {aggregate(state)[0]} AS {state.id}"
    for state in spec.states:
        if state.kind == "histogram":
            # How many values a histogram has in a cell says how they are kept.
            parts += f", count({state.of}) FILTER (WHERE {state.where}) AS n_{state.id}"
    return (
        f"SELECT tile{grouping(columns)}, count(*) AS predictions, "
        f"coalesce(sum(labelled::INTEGER), 0)::BIGINT AS labelled{parts} "
        f"FROM (SELECT *{named(columns, spec)}{terms} FROM pairs) GROUP BY tile{grouping(columns)}"
    )


def _cells(columns: tuple[str, ...], spec: Spec, fine: bool) -> str:
    """SQL of the plain states by tile and slice, numbered from 0."""
    parts = ", sum(predictions)::BIGINT AS predictions, sum(labelled)::BIGINT AS labelled"
    for state in _plain(spec):
        if state.kind == "sum":
            parts += f", {sum_sql(partial('sum({}_{})'.format, state.id))} AS {state.id}"
        else:
            parts += f", {'sum' if state.kind == 'count' else state.kind}({state.id}) AS {state.id}"
    parts += "".join(f", sum(n_{state.id}) AS n_{state.id}" for state in spec.states if state.kind == "histogram")
    if not fine:
        source, group = f"({_summed(columns, spec)})", grouping(columns)
    else:
        place = {name: i for i, name in enumerate(_all_columns(spec))}
        renamed = "".join(f", slice_{place[name]} AS own_{i}" for i, name in enumerate(columns))
        source, group = f"(SELECT *{renamed} FROM fine)", "".join(f", own_{i}" for i in range(len(columns)))
    own = "".join(f", {each} AS slice_{i}" for i, each in enumerate(group.split(", ")[1:]))
    return (
        f"SELECT row_number() OVER () - 1 AS cell, * FROM (SELECT tile{own}{parts} FROM {source} GROUP BY tile{group})"
    )


def states_of(con: duckdb.DuckDBPyConnection, columns: tuple[str, ...], spec: Spec, fine: bool = False) -> pa.Table:
    """One row a tile and slice, one column a state. `fine` says that the table of that name is there."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE cells AS {_cells(columns, spec, fine)}")
    values, joins = "".join(_finished(state) for state in _plain(spec)), ""
    ranked = [state for state in spec.states if state.unit == "query"]
    if ranked:
        con.execute(f"CREATE OR REPLACE TEMP TABLE ranked AS {_of_queries(ranked, columns, spec)}")
        joins = " LEFT JOIN ranked USING (cell)"
        values += "".join(f", coalesce(ranked.{state.id}, {NOTHING[state.kind]}) AS {state.id}" for state in ranked)
    made = con.sql(
        f"SELECT 'tile' AS span, tile, {literal(','.join(columns))} AS slice_by, {slice_sql(columns)} AS slice, "
        f"predictions, labelled{values} FROM cells{joins} ORDER BY cell"
    ).to_arrow_table()
    for state in spec.states:
        if state.kind in LISTED:
            sql, order = LISTED[state.kind](state, columns, spec)
            flat = con.sql(f"{sql} ORDER BY cell, {order}").to_arrow_table()
            owner = integers(flat.column("cell"))
            column = list_column(flat.drop_columns(["cell"]), owner, len(made), state_type(state.kind))
            made = made.append_column(state.id, column)
    return made


def _finished(state: State) -> str:
    return f", {state.id}::BIGINT AS {state.id}" if state.kind == "count" else f", {state.id}"


def _in_cells(of: str, where: str, columns: tuple[str, ...], spec: Spec) -> str:
    """SQL for rows of pairs with their cell; null slice values match null."""
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM v.slice_{i}" for i in range(len(columns)))
    return f"(SELECT tile{named(columns, spec)}, {of} FROM pairs WHERE {where}) v JOIN cells c ON c.tile = v.tile{on}"


Made = tuple[str, str]
"""SQL of a list state's elements, with their cell, and the order within a cell."""


def _histogram(state: State, columns: tuple[str, ...], spec: Spec) -> Made:
    """Counts by value: the very values in a cell of at most EXACT_ROWS values, rounded ones otherwise."""
    mark = f", ({state.mark})::INTEGER AS mark" if state.mark else ""
    of = f"({state.of})::DOUBLE AS x{mark}"
    source = _in_cells(of, f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec)
    value = f"CASE WHEN c.n_{state.id} > {EXACT_ROWS} THEN {rounded_sql('x', state.spread)} ELSE x END"
    marked = f"{'sum(mark)' if state.mark else '0'}::BIGINT AS marked"
    return (
        f"SELECT c.cell, {value} + 0.0::DOUBLE AS value, count(*) AS count, {marked} FROM {source} "
        "GROUP BY c.cell, value",
        "value",
    )


def _groups(state: State, columns: tuple[str, ...], spec: Spec) -> Made:
    """Counts by text, with the exact sum of `amount` where there is one."""
    of = f"({state.of}) AS key{f', ({state.amount})::DOUBLE AS x' if state.amount else ''}"
    source = _in_cells(of, f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec)
    parts = _fixed_point("x") if state.amount else dict.fromkeys(SUM_PARTS, "NULL")
    kept = ", ".join(f"{parts[name]}::{SUM_PARTS[name]} AS {name}" for name in ("whole", "fraction", "undefined"))
    return (
        f"SELECT c.cell, key::VARCHAR AS key, count(*) AS count, {kept} FROM {source} GROUP BY c.cell, v.key",
        "key",
    )


def _room(most: int) -> str:
    """SQL of how many of the smallest a cell keeps: at most all it has, since room for so many is taken at once."""
    return f"least({most}, c.predictions)"


def _distinct(state: State, columns: tuple[str, ...], spec: Spec) -> Made:
    """The DISTINCT smallest hashes of the values."""
    # MD5, since it stays the same with every version of DuckDB; the lowest bit goes, for a signed integer.
    source = _in_cells(f"{text_of(state.of)} AS x", f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec)
    values = f"SELECT DISTINCT c.cell, {_room(DISTINCT)} AS room, x FROM {source}"
    hashed = f"SELECT DISTINCT cell, room, (md5_number_lower(x) >> 1)::BIGINT AS h FROM ({values})"
    return (
        f"SELECT cell, unnest(min(h, room)) AS hash FROM ({hashed}) GROUP BY cell",
        "hash",
    )


def _sample(state: State, columns: tuple[str, ...], spec: Spec) -> Made:
    """The SAMPLE_ROWS pairs with the smallest keys: a uniform sample, the same however rows are grouped."""
    kept = ", ".join(text_of(quoted(name)) for name in state.columns)
    prediction = "value" if state.of == "prediction" else state.of
    of = (
        f"{{'key': (k >> 1)::BIGINT, 'truth': truth::DOUBLE, 'prediction': {prediction}::DOUBLE, "
        f"'columns': [{kept}]::VARCHAR[]}} AS x"
    )
    source = _in_cells(of, state.where, columns, spec)
    least = f"SELECT c.cell, unnest(min(x, {_room(SAMPLE_ROWS)})) AS x FROM {source} GROUP BY c.cell"
    parts = ", ".join(f"x.{name} AS {name}" for name in ("key", "truth", "prediction", "columns"))
    return f"SELECT cell, {parts} FROM ({least})", "key, truth, prediction"


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


def _of_queries(states: list[State], columns: tuple[str, ...], spec: Spec) -> str:
    """One row a cell, one column a state over its queries."""
    made = [(state.id, *aggregate(state)) for state in states]
    expressions = "".join(f", {sql} AS {name}" for name, sql, _ in made)
    terms = "".join(f", {term}" for _, _, term in made if term)
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM q.slice_{i}" for i in range(len(columns)))
    return (
        f"SELECT c.cell{expressions} FROM (SELECT *{terms} FROM ({queries(columns, spec)})) q "
        f"JOIN cells c ON c.tile = q.tile{on} GROUP BY c.cell"
    )


def slice_sql(columns: SliceBy) -> str:
    """SQL that makes the canonical JSON from VARCHAR columns `slice_0`, `slice_1`, ... in the order of `columns`."""
    if not columns:
        return f"'{ALL}'"
    parts = ", ".join(f"{literal(name)}, slice_{i}" for i, name in enumerate(columns))
    return f"json_object({parts})::VARCHAR"


def slice_value_sql(name: str, edges: Sequence[float] | None) -> str:
    """SQL of a slice column's value as text; a column with edges is binned, its null stays null."""
    if edges is None:
        return text_of(quoted(name))
    column, names = f"{quoted(name)}::DOUBLE", bin_names(edges)
    cases = "".join(
        f" WHEN {column} < {edge!r}::DOUBLE THEN {literal(bin)}" for edge, bin in zip(edges, names, strict=False)
    )
    return f"CASE WHEN {quoted(name)} IS NULL THEN NULL{cases} ELSE {literal(names[-1])} END"
