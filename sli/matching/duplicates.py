"""Ids that occur more than once: which prediction wins, and which feedback counts.

A task settles the ids it has; duplicates in other tiles are looked up in the whole predictions log. Limit: that scan
grows with the log's history.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from sli.calendar.interval import Interval, difference
from sli.config.model import Config
from sli.engine.connection import connect, repeated_keys, scratch, task_error
from sli.engine.sql import inside_sql, quoted, text_of
from sli.logs.damaged import check_readable
from sli.logs.files import Inputs
from sli.logs.reader import ROW, predictions_log, rows_sql
from sli.matching.sides import Sides, one_number
from sli.matching.spec import Spec, named_ids
from sli.planning.plan import Plan

EXCLUDED = pa.schema([("id", pa.string()), ("tile", pa.int64()), ("winner", pa.float64())])
"""Predictions that lost to one in another tile: their id, their tile, the winner's value."""


def prediction_order(columns: Iterable[str], keep: str) -> str:
    """SQL ORDER BY that puts the winner of several predictions with one id first."""
    direction = "ASC" if keep == "first" else "DESC"
    ties = "".join(f", {text_of(quoted(name))} ASC NULLS LAST" for name in columns)
    return f"t {direction}, prediction ASC NULLS LAST{ties}"


def take_out_repeated(con: duckdb.DuckDBPyConnection, spec: Spec, excluded: pa.Table, once: bool) -> bool:
    """Move ids that occur more than once from `joined` to tables `p` and `f`. False if there are none."""
    doubtful = " WHERE t IS NULL OR f_t IS NULL" if once else ""
    con.register("repeated_arrow", repeated_keys(con, f"SELECT hash(id) AS k FROM joined{doubtful}"))
    con.register("excluded_arrow", excluded)
    con.execute(
        "CREATE TEMP TABLE repeated AS "
        "SELECT k::UBIGINT AS k FROM repeated_arrow UNION SELECT hash(id) FROM excluded_arrow"
    )
    con.unregister("repeated_arrow")
    if not one_number(con, "SELECT count(*) FROM repeated"):
        return False
    con.execute("CREATE TEMP TABLE taken AS SELECT * FROM joined WHERE hash(id) IN (FROM repeated)")
    con.execute("DELETE FROM joined WHERE hash(id) IN (FROM repeated)")
    columns = "".join(f", {quoted(name)}" for name in spec.predictions.columns)
    # Each prediction of an id was joined with each feedback: a prediction is one row, feedback is that of one of them.
    con.execute(
        f"CREATE TEMP TABLE p AS SELECT DISTINCT ON ({ROW}) id, {ROW}, t, prediction{columns} FROM taken "
        f"WHERE t IS NOT NULL"
    )
    con.execute(
        "CREATE TEMP TABLE f AS SELECT id, f_t AS t, f_value AS value FROM taken WHERE f_t IS NOT NULL "
        f"QUALIFY {ROW} IS NOT DISTINCT FROM min({ROW}) OVER (PARTITION BY id)"
    )
    return True


def settle_predictions(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Delete from `p` all but the winner of each id; mark the losers."""
    order = prediction_order(spec.predictions.columns, spec.keep_prediction)
    tile = f"t // {spec.tile}"
    con.execute(
        "CREATE TEMP TABLE lost AS SELECT p.rowid AS row, p.id, p.t, e.winner, "
        "p.prediction IS DISTINCT FROM e.winner AS differs, true AS elsewhere "
        f"FROM p JOIN excluded_arrow e ON p.id = e.id AND p.{tile} = e.tile"
    )
    con.execute(
        "INSERT INTO lost SELECT row, id, t, won, prediction IS DISTINCT FROM won, tile <> won_tile FROM ("
        f"SELECT rowid AS row, id, t, {tile} AS tile, prediction, row_number() OVER w AS place, "
        f"first_value(prediction) OVER w AS won, first_value({tile}) OVER w AS won_tile "
        "FROM p WHERE rowid NOT IN (SELECT row FROM lost) "
        f"WINDOW w AS (PARTITION BY id ORDER BY {order})) WHERE place > 1"
    )
    con.execute("DELETE FROM p WHERE rowid IN (SELECT row FROM lost)")
    con.execute(f"DELETE FROM lost WHERE NOT {sides.pairs}")
    con.execute(f"INSERT INTO shadowed SELECT DISTINCT {tile}, id, winner FROM lost WHERE elsewhere")
    for check, where in (("duplicate", "true"), ("conflict", "differs")):
        con.execute(
            f"INSERT INTO marks SELECT 'pairs', {tile}, 'predictions', '{check}', NULL, "
            f"count(*), {named_ids(spec)} FROM lost WHERE {where} GROUP BY ALL"
        )


def settle_feedback(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Choose for each prediction in `p` the feedback in `f` that counts, mark the rest, add all of it to `joined`."""
    direction = "DESC" if spec.keep_feedback == "latest" else "ASC"
    con.execute(
        "CREATE TEMP TABLE reached AS SELECT f.rowid AS row, p.id, p.t AS t, f.t AS f_t, f.value, "
        "row_number() OVER w AS place, first_value(f.t) OVER w AS won_t, first_value(f.value) OVER w AS won "
        f"FROM f JOIN p ON f.id = p.id AND {spec.horizon.counts('f.t', 'p.t')} "
        f"WINDOW w AS (PARTITION BY p.id ORDER BY f.t {direction}, f.value DESC NULLS LAST)"
    )
    for check, where in (("superseded", "true"), ("conflict", "f_t = won_t AND value IS DISTINCT FROM won")):
        con.execute(
            f"INSERT INTO marks SELECT 'pairs', t // {spec.tile}, 'feedback', '{check}', NULL, "
            f"count(*), {named_ids(spec)} "
            f"FROM reached WHERE place > 1 AND {where} AND {sides.pairs} GROUP BY ALL"
        )
    columns = "".join(f", p.{quoted(name)}" for name in spec.predictions.columns)
    nulls = "".join(", NULL" for _ in spec.predictions.columns)
    con.execute(
        f"INSERT INTO joined SELECT p.id, p.{ROW}, p.t, p.prediction{columns}, r.f_t, r.value FROM p "
        f"LEFT JOIN (FROM reached WHERE place = 1) r ON r.id = p.id"
    )
    con.execute(
        f"INSERT INTO joined SELECT id, NULL, NULL, NULL{nulls}, t, value FROM f "
        "WHERE rowid NOT IN (SELECT row FROM reached)"
    )


KEY_BYTES = 32
"""Memory a key takes while sorted, with its copies."""


def excluded(config: Config, inputs: Inputs, plan: Plan, before: pa.Table) -> pa.Table:
    """All predictions that lose to one in another tile, as of the plan; `before`: those published."""
    if not plan.winners_may_change:
        return before
    if not len(before) and _one_task_sees_all(plan):
        return EXCLUDED.empty_table()
    con = connect(config.parallel, config.task_memory)
    try:
        rows = valid_predictions(con, config, inputs, Interval(config.since_instant, plan.as_of + 1))
        con.register("before_arrow", before)
        con.register("suspects_arrow", _repeated_keys(con, config, inputs, plan, rows))
        con.execute(
            "CREATE TEMP TABLE suspects AS SELECT k::UBIGINT AS k FROM suspects_arrow "
            "UNION SELECT hash(id) FROM before_arrow"
        )
        if not con.execute("SELECT count(*) FROM suspects").fetchall()[0][0]:
            return EXCLUDED.empty_table()
        order = prediction_order(config.columns, config.predictions.keep)
        tile = f"t // {config.tile}"
        return (
            con.sql(
                "SELECT DISTINCT id, tile, winner FROM ("
                f"SELECT id, {tile} AS tile, "
                f"first_value({tile}) OVER w AS won, first_value(prediction) OVER w AS winner "
                f"FROM {rows} WHERE hash(id) IN (FROM suspects) "
                f"WINDOW w AS (PARTITION BY id ORDER BY {order})) "
                "WHERE tile <> won ORDER BY id, tile"
            )
            .to_arrow_table()
            .cast(EXCLUDED)
        )
    except duckdb.Error as error:
        check_predictions_readable(config, inputs, error)
        raise task_error(error, config.predictions.path) from error
    finally:
        con.close()


def _repeated_keys(con: duckdb.DuckDBPyConnection, config: Config, inputs: Inputs, plan: Plan, rows: str) -> pa.Table:
    """Hashes of ids logged more than once, at least once in the tiles to compute; a share of the hashes at a time."""
    size = KEY_BYTES * sum(file.rows for file in inputs.predictions if file.usable)
    shares = max(1, -(-size // config.task_memory))
    computed = [*plan.to_recompute, *plan.to_confirm]
    anywhere = not difference(plan.with_predictions, computed)
    near = "true" if anywhere else f"hash(id) IN (SELECT hash(id) FROM {rows} WHERE {inside_sql('t', computed)})"
    found = (
        repeated_keys(con, f"SELECT hash(id) AS k FROM {rows} WHERE hash(id) % {shares} = {share} AND {near}")
        for share in range(shares)
    )
    return pa.concat_tables(found)


def _one_task_sees_all(plan: Plan) -> bool:
    """Whether every tile there is is recomputed by a single task, or by one shuffle: then all duplicates meet."""
    tasks = [task for task_set in plan.task_sets for task in task_set.tasks]
    return len(tasks) == 1 and not difference(plan.with_predictions, tasks[0].prediction_tiles)


def moved(config: Config, now: pa.Table, before: pa.Table) -> list[Interval]:
    """Tiles whose excluded predictions differ."""
    con = scratch()
    con.register("a", now)
    con.register("b", before)
    sql = "SELECT DISTINCT tile FROM ((FROM a EXCEPT FROM b) UNION (FROM b EXCEPT FROM a)) ORDER BY tile"
    return [Interval(tile * config.tile, (tile + 1) * config.tile) for (tile,) in con.execute(sql).fetchall()]


def published_exclusions(tiles: pa.Table, tile: int) -> pa.Table:
    """The excluded predictions that tiles remember."""
    con = scratch()
    con.register("tiles_arrow", tiles)
    return (
        con.sql(
            "SELECT s.id AS id, tile, s.winner AS winner FROM ("
            f"SELECT unnest(shadowed) AS s, epoch_us(start) // {tile} AS tile FROM tiles_arrow WHERE span = 'pairs')"
        )
        .to_arrow_table()
        .cast(EXCLUDED)
    )


def valid_predictions(con: duckdb.DuckDBPyConnection, config: Config, inputs: Inputs, span: Interval) -> str:
    source = predictions_log(config)
    rows = rows_sql(con, [f for f in inputs.predictions if f.usable], source, config.timezone, span)
    allowed = {"binary": "value BETWEEN 0 AND 1", "multiclass": "value >= 0"}.get(config.task)
    inside = f" AND (value IS NULL OR {allowed})" if allowed else ""
    valid = f"id IS NOT NULL AND (value IS NULL OR isfinite(value)){inside}"
    return f"(SELECT *, value AS prediction FROM {rows} WHERE {valid})"


def check_predictions_readable(config: Config, inputs: Inputs, error: Exception) -> None:
    source = predictions_log(config)
    check_readable([f for f in inputs.predictions if f.usable], source, config.timezone, error)
