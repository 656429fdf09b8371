"""What SLIs that compare a window with its reference share: their registration and values.

Limit: both sides are states of one column.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from sli.errors import ConfigError
from sli.slis.catalogue.columns import Make, double, present, with_range_of_scores
from sli.slis.formula import (
    NO_REFERENCE,
    NO_VALUES,
    TASKS,
    Better,
    Formula,
    Range,
    Values,
    because,
    entry,
    histogram,
    plain,
)
from sli.slis.states import Flags, Floats, Integers, Merged, State


def reference_of(s: Merged) -> Merged:
    """The states of the references."""
    if s.reference is None:
        raise ValueError("a drift SLI was given no reference")
    return s.reference


def distance_values(
    now: Integers, then: Integers, value: Floats, bound: Floats | None, *cases: tuple[Flags, str]
) -> Values:
    """Distances of windows of `now` values from references of `then` values."""
    return plain(value, because((now == 0, NO_VALUES), (then == 0, NO_REFERENCE), *cases), bound)


def comparison_formula(
    states: Mapping[str, State], value: Callable[[Merged], Values], against: object, range: Range
) -> Formula:
    """The formula of a comparison. Raises ConfigError if there is nothing to compare with."""
    if against is None:
        raise ConfigError(
            "a drift SLI needs a reference to compare with", where="against", expected="previous, or leave it out"
        )
    return Formula(states, value, against, range)


def register_comparison(
    name: str,
    better: Better | None,
    parameters: tuple[str, ...],
    text: str,
    scores: Range | None = None,
    version: int = 1,
) -> Callable[[Make], Make]:
    """Register a comparison of numbers for every task.

    In a multiclass task, whose prediction is a class, it refuses the prediction; `text` says what to write instead.
    `scores` is the range of the SLI if the column is the score of a binary task and that range is narrower.
    """

    def register(make: Make) -> Make:
        @functools.wraps(make)
        def of_column(**arguments: object) -> Formula:
            if arguments.get("of", "prediction") == "prediction" and arguments.get("bins") != "values":
                raise ConfigError(
                    f"{name} compares numbers, but the prediction of a multiclass task is a class",
                    expected=text,
                    found="of: prediction",
                )
            return make(**arguments)

        for task in TASKS:
            of_task = of_column if task == "multiclass" else make
            if task == "binary" and scores is not None:
                of_task = with_range_of_scores(make, scores)
            entry(name, task, parameters=parameters, better=better, version=version)(of_task)
        return make

    return register


def histogram_of(of: str) -> dict[str, State]:
    """The state `values`: a column of numbers."""
    return {"values": histogram(double(of), present(of))}
