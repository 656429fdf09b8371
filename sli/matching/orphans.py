"""Feedback that counts for no prediction, and why: `orphan`, `late`, `before prediction` or `before since`.

Its ids are looked up in the whole predictions log. Limit: that scan grows with the log's history.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import numpy as np
import pyarrow as pa

from sli.calendar.interval import BEGINNING, Interval
from sli.config.model import Config
from sli.engine.arrow import list_column
from sli.engine.connection import connect, task_error
from sli.logs.files import Inputs
from sli.matching.duplicates import check_predictions_readable, prediction_order, valid_predictions
from sli.planning.late_feedback import why_unmatched
from sli.schemas import STRAY
from sli.slis.states import integers


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
        rows = valid_predictions(con, config, inputs, Interval(BEGINNING, as_of + 1))
        sql = reasons("found", rows, config.columns, config.predictions.keep, config.since_instant)
        con.execute(f"CREATE TEMP TABLE explained AS {sql}")
        moved = con.execute("SELECT DISTINCT day FROM explained WHERE told IS DISTINCT FROM reason").fetchall()
        flat = con.sql(
            "SELECT row, id, make_timestamptz(t) AS time, reason FROM explained ORDER BY row, id, t"
        ).to_arrow_table()
    except duckdb.Error as error:
        check_predictions_readable(config, inputs, error)
        raise task_error(error, config.predictions.path) from error
    finally:
        con.close()
    kind = pa.list_(STRAY)
    lists = list_column(flat.drop_columns(["row"]), integers(flat.column("row")), len(at), kind)
    order = np.arange(len(tiles))
    order[at] = len(tiles) + np.arange(len(at))
    old = tiles.column("strays").cast(kind)
    whole = pa.chunked_array([*old.chunks, lists], kind).take(pa.array(order))
    return tiles.set_column(tiles.schema.get_field_index("strays"), "strays", whole), {day for (day,) in moved}


def reasons(strays: str, rows: str, columns: Iterable[str], keep: str, since: int) -> str:
    """SQL of feedback that no prediction reaches (`id`, `t`, ...) with the `reason`, by all valid predictions."""
    order = prediction_order(columns, keep)
    winners = (
        f"SELECT id, t FROM {rows} WHERE hash(id) IN (SELECT hash(id) FROM {strays}) "
        f"QUALIFY row_number() OVER (PARTITION BY id ORDER BY t < {since}, {order}) = 1"
    )
    return (
        f"SELECT s.* EXCLUDE (reason), {why_unmatched('s.t', 'w.t', since)} AS reason "
        f"FROM {strays} s LEFT JOIN ({winners}) w USING (id)"
    )
