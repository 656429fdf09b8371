"""SLIs that are a Python function of merged states: exact in every window, like the built-in ones.

Limit: the states are counts, sums, extremes, histograms and groups over pairs.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from sli.engine.sql import text_of
from sli.errors import ConfigError
from sli.slis.custom.sql import needs_labels, undefined
from sli.slis.formula import Formula, Values, count, plain
from sli.slis.kinds.extremes import MaxState, MinState
from sli.slis.kinds.groups import Groups, GroupsState
from sli.slis.kinds.histograms import Histograms, HistogramState
from sli.slis.kinds.sums import SumState
from sli.slis.states import Floats, Merged, Spread, State

T = TypeVar("T")

KEYS = ("name", "python", "against")


@dataclass(frozen=True)
class Mergeable:
    """States by name, and a function of the merged states, which returns an array, or `Values` with an interval."""

    states: Mapping[str, State]
    value: Callable[[Merged], npt.ArrayLike | Values]

    def __call__(self, s: Merged) -> npt.ArrayLike | Values:
        return self.value(s)


def mergeable(**states: State) -> Callable[[Callable[[Merged], npt.ArrayLike | Values]], Mergeable]:
    """Decorate a function of merged states, so that a config can name it as an SLI, exact in every window.

    Each keyword names a state: `count`, `total`, `smallest`, `largest`, `histogram` or `groups` of this module. The
    function gets them merged, as `s["name"]`, with an element for each of n windows and slices. It returns n numbers,
    or `Values`, which also have an interval.

    >>> from sli.mergeable import mergeable, total
    >>> @mergeable(wrong=total("fare", "label <> decision"), whole=total("fare", "usable"))
    ... def share_of_fares_wrong(s):
    ...     return s["wrong"] / s["whole"]
    >>> sorted(share_of_fares_wrong.states)
    ['whole', 'wrong']
    """
    return functools.partial(Mergeable, states)


def total(of: str, where: str = "true") -> State:
    """State: the exact sum of an SQL expression over the pairs where a condition holds; NaN without a term.

    >>> from sli.mergeable import total
    >>> total("fare", where="label <> decision").kind
    'sum'
    """
    return SumState(of=f"({of})::DOUBLE", where=where)


def smallest(of: str, where: str = "true") -> State:
    """State: the smallest value of an SQL expression over the pairs where a condition holds; NaN without a value.

    >>> from sli.mergeable import largest, mergeable, smallest
    >>> @mergeable(low=smallest("fare", "labelled"), high=largest("fare", "labelled"))
    ... def fare_range(s):
    ...     return s["high"] - s["low"]
    >>> fare_range.states["low"].kind
    'min'
    """
    return MinState(of=f"({of})::DOUBLE", where=where)


def largest(of: str, where: str = "true") -> State:
    """State: the largest value of an SQL expression over the pairs where a condition holds; NaN without a value.

    >>> from sli.mergeable import largest, mergeable
    >>> @mergeable(slowest=largest("delay"))
    ... def days_until_the_last_label(s):
    ...     return s["slowest"] / 86_400
    >>> one_window = Merged(np.array([3]), np.array([2]), {"slowest": np.array([172_800.0])}, np.array([0]))
    >>> days_until_the_last_label(one_window)
    array([2.])
    """
    return MaxState(of=f"({of})::DOUBLE", where=where)


def histogram(of: str, where: str = "true", spread: Spread = "real") -> State:
    """State: how often each value of an SQL expression occurs over the pairs where a condition holds: `Histograms`.

    Beyond 1024 values in a window they are rounded to 10 significant bits, with `spread="probability"` relative to both
    ends of 0..1.

    >>> from sli.mergeable import Histograms, Merged, histogram, mergeable
    >>> @mergeable(fares=histogram("fare"))
    ... def different_fares(s):
    ...     return np.diff(s["fares"].offsets)
    >>> keys, counts, marked = np.array([10.0, 30.0]), np.array([4, 1]), np.array([0, 0])
    >>> fares = Histograms(np.array([0, 2]), keys, counts, marked, exact=np.array([True]))
    >>> different_fares(Merged(np.array([5]), np.array([5]), {"fares": fares}, np.array([0])))
    array([2])
    """
    return HistogramState(of=f"({of})::DOUBLE", where=f"({where}) AND ({of}) IS NOT NULL", spread=spread)


def groups(of: str, where: str = "true", amount: str = "") -> State:
    """State: the number of pairs by text of an SQL expression, and the sum of `amount` for each text: `Groups`.

    >>> from sli.mergeable import Groups, Merged, groups, mergeable
    >>> @mergeable(regions=groups("region", amount="fare"))
    ... def mean_fare_in_the_north(s):
    ...     counts, sums = s["regions"].dense(["north"])
    ...     return sums[:, 0] / counts[:, 0]
    >>> regions = Groups(np.array([0, 2]), np.array(["north", "south"]), np.array([4, 1]), np.array([60.0, 9.0]))
    >>> mean_fare_in_the_north(Merged(np.array([5]), np.array([5]), {"regions": regions}, np.array([0])))
    array([15.])
    """
    where = f"({where}) AND ({of}) IS NOT NULL"
    return GroupsState(of=text_of(of), where=where, amount=f"({amount})::DOUBLE" if amount else "")


MAKERS: Mapping[str, Callable[..., State]] = {
    make.__name__: make for make in (count, groups, histogram, largest, smallest, total)
}
"""The functions of `sli.mergeable` that return states, by name."""


def from_mergeable(function: Mergeable, entry: Mapping[str, object]) -> Formula:
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
    for name, state in function.states.items():
        if not isinstance(state, State) or state.for_function or state.unit != "pair":
            raise ConfigError(
                f"a mergeable function cannot have the state '{name}' of '{call}'",
                expected="count, total, smallest, largest, histogram or groups of sli.mergeable",
                found=repr(state),
            )
    return Formula(
        dict(function.states),
        functools.partial(_value, function),
        entry.get("against"),
    )


def _value(function: Mergeable, s: Merged) -> Values:
    """The function's values. An exception becomes the reason, since one SLI must not end the run."""
    rows = len(s.predictions)
    try:
        with np.errstate(all="ignore"):
            result = function.value(_read_only(s))
    except Exception as error:
        if rows < 2:
            return _none(rows, error)
        # A row must not lose its value because the function fails on another.
        return Values.concatenated([_value(function, s.between(*half)) for half in ((0, rows // 2), (rows // 2, rows))])
    needs = needs_labels(function.states.values())
    try:
        return _checked(result, s, needs) if isinstance(result, Values) else _plain(result, s, needs)
    except Exception as error:
        return _none(rows, error)


def _none(rows: int, error: Exception) -> Values:
    return plain(np.full(rows, np.nan), np.full(rows, f"{type(error).__name__}: {error}"[:200], dtype=object))


def _plain(result: npt.ArrayLike, s: Merged, needs: bool) -> Values:
    numbers = _numbers(result, len(s.predictions))
    # With a rounded histogram the value is not exact, and only the function's author could bound the error.
    rounded = np.zeros(len(numbers), dtype=bool)
    for merged in (s, s.reference):
        for state in merged.states.values() if merged is not None else ():
            if isinstance(state, Histograms):
                rounded |= ~state.exact
    return plain(numbers, undefined(numbers, s, needs), np.where(rounded, np.nan, 0.0))


def _checked(result: Values, s: Merged, needs: bool) -> Values:
    """The function's `Values`, but NaN exactly where there is a reason, and nothing infinite."""
    rows = len(s.predictions)
    numbers = _numbers(result.value, rows)
    reasons = np.broadcast_to(np.asarray(result.reason, dtype=object), (rows,))
    has_reason = np.array([reason is not None for reason in reasons], dtype=bool)
    bound = _numbers(result.bound, rows)
    values = plain(numbers, np.where(has_reason, reasons, undefined(numbers, s, needs)), bound)

    def end(numbers: Floats) -> Floats:
        numbers = _numbers(numbers, rows)
        return np.where(np.isfinite(numbers), numbers, np.nan)

    # Missing labels may define a value that is undefined now. A confidence interval cannot.
    return values.within(end(result.low), end(result.high)).missing(end(result.missing_low), end(result.missing_high))


def _numbers(result: npt.ArrayLike, rows: int) -> Floats:
    numbers = np.ma.filled(np.ma.asarray(result, dtype=np.float64), np.nan)
    if numbers.shape not in ((), (rows,)):
        raise ValueError("the value is neither one number nor one a row")
    return np.array(np.broadcast_to(numbers, (rows,)))


def _read_only(s: Merged) -> Merged:
    """The same states, read-only for the function, since other SLIs may share them."""
    reference = None if s.reference is None else _read_only(s.reference)
    return dataclasses.replace(s.each(_read_only_state), reference=reference)


def _read_only_state(state: T) -> T:
    if isinstance(state, np.ndarray):
        view = state.view()
        view.flags.writeable = False
        return view
    if isinstance(state, Histograms | Groups):
        fields = {f.name: _read_only_state(getattr(state, f.name)) for f in dataclasses.fields(state)}
        return dataclasses.replace(state, **fields)
    return state
