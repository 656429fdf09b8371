"""Predictions that lose to one with the same id in another tile.

No single task sees both rows. So ids near predictions that came, went or changed are looked up in the index of ids; all
other losers are those that the stored tiles name.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from sli.calendar.interval import BEGINNING, Interval, difference, intersection
from sli.engine.connection import scratch
from sli.engine.sql import in_tiles_sql, inside_sql
from sli.matching.duplicates import winners_sql
from sli.matching.id_index import ID_HASH, IdIndex
from sli.matching.sides import one_number, valid_predictions
from sli.planning.plan import Plan
from sli.planning.reach import Reach

_TYPES: dict[str, pa.DataType] = {"id": pa.string(), "tile": pa.int64(), "winner": pa.float64()}
LOSERS = pa.schema(_TYPES)
"""Predictions that lose to one in another tile: their id, their tile, the value of the winner."""


def find_losers(predictions: IdIndex, near: Sequence[Interval], as_of: int, published: pa.Table) -> pa.Table:
    """All predictions that lose to one in another tile: a table of LOSERS.

    `published` has the losers that the published tiles name. Only ids that lie in the tiles `near` are looked up.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    config = predictions.config
    reach, known = Reach.of(config), [Interval(config.since_instant, as_of + 1)]
    around = reach.duplicates_of(near)
    in_reach = in_tiles_sql(around, reach.tile)
    # What won may be a row that is gone. The index may lack it, at least if it was gone when these tiles were held.
    lost = in_tiles_sql(near, reach.tile) if predictions.knows_gone(near) else in_reach
    with predictions.reading() as con:
        con.register("published_arrow", published)
        con.register("repeated_arrow", predictions.repeated(con, near, around))
        con.execute(
            "CREATE TEMP TABLE suspects AS SELECT k AS key FROM repeated_arrow "
            f"UNION SELECT {ID_HASH} FROM published_arrow WHERE {lost}"
        )
        if not one_number(con, "SELECT count(*) FROM suspects"):
            return published
        rows = predictions.rows_of(con, "FROM suspects", intersection(reach.duplicates_of(around), known))
        valid = valid_predictions(f"(SELECT * FROM {rows} WHERE {inside_sql('t', known)})", config.task)
        asked = f"{ID_HASH} IN (FROM suspects) AND {in_reach}"
        sql = (
            f"SELECT id, tile, winner FROM ({winners_sql(valid, config.columns, config.predictions.keep, reach)}) "
            f"WHERE tile <> won AND {in_reach} UNION ALL "
            f"SELECT id, tile, winner FROM published_arrow WHERE NOT ({asked}) ORDER BY id, tile"
        )
        losing: pa.Table = con.sql(sql).to_arrow_table()
    return losing.cast(LOSERS)


def one_task_sees_all(plan: Plan) -> bool:
    """Whether a single task or shuffle recomputes every tile, so that it sees all duplicates itself."""
    tasks = [task for task_set in plan.task_sets for task in task_set.tasks]
    return (
        len(tasks) == 1 and plan.since == BEGINNING and not difference(plan.with_predictions, tasks[0].prediction_tiles)
    )


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
