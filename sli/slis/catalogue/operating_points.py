"""SLIs of a binary task: the best of one rate over all thresholds at which another rate reaches a target.

The thresholds are the scores and one above all of them. Rates are compared with the target as quotients of doubles,
so 9 of 10 reaches 0.9. Limit: there is no interval, since the threshold is chosen from the labels that it is judged
by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sli.slis.catalogue.parameters import number_in
from sli.slis.catalogue.scores import NO_POSITIVES, ONE_CLASS, at_or_above, curve_formula, one_class
from sli.slis.formula import Formula, Values, because, entry, plain
from sli.slis.maths import curves
from sli.slis.maths.curves import Curve, Estimate
from sli.slis.states import Flags, Floats, Merged

if TYPE_CHECKING:
    import pandas as pd


class Decisions(NamedTuple):
    """True and false positives at each threshold of plain rows, from the highest down, and the size of each class."""

    tp: Floats
    fp: Floats
    positives: int
    negatives: int


def _at_target(
    target: float,
    best: Callable[[Curve, float], Estimate],
    on_rows: Callable[[Decisions, float], float],
    undefined: Callable[[Curve], tuple[Flags, str]] = lambda curve: (one_class(curve), ONE_CLASS),
) -> Formula:
    """The best of one rate over the thresholds at which another rate reaches the target."""
    target = number_in("target", target, 0, 1)

    def value(_: Merged, curve: Curve, unlabelled: tuple[Flags, str]) -> Values:
        estimate = best(curve, target)
        return plain(estimate.value, because(unlabelled, undefined(curve)), estimate.bound)

    def on_pairs(kept: pd.DataFrame) -> float:
        by, positives = at_or_above(kept), int(kept.label.sum())
        top, depth = (np.append(0, by[name].to_numpy(np.float64)) for name in ("top", "depth"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return on_rows(Decisions(top, depth - top, positives, len(kept) - positives), target)

    return curve_formula(value, on_pairs)


def _greatest(rates: Floats, allowed: Flags) -> float:
    """The greatest allowed rate; NaN if no rate is allowed."""
    return float(np.max(rates[allowed])) if allowed.any() else float("nan")


@entry("sensitivity_at_specificity", "binary", parameters=("target",), better="higher")
def sensitivity_at_specificity(target: float) -> Formula:
    """Highest recall of a threshold whose specificity is at least `target`."""

    def on_rows(d: Decisions, target: float) -> float:
        return _greatest(d.tp / d.positives, (d.negatives - d.fp) / d.negatives >= target)

    return _at_target(target, curves.recall_at_specificity, on_rows)


@entry("recall_at_false_positive_rate", "binary", parameters=("target",), better="higher")
def recall_at_false_positive_rate(target: float) -> Formula:
    """Highest recall of a threshold whose false positive rate is at most `target`."""

    def on_rows(d: Decisions, target: float) -> float:
        return _greatest(d.tp / d.positives, d.fp / d.negatives <= target)

    return _at_target(target, curves.recall_at_false_positive_rate, on_rows)


@entry("specificity_at_sensitivity", "binary", parameters=("target",), better="higher")
def specificity_at_sensitivity(target: float) -> Formula:
    """Highest specificity of a threshold whose recall is at least `target`."""

    def on_rows(d: Decisions, target: float) -> float:
        return _greatest((d.negatives - d.fp) / d.negatives, d.tp / d.positives >= target)

    return _at_target(target, curves.specificity_at_recall, on_rows)


@entry("precision_at_recall", "binary", parameters=("target",), better="higher")
def precision_at_recall(target: float) -> Formula:
    """Highest precision of a threshold whose recall is at least `target`."""

    def on_rows(d: Decisions, target: float) -> float:
        decided = d.tp + d.fp
        return _greatest(d.tp / decided, (d.tp / d.positives >= target) & (decided > 0))

    return _at_target(target, curves.precision_at_recall, on_rows, lambda curve: (curve.positives == 0, NO_POSITIVES))
