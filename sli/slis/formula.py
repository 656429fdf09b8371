"""What an SLI is: states, a value from merged states, an interval, and the same meaning on plain rows.

The catalogue maps a task and a name to an `Entry`; a config entry plus its parameters makes an `Sli`. Limit: an SLI
sees one window and one slice at a time, and at most one other window of that slice, its reference.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from sli.calendar.interval import Interval
from sli.slis.states import Flags, Floats, Merged, Objects, Spread, State

TASKS = ("binary", "multiclass", "regression", "ranking")
PAIR_COLUMNS = ("label", "prediction", "decision", "labelled", "usable", "delay", "predicted_at", "known_at", "query")
"""Columns of a pair beside the log's own."""
NO_LABELS = "no labelled predictions"
NO_VALUES = "no values"
NO_REFERENCE = "no reference values"
UNDEFINED_SUM = "a term is not finite or beyond 2^96"


@dataclass(frozen=True)
class Values:
    """Values of n rows. Undefined is NaN with a reason; `bound` is 0 where exact and NaN where no bound is known.

    `low` and `high` are the confidence interval; `missing_low` and `missing_high` the least and greatest value there
    would be once every label that is missing were known, whatever they turn out to be (Manski 1989): the present value
    need not lie between them. NaN where there are none.
    """

    value: Floats
    reason: Objects
    low: Floats
    high: Floats
    bound: Floats
    missing_low: Floats
    missing_high: Floats

    @staticmethod
    def joined(parts: Sequence[Values]) -> Values:
        """The rows of several, one after the other."""
        names = ("value", "reason", "low", "high", "bound", "missing_low", "missing_high")
        return Values(*(np.concatenate([getattr(each, name) for each in parts]) for name in names))

    def within(self, low: Floats, high: Floats) -> Values:
        """With a confidence interval, widened to the value should rounding have moved an end past it."""
        return replace(self, low=np.minimum(low, self.value), high=np.maximum(high, self.value))

    def missing(self, low: Floats, high: Floats) -> Values:
        """With worst-case bounds over the missing labels; of two ends, one of them NaN, the other is both."""
        return replace(self, missing_low=np.fmin(low, high), missing_high=np.fmax(low, high))

    def clipped(self, least: float, most: float) -> Values:
        """Cut to what is possible: an interval may reach beyond, and rounding may carry anything there."""

        def cut(of: Floats) -> Floats:
            # Not np.clip: which of the two zeros it takes is the processor's choice.
            return np.where(of < least, least, np.where(of > most, most, of))

        value, low, high, missing_low, missing_high = map(
            cut, (self.value, self.low, self.high, self.missing_low, self.missing_high)
        )
        return replace(self, value=value, low=low, high=high, missing_low=missing_low, missing_high=missing_high)

    def of(self, function: Callable[[Floats], Floats]) -> Values:
        """An increasing function of an exact value, its interval and its worst-case bounds."""
        with np.errstate(invalid="ignore", divide="ignore"):
            value, low, high, missing_low, missing_high = map(
                function, (self.value, self.low, self.high, self.missing_low, self.missing_high)
            )
        return replace(self, value=value, low=low, high=high, missing_low=missing_low, missing_high=missing_high)


Value = Callable[[Merged], Values]
OnRows = Callable[..., float]
Range = tuple[float, float]
UNLIMITED: Range = (-math.inf, math.inf)
NOT_NEGATIVE: Range = (0.0, math.inf)
SHARE: Range = (0.0, 1.0)


@dataclass(frozen=True)
class _InRange:
    """A value cut to what is possible."""

    value: Value
    range: Range

    def __call__(self, s: Merged) -> Values:
        return self.value(s).clipped(*self.range)


@dataclass(frozen=True)
class Reference:
    """What each window is compared with: the one before it, a fixed stretch of time, or the rows of a Parquet file."""

    kind: Literal["previous", "window", "table"]
    interval: Interval | None = None
    path: str = ""


@dataclass(frozen=True)
class Formula:
    """The states by name, the value from them once merged, and `on_rows`: the same value from a window's plain pairs.

    `on_rows` gets a frame with columns label, prediction, decision, labelled, usable, delay (seconds), predicted_at,
    known_at, query and the declared columns, one row a prediction; its `attrs` hold the window's `end` and the length
    of a `tile` as pandas text. It returns NaN where undefined; `verify` and the laws hold the two to each other.
    `against`, as written in the config, says that the value compares the window with a reference, whose pairs
    `on_rows` gets as a second frame. `range` is the least and the greatest value possible; infinite where there is no
    limit. What `value` gives is cut to it.
    """

    states: Mapping[str, State]
    value: Value
    on_rows: OnRows
    against: Any = None
    range: Range = UNLIMITED

    def __post_init__(self) -> None:
        # One with another range, made by `replace`, has that range instead.
        value = self.value.value if isinstance(self.value, _InRange) else self.value
        object.__setattr__(self, "value", value if self.range == UNLIMITED else _InRange(value, self.range))


Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Entry:
    """A catalogue entry. `make` takes a config entry's parameters; `version` is raised when its meaning changes.

    `better` says which direction is good, where one is. `listed` names parameters whose value is a list; any other
    parameter given a list makes an SLI for each of its values.
    """

    name: str
    make: Callable[..., Formula]
    parameters: tuple[str, ...] = ()
    better: Better | None = None
    listed: tuple[str, ...] = ()
    version: int = 1


CATALOGUE: dict[tuple[str, str], Entry] = {}
"""By task and name."""


def entries(task: str) -> dict[str, Entry]:
    """The built-in SLIs of a task by name."""
    return {name: each for (of, name), each in CATALOGUE.items() if of == task}


def entry(
    name: str,
    *tasks: str,
    parameters: tuple[str, ...] = (),
    better: Better | None = None,
    listed: tuple[str, ...] = (),
    version: int = 1,
) -> Callable[[Callable[..., Formula]], Callable[..., Formula]]:
    """Register a built-in SLI for the tasks (none named: every task).

    A function `make` with arguments `classes` or `scores` is also given the config's classes and score columns.
    """

    def register(make: Callable[..., Formula]) -> Callable[..., Formula]:
        for task in tasks or TASKS:
            CATALOGUE[task, name] = Entry(name, make, parameters, better, listed, version)
        return make

    return register


_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Objective:
    """A target such as `>= 0.4` and its three verdicts."""

    text: str

    def __post_init__(self) -> None:
        self.parts  # noqa: B018 - a wrong objective fails where it is declared

    @property
    def parts(self) -> tuple[str, float]:
        for sign in (">=", "<=", ">", "<"):
            if self.text.strip().startswith(sign):
                try:
                    target = float(self.text.strip()[len(sign) :])
                except ValueError:
                    break
                if math.isfinite(target):
                    return sign, target
        raise ValueError(f"'{self.text}' is not an objective; write one such as '>= 0.4'")

    def verdicts(self, values: Values) -> Objects:
        """`met` if the value and the whole of its interval satisfy the objective, `breached` if neither does any of it,
        else `undecided`."""
        sign, target = self.parts
        holds = _COMPARE[sign]
        with np.errstate(invalid="ignore"):
            low = np.where(np.isnan(values.low), values.value, values.low)
            high = np.where(np.isnan(values.high), values.value, values.high)
            known = ~np.isnan(values.value)
            met = known & holds(low, target) & holds(high, target) & holds(values.value, target)
            breached = known & ~holds(low, target) & ~holds(high, target) & ~holds(values.value, target)
        verdict = np.full(len(known), "undecided", dtype=object)
        verdict[met], verdict[breached] = "met", "breached"
        return verdict


@dataclass(frozen=True)
class Sli:
    """One declared SLI: a series of the tables."""

    name: str
    formula: Formula
    declaration: Mapping[str, Any]
    objective: Objective | None = None
    reference: Reference | None = None
    better: Better | None = None

    @property
    def meaning(self) -> Mapping[str, Any]:
        """What the definition rests on, beside the config's own meaning."""
        return self.declaration

    def definition(self, base: str) -> str:
        """Content hash of the declaration and of what it rests on (`base`: the config's own meaning)."""
        content = json.dumps([base, dict(self.meaning)], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def count(where: str) -> State:
    """Number of pairs where the SQL condition is true."""
    return State("count", where=where)


def total(of: str, where: str = "true") -> State:
    """Exact sum of an SQL expression."""
    return State("sum", of=of, where=where)


def histogram(of: str, where: str = "true", spread: Spread = "real", mark: str = "") -> State:
    """Counts by value of an SQL expression, and of those where another holds."""
    return State("histogram", of=of, where=where, spread=spread, mark=mark)


def because(*cases: tuple[Flags, str]) -> Objects:
    """For each row the text of the first case that holds, or None."""
    reason = np.full(len(cases[0][0]), None, dtype=object)
    for holds, text in reversed(cases):
        reason[holds] = text
    return reason


def grouped(of: str, where: str = "true", amount: str = "") -> State:
    """Counts by an SQL expression's text, with the sum of another in each group."""
    return State("groups", of=of, where=where, amount=amount)


def plain(value: Floats, reason: Objects, bound: Floats | None = None) -> Values:
    """Values without an interval; NaN wherever there is a reason."""
    undefined = np.array([r is not None for r in reason], dtype=bool)
    none = np.full(len(value), np.nan)
    exact = np.zeros(len(value)) if bound is None else bound
    return Values(
        np.where(undefined, np.nan, value), reason, none, none, np.where(undefined, np.nan, exact), none, none
    )
