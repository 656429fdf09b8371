"""Ids across all of a log: predictions that lost to one in another tile, and feedback no prediction reaches.

Both look ids up in the whole predictions log, reading ids, times and values only, and only when predictions changed
or strays exist. Limit: that scan grows with the log's history.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import numpy as np
import pyarrow as pa

from sli.calendar.interval import BEGINNING, Interval, without
from sli.config.model import Config
from sli.engine.lists import list_column
from sli.logs.files import Inputs
from sli.logs.reader import check_readable, connect, failed, inside_sql, predictions_source, repeated, rows_of
from sli.matching.join import EXCLUDED, prediction_order
from sli.planning.plan import Plan
from sli.schemas import STRAY
from sli.slis.states import integers

KEY_BYTES = 32
"""Memory a key takes while sorted, with its copies."""


def _valid_rows(con: duckdb.DuckDBPyConnection, config: Config, inputs: Inputs, span: Interval) -> str:
    source = predictions_source(config)
    rows = rows_of(con, [f for f in inputs.predictions if f.usable], source, config.timezone, span)
    allowed = {"binary": "value BETWEEN 0 AND 1", "multiclass": "value >= 0"}.get(config.task)
    inside = f" AND (value IS NULL OR {allowed})" if allowed else ""
    valid = f"id IS NOT NULL AND (value IS NULL OR isfinite(value)){inside}"
    return f"(SELECT *, value AS prediction FROM {rows} WHERE {valid})"


def _check_readable(config: Config, inputs: Inputs, error: Exception) -> None:
    source = predictions_source(config)
    check_readable([f for f in inputs.predictions if f.usable], source, config.timezone, error)


def excluded(config: Config, inputs: Inputs, plan: Plan, before: pa.Table) -> pa.Table:
    """All predictions that lose to one in another tile, as of the plan; `before`: those published."""
    if not plan.winners_may_change:
        return before
    if not len(before) and _one_task_sees_all(plan):
        return EXCLUDED.empty_table()
    con = connect(config.parallel, config.task_memory)
    try:
        rows = _valid_rows(con, config, inputs, Interval(config.since_instant, plan.as_of + 1))
        con.register("before_arrow", before)
        con.register("suspects_arrow", _repeated_keys(con, config, inputs, plan, rows))
        con.execute(
            "CREATE TEMP TABLE suspects AS SELECT k::UBIGINT AS k FROM suspects_arrow "
            "UNION SELECT hash(id) FROM before_arrow"
        )
        if not con.execute("SELECT count(*) FROM suspects").fetchall()[0][0]:
            return EXCLUDED.empty_table()
        order = prediction_order(config.columns, config.predictions.keep)
        tile = f"t // {config.tile}"
        return (
            con.sql(
                "SELECT DISTINCT id, tile, winner FROM ("
                f"SELECT id, {tile} AS tile, "
                f"first_value({tile}) OVER w AS won, first_value(prediction) OVER w AS winner "
                f"FROM {rows} WHERE hash(id) IN (FROM suspects) "
                f"WINDOW w AS (PARTITION BY id ORDER BY {order})) "
                "WHERE tile <> won ORDER BY id, tile"
            )
            .to_arrow_table()
            .cast(EXCLUDED)
        )
    except duckdb.Error as error:
        _check_readable(config, inputs, error)
        raise failed(error, config.predictions.path) from error
    finally:
        con.close()


def _repeated_keys(con: duckdb.DuckDBPyConnection, config: Config, inputs: Inputs, plan: Plan, rows: str) -> pa.Table:
    """Hashes of ids logged more than once, at least once in the tiles to compute; a share of the hashes at a time."""
    size = KEY_BYTES * sum(file.rows for file in inputs.predictions if file.usable)
    shares = max(1, -(-size // config.task_memory))
    computed = [*plan.pairs, *plan.checked]
    anywhere = not without(plan.existing, computed)
    near = "true" if anywhere else f"hash(id) IN (SELECT hash(id) FROM {rows} WHERE {inside_sql('t', computed)})"
    found = (
        repeated(con, f"SELECT hash(id) AS k FROM {rows} WHERE hash(id) % {shares} = {share} AND {near}")
        for share in range(shares)
    )
    return pa.concat_tables(found)


def _one_task_sees_all(plan: Plan) -> bool:
    """Whether every tile there is is recomputed by a single task, or by one shuffle: then all duplicates meet."""
    chunks = [chunk for job in plan.jobs for chunk in job.chunks]
    return len(chunks) == 1 and not without(plan.existing, chunks[0].pairs)


def moved(config: Config, now: pa.Table, before: pa.Table) -> list[Interval]:
    """Tiles whose excluded predictions differ."""
    con = duckdb.connect()
    con.register("a", now)
    con.register("b", before)
    sql = "SELECT DISTINCT tile FROM ((FROM a EXCEPT FROM b) UNION (FROM b EXCEPT FROM a)) ORDER BY tile"
    return [Interval(tile * config.tile, (tile + 1) * config.tile) for (tile,) in con.execute(sql).fetchall()]


def reasons(strays: str, rows: str, columns: Iterable[str], keep: str, since: int) -> str:
    """SQL of feedback that no prediction reaches (`id`, `t`, ...) with the `reason`, by all valid predictions."""
    order = prediction_order(columns, keep)
    winners = (
        f"SELECT id, t FROM {rows} WHERE hash(id) IN (SELECT hash(id) FROM {strays}) "
        f"QUALIFY row_number() OVER (PARTITION BY id ORDER BY t < {since}, {order}) = 1"
    )
    return (
        f"SELECT s.* EXCLUDE (reason), CASE WHEN w.t IS NULL THEN 'orphan' WHEN w.t < {since} THEN 'before since' "
        "WHEN s.t > w.t THEN 'late' ELSE 'before prediction' END AS reason "
        f"FROM {strays} s LEFT JOIN ({winners}) w USING (id)"
    )


def explained(config: Config, inputs: Inputs, as_of: int, tiles: pa.Table) -> tuple[pa.Table, set[str]]:
    """All tiles with the reason of each stray, and the local days on which a reason is another than before."""
    at = np.flatnonzero(tiles.column("strays").is_valid().to_numpy(zero_copy_only=False))
    if not len(at):
        return tiles, set()
    mine = tiles.select(["day", "strays"]).take(pa.array(at)).append_column("row", pa.array(np.arange(len(at))))
    con = connect(config.parallel, config.task_memory)
    try:
        con.register("mine_arrow", mine)
        con.execute(
            "CREATE TEMP TABLE found AS SELECT row, day, s.id AS id, epoch_us(s.time) AS t, s.reason AS reason, "
            "s.reason AS told FROM (SELECT row, day, unnest(strays) AS s FROM mine_arrow)"
        )
        rows = _valid_rows(con, config, inputs, Interval(BEGINNING, as_of + 1))
        sql = reasons("found", rows, config.columns, config.predictions.keep, config.since_instant)
        con.execute(f"CREATE TEMP TABLE explained AS {sql}")
        moved = con.execute("SELECT DISTINCT day FROM explained WHERE told IS DISTINCT FROM reason").fetchall()
        flat = con.sql(
            "SELECT row, id, make_timestamptz(t) AS time, reason FROM explained ORDER BY row, id, t"
        ).to_arrow_table()
    except duckdb.Error as error:
        _check_readable(config, inputs, error)
        raise failed(error, config.predictions.path) from error
    finally:
        con.close()
    kind = pa.list_(STRAY)
    lists = list_column(flat.drop_columns(["row"]), integers(flat.column("row")), len(at), kind)
    order = np.arange(len(tiles))
    order[at] = len(tiles) + np.arange(len(at))
    old = tiles.column("strays").cast(kind)
    whole = pa.chunked_array([*old.chunks, lists], kind).take(pa.array(order))
    return tiles.set_column(tiles.schema.get_field_index("strays"), "strays", whole), {day for (day,) in moved}


def published_exclusions(tiles: pa.Table, tile: int) -> pa.Table:
    """The excluded predictions that tiles remember."""
    con = duckdb.connect()
    con.register("tiles_arrow", tiles)
    return (
        con.sql(
            "SELECT s.id AS id, tile, s.winner AS winner FROM ("
            f"SELECT unnest(shadowed) AS s, epoch_us(start) // {tile} AS tile FROM tiles_arrow WHERE span = 'pairs')"
        )
        .to_arrow_table()
        .cast(EXCLUDED)
    )
