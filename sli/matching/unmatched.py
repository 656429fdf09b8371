"""Feedback that counts for no prediction, and why: `orphan`, `late`, `before prediction` or `before since`.

A task knows only that none of its own predictions matches. So the ids of its unmatched feedback are looked up in the
index of ids, and those of earlier unmatched feedback near predictions that came, went or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from sli.calendar.interval import BEGINNING, Interval, intersection, union
from sli.config.model import Config
from sli.engine.arrow import list_column, lists_of_rows
from sli.engine.connection import scratch
from sli.engine.sql import inside_sql, tile_sql
from sli.matching.id_index import ID_HASH, IdIndex
from sli.matching.sides import valid_predictions
from sli.planning.late_feedback import why_unmatched
from sli.planning.reach import Reach
from sli.schemas import UNMATCHED


def with_reasons(
    config: Config, predictions: Callable[[], IdIndex], near: Sequence[Interval], as_of: int, tiles: pa.Table
) -> tuple[pa.Table, set[str]]:
    """The tiles with a reason for each unmatched feedback, and the local days on which a reason changed.

    Looked up is feedback without a reason, and feedback whose id lies in the tiles `near`. `predictions` gives their
    index of ids; it is called only if something is looked up.

    Raises UnreadableFiles for files that are unreadable beyond their footer.
    """
    places = np.flatnonzero(tiles.column("strays").is_valid().to_numpy(zero_copy_only=False))
    unmatched = _one_a_row(tiles.select(["day", "strays"]).take(pa.array(places, pa.int64())))
    if not (len(unmatched) if near else unmatched.column("reason").null_count):
        return tiles, set()
    index, reach = predictions(), Reach.of(config)
    with index.reading() as con:
        con.register("unmatched_arrow", unmatched)
        asked = f"reason IS NULL OR {inside_sql('t', reach.explained_by(near))}"
        if index.knows_gone(near):
            keys = index.keys_near(con, f"SELECT {ID_HASH} FROM unmatched_arrow WHERE reason IS NOT NULL", near)
            asked = f"reason IS NULL OR {ID_HASH} IN ({keys})"
        con.execute(f"CREATE TEMP TABLE unmatched AS SELECT *, {asked} AS asked FROM unmatched_arrow")
        con.execute("CREATE TEMP TABLE asked AS SELECT *, reason AS published FROM unmatched WHERE asked")
        known = intersection(reach.explaining(tiles_of(con, "asked", config.tile)), [Interval(BEGINNING, as_of + 1)])
        rows = index.rows_of(con, f"SELECT {ID_HASH} FROM asked", known)
        rows = valid_predictions(f"(SELECT * FROM {rows} WHERE t <= {as_of})", config.task)
        sql = reasons_sql("asked", rows, config.predictions.keep, config.since_instant, reach)
        con.execute(f"CREATE TEMP TABLE explained AS {sql}")
        changed = con.execute("SELECT DISTINCT day FROM explained WHERE published IS DISTINCT FROM reason").fetchall()
        flat = con.sql(
            "SELECT row, id, make_timestamptz(t) AS time, reason FROM (SELECT row, id, t, reason FROM explained "
            "UNION ALL SELECT row, id, t, reason FROM unmatched WHERE NOT asked) ORDER BY row, id, t"
        ).to_arrow_table()
    kind = pa.list_(UNMATCHED)
    lists = list_column(*lists_of_rows(flat, "row", len(places)), kind)
    order = np.arange(len(tiles))
    order[places] = len(tiles) + np.arange(len(places))
    old = tiles.column("strays").cast(kind)
    column = pa.chunked_array([*old.chunks, lists]).take(pa.array(order, pa.int64()))
    return tiles.set_column(tiles.schema.get_field_index("strays"), "strays", column), {day for (day,) in changed}


def _one_a_row(tiles: pa.Table) -> pa.Table:
    """The unmatched feedback of tiles: columns `row` (the number of its tile), `day`, `id`, `t` and `reason`."""
    with scratch() as con:
        con.register("tiles_arrow", tiles.append_column("row", pa.array(np.arange(len(tiles)), pa.int64())))
        rows: pa.Table = con.sql(
            "SELECT row, day, s.id AS id, epoch_us(s.time) AS t, s.reason AS reason "
            "FROM (SELECT row, day, unnest(strays) AS s FROM tiles_arrow)"
        ).to_arrow_table()
    return rows


def tiles_of(con: duckdb.DuckDBPyConnection, rows: str, tile: int) -> list[Interval]:
    """The tiles of the times `t` of rows (a table)."""
    numbers = con.execute(f"SELECT DISTINCT {tile_sql('t', tile)} AS tile FROM {rows} WHERE t IS NOT NULL")
    return union(Interval(number * tile, (number + 1) * tile) for (number,) in numbers.fetchall())


def reasons_sql(unmatched: str, predictions: str, keep: str, since: int, reach: Reach) -> str:
    """SQL of unmatched feedback (columns `id`, `t`, ...) with the `reason`, by the valid predictions near it."""
    before, after = reach.explains_from("s.t"), reach.explains_until("s.t")
    nearest = (f"{{0}}.t >= {before}", f"{{0}}.t <= {after}")
    joined, within = nearest if keep == "first" else nearest[::-1]
    times = (f"SELECT DISTINCT id, t FROM {predictions} WHERE t {sign} {since}" for sign in (">=", "<"))
    sides = "".join(
        f" ASOF LEFT JOIN ({sql}) {side} ON s.id = {side}.id AND {joined.format(side)}"
        for side, sql in zip("pb", times, strict=True)
    )
    first = f"CASE WHEN {within.format('p')} THEN p.t WHEN {within.format('b')} THEN b.t END"
    return (
        f"SELECT s.* EXCLUDE (reason), {why_unmatched('s.t', f'({first})', since)} AS reason FROM {unmatched} s{sides}"
    )
