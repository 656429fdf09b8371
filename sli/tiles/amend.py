"""What new rows contribute to the tiles, without reading the whole logs again.

Only pairs whose id occurs in a new row near them (`planning.reach`) change. So the ids of the new rows are looked up in
the index of ids, and the rows with these ids around them are matched twice: as they were known before and as they are
known now. `delta` subtracts the first contribution from stored tiles and adds the second. Rows near the edge of reach
may be matched wrongly, but then both times in the same way; where a reason that was stored is not among those
subtracted, `audit_delta` raises CannotAmend. Limit: the new rows and all rows around them with their ids must fit one
task.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from sli.calendar.interval import BEGINNING, Interval, intersection
from sli.engine.interrupts import make_stoppable
from sli.logs.reader import ROW, parts_sql
from sli.matching.id_index import ID_HASH, IdIndex
from sli.matching.join import join_rows
from sli.matching.other_tiles import LOSERS
from sli.matching.sides import Sides, valid_predictions
from sli.matching.spec import Spec
from sli.matching.unmatched import reasons_sql, tiles_of
from sli.planning.changes import NewRows
from sli.slis.states import with_states
from sli.tiles.build import build_tiles, task_connection

if TYPE_CHECKING:
    import duckdb

LOG = logging.getLogger("sli")


@dataclass(frozen=True)
class Contributions:
    """Tiles made only of the pairs with ids of the new rows: as known before, and as known now."""

    before: pa.Table
    after: pa.Table


def contributions(new_rows: NewRows, spec: Spec, indexes: Iterable[IdIndex]) -> Contributions:
    """Match the rows that have the ids of the new rows, as the published run knew them and as they are known now.

    `indexes` are those of the predictions and of the feedback.

    Both are rows of `schemas.TILES` with one column a state. Raises UnreadableFiles for files that turn out unreadable
    beyond their footer, EngineError for anything else.
    """
    # All ids are named, not a few, because what is subtracted from the audit must be complete.
    spec = replace(spec, samples=None, windows=())
    began = time.monotonic()
    logs = zip(spec.logs, new_rows.seen.logs, new_rows.new.logs, strict=True)
    files = {log: seen.with_more(new) for log, seen, new in logs}
    with task_connection(spec, files, f"new rows known in {new_rows.later}") as con:
        _new_rows(con, new_rows, spec)
        con.execute(
            f"CREATE TABLE changed AS SELECT {ID_HASH} AS key FROM new_predictions WHERE id IS NOT NULL UNION "
            f"SELECT {ID_HASH} FROM new_feedback WHERE id IS NOT NULL"
        )
        tiles = [tile for log in ("predictions", "feedback") for tile in tiles_of(con, f"new_{log}", spec.tile)]
        known = intersection(spec.reach.around(tiles), [Interval(BEGINNING, new_rows.later.start)])
        for index in indexes:
            earlier = index.without_rest.rows_of(con, "FROM changed", known)
            con.execute(f"CREATE TABLE old_{index.log.name} AS SELECT * FROM {earlier}")
        rows = _rows_in(con, [f"{age}_{log}" for age in ("new", "old") for log in spec.logs])
        before, after = _contribution(con, spec, ["old"], rows), _contribution(con, spec, ["old", "new"], rows)
        LOG.info(
            "matched %s new predictions and %s new feedback with %s and %s rows of the same ids before, %.1f s",
            *rows.values(),
            time.monotonic() - began,
        )
        for name in ("changed", *rows):
            con.execute(f"DROP TABLE {name}")  # the next that uses the database must not see them
        return Contributions(before, after)


def _new_rows(con: duckdb.DuckDBPyConnection, new_rows: NewRows, spec: Spec) -> None:
    """Tables `new_predictions` and `new_feedback`."""
    known, revealed = Interval(BEGINNING, new_rows.later.end), new_rows.newly_known
    for source, new in zip(spec.logs.values(), new_rows.new.logs, strict=True):
        parts = [(new, known), (revealed.of_logs([part.name for part in source.parts]), new_rows.later)]
        con.execute(f"CREATE TABLE new_{source.name} AS SELECT * FROM {parts_sql(con, parts, source)}")


def _rows_in(con: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> dict[str, int]:
    """How many rows each of these tables has."""
    counts = con.execute(f"SELECT {', '.join(f'(SELECT count(*) FROM {name})' for name in tables)}").fetchall()[0]
    return dict(zip(tables, counts, strict=True))


def _contribution(
    con: duckdb.DuckDBPyConnection, spec: Spec, prefixes: Sequence[str], rows: Mapping[str, int]
) -> pa.Table:
    """The tiles of the rows in the tables whose names begin with these prefixes: `old`, `new`.

    `rows` says how many each table has: the columns of an empty table have no type.
    """
    own = con.cursor()  # a cursor has temporary tables of its own, and each join creates tables of the same names
    try:
        make_stoppable(own)
        tables = {
            log: [name for prefix in prefixes if rows[name := f"{prefix}_{log}"]] for log in ("predictions", "feedback")
        }
        predictions, feedback = (_numbered_sql(names or [f"{prefixes[0]}_{log}"]) for log, names in tables.items())
        since = f"(SELECT * FROM {predictions} WHERE t >= {spec.since})"
        join_rows(own, Sides.in_memory(since, feedback), spec, LOSERS.empty_table())
        valid = valid_predictions(predictions, spec.task)
        own.execute(
            f"CREATE OR REPLACE TEMP TABLE unmatched AS "
            f"{reasons_sql('unmatched', valid, spec.keep_prediction, spec.since, spec.reach)}"
        )
        tiles = build_tiles(own, spec, bool(tables["predictions"]))
        return with_states(tiles, {state.id: state for state in spec.states})
    finally:
        own.close()


def _numbered_sql(names: Sequence[str]) -> str:
    """SQL of the rows of these tables, with a number in column ROW."""
    selects = (f"SELECT *, rowid + {i << 40} AS {ROW} FROM {name}" for i, name in enumerate(names))
    return f"({' UNION ALL '.join(selects)})"
