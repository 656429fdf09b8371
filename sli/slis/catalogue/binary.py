"""SLIs of the decisions of a binary task: `score >= threshold`, with the threshold of the config or of the SLI.

All but `prediction_rate` use the usable pairs: those with a label and a score. Definitions follow Fawcett
(2006), "An introduction to ROC analysis", unless an entry names another source. Limit: one threshold; thresholds
chosen from the labels are in `scores`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from sli.slis.catalogue.parameters import number_in
from sli.slis.catalogue.scores import NO_POSITIVES, ONE_CLASS
from sli.slis.formula import (
    NO_LABELS,
    NO_VALUES,
    NOT_NEGATIVE,
    SHARE,
    Better,
    Formula,
    Range,
    Values,
    because,
    count,
    entry,
    plain,
)
from sli.slis.maths.confidence import of_counts, proportion, wilson
from sli.slis.states import Floats, Merged, State

NO_NEGATIVES = "no negative labels"
NO_POSITIVE_DECISIONS = "no positive decisions"
NO_NEGATIVE_DECISIONS = "no negative decisions"


class Cells(NamedTuple):
    """Numbers of usable pairs by label and decision: of n rows, as doubles."""

    tp: Floats
    fp: Floats
    tn: Floats
    fn: Floats

    @property
    def all(self) -> Floats:
        return self.tp + self.fp + self.tn + self.fn

    @property
    def positive(self) -> Floats:
        return self.tp + self.fn

    @property
    def negative(self) -> Floats:
        return self.tn + self.fp


OfCells = Callable[[Cells], Floats]


def states(threshold: float | None) -> dict[str, State]:
    """The same six counts for every SLI at a threshold, so that they are stored once."""
    decided = "decision"
    if threshold is not None:
        decided = f"(prediction >= {number_in('threshold', threshold, 0, 1)!r}::DOUBLE)"
    return {
        "tp": count(f"usable AND label AND {decided}"),
        "fp": count(f"usable AND NOT label AND {decided}"),
        "tn": count(f"usable AND NOT label AND NOT {decided}"),
        "fn": count(f"usable AND label AND NOT {decided}"),
        "open_positive": count(f"NOT labelled AND {decided}"),
        "open_negative": count(f"NOT labelled AND NOT {decided}"),
    }


def cells(s: Merged) -> Cells:
    return Cells(*(s[name].astype(np.float64) for name in Cells._fields))


def completions(s: Merged) -> Iterator[Cells]:
    """The counts with all labels known: of the missing ones on each side none, one, all but one or all are positive."""
    c, up, down = cells(s), s["open_positive"], s["open_negative"]
    for p in (0, np.minimum(1, up), np.maximum(up - 1, 0), up):
        for n in (0, np.minimum(1, down), np.maximum(down - 1, 0), down):
            yield Cells(c.tp + p, c.fp + up - p, c.tn + down - n, c.fn + n)


def with_worst_case(values: Values, s: Merged, function: OfCells) -> Values:
    """The values with their worst-case bounds over the missing labels; `function` computes them from the counts.

    The function must rise or fall throughout with the positives on each side of the threshold. Then both bounds lie
    where all or none of a side are positive or, if all labels would then be of one class and the function undefined,
    next to it. Without any pair there are no bounds.
    """
    ends = [np.where(c.all == 0, np.nan, function(c)) for c in completions(s)]
    return values.missing(np.fmin.reduce(ends), np.fmax.reduce(ends))


def _of_cells(
    threshold: float | None,
    value: Callable[[Merged, Cells], Values],
    range: Range = SHARE,
) -> Formula:
    """A formula of the counts by label and decision."""

    return Formula(states(threshold), lambda s: value(s, cells(s)), range=range)


class Rate(NamedTuple):
    """A share: part / whole of the counts; `undefined` is the reason if the whole is 0."""

    part: OfCells
    whole: OfCells
    better: Better = "higher"
    undefined: str = NO_LABELS


RATES = {
    "accuracy": Rate(lambda c: c.tp + c.tn, lambda c: c.all),
    "precision": Rate(lambda c: c.tp, lambda c: c.tp + c.fp, undefined=NO_POSITIVE_DECISIONS),
    "recall": Rate(lambda c: c.tp, lambda c: c.positive, undefined=NO_POSITIVES),
    "specificity": Rate(lambda c: c.tn, lambda c: c.negative, undefined=NO_NEGATIVES),
    "false_positive_rate": Rate(lambda c: c.fp, lambda c: c.negative, "lower", NO_NEGATIVES),
    "false_negative_rate": Rate(lambda c: c.fn, lambda c: c.positive, "lower", NO_POSITIVES),
    "negative_predictive_value": Rate(lambda c: c.tn, lambda c: c.tn + c.fn, undefined=NO_NEGATIVE_DECISIONS),
    "false_discovery_rate": Rate(lambda c: c.fp, lambda c: c.tp + c.fp, "lower", NO_POSITIVE_DECISIONS),
    "false_omission_rate": Rate(lambda c: c.fn, lambda c: c.tn + c.fn, "lower", NO_NEGATIVE_DECISIONS),
}
COUNTS: dict[str, OfCells] = {
    "true_positives": lambda c: c.tp,
    "false_positives": lambda c: c.fp,
    "true_negatives": lambda c: c.tn,
    "false_negatives": lambda c: c.fn,
}


def _rate(rate: Rate, threshold: float | None = None) -> Formula:
    def value(s: Merged, c: Cells) -> Values:
        cases = ((c.all == 0, NO_LABELS), (rate.whole(c) == 0, rate.undefined))
        share = proportion(s, rate.part(c), rate.whole(c), *cases)
        return with_worst_case(share, s, lambda c: rate.part(c) / rate.whole(c))

    return _of_cells(threshold, value)


def _count(number: OfCells, threshold: float | None = None) -> Formula:
    def value(s: Merged, c: Cells) -> Values:
        return with_worst_case(plain(number(c), because((c.all == 0, NO_LABELS))), s, number)

    return _of_cells(threshold, value, NOT_NEGATIVE)


for _name, _of_rate in RATES.items():
    entry(_name, "binary", better=_of_rate.better, version=2)(partial(_rate, _of_rate))
for _name, _number in COUNTS.items():
    entry(_name, "binary", version=2)(partial(_count, _number))


@entry("positive_rate", "binary", version=2)
def positive_rate() -> Formula:
    """Share of the usable pairs whose label is positive."""
    return _rate(Rate(lambda c: c.positive, lambda c: c.all))


@entry("prediction_rate", "binary", version=2)
def prediction_rate(threshold: float | None = None) -> Formula:
    """Share of the predictions, labelled or not, whose decision is positive."""

    def value(s: Merged, c: Cells) -> Values:
        decided = c.all + s["open_positive"] + s["open_negative"]
        return proportion(s, c.tp + c.fp + s["open_positive"], decided, (decided == 0, NO_VALUES))

    return _of_cells(threshold, value)


@entry("f1", "binary", better="higher", version=2)
def f1(threshold: float | None = None) -> Formula:
    """2 J / (1 + J) with the share J = TP / (TP + FP + FN) (van Rijsbergen 1979; Jaccard 1901)."""

    def value(s: Merged, c: Cells) -> Values:
        either = c.tp + c.fp + c.fn
        cases = ((c.all == 0, NO_LABELS), (either == 0, "no positive labels or decisions"))
        jaccard = with_worst_case(proportion(s, c.tp, either, *cases), s, lambda c: c.tp / (c.tp + c.fp + c.fn))
        return jaccard.map(lambda j: 2 * j / (1 + j))

    return _of_cells(threshold, value)


@entry("balanced_accuracy", "binary", better="higher", version=2)
def balanced_accuracy(threshold: float | None = None) -> Formula:
    """Mean of recall and specificity (Brodersen et al. 2010).

    The interval squares and adds the distances of both to the ends of their Wilson intervals (Newcombe 1998; Zou and
    Donner 2008).
    """

    def balanced(c: Cells) -> Floats:
        return (c.tp / c.positive + c.tn / c.negative) / 2

    def value(s: Merged, c: Cells) -> Values:
        mean, recall, specificity = balanced(c), c.tp / c.positive, c.tn / c.negative
        (low, high), (lower, upper) = wilson(c.tp, c.positive, s.level), wilson(c.tn, c.negative, s.level)
        values = plain(mean, because((c.all == 0, NO_LABELS), ((c.positive == 0) | (c.negative == 0), ONE_CLASS)))
        down, up = np.hypot(recall - low, specificity - lower) / 2, np.hypot(high - recall, upper - specificity) / 2
        return with_worst_case(values.within(mean - down, mean + up), s, balanced)

    return _of_cells(threshold, value)


@entry("mcc", "binary", better="higher", version=2)
def mcc(threshold: float | None = None) -> Formula:
    """Correlation of label and decision (Matthews 1975), with a delta-method interval of Fisher's z.

    Its worst case: with a, c the positives among D positive and E negative decisions, and s = a + c of n, it is
    (a E - c D) / sqrt(D E s (n - s)). It rises with a: the derivative has the sign of
    E s (n - s) - (a E - c D) (n - 2 s) / 2, which is never negative, since a E - c D is at most s E and at least
    -(D - a) c. By symmetry it falls with c.
    """

    def phi(c: Cells) -> Floats:
        margins = np.sqrt(c.tp + c.fp) * np.sqrt(c.tn + c.fn) * np.sqrt(c.positive) * np.sqrt(c.negative)
        correlation: Floats = np.clip((c.tp * c.tn - c.fp * c.fn) / margins, -1.0, 1.0)
        return correlation

    def value(s: Merged, c: Cells) -> Values:
        one_class, one_decision = (c.positive == 0) | (c.negative == 0), (c.tp + c.fp == 0) | (c.tn + c.fn == 0)
        cases = ((c.all == 0, NO_LABELS), (one_class, ONE_CLASS), (one_decision, "only one decision"))
        values = of_counts(s, lambda shares: phi(Cells(*np.moveaxis(shares, -1, 0))), list(c), *cases)
        # At -1 and 1 the delta method gives no error.
        r = np.where((c.fp + c.fn == 0) | (c.tp + c.tn == 0), np.nan, values.value)
        half = (values.high - values.value) / (1 - r**2)
        return with_worst_case(values.within(np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)), s, phi)

    return _of_cells(threshold, value, (-1.0, 1.0))


PRICES = 1e12
"""The largest price, of either sign."""


@entry(
    "cost",
    "binary",
    better="lower",
    version=2,
)
def cost(
    false_positive: float = 1,
    false_negative: float = 1,
    true_positive: float = 0,
    true_negative: float = 0,
    threshold: float | None = None,
) -> Formula:
    """Mean cost of the decisions per pair (Elkan 2001); a price below 0 is a gain.

    The interval follows Zou and Donner (2008) for a sum: the mean is the price of a true negative plus, for each
    other cell, its share times how much its price is above that. It uses Wilson's intervals of these shares and their
    correlations in a multinomial, -sqrt(p q / ((1 - p) (1 - q))).
    """
    priced = {
        "fp": ("false_positive", false_positive),
        "fn": ("false_negative", false_negative),
        "tp": ("true_positive", true_positive),
        "tn": ("true_negative", true_negative),
    }
    prices = {cell: number_in(name, price, -PRICES, PRICES) for cell, (name, price) in priced.items()}
    above = {cell: price - prices["tn"] for cell, price in prices.items() if cell != "tn"}

    def mean(c: Cells) -> Floats:
        return sum((price * getattr(c, cell) for cell, price in prices.items()), np.asarray(0.0)) / c.all

    def value(s: Merged, c: Cells) -> Values:
        values = plain(mean(c), because((c.all == 0, NO_LABELS)))
        low, high = (_distance_to_end(c, above, s.level, end) for end in (0, 1))
        return with_worst_case(values.within(values.value - low, values.value + high), s, mean)

    return _of_cells(threshold, value, (min(prices.values()), max(prices.values())))


def _distance_to_end(c: Cells, prices: Mapping[str, float], level: float, end: int) -> Floats:
    """Distance from the sum of price x share over some cells to an end of its interval: 0 the lower, 1 the upper."""
    squared = np.zeros(len(c.all))
    seen: list[tuple[float, Floats, Floats]] = []
    for cell, price in prices.items():
        part: Floats = getattr(c, cell)
        share = part / c.all
        distance = price * (wilson(part, c.all, level)[end if price >= 0 else 1 - end] - share)
        squared = squared + distance**2
        for sign, other_share, other_distance in seen:
            odds = share * other_share / ((1 - share) * (1 - other_share))
            correlation = -np.where(share * other_share > 0, np.sqrt(odds), 0.0)
            squared = squared + 2 * (correlation * sign * np.sign(price)) * other_distance * distance
        seen.append((float(np.sign(price)), share, distance))
    root: Floats = np.sqrt(np.maximum(squared, 0.0))
    return root
