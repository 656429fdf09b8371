"""SLIs that are a Python function of merged states: exact in every window, as the built-in ones are.

Limit: the states are counts, sums, extremes, histograms and groups over pairs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.engine.sql import text_of
from sli.errors import ConfigError
from sli.slis.custom.sql import needs_labels, over, undefined
from sli.slis.formula import Formula, Values, plain
from sli.slis.states import LIMIT, Floats, Groups, Histograms, Merged, Spread, State

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("count", "sum", "min", "max", "histogram", "groups")
KEYS = ("name", "python", "against")


@dataclass(frozen=True)
class Mergeable:
    """States by name, and the value from them once merged: an array, or `Values` with an interval."""

    states: Mapping[str, State]
    value: Callable[[Merged], Any]

    def __call__(self, s: Merged) -> Any:
        return self.value(s)


def mergeable(**states: State) -> Callable[[Callable[[Merged], Any]], Mergeable]:
    """Make an SLI of a function of merged states."""
    return functools.partial(Mergeable, states)


def total(of: str, where: str = "true") -> State:
    """Exact sum of an SQL expression; NaN without a term."""
    return State("sum", of=f"({of})::DOUBLE", where=where)


def smallest(of: str, where: str = "true") -> State:
    """Least value of an SQL expression; NaN without one."""
    return State("min", of=f"({of})::DOUBLE", where=where)


def largest(of: str, where: str = "true") -> State:
    """Greatest value of an SQL expression; NaN without one."""
    return State("max", of=f"({of})::DOUBLE", where=where)


def histogram(of: str, where: str = "true", spread: Spread = "real") -> State:
    """Counts by value of an SQL expression."""
    return State("histogram", of=f"({of})::DOUBLE", where=f"({where}) AND ({of}) IS NOT NULL", spread=spread)


def groups(of: str, where: str = "true", amount: str = "") -> State:
    """Counts by the text of an SQL expression, with the sum of another in each group."""
    where = f"({where}) AND ({of}) IS NOT NULL"
    return State("groups", of=text_of(of), where=where, amount=f"({amount})::DOUBLE" if amount else "")


def is_mergeable(found: Any) -> bool:
    """Whether what a config names is made by `mergeable`."""
    return isinstance(found, Mergeable)


def from_mergeable(found: Mergeable, entry: Mapping[str, Any]) -> Formula:
    """The SLI of a config entry. Raises ConfigError."""
    call = entry["python"]
    for key in entry:
        if key not in KEYS:
            raise ConfigError(
                f"'{call}' is mergeable and takes no '{key}'",
                where=str(key),
                expected=f"one of {', '.join(KEYS)}",
                todo="its states name the columns they need",
            )
    for name, state in found.states.items():
        if not isinstance(state, State) or state.kind not in KINDS or state.unit != "pair":
            raise ConfigError(
                f"state '{name}' of '{call}' is none that a mergeable function can have",
                expected="count, total, smallest, largest, histogram or groups of sli.mergeable",
                found=repr(state),
            )
    return Formula(
        dict(found.states), functools.partial(_value, found), functools.partial(_on_rows, found), entry.get("against")
    )


def _value(found: Mergeable, s: Merged) -> Values:
    """The function's values; its mistakes are reasons, since one SLI must not end the run."""
    rows = len(s.predictions)
    try:
        with np.errstate(all="ignore"):
            given = found.value(_sealed(s))
    except Exception as error:
        if rows < 2:
            return _none(rows, error)
        # A row must not lose its value because of those it stands beside.
        return Values.concatenated([_value(found, s.between(*half)) for half in ((0, rows // 2), (rows // 2, rows))])
    needs = needs_labels(found.states.values())
    try:
        return _finished(given, s, needs) if isinstance(given, Values) else _plain(given, s, needs)
    except Exception as error:
        return _none(rows, error)


def _none(rows: int, error: Exception) -> Values:
    return plain(np.full(rows, np.nan), np.full(rows, f"{type(error).__name__}: {error}"[:200], dtype=object))


def _plain(given: Any, s: Merged, needs: bool) -> Values:
    numbers = _numbers(given, len(s.predictions))
    # A rounded histogram makes a value that is near the true one, by how much only its author could tell.
    rounded = np.zeros(len(numbers), dtype=bool)
    for each in (s, s.reference):
        for state in each.states.values() if each is not None else ():
            if isinstance(state, Histograms):
                rounded |= ~state.exact
    return plain(numbers, undefined(numbers, s, needs), np.where(rounded, np.nan, 0.0))


def _finished(given: Values, s: Merged, needs: bool) -> Values:
    """The author's `Values` with the law kept: NaN exactly where there is a reason, nothing infinite."""
    rows = len(s.predictions)
    numbers = _numbers(given.value, rows)
    why = np.broadcast_to(np.asarray(given.reason, dtype=object), (rows,))
    told = np.array([each is not None for each in why], dtype=bool)
    made = plain(numbers, np.where(told, why, undefined(numbers, s, needs)), _numbers(given.bound, rows))

    def end(of: Any) -> Floats:
        found = _numbers(of, rows)
        return np.where(np.isfinite(found), found, np.nan)

    # Labels still missing may define a value that is undefined now; chance has no say in it.
    return made.within(end(given.low), end(given.high)).missing(end(given.missing_low), end(given.missing_high))


def _numbers(given: Any, rows: int) -> Floats:
    found = np.ma.filled(np.ma.asarray(given, dtype=np.float64), np.nan)
    if found.shape not in ((), (rows,)):
        raise ValueError("the value is neither one number nor one a row")
    return np.array(np.broadcast_to(found, (rows,)))


def _sealed(s: Merged) -> Merged:
    """The same states, which a function cannot change: other SLIs may share them."""

    def sealed(of: Any) -> Any:
        if isinstance(of, np.ndarray):
            view = of.view()
            view.flags.writeable = False
            return view
        if isinstance(of, Histograms | Groups):
            return dataclasses.replace(of, **{f.name: sealed(getattr(of, f.name)) for f in dataclasses.fields(of)})
        return of

    return dataclasses.replace(
        s,
        predictions=sealed(s.predictions),
        labelled=sealed(s.labelled),
        ends=sealed(s.ends),
        states={name: sealed(of) for name, of in s.states.items()},
        reference=None if s.reference is None else _sealed(s.reference),
    )


def _on_rows(found: Mergeable, pairs: pd.DataFrame, reference: pd.DataFrame | None = None) -> float:
    merged = _merged(found.states, pairs)
    if reference is not None:
        merged = dataclasses.replace(merged, reference=_merged(found.states, reference))
    return float(_value(found, merged).value[0])


def _merged(states: Mapping[str, State], pairs: pd.DataFrame) -> Merged:
    """The states of plain rows, as one window of one slice."""
    end = pairs.attrs.get("end")
    with over(pairs) as con:
        made = {name: _state(con, state) for name, state in states.items()}
    ends = np.array([0 if end is None else end.as_unit("us").value])
    return Merged(np.array([len(pairs)]), np.array([int(pairs.labelled.sum())]), made, ends)


def _state(con: Any, state: State) -> Any:
    if state.kind == "count":
        found = con.execute(f"SELECT count(*) FROM pairs WHERE {state.where}").fetchall()
        return np.array([found[0][0]])
    if state.kind == "groups":
        return _groups(con, state)
    rows = con.execute(f"SELECT ({state.of})::DOUBLE AS x FROM pairs WHERE ({state.where})").fetchnumpy()["x"]
    terms: Floats = np.ma.compressed(np.ma.asarray(rows, dtype=np.float64))
    if state.kind == "histogram":
        keys, counts = np.unique(terms, return_counts=True)
        exact = np.ones(1, dtype=bool)
        return Histograms(np.array([0, len(keys)]), keys, counts, np.zeros_like(counts), exact, state.spread)
    if state.kind == "sum":
        return np.array([_sum(terms)])
    if len(terms) == 0:
        return np.array([np.nan])
    return np.array([terms.min() if state.kind == "min" else terms.max()])


def _groups(con: Any, state: State) -> Groups:
    rows = con.execute(
        f"SELECT ({state.of})::VARCHAR AS key, ({state.amount or '0'})::DOUBLE AS amount "
        f"FROM pairs WHERE ({state.where}) AND ({state.of}) IS NOT NULL"
    ).fetchall()
    amounts: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for key, amount in rows:
        counts[key] = counts.get(key, 0) + 1
        amounts.setdefault(key, []).extend([] if amount is None else [amount])
    keys = sorted(counts)
    return Groups(
        np.array([0, len(keys)]),
        np.array(keys, dtype=object),
        np.array([counts[key] for key in keys], dtype=np.int64),
        np.array([_sum(np.array(amounts[key]), 0.0) for key in keys]),
    )


def _sum(terms: Floats, empty: float = math.nan) -> float:
    """The sum, NaN where a term does not fit."""
    if len(terms) == 0:
        return empty
    return math.fsum(terms) if np.all(np.abs(terms) < LIMIT) else math.nan
