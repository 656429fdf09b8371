"""Predictions that lose to one with the same id in another tile.

No single task sees both rows. So ids near predictions that came, went or changed are looked up in the index of ids; all
other losers are those that the stored tiles name.
"""

from __future__ import annotations

import pyarrow as pa

from sli.calendar.interval import ALWAYS, Interval, difference
from sli.engine.connection import scratch
from sli.engine.sql import tile_sql
from sli.matching.duplicates import prediction_order
from sli.matching.id_index import ID_HASH, IdIndex
from sli.matching.sides import one_number, valid_predictions
from sli.planning.plan import Plan

_TYPES: dict[str, pa.DataType] = {"id": pa.string(), "tile": pa.int64(), "winner": pa.float64()}
LOSERS = pa.schema(_TYPES)
"""Predictions that lose to one in another tile: their id, their tile, the value of the winner."""


def find_losers(predictions: IdIndex, near: tuple[Interval, ...], as_of: int, published: pa.Table) -> pa.Table:
    """All predictions that lose to one in another tile: a table of LOSERS.

    `published` has the losers that the published tiles name. Only ids that lie in the tiles `near` are looked up.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    config = predictions.config
    with predictions.reading() as con:
        con.register("published_arrow", published)
        con.register("repeated_arrow", predictions.repeated(con, near))
        # The index may lack rows that are gone if it was written for this run. Then what won may be such a row.
        lost_before = f" UNION SELECT {ID_HASH} FROM published_arrow" if near == (ALWAYS,) else ""
        con.execute(f"CREATE TEMP TABLE suspects AS SELECT k AS key FROM repeated_arrow{lost_before}")
        if not one_number(con, "SELECT count(*) FROM suspects"):
            return published
        rows = predictions.rows_of(con, "FROM suspects", Interval(config.since_instant, as_of + 1))
        order = prediction_order(config.columns, config.predictions.keep)
        tile = tile_sql("t", config.tile)
        sql = (
            "SELECT DISTINCT id, tile, winner FROM ("
            f"SELECT id, {tile} AS tile, first_value({tile}) OVER w AS won, first_value(prediction) OVER w AS winner "
            f"FROM {valid_predictions(rows, config.task)} WINDOW w AS (PARTITION BY id ORDER BY {order})) "
            f"WHERE tile <> won UNION ALL "
            f"SELECT id, tile, winner FROM published_arrow WHERE {ID_HASH} NOT IN (FROM suspects) ORDER BY id, tile"
        )
        losing: pa.Table = con.sql(sql).to_arrow_table()
    return losing.cast(LOSERS)


def one_task_sees_all(plan: Plan) -> bool:
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
