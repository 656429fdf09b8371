"""Ids that occur more than once in a task: which prediction wins, and which feedback counts.

Of several predictions with one id that are near each other (`planning.reach`) the first wins, of several feedback rows
in time the latest counts; the config may say otherwise (`keep`). Limit: a task sees only its own rows; `other_tiles`
finds duplicates that lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from sli.engine.connection import repeated_keys
from sli.engine.sql import quoted, text_of, tile_sql
from sli.logs.reader import ROW
from sli.matching.sides import Sides
from sli.matching.spec import Spec, named_ids
from sli.planning.reach import Reach

if TYPE_CHECKING:
    import duckdb


def prediction_order(columns: Iterable[str], keep: str) -> str:
    """SQL ORDER BY that puts the winner of several predictions with one id first."""
    direction = "ASC" if keep == "first" else "DESC"
    ties = "".join(f", {text_of(quoted(name))} ASC NULLS LAST" for name in columns)
    return f"t {direction}, prediction ASC NULLS LAST{ties}"


def winners_sql(predictions: str, columns: Iterable[str], keep: str, reach: Reach) -> str:
    """SQL of the `winner` (its value) of each `id` and `tile` with valid predictions, and the tile in which it `won`.

    All predictions of a tile that have one id have the same winner: if it is in another tile, they lose to it, else to
    the first of them.
    """
    tile, direction = tile_sql("t", reach.tile), "ASC" if keep == "first" else "DESC"
    best = (
        f"SELECT id, {tile} AS tile, prediction FROM {predictions} "
        f"QUALIFY row_number() OVER (PARTITION BY id, {tile} ORDER BY {prediction_order(columns, keep)}) = 1"
    )
    return (
        "SELECT id, tile, first_value(tile) OVER w AS won, first_value(prediction) OVER w AS winner "
        f"FROM ({best}) WINDOW w AS (PARTITION BY id ORDER BY tile {direction} {reach.frame})"
    )


def take_out_repeated(con: duckdb.DuckDBPyConnection, spec: Spec, losers: pa.Table, once: bool) -> bool:
    """Move ids that occur more than once from `joined` to tables `p` and `f`. False if there are none."""
    unjoined = " WHERE t IS NULL OR f_t IS NULL" if once else ""
    repeated = repeated_keys(con, f"SELECT hash(id) AS k FROM joined{unjoined}")
    if not len(repeated) and not len(losers):
        return False
    con.register("repeated_arrow", repeated)
    con.register("losers_arrow", losers)
    con.execute(
        "CREATE TEMP TABLE repeated AS "
        "SELECT k::UBIGINT AS k FROM repeated_arrow UNION SELECT hash(id) FROM losers_arrow"
    )
    con.unregister("repeated_arrow")
    con.execute("CREATE TEMP TABLE repeated_rows AS SELECT * FROM joined WHERE hash(id) IN (FROM repeated)")
    con.execute("DELETE FROM joined WHERE hash(id) IN (FROM repeated)")
    columns = "".join(f", {quoted(name)}" for name in spec.predictions.columns)
    # Each prediction of an id was joined with each of its feedback rows. So `p` takes one row for each prediction, and
    # `f` the feedback that was joined with one prediction of the id.
    con.execute(
        f"CREATE TEMP TABLE p AS SELECT DISTINCT ON ({ROW}) id, {ROW}, t, prediction{columns} FROM repeated_rows "
        f"WHERE t IS NOT NULL"
    )
    con.execute(
        "CREATE TEMP TABLE f AS SELECT id, f_t AS t, f_value AS value FROM repeated_rows WHERE f_t IS NOT NULL "
        f"QUALIFY {ROW} IS NOT DISTINCT FROM min({ROW}) OVER (PARTITION BY id)"
    )
    return True


def settle_predictions(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Delete from `p` the predictions that lose to one near them; count them in `checks`."""
    columns, keep = spec.predictions.columns, spec.keep_prediction
    tile = tile_sql("t", spec.tile)
    con.execute(f"CREATE TEMP TABLE winners AS {winners_sql('p', columns, keep, spec.reach)}")
    # `losers_arrow` knows rows of other tiles that this task does not see.
    con.execute(
        "UPDATE winners SET won = NULL, winner = e.winner FROM losers_arrow e "
        "WHERE winners.id = e.id AND winners.tile = e.tile"
    )
    con.execute(
        "CREATE TEMP TABLE duplicates AS SELECT row, id, t, winner, prediction IS DISTINCT FROM winner AS differs, "
        "won IS DISTINCT FROM tile AS elsewhere FROM ("
        f"SELECT rowid AS row, id, {tile} AS tile, t, prediction, row_number() OVER w AS place FROM p "
        f"WINDOW w AS (PARTITION BY id, {tile} ORDER BY {prediction_order(columns, keep)})) "
        "JOIN winners USING (id, tile) WHERE place > 1 OR won IS DISTINCT FROM tile"
    )
    con.execute("DELETE FROM p WHERE rowid IN (SELECT row FROM duplicates)")
    con.execute(f"DELETE FROM duplicates WHERE NOT {sides.in_prediction_tiles}")
    con.execute(f"INSERT INTO duplicates_elsewhere SELECT DISTINCT {tile}, id, winner FROM duplicates WHERE elsewhere")
    for check, condition in (("duplicate", "true"), ("conflict", "differs")):
        con.execute(
            f"INSERT INTO checks SELECT 'pairs', {tile}, 'predictions', '{check}', NULL, "
            f"count(*), {named_ids(spec)} FROM duplicates WHERE {condition} GROUP BY ALL"
        )


def settle_feedback(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Choose for each prediction in `p` the feedback in `f` that counts, and count the rest in `checks`.

    All rows of `p` and `f` then go back to `joined`.
    """
    direction = "DESC" if spec.keep_feedback == "latest" else "ASC"
    con.execute(
        f"CREATE TEMP TABLE in_time AS SELECT f.rowid AS row, p.id, p.{ROW}, p.t AS t, f.t AS f_t, f.value, "
        "row_number() OVER w AS place, first_value(f.t) OVER w AS won_t, first_value(f.value) OVER w AS won "
        f"FROM f JOIN p ON f.id = p.id AND {spec.horizon.counts('f.t', 'p.t')} "
        f"WINDOW w AS (PARTITION BY p.{ROW} ORDER BY f.t {direction}, f.value DESC NULLS LAST)"
    )
    for check, condition in (("superseded", "true"), ("conflict", "f_t = won_t AND value IS DISTINCT FROM won")):
        con.execute(
            f"INSERT INTO checks SELECT 'pairs', {tile_sql('t', spec.tile)}, 'feedback', '{check}', NULL, "
            f"count(*), {named_ids(spec)} "
            f"FROM in_time WHERE place > 1 AND {condition} AND {sides.in_prediction_tiles} GROUP BY ALL"
        )
    columns = "".join(f", p.{quoted(name)}" for name in spec.predictions.columns)
    nulls = "".join(", NULL" for _ in spec.predictions.columns)
    con.execute(
        f"INSERT INTO joined SELECT p.id, p.{ROW}, p.t, p.prediction{columns}, r.f_t, r.value FROM p "
        f"LEFT JOIN (FROM in_time WHERE place = 1) r ON r.{ROW} = p.{ROW}"
    )
    con.execute(
        f"INSERT INTO joined SELECT id, NULL, NULL, NULL{nulls}, t, value FROM f "
        "WHERE rowid NOT IN (SELECT row FROM in_time)"
    )
