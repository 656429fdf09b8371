"""The join: predictions with their feedback inside one task, in DuckDB.

A task has the rows of both logs that belong together, in files or in memory, settles duplicates and corrections, and
hands plain `pairs` to `tiles`. Limit: the ids of a task's rows are in memory as text while it works, or on its disk.
"""

from __future__ import annotations

import duckdb
import pyarrow as pa

from sli.engine.sql import quoted
from sli.logs.reader import ROW
from sli.matching.duplicates import settle_feedback, settle_predictions, take_out_repeated
from sli.matching.pairs import show_pairs, view_matched
from sli.matching.sides import Sides, invalid_code, joinable_feedback, one_number, set_aside_invalid
from sli.matching.spec import Spec
from sli.planning.tasks import Task


def match(con: duckdb.DuckDBPyConnection, task: Task, spec: Spec, excluded: pa.Table) -> None:
    """Make view `pairs` and tables `marks`, `shadowed` and `strays` of a task."""
    settle(con, Sides.of(con, task, spec), spec, excluded)


def settle(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec, excluded: pa.Table) -> None:
    """The same of rows wherever they come from."""
    make_asides(con)
    _join(con, sides, spec)
    once = _joined_once(con, sides, spec)
    set_aside_invalid(con, sides, spec)
    if take_out_repeated(con, spec, excluded, once):
        settle_predictions(con, sides, spec)
        settle_feedback(con, sides, spec)
    _find_strays(con, sides, spec)
    view_matched(con, sides, spec)
    show_pairs(con, spec)


def make_asides(con: duckdb.DuckDBPyConnection) -> None:
    """Empty tables of what is told of rows beside the pairs."""
    con.execute(
        'CREATE TEMP TABLE marks (span VARCHAR, tile BIGINT, log VARCHAR, "check" VARCHAR, file VARCHAR, '
        '"count" BIGINT, samples VARCHAR[])'
    )
    con.execute("CREATE TEMP TABLE shadowed (tile BIGINT, id VARCHAR, winner DOUBLE)")
    con.execute("CREATE TEMP TABLE strays (tile BIGINT, id VARCHAR, t BIGINT, reason VARCHAR)")


def _join(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Table `joined`: predictions and feedback by id, each also alone; invalid rows have no id and so stay alone.

    One full join serves the pairs and the strays; what occurs more than once is taken out and settled apart afterwards.
    """
    names = [quoted(name) for name in spec.predictions.columns]
    columns, joined = "".join(f", {name}" for name in names), "".join(f", p.{name}" for name in names)
    predicted, fed = (
        f"CASE WHEN {invalid_code(log, spec)} = 0 THEN id END AS id, t, value" for log in ("predictions", "feedback")
    )
    con.execute(
        "CREATE TEMP TABLE joined AS "
        f"SELECT coalesce(p.id, f.id) AS id, p.{ROW}, p.t, p.value AS prediction{joined}, f.t AS f_t, "
        f"f.value AS f_value FROM (SELECT {predicted}, {ROW}{columns} FROM {sides.predictions}) p "
        f"FULL JOIN (SELECT {fed} FROM {joinable_feedback(sides, spec)}) f ON p.id = f.id"
    )


def _joined_once(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> bool:
    """Whether no row was joined with two others: then only rows that stayed alone may share an id."""
    predictions, feedback = sides.counts
    if spec.ignore_nulls:
        feedback = f"(SELECT count(*) FROM {joinable_feedback(sides, spec)})"
    return bool(one_number(con, f"SELECT count(t) = {predictions} AND count(f_t) = {feedback} FROM joined"))


def _find_strays(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Into table `strays`: feedback of the tiles that no prediction reaches."""
    con.execute(
        f"INSERT INTO strays SELECT f_t // {spec.tile}, id, f_t, NULL FROM joined WHERE f_t IS NOT NULL "
        f"AND {sides.strays_known} AND (t IS NULL OR NOT ({spec.horizon.counts()}))"
    )
