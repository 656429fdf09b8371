"""SLIs of a multiclass task: `label` is the true class, `prediction` the predicted one, `scores` what each class got.

One state, the usable pairs by label and prediction, makes all that a confusion matrix tells; memory grows with its
cells that are not empty. Limit: pairs whose label or prediction is none of `classes` are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from sli.errors import ConfigError, nearest
from sli.slis.catalogue.class_scores import NO_SCORES, Classes, Scored, scores_of
from sli.slis.catalogue.scores import EPS, WORST
from sli.slis.formula import (
    NO_LABELS,
    NOT_NEGATIVE,
    SHARE,
    Formula,
    OnRows,
    Range,
    Values,
    because,
    count,
    entry,
    grouped,
    plain,
    total,
)
from sli.slis.maths.confidence import mean_of, normal, proportion
from sli.slis.states import Flags, Floats, Groups, Integers, Merged, Objects, across, sums_by

if TYPE_CHECKING:
    import pandas as pd

BETWEEN = "\x1f"
CELLS = grouped("label || chr(31) || prediction", "usable")
WAITING = grouped("prediction", "NOT labelled AND prediction IS NOT NULL")

OnClasses = Callable[[Objects, Objects], float]
"""A value from the labels and predictions of pairs, at least one."""
Slopes = tuple[Floats, Floats, Floats]
OfShares = Callable[[Floats, Floats, Floats], tuple[Floats, Slopes]]
"""A value from the shares predicted right, labelled and predicted by class, and its derivatives by each of them."""


@dataclass(frozen=True)
class Table:
    """Confusion matrices of n rows: their cells that are not empty, flat, and their sums, one column a class."""

    rows: Integers
    truth: Integers
    decided: Integers
    counts: Integers
    right: Integers
    labels: Integers
    decisions: Integers

    @property
    def pairs(self) -> Integers:
        """Number of pairs in each row."""
        found: Integers = self.labels.sum(axis=1)
        return found


def table(of: Groups, classes: Classes) -> Table:
    """The confusion matrices held by groups of `CELLS`."""
    place = {name: i for i, name in enumerate(classes)}
    halves = [str(key).split(BETWEEN) for key in of.keys]
    truth = np.array([place.get(each[0], -1) for each in halves], dtype=np.int64)
    decided = np.array([place.get(each[-1], -1) for each in halves], dtype=np.int64)
    known = (truth >= 0) & (decided >= 0)
    rows, truth, decided, counts = of.rows[known], truth[known], decided[known], of.counts[known]
    labels, decisions, right = (np.zeros((len(of.offsets) - 1, len(classes)), dtype=np.int64) for _ in range(3))
    np.add.at(labels, (rows, truth), counts)
    np.add.at(decisions, (rows, decided), counts)
    same = truth == decided
    right[rows[same], truth[same]] = counts[same]
    return Table(rows, truth, decided, counts, right, labels, decisions)


def _error(t: Table, slopes: Slopes, more: float) -> Floats:
    """Delta-method standard error of a value with these slopes, at the shares of `of_shares`."""
    by_right, by_label, by_decision = slopes
    n = t.pairs.astype(np.float64)
    r, c = t.labels / n[:, None], t.decisions / n[:, None]
    slope = by_label[t.rows, t.truth] + by_decision[t.rows, t.decided]
    slope = slope + np.where(t.truth == t.decided, by_right[t.rows, t.truth], 0.0)
    seen = [sums_by(t.rows, t.counts * slope**power, len(n)) / n for power in (1, 2)]
    of_label, of_decision = across(r * by_label), across(c * by_decision)
    chance = of_label + of_decision + across(r * c * by_right)
    squares = across(r * by_label**2) + across(c * by_decision**2) + 2 * of_label * of_decision
    squares = squares + across(r * c * by_right * (by_right + 2 * (by_label + by_decision)))
    mean = (n * seen[0] + more * chance) / (n + more)
    square = (n * seen[1] + more * squares) / (n + more)
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0.0) / (n + more)), dtype=np.float64)


def of_shares(s: Merged, t: Table, function: OfShares, *cases: tuple[Flags, str]) -> Values:
    """A function of a confusion matrix with a delta-method interval.

    The interval is that of the matrix with z^2 more pairs, spread as if labels and predictions were independent (the
    pseudo-Bayes estimator of Bishop, Fienberg and Holland 1975, chapter 12): the delta method alone gives a matrix
    without errors an interval without width, as Wald's does, and this does what Wilson's does for a proportion.
    """
    more = normal(s.level) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        n = t.pairs[:, None].astype(np.float64)
        d, r, c = t.right / n, t.labels / n, t.decisions / n
        value, _ = function(d, r, c)
        middle, slopes = function((n * d + more * r * c) / (n + more), r, c)
        half = normal(s.level) * _error(t, slopes, more)
    found = plain(value, because((t.pairs == 0, NO_LABELS), *cases))
    return found.within(middle - half, middle + half)


def _on_rows(classes: Classes, function: OnClasses) -> OnRows:
    def on_rows(pairs: pd.DataFrame) -> float:
        kept = pairs[pairs.usable.astype(bool)]
        kept = kept[kept.label.isin(classes) & kept.prediction.isin(classes)]
        labels, decisions = (kept[name].to_numpy(dtype=object) for name in ("label", "prediction"))
        return float(function(labels, decisions)) if len(kept) else float("nan")

    return on_rows


def place_of(name: object, classes: Classes, where: str) -> int:
    if str(name) not in classes:
        raise ConfigError(
            f"'{name}' is no class",
            where=where,
            expected=f"one of {', '.join(classes)}",
            todo=nearest(str(name), classes),
        )
    return list(classes).index(str(name))


@entry("accuracy", "multiclass", better="higher", version=2)
def accuracy(classes: Classes) -> Formula:
    def value(s: Merged) -> Values:
        t, waiting = table(s["cells"], classes), s["waiting"].dense(classes)[0].sum(axis=1)
        right, n = t.right.sum(axis=1), t.pairs
        with np.errstate(divide="ignore", invalid="ignore"):
            worst, best = right / (n + waiting), (right + waiting) / (n + waiting)
        return proportion(s, right, n, (n == 0, NO_LABELS)).missing(worst, best)

    on_rows = _on_rows(classes, lambda y, z: np.mean(y == z))
    return Formula({"cells": CELLS, "waiting": WAITING}, value, on_rows, range=SHARE)


Rate = Literal["precision", "recall", "f1"]
WHOLE: Mapping[Rate, tuple[float, float]] = {"precision": (0.0, 1.0), "recall": (1.0, 0.0), "f1": (0.5, 0.5)}
"""Each is right / (a x labels + b x decisions) of a class, f1 being the harmonic mean of the other two."""
NONE_OF_CLASS: Mapping[Rate, str] = {
    "precision": "no predictions of this class",
    "recall": "no labels of this class",
    "f1": "no labels or predictions of this class",
}
AVERAGES = ("macro", "micro", "weighted")


def _of_class_on_rows(rate: Rate, y: Objects, z: Objects, name: str) -> float:
    both, whole = np.sum((y == name) & (z == name)), WHOLE[rate][0] * np.sum(y == name)
    whole = whole + WHOLE[rate][1] * np.sum(z == name)
    return float(both / whole) if whole else float("nan")


def _of_class(rate: Rate, classes: Classes, k: int) -> Formula:
    def value(s: Merged) -> Values:
        t, waiting = table(s["cells"], classes), s["waiting"].dense(classes)[0]
        right, labels, decisions = t.right[:, k], t.labels[:, k], t.decisions[:, k]
        here, elsewhere = waiting[:, k], waiting.sum(axis=1) - waiting[:, k]
        # f1 is 2 J / (1 + J), J the share of right pairs among those of the class by label or by prediction.
        whole = {"precision": decisions, "recall": labels, "f1": labels + decisions - right}[rate]
        wrong = {"precision": here, "recall": elsewhere, "f1": here + elsewhere}[rate]
        with np.errstate(divide="ignore", invalid="ignore"):
            worst, best = right / (whole + wrong), (right + here) / (whole + here)
        cases = (t.pairs == 0, NO_LABELS), (whole == 0, NONE_OF_CLASS[rate])
        found = proportion(s, right, whole, *cases).missing(worst, best)
        return found.of(lambda j: 2 * j / (1 + j)) if rate == "f1" else found

    on_rows = _on_rows(classes, lambda y, z: _of_class_on_rows(rate, y, z, classes[k]))
    return Formula({"cells": CELLS, "waiting": WAITING}, value, on_rows, range=SHARE)


def _average_of(rate: Rate, weighted: bool) -> OfShares:
    """Mean over the classes where the rate is defined, each the same or by its number of labels."""
    a, b = WHOLE[rate]

    def function(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
        whole = a * r + b * c
        defined = np.where(whole > 0, 1.0, 0.0)
        whole = np.where(whole > 0, whole, 1.0)
        each = d / whole
        weight = r * defined if weighted else defined
        weight = weight / across(weight)[:, None]
        value = across(weight * each)
        by_whole = -weight * each / whole
        by_label = a * by_whole
        if weighted:
            by_label = by_label + defined * (each - value[:, None]) / across(r * defined)[:, None]
        return value, (weight / whole, by_label, b * by_whole)

    return function


def _averaged(rate: Rate, classes: Classes, weighted: bool) -> Formula:
    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        apart = np.where(t.decisions > 0, t.labels, 0).sum(axis=1) == 0
        cases = [(apart, "no predicted class has labels")] if weighted and rate == "precision" else []
        return of_shares(s, t, _average_of(rate, weighted), *cases)

    def on_classes(y: Objects, z: Objects) -> float:
        import pandas as pd

        each = pd.Series({name: _of_class_on_rows(rate, y, z, name) for name in classes}, dtype=float).dropna()
        weights = pd.Series({name: np.sum(y == name) if weighted else 1 for name in each.index}, dtype=float)
        return float((each * weights).sum() / weights.sum()) if weights.sum() else float("nan")

    return Formula({"cells": CELLS}, value, _on_rows(classes, on_classes), range=SHARE)


def one_or_average(
    name: str, classes: Classes, label: str | None, average: str | None, averages: Sequence[str] = AVERAGES
) -> tuple[int | None, str]:
    """The place of the class that is asked for, or None and the average. Raises ConfigError."""
    if label is not None and average is not None:
        raise ConfigError(f"{name} is of one class or an average", where=name, todo="give either `label` or `average`")
    if average is not None and average not in averages:
        raise ConfigError(
            f"'{average}' is no average",
            where=name,
            expected=f"one of {', '.join(averages)}",
            todo=nearest(str(average), averages),
        )
    return None if label is None else place_of(label, classes, name), average or "macro"


def _rate(rate: Rate, classes: Classes, label: str | None, average: str | None) -> Formula:
    k, averaged = one_or_average(rate, classes, label, average)
    if k is not None:
        return _of_class(rate, classes, k)
    # Over all classes each wrong pair is one wrong prediction and one missed label: these are all the same number.
    if averaged == "micro" or (averaged, rate) == ("weighted", "recall"):
        return accuracy(classes)
    return _averaged(rate, classes, averaged == "weighted")


@entry("precision", "multiclass", parameters=("label", "average"), better="higher", version=2)
def precision(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    return _rate("precision", classes, label, average)


@entry("recall", "multiclass", parameters=("label", "average"), better="higher", version=2)
def recall(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    return _rate("recall", classes, label, average)


@entry("f1", "multiclass", parameters=("label", "average"), better="higher", version=2)
def f1(classes: Classes, label: str | None = None, average: str | None = None) -> Formula:
    """Macro f1 is the mean of the classes' f1 (not the f1 of mean precision and recall): Opitz and Burst (2019)."""
    return _rate("f1", classes, label, average)


@entry("balanced_accuracy", "multiclass", better="higher", version=2)
def balanced_accuracy(classes: Classes) -> Formula:
    """Mean recall of the classes that have labels: Brodersen et al. (2010)."""
    return _averaged("recall", classes, weighted=False)


@entry("confusion", "multiclass", parameters=("label", "decision"), version=2)
def confusion(classes: Classes, label: str, decision: str) -> Formula:
    i, j = place_of(label, classes, "confusion"), place_of(decision, classes, "confusion")

    def value(s: Merged) -> Values:
        cell = s["cells"].dense([f"{classes[i]}{BETWEEN}{classes[j]}"])[0][:, 0].astype(np.float64)
        pairs, waiting = table(s["cells"], classes).pairs, s["waiting"].dense(classes)[0]
        low = np.where(pairs + waiting.sum(axis=1) == 0, np.nan, cell)
        return plain(cell, because((pairs == 0, NO_LABELS))).missing(low, low + waiting[:, j])

    on_rows = _on_rows(classes, lambda y, z: np.sum((y == classes[i]) & (z == classes[j])))
    return Formula({"cells": CELLS, "waiting": WAITING}, value, on_rows, range=NOT_NEGATIVE)


def _mcc(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
    of_labels, of_decisions = (1 - across(each**2)[:, None] for each in (r, c))
    scale = np.sqrt(of_labels * of_decisions)
    value = (across(d) - across(r * c))[:, None] / scale
    slopes = 1 / scale + 0 * d, value * r / of_labels - c / scale, value * c / of_decisions - r / scale
    return value[:, 0], slopes


@entry("mcc", "multiclass", better="higher", version=2)
def mcc(classes: Classes) -> Formula:
    """Matthews' correlation of K classes: Gorodkin (2004), "Comparing two K-category assignments"."""

    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        one = (t.labels.max(axis=1) == t.pairs) | (t.decisions.max(axis=1) == t.pairs)
        return of_shares(s, t, _mcc, (one, "labels or predictions of only one class"))

    def on_classes(y: Objects, z: Objects) -> float:
        x, p = (np.array([each == name for name in classes], dtype=float) for each in (y, z))
        x, p = x - x.mean(axis=1, keepdims=True), p - p.mean(axis=1, keepdims=True)
        if len(set(y)) < 2 or len(set(z)) < 2:
            return float("nan")
        return float((x * p).sum() / np.sqrt((x * x).sum() * (p * p).sum()))

    return Formula({"cells": CELLS}, value, _on_rows(classes, on_classes), range=(-1.0, 1.0))


def _kappa(d: Floats, r: Floats, c: Floats) -> tuple[Floats, Slopes]:
    agreed, chance = across(d)[:, None], across(r * c)[:, None]
    by_chance = (agreed - 1) / (1 - chance) ** 2
    return ((agreed - chance) / (1 - chance))[:, 0], (1 / (1 - chance) + 0 * d, by_chance * c, by_chance * r)


@entry("cohen_kappa", "multiclass", better="higher", version=2)
def cohen_kappa(classes: Classes) -> Formula:
    """Agreement beyond chance: Cohen (1960), "A coefficient of agreement for nominal scales"."""

    def value(s: Merged) -> Values:
        t = table(s["cells"], classes)
        same = (t.right.max(axis=1) == t.pairs) & (t.pairs > 0)
        return of_shares(s, t, _kappa, (same, "labels and predictions all of one class"))

    def on_classes(y: Objects, z: Objects) -> float:
        crossed = 1 - sum(np.mean(y == name) * np.mean(z == name) for name in classes)
        return float(1 - np.mean(y != z) / crossed) if len({*y, *z}) > 1 else float("nan")

    return Formula({"cells": CELLS}, value, _on_rows(classes, on_classes), range=(-1.0, 1.0))


def _mean_loss(
    scored: Scored, sql: str, function: Callable[[Floats, Integers], Floats], range: Range, known: Range
) -> Formula:
    """Mean of a loss; `known` is the range that its interval counts on."""

    def value(s: Merged) -> Values:
        found = mean_of(s, s["loss"], s["squares"], s["scored"], NO_SCORES, known)
        return replace(found, reason=np.where(s["usable"] == 0, NO_LABELS, found.reason))

    states = {
        "loss": total(sql, scored.counts),
        "squares": total(f"({sql}) * ({sql})", scored.counts),
        "scored": count(scored.counts),
        "usable": count("usable"),
    }
    return Formula(states, value, scored.on_rows(function), range=range)


@entry("log_loss", "multiclass", better="lower", version=2)
def log_loss(classes: Classes, scores: Mapping[str, str] | None = None) -> Formula:
    """Mean of -ln of the label's score: Good (1952), "Rational decisions"; clipped as scikit-learn does."""
    scored = scores_of("log_loss", classes, scores)
    share = f"least(greatest({scored.all}[{scored.at}], {EPS!r}::DOUBLE), 1.0::DOUBLE - {EPS!r}::DOUBLE)"
    return _mean_loss(
        scored,
        f"-ln({share})",
        lambda p, at: -np.log(np.clip(p[np.arange(len(at)), at], EPS, 1 - EPS)),
        (0.0, WORST),
        NOT_NEGATIVE,
    )


@entry("brier", "multiclass", better="lower", version=2)
def brier(classes: Classes, scores: Mapping[str, str] | None = None) -> Formula:
    """Sum over the classes of (score - 1 where it is the label's)^2, as Brier (1950) wrote it: from 0 to 2, unless the
    scores of a pair add up to more than 1."""
    scored = scores_of("brier", classes, scores)
    off = f"(x - (i = {scored.at})::INT)"
    return _mean_loss(
        scored,
        f"list_sum(list_transform({scored.all}, lambda x, i: {off} * {off}))",
        lambda p, at: ((p - np.eye(p.shape[1])[at]) ** 2).sum(axis=1),
        (0.0, float(len(classes))),
        (0.0, 2.0),
    )


def _hit(p: Floats, at: Integers, k: int) -> Floats:
    order = np.argsort(p, axis=1, kind="stable")[:, ::-1]
    return np.asarray((order[:, :k] == at[:, None]).any(axis=1), dtype=np.float64)


@entry("top_k_accuracy", "multiclass", parameters=("k",), better="higher", version=2)
def top_k_accuracy(k: int, classes: Classes, scores: Mapping[str, str] | None = None) -> Formula:
    """Share of labels among the k classes with the highest scores; of equal scores the last name is the higher."""
    scored = scores_of("top_k_accuracy", classes, scores)
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k < len(classes):
        raise ConfigError("k must be below the number of classes", expected=f"1 to {len(classes) - 1}", found=repr(k))
    own = f"{scored.all}[{scored.at}]"
    above = f"len(list_filter({scored.all}, lambda x, i: x > {own} OR (x = {own} AND i > {scored.at})))"

    def value(s: Merged) -> Values:
        hits, n, waiting = s["hits"], s["scored"], s["waiting"]
        with np.errstate(divide="ignore", invalid="ignore"):
            worst, best = hits / (n + waiting), (hits + waiting) / (n + waiting)
        cases = (s["usable"] == 0, NO_LABELS), (n == 0, NO_SCORES)
        return proportion(s, hits, n, *cases).missing(worst, best)

    states = {
        "hits": count(f"{scored.counts} AND {above} < {k}"),
        "scored": count(scored.counts),
        "waiting": count(f"NOT labelled AND prediction IS NOT NULL AND {scored.known}"),
        "usable": count("usable"),
    }
    return Formula(states, value, scored.on_rows(lambda p, at: _hit(p, at, k)), range=SHARE)
