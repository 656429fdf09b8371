"""What an SLI is: states, and a value computed from the merged states.

The catalogue maps a task and a name to an `Entry`; an entry and the parameters of a config entry make an `Sli`. Limit:
an SLI sees one window and slice, and at most one other window of that slice: its reference.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Literal

import numpy as np

from sli.calendar.interval import Interval
from sli.slis.kinds.counts import CountState
from sli.slis.kinds.groups import GroupsState
from sli.slis.kinds.histograms import HistogramState
from sli.slis.kinds.sums import SumState
from sli.slis.states import Flags, Floats, Integers, Merged, Objects, Spread, State

TASKS = ("binary", "multiclass", "regression", "ranking")
PAIR_COLUMNS = ("label", "prediction", "decision", "labelled", "usable", "delay", "predicted_at", "known_at", "query")
"""The columns of a pair that are not columns of the predictions log."""
NO_LABELS = "no labelled predictions"
NO_VALUES = "no values"
NO_REFERENCE = "no reference values"
UNDEFINED_SUM = "a term is not finite or beyond 2^96"


@dataclass(frozen=True)
class Values:
    """The values of n rows, each field an array of n elements. An undefined value is NaN and has a reason.

    `low` and `high` are the confidence interval. `bound` is how far it may lie from the value of the plain rows: 0 if
    it is exact, NaN if no bound is known. `missing_low` and `missing_high` are the least and the greatest value that is
    possible once every missing label is known (Manski 1989); the present value may lie outside them. NaN: there is no
    interval, or there are no such bounds.

    >>> values = plain(np.array([0.8, np.nan]), np.array([None, "no labelled predictions"]))
    >>> values.within(np.array([0.7, np.nan]), np.array([0.9, np.nan])).high
    array([0.9, nan])
    """

    value: Floats
    reason: Objects
    low: Floats
    high: Floats
    bound: Floats
    missing_low: Floats
    missing_high: Floats

    @staticmethod
    def concatenated(parts: Sequence[Values]) -> Values:
        """The rows of all parts, in their order."""
        return Values(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Values)))

    def take(self, rows: Integers) -> Values:
        """These rows in this order."""
        return Values(*(getattr(self, field.name)[rows] for field in fields(Values)))

    def within(self, low: Floats, high: Floats) -> Values:
        """The same values with a confidence interval, widened to the value if rounding moved an end past it."""
        return replace(self, low=np.minimum(low, self.value), high=np.maximum(high, self.value))

    def missing(self, low: Floats, high: Floats) -> Values:
        """The same values with worst-case bounds over the missing labels. An end that is NaN becomes the other end."""
        return replace(self, missing_low=np.fmin(low, high), missing_high=np.fmax(low, high))

    def clipped(self, least: float, most: float) -> Values:
        """The same values cut to a range: an interval may reach beyond it, and rounding may carry a value beyond it."""

        def clip(numbers: Floats) -> Floats:
            # Not np.clip: which of the two zeros it returns depends on the processor.
            return np.where(numbers < least, least, np.where(numbers > most, most, numbers))

        return self.map(clip)

    def map(self, function: Callable[[Floats], Floats]) -> Values:
        """An increasing function of the values, their intervals and their worst-case bounds, which must be exact."""
        return replace(
            self,
            value=function(self.value),
            low=function(self.low),
            high=function(self.high),
            missing_low=function(self.missing_low),
            missing_high=function(self.missing_high),
        )


Value = Callable[[Merged], Values]
Range = tuple[float, float]
UNLIMITED: Range = (-math.inf, math.inf)
NOT_NEGATIVE: Range = (0.0, math.inf)
SHARE: Range = (0.0, 1.0)


@dataclass(frozen=True)
class _InRange:
    """A function of merged states without the warnings of undefined numbers; its values are cut to a range."""

    value: Value
    range: Range

    def __call__(self, s: Merged) -> Values:
        # An SLI divides by counts that may be 0, and says in `because` where that leaves no value.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            values = self.value(s)
        return values if self.range == UNLIMITED else values.clipped(*self.range)


@dataclass(frozen=True)
class Reference:
    """What a window is compared with: the previous window, a fixed interval of time, or the rows of a Parquet file."""

    kind: Literal["previous", "window", "table"]
    interval: Interval | None = None
    path: str = ""


@dataclass(frozen=True)
class Formula:
    """How an SLI is computed: its states by name, and `value`, a function of the merged states.

    `against` is the config's key `against` if the SLI compares the window with a reference: `value` then finds the
    states of the reference in `s.reference`. `range` is the least and the greatest possible value; values are cut to
    it.
    """

    states: Mapping[str, State]
    value: Value
    against: object = None
    range: Range = UNLIMITED

    def __post_init__(self) -> None:
        # `replace(formula, range=...)` must cut to the new range, not to both.
        value = self.value.value if isinstance(self.value, _InRange) else self.value
        object.__setattr__(self, "value", _InRange(value, self.range))

    @property
    def calls_function(self) -> bool:
        """Whether its values are calls of a Python function on pairs."""
        return any(state.for_function for state in self.states.values())


Better = Literal["higher", "lower"]
Unit = Literal["", "s"]
"""The unit of the values of an SLI: seconds, or nothing that is known."""


@dataclass(frozen=True)
class Entry:
    """An entry of the catalogue: `make` gives the formula for the `parameters` of a config entry.

    Its other arguments are those in INJECTED. `better` is the direction that is good, if one is; `unit` is that of the
    values. `listed` names the parameters whose value is a list; a list for any other parameter makes one SLI for each
    of its values. Raise `version` when the meaning of the SLI changes.
    """

    name: str
    make: Callable[..., Formula]
    _: KW_ONLY
    better: Better | None = None
    unit: Unit = ""
    listed: tuple[str, ...] = ()
    version: int = 1

    @functools.cached_property
    def arguments(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of `make`."""
        return inspect.signature(self.make).parameters

    @property
    def parameters(self) -> tuple[str, ...]:
        """The keys that a config entry may have."""
        return tuple(name for name in self.arguments if name not in INJECTED)


INJECTED = ("classes", "scores")
"""Arguments that the config gives: its classes and its columns of scores."""
CATALOGUE: dict[tuple[str, str], Entry] = {}
"""By task and name."""


def entries(task: str) -> dict[str, Entry]:
    """The built-in SLIs of a task by name."""
    return {name: entry for (of_task, name), entry in CATALOGUE.items() if of_task == task}


def entry(
    name: str,
    *tasks: str,
    better: Better | None = None,
    unit: Unit = "",
    listed: tuple[str, ...] = (),
    version: int = 1,
) -> Callable[[Callable[..., Formula]], Callable[..., Formula]]:
    """Register a built-in SLI for the given tasks, or for every task: the decorated function is `make` of `Entry`."""

    def register(make: Callable[..., Formula]) -> Callable[..., Formula]:
        for task in tasks or TASKS:
            CATALOGUE[task, name] = Entry(name, make, better=better, unit=unit, listed=listed, version=version)
        return make

    return register


_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Objective:
    """A target, for example `>= 0.4`, and the verdicts on values: met, breached or undecided.

    >>> Objective(">= 0.4").verdicts(plain(np.array([0.5, 0.3, np.nan]), np.array([None, None, "no values"])))
    array(['met', 'breached', 'undecided'], dtype=object)
    """

    text: str

    def __post_init__(self) -> None:
        self.parts  # noqa: B018 - a wrong objective must fail where it is declared

    @property
    def parts(self) -> tuple[str, float]:
        """The comparison and the target: (">=", 0.4). Raises ValueError if the text is not an objective."""
        for sign in (">=", "<=", ">", "<"):
            if self.text.strip().startswith(sign):
                try:
                    target = float(self.text.strip()[len(sign) :])
                except ValueError:
                    break
                if math.isfinite(target):
                    return sign, target
        raise ValueError(f"'{self.text}' is not an objective; write for example '>= 0.4'")

    def verdicts(self, values: Values) -> Objects:
        """For each row: `met` if the value and its whole interval satisfy the objective, `breached` if the value and no
        part of its interval do, else `undecided`."""
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
    """One SLI that a config declares: one series of the tables."""

    name: str
    formula: Formula
    declaration: Mapping[str, object]
    _: KW_ONLY
    objective: Objective | None = None
    reference: Reference | None = None
    better: Better | None = None
    unit: Unit = ""

    @property
    def direction(self) -> Better | None:
        """The direction that is better, by the objective or else by the SLI; None: nothing says it."""
        if self.objective is not None:
            return "higher" if self.objective.parts[0].startswith(">") else "lower"
        return self.better

    @property
    def meaning(self) -> Mapping[str, object]:
        """What the definition depends on, besides keys of the config that all SLIs depend on."""
        return self.declaration

    def definition(self, base: str) -> str:
        """Content hash of `meaning` and of `base`: the keys of the config that all SLIs depend on."""
        content = json.dumps([base, dict(self.meaning)], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def count(where: str) -> State:
    """State: the number of pairs where the SQL condition holds.

    >>> count("usable AND label").where
    'usable AND label'
    """
    return CountState(where=where)


def total(of: str, where: str = "true") -> State:
    """State: the exact sum of the SQL expression `of` over the pairs where `where` holds."""
    return SumState(of=of, where=where)


def histogram(of: str, where: str = "true", spread: Spread = "real", mark: str = "") -> State:
    """State: the number of pairs by value of the SQL expression `of`, and of those where the condition `mark` holds."""
    return HistogramState(of=of, where=where, spread=spread, mark=mark)


def groups(of: str, where: str = "true", amount: str = "") -> State:
    """State: the number of pairs by text of the SQL expression `of`, and the sum of `amount` for each text."""
    return GroupsState(of=of, where=where, amount=amount)


def because(*cases: tuple[Flags, str]) -> Objects:
    """For each row the text of the first case whose flag is true, or None: the reasons of `Values`.

    >>> n, positives = np.array([0, 5, 5]), np.array([0, 0, 2])
    >>> because((n == 0, "no labelled predictions"), (positives == 0, "no positive labels")).tolist()
    ['no labelled predictions', 'no positive labels', None]
    """
    reasons = np.full(len(cases[0][0]), None, dtype=object)
    for flags, text in reversed(cases):
        reasons[flags] = text
    return reasons


def plain(value: Floats, reason: Objects | None = None, bound: Floats | None = None) -> Values:
    """Values without an interval: NaN where there is a reason, exact if no `bound` is given.

    Without `reason` every row has a value.

    >>> reasons = because((np.array([False, True]), "no values"))
    >>> plain(np.array([3.0, 0.0]), reasons).value
    array([ 3., nan])
    """
    nothing = np.full(len(value), np.nan)
    reason = np.full(len(value), None, dtype=object) if reason is None else reason
    undefined = np.array([text is not None for text in reason], dtype=bool)
    exact = np.zeros(len(value)) if bound is None else bound
    return Values(
        np.where(undefined, np.nan, value),
        reason,
        nothing,
        nothing,
        np.where(undefined, np.nan, exact),
        nothing,
        nothing,
    )
