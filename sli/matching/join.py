"""The join: predictions with their feedback inside one task, in DuckDB.

A task has the rows of both logs that belong together, in files or in memory, settles duplicates and corrections, and
hands plain `pairs` to `tile`. Limit: the ids of a task's rows are in memory as text while it works, or on its disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from sli.calendar.interval import Interval
from sli.config.model import Config
from sli.logs.reader import ROW, Source, count_of, feedback_source, inside_sql, predictions_source, repeated, rows_of
from sli.planning.tasks import Chunk
from sli.slices import literal, quoted, text_of
from sli.slis import State

SAMPLES = 5
"""Ids named beside a count in the audit."""
EXCLUDED = pa.schema([("id", pa.string()), ("tile", pa.int64()), ("winner", pa.float64())])
"""Predictions that lost to one in another tile: their id, their tile, the winner's value."""
INVALID = {
    1: "no id",
    2: "value is NaN or infinite",
    3: "value outside 0..1",
    4: "label is neither 0 nor 1",
    5: "value is none of the classes",
    6: "relevance below 0",
}


@dataclass(frozen=True)
class Spec:
    """All a task needs to know of the config and the run, in plain values that travel."""

    predictions: Source
    feedback: Source
    zone: str
    tile: int
    since: int
    as_of: int
    horizon: int
    early: int
    task: str
    threshold: float
    query: str | None
    keep_prediction: str
    keep_feedback: str
    ignore_nulls: bool
    states: tuple[State, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    edges: Mapping[str, tuple[float, ...]]
    windows: tuple[str, ...]
    functions: Mapping[str, bytes] = field(default_factory=dict)
    memory: int = 1 << 30
    threads: int = 1
    samples: int | None = SAMPLES
    """Ids named beside a count; None: all."""

    @staticmethod
    def of(
        config: Config, as_of: int, states: Iterable[str], slice_sets: tuple[tuple[str, ...], ...], threads: int
    ) -> Spec:
        from sli.slis.custom.python import pickled

        p, f = config.predictions, config.feedback
        chosen = tuple(config.states[each] for each in states)
        return Spec(
            predictions_source(config),
            feedback_source(config),
            config.timezone,
            config.tile,
            config.since_instant,
            as_of,
            config.horizon.micros,
            f.early.micros,
            config.task,
            config.threshold,
            p.query,
            p.keep,
            f.keep,
            f.nulls == "ignore",
            chosen,
            slice_sets,
            config.edges,
            tuple(g.name for g in config.all_grains if g.name in ("hour", "day")),
            {s.call: pickled(s.call, config.folder) for s in chosen if s.call},
            config.task_memory,
            threads,
        )


@dataclass(frozen=True)
class Sides:
    """SQL of a chunk: rows of both logs, and which times `t` belong to its tiles of predictions and of feedback."""

    predictions: str
    feedback: str
    counts: tuple[str, str]
    """How many rows of predictions and of feedback there are."""
    pairs: str
    strays: str
    strays_known: str
    """The same as `strays`, of a column `f_t`."""

    @staticmethod
    def held(predictions: str, feedback: str, pairs: str, strays: str, strays_known: str) -> Sides:
        """Of rows that are counted in no time, such as those of tables in memory."""
        counts = (f"(SELECT count(*) FROM {predictions})", f"(SELECT count(*) FROM {feedback})")
        return Sides(predictions, feedback, counts, pairs, strays, strays_known)

    @staticmethod
    def of(con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec) -> Sides:
        reach, known = spans(chunk, spec)
        predicted = chunk.predictions, spec.predictions, spec.zone, reach
        fed = chunk.feedback, spec.feedback, spec.zone, known
        return Sides(
            rows_of(con, *predicted, numbered=True),
            rows_of(con, *fed),
            (count_of(con, *predicted), count_of(con, *fed)),
            inside_sql("t", chunk.pairs),
            inside_sql("t", chunk.strays),
            inside_sql("f_t", chunk.strays),
        )


def match(con: duckdb.DuckDBPyConnection, chunk: Chunk, spec: Spec, excluded: pa.Table) -> None:
    """Make view `pairs` and tables `marks`, `shadowed` and `strays` of a chunk."""
    settle(con, Sides.of(con, chunk, spec), spec, excluded)


def settle(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec, excluded: pa.Table) -> None:
    """The same of rows wherever they come from."""
    make_asides(con)
    _join(con, sides, spec)
    once = _joined_once(con, sides, spec)
    _set_aside(con, sides, spec)
    if _take_out_repeated(con, spec, excluded, once):
        _settle_predictions(con, sides, spec)
        _settle_feedback(con, sides, spec)
    _find_strays(con, sides, spec)
    _pair(con, sides, spec)
    show_pairs(con, spec)


def make_asides(con: duckdb.DuckDBPyConnection) -> None:
    """Empty tables of what is told of rows beside the pairs."""
    con.execute(
        'CREATE TEMP TABLE marks (span VARCHAR, tile BIGINT, log VARCHAR, "check" VARCHAR, file VARCHAR, '
        '"count" BIGINT, samples VARCHAR[])'
    )
    con.execute("CREATE TEMP TABLE shadowed (tile BIGINT, id VARCHAR, winner DOUBLE)")
    con.execute("CREATE TEMP TABLE strays (tile BIGINT, id VARCHAR, t BIGINT, reason VARCHAR)")


def spans(chunk: Chunk, spec: Spec) -> tuple[Interval, Interval]:
    """Times of predictions and of feedback to read: what the chunk reaches, from `since`, up to as_of."""
    start = max(chunk.reach.start, spec.since)
    reach = Interval(start, max(start, min(chunk.reach.end, spec.as_of + 1)))
    return reach, Interval(chunk.known.start, max(chunk.known.start, min(chunk.known.end, spec.as_of + 1)))


def invalid_code(log: str, spec: Spec, value: str = "value") -> str:
    """SQL code of why a row is invalid, 0 where it is not."""
    outside = {
        ("predictions", "binary"): f"WHEN {value} < 0 OR {value} > 1 THEN 3",
        ("feedback", "binary"): f"WHEN {value} NOT IN (0, 1) THEN 4",
        ("predictions", "multiclass"): f"WHEN {value} < 0 THEN 5",
        ("feedback", "multiclass"): f"WHEN {value} < 0 THEN 5",
        ("feedback", "ranking"): f"WHEN {value} < 0 THEN 6",
    }.get((log, spec.task), "")
    return f"CASE WHEN id IS NULL THEN 1 WHEN NOT isfinite({value}) THEN 2 {outside} ELSE 0 END"


def named_ids(spec: Spec) -> str:
    """SQL of the ids that are named beside a count."""
    # `min` of n takes room for n in every group, whether there are so many or not.
    return "list(id ORDER BY id) FILTER (WHERE id IS NOT NULL)" if spec.samples is None else f"min(id, {spec.samples})"


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
        f"FULL JOIN (SELECT {fed} FROM {_kept(sides, spec)}) f ON p.id = f.id"
    )


def _kept(sides: Sides, spec: Spec) -> str:
    """SQL of the feedback that is looked at at all."""
    return f"{sides.feedback} WHERE value IS NOT NULL OR id IS NULL" if spec.ignore_nulls else sides.feedback


def _joined_once(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> bool:
    """Whether no row was joined with two others: then only rows that stayed alone may share an id."""
    predictions, feedback = sides.counts
    if spec.ignore_nulls:
        feedback = f"(SELECT count(*) FROM {_kept(sides, spec)})"
    return bool(_one(con, f"SELECT count(t) = {predictions} AND count(f_t) = {feedback} FROM joined"))


def _set_aside(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Mark and delete invalid rows; count ignored nulls."""
    if spec.ignore_nulls:
        con.execute(
            f"INSERT INTO marks SELECT 'feedback', t // {spec.tile}, 'feedback', 'ignored null', NULL, count(*), [] "
            f"FROM {sides.feedback} "
            f"WHERE value IS NULL AND {invalid_code('feedback', spec)} = 0 AND {sides.strays} GROUP BY ALL"
        )
    if not _one(con, "SELECT count(*) FROM joined WHERE id IS NULL"):
        return
    reasons = " ".join(f"WHEN {code} THEN {literal('invalid: ' + text)}" for code, text in INVALID.items())
    for log, span, rows, own in (
        ("predictions", "pairs", sides.predictions, sides.pairs),
        ("feedback", "feedback", sides.feedback, sides.strays),
    ):
        bad = invalid_code(log, spec)
        con.execute(
            f"INSERT INTO marks SELECT '{span}', t // {spec.tile}, '{log}', CASE {bad} {reasons} END AS reason, "
            f"filename, count(*), coalesce({named_ids(spec)}, []) "
            f"FROM {rows} WHERE {bad} > 0 AND {own} GROUP BY ALL"
        )
    con.execute("DELETE FROM joined WHERE id IS NULL")


def _take_out_repeated(con: duckdb.DuckDBPyConnection, spec: Spec, excluded: pa.Table, once: bool) -> bool:
    """Move ids that occur more than once from `joined` to tables `p` and `f`. False if there are none."""
    doubtful = " WHERE t IS NULL OR f_t IS NULL" if once else ""
    con.register("repeated_arrow", repeated(con, f"SELECT hash(id) AS k FROM joined{doubtful}"))
    con.register("excluded_arrow", excluded)
    con.execute(
        "CREATE TEMP TABLE repeated AS "
        "SELECT k::UBIGINT AS k FROM repeated_arrow UNION SELECT hash(id) FROM excluded_arrow"
    )
    con.unregister("repeated_arrow")
    if not _one(con, "SELECT count(*) FROM repeated"):
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


def prediction_order(columns: Iterable[str], keep: str) -> str:
    """SQL ORDER BY that puts the winner of several predictions with one id first."""
    direction = "ASC" if keep == "first" else "DESC"
    ties = "".join(f", {text_of(quoted(name))} ASC NULLS LAST" for name in columns)
    return f"t {direction}, prediction ASC NULLS LAST{ties}"


def _settle_predictions(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
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


def in_reach(spec: Spec, feedback: str = "f_t", prediction: str = "t") -> str:
    """SQL condition: feedback known then may count for a prediction made then."""
    return f"{feedback} >= {prediction} - {spec.early} AND {feedback} <= {prediction} + {spec.horizon}"


def _settle_feedback(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Choose for each prediction in `p` the feedback in `f` that counts, mark the rest, add all of it to `joined`."""
    direction = "DESC" if spec.keep_feedback == "latest" else "ASC"
    con.execute(
        "CREATE TEMP TABLE reached AS SELECT f.rowid AS row, p.id, p.t AS t, f.t AS f_t, f.value, "
        "row_number() OVER w AS place, first_value(f.t) OVER w AS won_t, first_value(f.value) OVER w AS won "
        f"FROM f JOIN p ON f.id = p.id AND {in_reach(spec, 'f.t', 'p.t')} "
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


def _find_strays(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Into table `strays`: feedback of the tiles that no prediction reaches."""
    con.execute(
        f"INSERT INTO strays SELECT f_t // {spec.tile}, id, f_t, NULL FROM joined WHERE f_t IS NOT NULL "
        f"AND {sides.strays_known} AND (t IS NULL OR NOT ({in_reach(spec)}))"
    )


def _pair(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """View `matched`: every winning prediction with the feedback that counts, or with none yet."""
    reached = f"f_t IS NOT NULL AND {in_reach(spec)}"
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


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(con.execute(sql).fetchall()[0][0])
