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
from sli.slis.formula import UNLIMITED, Formula, Range, entry

NUMERIC = ("binary", "regression", "ranking")
"""Tasks whose predictions are numbers."""

Make = Callable[..., Formula]


def numeric(
    name: str, parameters: tuple[str, ...], listed: tuple[str, ...] = (), scores: Range = UNLIMITED, version: int = 1
) -> Callable[[Make], Make]:
    """Register an SLI of a column of numbers for every task.

    `scores` is the range of the SLI if the column is the score of a binary task.
    """

    def register(make: Make) -> Make:
        @functools.wraps(make)
        def of_column(**arguments: object) -> Formula:
            if arguments.get("of", "prediction") == "prediction":
                raise ConfigError(
                    f"'{name}' needs numbers, but the prediction of a multiclass task is a class",
                    where="of",
                    expected="a numeric column",
                    todo="write `of: COLUMN`, with a numeric column listed under predictions.columns",
                )
            return make(**arguments)

        entry(name, "regression", "ranking", parameters=parameters, listed=listed, version=version)(make)
        of_binary = with_range_of_scores(make, scores)
        entry(name, "binary", parameters=parameters, listed=listed, version=version)(of_binary)
        entry(name, "multiclass", parameters=parameters, listed=listed, version=version)(of_column)
        return make

    return register


def with_range_of_scores(make: Make, range: Range) -> Make:
    """The same SLI for a binary task, with values in `range` if its column is the prediction: a score from 0 to 1."""

    @functools.wraps(make)
    def make_of_binary(**arguments: object) -> Formula:
        formula = make(**arguments)
        return replace(formula, range=range) if arguments.get("of", "prediction") == "prediction" else formula

    return make_of_binary


def present(of: str) -> str:
    """SQL condition that a column is not null."""
    return f"{quoted(of)} IS NOT NULL"


def double(of: str) -> str:
    """SQL of a column as a double."""
    return f"{quoted(of)}::DOUBLE"
