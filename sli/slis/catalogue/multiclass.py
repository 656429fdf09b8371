"""SLIs of the decisions of a multiclass task: `label` is the true class, `prediction` the predicted class.

All use the usable pairs and one state, the confusion matrix. Limit: memory grows with its cells that are not empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from sli.slis.catalogue.class_scores import Classes
from sli.slis.catalogue.confusion import (
    BETWEEN,
    CELLS,
    WAITING,
    OfShares,
    Slopes,
    of_shares,
    one_or_average,
    place_of,
    table,
)
from sli.slis.formula import NO_LABELS, NOT_NEGATIVE, SHARE, Formula, Values, because, entry, plain
from sli.slis.maths.confidence import proportion
from sli.slis.states import Floats, Merged, sum_last_axis


@entry("accuracy", "multiclass", better="higher", version=2)
def accuracy(classes: Classes) -> Formula:
    """Share of the pairs whose prediction is the label."""

    def value(s: Merged) -> Values:
        t, waiting = table(s["cells"], classes), s["waiting"].dense(classes)[0].sum(axis=1)
        right, n = t.right.sum(axis=1), t.pairs
        worst, best = right / (n + waiting), (right + waiting) / (n + waiting)
        return proportion(s, right, n, (n == 0, NO_LABELS)).missing(worst, best)

    return Formula({"cells": CELLS, "waiting": WAITING}, value, range=SHARE)


Rate = Literal["precision", "recall", "f1"]
WHOLE: Mapping[Rate, tuple[float, float]] = {"precision": (0.0, 1.0), "recall": (1.0, 0.0), "f1": (0.5, 0.5)}
"""(a, b) such that the rate of a class is right / (a x labels + b x decisions)."""
NONE_OF_CLASS: Mapping[Rate, str] = {
    "precision": "no predictions of this class",
    "recall": "no labels of this class",
    "f1": "no labels or predictions of this class",
}


def _of_class(rate: Rate, classes: Classes, k: int) -> Formula:
    def value(s: Merged) -> Values:
        t, waiting = table(s["cells"], classes), s["waiting"].dense(classes)[0]
        right, labels, decisions = t.right[:, k], t.labels[:, k], t.decisions[:, k]
        here, elsewhere = waiting[:, k], waiting.sum(axis=1) - waiting[:, k]
        # f1 is 2 J / (1 + J) with J = right / (labelled or predicted as the class).
        whole = {"precision": decisions, "recall": labels, "f1": labels + decisions - right}[rate]
        wrong = {"precision": here, "recall": elsewhere, "f1": here + elsewhere}[rate]
        worst, best = right / (whole + wrong), (right + here) / (whole + here)
        cases = (t.pairs == 0, NO_LABELS), (whole == 0, NONE_OF_CLASS[rate])
        share = proportion(s, right, whole, *cases).missing(worst, best)
        return share.map(lambda j: 2 * j / (1 + j)) if rate == "f1" else share

    return Formula({"cells": CELLS, "waiting": WAITING}, value, range=SHARE)


def _average_of(rate: Rate, weighted: bool) -> OfShares:
    """Mean over the classes that have the rate: plain, or weighted by their numbers of labels."""
    a, b = WHOLE[rate]

    def function(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
        whole = a * r + b * c
        defined = np.where(whole > 0, 1.0, 0.0)
        whole = np.where(whole > 0, whole, 1.0)
        rates = d / whole
        weight = r * defined if weighted else defined
        weight = weight / sum_last_axis(weight)[:, None]
        value = sum_last_axis(weight * rates)
        by_whole = -weight * rates / whole
        by_label = a * by_whole
        if weighted:
            by_label = by_label + defined * (rates - value[:, None]) / sum_last_axis(r * defined)[:, None]
        return value, (weight / whole, by_label, b * by_whole)

    return function


def _average(rate: Rate, classes: Classes, weighted: bool) -> Formula:
    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        disjoint = np.where(t.decisions > 0, t.labels, 0).sum(axis=1) == 0
        cases = [(disjoint, "no predicted class has labels")] if weighted and rate == "precision" else []
        return of_shares(s, t, _average_of(rate, weighted), *cases)

    return Formula({"cells": CELLS}, value, range=SHARE)


def _rate(rate: Rate, classes: Classes, label: str | None, average: str | None) -> Formula:
    k, averaged = one_or_average(rate, classes, label, average)
    if k is not None:
        return _of_class(rate, classes, k)
    # Over all classes together each wrong pair is one wrong prediction and one missed label: all are the accuracy.
    if averaged == "micro" or (averaged, rate) == ("weighted", "recall"):
        return accuracy(classes)
    return _average(rate, classes, averaged == "weighted")


@entry("precision", "multiclass", better="higher", version=2)
def precision(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    """Share of the pairs predicted as a class that are labelled as it, or an average over the classes."""
    return _rate("precision", classes, label, average)


@entry("recall", "multiclass", better="higher", version=2)
def recall(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    """Share of the pairs labelled as a class that are predicted as it, or an average over the classes."""
    return _rate("recall", classes, label, average)


@entry("f1", "multiclass", better="higher", version=2)
def f1(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    """2 R / (L + P) of a class (van Rijsbergen 1979), or an average over the classes.

    The macro average is the mean of the f1 of the classes, not the f1 of mean precision and recall (Opitz and Burst
    2019).
    """
    return _rate("f1", classes, label, average)


@entry("balanced_accuracy", "multiclass", better="higher", version=2)
def balanced_accuracy(classes: Classes) -> Formula:
    """Mean recall of the classes that have labels (Brodersen et al. 2010)."""
    return _average("recall", classes, weighted=False)


@entry("confusion", "multiclass", version=2)
def confusion(classes: Classes, label: str, decision: str) -> Formula:
    """Number of pairs labelled `label` and predicted `decision`."""
    i, j = place_of(label, classes, "confusion"), place_of(decision, classes, "confusion")

    def value(s: Merged) -> Values:
        cell = s["cells"].dense([f"{classes[i]}{BETWEEN}{classes[j]}"])[0][:, 0].astype(np.float64)
        pairs, waiting = table(s["cells"], classes).pairs, s["waiting"].dense(classes)[0]
        low = np.where(pairs + waiting.sum(axis=1) == 0, np.nan, cell)
        return plain(cell, because((pairs == 0, NO_LABELS))).missing(low, low + waiting[:, j])

    return Formula({"cells": CELLS, "waiting": WAITING}, value, range=NOT_NEGATIVE)


def _mcc(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
    of_labels, of_decisions = (1 - sum_last_axis(shares**2)[:, None] for shares in (r, c))
    scale = np.sqrt(of_labels * of_decisions)
    value = (sum_last_axis(d) - sum_last_axis(r * c))[:, None] / scale
    slopes = 1 / scale + 0 * d, value * r / of_labels - c / scale, value * c / of_decisions - r / scale
    return value[:, 0], slopes


@entry("mcc", "multiclass", better="higher", version=2)
def mcc(classes: Classes) -> Formula:
    """Correlation of labels and predictions of K classes (Gorodkin 2004, "Comparing two K-category assignments")."""

    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        one_class = (t.labels.max(axis=1) == t.pairs) | (t.decisions.max(axis=1) == t.pairs)
        return of_shares(s, t, _mcc, (one_class, "labels or predictions of only one class"))

    return Formula({"cells": CELLS}, value, range=(-1.0, 1.0))


def _kappa(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
    agreed, chance = sum_last_axis(d)[:, None], sum_last_axis(r * c)[:, None]
    by_chance = (agreed - 1) / (1 - chance) ** 2
    return ((agreed - chance) / (1 - chance))[:, 0], (1 / (1 - chance) + 0 * d, by_chance * c, by_chance * r)


@entry("cohen_kappa", "multiclass", better="higher", version=2)
def cohen_kappa(classes: Classes) -> Formula:
    """Agreement beyond chance (Cohen 1960, "A coefficient of agreement for nominal scales")."""

    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        same = (t.right.max(axis=1) == t.pairs) & (t.pairs > 0)
        return of_shares(s, t, _kappa, (same, "labels and predictions all of one class"))

    return Formula({"cells": CELLS}, value, range=(-1.0, 1.0))
