"""SLIs of the scores of a binary task, whatever the threshold: losses, calibration and curves over all thresholds.

All look at the usable pairs: those with a label and a score. Limit: a histogram of more than 1024 scores is rounded,
and what is read from it has a stated error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.errors import ConfigError
from sli.slis.formula import (
    NO_LABELS,
    NOT_NEGATIVE,
    SHARE,
    Formula,
    Range,
    Values,
    because,
    count,
    entry,
    grouped,
    histogram,
    plain,
    total,
)
from sli.slis.maths import curves
from sli.slis.maths.confidence import mean_of, normal, proportion, student
from sli.slis.maths.curves import Curve, Estimate
from sli.slis.states import Flags, Floats, Groups, Integers, Merged, across

if TYPE_CHECKING:
    import pandas as pd

EPS = float(np.finfo(np.float64).eps)
ONE_CLASS = "only one class"
NO_POSITIVES = "no positive labels"
USABLE = count("usable")
UNLABELLED = "NOT labelled AND prediction IS NOT NULL"


def usable(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs with a label and a prediction, both as plain booleans and floats."""
    kept = pairs[pairs.usable]
    return kept.assign(
        label=kept.label.astype(bool), prediction=kept.prediction.astype(float), decision=kept.decision.astype(bool)
    )


def number(name: str, given: Any, low: float, high: float, whole: bool = False) -> Any:
    """A parameter that must be a number from low to high."""
    kinds: Any = int if whole else int | float
    if isinstance(given, bool) or not isinstance(given, kinds) or not low <= given <= high:
        what = f"a{' whole' if whole else ''} number from {low:g} to {high:g}"
        raise ConfigError(f"{name} is out of range", expected=what, found=repr(given))
    return given


def _mean_loss(
    loss: str, least: str, most: str, on_rows: Callable[[pd.DataFrame], pd.Series], range: Range, known: Range
) -> Formula:
    """Mean of a loss; `least` and `most` are the lower and the higher one of the two labels a pair may get.

    `known` is the range that its interval counts on.
    """

    def value(s: Merged) -> Values:
        found = mean_of(s, s["loss"], s["squares"], s["usable"], NO_LABELS, known)
        # A sum of no term is null.
        loss = np.where(s["usable"] == 0, 0.0, s["loss"])
        ends = [loss + np.where(s["open"] == 0, 0.0, s[name]) for name in ("least", "most")]
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = (each / (s["usable"] + s["open"]) for each in ends)
        return found.missing(low, high)

    def on_pairs(pairs: pd.DataFrame) -> float:
        return float(on_rows(usable(pairs)).mean())

    return Formula(
        {
            "loss": total(loss, "usable"),
            "squares": total(f"({loss}) * ({loss})", "usable"),
            "usable": USABLE,
            "least": total(least, UNLABELLED),
            "most": total(most, UNLABELLED),
            "open": count(UNLABELLED),
        },
        value,
        on_pairs,
        range=range,
    )


WORST = -math.log(EPS)
"""The greatest loss of a probability that is clipped."""


@entry("log_loss", "binary", better="lower", version=2)
def log_loss() -> Formula:
    """Mean of -ln of the probability given to the label (Good 1952), clipped as scikit-learn does."""
    p = f"least(greatest(prediction, {EPS!r}::DOUBLE), 1.0::DOUBLE - {EPS!r}::DOUBLE)"
    q = f"(1.0::DOUBLE - {p})"

    def on_rows(kept: pd.DataFrame) -> pd.Series:
        import pandas as pd

        score = kept.prediction.clip(EPS, 1 - EPS)
        return pd.Series(-np.log(score.where(kept.label, 1 - score)))

    # The greatest loss is so far from all usual ones that an interval must not count on it.
    return _mean_loss(
        f"-ln(CASE WHEN label THEN {p} ELSE {q} END)",
        f"-ln(greatest({p}, {q}))",
        f"-ln(least({p}, {q}))",
        on_rows,
        (0.0, WORST),
        NOT_NEGATIVE,
    )


@entry("brier", "binary", better="lower", version=2)
def brier() -> Formula:
    """Mean of (score - label)^2 (Brier 1950)."""
    near, far = (f"{of}(prediction, 1.0::DOUBLE - prediction)" for of in ("least", "greatest"))
    return _mean_loss(
        "(prediction - label::INT) * (prediction - label::INT)",
        f"{near} * {near}",
        f"{far} * {far}",
        lambda kept: (kept.prediction - kept.label) ** 2,
        SHARE,
        SHARE,
    )


# From the scores by bin


def _binned(
    bins: int, value: Callable[[Merged, Integers, Floats], Values], on_rows: Callable[[pd.Series, pd.DataFrame], float]
) -> Formula:
    """`value` sees counts and sums of scores by row, bin and label: positive, negative, missing."""
    bins = number("bins", bins, 1, 1000, whole=True)
    place = f"greatest(ceil(prediction * {float(bins)!r}::DOUBLE)::INTEGER - 1, 0)"
    state = grouped(
        f"{place} * 3 + CASE WHEN label THEN 0 WHEN labelled THEN 1 ELSE 2 END", "prediction IS NOT NULL", "prediction"
    )

    def of_groups(s: Merged) -> Values:
        groups: Groups = s["bins"]
        counts, sums = groups.dense([str(i) for i in range(3 * bins)])
        counts, sums = counts.reshape(-1, bins, 3), sums.reshape(-1, bins, 3)
        return value(s, counts, sums)

    def on_pairs(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        return float(on_rows((np.ceil(kept.prediction * bins) - 1).clip(lower=0), kept)) if len(kept) else float("nan")

    return Formula({"bins": state}, of_groups, on_pairs, range=SHARE)


@entry("ece", "binary", parameters=("bins",), better="lower", version=2)
def ece(bins: int = 10) -> Formula:
    """Expected calibration error: mean distance, weighted by pairs, of each bin's mean score to its rate of positives
    (Naeini et al. 2015; Guo et al. 2017). The bins are ((i - 1) / bins, i / bins], 0 in the first."""

    def value(_: Merged, counts: Integers, sums: Floats) -> Values:
        labelled, missing = counts[..., :2].sum(axis=(1, 2)), counts[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = across(np.abs(counts[..., 0] - across(sums[..., :2]))) / labelled
            off = counts[..., 0] - across(sums)
            nearest = np.clip(np.rint(-off), 0, missing)
            least = across(np.abs(off + nearest)) / (labelled + missing.sum(axis=1))
            most = across(np.maximum(np.abs(off), np.abs(off + missing))) / (labelled + missing.sum(axis=1))
        return plain(error, because((labelled == 0, NO_LABELS))).missing(least, most)

    def on_rows(place: pd.Series, kept: pd.DataFrame) -> float:
        return float((kept.label - kept.prediction).groupby(place).sum().abs().sum() / len(kept))

    return _binned(bins, value, on_rows)


def _bin(
    bin: int, bins: int, value: Callable[[Merged, Integers, Floats], Values], on_rows: Callable[[pd.DataFrame], float]
) -> Formula:
    """The same of one bin, counted from 0."""
    bins = number("bins", bins, 1, 1000, whole=True)
    at = number("bin", bin, 0, bins - 1, whole=True)
    return _binned(
        bins,
        lambda s, counts, sums: value(s, counts[:, at], sums[:, at]),
        lambda place, kept: on_rows(kept[place == at]),
    )


def _empty(s: Merged, labelled: Integers) -> tuple[tuple[Flags, str], ...]:
    # The labels of the other bins are not at hand here: those of the window tell whether there are any.
    return (s.labelled == 0, NO_LABELS), (labelled == 0, "no labelled predictions in the bin")


@entry("calibration", "binary", parameters=("bin", "bins"), version=2)
def calibration(bin: int, bins: int = 10) -> Formula:
    """Rate of positives among the pairs whose score lies in a bin: a point of the reliability diagram (Murphy and
    Winkler 1977)."""

    def value(s: Merged, counts: Integers, _: Floats) -> Values:
        labelled, positive, missing = counts[:, :2].sum(axis=1), counts[:, 0], counts[:, 2]
        found = proportion(s, positive, labelled, *_empty(s, labelled))
        with np.errstate(divide="ignore", invalid="ignore"):
            every = labelled + missing
            return found.missing(positive / every, (positive + missing) / every)

    return _bin(bin, bins, value, lambda kept: kept.label.mean())


@entry("calibration_score", "binary", parameters=("bin", "bins"))
def calibration_score(bin: int, bins: int = 10) -> Formula:
    """Mean score of the pairs whose score lies in a bin: what `calibration` would be of a calibrated model."""

    def value(s: Merged, counts: Integers, sums: Floats) -> Values:
        labelled = counts[:, :2].sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return plain(across(sums[:, :2]) / labelled, because(*_empty(s, labelled)))

    return _bin(bin, bins, value, lambda kept: kept.prediction.mean())


# From the histogram of the scores


def curved(
    value: Callable[[Merged, Curve, tuple[Flags, str]], Values],
    on_rows: Callable[[pd.DataFrame], float],
    range: Range = SHARE,
) -> Formula:
    """`value` also gets the case that is without labels; `on_rows` sees at least one pair."""

    def of_histogram(s: Merged) -> Values:
        of = curves.curve(s["scores"])
        return value(s, of, (of.positives + of.negatives == 0, NO_LABELS))

    def on_pairs(pairs: pd.DataFrame) -> float:
        kept = usable(pairs)
        return float(on_rows(kept)) if len(kept) else float("nan")

    scores = histogram("prediction", "usable", "probability", mark="label")
    return Formula({"scores": scores}, of_histogram, on_pairs, range=range)


def at_or_above(kept: pd.DataFrame) -> pd.DataFrame:
    """By distinct score, descending: positives at it, and positives and pairs at or above it."""
    import pandas as pd

    by = kept.label.groupby(kept.prediction).agg(["sum", "count"]).sort_index(ascending=False)
    return pd.DataFrame({"positives": by["sum"], "top": by["sum"].cumsum(), "depth": by["count"].cumsum()})


def one_class(of: Curve) -> Flags:
    """Whether a class has no labels, or no pair has one."""
    found: Flags = (of.positives == 0) | (of.negatives == 0)
    return found


def roc_auc_of(s: Merged, of: Curve, *cases: tuple[Flags, str]) -> Values:
    """The area under the ROC curve, undefined in these cases; its interval is in log odds."""
    area = curves.roc_area(of)
    found = plain(area.value, because(*cases), area.bound)
    return found.within(*curves.logit_interval(area.value, area.error, normal(s.level)))


def roc_auc_on_rows(kept: pd.DataFrame) -> float:
    high = kept.label.sum()
    low = len(kept) - high
    ranks = kept.prediction.rank()[kept.label].sum()
    return float((ranks - high * (high + 1) / 2) / (high * low)) if high and low else float("nan")


@entry("roc_auc", "binary", better="higher", version=2)
def roc_auc() -> Formula:
    return curved(lambda s, of, unlabelled: roc_auc_of(s, of, unlabelled, (one_class(of), ONE_CLASS)), roc_auc_on_rows)


def precision_recall_of(s: Merged, of: Curve, area: Estimate, *cases: tuple[Flags, str]) -> Values:
    """An area under the precision-recall curve, undefined in these cases.

    Interval by the influence function, in log odds, about the value less its bias. A normal one holds the true value
    too seldom (92 to 94 %) where a class is small; Student's t with a third of the smaller class as degrees of freedom
    was chosen by simulation.
    """
    found = plain(area.value, because(*cases), area.bound)
    factor = student(s.level, (np.minimum(of.positives, of.negatives) - 1) / 3)
    return found.within(*curves.logit_interval(area.value - area.bias, area.error, factor))


def average_precision_on_rows(kept: pd.DataFrame) -> float:
    if not kept.label.any():
        return float("nan")
    by = at_or_above(kept)
    return float((by.positives * by.top / by.depth).sum() / kept.label.sum())


@entry("average_precision", "binary", better="higher", version=2)
def average_precision() -> Formula:
    def value(s: Merged, of: Curve, unlabelled: tuple[Flags, str]) -> Values:
        cases = unlabelled, (of.positives == 0, NO_POSITIVES)
        return precision_recall_of(s, of, curves.average_precision(of), *cases)

    return curved(value, average_precision_on_rows)


@entry("pr_auc", "binary", better="higher")
def pr_auc() -> Formula:
    """The points of the precision-recall curve joined by straight lines, as `auc` of scikit-learn does."""

    def value(s: Merged, of: Curve, unlabelled: tuple[Flags, str]) -> Values:
        cases = unlabelled, (of.positives == 0, NO_POSITIVES)
        return precision_recall_of(s, of, curves.precision_recall_area(of), *cases)

    def on_rows(kept: pd.DataFrame) -> float:
        if not kept.label.any():
            return float("nan")
        by, every = at_or_above(kept), kept.label.sum()
        return float(np.trapezoid(np.append(1, by.top / by.depth), np.append(0, by.top / every)))

    return curved(value, on_rows)


LEAST_TOP = 10
"""Pairs in the top below which `lift` has no interval."""


@entry("lift", "binary", parameters=("k",), better="higher", version=2)
def lift(k: float) -> Formula:
    """Precision among the k % highest scores over the rate of positives; ties at the cut and a fraction of a pair are
    shared out evenly. Interval by the influence function, in the logarithm."""
    share = float(number("k", k, 0, 100)) / 100
    if share == 0:
        raise ConfigError("k is out of range", expected="a number above 0", found=repr(k))

    def value(s: Merged, of: Curve, unlabelled: tuple[Flags, str]) -> Values:
        ratio = curves.lift(of, share)
        found = plain(ratio.value, because(unlabelled, (of.positives == 0, NO_POSITIVES)), ratio.bound)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # No positive in the top, or none below: the influence function knows no error. Of few pairs in the top,
            # too little of it.
            known = (ratio.error > 0) & (ratio.value > 0) & (share * (of.positives + of.negatives) >= LEAST_TOP)
            factor = np.where(known, np.exp(normal(s.level) * ratio.error / ratio.value), np.nan)
            return found.within(ratio.value / factor, ratio.value * factor)

    def on_rows(kept: pd.DataFrame) -> float:
        if not kept.label.any():
            return float("nan")
        by, depth = at_or_above(kept), share * len(kept)
        gained = np.interp(depth, np.append(0, by.depth), np.append(0, by.top))
        return float(gained / depth / kept.label.mean())

    return curved(value, on_rows, (0.0, 1 / share))


def _at_precision(
    target: float, chosen: Callable[[curves.AtPrecision], Estimate], on_rows: Callable[[pd.DataFrame, int], float]
) -> Formula:
    """Of the lowest threshold that reaches a precision; `on_rows` sees the scores that do and how many positives."""
    target = float(number("target", target, 0, 1))

    def value(_: Merged, of: Curve, unlabelled: tuple[Flags, str]) -> Values:
        found = curves.at_precision(of, target)
        reason = because(
            unlabelled,
            (of.positives == 0, NO_POSITIVES),
            (found.doubtful, "rounded scores hide whether the target is reached"),
            (np.isnan(found.threshold.value), "no threshold reaches the target"),
        )
        return plain(chosen(found).value, reason, chosen(found).bound)

    def on_pairs(kept: pd.DataFrame) -> float:
        by = at_or_above(kept)
        reached = by[by.top / by.depth >= target]
        return on_rows(reached, int(kept.label.sum())) if kept.label.any() and len(reached) else float("nan")

    return curved(value, on_pairs)


@entry("threshold_at_precision", "binary", parameters=("target",))
def threshold_at_precision(target: float) -> Formula:
    return _at_precision(target, lambda found: found.threshold, lambda reached, _: float(reached.index.min()))


@entry("recall_at_precision", "binary", parameters=("target",), better="higher")
def recall_at_precision(target: float) -> Formula:
    return _at_precision(target, lambda found: found.recall, lambda reached, all: float(reached.top.max() / all))
