"""SLIs of a binary task: the best of one rate over all thresholds at which another rate reaches a target.

The thresholds are the scores and one above all of them. Rates are compared with the target as quotients of doubles,
so 9 of 10 reaches 0.9. Limit: there is no interval, since the threshold is chosen from the labels that it is judged
by.
"""

from __future__ import annotations

from collections.abc import Callable

from sli.slis.catalogue.parameters import number_in
from sli.slis.catalogue.scores import NO_POSITIVES, ONE_CLASS, curve_formula, one_class
from sli.slis.formula import Formula, Values, because, entry, plain
from sli.slis.maths import curves
from sli.slis.maths.curves import Curve, Estimate
from sli.slis.states import Flags, Merged


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


@entry("sensitivity_at_specificity", "binary", parameters=("target",), better="higher")
def sensitivity_at_specificity(target: float) -> Formula:
    """Highest recall of a threshold whose specificity is at least `target`."""

    return _at_target(target, curves.recall_at_specificity)


@entry("recall_at_false_positive_rate", "binary", parameters=("target",), better="higher")
def recall_at_false_positive_rate(target: float) -> Formula:
    """Highest recall of a threshold whose false positive rate is at most `target`."""

    return _at_target(target, curves.recall_at_false_positive_rate)


@entry("specificity_at_sensitivity", "binary", parameters=("target",), better="higher")
def specificity_at_sensitivity(target: float) -> Formula:
    """Highest specificity of a threshold whose recall is at least `target`."""

    return _at_target(target, curves.specificity_at_recall)


@entry("precision_at_recall", "binary", parameters=("target",), better="higher")
def precision_at_recall(target: float) -> Formula:
    """Highest precision of a threshold whose recall is at least `target`."""

    return _at_target(target, curves.precision_at_recall, lambda curve: (curve.positives == 0, NO_POSITIVES))
