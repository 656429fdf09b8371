"""The SQL that aggregates the pairs of a task to states: one row per tile and slice, one column per state.

One query aggregates the parts of all states; each state that is a list has a query of its own. Limit: the pairs of a
task are scanned once for each list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from sli.engine.sql import literal, quoted, text_of
from sli.matching.spec import Spec
from sli.slices import ALL, SliceBy, bin_names
from sli.slis.kinds.lists import ListState
from sli.slis.kinds.parts import Part, PartsState, part_columns
from sli.slis.states import Unit

if TYPE_CHECKING:
    import duckdb


def slice_values_sql(columns: SliceBy, spec: Spec) -> str:
    """SQL of columns `slice_0`, `slice_1`, ...: the values of the slice columns as text."""
    return "".join(f", {slice_value_sql(name, spec.edges.get(name))} AS slice_{i}" for i, name in enumerate(columns))


def slice_names_sql(columns: SliceBy) -> str:
    """SQL that names the columns of `slice_values_sql`, each after a comma."""
    return "".join(f", slice_{i}" for i in range(len(columns)))


MIN_GROUP_ROWS = 4
"""`aggregate_finest` saves work if groups by all slice columns have at least this many pairs on average."""
FEW_ROWS = 10_000
"""So few pairs cost less than the longer SQL of slices that are not added up from `finest`."""
MAX_ROWS_COUNTED = 1_000_000
"""How many pairs are counted to estimate that average."""


def aggregate_finest(con: duckdb.DuckDBPyConnection, spec: Spec) -> bool:
    """Create table `finest`: parts of states by all slice columns at once; slices of fewer columns add up its rows.

    Lists whose pairs are grouped get tables of their own, `grouped_<id>`. If that would save no work, it creates no
    table and returns False.
    """
    columns = _all_columns(spec)
    if len(spec.slice_sets) < 2 or not columns:
        return False
    distinct = f"approx_count_distinct(hash(tile{slice_names_sql(columns)}))"
    values = slice_values_sql(columns, spec)
    groups, rows = con.execute(
        f"SELECT {distinct}, count(*) FROM (SELECT tile{values} FROM pairs LIMIT {MAX_ROWS_COUNTED})"
    ).fetchall()[0]
    if groups * MIN_GROUP_ROWS > rows > FEW_ROWS:
        return False
    con.execute(f"CREATE OR REPLACE TEMP TABLE finest AS {_groups_sql(columns, spec)}")
    _create_grouped(con, columns, spec)
    return True


def _create_grouped(con: duckdb.DuckDBPyConnection, columns: SliceBy, spec: Spec) -> None:
    """Create table `grouped_<id>` for each list whose pairs are grouped by tile, slice and key before.

    So the SQL of the state is computed once for each pair, and few rows are placed into cells.
    """
    group, values = f"tile{slice_names_sql(columns)}, key", slice_values_sql(columns, spec)
    for state in _lists(spec):
        if state.grouped:
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE grouped_{state.id} AS SELECT {group}, {state.grouped} "
                f"FROM (SELECT tile{values}, {state.values} FROM pairs WHERE {state.present}) GROUP BY {group}"
            )


def _all_columns(spec: Spec) -> SliceBy:
    return tuple(sorted({name for columns in spec.slice_sets for name in columns}))


def _lists(spec: Spec) -> list[ListState]:
    return [state for state in spec.states if isinstance(state, ListState)]


def _of_parts(spec: Spec, unit: Unit) -> list[PartsState]:
    return [state for state in spec.states if isinstance(state, PartsState) and state.unit == unit]


def _columns(spec: Spec) -> dict[str, Part]:
    """All that is aggregated in one query: the parts of states over pairs."""
    return part_columns(_of_parts(spec, "pair"))


def _groups_sql(columns: SliceBy, spec: Spec) -> str:
    """SQL of the parts of states by tile and slice, each a column, so that it can be added up."""
    parts = "".join(f", {part.sql} AS {name}" for name, part in _columns(spec).items())
    terms = "".join(f", {state.operand}" for state in _of_parts(spec, "pair") if state.operand)
    group = f"tile{slice_names_sql(columns)}"
    return f"SELECT {group}{parts} FROM (SELECT *{slice_values_sql(columns, spec)}{terms} FROM pairs) GROUP BY {group}"


def _cells_sql(columns: SliceBy, spec: Spec, finest: bool) -> str:
    """SQL of the parts of states by tile and slice; each such pair is a cell, numbered from 0."""
    parts = "".join(f", {part.merge}({name})::{part.type} AS {name}" for name, part in _columns(spec).items())
    if not finest:
        source, group = f"({_groups_sql(columns, spec)})", slice_names_sql(columns)
    else:
        place = {name: i for i, name in enumerate(_all_columns(spec))}
        renamed = "".join(f", slice_{place[name]} AS own_{i}" for i, name in enumerate(columns))
        source, group = f"(SELECT *{renamed} FROM finest)", "".join(f", own_{i}" for i in range(len(columns)))
    own = "".join(f", {name} AS slice_{i}" for i, name in enumerate(group.split(", ")[1:]))
    own_names = slice_names_sql(columns)
    return (
        f"SELECT row_number() OVER (ORDER BY tile{own_names}) - 1 AS cell, * "
        f"FROM (SELECT tile{own}{parts} FROM {source} GROUP BY tile{group})"
    )


def aggregate_pairs(con: duckdb.DuckDBPyConnection, columns: SliceBy, spec: Spec, finest: bool = False) -> pa.Table:
    """Aggregate view `pairs` by tile and the slices of some columns.

    Returns columns span, tile (its number), slice_by, slice, predictions, labelled, and one column a state, of its
    `type`. `finest` says whether `aggregate_finest` created its table.
    """
    con.execute(f"CREATE OR REPLACE TEMP TABLE cells AS {_cells_sql(columns, spec, finest)}")
    if not finest:
        _create_grouped(con, columns, spec)
    values = "".join(f", {state.packed(state.column)} AS {state.id}" for state in _of_parts(spec, "pair"))
    joins, ranked = "", _of_parts(spec, "query")
    if ranked:
        con.execute(f"CREATE OR REPLACE TEMP TABLE ranked AS {_ranked_sql(ranked, columns, spec)}")
        joins = " LEFT JOIN ranked USING (cell)"
        values += "".join(f", coalesce(ranked.{state.id}, {state.empty}) AS {state.id}" for state in ranked)
    tiles: pa.Table = con.sql(
        f"SELECT 'tile' AS span, tile, {literal(','.join(columns))} AS slice_by, {slice_sql(columns)} AS slice, "
        f"predictions, labelled{values} FROM cells{joins} ORDER BY cell"
    ).to_arrow_table()
    for state in _lists(spec):
        elements = con.sql(state.collected(_in_cells(state, columns, spec, finest)))
        tiles = tiles.append_column(state.id, state.column(elements, "cell", len(tiles)))
    return tiles


def _in_cells(state: ListState, columns: SliceBy, spec: Spec, finest: bool) -> str:
    """SQL of the pairs of a state, or what they are grouped to (alias `v`), with their cell (alias `c`)."""
    by = _all_columns(spec) if finest and state.grouped else columns
    # Null slice values match null.
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM v.slice_{by.index(name)}" for i, name in enumerate(columns))
    rows = f"(SELECT tile{slice_values_sql(columns, spec)}, {state.values} FROM pairs WHERE {state.present})"
    return f"{f'grouped_{state.id}' if state.grouped else rows} v JOIN cells c ON c.tile = v.tile{on}"


def queries_sql(columns: SliceBy, spec: Spec) -> str:
    """SQL of the queries of a ranking task: one row a query, tile and slice."""
    group = f"tile{slice_names_sql(columns)}, query"
    return (
        f"SELECT {group}, list(truth ORDER BY value DESC NULLS LAST, truth ASC NULLS FIRST) AS ranked, "
        "list(truth ORDER BY truth DESC NULLS LAST) AS ideal, count(*) AS n, bool_and(usable) AS complete "
        f"FROM (SELECT *{slice_values_sql(columns, spec)} FROM pairs WHERE query IS NOT NULL) GROUP BY {group}"
    )


def _ranked_sql(states: Sequence[PartsState], columns: SliceBy, spec: Spec) -> str:
    """SQL of states over the queries of a ranking task: one row a cell, one column a state."""
    values = "".join(f", {state.packed(lambda part: part.sql)} AS {state.id}" for state in states)
    terms = "".join(f", {state.operand}" for state in states if state.operand)
    on = "".join(f" AND c.slice_{i} IS NOT DISTINCT FROM q.slice_{i}" for i in range(len(columns)))
    return (
        f"SELECT c.cell{values} FROM (SELECT *{terms} FROM ({queries_sql(columns, spec)})) q "
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
