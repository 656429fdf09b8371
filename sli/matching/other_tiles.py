"""Predictions that lose to one with the same id in another tile.

No single task sees both rows, so ids that occur more than once are looked up in the whole predictions log, but only if
predictions changed. Limit: this scan grows with the history of the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from sli.calendar.interval import Interval, difference
from sli.config.model import Config
from sli.engine.connection import connect, repeated_keys, scratch, task_error
from sli.engine.sql import inside_sql
from sli.logs.damaged import check_readable
from sli.logs.files import Inputs, LogFile
from sli.logs.log import Log, predictions_log
from sli.logs.reader import rows_sql
from sli.matching.duplicates import prediction_order
from sli.matching.sides import one_number
from sli.planning.plan import Plan

_TYPES: dict[str, pa.DataType] = {"id": pa.string(), "tile": pa.int64(), "winner": pa.float64()}
LOSERS = pa.schema(_TYPES)
"""Predictions that lose to one in another tile: their id, their tile, the value of the winner."""
KEY_BYTES = 32
"""Bytes of memory per id while hashes are sorted, with all copies."""


def find_losers(config: Config, inputs: Inputs, plan: Plan, published: pa.Table) -> pa.Table:
    """All predictions that lose to one in another tile, as of the plan: a table of LOSERS.

    `published` has the losers that the published tiles name.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    if not plan.winners_may_change:
        return published
    if not len(published) and _one_task_sees_all(plan):
        return LOSERS.empty_table()
    with reading_predictions(config, inputs) as con:
        span = Interval(config.since_instant, plan.as_of + 1)
        rows = valid_predictions(con, inputs, span, predictions_log(config), config.timezone, config.task)
        con.register("published_arrow", published)
        con.register("suspects_arrow", _repeated_ids(con, config.task_memory, inputs, plan, rows))
        con.execute(
            "CREATE TEMP TABLE suspects AS SELECT k::UBIGINT AS k FROM suspects_arrow "
            "UNION SELECT hash(id) FROM published_arrow"
        )
        if not one_number(con, "SELECT count(*) FROM suspects"):
            return LOSERS.empty_table()
        order = prediction_order(config.columns, config.predictions.keep)
        tile = f"t // {config.tile}"
        sql = (
            "SELECT DISTINCT id, tile, winner FROM ("
            f"SELECT id, {tile} AS tile, first_value({tile}) OVER w AS won, first_value(prediction) OVER w AS winner "
            f"FROM {rows} WHERE hash(id) IN (FROM suspects) "
            f"WINDOW w AS (PARTITION BY id ORDER BY {order})) "
            "WHERE tile <> won ORDER BY id, tile"
        )
        losing: pa.Table = con.sql(sql).to_arrow_table()
    return losing.cast(LOSERS)


def _repeated_ids(con: duckdb.DuckDBPyConnection, memory: int, inputs: Inputs, plan: Plan, rows: str) -> pa.Table:
    """Hashes of ids logged more than once, at least once in the tiles to compute.

    They are counted in shares of all hashes, so that each share fits in memory.
    """
    size = KEY_BYTES * sum(file.rows for file in inputs.predictions if file.usable)
    shares = max(1, -(-size // memory))
    computed = [*plan.to_recompute, *plan.to_confirm]
    anywhere = not difference(plan.with_predictions, computed)
    near = "true" if anywhere else f"hash(id) IN (SELECT hash(id) FROM {rows} WHERE {inside_sql('t', computed)})"
    return pa.concat_tables(
        repeated_keys(con, f"SELECT hash(id) AS k FROM {rows} WHERE hash(id) % {shares} = {share} AND {near}")
        for share in range(shares)
    )


def _one_task_sees_all(plan: Plan) -> bool:
    """Whether a single task or shuffle recomputes every tile, so that it sees all duplicates itself."""
    tasks = [task for task_set in plan.task_sets for task in task_set.tasks]
    return len(tasks) == 1 and not difference(plan.with_predictions, tasks[0].prediction_tiles)


def differing_tiles(losers: pa.Table, published: pa.Table, tile: int) -> list[Interval]:
    """The tiles whose losers differ from the published ones."""
    con = scratch()
    con.register("a", losers)
    con.register("b", published)
    sql = "SELECT DISTINCT tile FROM ((FROM a EXCEPT FROM b) UNION (FROM b EXCEPT FROM a)) ORDER BY tile"
    return [Interval(number * tile, (number + 1) * tile) for (number,) in con.execute(sql).fetchall()]


def published_losers(tiles: pa.Table, tile: int) -> pa.Table:
    """The losers that published tiles name."""
    con = scratch()
    con.register("tiles_arrow", tiles)
    sql = (
        "SELECT s.id AS id, tile, s.winner AS winner FROM ("
        f"SELECT unnest(shadowed) AS s, epoch_us(start) // {tile} AS tile FROM tiles_arrow WHERE span = 'pairs')"
    )
    losing: pa.Table = con.sql(sql).to_arrow_table()
    return losing.cast(LOSERS)


@contextmanager
def reading_predictions(config: Config, inputs: Inputs) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection for queries over the whole predictions log.

    Raises UnreadableFiles instead of the error of DuckDB if a file is unreadable beyond its footer.
    """
    con = connect(config.parallel, config.task_memory)
    try:
        yield con
    except duckdb.Error as error:
        check_readable(_usable(inputs), predictions_log(config), config.timezone, error)
        raise task_error(error, ", ".join(config.predictions.path)) from error
    finally:
        con.close()


def valid_predictions(
    con: duckdb.DuckDBPyConnection, inputs: Inputs, span: Interval, log: Log, zone_name: str, task: str
) -> str:
    """SQL of all valid predictions made in an interval."""
    rows = rows_sql(con, _usable(inputs), log, zone_name, span)
    allowed = {"binary": "value BETWEEN 0 AND 1", "multiclass": "value >= 0"}.get(task)
    inside = f" AND (value IS NULL OR {allowed})" if allowed else ""
    valid = f"id IS NOT NULL AND (value IS NULL OR isfinite(value)){inside}"
    return f"(SELECT *, value AS prediction FROM {rows} WHERE {valid})"


def _usable(inputs: Inputs) -> list[LogFile]:
    return [file for file in inputs.predictions if file.usable]
