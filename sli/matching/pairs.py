"""Pairs as SLIs see them: each prediction with its label, or with none yet.

In view `matched` times and values are numbers; view `pairs` has the columns that the SQL of an SLI may name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sli.engine.sql import literal, quoted, text_of, tile_sql
from sli.matching.sides import Sides
from sli.matching.spec import Spec

if TYPE_CHECKING:
    import duckdb


def create_matched(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """View `matched`: every winning prediction of the tiles with the feedback that counts, or with none yet.

    Null feedback that counts withdraws the label; it is counted in table `checks`.
    """
    tile = tile_sql("t", spec.tile)
    counts = f"f_t IS NOT NULL AND {spec.horizon.counts()}"
    known = "greatest(f_t, t)" if spec.known_at_once else "f_t"
    columns = "".join(f", {quoted(name)}" for name in spec.predictions.columns)
    con.execute(
        f"CREATE TEMP VIEW matched AS SELECT {tile} AS tile, hash(id) AS k, t, prediction AS value{columns}, "
        f"CASE WHEN {counts} THEN f_value END AS truth, CASE WHEN {counts} THEN {known} END AS f_t "
        f"FROM joined WHERE t IS NOT NULL AND {sides.in_prediction_tiles}"
    )
    con.execute(
        f"INSERT INTO checks SELECT 'pairs', {tile}, 'feedback', 'withdrawn', NULL, count(*), [] FROM joined "
        f"WHERE f_value IS NULL AND t IS NOT NULL AND {counts} AND {sides.in_prediction_tiles} GROUP BY ALL"
    )


def create_pairs(con: duckdb.DuckDBPyConnection, spec: Spec) -> None:
    """View `pairs`, from view or table `matched`."""
    con.execute(f"CREATE TEMP VIEW pairs AS {pairs_sql(spec)} FROM matched")


def pairs_sql(spec: Spec) -> str:
    """SQL SELECT of the columns of a pair, from tile, k, t, value, truth and f_t (numbers) and the declared columns."""
    columns = [name for name in spec.predictions.columns if name != "query"]
    classes = f"[{', '.join(map(literal, spec.predictions.classes))}]"
    label, prediction = {
        "binary": ("truth = 1", "value"),
        "multiclass": (f"{classes}[truth::INTEGER + 1]", f"{classes}[value::INTEGER + 1]"),
    }.get(spec.task, ("truth", "value"))
    decision = f"value >= {spec.threshold!r}::DOUBLE" if spec.task == "binary" else "NULL::BOOLEAN"
    query = text_of(quoted(spec.query)) if spec.query else "NULL::VARCHAR"
    return (
        f"SELECT tile, k, t{''.join(f', {quoted(name)}' for name in columns)}, {label} AS label, "
        f"{prediction} AS prediction, {decision} AS decision, truth IS NOT NULL AS labelled, "
        f"truth IS NOT NULL AND value IS NOT NULL AS usable, {query} AS query, truth, value, f_t, "
        "CASE WHEN truth IS NOT NULL THEN (f_t - t) / 1e6::DOUBLE END AS delay, "
        "make_timestamptz(t) AS predicted_at, make_timestamptz(f_t) AS known_at"
    )
