"""The value of a user's function from merged states: from all pairs of an hour or a day, else from a sample of them.

Limit: an interval takes some hundred calls of the function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sli.slis.catalogue.class_scores import NO_SCORES
from sli.slis.custom.function import Pairs, UserFunction, value_or_reason, without_warnings
from sli.slis.formula import NO_LABELS, NO_REFERENCE, Values
from sli.slis.kinds.samples import SAMPLE_ROWS, Samples
from sli.slis.maths.differences import DEFINED
from sli.slis.states import Integers, Merged

TAIL = 5
"""Resamples beyond either end of an interval."""
UNSCORED = "sli:unscored"
"""State of a function that gets scores: how many usable pairs lack one."""


class _Row(NamedTuple):
    """A function's value for one window and slice. `bound` is NaN if the sample has not all pairs."""

    value: float = math.nan
    reason: str | None = None
    low: float = math.nan
    high: float = math.nan
    bound: float = math.nan


class _Evaluation:
    """Calls of one function. Results are kept, since sliding windows of small slices often have the same pairs."""

    def __init__(self, function: UserFunction, level: float) -> None:
        self.function, self.level = function, level
        self.values: dict[tuple[object, ...], tuple[float, str | None]] = {}
        self.intervals: dict[tuple[object, ...], tuple[float, float]] = {}

    def row(self, s: Merged, i: int) -> _Row:
        """One row. An exception of the function becomes the reason."""
        if s["usable"][i] == 0:
            return _Row(reason=NO_SCORES if UNSCORED in s.states and s[UNSCORED][i] > 0 else NO_LABELS)
        if s.reference is not None and s.reference["usable"][i] == 0:
            return _Row(reason=NO_REFERENCE)
        if "window" in s.states:
            value, reason = s["window"].value[i], s["window"].reason[i]
            if reason is not None:
                return _Row(reason=reason)
            if not math.isnan(value):
                return _Row(value, bound=0.0)
        sides = (s,) if s.reference is None else (s, s.reference)
        whole = all(side["usable"][i] <= SAMPLE_ROWS for side in sides)
        samples: list[Samples] = [side["sample"] for side in sides]
        pairs = [(sample.label[i], sample.prediction[i], sample.columns[i]) for sample in samples]
        return self._sampled(pairs, np.concatenate([np.asarray(sample.keys[i]) for sample in samples]), whole)

    def _sampled(self, sides: Sequence[Pairs], keys: Integers, whole: bool) -> _Row:
        """The value on the pairs of a window and, if it has one, of its reference; `keys` are those of all pairs."""
        content = (keys.tobytes(), *map(_content, sides))
        if content not in self.values:
            self.values[content] = _value_on(self.function, sides)
        value, reason = self.values[content]
        if reason is not None:
            return _Row(reason=reason)
        if whole:
            return _Row(value, bound=0.0)
        if content not in self.intervals:
            self.intervals[content] = _bootstrap(self.function, sides, keys, self.level)
        low, high = self.intervals[content]
        return _Row(value, low=low, high=high)


def sampled_values(function: UserFunction, s: Merged) -> Values:
    """The function's value for each row, with a bootstrap interval if the sample has not all pairs."""
    rows = len(s.predictions)
    value, low, high, bound = (np.full(rows, np.nan) for _ in range(4))
    reason = np.full(rows, None, dtype=object)
    evaluation = _Evaluation(function, s.level)
    with without_warnings():
        for i in range(rows):
            value[i], reason[i], low[i], high[i], bound[i] = evaluation.row(s, i)
    none = np.full(rows, np.nan)
    return Values(value, reason, none, none, bound, none, none).within(low, high)


def resamples(level: float) -> int:
    """How many resamples an interval of this level takes; each is a call of the function."""
    return max(199, round(2 * TAIL / (1 - level)) - 1)


def _value_on(function: UserFunction, sides: Sequence[Pairs]) -> tuple[float, str | None]:
    return value_or_reason(function, *sides[0], sides[1] if len(sides) > 1 else None)


def _content(pairs: Pairs) -> tuple[object, ...]:
    """All that a function's value depends on."""
    label, prediction, columns = pairs
    return label.tobytes(), prediction.tobytes(), *map(tuple, columns.values())


def _resampled(pairs: Pairs, random: np.random.Generator) -> Pairs:
    """As many of the pairs, drawn with replacement."""
    label, prediction, columns = pairs
    at = random.integers(0, len(label), len(label))
    return label[at], prediction[at], {name: texts[at] for name, texts in columns.items()}


def _bootstrap(function: UserFunction, sides: Sequence[Pairs], keys: Integers, level: float) -> tuple[float, float]:
    """Percentile interval (Efron 1979): the TAIL-th resample from either end.

    With B resamples the k-th smallest leaves k / (B + 1) below it, which B follows from (Davison and Hinkley 1997,
    section 5.3). The keys of the pairs are the seed, so every run draws the same.
    """
    random = np.random.default_rng(keys.view(np.uint32))
    drawn = resamples(level)
    values = [_value_on(function, [_resampled(pairs, random) for pairs in sides])[0] for _ in range(drawn)]
    defined = np.array([value for value in values if not math.isnan(value)])
    if len(defined) < DEFINED * drawn:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2], method="weibull")
    return float(low), float(high)
