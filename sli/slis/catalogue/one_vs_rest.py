"""SLIs of a multiclass task that look at each class against all others: as a binary task whose positive class it is.

Of one class, or averaged over the classes for which they are defined, as precision and recall are. Limit: areas are
averaged without an interval, since a histogram a class does not tell how the areas of two classes vary together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sli.engine.sql import literal, quoted
from sli.slis.catalogue.class_scores import NO_SCORES, Classes, Scored, scores_of
from sli.slis.catalogue.multiclass import (
    CELLS,
    NONE_OF_CLASS,
    WAITING,
    Slopes,
    accuracy,
    of_shares,
    one_or_average,
    table,
)
from sli.slis.catalogue.scores import (
    ONE_CLASS,
    average_precision_on_rows,
    precision_recall_of,
    roc_auc_of,
    roc_auc_on_rows,
)
from sli.slis.formula import NO_LABELS, SHARE, Formula, OnRows, Values, because, count, entry, histogram, plain
from sli.slis.maths import curves
from sli.slis.maths.confidence import proportion
from sli.slis.maths.curves import Curve
from sli.slis.states import Flags, Floats, Integers, Merged, State, across

if TYPE_CHECKING:
    import pandas as pd

NO_OTHERS = "no labels of other classes"
NO_OWN = NONE_OF_CLASS["recall"]
AVERAGES = ("macro", "weighted")


# Of the decisions


@entry("specificity", "multiclass", parameters=("label", "average"), better="higher")
def specificity(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    """Of the pairs that are not of a class, the share not predicted as it.

    Over all classes together (micro) each wrong pair is predicted as one class that it is not, and each pair is not of
    K - 1 classes: 1 - (1 - accuracy) / (K - 1).
    """
    k, averaged = one_or_average("specificity", classes, label, average)
    if k is not None:
        return _of_class(classes, k)
    return _micro(classes) if averaged == "micro" else _averaged(classes, averaged == "weighted")


def _spared(labels: Integers, decisions: Integers, right: Integers, pairs: Integers) -> tuple[Integers, Integers]:
    """Pairs that are neither of a class nor predicted as it, and those that are not of it."""
    return pairs - labels - decisions + right, pairs - labels


def _of_class(classes: Classes, k: int) -> Formula:
    def value(s: Merged) -> Values:
        t, waiting = table(s["cells"], classes), s["waiting"].dense(classes)[0]
        part, whole = _spared(t.labels[:, k], t.decisions[:, k], t.right[:, k], t.pairs)
        here, elsewhere = waiting[:, k], waiting.sum(axis=1) - waiting[:, k]
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = part / (whole + here), (part + elsewhere) / (whole + elsewhere)
        found = proportion(s, part, whole, (t.pairs == 0, NO_LABELS), (whole == 0, NO_OTHERS))
        # Where only one kind of prediction waits, only one end is defined, and all labels that define a value give it.
        return found.missing(np.fmin(*ends), np.fmax(*ends))

    on_rows = _on_rows(classes, lambda each, _: each[k])
    return Formula({"cells": CELLS, "waiting": WAITING}, value, on_rows, range=SHARE)


def _micro(classes: Classes) -> Formula:
    of, others = accuracy(classes), len(classes) - 1
    return Formula(
        of.states,
        lambda s: of.value(s).of(lambda share: 1 - (1 - share) / others),
        lambda pairs: 1 - (1 - of.on_rows(pairs)) / others,
        range=(1 - 1 / others, 1.0),
    )


def _averaged(classes: Classes, weighted: bool) -> Formula:
    def function(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
        whole = np.where(r < 1, 1 - r, 1.0)
        defined = np.where(r < 1, 1.0, 0.0)
        each = (1 - r - c + d) / whole
        weight = r * defined if weighted else defined
        every = across(weight)[:, None]
        weight = weight / every
        value = across(weight * each)
        by_label = weight * (d - c) / whole**2
        if weighted:
            by_label = by_label + defined * (each - value[:, None]) / every
        return value, (weight / whole, by_label, -weight / whole)

    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        alone = t.labels.max(axis=1) == t.pairs
        return of_shares(s, t, function, *([(alone, ONE_CLASS)] if weighted else []))

    return Formula({"cells": CELLS}, value, _on_rows(classes, _mean_on_rows(weighted)), range=SHARE)


OnEach = Callable[[Floats, Floats], float]
"""A value from that of each class, NaN where undefined, and its number of labels."""


def _mean_on_rows(weighted: bool) -> OnEach:
    def mean(each: Floats, labels: Floats) -> float:
        weights = np.where(np.isnan(each), 0.0, labels if weighted else 1.0)
        return float(np.average(np.nan_to_num(each), weights=weights)) if weights.any() else float("nan")

    return mean


def _on_rows(classes: Classes, function: OnEach) -> OnRows:
    def on_rows(pairs: pd.DataFrame) -> float:
        kept = pairs[pairs.usable.astype(bool)]
        kept = kept[kept.label.isin(classes) & kept.prediction.isin(classes)]
        y, z = (kept[name].to_numpy(dtype=object) for name in ("label", "prediction"))
        each = [np.mean(z[y != name] != name) if (y != name).any() else np.nan for name in classes]
        return function(
            np.array(each, dtype=np.float64), np.array([np.sum(y == name) for name in classes], dtype=float)
        )

    return on_rows


# Of the scores


class Area(NamedTuple):
    """An area under a curve of a binary task, from its curve and the cases that leave it undefined, whether it needs
    labels of both classes, and the same from plain rows."""

    values: Callable[..., Values]
    both: bool
    on_rows: Callable[[pd.DataFrame], float]


ROC = Area(roc_auc_of, True, roc_auc_on_rows)
PRECISION_RECALL = Area(
    lambda s, of, *cases: precision_recall_of(s, of, curves.average_precision(of), *cases),
    False,
    average_precision_on_rows,
)


@entry("roc_auc", "multiclass", parameters=("label", "average"), better="higher")
def roc_auc(
    classes: Classes, scores: Mapping[str, str] | None = None, label: str | None = None, average: str | None = None
) -> Formula:
    return _area("roc_auc", ROC, scores_of("roc_auc", classes, scores), label, average)


@entry("average_precision", "multiclass", parameters=("label", "average"), better="higher")
def average_precision(
    classes: Classes, scores: Mapping[str, str] | None = None, label: str | None = None, average: str | None = None
) -> Formula:
    scored = scores_of("average_precision", classes, scores)
    return _area("average_precision", PRECISION_RECALL, scored, label, average)


def _area(name: str, area: Area, scored: Scored, label: str | None, average: str | None) -> Formula:
    """Of one class's scores, or the mean over the classes for which it is defined (Provost and Domingos 2001)."""
    k, averaged = one_or_average(name, scored.names, label, average, AVERAGES)
    wanted = range(len(scored.names)) if k is None else [k]
    weighted = averaged == "weighted"

    def value(s: Merged) -> Values:
        each = [curves.curve(s[f"scores_{i}"]) for i in wanted]
        none = each[0].positives + each[0].negatives == 0
        cases = (s["usable"] == 0, NO_LABELS), (none, NO_SCORES)
        found = [area.values(s, of, *cases, *_undefined(area, of)) for of in each]
        return found[0] if k is not None else _mean(found, [of.positives for of in each], weighted, *cases)

    def on_rows(pairs: pd.DataFrame) -> float:
        import pandas as pd

        p, at = scored.kept(pairs)
        frames = [pd.DataFrame({"label": at == i, "prediction": p[:, i]}) for i in wanted]
        each = np.array([area.on_rows(frame) if len(at) else np.nan for frame in frames])
        labels = np.array([frame.label.sum() for frame in frames], dtype=np.float64)
        return float(each[0]) if k is not None else _mean_on_rows(weighted)(each, labels)

    states = {f"scores_{i}": _histogram(scored, i) for i in wanted}
    return Formula({**states, "usable": count("usable")}, value, on_rows, range=SHARE)


def _histogram(scored: Scored, i: int) -> State:
    """The scores of a class, those of its labels marked."""
    of, mark = f"{quoted(scored.columns[i])}::DOUBLE", f"label = {literal(scored.names[i])}"
    return histogram(of, scored.counts, "probability", mark)


def _undefined(area: Area, of: Curve) -> list[tuple[Flags, str]]:
    others = [(of.negatives == 0, NO_OTHERS)] if area.both else []
    return [(of.positives == 0, NO_OWN), *others]


def _mean(each: list[Values], labels: list[Integers], weighted: bool, *cases: tuple[Flags, str]) -> Values:
    """The mean over the classes that have a value, each the same or by its number of labels."""
    value, bound, every = (np.zeros(len(labels[0])) for _ in range(3))
    # Class by class, so that a row is the same bits whatever rows are beside it.
    for of, number in zip(each, labels, strict=True):
        known = ~np.isnan(of.value)
        weight = np.where(known, number if weighted else 1.0, 0.0)
        every = every + weight
        value = value + weight * np.where(known, of.value, 0.0)
        bound = bound + weight * np.where(known, of.bound, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return plain(np.minimum(value / every, 1.0), because(*cases, (every == 0, ONE_CLASS)), bound / every)
