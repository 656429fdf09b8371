"""A user's function with its arguments; its exceptions become reasons.

Limit: warnings of the function are not shown, since every window would repeat them.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import math
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from sli.slis.custom.imports import load, pickle_by_value
from sli.slis.states import Floats

WEIGHTS = ("sample_weight", "weight")
"""Parameters that get the column of weights."""
FILTERS = threading.Lock()
"""All threads share Python's warning filters: no thread may restore them while another changes them."""

Columns = Mapping[str, npt.NDArray[np.generic]]
"""Columns of the log by name: texts, or numbers if the function needs only these."""
Pairs = tuple[Floats, Floats, Columns]
"""Labels, predictions and columns of the same pairs."""
Scores = TypedDict("Scores", {"columns": list[str], "as": str})
"""The columns of the classes' scores, and the parameter that gets them: empty if they are y_pred."""
Call = TypedDict(
    "Call",
    {
        "python": str,
        "weight": str,
        "columns": list[str],
        "with": dict[str, object],
        "classes": list[str],
        "scores": NotRequired[Scores],
    },
)
"""The arguments from the config. As JSON they are part of a state's identity, so the keys never change."""


NO_SCORE_COLUMNS: Scores = {"columns": [], "as": ""}


@dataclass(frozen=True, kw_only=True)
class UserFunction:
    """A function and its arguments except the pairs. It is pickled by value for the workers.

    Labels and predictions are doubles. With `classes` they are positions in `classes`, and the function gets the names.
    `scores` are the columns of the classes' scores in the order of the classes. They go to the parameter `scores_as`,
    or replace the predictions if that is empty.
    """

    function: Callable[..., float]
    weight: str = ""
    weight_as: str = ""
    slices: tuple[str, ...] = ()
    constants: Mapping[str, object] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    scores_as: str = ""

    def __call__(self, label: Floats, prediction: Floats, columns: Columns, reference: Pairs | None = None) -> float:
        """The function may change its arguments, so labels and predictions must be arrays that nobody else has."""
        named = copy.deepcopy(dict(self.constants)) if self.constants else {}
        if self.weight:
            # A null weight becomes NaN, which the function may refuse.
            named[self.weight_as] = np.array(columns[self.weight], dtype=object).astype(np.float64)
        if self.slices:
            named["slices"] = {name: np.array(columns[name], dtype=object) for name in self.slices}
        if self.scores_as:
            named[self.scores_as] = self._scores(columns)
        if reference is not None:
            named["reference"] = (self._array(reference[0]), self._y_pred(reference[1], reference[2]))
        return float(self.function(self._array(label), self._y_pred(prediction, columns), **named))

    def _y_pred(self, prediction: Floats, columns: Columns) -> npt.NDArray[np.generic]:
        return self._scores(columns) if self.scores and not self.scores_as else self._array(prediction)

    def _scores(self, columns: Columns) -> Floats:
        """One row for each pair, one column for each class."""
        return np.column_stack([np.array(columns[name], dtype=object).astype(np.float64) for name in self.scores])

    def _array(self, values: Floats) -> npt.NDArray[np.generic]:
        """The values; with classes their names."""
        return np.array(self.classes, dtype=object)[values.astype(np.int64)] if self.classes else values


def user_function(function: Callable[..., float], call: Call, parameters: Collection[str]) -> UserFunction:
    """The function with the arguments of a call; `parameters` are the names of its own parameters."""
    scores = call.get("scores", NO_SCORE_COLUMNS)
    return UserFunction(
        function=function,
        weight=call["weight"],
        weight_as=next((name for name in WEIGHTS if name in parameters), ""),
        slices=tuple(call["columns"]),
        constants=call["with"],
        classes=tuple(call["classes"]),
        scores=tuple(scores["columns"]),
        scores_as=scores["as"],
    )


def loaded(call: str, folder: str) -> UserFunction:
    """The user function of a window state's `call`. Raises ConfigError."""
    described: Call = json.loads(call)
    function = load(described["python"], Path(folder))
    parameters = inspect.signature(function).parameters if described["weight"] else ()
    return user_function(function, described, parameters)


def pickled(call: str, folder: str) -> bytes:
    """The same, pickled by value, so workers need not have its module."""
    function = loaded(call, folder)
    return pickle_by_value(function, function.function, Path(folder))


@dataclass(frozen=True)
class LazyFunction:
    """A function that is imported when it is first called. Pickled, it is the function by value, imported for that."""

    call: str
    folder: Path

    @functools.cached_property
    def function(self) -> Callable[..., float]:
        return load(self.call, self.folder)

    def __call__(self, *args: object, **named: object) -> float:
        return self.function(*args, **named)

    def __reduce__(self) -> tuple[Callable[[bytes], object], tuple[bytes]]:
        return pickle.loads, (pickle_by_value(self.function, self.function, self.folder),)

    def __deepcopy__(self, _: object) -> LazyFunction:
        return self


@contextmanager
def without_warnings() -> Iterator[None]:
    """Show no warnings of a function."""
    with FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Calls(NamedTuple):
    """Calls of functions, and the seconds of one core that they took."""

    number: int = 0
    seconds: float = 0.0

    def and_then(self, more: Calls) -> Calls:
        """These and further ones."""
        return Calls(self.number + more.number, self.seconds + more.seconds)

    def since(self, before: Calls) -> Calls:
        """Those that came after `before`."""
        return Calls(self.number - before.number, self.seconds - before.seconds)


NO_CALLS = Calls()


class _Counter:
    """All calls of this process so far."""

    def __init__(self) -> None:
        self.lock, self.number, self.seconds = threading.Lock(), 0, 0.0

    def add(self, seconds: float) -> None:
        with self.lock:
            self.number += 1
            self.seconds += seconds


_COUNTER = _Counter()


def calls_so_far() -> Calls:
    """All calls of this process so far, in all of its threads."""
    return Calls(_COUNTER.number, _COUNTER.seconds)


def value_or_reason(
    function: UserFunction, label: Floats, prediction: Floats, columns: Columns, reference: Pairs | None = None
) -> tuple[float, str | None]:
    """The function's value and None, or NaN and the reason. Call it within `without_warnings`."""
    began = time.thread_time()
    try:
        value = function(label, prediction, columns, reference)
    except Exception as error:
        return math.nan, f"{type(error).__name__}: {error}"[:200]
    finally:
        _COUNTER.add(time.thread_time() - began)
    return (value, None) if math.isfinite(value) else (math.nan, f"the function returned {value}")
