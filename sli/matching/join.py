"""The join: finds each prediction's feedback inside one task, in DuckDB, by one full join on the id.

Ids that occur more than once are settled afterwards (`duplicates`), so that the common case costs nothing extra. Limit:
all ids of a task are text in memory, or spilled to its disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from sli.engine.sql import quoted, tile_sql
from sli.logs.reader import ROW
from sli.matching.duplicates import settle_feedback, settle_predictions, take_out_repeated
from sli.matching.pairs import create_matched, create_pairs
from sli.matching.sides import Sides, invalid_code, joinable_feedback, one_number, set_aside_invalid
from sli.matching.spec import Spec

if TYPE_CHECKING:
    import duckdb


def join_rows(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec, losers: pa.Table) -> None:
    """Join the rows of both sides. `losers`: predictions that lose to one in another tile (`other_tiles.LOSERS`).

    Creates view `pairs`, and tables `checks` (how many rows did not count, by reason), `duplicates_elsewhere`
    (predictions of these tiles that lost to one in another tile) and `unmatched` (unmatched feedback).
    """
    create_audit_tables(con)
    _join(con, sides, spec)
    once = _joined_once(con, sides, spec)
    set_aside_invalid(con, sides, spec)
    if take_out_repeated(con, spec, losers, once):
        settle_predictions(con, sides, spec)
        settle_feedback(con, sides, spec)
    _find_unmatched(con, sides, spec)
    create_matched(con, sides, spec)
    create_pairs(con, spec)


def create_audit_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Create the empty tables of what the audit needs: `checks`, `duplicates_elsewhere` and `unmatched`."""
    con.execute(
        'CREATE TEMP TABLE checks (span VARCHAR, tile BIGINT, log VARCHAR, "check" VARCHAR, file VARCHAR, '
        '"count" BIGINT, samples VARCHAR[])'
    )
    con.execute("CREATE TEMP TABLE duplicates_elsewhere (tile BIGINT, id VARCHAR, winner DOUBLE)")
    con.execute("CREATE TEMP TABLE unmatched (tile BIGINT, id VARCHAR, t BIGINT, reason VARCHAR)")


def _join(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Create table `joined`: predictions and feedback by id, and rows without a partner. Invalid rows get a null id."""
    names = [quoted(name) for name in spec.predictions.columns]
    columns, joined = "".join(f", {name}" for name in names), "".join(f", p.{name}" for name in names)
    predicted, fed = (
        f"CASE WHEN {invalid_code(log, spec.task)} = 0 THEN id END AS id, t, value"
        for log in ("predictions", "feedback")
    )
    con.execute(
        "CREATE TEMP TABLE joined AS "
        f"SELECT coalesce(p.id, f.id) AS id, p.{ROW}, p.t, p.value AS prediction{joined}, f.t AS f_t, "
        f"f.value AS f_value FROM (SELECT {predicted}, {ROW}{columns} FROM {sides.predictions}) p "
        f"FULL JOIN (SELECT {fed} FROM {joinable_feedback(sides, spec)}) f ON p.id = f.id"
    )


def _joined_once(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> bool:
    """Whether no row was joined with two others. If so, only rows without a partner may still share an id.

    False also where that is not known: then ids are looked for in all rows.
    """
    if sides.counts is None:
        return False
    predictions, feedback = sides.counts
    if spec.ignore_nulls:
        feedback = f"(SELECT count(*) FROM {joinable_feedback(sides, spec)})"
    return bool(one_number(con, f"SELECT count(t) = {predictions} AND count(f_t) = {feedback} FROM joined"))


def _find_unmatched(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Insert into table `unmatched` the feedback of the tiles that counts for no prediction."""
    con.execute(
        f"INSERT INTO unmatched SELECT {tile_sql('f_t', spec.tile)}, id, f_t, NULL FROM joined WHERE f_t IS NOT NULL "
        f"AND {sides.in_feedback_tiles('f_t')} AND (t IS NULL OR NOT ({spec.horizon.counts()}))"
    )
