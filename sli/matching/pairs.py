"""Pairs as SLIs see them: each prediction with its label, or with none yet."""

from __future__ import annotations

import duckdb

from sli.engine.sql import literal, quoted, text_of
from sli.matching.sides import Sides
from sli.matching.spec import Spec


def show_pairs(con: duckdb.DuckDBPyConnection, spec: Spec) -> None:
    """View `pairs`: what is matched, as SLIs see it."""
    con.execute(f"CREATE TEMP VIEW pairs AS {paired(spec)} FROM matched")


def paired(spec: Spec) -> str:
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
        f"truth IS NOT NULL AND value IS NOT NULL AS usable, {query} AS query, truth, value, "
        "CASE WHEN truth IS NOT NULL THEN (f_t - t) / 1e6::DOUBLE END AS delay, "
        "make_timestamptz(t) AS predicted_at, make_timestamptz(f_t) AS known_at"
    )


def view_matched(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """View `matched`: every winning prediction with the feedback that counts, or with none yet."""
    reached = f"f_t IS NOT NULL AND {spec.horizon.counts()}"
    columns = "".join(f", {quoted(name)}" for name in spec.predictions.columns)
    con.execute(
        f"CREATE TEMP VIEW matched AS SELECT t // {spec.tile} AS tile, hash(id) AS k, t, prediction AS value{columns}, "
        f"CASE WHEN {reached} THEN f_value END AS truth, CASE WHEN {reached} THEN f_t END AS f_t "
        f"FROM joined WHERE t IS NOT NULL AND {sides.pairs}"
    )
    con.execute(
        f"INSERT INTO marks SELECT 'pairs', t // {spec.tile}, 'feedback', 'withdrawn', NULL, count(*), [] FROM joined "
        f"WHERE f_value IS NULL AND t IS NOT NULL AND {reached} AND {sides.pairs} GROUP BY ALL"
    )
