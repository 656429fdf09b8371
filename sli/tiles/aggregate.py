"""The SQL that aggregates the pairs of a task to states: one row per tile and slice, one column per state.

One query aggregates all counts, sums and extremes; each state that is a list has a query of its own. Limit: a state of
kind `groups` keeps every different value, so it is meant for columns with few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

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
"""Kinds of state that are one SQL aggregate."""
WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER")
"""Types whose sum fits a BIGINT, however many terms it has."""
GROUP_PARTS = ("whole", "fraction", "undefined")
"""The parts of a sum that a group has; the number of its terms is the count of the group."""
NOTHING = {"count": "0", "sum": sum_sql(lambda _: "0")}
"""SQL of a state over the queries of a ranking, for a tile without queries."""


def aggregate_sql(state: State) -> tuple[str, str]:
    """SQL of a plain state, and of the column `x_<id>` that it sums ("" if it sums none)."""
    if state.kind == "count":
        return f"coalesce(sum(({state.where})::INTEGER), 0)::BIGINT", ""
    if state.kind in ("min", "max"):
        # -0.0 and 0.0 are equal, so either could be the extreme: adding 0.0 makes both 0.0.
        return f"{state.kind}(({state.of}) + 0.0::DOUBLE) FILTER (WHERE {state.where})", ""
    return sum_sql(_fixed_point(_term_name(state)).__getitem__), _term(state)


def _term_name(state: State) -> str:
    return f"x_{state.id}"


def _term(state: State) -> str:
    """SQL of the column that a sum adds up."""
    return f"CASE WHEN {state.where} THEN {state.of} END AS {_term_name(state)}"


def _fixed_point(x: str) -> dict[str, str]:
    """SQL of the parts of a column's exact sum, by the names of SUM_PARTS."""
    fits = f"abs({x}) < {LIMIT!r}"
    whole = f"coalesce(sum(CASE WHEN {fits} THEN trunc({x})::HUGEINT END), 0)::DECIMAL(38, 0)"
    units = f"(({x} - trunc({x})) * {FRACTION!r}::DOUBLE)::HUGEINT"
    fraction = f"coalesce(sum(CASE WHEN {fits} THEN {units} END), 0)::DECIMAL(38, 0)"
    undefined = f"count(*) FILTER (WHERE {x} IS NOT NULL AND NOT ({fits}))"
    return {"whole": whole, "fraction": fraction, "undefined": undefined, "terms": f"count({x})"}


def trial_sql(state: State) -> str:
    """A short query that fails for the same reasons as the SQL of the state."""
    rows = "queries" if state.unit == "query" else "pairs"
    if state.kind in PLAIN:
        expression, term = aggregate_sql(state)
        return f"SELECT {expression} FROM (SELECT *{', ' + term if term else ''} FROM {rows})"
    if state.kind in ("sample", "window"):
        return f"SELECT 1{''.join(f', {quoted(name)}' for name in state.columns)} FROM pairs WHERE {state.where}"
    kind = "DOUBLE" if state.kind == "histogram" else "VARCHAR"
    amount = f", ({state.amount})::DOUBLE" if state.amount else ""
    return f"SELECT ({state.of})::{kind}{amount} FROM pairs WHERE {state.where}"


def slice_values_sql(columns: SliceBy, spec: Spec) -> str:
    """SQL of columns `slice_0`, `slice_1`, ...: the values of the slice columns as text."""
    return "".join(f", {slice_value_sql(name, spec.edges.get(name))} AS slice_{i}" for i, name in enumerate(columns))


def slice_names_sql(columns: SliceBy) -> str:
    """SQL that names the columns of `slice_values_sql`, each after a comma."""
    return "".join(f", slice_{i}" for i in range(len(columns)))


MIN_GROUP_ROWS = 4
"""`aggregate_finest` saves work if groups by all slice columns have at least this many pairs on average."""
MAX_ROWS_COUNTED = 1_000_000
"""How many pairs are counted to estimate that average."""


def aggregate_finest(con: duckdb.DuckDBPyConnection, spec: Spec) -> bool:
    """Create table `finest`: plain states by all slice columns at once; slices of fewer columns add up its rows.

    States of kind `groups` get tables of their own, `grouped_<id>`. If that would save no work, it creates no table and
    returns False.
    """
    columns = _all_columns(spec)
    if len(spec.slice_sets) < 2 or not columns:
        return False
    distinct = f"approx_count_distinct(hash(tile{slice_names_sql(columns)}))"
    values = slice_values_sql(columns, spec)
    groups, rows = con.execute(
        f"SELECT {distinct}, count(*) FROM (SELECT tile{values} FROM pairs LIMIT {MAX_ROWS_COUNTED})"
    ).fetchall()[0]
    if groups * MIN_GROUP_ROWS > rows:
        return False
    con.execute(f"CREATE OR REPLACE TEMP TABLE finest AS {_groups_sql(columns, spec)}")
    _create_grouped(con, columns, spec)
    return True


def _create_grouped(con: duckdb.DuckDBPyConnection, columns: SliceBy, spec: Spec) -> None:
    """Create table `grouped_<id>` for each state of kind `groups`: its groups by tile and slice.

    So the SQL of the state is computed once for each pair, and few rows are placed into cells.
    """
    names, values = slice_names_sql(columns), slice_values_sql(columns, spec)
    for state in (state for state in spec.states if state.kind == "groups"):
        amount, parts = _amount(con, state)
        kept = "".join(f", {parts[name]} AS {name}" for name in GROUP_PARTS)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE grouped_{state.id} AS SELECT tile{names}, key, count(*) AS count{kept} "
            f"FROM (SELECT tile{values}, ({state.of}) AS key{amount} FROM pairs WHERE {state.where}) "
            f"GROUP BY tile{names}, key"
        )


def _amount(con: duckdb.DuckDBPyConnection, state: State) -> tuple[str, dict[str, str]]:
    """SQL of the column `x` with the amounts of a state ("" if it has none), and of the parts of their exact sum."""
    if not state.amount:
        return "", dict.fromkeys(GROUP_PARTS, "NULL")
    if str(con.sql(f"SELECT ({state.amount}) FROM pairs LIMIT 0").types[0]) in WHOLE_NUMBERS:
        # The same sum as of doubles, but faster.
        return f", ({state.amount}) AS x", {"whole": "coalesce(sum(x), 0)::BIGINT", "fraction": "0", "undefined": "0"}
    return f", ({state.amount})::DOUBLE AS x", _fixed_point("x")


def _all_columns(spec: Spec) -> SliceBy:
    return tuple(sorted({name for columns in spec.slice_sets for name in columns}))


def _plain_states(spec: Spec) -> list[State]:
    return [state for state in spec.states if state.kind in PLAIN and state.unit == "pair"]


def _groups_sql(columns: SliceBy, spec: Spec) -> str:
    """SQL of the plain states by tile and slice; each part of a sum is a column, so that it can be added up."""
    parts, terms = "", ""
    for state in _plain_states(spec):
        if state.kind == "sum":
            terms += f", {_term(state)}"
            for name, sql in _fixed_point(_term_name(state)).items():
                parts += f", {sql} AS {state.id}_{name}"
        else:
            parts += f", {aggregate_sql(state)[0]} AS {state.id}"
    for state in spec.states:
        if state.kind == "histogram":
            # The number of values decides whether a histogram keeps them exactly.
            parts += f", count({state.of}) FILTER (WHERE {state.where}) AS n_{state.id}"
    return (
        f"SELECT tile{slice_names_sql(columns)}, count(*) AS predictions, "
        f"coalesce(sum(labelled::INTEGER), 0)::BIGINT AS labelled{parts} "
        f"FROM (SELECT *{slice_values_sql(columns, spec)}{terms} FROM pairs) GROUP BY tile{slice_names_sql(columns)}"
    )


def _cells_sql(columns: SliceBy, spec: Spec, finest: bool) -> str:
    """SQL of the plain states by tile and slice; each such pair is a cell, numbered from 0."""
    parts = ", sum(predictions)::BIGINT AS predictions, sum(labelled)::BIGINT AS labelled"
    for state in _plain_states(spec):
        if state.kind == "sum":
            parts += f", {sum_sql(partial('sum({}_{})'.format, state.id))} AS {state.id}"
        else:
            parts += f", {'sum' if state.kind == 'count' else state.kind}({state.id}) AS {state.id}"
    parts += "".join(f", sum(n_{state.id}) AS n_{state.id}" for state in spec.states if state.kind == "histogram")
    if not finest:
        source, group = f"({_groups_sql(columns, spec)})", slice_names_sql(columns)
    else:
        place = {name: i for i, name in enumerate(_all_columns(spec))}
        renamed = "".join(f", slice_{place[name]} AS own_{i}" for i, name in enumerate(columns))
        source, group = f"(SELECT *{renamed} FROM finest)", "".join(f", own_{i}" for i in range(len(columns)))
    own = "".join(f", {name} AS slice_{i}" for i, name in enumerate(group.split(", ")[1:]))
    return (
        f"SELECT row_number() OVER () - 1 AS cell, * FROM (SELECT tile{own}{parts} FROM {source} GROUP BY tile{group})"
    )


def aggregate_pairs(con: duckdb.DuckDBPyConnection, columns: SliceBy, spec: Spec, finest: bool = False) -> pa.Table:
    """Aggregate view `pairs` by tile and the slices of some columns.

    Returns columns span, tile (its number), slice_by, slice, predictions, labelled, and one column a state, in the form
    of `schemas.state_type`. `finest` says whether `aggregate_finest` created its table.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE cells AS {_cells_sql(columns, spec, finest)}")
    if not finest:
        _create_grouped(con, columns, spec)
    values, joins = "".join(_stored_sql(state) for state in _plain_states(spec)), ""
    ranked = [state for state in spec.states if state.unit == "query"]
    if ranked:
        con.execute(f"CREATE OR REPLACE TEMP TABLE ranked AS {_ranked_sql(ranked, columns, spec)}")
        joins = " LEFT JOIN ranked USING (cell)"
        values += "".join(f", coalesce(ranked.{state.id}, {NOTHING[state.kind]}) AS {state.id}" for state in ranked)
    tiles: pa.Table = con.sql(
        f"SELECT 'tile' AS span, tile, {literal(','.join(columns))} AS slice_by, {slice_sql(columns)} AS slice, "
        f"predictions, labelled{values} FROM cells{joins} ORDER BY cell"
    ).to_arrow_table()
    for state in spec.states:
        if (elements := _elements_of(state, columns, spec, finest)) is not None:
            flat = con.sql(f"{elements.sql} ORDER BY cell, {elements.order}").to_arrow_table()
            cell = integers(flat.column("cell"))
            column = list_column(flat.drop_columns(["cell"]), cell, len(tiles), state_type(state.kind))
            tiles = tiles.append_column(state.id, column)
    return tiles


def _stored_sql(state: State) -> str:
    return f", {state.id}::BIGINT AS {state.id}" if state.kind == "count" else f", {state.id}"


def _in_cells(values: str, where: str, columns: SliceBy, spec: Spec) -> str:
    """SQL of pairs (alias `v`) with their cell (alias `c`); null slice values match null."""
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM v.slice_{i}" for i in range(len(columns)))
    rows = f"SELECT tile{slice_values_sql(columns, spec)}, {values} FROM pairs WHERE {where}"
    return f"({rows}) v JOIN cells c ON c.tile = v.tile{on}"


class ListSql(NamedTuple):
    """SQL of the elements of a list state."""

    sql: str
    """One row an element: its cell, then its fields."""
    order: str
    """The order of elements within a cell."""


def _histogram(state: State, columns: SliceBy, spec: Spec) -> ListSql:
    """Counts by value; a cell of more than EXACT_ROWS values rounds them."""
    mark = f", ({state.mark})::INTEGER AS mark" if state.mark else ""
    source = _in_cells(
        f"({state.of})::DOUBLE AS x{mark}", f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec
    )
    value = f"CASE WHEN c.n_{state.id} > {EXACT_ROWS} THEN {rounded_sql('x', state.spread)} ELSE x END"
    marked = f"{'sum(mark)' if state.mark else '0'}::BIGINT AS marked"
    return ListSql(
        f"SELECT c.cell, {value} + 0.0::DOUBLE AS value, count(*) AS count, {marked} FROM {source} "
        "GROUP BY c.cell, value",
        "value",
    )


def _groups(state: State, columns: SliceBy, spec: Spec, finest: bool) -> ListSql:
    """Counts by text, with the exact sum of `amount` if there is one; from table `grouped_<id>`."""
    by = _all_columns(spec) if finest else columns
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM v.slice_{by.index(name)}" for i, name in enumerate(columns))
    total, group = ("{}", "") if by == columns else ("sum({})", " GROUP BY c.cell, v.key")
    kinds = {"count": "BIGINT", **{name: SUM_PARTS[name] for name in GROUP_PARTS}}
    kept = "".join(f", {total.format(f'v.{name}')}::{kind} AS {name}" for name, kind in kinds.items())
    return ListSql(
        f"SELECT c.cell, v.key::VARCHAR AS key{kept} FROM grouped_{state.id} v "
        f"JOIN cells c ON c.tile = v.tile{on} WHERE v.key IS NOT NULL{group}",
        "key",
    )


def _most_kept(most: int) -> str:
    """SQL of how many of the smallest values a cell keeps: at most as many as it has, since DuckDB reserves memory."""
    return f"least({most}, c.predictions)"


def _distinct(state: State, columns: SliceBy, spec: Spec) -> ListSql:
    """The DISTINCT smallest hashes of the values."""
    # MD5 because DuckDB's own hash may change with its version; without its lowest bit it fits a signed integer.
    source = _in_cells(f"{text_of(state.of)} AS x", f"({state.where}) AND ({state.of}) IS NOT NULL", columns, spec)
    values = f"SELECT DISTINCT c.cell, {_most_kept(DISTINCT)} AS room, x FROM {source}"
    hashed = f"SELECT DISTINCT cell, room, (md5_number_lower(x) >> 1)::BIGINT AS h FROM ({values})"
    return ListSql(f"SELECT cell, unnest(min(h, room)) AS hash FROM ({hashed}) GROUP BY cell", "hash")


def _sample(state: State, columns: SliceBy, spec: Spec) -> ListSql:
    """The SAMPLE_ROWS pairs with the smallest keys: a uniform sample that does not depend on how pairs are grouped."""
    kept = ", ".join(text_of(quoted(name)) for name in state.columns)
    prediction = "value" if state.of == "prediction" else state.of
    values = (
        f"{{'key': (k >> 1)::BIGINT, 'truth': truth::DOUBLE, 'prediction': {prediction}::DOUBLE, "
        f"'columns': [{kept}]::VARCHAR[]}} AS x"
    )
    source = _in_cells(values, state.where, columns, spec)
    least = f"SELECT c.cell, unnest(min(x, {_most_kept(SAMPLE_ROWS)})) AS x FROM {source} GROUP BY c.cell"
    parts = ", ".join(f"x.{name} AS {name}" for name in ("key", "truth", "prediction", "columns"))
    return ListSql(f"SELECT cell, {parts} FROM ({least})", "key, truth, prediction")


def _elements_of(state: State, columns: SliceBy, spec: Spec, finest: bool) -> ListSql | None:
    """The SQL of the elements of a state; None if it is no list."""
    if state.kind == "groups":
        return _groups(state, columns, spec, finest)
    make = {"histogram": _histogram, "distinct": _distinct, "sample": _sample}.get(state.kind)
    return None if make is None else make(state, columns, spec)


def queries_sql(columns: SliceBy, spec: Spec) -> str:
    """SQL of the queries of a ranking task: one row a query, tile and slice."""
    group = f"tile{slice_names_sql(columns)}, query"
    return (
        f"SELECT {group}, list(truth ORDER BY value DESC NULLS LAST, truth ASC NULLS FIRST) AS ranked, "
        "list(truth ORDER BY truth DESC NULLS LAST) AS ideal, count(*) AS n, bool_and(usable) AS complete "
        f"FROM (SELECT *{slice_values_sql(columns, spec)} FROM pairs WHERE query IS NOT NULL) GROUP BY {group}"
    )


def _ranked_sql(states: list[State], columns: SliceBy, spec: Spec) -> str:
    """SQL of states over the queries of a ranking task: one row a cell, one column a state."""
    aggregates = [(state.id, *aggregate_sql(state)) for state in states]
    expressions = "".join(f", {sql} AS {name}" for name, sql, _ in aggregates)
    terms = "".join(f", {term}" for _, _, term in aggregates if term)
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM q.slice_{i}" for i in range(len(columns)))
    return (
        f"SELECT c.cell{expressions} FROM (SELECT *{terms} FROM ({queries_sql(columns, spec)})) q "
        f"JOIN cells c ON c.tile = q.tile{on} GROUP BY c.cell"
    )


def slice_sql(columns: SliceBy) -> str:
    """SQL of the canonical JSON of a slice, from text columns `slice_0`, `slice_1`, ... in the order of `columns`."""
    if not columns:
        return f"'{ALL}'"
    parts = ", ".join(f"{literal(name)}, slice_{i}" for i, name in enumerate(columns))
    return f"json_object({parts})::VARCHAR"


def slice_value_sql(name: str, edges: Sequence[float] | None) -> str:
    """SQL of the value of a slice column as text; a column with edges is binned, and its nulls stay null."""
    if edges is None:
        return text_of(quoted(name))
    column, names = f"{quoted(name)}::DOUBLE", bin_names(edges)
    cases = "".join(
        f" WHEN {column} < {edge!r}::DOUBLE THEN {literal(bin)}" for edge, bin in zip(edges, names, strict=False)
    )
    return f"CASE WHEN {quoted(name)} IS NULL THEN NULL{cases} ELSE {literal(names[-1])} END"
