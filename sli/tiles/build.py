"""Tiles of a task: match its rows, then aggregate the pairs to the states of every hour and slice.

Both strategies of the join, co-located and shuffle, build their tiles here. Limit: the pairs of a task must fit its
memory or the disk it spills to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.zone import zone
from sli.engine.expression import restrict_access
from sli.logs.damaged import reading
from sli.logs.files import LogFile
from sli.matching.join import join_rows
from sli.matching.sides import Sides
from sli.matching.spec import Spec
from sli.planning.tasks import Task
from sli.schemas import TILES
from sli.slis.states import integers
from sli.tiles.aggregate import aggregate_finest, aggregate_pairs
from sli.tiles.python_functions import function_values

if TYPE_CHECKING:
    import duckdb

LOG = logging.getLogger("sli")


def match_and_build(task: Task, spec: Spec, losers: pa.Table) -> pa.Table:
    """Match the rows of one co-located task and build its tiles: the work of a Dask task.

    Returns rows of `schemas.TILES` with one column a state. `losers` are predictions that lost to one in another
    tile. Raises UnreadableFiles for files that turn out unreadable beyond their footer, EngineError for anything else.
    """
    began = time.monotonic()
    with joined(task, spec, losers) as con:
        # Without a file of predictions the columns have no types, so no state could be computed from them.
        rows = build_tiles(con, spec, bool(task.prediction_tiles and task.predictions))
        span = (
            " and ".join(f"{interval}" for interval in task.prediction_tiles[:2])
            or f"feedback of {task.feedback_times}"
        )
        files = len(task.predictions) + len(task.feedback)
        log_matched(rows, f"{span}, {files} files", time.monotonic() - began)
        return rows


@contextmanager
def joined(task: Task, spec: Spec, losers: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with what `join_rows` creates of the files of a task. Raises as `task_connection`."""
    files = {"predictions": task.predictions, "feedback": task.feedback}
    with task_connection(spec, files, str(task.prediction_times)) as con:
        join_rows(con, Sides.of(con, task, spec), spec, losers)
        yield con


def task_connection(
    spec: Spec, files: Mapping[str, Iterable[LogFile]], where: str
) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """A DuckDB connection for one task, which reads these files of the logs of these names. Raises as `reading`."""
    logs = [(spec.logs[name], of_log) for name, of_log in files.items()]
    return reading(spec.threads, spec.memory, logs, where)


def log_matched(rows: pa.Table, what: str, seconds: float) -> None:
    """Log how many pairs a task matched, as counted by its tiles."""
    counts = rows.select(["span", "slice_by", "predictions", "labelled"])
    tiles = counts.filter(pc.equal(counts.column("span"), pa.scalar("tile")))
    if len(tiles):
        # Every slice set holds all pairs, so one of them is enough.
        tiles = tiles.filter(pc.equal(tiles.column("slice_by"), tiles.column("slice_by")[0]))
    predictions, labelled = (pc.sum(tiles.column(name)).as_py() or 0 for name in ("predictions", "labelled"))
    LOG.info("matched %s: %s predictions, %s labelled, %.1f s", what, predictions, labelled, seconds)


def build_tiles(con: duckdb.DuckDBPyConnection, spec: Spec, paired: bool) -> pa.Table:
    """All rows of `schemas.TILES` of a task, from view `pairs` and the tables of `create_audit_tables`.

    If not `paired`, the view does not exist. If SQL of the config may run here, the connection cannot read files
    any more.
    """
    if spec.own_sql:
        restrict_access(con)
    audited = con.execute(AUDITED).fetchall()
    parts = [NO_ROWS.empty_table(), *(_audit_rows(con, span) for (span,) in audited)]
    if paired:
        finest = aggregate_finest(con, spec)
        for columns in spec.slice_sets:
            parts.append(aggregate_pairs(con, columns, spec, finest))
            parts.extend(function_values(con, columns, spec, grain) for grain in spec.windows)
    rows = pa.concat_tables(parts, promote_options="default")
    return _with_days(rows, spec)


AUDITED = (
    "SELECT span FROM checks UNION SELECT 'pairs' FROM duplicates_elsewhere UNION SELECT 'feedback' FROM unmatched "
    "ORDER BY span DESC"
)
"""The spans for which `_audit_rows` has rows, mostly none."""
NO_ROWS = pa.schema([pa.field("tile", pa.int64()), *(field for field in TILES if field.name not in ("day", "start"))])
"""The columns that tiles of a task have even where it has nothing for the audit."""


def _audit_rows(con: duckdb.DuckDBPyConnection, span: str) -> pa.Table:
    """What each tile has for the audit: counts of checks, and lost predictions (span `pairs`) or unmatched feedback."""
    listed = (
        "list({'id': id, 'winner': winner} ORDER BY id) AS shadowed FROM duplicates_elsewhere"
        if span == "pairs"
        else "list({'id': id, 'time': make_timestamptz(t), 'reason': reason} ORDER BY id, t) AS strays FROM unmatched"
    )
    name = "shadowed" if span == "pairs" else "strays"
    rows: pa.Table = con.sql(
        f"SELECT '{span}' AS span, tile, '' AS slice_by, '' AS slice, "
        f"0::BIGINT AS predictions, 0::BIGINT AS labelled, marks, {name} "
        "FROM (SELECT tile, "
        "list({'log': log, 'check': \"check\", 'file': file, 'count': \"count\", 'samples': samples} "
        'ORDER BY log, "check", file) AS marks '
        f"FROM checks WHERE span = '{span}' GROUP BY tile) "
        f"FULL JOIN (SELECT tile, {listed} GROUP BY tile) USING (tile)"
    ).to_arrow_table()
    return rows


def _with_days(rows: pa.Table, spec: Spec) -> pa.Table:
    """Replace the number of each tile by its start and its local date, the partition column."""
    local = zone(spec.zone)
    number = integers(rows.column("tile"))
    distinct, position = np.unique(number, return_inverse=True)
    days = np.array([local.date(int(tile) * spec.tile).isoformat() for tile in distinct], dtype=object)
    start = pa.array(number * spec.tile, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    placed = rows.drop_columns(["tile"]).append_column("start", start)
    return placed.append_column("day", pa.array(days[position] if len(days) else [], pa.string()))
