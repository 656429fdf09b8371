"""Amending: what new rows change in the tiles, without reading again what they do not touch.

A pair changes only if a row of its id came. So the ids of the new rows are looked up in the key segments, all rows of
these ids are read and matched twice, as they were known and as they are, and a tile gains what the second gives and
loses what the first gave. Limit: the new rows and all rows of their ids must fit one task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from sli.calendar.interval import BEGINNING, Interval
from sli.engine.connection import prepare_cursor
from sli.logs.files import Files
from sli.logs.reader import ROW, Log, rows_sql
from sli.matching.id_index import ALWAYS, KEY, Segments, holding
from sli.matching.join import join_rows
from sli.matching.other_tiles import LOSERS
from sli.matching.sides import Sides, invalid_code
from sli.matching.spec import Spec
from sli.matching.unmatched import reasons_sql
from sli.planning.new_rows import NewRows
from sli.schemas import with_states
from sli.slis.states import integers
from sli.tiles.build import kernel, tiles

LOG = logging.getLogger("sli")


@dataclass(frozen=True)
class Shares:
    """What the pairs of the new rows' ids give to the tiles, as they were known and as they are."""

    before: pa.Table
    after: pa.Table


def shares(new_rows: NewRows, spec: Spec, segments: Segments) -> Shares:
    """Match the ids of the new rows as known to the published run and as known now.

    Raises UnreadableFiles for files unreadable beyond their footer, EngineError for anything else.
    """
    # What is taken away from the audit must be known in full.
    spec = replace(spec, samples=None, windows=())
    began = time.monotonic()
    predictions = new_rows.seen_predictions.with_more(new_rows.predictions)
    feedback = new_rows.seen_feedback.with_more(new_rows.feedback)
    with kernel(spec, predictions, feedback, f"new rows as of {new_rows.as_of}") as con:
        _new_rows(con, new_rows, spec)
        con.execute(
            f"CREATE TABLE changed AS SELECT {KEY} AS key FROM new_predictions WHERE id IS NOT NULL UNION "
            f"SELECT {KEY} FROM new_feedback WHERE id IS NOT NULL"
        )
        _old_rows(con, new_rows, spec, segments)
        found = Shares(_share(con, spec, ["old"]), _share(con, spec, ["old", "new"]))
        _told(con, time.monotonic() - began)
        return found


def _sources(new_rows: NewRows, spec: Spec) -> tuple[tuple[str, Log, Files, Files], ...]:
    return (
        ("predictions", spec.predictions, new_rows.predictions, new_rows.seen_predictions),
        ("feedback", spec.feedback, new_rows.feedback, new_rows.seen_feedback),
    )


def _new_rows(con: duckdb.DuckDBPyConnection, new_rows: NewRows, spec: Spec) -> None:
    """Tables `new_predictions` and `new_feedback`."""
    known, revealed = Interval(BEGINNING, new_rows.as_of + 1), new_rows.newly_known
    for log, source, new, _ in _sources(new_rows, spec):
        parts = [(new, known), (revealed.of_log(log), new_rows.later)]
        selects = [
            f"SELECT * FROM {rows_sql(con, files, source, spec.zone, span)}" for files, span in parts if len(files)
        ]
        _keep(con, f"new_{log}", _rows(con, selects, source, spec))


def _rows(con: duckdb.DuckDBPyConnection, selects: Sequence[str], source: Log, spec: Spec) -> str:
    """SQL of all these rows; where there are none, of the columns without a row."""
    return " UNION ALL ".join(selects) or f"SELECT * FROM {rows_sql(con, [], source, spec.zone, ALWAYS)}"


def _keep(con: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    con.execute(f"CREATE TABLE {name} AS {sql}")


def _old_rows(con: duckdb.DuckDBPyConnection, new_rows: NewRows, spec: Spec, segments: Segments) -> None:
    """Tables `old_predictions` and `old_feedback`: the rows known to the published run whose ids have new ones."""
    for log, source, _, seen in _sources(new_rows, spec):
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE hits AS SELECT DISTINCT tile, key FROM {segments.of(con, log)} "
            "WHERE key IN (FROM changed)"
        )
        numbers = integers(con.execute("SELECT DISTINCT tile FROM hits ORDER BY tile").fetchnumpy()["tile"])
        files = holding(seen, numbers, spec.tile)
        selects = []
        if len(files):
            start, end = int(numbers[0]) * spec.tile, (int(numbers[-1]) + 1) * spec.tile
            span = Interval(min(start, new_rows.published_as_of + 1), min(end, new_rows.published_as_of + 1))
            rows = rows_sql(con, files, source, spec.zone, span)
            selects = [f"SELECT * FROM {rows} WHERE {KEY} IN (SELECT key FROM hits)"]
        _keep(con, f"old_{log}", _rows(con, selects, source, spec))


def _share(con: duckdb.DuckDBPyConnection, spec: Spec, kept: Sequence[str]) -> pa.Table:
    """The tiles of the rows in these tables."""
    own = con.cursor()  # the kernel's temporary tables are those of a cursor
    try:
        prepare_cursor(own)
        filled = {log: _filled(own, kept, log) for log in ("predictions", "feedback")}
        predictions, feedback = (_together(names or [f"{kept[0]}_{log}"]) for log, names in filled.items())
        since = f"(SELECT * FROM {predictions} WHERE t >= {spec.since})"
        join_rows(own, Sides.in_memory(since, feedback, "true", "true", "true"), spec, LOSERS.empty_table())
        valid = f"(SELECT *, value AS prediction FROM {predictions} WHERE {invalid_code('predictions', spec)} = 0)"
        columns = spec.predictions.columns
        own.execute(
            f"CREATE OR REPLACE TEMP TABLE strays AS "
            f"{reasons_sql('strays', valid, columns, spec.keep_prediction, spec.since)}"
        )
        made = tiles(own, spec, bool(filled["predictions"]))
        return with_states(made, {state.id: state.kind for state in spec.states})
    finally:
        own.close()


def _filled(con: duckdb.DuckDBPyConnection, kept: Sequence[str], log: str) -> list[str]:
    """Those of a log's tables that hold rows: the columns of an empty one have no type."""
    names = [f"{each}_{log}" for each in kept]
    return [name for name in names if con.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]]


def _together(names: Sequence[str]) -> str:
    """SQL of the rows of these tables, with ROW."""
    selects = (f"SELECT *, rowid + {i << 40} AS {ROW} FROM {name}" for i, name in enumerate(names))
    return f"({' UNION ALL '.join(selects)})"


def _told(con: duckdb.DuckDBPyConnection, seconds: float) -> None:
    counts = [
        con.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]
        for name in ("new_predictions", "new_feedback", "old_predictions", "old_feedback")
    ]
    LOG.info(
        "matched %s new predictions and %s new feedback with %s and %s rows of the same ids before, %.1f s",
        *counts,
        seconds,
    )
