"""Tiles: one pass over the pairs of a task makes every state of every hour and slice.

Limit: a Python function is called here once an hour and a day whose pairs outgrow a sample; SQL does all the rest.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli import schemas
from sli.calendar.zone import zone
from sli.engine.connection import connect, out_of_memory, task_error
from sli.engine.expression import shut_in
from sli.engine.sql import literal, quoted, text_of
from sli.logs.damaged import check_readable
from sli.logs.files import LogFile
from sli.matching.join import join_files
from sli.matching.spec import Spec
from sli.planning.tasks import Task
from sli.slis.custom.function import UserFunction, value_or_reason, without_warnings
from sli.slis.states import SAMPLE_ROWS, State, integers
from sli.tiles.aggregate import grouping, named, prepare, slice_sql, states_of

LOG = logging.getLogger("sli")


def task(work: Task, spec: Spec, losers: pa.Table) -> pa.Table:
    """Match one work and make its tiles: a table of `schemas.TILES` and the states' columns.

    Raises UnreadableFiles for files unreadable beyond their footer, EngineError for anything else.
    """
    with kernel(spec, work.predictions, work.feedback, str(work.predicted)) as con:
        began = time.monotonic()
        join_files(con, work, spec, losers)
        # Without a file of predictions there is no pair, and no column has a type that states could be made of.
        made = tiles(con, spec, bool(work.prediction_tiles and work.predictions))
        span = " and ".join(f"{each}" for each in work.prediction_tiles[:2]) or f"feedback of {work.known}"
        files = len(work.predictions) + len(work.feedback)
        tell(made, f"{span}, {files} files", time.monotonic() - began)
        return made


@contextmanager
def kernel(
    spec: Spec, predictions: Iterable[LogFile], feedback: Iterable[LogFile], where: str
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of a task that reads these files.

    Raises UnreadableFiles for files unreadable beyond their footer, OutOfMemory, EngineError for anything else.
    """
    con = connect(spec.threads, spec.memory)
    try:
        yield con
    except duckdb.OutOfMemoryException as error:
        raise out_of_memory(where, f"memory limit {max(64, spec.memory >> 20)} MiB") from error
    except (duckdb.Error, OSError) as error:
        check_readable(predictions, spec.predictions, spec.zone, error)
        check_readable(feedback, spec.feedback, spec.zone, error)
        raise task_error(error, where) from error
    finally:
        con.close()
        # What Arrow would keep for later counts as memory of the worker.
        pa.default_memory_pool().release_unused()


def tell(made: pa.Table, what: str, seconds: float) -> None:
    """Log what a task matched, going by its tiles."""
    own = made.filter(pc.equal(made.column("span"), "tile"))
    # Each set of slices holds all pairs.
    first = own.filter(pc.equal(own.column("slice_by"), own.column("slice_by")[0])) if len(own) else own
    predictions, labelled = (pc.sum(first.column(name)).as_py() or 0 for name in ("predictions", "labelled"))
    LOG.info("matched %s: %s predictions, %s labelled, %.1f s", what, predictions, labelled, seconds)


def tiles(con: duckdb.DuckDBPyConnection, spec: Spec, paired: bool) -> pa.Table:
    """All rows of `schemas.TILES` of a task whose marks, shadowed and strays, and pairs if any, are ready.

    From here on its connection reads no file: the SQL of the config's own states comes next.
    """
    shut_in(con)
    parts = [_side(con, "pairs"), _side(con, "feedback")]
    if paired:
        fine = prepare(con, spec)
        for columns in spec.slice_sets:
            parts.append(states_of(con, columns, spec, fine))
            parts.extend(_windows(con, columns, spec, grain) for grain in spec.windows)
    whole = pa.concat_tables(parts, promote_options="default")
    return _with_days(whole, spec)


def _side(con: duckdb.DuckDBPyConnection, span: str) -> pa.Table:
    """Rows of marks, and of the shadowed ids (span pairs) or the strays (span feedback)."""
    listed = (
        "list({'id': id, 'winner': winner} ORDER BY id) AS shadowed FROM shadowed"
        if span == "pairs"
        else "list({'id': id, 'time': make_timestamptz(t), 'reason': reason} ORDER BY id, t) AS strays FROM strays"
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


def _windows(con: duckdb.DuckDBPyConnection, columns: tuple[str, ...], spec: Spec, grain: str) -> pa.Table:
    """Values of Python functions on all pairs of an hour or a day, where a sample would not hold them."""
    states = [state for state in spec.states if state.kind == "window"]
    if not states:
        return pa.table({"span": pa.array([], pa.string()), "tile": pa.array([], pa.int64())})
    _register_windows(con, spec, grain)
    functions = {state.id: pickle.loads(spec.functions[state.call]) for state in states}
    flags = {where: f'"sli:kept_{i}"' for i, where in enumerate(dict.fromkeys(state.where for state in states))}
    lists: dict[tuple[str, str], str] = {}
    own = {state.id: _listed(state, functions[state.id], flags, lists) for state in states}
    numbers = "".join(f", count(*) FILTER (WHERE {flag}) AS n_{i}" for i, flag in enumerate(flags.values()))
    listed = "".join(f", list({sql} ORDER BY k, t) FILTER (WHERE {flag}) AS {at}" for (sql, flag), at in lists.items())
    kept = "".join(f", {quoted(name)}" for name in dict.fromkeys(name for state in states for name in state.columns))
    marked = "".join(f", ({where}) AS {flag}" for where, flag in flags.items())
    large = " OR ".join(f"n_{i} > {SAMPLE_ROWS}" for i in range(len(flags)))
    found = con.sql(
        f"SELECT '{grain}' AS span, tile, {literal(','.join(columns))} AS slice_by, {slice_sql(columns)} AS slice, "
        f"count(*) AS predictions{numbers}{listed} "
        f'FROM (SELECT "sli:start" // {spec.tile} AS tile{named(columns, spec)}{kept}{marked}, truth, value, decision, '
        'k, t FROM pairs JOIN window_of ON "sli:tile" = tile WHERE usable) '
        f"GROUP BY tile{grouping(columns)} HAVING {large} ORDER BY tile, slice"
    ).to_arrow_table()
    made = found.select(["span", "tile", "slice_by", "slice", "predictions"])
    for state in states:
        number = found.column(f"n_{list(flags).index(state.where)}").to_pylist()
        content = [
            _on_all(functions[state.id], {name: found.column(at)[i] for name, at in own[state.id].items()})
            if number[i] > SAMPLE_ROWS
            else None
            for i in range(len(found))
        ]
        made = made.append_column(state.id, pa.array(content, type=schemas.state_type("window")))
    return made


TRUTH, PREDICTION = "sli:truth", "sli:prediction"


def _listed(
    state: State, function: UserFunction, flags: dict[str, str], lists: dict[tuple[str, str], str]
) -> dict[str, str]:
    """Where in `lists`, of SQL by the flag of its rows, what a function gets is: labels, predictions, its columns."""
    of = {TRUTH: "truth", PREDICTION: "value::DOUBLE" if state.of == "prediction" else "decision::DOUBLE"}
    for name in state.columns:
        of[name] = text_of(quoted(name)) if function.needs_texts(name) else f"({text_of(quoted(name))})::DOUBLE"
    flag = flags[state.where]
    return {name: lists.setdefault((sql, flag), f"list_{len(lists)}") for name, sql in of.items()}


def _on_all(function: UserFunction, lists: dict[str, pa.ListScalar]) -> dict[str, float | str | None]:
    """What a function says of all pairs of a window."""
    truth, prediction = (np.asarray(lists.pop(name).values, dtype=np.float64) for name in (TRUTH, PREDICTION))
    columns = {
        name: np.array(of.as_py(), dtype=object)
        if function.needs_texts(name)
        else np.asarray(of.values, dtype=np.float64)
        for name, of in lists.items()
    }
    with without_warnings():
        value, reason = value_or_reason(function, truth, prediction, columns)
    return {"value": None if np.isnan(value) else value, "reason": reason}


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
    con.register("windows_arrow", pa.table({"sli:tile": found, "sli:start": starts}))
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
