"""Tiles: one pass over the pairs of a task makes every state of every hour and slice.

Limit: a Python function is called here once an hour and a day whose pairs outgrow a sample; SQL does all the rest.
"""

from __future__ import annotations

import logging
import pickle
import re
import time
from collections.abc import Iterable
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa

from sli import schemas
from sli.chunks import Chunk, Job
from sli.config import Config
from sli.errors import ConfigError, EngineError, nearest
from sli.intervals import Interval, union, without, zone
from sli.logs import LogFile
from sli.match import Spec, match
from sli.plan import Plan
from sli.scan import Source, check_readable, connect, failed, inside_sql, rows_of
from sli.slices import literal, quoted, sql_text
from sli.slis import State
from sli.slis.custom import called
from sli.slis.states import EXACT_ROWS, FRACTION, LIMIT, SAMPLE_ROWS, integers, rounded_sql

LOG = logging.getLogger("sli")


def task(chunk: Chunk, spec: Spec, excluded: pa.Table) -> pa.Table:
    """Match one chunk and make its tiles: a table of `schemas.TILES` and the states' columns.

    Raises BrokenFiles for files unreadable beyond their footer, EngineError for anything else.
    """
    con = connect(spec.threads, spec.memory)
    try:
        began = time.monotonic()
        match(con, chunk, spec, excluded)
        made = tiles(con, chunk, spec)
        _told(con, chunk, time.monotonic() - began)
        return made
    except duckdb.OutOfMemoryException as error:
        raise EngineError(
            "a task ran out of memory",
            where=str(chunk.reach),
            found=f"memory limit {max(64, spec.memory >> 20)} MiB",
            todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices",
        ) from error
    except (duckdb.Error, OSError) as error:
        check_readable(chunk.predictions, spec.predictions, spec.zone, error)
        check_readable(chunk.feedback, spec.feedback, spec.zone, error)
        raise failed(error, str(chunk.reach)) from error
    finally:
        con.close()


def _told(con: duckdb.DuckDBPyConnection, chunk: Chunk, seconds: float) -> None:
    predictions, labelled = con.execute("SELECT count(*), count(label) FROM pairs").fetchall()[0]
    files = len(chunk.predictions) + len(chunk.feedback)
    span = " and ".join(f"{each}" for each in chunk.pairs[:2]) or f"feedback of {chunk.known}"
    LOG.info("matched %s: %s predictions, %s labelled, %s files, %.1f s", span, predictions, labelled, files, seconds)


def tiles(con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec) -> pa.Table:
    """All rows of `schemas.TILES` of a chunk whose pairs, marks, shadowed and strays are ready."""
    parts = [_side(con, "pairs"), _side(con, "feedback")]
    if chunk.pairs:
        for columns in spec.slice_sets:
            parts.append(_states(con, columns, spec))
            parts.extend(_windows(con, columns, spec, grain) for grain in spec.windows)
    whole = pa.concat_tables(parts, promote_options="default")
    return _with_days(whole, spec)


def _side(con: duckdb.DuckDBPyConnection, span: str) -> pa.Table:
    """Rows of marks, and of the shadowed ids (span pairs) or the strays (span feedback)."""
    listed = (
        "list({'id': id, 'winner': winner} ORDER BY id) AS shadowed FROM shadowed"
        if span == "pairs"
        else "list({'id': id, 'time': make_timestamptz(t)} ORDER BY id, t) AS strays FROM strays"
    )
    name = "shadowed" if span == "pairs" else "strays"
    return con.sql(
        f"SELECT '{span}' AS span, tile, '' AS slice_by, '' AS slice, "
        f"0::BIGINT AS predictions, 0::BIGINT AS labelled, marks, {name} "
        "FROM (SELECT tile, "
        "list({'log': log, 'check': \"check\", 'file': file, 'count': \"count\", 'samples': samples} "
        'ORDER BY log, "check", file) AS marks '
        f"FROM marks WHERE span = '{span}' GROUP BY tile) "
        f"FULL JOIN (SELECT tile, {listed} GROUP BY tile) USING (tile)"
    ).to_arrow_table()


def aggregate(state: State) -> tuple[str, str]:
    """SQL of a state that is one aggregate, and of the term `x_<id>` it sums, if any."""
    if state.kind == "count":
        return f"coalesce(sum(({state.where})::INTEGER), 0)::BIGINT", ""
    if state.kind in ("min", "max"):
        return f"{state.kind}({state.of}) FILTER (WHERE {state.where})", ""
    x = f"x_{state.id}"
    fits = f"abs({x}) < {LIMIT!r}"
    whole = f"coalesce(sum(CASE WHEN {fits} THEN trunc({x})::HUGEINT END), 0)::DECIMAL(38, 0)"
    units = f"(({x} - trunc({x})) * {FRACTION!r}::DOUBLE)::HUGEINT"
    fraction = f"coalesce(sum(CASE WHEN {fits} THEN {units} END), 0)::DECIMAL(38, 0)"
    terms = f"count({x})"
    undefined = f"count(*) FILTER (WHERE {x} IS NOT NULL AND NOT ({fits}))"
    expression = f"{{'whole': {whole}, 'fraction': {fraction}, 'undefined': {undefined}, 'terms': {terms}}}"
    return expression, f"CASE WHEN {state.where} THEN {state.of} END AS {x}"


def check_states(config: Config, files: Iterable[LogFile]) -> None:
    """Try every state's SQL on an empty table of the logs' types, before any work. Raises ConfigError."""
    first = next((file for file in files if file.usable), None)
    if first is None:
        return
    con = connect(1, 1 << 28)
    p = config.predictions
    source = Source(p.id, p.time, p.value, config.columns)
    rows = rows_of(con, [first], source, config.timezone, Interval(0, 0))
    label = "true" if config.task == "binary" else "0.0::DOUBLE"
    try:
        con.execute(
            "CREATE TEMP TABLE pairs AS SELECT * EXCLUDE (id, t, value, filename), value AS prediction, "
            f"{label} AS label, true AS decision, true AS labelled, true AS usable, 0.0::DOUBLE AS delay, "
            "make_timestamptz(t) AS predicted_at, make_timestamptz(t) AS known_at "
            f"FROM {rows} LIMIT 0"
        )
    except (duckdb.Error, OSError) as error:
        check_readable([first], source, config.timezone, error)
        raise failed(error, first.path) from error
    for sli in config.declared:
        for name, state in sli.formula.states.items():
            if state.kind not in ("count", "sum", "min", "max", "histogram"):
                continue
            expression, term = aggregate(state) if state.kind != "histogram" else (f"max({state.of})", "")
            try:
                con.execute(f"SELECT {expression} FROM (SELECT *{', ' + term if term else ''} FROM pairs)")
            except duckdb.Error as error:
                columns = [row[0] for row in con.execute("DESCRIBE pairs").fetchall()]
                wrong = re.search(r'column "([^"]+)"', str(error))
                near = nearest(wrong[1], columns) if wrong else ""
                raise ConfigError(
                    "the SQL of a state cannot be used",
                    where=f"slis, {sli.name}, states.{name}",
                    expected=f"SQL over the columns {', '.join(columns)}",
                    found=f"{sli.declaration.get('states', {}).get(name, state.of)}: {str(error).splitlines()[0]}",
                    todo=near or (f"list {wrong[1]} under predictions.columns" if wrong else ""),
                ) from error


def _as_text(columns: tuple[str, ...]) -> str:
    return "".join(f", {quoted(name)}::VARCHAR AS {quoted(name)}" for name in columns)


def _listed(columns: tuple[str, ...]) -> str:
    return "".join(f", {quoted(name)}" for name in columns)


def _states(con: duckdb.DuckDBPyConnection, columns: tuple[str, ...], spec: Spec) -> pa.Table:
    """One row a tile and slice, one column a state."""
    simple = [state for state in spec.states if state.kind in ("count", "sum", "min", "max")]
    made = [(state.id, *aggregate(state)) for state in simple]
    expressions = "".join(f", {sql} AS {name}" for name, sql, _ in made)
    terms = "".join(f", {term}" for _, _, term in made if term)
    # Slice columns are grouped as text, while SLIs see them as they are.
    slices = "".join(f", {quoted(name)}::VARCHAR AS slice_{i}" for i, name in enumerate(columns))
    group = "".join(f", slice_{i}" for i in range(len(columns)))
    named = "".join(f", slice_{i} AS {quoted(name)}" for i, name in enumerate(columns))
    con.execute(
        "CREATE OR REPLACE TEMP TABLE cells AS "
        f"SELECT row_number() OVER () AS cell, tile{named}, * EXCLUDE (tile{group}) FROM ("
        f"SELECT tile{group}, count(*) AS predictions, "
        f"coalesce(sum(labelled::INTEGER), 0)::BIGINT AS labelled{expressions} "
        f"FROM (SELECT *{slices}{terms} FROM pairs) GROUP BY tile{group})"
    )
    joins, lists = "", ""
    for state in spec.states:
        if state.kind in ("histogram", "sample"):
            make = _histogram if state.kind == "histogram" else _sample
            con.execute(f"CREATE OR REPLACE TEMP TABLE {state.id} AS {make(state, columns)}")
            joins += f" LEFT JOIN {state.id} USING (cell)"
            lists += f", coalesce({state.id}.content, []) AS {state.id}"
    values = "".join(f", {state.id}" for state in simple)
    return con.sql(
        f"SELECT 'tile' AS span, tile, {literal(','.join(columns))} AS slice_by, {sql_text(columns)} AS slice, "
        f"predictions, labelled{values}{lists} FROM cells{joins}"
    ).to_arrow_table()


def _in_cells(of: str, where: str, columns: tuple[str, ...]) -> str:
    """SQL for rows of pairs with their cell; null slice values match null."""
    on = "".join(f" AND c.{quoted(name)} IS NOT DISTINCT FROM v.{quoted(name)}" for name in columns)
    return f"(SELECT tile{_as_text(columns)}, {of} FROM pairs WHERE {where}) v JOIN cells c ON c.tile = v.tile{on}"


def _histogram(state: State, columns: tuple[str, ...]) -> str:
    """Counts by value: the very values in a cell of at most EXACT_ROWS values, rounded ones otherwise."""
    source = _in_cells(f"{state.of} AS x", f"({state.where}) AND {state.of} IS NOT NULL", columns)
    sized = f"SELECT c.cell, count(*) AS n FROM {source} GROUP BY c.cell"
    value = f"CASE WHEN n > {EXACT_ROWS} THEN {rounded_sql('x', state.spread)} ELSE x END"
    return (
        "SELECT cell, list({'value': value, 'count': n} ORDER BY value) AS content "
        "FROM (SELECT cell, value, count(*) AS n FROM "
        f"(SELECT c.cell, {value} + 0.0::DOUBLE AS value FROM {source} JOIN ({sized}) s ON s.cell = c.cell) "
        "GROUP BY cell, value) GROUP BY cell"
    )


def _sample(state: State, columns: tuple[str, ...]) -> str:
    """The SAMPLE_ROWS pairs with the smallest keys: a uniform sample, the same however rows are grouped."""
    of = f"{{'key': (k >> 1)::BIGINT, 'truth': label::DOUBLE, 'prediction': {state.of}::DOUBLE}} AS x"
    source = _in_cells(of, state.where, columns)
    return f"SELECT c.cell, list_sort(min(x, {SAMPLE_ROWS})) AS content FROM {source} GROUP BY c.cell"


def _windows(con: duckdb.DuckDBPyConnection, columns: tuple[str, ...], spec: Spec, grain: str) -> pa.Table:
    """Values of Python functions on all pairs of an hour or a day, where a sample would not hold them."""
    states = [state for state in spec.states if state.kind == "window"]
    if not states:
        return pa.table({"span": pa.array([], pa.string()), "tile": pa.array([], pa.int64())})
    _register_windows(con, spec, grain)
    listed = ", ".join(
        f"list({name}::DOUBLE ORDER BY k, t) AS {name}" for name in dict.fromkeys(["label", *(s.of for s in states)])
    )
    found = con.sql(
        f"SELECT '{grain}' AS span, tile, {literal(','.join(columns))} AS slice_by, {sql_text(columns)} AS slice, "
        f"count(*) AS predictions, {listed} "
        f"FROM (SELECT w.start // {spec.tile} AS tile{_as_text(columns)}, label, prediction, decision, k, t "
        "FROM pairs JOIN window_of w ON w.tile = pairs.tile WHERE usable) "
        f"GROUP BY tile{_listed(columns)} "
        f"HAVING count(*) > {SAMPLE_ROWS} ORDER BY tile, slice"
    ).to_arrow_table()
    made = found.select(["span", "tile", "slice_by", "slice", "predictions"])
    for state in states:
        function = pickle.loads(spec.functions[state.call])
        pairs = zip(found.column("label"), found.column(state.of), strict=True)
        values = [called(function, np.asarray(truth.values), np.asarray(given.values)) for truth, given in pairs]
        content = [{"value": None if np.isnan(value) else value, "reason": reason} for value, reason in values]
        made = made.append_column(state.id, pa.array(content, type=schemas.state_type("window")))
    return made


def _register_windows(con: duckdb.DuckDBPyConnection, spec: Spec, grain: str) -> None:
    """Table `window_of`: the start of the hour or day each tile belongs to."""
    found = integers(con.execute("SELECT DISTINCT tile FROM pairs").fetchnumpy()["tile"])
    starts = found * spec.tile
    if len(starts):
        at = zone(spec.zone)
        edges = (
            at.hours(int(starts.min()), int(starts.max()) + 1)
            if grain == "hour"
            else np.array(
                at.midnights(at.date(int(starts.min())), at.date(int(starts.max())) + timedelta(days=1)), dtype=np.int64
            )
        )
        starts = edges[np.searchsorted(edges, starts, side="right") - 1]
    con.register("windows_arrow", pa.table({"tile": found, "start": starts}))
    con.execute("CREATE OR REPLACE TEMP TABLE window_of AS FROM windows_arrow")
    con.unregister("windows_arrow")


def _with_days(rows: pa.Table, spec: Spec) -> pa.Table:
    """Replace the number of each tile by its start and the local date it lies in, the partition column."""
    at = zone(spec.zone)
    number = integers(rows.column("tile"))
    distinct, position = np.unique(number, return_inverse=True)
    days = np.array([at.date(int(each) * spec.tile).isoformat() for each in distinct], dtype=object)
    start = pa.array(number * spec.tile, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    placed = rows.drop_columns(["tile"]).append_column("start", start)
    return placed.append_column("day", pa.array(days[position] if len(days) else [], pa.string()))


def replaced(
    config: Config, before: pa.Table, jobs: list[tuple[Job, pa.Table]], plan: Plan
) -> tuple[pa.Table, list[Interval]]:
    """All tiles after a run, and the final ones that input would change and an explicit interval must.

    Tiles recomputed are replaced, new states join the rows of the others.
    """
    con = duckdb.connect()
    con.execute("SET TimeZone='UTC'")
    con.register("before_arrow", before)
    held: list[Interval] = []
    whole = before
    if plan.pairs or plan.checked or plan.strays:
        made, jobs = jobs[0][1], jobs[1:]
        con.register("made_arrow", made)
        held = _differing(con, before, made, plan, config.tile)
        done = inside_sql("epoch_us(start)", without([*plan.pairs, *plan.checked], held))
        fed = inside_sql("epoch_us(start)", plan.strays)
        mine = f"((span <> 'feedback' AND {done}) OR (span = 'feedback' AND {fed}))"
        kept = con.sql(f"SELECT * FROM before_arrow WHERE NOT {mine}").to_arrow_table()
        new = con.sql(f"SELECT * FROM made_arrow WHERE {mine}").to_arrow_table()
        whole = pa.concat_tables([kept, new], promote_options="permissive")
    for job, made in jobs:
        whole = _joined(con, whole, made, job)
    for state in config.states.values():
        if state.id not in whole.schema.names:
            whole = whole.append_column(state.id, pa.nulls(len(whole), schemas.state_type(state.kind)))
    return whole, held


def _differing(
    con: duckdb.DuckDBPyConnection, before: pa.Table, made: pa.Table, plan: Plan, tile: int
) -> list[Interval]:
    """Tiles among those checked whose states would change."""
    if not plan.checked or not plan.known_sets:
        return []
    names = ["start", "slice_by", "slice", "predictions", "labelled"]
    # A state that tiles have yet to gain differs from nothing.
    comparable = set(before.schema.names) - set(plan.partial)
    names += [name for name in made.schema.names if name in comparable and "_" in name and name != "slice_by"]
    sets = ", ".join(literal(",".join(each)) for each in plan.known_sets)
    mine = f"span = 'tile' AND slice_by IN ({sets}) AND {inside_sql('epoch_us(start)', plan.checked)}"
    rows = f"SELECT {', '.join(names)} FROM {{}} WHERE {mine}"
    old, new = rows.format("before_arrow"), rows.format("made_arrow")
    found = con.execute(
        f"SELECT DISTINCT epoch_us(start) FROM (({old} EXCEPT {new}) UNION ALL ({new} EXCEPT {old})) ORDER BY ALL"
    ).fetchall()
    return union(Interval(start, start + tile) for (start,) in found)


def _joined(con: duckdb.DuckDBPyConnection, whole: pa.Table, made: pa.Table, job: Job) -> pa.Table:
    """Add columns of new states to the rows there are, and rows of new slices or windows."""
    con.register("whole_arrow", whole)
    con.register("made_arrow", made)
    keys = ("span", "start", "slice_by", "slice")
    old, new = whole.schema.names, made.schema.names
    columns = ", ".join(
        name
        if name in keys
        else f"coalesce(w.{name}, m.{name}) AS {name}"
        if name in old and name in new
        else f"w.{name}"
        if name in old
        else f"m.{name}"
        for name in dict.fromkeys([*old, *(name for name in new if name in job.states)])
    )
    known = ", ".join(literal(",".join(each)) for each in job.slice_sets)
    return con.sql(
        f"SELECT {columns} FROM whole_arrow w FULL JOIN (SELECT * FROM made_arrow "
        f"WHERE span IN ('tile', 'hour', 'day') AND slice_by IN ({known})) m USING (span, start, slice_by, slice) "
        # A held tile has predictions in the logs that its published row does not know of: it gains no row here.
        "WHERE w.day IS NOT NULL OR span <> 'tile' OR slice_by NOT IN "
        "(SELECT DISTINCT slice_by FROM before_arrow WHERE span = 'tile')"
    ).to_arrow_table()
