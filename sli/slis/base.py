"""What an SLI is: states, a value from merged states, an interval, and the same meaning on plain rows.

The catalogue maps a name to an `Entry`; a config entry plus its parameters makes an `Sli`. Limit: an SLI sees one
window and one slice at a time, never its neighbours.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sli.slis.states import Flags, Floats, Merged, State

Objects = npt.NDArray[np.object_]
Z95 = 1.959963984540054
NO_LABELS = "no labelled predictions"
NO_VALUES = "no values"


@dataclass(frozen=True)
class Values:
    """Values of n rows. Undefined is NaN with a reason; `bound` is 0 where exact and NaN where no bound is known."""

    value: Floats
    reason: Objects
    low: Floats
    high: Floats
    bound: Floats


Value = Callable[[Merged], Values]
OnRows = Callable[[pd.DataFrame], float]


@dataclass(frozen=True)
class Formula:
    """The states by name, the value from them once merged, and `on_rows`: the same value from a window's plain pairs.

    `on_rows` gets a frame with columns label, prediction, decision, labelled, usable, delay (seconds) and the declared
    columns, one row a prediction, and returns NaN where undefined; `verify` and the laws hold the two to each other.
    """

    states: Mapping[str, State]
    value: Value
    on_rows: OnRows


@dataclass(frozen=True)
class Entry:
    """A catalogue entry. `make` takes a config entry's parameters; `version` is raised when its meaning changes."""

    name: str
    tasks: tuple[str, ...]
    make: Callable[..., Formula]
    parameters: tuple[str, ...] = ()
    version: int = 1


CATALOGUE: dict[str, Entry] = {}


def entry(
    name: str, *tasks: str, parameters: tuple[str, ...] = ()
) -> Callable[[Callable[..., Formula]], Callable[..., Formula]]:
    """Register a built-in SLI for the tasks (none named: every task)."""

    def register(make: Callable[..., Formula]) -> Callable[..., Formula]:
        CATALOGUE[name] = Entry(name, tasks or ("binary", "regression"), make, parameters)
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
                    return sign, float(self.text.strip()[len(sign) :])
                except ValueError:
                    break
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

    def definition(self, base: str) -> str:
        """Content hash of the declaration and of what it rests on (`base`: the config's own meaning)."""
        content = json.dumps([base, dict(self.declaration)], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def count(where: str) -> State:
    """Number of pairs where the SQL condition is true."""
    return State("count", where=where)


def total(of: str, where: str = "true") -> State:
    """Exact sum of an SQL expression."""
    return State("sum", of=of, where=where)


def histogram(of: str, where: str = "true", spread: str = "real") -> State:
    """Counts by value of an SQL expression."""
    return State("histogram", of=of, where=where, spread="probability" if spread == "probability" else "real")


def because(*cases: tuple[Flags, str]) -> Objects:
    """For each row the text of the first case that holds, or None."""
    reason = np.full(len(cases[0][0]), None, dtype=object)
    for holds, text in reversed(cases):
        reason[holds] = text
    return reason


def plain(value: Floats, reason: Objects, bound: Floats | None = None) -> Values:
    """Values without an interval; NaN wherever there is a reason."""
    undefined = np.array([r is not None for r in reason], dtype=bool)
    none = np.full(len(value), np.nan)
    exact = np.zeros(len(value)) if bound is None else bound
    return Values(np.where(undefined, np.nan, value), reason, none, none, np.where(undefined, np.nan, exact))


def proportion(part: Any, whole: Any, *cases: tuple[Flags, str]) -> Values:
    """part / whole with Wilson's score interval at 95 % (Wilson 1927); undefined for the reasons in `cases`."""
    part, whole = part.astype(np.float64), whole.astype(np.float64)
    reason = because(*cases)
    undefined = np.array([r is not None for r in reason], dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = part / whole
        middle = (share + Z95**2 / (2 * whole)) / (1 + Z95**2 / whole)
        half = Z95 / (1 + Z95**2 / whole) * np.sqrt(share * (1 - share) / whole + Z95**2 / (4 * whole**2))
    # At 0 and 1 the interval ends there exactly; rounding must not move the end past the value.
    low = np.where(part == 0, 0.0, np.minimum(middle - half, share))
    high = np.where(part == whole, 1.0, np.maximum(middle + half, share))
    known = plain(share, reason)
    return Values(known.value, reason, np.where(undefined, np.nan, low), np.where(undefined, np.nan, high), known.bound)


def mean_of(sums: Any, number: Any, missing: str) -> Values:
    """sum / number; undefined without rows or where the sum is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = sums / number
    return plain(value, because((number == 0, missing), *_overflow(value, number)))


def _overflow(value: Floats, number: Any) -> list[tuple[Flags, str]]:
    return [(np.isnan(value) & (number > 0), UNDEFINED_SUM)]


UNDEFINED_SUM = "a term is not finite or beyond 2^96"
