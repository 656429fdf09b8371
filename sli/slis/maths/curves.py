"""Curves over all thresholds at once, from one histogram of the scores that marks those of positive labels.

Areas, gains, the lowest threshold of a precision and the best of one rate where another reaches a target, each with the
error that rounded scores allow: rounding keeps order, so the pairs on one rounded score may stand in any order among
themselves and nowhere else. Limit: standard errors take that order as a tie.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sli.slis.states import BITS, Flags, Floats, Histograms, Integers, sums_by, totals_by

NEGLIGIBLE = 1e-12


class Estimate(NamedTuple):
    """The value of each row, how far that of the plain rows may lie from it, its standard error, and how much it is too
    high on average; NaN if undefined or not known."""

    value: Floats
    bound: Floats
    error: Floats
    bias: Floats | float = 0.0


@dataclass(frozen=True)
class Curve:
    """For each of n rows its distinct scores, ascending, flat as in `Histograms`, with the pairs that have them.

    `positive` and `negative` count the labels of a score, `positive_below` and `negative_below` those of lower scores;
    `positives` and `negatives` count all of a row.
    """

    starts: Integers
    rows: Integers
    scores: Floats
    positive: Integers
    negative: Integers
    positive_below: Integers
    negative_below: Integers
    positives: Integers
    negatives: Integers
    exact: Flags

    @functools.cached_property
    def top(self) -> Floats:
        """Positives at or above each score."""
        return (self.positives[self.rows] - self.positive_below).astype(np.float64)

    @functools.cached_property
    def depth(self) -> Floats:
        """Pairs at or above each score."""
        found: Floats = self.top + self.negatives[self.rows] - self.negative_below
        return found

    @functools.cached_property
    def precision(self) -> Floats:
        """Share of positives among the pairs at or above each score."""
        return self.top / self.depth

    def sums(self, terms: Floats | Integers) -> Floats:
        """Sum of each row's terms, one a score."""
        return sums_by(self.rows, terms, len(self.exact))

    def running(self, terms: Floats) -> Floats:
        """Sums of a row's terms up to each score (Hillis and Steele 1986): the same bits whatever the other rows."""
        found, step = terms.astype(np.float64), 1
        place = np.arange(len(terms)) - self.starts[self.rows]
        while step <= place.max(initial=0):
            found[step:] += np.where(place[step:] >= step, found[:-step], 0.0)
            step *= 2
        return found


def curve(of: Histograms) -> Curve:
    """The curve of a histogram of scores in which those of positive labels are marked."""
    positives = totals_by(of.offsets, of.marked)
    return Curve(
        of.offsets[:-1],
        of.rows,
        of.keys,
        of.marked,
        of.counts - of.marked,
        of.marked_below,
        of.below - of.marked_below,
        positives,
        of.totals - positives,
        of.exact,
    )


def logit_interval(value: Floats, error: Floats, factor: Floats | float) -> tuple[Floats, Floats]:
    """Interval of a share that is symmetric in its log odds; none at 0 and 1, where the error is not known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (value > 0) & (value < 1) & (error > 0)
        odds = np.where(inside, np.log(value / (1 - value)), np.nan)
        half = factor * error / (value * (1 - value))
        return 1 / (1 + np.exp(-np.clip(odds - half, -700, 700))), 1 / (1 + np.exp(-np.clip(odds + half, -700, 700)))


def roc_area(of: Curve) -> Estimate:
    """Area under the ROC curve: share of (positive, negative) pairs ranked right, ties half (Mann and Whitney 1947).

    The error is that of DeLong, DeLong and Clarke-Pearson (1988): from the spread, over the positives, of the share of
    negatives each outranks, and the other way round. Where scores were rounded, only pairs that fell on one rounded
    score can be ranked wrong: half their share bounds what that does.
    """
    twice, tied = np.zeros(len(of.exact), dtype=np.int64), np.zeros(len(of.exact), dtype=np.int64)
    np.add.at(twice, of.rows, of.positive * (2 * of.negative_below + of.negative))
    np.add.at(tied, of.rows, of.positive * of.negative)
    p, n = of.positives.astype(np.float64), of.negatives.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = twice / (2 * p * n)
        outranked = (of.negative_below + of.negative / 2) / n[of.rows]
        outranking = (p[of.rows] - of.positive_below - of.positive / 2) / p[of.rows]
        of_positives = of.sums(of.positive * (outranked - area[of.rows]) ** 2) / (p - 1)
        of_negatives = of.sums(of.negative * (outranking - area[of.rows]) ** 2) / (n - 1)
        error = np.sqrt(of_positives / p + of_negatives / n)
        return Estimate(area, np.where(of.exact, 0.0, tied / (2 * p * n)), error)


def average_precision(of: Curve) -> Estimate:
    """Mean over the positives of the precision at their score: the area under the precision-recall curve as steps.

    With T, D the positives and all pairs at or above a score c, t the positives at c, P all positives and N all pairs:
    value A = sum of t T / D / P. Its influence function, from the derivatives by t, T, D and P, is N / P times
    y (T / D + G - A) - H, where G sums t / D and H sums t T / D^2 over the scores up to that of the pair.
    Where scores were rounded, t positives and f negatives on one score add at most t (T / (D - f)) and at least the sum
    over j = 1..t of (T - t + j) / (D - t + j): a concave function of j, so no less than by the trapezoid, and an
    increasing one, so no less than its integral from 0.
    A positive counts itself: of the others at or above it (T - 1) / (D - 1) are positive, about (1 - T / D) / D less.
    """
    t, f, top, depth, precision = of.positive, of.negative, of.top, of.depth, of.precision
    p = of.positives.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = of.sums(t * precision) / p
        error = _error_of_area(of, value, precision, t)
        most = of.sums(np.where(t > 0, t * top / (depth - f), 0.0)) / p
        before = depth - t
        trapezoid = ((top - t + 1) / (before + 1) + precision) / 2
        integral = 1 - np.where(before > 0, (depth - top) / np.maximum(t, 1) * np.log1p(t / before), 0.0)
        least = of.sums(np.where(t > 0, t * np.maximum(trapezoid, integral), 0.0)) / p
        bound = np.where(of.exact, 0.0, np.maximum(most - value, value - least))
        bias = of.sums(t * (1 - precision) / depth) / p
    return Estimate(value, bound, error, bias)


def _error_of_area(of: Curve, value: Floats, own: Floats, weight: Floats | Integers) -> Floats:
    """Standard error of a mean over the positives: of `own` at their score, where the precision at a score has a part
    of `weight` / positives in the mean."""
    t, f = of.positive, of.negative
    gained, lost = of.running(weight / of.depth), of.running(weight * of.precision / of.depth)
    hit = own + gained - value[of.rows] - lost
    error = np.sqrt(of.sums(t * hit**2 + f * lost**2)) / of.positives.astype(np.float64)
    # All pairs positive: the value cannot vary with the scores, and says nothing of the negatives to come.
    return np.where(of.negatives > 0, error, np.nan)


def precision_recall_area(of: Curve) -> Estimate:
    """Area under the precision-recall curve, its points joined by straight lines, from precision 1 at recall 0.

    With T, D the positives and all pairs above a score, t positives and f negatives on it, its part is t (T / D +
    (T + t) / (D + t + f)) / 2, T / D being 1 where D is 0. Where scores were rounded, those may stand in any order.
    After a of the positives the precision is at most (T + a) / (D + a) and at least (T + a) / (D + f + a), both
    concave in a: so the part is at most t times the first at a = t / 2 (Hermite and Hadamard), and at least the
    trapezoid of the second from a = 0 to t.
    The error is as that of `average_precision`; only half of each part counts the positive itself.
    """
    t, f, precision = of.positive, of.negative, of.precision
    above, before = of.top - t, of.depth - t - f
    p = of.positives.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.where(before > 0, above / before, 1.0)
        own = (start + precision) / 2
        value = of.sums(t * own) / p
        most = of.sums(np.where(t > 0, t * (above + t / 2) / (before + t / 2), 0.0)) / p
        least = of.sums(np.where(t > 0, t * (np.where(f > 0, above / (before + f), start) + precision) / 2, 0.0)) / p
        bound = np.where(of.exact, 0.0, np.maximum(most - value, value - least))
        following = np.zeros(len(t))
        following[1:] = np.where(of.rows[1:] == of.rows[:-1], t[:-1], 0)
        error = _error_of_area(of, value, own, (t + following) / 2)
        bias = of.sums(t * (1 - precision) / of.depth) / p / 2
    return Estimate(value, bound, error, bias)


class Gains(NamedTuple):
    """Positives among the `depth` highest scores of each row: all, those above the cut, and the score at the cut.

    `above` and `above_all` count positives and pairs above the score at the cut, of which a `share` is taken; `at` and
    `at_all` count those at it.
    """

    taken: Floats
    above: Floats
    above_all: Floats
    at: Floats
    at_all: Floats
    share: Floats


def gains(of: Curve, depth: Floats) -> Gains:
    """Positives among the `depth` (0 < depth <= all) highest scores, ties and fractions shared out evenly."""
    if len(of.rows) == 0:
        return Gains(*(np.full(len(of.exact), np.nan) for _ in range(6)))
    pairs = of.positive + of.negative
    every = of.positives + of.negatives
    running = np.cumsum(pairs)
    before = np.concatenate([[0], running])[of.starts]
    rest = np.floor(np.nan_to_num(np.maximum(every - depth, 0.0))).astype(np.int64)
    cut = np.minimum(np.searchsorted(running, before + rest, side="right"), len(pairs) - 1)
    above = (of.positives - of.positive_below[cut] - of.positive[cut]).astype(np.float64)
    above_all = above + of.negatives - of.negative_below[cut] - of.negative[cut]
    share = np.clip((depth - above_all) / pairs[cut], 0.0, 1.0)
    at = of.positive[cut].astype(np.float64)
    return Gains(above + share * at, above, above_all, at, pairs[cut].astype(np.float64), share)


def lift(of: Curve, share: float) -> Estimate:
    """Precision among the `share` highest scores over the share of positives.

    The error is by the influence function of the share C of pairs that are positive and in the top: w (y - r), with w
    the pair's part in the top and r the rate of positives at the cut, taken from the n^(2/3) of n pairs around it.
    Where scores were rounded, the top holds the positives of the score at the cut first or last.
    """
    p, every = of.positives.astype(np.float64), (of.positives + of.negatives).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = share * every
        top = gains(of, depth)
        value = top.taken / depth / (p / every)
        taken = top.share * top.at_all
        most, least = np.minimum(taken, top.at), np.maximum(0.0, taken - (top.at_all - top.at))
        off = np.maximum(most - top.share * top.at, top.share * top.at - least) / depth / (p / every)
        reach = np.minimum(every ** (2 / 3) / 2, np.minimum(depth, every - depth))
        rate = (gains(of, depth + reach).taken - gains(of, np.maximum(depth - reach, 1e-9)).taken) / (2 * reach)
        rate = np.where(reach > 0, rate, 0.0)

        def squares(weight: Floats | float, positive: Floats, negative: Floats) -> Floats:
            of_positive = (weight * (1 - rate) / share - value) ** 2
            found: Floats = positive * of_positive + negative * (weight * rate / share) ** 2
            return found

        under = p - top.above - top.at
        inside = squares(1.0, top.above, top.above_all - top.above) + squares(top.share, top.at, top.at_all - top.at)
        spread = (inside + squares(0.0, under, np.zeros_like(under))) / every - rate**2
        # Below that it is the rounding of a spread of 0.
        error = np.sqrt(np.where(spread > NEGLIGIBLE, spread, 0.0) / every) / (p / every)
        return Estimate(value, np.where(of.exact, 0.0, off), error)


class AtPrecision(NamedTuple):
    """The lowest score from which on precision reaches a target, and the recall there; NaN where none does.

    `doubtful` says that rounding hides whether one does.
    """

    threshold: Estimate
    recall: Estimate
    doubtful: Flags


def at_precision(of: Curve, target: float) -> AtPrecision:
    """The lowest threshold whose precision T / D is at least the target.

    Rounded, a score is still a threshold of the plain rows with the same T and D, so the true recall is no lower. A
    threshold among the pairs of one score is at best one that takes all of its positives and none of its negatives,
    or a single one where it has no positives.
    """
    top, depth = of.top, of.depth
    reaches = of.precision >= target
    split = ~of.exact[of.rows] & (top / (depth - of.negative + (of.positive == 0)) >= target)

    def lowest(flags: Flags) -> Integers:
        found = np.full(len(of.exact), len(of.rows))
        np.minimum.at(found, of.rows[flags], np.flatnonzero(flags))
        return found

    found, possible = lowest(reaches), lowest(reaches | split)
    off = np.minimum(of.scores, 1 - of.scores) * 2.0**-BITS / (1 - 2.0**-BITS)

    def chosen(values: Floats, at: Integers) -> Floats:
        return np.append(values, np.nan)[at]

    threshold, nothing = chosen(of.scores, found), np.full(len(of.exact), np.nan)
    lower = chosen(of.scores, possible) - chosen(off, possible)
    bound = np.where(of.exact, 0.0, np.maximum(chosen(off, found), threshold - lower))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = chosen(top, found) / of.positives
        better = chosen(top, possible) / of.positives
    return AtPrecision(
        Estimate(threshold, bound, nothing),
        Estimate(recall, better - recall, nothing),
        (found == len(of.rows)) & (possible < len(of.rows)),
    )


# The best of one rate where another reaches a target. Thresholds are the scores and one above them all, which decides
# for nothing. Where scores were rounded they are thresholds of the plain rows still; those among the pairs of one score
# can only be better, and are best with all of its positives and none of its negatives above them.


def recall_where(of: Curve, allowed: Flags) -> Estimate:
    """The highest share of positives at or above a score that is `allowed`, as all scores above an allowed one are."""
    found, better = np.zeros(len(of.exact)), of.positives.astype(np.float64)
    np.maximum.at(found, of.rows[allowed], of.top[allowed])
    np.minimum.at(better, of.rows[~allowed], of.top[~allowed])
    return _shares(of, found, better, of.positives)


def recall_at_specificity(of: Curve, target: float) -> Estimate:
    """The highest recall of a threshold whose specificity is at least the target."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return recall_where(of, of.negative_below / of.negatives[of.rows] >= target)


def recall_at_false_positive_rate(of: Curve, target: float) -> Estimate:
    """The highest recall of a threshold whose false positive rate is at most the target."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return recall_where(of, (of.depth - of.top) / of.negatives[of.rows] <= target)


def specificity_at_recall(of: Curve, target: float) -> Estimate:
    """The highest specificity of a threshold whose recall is at least the target."""
    reached, least = _recalls(of, target), of.negatives if target == 0 else np.zeros_like(of.negatives)
    found, better = least.copy(), least.copy()
    np.maximum.at(found, of.rows[reached], of.negative_below[reached])
    np.maximum.at(better, of.rows[reached], (of.negative_below + of.negative)[reached])
    return _shares(of, found, better, of.negatives)


def precision_at_recall(of: Curve, target: float) -> Estimate:
    """The highest precision of a threshold whose recall is at least the target, one above all scores left out."""
    reached = _recalls(of, target)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.where(of.positive > 0, of.top / (of.depth - of.negative), of.precision)
    found, better = (np.full(len(of.exact), np.nan) for _ in range(2))
    np.fmax.at(found, of.rows[reached], of.precision[reached])
    np.fmax.at(better, of.rows[reached], best[reached])
    return _shares(of, found, better, np.ones(len(found)))


def _recalls(of: Curve, target: float) -> Flags:
    """The scores whose recall is at least the target."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Flags = of.top / of.positives[of.rows] >= target
    return found


def _shares(of: Curve, found: Floats | Integers, better: Floats | Integers, every: Floats | Integers) -> Estimate:
    with np.errstate(divide="ignore", invalid="ignore"):
        value = found / every
        return Estimate(value, np.where(of.exact, 0.0, better / every - value), np.full(len(found), np.nan))
