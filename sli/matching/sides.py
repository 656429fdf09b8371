"""The two sides of a join: the rows of both logs that a task has, and which of them are set aside as invalid."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from sli.calendar.interval import Interval
from sli.engine.sql import inside_sql, literal
from sli.logs.reader import count_sql, rows_sql
from sli.matching.spec import Spec, named_ids
from sli.planning.tasks import Task


@dataclass(frozen=True)
class Sides:
    """SQL of a task: rows of both logs, and which times `t` belong to its tiles of predictions and of feedback."""

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
    def of(con: duckdb.DuckDBPyConnection, task: Task, spec: Spec) -> Sides:
        reach, known = spans(task, spec)
        predicted = task.predictions, spec.predictions, spec.zone, reach
        fed = task.feedback, spec.feedback, spec.zone, known
        return Sides(
            rows_sql(con, *predicted, numbered=True),
            rows_sql(con, *fed),
            (count_sql(con, *predicted), count_sql(con, *fed)),
            inside_sql("t", task.prediction_tiles),
            inside_sql("t", task.feedback_tiles),
            inside_sql("f_t", task.feedback_tiles),
        )


def spans(task: Task, spec: Spec) -> tuple[Interval, Interval]:
    """Times of predictions and of feedback to read: what the task reaches, from `since`, up to as_of."""
    start = max(task.predicted.start, spec.since)
    reach = Interval(start, max(start, min(task.predicted.end, spec.as_of + 1)))
    return reach, Interval(task.known.start, max(task.known.start, min(task.known.end, spec.as_of + 1)))


INVALID = {
    1: "no id",
    2: "value is NaN or infinite",
    3: "value outside 0..1",
    4: "label is neither 0 nor 1",
    5: "value is none of the classes",
    6: "relevance below 0",
}


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


def joinable_feedback(sides: Sides, spec: Spec) -> str:
    """SQL of the feedback that is looked at at all."""
    return f"{sides.feedback} WHERE value IS NOT NULL OR id IS NULL" if spec.ignore_nulls else sides.feedback


def set_aside_invalid(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Mark and delete invalid rows; count ignored nulls."""
    if spec.ignore_nulls:
        con.execute(
            f"INSERT INTO marks SELECT 'feedback', t // {spec.tile}, 'feedback', 'ignored null', NULL, count(*), [] "
            f"FROM {sides.feedback} "
            f"WHERE value IS NULL AND {invalid_code('feedback', spec)} = 0 AND {sides.strays} GROUP BY ALL"
        )
    if not one_number(con, "SELECT count(*) FROM joined WHERE id IS NULL"):
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


def one_number(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(con.execute(sql).fetchall()[0][0])
