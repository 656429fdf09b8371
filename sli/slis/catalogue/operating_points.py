"""SLIs of a binary task at the best threshold that keeps another rate at a target: over all scores, not the config's.

Thresholds are the scores and one above them all. Rates are compared with the target as quotients of doubles, so a share
of exactly 9 in 10 reaches 0.9. Limit: the threshold is chosen from the window's own labels, so no interval is honest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sli.slis.catalogue.scores import NO_POSITIVES, ONE_CLASS, at_or_above, curved, number, one_class
from sli.slis.formula import Formula, Values, because, entry, plain
from sli.slis.maths import curves
from sli.slis.maths.curves import Curve, Estimate
from sli.slis.states import Flags, Floats, Merged

if TYPE_CHECKING:
    import pandas as pd


class Decided(NamedTuple):
    """What the thresholds from the highest score down decide of plain rows: true and false positives, all of each."""

    tp: Floats
    fp: Floats
    positives: int
    negatives: int


def _at_target(
    target: float,
    best: Callable[[Curve, float], Estimate],
    on_rows: Callable[[Decided, float], float],
    undefined: Callable[[Curve], tuple[Flags, str]] = lambda of: (one_class(of), ONE_CLASS),
) -> Formula:
    """The best of one rate among the thresholds at which another reaches a target."""
    target = float(number("target", target, 0, 1))

    def value(_: Merged, of: Curve, unlabelled: tuple[Flags, str]) -> Values:
        found = best(of, target)
        return plain(found.value, because(unlabelled, undefined(of)), found.bound)

    def on_pairs(kept: pd.DataFrame) -> float:
        by, positives = at_or_above(kept), int(kept.label.sum())
        top, depth = (np.append(0, by[name].to_numpy(np.float64)) for name in ("top", "depth"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return on_rows(Decided(top, depth - top, positives, len(kept) - positives), target)

    return curved(value, on_pairs)


def _greatest(of: Floats, allowed: Flags) -> float:
    """NaN where none is allowed."""
    return float(np.max(of[allowed])) if allowed.any() else float("nan")


@entry("sensitivity_at_specificity", "binary", parameters=("target",), better="higher")
def sensitivity_at_specificity(target: float) -> Formula:
    def on_rows(d: Decided, target: float) -> float:
        return _greatest(d.tp / d.positives, (d.negatives - d.fp) / d.negatives >= target)

    return _at_target(target, curves.recall_at_specificity, on_rows)


@entry("recall_at_false_positive_rate", "binary", parameters=("target",), better="higher")
def recall_at_false_positive_rate(target: float) -> Formula:
    def on_rows(d: Decided, target: float) -> float:
        return _greatest(d.tp / d.positives, d.fp / d.negatives <= target)

    return _at_target(target, curves.recall_at_false_positive_rate, on_rows)


@entry("specificity_at_sensitivity", "binary", parameters=("target",), better="higher")
def specificity_at_sensitivity(target: float) -> Formula:
    def on_rows(d: Decided, target: float) -> float:
        return _greatest((d.negatives - d.fp) / d.negatives, d.tp / d.positives >= target)

    return _at_target(target, curves.specificity_at_recall, on_rows)


@entry("precision_at_recall", "binary", parameters=("target",), better="higher")
def precision_at_recall(target: float) -> Formula:
    def on_rows(d: Decided, target: float) -> float:
        decided = d.tp + d.fp
        return _greatest(d.tp / decided, (d.tp / d.positives >= target) & (decided > 0))

    return _at_target(target, curves.precision_at_recall, on_rows, lambda of: (of.positives == 0, NO_POSITIVES))
