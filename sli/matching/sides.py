"""The two sides of a join: the rows of both logs that a task has, and which of them are set aside as invalid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sli.calendar.interval import ALWAYS, BEGINNING, Interval
from sli.engine.sql import inside_sql, literal, tile_sql
from sli.logs.log import Log
from sli.logs.reader import count_sql, rows_sql
from sli.logs.values import is_computed
from sli.matching.spec import Spec, named_ids
from sli.planning.tasks import Task

if TYPE_CHECKING:
    import duckdb

INVALID = {
    1: "no id",
    2: "value is NaN or infinite",
    3: "value outside 0..1",
    4: "label is neither 0 nor 1",
    5: "value is none of the classes",
    6: "relevance below 0",
}
"""Why a row is invalid, by the code that `invalid_code` gives, if the config says nothing else."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """SQL of a task: the rows of both logs, and conditions on which of them belong to its tiles."""

    predictions: str
    feedback: str
    counts: tuple[str, str] | None
    """How many rows of predictions and of feedback there are; None if counting them would cost a read of the files."""
    prediction_tiles: tuple[Interval, ...]
    """The tiles of the task."""
    feedback_tiles: tuple[Interval, ...]

    @property
    def in_prediction_tiles(self) -> str:
        """Whether a prediction time `t` lies in the task's tiles of predictions."""
        return inside_sql("t", self.prediction_tiles)

    def in_feedback_tiles(self, time: str = "t") -> str:
        """Whether a feedback time lies in the task's tiles of feedback: `f_t` in table `joined`."""
        return inside_sql(time, self.feedback_tiles)

    @staticmethod
    def in_memory(
        predictions: str,
        feedback: str,
        prediction_tiles: tuple[Interval, ...] = (ALWAYS,),
        feedback_tiles: tuple[Interval, ...] = (ALWAYS,),
    ) -> Sides:
        """The sides of tables in memory, whose rows DuckDB counts without reading them."""
        return Sides(
            predictions=predictions,
            feedback=feedback,
            counts=(f"(SELECT count(*) FROM {predictions})", f"(SELECT count(*) FROM {feedback})"),
            prediction_tiles=prediction_tiles,
            feedback_tiles=feedback_tiles,
        )

    @staticmethod
    def of(con: duckdb.DuckDBPyConnection, task: Task, spec: Spec) -> Sides:
        """The sides of the files of a task."""
        predicted, known = times_to_read(task, spec)
        predictions = task.predictions, spec.predictions, predicted
        feedback = task.feedback, spec.feedback, known
        logs = (*spec.predictions.parts, *spec.feedback.parts)
        footers_count = all(log.where is None for log in logs)
        return Sides(
            predictions=rows_sql(con, *predictions, numbered=True),
            feedback=rows_sql(con, *feedback),
            counts=(count_sql(con, *predictions), count_sql(con, *feedback)) if footers_count else None,
            prediction_tiles=task.prediction_tiles,
            feedback_tiles=task.feedback_tiles,
        )


def times_to_read(task: Task, spec: Spec) -> tuple[Interval, Interval]:
    """Times of predictions, from `since`, and of feedback that a task reads, both up to as_of."""
    end = spec.as_of + 1
    return task.prediction_times.within(Interval(spec.since, end)), task.feedback_times.within(Interval(BEGINNING, end))


def invalid_reasons(log: Log) -> dict[int, str]:
    """Why a row of a log is invalid, by the code that `invalid_code` gives."""
    reasons = dict(INVALID)
    if len(log.id) > 1:
        reasons[1] = "a part of the id is missing"
    if is_computed(log):
        reasons[2] = "value is not a finite number"
    if log.labels:
        reasons[3] = reasons[4] = "value is in neither list of labels"
    return reasons


def invalid_code(log: str, task: str, value: str = "value") -> str:
    """SQL of a code that says why a row is invalid (INVALID has the words); 0 if the row is valid."""
    outside = {
        ("predictions", "binary"): f"WHEN {value} < 0 OR {value} > 1 THEN 3",
        ("feedback", "binary"): f"WHEN {value} NOT IN (0, 1) THEN 4",
        ("predictions", "multiclass"): f"WHEN {value} < 0 THEN 5",
        ("feedback", "multiclass"): f"WHEN {value} < 0 THEN 5",
        ("feedback", "ranking"): f"WHEN {value} < 0 THEN 6",
    }.get((log, task), "")
    return f"CASE WHEN id IS NULL THEN 1 WHEN NOT isfinite({value}) THEN 2 {outside} ELSE 0 END"


def valid_predictions(rows: str, task: str) -> str:
    """SQL of the valid ones of these rows (SQL) of predictions, with their value also as `prediction`."""
    return f"(SELECT *, value AS prediction FROM {rows} WHERE {invalid_code('predictions', task)} = 0)"


def joinable_feedback(sides: Sides, spec: Spec) -> str:
    """SQL of the feedback that is joined: all of it, or without nulls if the config ignores them."""
    return f"{sides.feedback} WHERE value IS NOT NULL OR id IS NULL" if spec.ignore_nulls else sides.feedback


def set_aside_invalid(con: duckdb.DuckDBPyConnection, sides: Sides, spec: Spec) -> None:
    """Delete invalid rows from `joined`, and count them and ignored nulls in `checks`."""
    tile = tile_sql("t", spec.tile)
    if spec.ignore_nulls:
        con.execute(
            f"INSERT INTO checks SELECT 'feedback', {tile}, 'feedback', 'ignored null', NULL, count(*), [] "
            f"FROM {sides.feedback} "
            f"WHERE value IS NULL AND {invalid_code('feedback', spec.task)} = 0 AND {sides.in_feedback_tiles()} "
            "GROUP BY ALL"
        )
    if not one_number(con, "SELECT count(*) FROM joined WHERE id IS NULL"):
        return
    for log, source, span, rows, inside in (
        ("predictions", spec.predictions, "pairs", sides.predictions, sides.in_prediction_tiles),
        ("feedback", spec.feedback, "feedback", sides.feedback, sides.in_feedback_tiles()),
    ):
        code, texts = invalid_code(log, spec.task), invalid_reasons(source)
        reasons = " ".join(f"WHEN {number} THEN {literal('invalid: ' + text)}" for number, text in texts.items())
        con.execute(
            f"INSERT INTO checks SELECT '{span}', {tile}, '{log}', CASE {code} {reasons} END AS reason, "
            f"filename, count(*), coalesce({named_ids(spec)}, []) "
            f"FROM {rows} WHERE {code} > 0 AND {inside} GROUP BY ALL"
        )
    con.execute("DELETE FROM joined WHERE id IS NULL")


def one_number(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The number that a query gives."""
    return int(con.execute(sql).fetchall()[0][0])
