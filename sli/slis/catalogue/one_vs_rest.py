"""SLIs of a multiclass task that compare one class with all others, as a binary task in which it is positive.

They are of one class, or averaged over the classes where they are defined. Limit: an average of areas has no interval,
since the states do not hold how the areas of two classes vary together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from sli.engine.sql import literal, quoted
from sli.slis.catalogue.class_scores import NO_SCORES, Classes, Scored, scores_of
from sli.slis.catalogue.confusion import CELLS, WAITING, Slopes, of_shares, one_or_average, table
from sli.slis.catalogue.multiclass import NONE_OF_CLASS, accuracy
from sli.slis.catalogue.scores import (
    ONE_CLASS,
    precision_recall_of,
    roc_auc_of,
)
from sli.slis.formula import NO_LABELS, SHARE, Formula, Values, because, count, entry, histogram, plain
from sli.slis.maths import curves
from sli.slis.maths.confidence import proportion
from sli.slis.states import Flags, Floats, Integers, Merged, State, sum_last_axis

NO_OTHERS = "no labels of other classes"
NO_OWN = NONE_OF_CLASS["recall"]
AVERAGES = ("macro", "weighted")


@entry("specificity", "multiclass", better="higher")
def specificity(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    """Share of the pairs not labelled as a class that are not predicted as it, or an average over the K classes.

    Micro: each wrong pair is predicted as one class that is not its label, and each pair has K - 1 classes that are not
    its label, so the value is 1 - (1 - accuracy) / (K - 1).
    """
    k, averaged = one_or_average("specificity", classes, label, average)
    if k is not None:
        return _of_class(classes, k)
    return _micro(classes) if averaged == "micro" else _average(classes, averaged == "weighted")


def _of_class(classes: Classes, k: int) -> Formula:
    def value(s: Merged) -> Values:
        t, waiting = table(s["cells"], classes), s["waiting"].dense(classes)[0]
        # The pairs not labelled as the class, and those of them that are not predicted as it either.
        whole = t.pairs - t.labels[:, k]
        part = whole - t.decisions[:, k] + t.right[:, k]
        here, elsewhere = waiting[:, k], waiting.sum(axis=1) - waiting[:, k]
        ends = part / (whole + here), (part + elsewhere) / (whole + elsewhere)
        share = proportion(s, part, whole, (t.pairs == 0, NO_LABELS), (whole == 0, NO_OTHERS))
        # If only one end is defined, all labels that define a value lead to that end.
        return share.missing(np.fmin(*ends), np.fmax(*ends))

    return Formula({"cells": CELLS, "waiting": WAITING}, value, range=SHARE)


def _micro(classes: Classes) -> Formula:
    right, others = accuracy(classes), len(classes) - 1
    return Formula(
        right.states,
        lambda s: right.value(s).map(lambda share: 1 - (1 - share) / others),
        range=(1 - 1 / others, 1.0),
    )


def _average(classes: Classes, weighted: bool) -> Formula:
    def function(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
        whole = np.where(r < 1, 1 - r, 1.0)
        defined = np.where(r < 1, 1.0, 0.0)
        values = (1 - r - c + d) / whole
        weight = r * defined if weighted else defined
        weights = sum_last_axis(weight)[:, None]
        weight = weight / weights
        value = sum_last_axis(weight * values)
        by_label = weight * (d - c) / whole**2
        if weighted:
            by_label = by_label + defined * (values - value[:, None]) / weights
        return value, (weight / whole, by_label, -weight / whole)

    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        one_class = t.labels.max(axis=1) == t.pairs
        return of_shares(s, t, function, *([(one_class, ONE_CLASS)] if weighted else []))

    return Formula({"cells": CELLS}, value, range=SHARE)


@entry("roc_auc", "multiclass", better="higher")
def roc_auc(
    classes: Classes, scores: Mapping[str, str] | None = None, label: str | None = None, average: str | None = None
) -> Formula:
    """Area under the ROC curve of a class, or the mean over the classes (Provost and Domingos 2001)."""
    scored = scores_of("roc_auc", classes, scores)
    return _area("roc_auc", roc_auc_of, scored, label, average, needs_others=True)


@entry("average_precision", "multiclass", better="higher")
def average_precision(
    classes: Classes, scores: Mapping[str, str] | None = None, label: str | None = None, average: str | None = None
) -> Formula:
    """Average precision of a class, or the mean over the classes, as in scikit-learn."""
    scored = scores_of("average_precision", classes, scores)
    area = partial(precision_recall_of, curves.average_precision)
    return _area("average_precision", area, scored, label, average, needs_others=False)


def _area(
    name: str,
    area: Callable[..., Values],
    scored: Scored,
    label: str | None,
    average: str | None,
    *,
    needs_others: bool,
) -> Formula:
    """The area under a curve of one class, or the mean over the classes for which it is defined.

    `area` computes it from the states, the curve and the cases where it is undefined; `needs_others` says that it needs
    labels of other classes.
    """
    k, averaged = one_or_average(name, scored.names, label, average, AVERAGES)
    places = range(len(scored.names)) if k is None else [k]
    weighted = averaged == "weighted"

    def value(s: Merged) -> Values:
        of_classes = [curves.curve_of(s[f"scores_{i}"]) for i in places]
        none = of_classes[0].positives + of_classes[0].negatives == 0
        cases = (s["usable"] == 0, NO_LABELS), (none, NO_SCORES)
        areas = []
        for curve in of_classes:
            others = [(curve.negatives == 0, NO_OTHERS)] * needs_others
            areas.append(area(s, curve, *cases, (curve.positives == 0, NO_OWN), *others))
        return areas[0] if k is not None else _mean(areas, [curve.positives for curve in of_classes], weighted, *cases)

    states = {f"scores_{i}": _histogram(scored, i) for i in places}
    return Formula({**states, "usable": count("usable")}, value, range=SHARE)


def _histogram(scored: Scored, i: int) -> State:
    """State: the histogram of the scores of a class, which also counts the pairs whose label is the class."""
    of, mark = f"{quoted(scored.columns[i])}::DOUBLE", f"label = {literal(scored.names[i])}"
    return histogram(of, scored.counts, "probability", mark)


def _mean(areas: list[Values], labels: list[Integers], weighted: bool, *cases: tuple[Flags, str]) -> Values:
    """The mean over the classes that have a value: plain, or weighted by their numbers of labels."""
    value, bound, weights = (np.zeros(len(labels[0])) for _ in range(3))
    # Class by class, so that a row has the same bits for any content of the other rows.
    for values, number in zip(areas, labels, strict=True):
        known = ~np.isnan(values.value)
        weight = np.where(known, number if weighted else 1.0, 0.0)
        weights = weights + weight
        value = value + weight * np.where(known, values.value, 0.0)
        bound = bound + weight * np.where(known, values.bound, 0.0)
    return plain(np.minimum(value / weights, 1.0), because(*cases, (weights == 0, ONE_CLASS)), bound / weights)
