"""The value of a user's function from merged states: from all pairs of an hour or a day, else from a sample of them.

Each call has a cost that only the user's code knows, so calls are few: one for a value, and for an interval as many as
it needs, within a budget. Limit: an interval takes some hundred calls of the function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from sli.slis.catalogue.class_scores import NO_SCORES
from sli.slis.custom.function import Pairs, UserFunction, value_or_reason, without_warnings
from sli.slis.formula import NO_LABELS, NO_REFERENCE, Values
from sli.slis.kinds.samples import SAMPLE_ROWS, Samples
from sli.slis.maths.differences import DEFINED
from sli.slis.states import Flags, Integers, Merged, Objects

TAIL = 5
"""Resamples beyond either end of an interval, if the budget has them."""
FEWEST = 199
"""At least this many resamples an interval."""
BUDGET = 999
"""At most this many resamples an interval, each a call: with the value 1,000 calls a window and slice."""
DRAWN = 10
"""How many resamples are drawn at a time: the memory of a hundred would be new each time, which takes twice as long."""
UNSCORED = "sli:unscored"
"""State of a function that gets scores: how many usable pairs lack one."""


def sampled_values(function: UserFunction, s: Merged) -> Values:
    """The function's value for each row, with a bootstrap interval if the sample has not all pairs.

    An exception of the function becomes the reason.
    """
    rows = len(s.predictions)
    value, low, high, bound = (np.full(rows, np.nan) for _ in range(4))
    reason, to_call = _without_calls(s)
    if "window" in s.states:
        known = ~np.isnan(s["window"].value) & to_call
        value[known], bound[known] = s["window"].value[known], 0.0
        to_call &= ~known
    sides = [s] if s.reference is None else [s, s.reference]
    whole = np.logical_and.reduce([np.asarray(side["usable"]) <= SAMPLE_ROWS for side in sides])
    bound[to_call & whole] = 0.0
    if to_call.any():
        calls = _Calls(function, s.level, [side["sample"] for side in sides])
        with without_warnings():
            for i in np.flatnonzero(to_call).tolist():
                value[i], reason[i], low[i], high[i] = calls.row(i, bool(whole[i]))
    none = np.full(rows, np.nan)
    bound[np.isnan(value)] = np.nan
    return Values(value, reason, none, none, bound, none, none).within(low, high)


def _without_calls(s: Merged) -> tuple[Objects, Flags]:
    """The reasons of rows that have no value without a call, and for which of the other rows a call may be needed."""
    reason = np.full(len(s.predictions), None, dtype=object)
    empty = np.asarray(s["usable"]) == 0
    reason[empty] = NO_LABELS
    if UNSCORED in s.states:
        reason[empty & (np.asarray(s[UNSCORED]) > 0)] = NO_SCORES
    to_call = ~empty
    if s.reference is not None:
        reason[to_call & (np.asarray(s.reference["usable"]) == 0)] = NO_REFERENCE
        to_call &= np.asarray(s.reference["usable"]) > 0
    if "window" in s.states:
        failed = to_call & (s["window"].reason != None)  # noqa: E711 - of each element
        reason[failed] = s["window"].reason[failed]
        to_call &= ~failed
    return reason, to_call


class _Calls:
    """Calls of one function on the samples of a window and, if it has one, of its reference.

    Results are kept, since sliding windows of small slices often have the same pairs.
    """

    def __init__(self, function: UserFunction, level: float, sides: Sequence[Samples]) -> None:
        self.function, self.level, self.sides = function, level, sides
        self.values: dict[tuple[object, ...], tuple[float, str | None]] = {}
        self.intervals: dict[tuple[object, ...], tuple[float, float]] = {}

    def row(self, i: int, whole: bool) -> tuple[float, str | None, float, float]:
        """Value, reason and interval of a row; no interval if the samples have the `whole` windows."""
        pairs = [(sample.label[i], sample.prediction[i], sample.columns[i]) for sample in self.sides]
        content = (*(sample.keys[i].tobytes() for sample in self.sides), *map(_content, pairs))
        if content not in self.values:
            self.values[content] = _value_on(self.function, [_copied(side) for side in pairs])
        value, reason = self.values[content]
        if reason is not None or whole:
            return value, reason, math.nan, math.nan
        if content not in self.intervals:
            keys = np.concatenate([sample.keys[i] for sample in self.sides])
            self.intervals[content] = _bootstrap(self.function, pairs, keys, self.level)
        return value, reason, *self.intervals[content]


def resamples(level: float) -> int:
    """How many resamples an interval of this level takes; each is a call of the function.

    So many that TAIL of them lie beyond either end (Davison and Hinkley 1997, section 5.3), within the budget. The
    share of further resamples that the interval would miss is then right on average, with a standard deviation of a
    third of it: it is a beta variable with the parameters 2 * TAIL and the number of the other resamples plus 1 (Wilks
    1941).

    >>> [resamples(level) for level in (0.8, 0.95, 0.99, 0.999)]
    [199, 199, 999, 999]
    """
    return min(BUDGET, max(FEWEST, round(2 * TAIL / (1 - level)) - 1))


def _value_on(function: UserFunction, sides: Sequence[Pairs]) -> tuple[float, str | None]:
    return value_or_reason(function, *sides[0], sides[1] if len(sides) > 1 else None)


def _content(pairs: Pairs) -> tuple[object, ...]:
    """All that a function's value depends on."""
    label, prediction, columns = pairs
    return label.tobytes(), prediction.tobytes(), *map(tuple, columns.values())


def _copied(pairs: Pairs) -> Pairs:
    """The same for a function that may change them."""
    return pairs[0].copy(), pairs[1].copy(), pairs[2]


def _resampled(sides: Sequence[Pairs], random: np.random.Generator, times: int) -> Iterator[list[Pairs]]:
    """As many pairs of each side, drawn with replacement, so many `times`."""
    # Numbers drawn together are those drawn one after another, but two sides draw by turns.
    together = DRAWN if len(sides) == 1 else 1
    for first in range(0, times, together):
        drawn = [_drawn(pairs, random, min(together, times - first)) for pairs in sides]
        yield from map(list, zip(*drawn, strict=True))


def _drawn(pairs: Pairs, random: np.random.Generator, times: int) -> Iterator[Pairs]:
    label, prediction, columns = pairs
    at = random.integers(0, len(label), (times, len(label)))
    texts = {name: column[at] for name, column in columns.items()}
    for i, (labels, predictions) in enumerate(zip(label.take(at), prediction.take(at), strict=True)):
        yield labels, predictions, {name: column[i] for name, column in texts.items()}


def _bootstrap(function: UserFunction, sides: Sequence[Pairs], keys: Integers, level: float) -> tuple[float, float]:
    """Percentile interval (Efron 1979): the TAIL-th resample from either end.

    With B resamples the k-th smallest leaves k / (B + 1) below it, which B follows from (Davison and Hinkley 1997,
    section 5.3). There is none if not even one of B lies beyond either end, or if too few have a value; calls end as
    soon as that is certain. The keys of the pairs are the seed, so every run draws the same.
    """
    random, drawn = np.random.default_rng(keys.view(np.uint32)), resamples(level)
    beyond = (1 - level) / 2
    if beyond * (drawn + 1) < 1 - 1e-9:
        return math.nan, math.nan
    values: list[float] = []
    for done, resampled in enumerate(_resampled(sides, random, drawn), 1):
        value, reason = _value_on(function, resampled)
        if reason is None:
            values.append(value)
        if len(values) + drawn - done < DEFINED * drawn:
            return math.nan, math.nan
    low, high = np.quantile(values, [beyond, (1 + level) / 2], method="weibull")
    return float(low), float(high)
