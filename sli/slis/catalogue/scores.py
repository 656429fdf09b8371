"""SLIs of the scores of a binary task that need no threshold: losses, and curves over all thresholds.

All use the usable pairs: those with a label and a score. Limit: a histogram of more than 1024 scores is rounded, so
what is computed from it has a stated error bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sli.errors import ConfigError
from sli.slis.catalogue.parameters import number_in
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
    histogram,
    plain,
    total,
)
from sli.slis.maths import curves
from sli.slis.maths.confidence import mean_of, normal, student
from sli.slis.maths.curves import Curve, Estimate
from sli.slis.states import Flags, Merged

EPS = float(np.finfo(np.float64).eps)
ONE_CLASS = "only one class"
NO_POSITIVES = "no positive labels"
USABLE = count("usable")
UNLABELLED = "NOT labelled AND prediction IS NOT NULL"


def _mean_loss(loss: str, least: str, most: str, range: Range, known: Range) -> Formula:
    """Mean of a loss.

    `loss`, `least` and `most` are SQL: the loss, and the lower and the higher loss that an unlabelled pair may have.
    `known` is the range of the loss that the interval may rely on.
    """

    def value(s: Merged) -> Values:
        mean = mean_of(s, s["loss"], s["squares"], s["usable"], NO_LABELS, known)
        # The sum of no terms is NaN.
        sums = np.where(s["usable"] == 0, 0.0, s["loss"])
        lows, highs = (sums + np.where(s["open"] == 0, 0.0, s[name]) for name in ("least", "most"))
        pairs = s["usable"] + s["open"]
        return mean.missing(lows / pairs, highs / pairs)

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
        range=range,
    )


WORST = -math.log(EPS)
"""The greatest log loss of a clipped probability."""


@entry("log_loss", "binary", better="lower", version=2)
def log_loss() -> Formula:
    """Mean of -ln of the probability of the label (Good 1952), clipped as in scikit-learn."""
    p = f"least(greatest(prediction, {EPS!r}::DOUBLE), 1.0::DOUBLE - {EPS!r}::DOUBLE)"
    q = f"(1.0::DOUBLE - {p})"

    # The greatest loss is so far from all usual losses that the interval must not rely on it.
    return _mean_loss(
        f"-ln(CASE WHEN label THEN {p} ELSE {q} END)",
        f"-ln(greatest({p}, {q}))",
        f"-ln(least({p}, {q}))",
        (0.0, WORST),
        NOT_NEGATIVE,
    )


@entry("brier", "binary", better="lower", version=2)
def brier() -> Formula:
    """Mean of (score - label)^2 (Brier 1950)."""
    near, far = (f"{function}(prediction, 1.0::DOUBLE - prediction)" for function in ("least", "greatest"))
    return _mean_loss(
        "(prediction - label::INT) * (prediction - label::INT)",
        f"{near} * {near}",
        f"{far} * {far}",
        SHARE,
        SHARE,
    )


# Curves over all thresholds, from the histogram of the scores


def curve_formula(value: Callable[[Merged, Curve, tuple[Flags, str]], Values], range: Range = SHARE) -> Formula:
    """A formula of the curve of the scores of usable pairs.

    `value` also gets the case of `because` that there are no labels.
    """

    def of_histogram(s: Merged) -> Values:
        curve = curves.curve_of(s["scores"])
        return value(s, curve, (curve.positives + curve.negatives == 0, NO_LABELS))

    scores = histogram("prediction", "usable", "probability", mark="label")
    return Formula({"scores": scores}, of_histogram, range=range)


def one_class(curve: Curve) -> Flags:
    """Whether a row has no positives or no negatives."""
    lacking: Flags = (curve.positives == 0) | (curve.negatives == 0)
    return lacking


def roc_auc_of(s: Merged, curve: Curve, *cases: tuple[Flags, str]) -> Values:
    """The area under the ROC curve with its interval (DeLong et al. 1988) in log odds; undefined where a case holds."""
    area = curves.roc_area(curve)
    values = plain(area.value, because(*cases), area.bound)
    return values.within(*curves.logit_interval(area.value, area.error, normal(s.level)))


@entry("roc_auc", "binary", better="higher", version=2)
def roc_auc() -> Formula:
    """Share of (positive, negative) pairs whose scores are in the right order, ties half (Mann and Whitney 1947)."""

    def value(s: Merged, curve: Curve, unlabelled: tuple[Flags, str]) -> Values:
        return roc_auc_of(s, curve, unlabelled, (one_class(curve), ONE_CLASS))

    return curve_formula(value)


def precision_recall_of(
    estimate: Callable[[Curve], Estimate], s: Merged, curve: Curve, *cases: tuple[Flags, str]
) -> Values:
    """An area under the precision-recall curve with its interval; undefined where a case holds.

    The interval uses the influence function, in log odds, around the value less its bias. With the normal distribution
    it held the true value too seldom (92 to 94 %) if a class is small; Student's t with a third of the smaller class as
    degrees of freedom was chosen by simulation.
    """
    area = estimate(curve)
    values = plain(area.value, because(*cases), area.bound)
    factor = student(s.level, (np.minimum(curve.positives, curve.negatives) - 1) / 3)
    return values.within(*curves.logit_interval(area.value - area.bias, area.error, factor))


def _precision_recall(estimate: Callable[[Curve], Estimate]) -> Formula:
    def value(s: Merged, curve: Curve, unlabelled: tuple[Flags, str]) -> Values:
        return precision_recall_of(estimate, s, curve, unlabelled, (curve.positives == 0, NO_POSITIVES))

    return curve_formula(value)


@entry("average_precision", "binary", better="higher", version=2)
def average_precision() -> Formula:
    """Mean over the positives of the precision at their score, as in scikit-learn."""
    return _precision_recall(curves.average_precision)


@entry("pr_auc", "binary", better="higher")
def pr_auc() -> Formula:
    """Area under the precision-recall curve by trapezoids, as `auc` of scikit-learn computes it."""
    return _precision_recall(curves.precision_recall_area)


LEAST_TOP = 10
"""With fewer pairs in the top, `lift` has no interval."""


@entry("lift", "binary", better="higher", version=2)
def lift(k: float) -> Formula:
    """Precision among the k % highest scores over the share of positives (Ling and Li 1998).

    Ties at the cut and a fraction of a pair count evenly. The interval uses the influence function, in the logarithm.
    """
    share = number_in("k", k, 0, 100) / 100
    if share == 0:
        raise ConfigError("k is out of range", expected="a number above 0", found=repr(k))

    def value(s: Merged, curve: Curve, unlabelled: tuple[Flags, str]) -> Values:
        ratio = curves.lift(curve, share)
        values = plain(ratio.value, because(unlabelled, (curve.positives == 0, NO_POSITIVES)), ratio.bound)
        # Without a positive in the top, or below it, the influence function gives no error; with few pairs in the
        # top it gives too small an error.
        top = share * (curve.positives + curve.negatives)
        known = (ratio.error > 0) & (ratio.value > 0) & (top >= LEAST_TOP)
        factor = np.where(known, np.exp(normal(s.level) * ratio.error / ratio.value), np.nan)
        return values.within(ratio.value / factor, ratio.value * factor)

    return curve_formula(value, (0.0, 1 / share))


def _at_precision(target: float, estimate: Callable[[curves.AtPrecision], Estimate]) -> Formula:
    """An estimate at the lowest threshold whose precision reaches the target."""
    target = number_in("target", target, 0, 1)

    def value(_: Merged, curve: Curve, unlabelled: tuple[Flags, str]) -> Values:
        at_precision = curves.at_precision(curve, target)
        reason = because(
            unlabelled,
            (curve.positives == 0, NO_POSITIVES),
            (at_precision.doubtful, "rounded scores hide whether the target is reached"),
            (np.isnan(at_precision.threshold.value), "no threshold reaches the target"),
        )
        return plain(estimate(at_precision).value, reason, estimate(at_precision).bound)

    return curve_formula(value)


@entry("threshold_at_precision", "binary")
def threshold_at_precision(target: float) -> Formula:
    """The lowest score such that a share of `target` of the pairs at or above it is positive."""
    return _at_precision(target, lambda at: at.threshold)


@entry("recall_at_precision", "binary", better="higher")
def recall_at_precision(target: float) -> Formula:
    """Share of the positives at or above `threshold_at_precision`."""
    return _at_precision(target, lambda at: at.recall)


# The best of one rate over all thresholds at which another rate reaches a target. The thresholds are the scores and one
# above all of them. Rates are compared with the target as quotients of doubles, so 9 of 10 reaches 0.9. There is no
# interval, since the threshold is chosen from the labels that it is judged by.


def _at_target(
    target: float,
    best: Callable[[Curve, float], Estimate],
    undefined: Callable[[Curve], tuple[Flags, str]] = lambda curve: (one_class(curve), ONE_CLASS),
) -> Formula:
    """The best of one rate over the thresholds at which another rate reaches the target."""
    target = number_in("target", target, 0, 1)

    def value(_: Merged, curve: Curve, unlabelled: tuple[Flags, str]) -> Values:
        estimate = best(curve, target)
        return plain(estimate.value, because(unlabelled, undefined(curve)), estimate.bound)

    return curve_formula(value)


@entry("sensitivity_at_specificity", "binary", better="higher")
def sensitivity_at_specificity(target: float) -> Formula:
    """Highest recall of a threshold whose specificity is at least `target`."""

    return _at_target(target, curves.recall_at_specificity)


@entry("recall_at_false_positive_rate", "binary", better="higher")
def recall_at_false_positive_rate(target: float) -> Formula:
    """Highest recall of a threshold whose false positive rate is at most `target`."""

    return _at_target(target, curves.recall_at_false_positive_rate)


@entry("specificity_at_sensitivity", "binary", better="higher")
def specificity_at_sensitivity(target: float) -> Formula:
    """Highest specificity of a threshold whose recall is at least `target`."""

    return _at_target(target, curves.specificity_at_recall)


@entry("precision_at_recall", "binary", better="higher")
def precision_at_recall(target: float) -> Formula:
    """Highest precision of a threshold whose recall is at least `target`."""

    return _at_target(target, curves.precision_at_recall, lambda curve: (curve.positives == 0, NO_POSITIVES))
