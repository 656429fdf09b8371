"""SLIs of the decisions of a binary task: `decision` is `score >= threshold`, the config's or the SLI's own.

All but `prediction_rate` look at the usable pairs: those with a label and a score. Definitions: Fawcett (2006), "An
introduction to ROC analysis", unless an entry names another source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sli.slis.catalogue.scores import NO_POSITIVES, ONE_CLASS, number, usable
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

if TYPE_CHECKING:
    import pandas as pd


NO_DECIDED = "no positive decisions"
NO_NEGATED = "no negative decisions"


class Cells(NamedTuple):
    """Numbers of usable pairs by label and decision."""

    tp: Any
    fp: Any
    tn: Any
    fn: Any

    @property
    def all(self) -> Any:
        return self.tp + self.fp + self.tn + self.fn

    @property
    def positive(self) -> Any:
        return self.tp + self.fn

    @property
    def negative(self) -> Any:
        return self.tn + self.fp


def states(threshold: float | None) -> dict[str, State]:
    """The same six counts for every SLI at a threshold, so that they are computed once."""
    decided = "decision"
    if threshold is not None:
        decided = f"(prediction >= {float(number('threshold', threshold, 0, 1))!r}::DOUBLE)"
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
    """The counts once the missing labels are known, where on either side of the threshold all, all but one, one or none
    of them is positive."""
    c, up, down = cells(s), s["open_positive"], s["open_negative"]
    for p in (0, np.minimum(1, up), np.maximum(up - 1, 0), up):
        for n in (0, np.minimum(1, down), np.maximum(down - 1, 0), down):
            yield Cells(c.tp + p, c.fp + up - p, c.tn + down - n, c.fn + n)


def worst_case(found: Values, s: Merged, function: Callable[[Cells], Any]) -> Values:
    """With the least and greatest value over all labels still missing, of a function monotone in each side's positives.

    Then both lie where a side has all or none or, where the function is undefined there since all labels are of one
    class, next to it. Without any pair it is undefined.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = [np.where(c.all == 0, np.nan, function(c)) for c in completions(s)]
    return found.missing(np.fmin.reduce(ends), np.fmax.reduce(ends))


def _decided(
    threshold: float | None,
    value: Callable[[Merged, Cells], Values],
    on_rows: Callable[[pd.Series, pd.Series], float],
    range: Range = SHARE,
) -> Formula:
    """A formula of the counts; `on_rows` sees labels and decisions of at least one usable pair."""

    def on_pairs(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        decision = kept.decision if threshold is None else kept.prediction >= threshold
        return float(on_rows(kept.label, decision)) if len(kept) else float("nan")

    return Formula(states(threshold), lambda s: value(s, cells(s)), on_pairs, range=range)


class Rate(NamedTuple):
    """A proportion: part / whole of the counts, on rows the mean of `flags` of label and decision; `undefined` says why
    there may be no whole though pairs are usable."""

    part: Callable[[Cells], Any]
    whole: Callable[[Cells], Any]
    flags: Callable[[pd.Series, pd.Series], pd.Series]
    better: Better = "higher"
    undefined: str = NO_LABELS


RATES = {
    "accuracy": Rate(lambda c: c.tp + c.tn, lambda c: c.all, lambda y, z: y == z),
    "precision": Rate(lambda c: c.tp, lambda c: c.tp + c.fp, lambda y, z: y[z], undefined=NO_DECIDED),
    "recall": Rate(lambda c: c.tp, lambda c: c.positive, lambda y, z: z[y], undefined=NO_POSITIVES),
    "specificity": Rate(lambda c: c.tn, lambda c: c.negative, lambda y, z: ~z[~y], undefined="no negative labels"),
    "false_positive_rate": Rate(
        lambda c: c.fp, lambda c: c.negative, lambda y, z: z[~y], "lower", undefined="no negative labels"
    ),
    "false_negative_rate": Rate(lambda c: c.fn, lambda c: c.positive, lambda y, z: ~z[y], "lower", NO_POSITIVES),
    "negative_predictive_value": Rate(lambda c: c.tn, lambda c: c.tn + c.fn, lambda y, z: ~y[~z], undefined=NO_NEGATED),
    "false_discovery_rate": Rate(lambda c: c.fp, lambda c: c.tp + c.fp, lambda y, z: ~y[z], "lower", NO_DECIDED),
    "false_omission_rate": Rate(lambda c: c.fn, lambda c: c.tn + c.fn, lambda y, z: y[~z], "lower", NO_NEGATED),
}
COUNTS: dict[str, tuple[Callable[[Cells], Any], Callable[[pd.Series, pd.Series], pd.Series]]] = {
    "true_positives": (lambda c: c.tp, lambda y, z: y & z),
    "false_positives": (lambda c: c.fp, lambda y, z: ~y & z),
    "true_negatives": (lambda c: c.tn, lambda y, z: ~y & ~z),
    "false_negatives": (lambda c: c.fn, lambda y, z: y & ~z),
}


def _rate(rate: Rate, threshold: float | None) -> Formula:
    def value(s: Merged, c: Cells) -> Values:
        cases = ((c.all == 0, NO_LABELS), (rate.whole(c) == 0, rate.undefined))
        found = proportion(s, rate.part(c), rate.whole(c), *cases)
        return worst_case(found, s, lambda c: rate.part(c) / rate.whole(c))

    return _decided(threshold, value, lambda y, z: rate.flags(y, z).mean())


def _register_rate(name: str, rate: Rate) -> None:
    def make(threshold: float | None = None) -> Formula:
        return _rate(rate, threshold)

    entry(name, "binary", parameters=("threshold",), better=rate.better, version=2)(make)


def _register_count(name: str, of: Callable[[Cells], Any], flags: Callable[[Any, Any], Any]) -> None:
    def value(s: Merged, c: Cells) -> Values:
        return worst_case(plain(of(c), because((c.all == 0, NO_LABELS))), s, of)

    def make(threshold: float | None = None) -> Formula:
        return _decided(threshold, value, lambda y, z: flags(y, z).sum(), NOT_NEGATIVE)

    entry(name, "binary", parameters=("threshold",), version=2)(make)


for _name, _of_rate in RATES.items():
    _register_rate(_name, _of_rate)
for _name, (_of, _flags) in COUNTS.items():
    _register_count(_name, _of, _flags)


@entry("positive_rate", "binary", version=2)
def positive_rate() -> Formula:
    return _rate(Rate(lambda c: c.positive, lambda c: c.all, lambda y, _: y), None)


@entry("prediction_rate", "binary", parameters=("threshold",), version=2)
def prediction_rate(threshold: float | None = None) -> Formula:
    def value(s: Merged, c: Cells) -> Values:
        decided = c.all + s["open_positive"] + s["open_negative"]
        return proportion(s, c.tp + c.fp + s["open_positive"], decided, (decided == 0, NO_VALUES))

    def on_rows(pairs: pd.DataFrame) -> float:
        score = pairs.prediction.dropna().astype(float)
        at = pairs.decision.dropna().astype(bool) if threshold is None else score >= threshold
        return float(at.mean()) if len(at) else float("nan")

    return Formula(states(threshold), lambda s: value(s, cells(s)), on_rows, range=SHARE)


@entry("f1", "binary", parameters=("threshold",), better="higher", version=2)
def f1(threshold: float | None = None) -> Formula:
    """2 J / (1 + J), J = TP / (TP + FP + FN) being a proportion (van Rijsbergen 1979; Jaccard 1901)."""

    def value(s: Merged, c: Cells) -> Values:
        either = c.tp + c.fp + c.fn
        cases = ((c.all == 0, NO_LABELS), (either == 0, "no positive labels or decisions"))
        shared = worst_case(proportion(s, c.tp, either, *cases), s, lambda c: c.tp / (c.tp + c.fp + c.fn))
        return shared.of(lambda share: 2 * share / (1 + share))

    def on_rows(label: pd.Series, decision: pd.Series) -> float:
        either = label.sum() + decision.sum()
        return float(2 * (label & decision).sum() / either) if either else float("nan")

    return _decided(threshold, value, on_rows)


@entry("balanced_accuracy", "binary", parameters=("threshold",), better="higher", version=2)
def balanced_accuracy(threshold: float | None = None) -> Formula:
    """Mean of recall and specificity (Brodersen et al. 2010).

    Its interval squares and adds the distances of both to the ends of their Wilson intervals (Newcombe 1998; Zou and
    Donner 2008).
    """

    def balanced(c: Cells) -> Any:
        return (c.tp / c.positive + c.tn / c.negative) / 2

    def value(s: Merged, c: Cells) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):
            mean, recall, specificity = balanced(c), c.tp / c.positive, c.tn / c.negative
        (low, high), (lower, upper) = wilson(c.tp, c.positive, s.level), wilson(c.tn, c.negative, s.level)
        found = plain(mean, because((c.all == 0, NO_LABELS), ((c.positive == 0) | (c.negative == 0), ONE_CLASS)))
        down, up = np.hypot(recall - low, specificity - lower) / 2, np.hypot(high - recall, upper - specificity) / 2
        return worst_case(found.within(mean - down, mean + up), s, balanced)

    return _decided(threshold, value, lambda y, z: (z[y].mean() + (~z[~y]).mean()) / 2)


@entry("mcc", "binary", parameters=("threshold",), better="higher", version=2)
def mcc(threshold: float | None = None) -> Formula:
    """Matthews' correlation of label and decision (Matthews 1975), its interval by the delta method on Fisher's z.

    With a, c the positives among D positive and E negative decisions, s = a + c of n, it is (a E - c D) /
    sqrt(D E s (n - s)). It rises with a: the derivative has the sign of E s (n - s) - (a E - c D) (n - 2 s) / 2, never
    negative, since a E - c D is at most s E and at least -(D - a) c. Turned round, it falls with c.
    """

    def phi(c: Cells) -> Any:
        margins = np.sqrt(c.tp + c.fp) * np.sqrt(c.tn + c.fn) * np.sqrt(c.positive) * np.sqrt(c.negative)
        return np.clip((c.tp * c.tn - c.fp * c.fn) / margins, -1.0, 1.0)

    def value(s: Merged, c: Cells) -> Values:
        one_class, one_decision = (c.positive == 0) | (c.negative == 0), (c.tp + c.fp == 0) | (c.tn + c.fn == 0)
        cases = ((c.all == 0, NO_LABELS), (one_class, ONE_CLASS), (one_decision, "only one decision"))
        found = of_counts(s, lambda shares: phi(Cells(*np.moveaxis(shares, -1, 0))), list(c), *cases)
        # At -1 and 1 the delta method knows no error.
        r = np.where((c.fp + c.fn == 0) | (c.tp + c.tn == 0), np.nan, found.value)
        half = (found.high - found.value) / (1 - r**2)
        return worst_case(found.within(np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)), s, phi)

    def on_rows(label: pd.Series, decision: pd.Series) -> float:
        varied = label.nunique() == 2 and decision.nunique() == 2
        return float(np.corrcoef(label, decision)[0, 1]) if varied else float("nan")

    return _decided(threshold, value, on_rows, (-1.0, 1.0))


PRICES = 1e12
"""The largest price, of either sign."""


@entry(
    "cost",
    "binary",
    parameters=("false_positive", "false_negative", "true_positive", "true_negative", "threshold"),
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

    It is the price of a true negative and, times the share of each other cell, what the cell's price is beyond that.
    The interval is Zou and Donner's (2008) for a sum, from Wilson's of these shares and their correlations in a
    multinomial, -sqrt(p q / ((1 - p) (1 - q))). No mean is below the least price or above the greatest.
    """
    given = {
        "fp": ("false_positive", false_positive),
        "fn": ("false_negative", false_negative),
        "tp": ("true_positive", true_positive),
        "tn": ("true_negative", true_negative),
    }
    prices = {cell: float(number(name, price, -PRICES, PRICES)) for cell, (name, price) in given.items()}
    beyond = {cell: price - prices["tn"] for cell, price in prices.items() if cell != "tn"}

    def mean(c: Cells) -> Any:
        return sum(price * getattr(c, cell) for cell, price in prices.items()) / c.all

    def value(s: Merged, c: Cells) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = plain(mean(c), because((c.all == 0, NO_LABELS)))
            low, high = (_apart(c, beyond, s.level, end) for end in (0, 1))
        return worst_case(found.within(found.value - low, found.value + high), s, mean)

    def on_rows(y: pd.Series, z: pd.Series) -> float:
        shares = Cells((y & z).mean(), (~y & z).mean(), (~y & ~z).mean(), (y & ~z).mean())
        return float(sum(price * getattr(shares, cell) for cell, price in prices.items()))

    return _decided(threshold, value, on_rows, (min(prices.values()), max(prices.values())))


def _apart(c: Cells, prices: dict[str, float], level: float, end: int) -> Floats:
    """How far the end (0: lower, 1: upper) of the interval of the sum of prices x shares lies from the sum."""
    squared = np.zeros(len(c.all))
    seen: list[tuple[float, Floats, Floats]] = []
    for cell, price in prices.items():
        part = getattr(c, cell)
        share = part / c.all
        away = price * (wilson(part, c.all, level)[end if price >= 0 else 1 - end] - share)
        squared = squared + away**2
        for sign, other, off in seen:
            both = -np.where(share * other > 0, np.sqrt(share * other / ((1 - share) * (1 - other))), 0.0)
            squared = squared + 2 * (both * sign * np.sign(price)) * off * away
        seen.append((float(np.sign(price)), share, away))
    found: Floats = np.sqrt(np.maximum(squared, 0.0))
    return found
