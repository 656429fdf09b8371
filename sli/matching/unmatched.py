"""Feedback that counts for no prediction, and why: `orphan`, `late`, `before prediction` or `before since`.

A task knows only that none of its own predictions matches. The reason is looked up in the whole predictions log, but
only if there is unmatched feedback. Limit: this scan grows with the history of the log.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from sli.calendar.interval import BEGINNING, Interval
from sli.config.model import Config
from sli.engine.arrow import list_column
from sli.logs.files import Inputs
from sli.logs.log import predictions_log
from sli.matching.duplicates import prediction_order
from sli.matching.other_tiles import reading_predictions, valid_predictions
from sli.planning.late_feedback import why_unmatched
from sli.schemas import UNMATCHED
from sli.slis.states import integers


def with_reasons(config: Config, inputs: Inputs, as_of: int, tiles: pa.Table) -> tuple[pa.Table, set[str]]:
    """The tiles with a reason for each unmatched feedback, and the local days on which a reason changed.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    places = np.flatnonzero(tiles.column("strays").is_valid().to_numpy(zero_copy_only=False))
    if not len(places):
        return tiles, set()
    unmatched = tiles.select(["day", "strays"]).take(pa.array(places, pa.int64()))
    unmatched = unmatched.append_column("row", pa.array(np.arange(len(places)), pa.int64()))
    with reading_predictions(config, inputs) as con:
        con.register("unmatched_arrow", unmatched)
        con.execute(
            "CREATE TEMP TABLE unmatched AS SELECT row, day, s.id AS id, epoch_us(s.time) AS t, s.reason AS reason, "
            "s.reason AS published FROM (SELECT row, day, unnest(strays) AS s FROM unmatched_arrow)"
        )
        span = Interval(BEGINNING, as_of + 1)
        rows = valid_predictions(con, inputs, span, predictions_log(config), config.timezone, config.task)
        sql = reasons_sql("unmatched", rows, config.columns, config.predictions.keep, config.since_instant)
        con.execute(f"CREATE TEMP TABLE explained AS {sql}")
        changed = con.execute("SELECT DISTINCT day FROM explained WHERE published IS DISTINCT FROM reason").fetchall()
        flat = con.sql(
            "SELECT row, id, make_timestamptz(t) AS time, reason FROM explained ORDER BY row, id, t"
        ).to_arrow_table()
    kind = pa.list_(UNMATCHED)
    lists = list_column(flat.drop_columns(["row"]), integers(flat.column("row")), len(places), kind)
    order = np.arange(len(tiles))
    order[places] = len(tiles) + np.arange(len(places))
    old = tiles.column("strays").cast(kind)
    column = pa.chunked_array([*old.chunks, lists]).take(pa.array(order, pa.int64()))
    return tiles.set_column(tiles.schema.get_field_index("strays"), "strays", column), {day for (day,) in changed}


def reasons_sql(unmatched: str, predictions: str, columns: Iterable[str], keep: str, since: int) -> str:
    """SQL of unmatched feedback (columns `id`, `t`, ...) with the `reason`, by all valid predictions."""
    order = prediction_order(columns, keep)
    winners = (
        f"SELECT id, t FROM {predictions} WHERE hash(id) IN (SELECT hash(id) FROM {unmatched}) "
        f"QUALIFY row_number() OVER (PARTITION BY id ORDER BY t < {since}, {order}) = 1"
    )
    return (
        f"SELECT s.* EXCLUDE (reason), {why_unmatched('s.t', 'w.t', since)} AS reason "
        f"FROM {unmatched} s LEFT JOIN ({winners}) w USING (id)"
    )
