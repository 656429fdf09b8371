"""SLIs of one column: their registration for each task and the column's values in SQL.

The column is `of`: the prediction, or a column of the predictions log. Limit: the prediction of a multiclass task is a
class, so what needs numbers refuses it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from sli.engine.sql import quoted
from sli.errors import ConfigError
from sli.slis.formula import TASKS, Better, Formula, Range, entry

NUMERIC = ("binary", "regression", "ranking")
"""Tasks whose predictions are numbers."""

Make = Callable[..., Formula]


def numeric(
    name: str,
    better: Better | None = None,
    *,
    scores: Range | None = None,
    instead: str = "a numeric column",
    listed: tuple[str, ...] = (),
    version: int = 1,
) -> Callable[[Make], Make]:
    """Register an SLI of a column of numbers for every task.

    `scores` is the range of the SLI if the column is the prediction of a binary task: a score from 0 to 1. A multiclass
    task, whose prediction is a class, refuses it unless its values are the `bins`; `instead` says what it wants.
    """

    def register(make: Make) -> Make:
        @functools.wraps(make)
        def of_scores(**arguments: object) -> Formula:
            formula = make(**arguments)
            if scores is None or arguments.get("of", "prediction") != "prediction":
                return formula
            return replace(formula, range=scores)

        @functools.wraps(make)
        def without_classes(**arguments: object) -> Formula:
            if arguments.get("of", "prediction") == "prediction" and arguments.get("bins") != "values":
                raise ConfigError(
                    f"'{name}' needs numbers, but the prediction of a multiclass task is a class",
                    where="of",
                    expected=instead,
                    todo="write `of: COLUMN`, with a numeric column listed under predictions.columns",
                )
            return make(**arguments)

        for task in TASKS:
            of_task = {"binary": of_scores, "multiclass": without_classes}.get(task, make)
            entry(name, task, better=better, listed=listed, version=version)(of_task)
        return make

    return register


def present(of: str) -> str:
    """SQL condition that a column is not null."""
    return f"{quoted(of)} IS NOT NULL"


def double(of: str) -> str:
    """SQL of a column as a double."""
    return f"{quoted(of)}::DOUBLE"
