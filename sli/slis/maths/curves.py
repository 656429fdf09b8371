"""Areas, gains and thresholds over all scores at once, from one histogram of the scores of positives and negatives.

Each estimate has a bound on what rounding can change: rounding keeps order, so only pairs on one rounded score may
stand in another order. Limit: standard errors treat the pairs on one rounded score as ties.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sli.slis.kinds.histograms import Histograms
from sli.slis.kinds.rounding import BITS
from sli.slis.states import Flags, Floats, Integers, Scalar, sums_by, totals_by

NEGLIGIBLE = 1e-12
"""A variance below this is the rounding of a variance of 0."""
LONG = 1 << 10
"""A row of at least so many scores gets its running sums by itself."""
TOGETHER = 1 << 14
"""About how many scores get their running sums at a time, so that they fit the fastest cache of the processor."""


class Estimate(NamedTuple):
    """For each row: the value, a bound on its error from rounded scores, its standard error, and its bias.

    The bias is how much the value is too high on average. NaN: undefined, or not known.
    """

    value: Floats
    bound: Floats
    error: Floats
    bias: Floats | float = 0.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """For each of n rows its distinct scores, ascending, in flat arrays as in `Histograms`, and their pairs.

    `positive` and `negative` count the pairs on a score, `positive_below` and `negative_below` those on lower scores of
    the row, `positives` and `negatives` (one element for each row) all pairs of the row.
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
        return (self.of_row(self.positives) - self.positive_below).astype(np.float64)

    @functools.cached_property
    def depth(self) -> Floats:
        """Pairs at or above each score."""
        return self.top + (self.of_row(self.negatives) - self.negative_below)

    def of_row(self, values: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """For each score the value of its row."""
        return np.repeat(values, np.diff(self.starts, append=len(self.rows)))

    @functools.cached_property
    def precision(self) -> Floats:
        """Share of positives among the pairs at or above each score."""
        return self.top / self.depth

    def sums(self, terms: Floats | Integers) -> Floats:
        """Sum of the terms of each row, one term for each score."""
        return sums_by(self.rows, terms, len(self.exact))

    def running(self, terms: Floats) -> Floats:
        """Running sums of the terms within each row (Hillis and Steele 1986).

        A row has the same bits for any content of the other rows; differences of one long `cumsum` would not have them.
        """
        sums, ends = terms.astype(np.float64), np.append(self.starts, len(terms))
        cuts = ends[np.searchsorted(ends, np.arange(0, len(terms) + TOGETHER, TOGETHER).clip(max=len(terms)))]
        long = np.flatnonzero(np.diff(ends) >= LONG)
        for first, last in itertools.pairwise(np.unique(np.concatenate([cuts, ends[long], ends[long + 1]]))):
            if last - first >= LONG and self.rows[first] == self.rows[last - 1]:
                sums[first:last] = _running_of_row(sums[first:last])
                continue
            some, step = sums[first:last], 1
            place = np.arange(first, last) - self.starts[self.rows[first:last]]
            while step <= place.max():
                some[step:] += np.where(place[step:] >= step, some[:-step], 0.0)
                step *= 2
        return sums


def _running_of_row(terms: Floats) -> Floats:
    """The running sums of one row, with the bits that they have among other rows."""
    sums, more, step = terms, np.empty_like(terms), 1
    while step < len(terms):
        np.add(sums[step:], sums[:-step], out=more[step:])
        more[:step] = sums[:step]
        sums, more, step = more, np.empty_like(terms) if sums is terms else sums, 2 * step
    return sums


def curve_of(histogram: Histograms) -> Curve:
    """The curve of a histogram of scores whose `marked` counts the positive labels.

    >>> scores = Histograms(np.array([0, 3]), np.array([0.1, 0.4, 0.8]), np.array([2, 1, 1]), np.array([0, 1, 1]),
    ...                     np.array([True]))
    >>> roc_area(curve_of(scores)).value
    array([1.])
    """
    return Curve(
        starts=histogram.offsets[:-1],
        rows=histogram.rows,
        scores=histogram.keys,
        positive=histogram.marked,
        negative=histogram.unmarked,
        positive_below=histogram.marked_below,
        negative_below=histogram.unmarked_below,
        positives=histogram.marked_totals,
        negatives=histogram.totals - histogram.marked_totals,
        exact=histogram.exact,
    )


def logit_interval(value: Floats, error: Floats, factor: Floats | float) -> tuple[Floats, Floats]:
    """Ends of an interval of a share that is symmetric in its log odds; NaN at 0 and 1, where no error is known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (value > 0) & (value < 1) & (error > 0)
        odds = np.where(inside, np.log(value / (1 - value)), np.nan)
        half = factor * error / (value * (1 - value))
        return 1 / (1 + np.exp(-np.clip(odds - half, -700, 700))), 1 / (1 + np.exp(-np.clip(odds + half, -700, 700)))


def roc_area(curve: Curve) -> Estimate:
    """Area under the ROC curve: share of (positive, negative) pairs in the right order, ties half (Mann, Whitney 1947).

    Standard error of DeLong, DeLong and Clarke-Pearson (1988): from the spread, over the positives, of the share of
    negatives that each outranks, and the same over the negatives. If scores are rounded, only pairs on one rounded
    score can be in the wrong order: half their share is the bound.
    """
    offsets = np.append(curve.starts, len(curve.rows))
    twice = totals_by(offsets, curve.positive * (2 * curve.negative_below + curve.negative))
    tied = totals_by(offsets, curve.positive * curve.negative)
    p, n = curve.positives.astype(np.float64), curve.negatives.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = twice / (2 * p * n)
        areas = curve.of_row(area)
        outranked = (curve.negative_below + curve.negative / 2) / curve.of_row(n)
        outranking = (curve.top - curve.positive / 2) / curve.of_row(p)
        of_positives = curve.sums(curve.positive * (outranked - areas) ** 2) / (p - 1)
        of_negatives = curve.sums(curve.negative * (outranking - areas) ** 2) / (n - 1)
        error = np.sqrt(of_positives / p + of_negatives / n)
        return Estimate(area, np.where(curve.exact, 0.0, tied / (2 * p * n)), error)


def average_precision(curve: Curve) -> Estimate:
    """Mean over the positives of the precision at their score: the area under the precision-recall curve as steps.

    With T, D the positives and all pairs at or above a score c, t the positives at c, P all positives and N all pairs:
    value A = sum of t T / D / P. Its influence function, from the derivatives by t, T, D and P, is N / P times
    y (T / D + G - A) - H, where G sums t / D and H sums t T / D^2 over the scores up to that of the pair.

    If scores are rounded, t positives and f negatives on one score add at most t (T / (D - f)) and at least the sum
    over j = 1..t of (T - t + j) / (D - t + j). That term is a concave function of j, so the sum is no less than by
    the trapezoid, and an increasing one, so it is no less than its integral from 0.

    Bias: a positive counts itself. Of the others at or above it (T - 1) / (D - 1) are positive: about (1 - T / D) / D
    less.
    """
    t, f = curve.positive.astype(np.float64), curve.negative.astype(np.float64)
    depth, precision = curve.depth, curve.precision
    p = curve.positives.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = curve.sums(t * precision) / p
        error = _error_of_area(curve, value, precision, t)
        bound = np.zeros(len(value))
        bias = curve.sums(t * (1 - precision) / depth) / p
        if not curve.exact.all():
            least, most = (sums / p for sums in _bounds_of_precisions(curve, t, f))
            bound = np.where(curve.exact, 0.0, np.maximum(most - value, value - least))
    return Estimate(value, bound, error, bias)


def _bounds_of_precisions(curve: Curve, t: Floats, f: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest sum of the precisions of all positives, where scores are rounded."""
    at = np.flatnonzero((t > 0) & ~curve.of_row(curve.exact))
    rows = curve.rows[at]
    t, top, depth, precision = (x[at] for x in (t, curve.top, curve.depth, curve.precision))
    most = t * top / (depth - f[at])
    before = depth - t
    trapezoid = ((top - t + 1) / (before + 1) + precision) / 2
    integral = 1 - np.where(before > 0, (depth - top) / t * np.log1p(t / before), 0.0)
    least = t * np.maximum(trapezoid, integral)
    return sums_by(rows, least, len(curve.exact)), sums_by(rows, most, len(curve.exact))


def _error_of_area(curve: Curve, value: Floats, own: Floats, weight: Floats | Integers) -> Floats:
    """Standard error of the mean of `own` over the positives, by the influence function.

    The precision at a score has the weight `weight` / positives in that mean.
    """
    t, f = curve.positive, curve.negative
    gained, lost = curve.running(weight / curve.depth), curve.running(weight * curve.precision / curve.depth)
    hit = own + gained - curve.of_row(value) - lost
    error = np.sqrt(curve.sums(t * hit**2 + f * lost**2)) / curve.positives.astype(np.float64)
    # If all pairs are positive, the value cannot vary with the scores and says nothing about negatives to come.
    return np.where(curve.negatives > 0, error, np.nan)


def precision_recall_area(curve: Curve) -> Estimate:
    """Area under the precision-recall curve by trapezoids, from precision 1 at recall 0.

    With T, D the positives and all pairs above a score, t positives and f negatives on it, the score's part of the area
    is t (T / D + (T + t) / (D + t + f)) / 2 over all positives, T / D being 1 where D is 0.

    If scores are rounded, the pairs on a score may stand in any order. After a of the positives the precision is at
    most (T + a) / (D + a) and at least (T + a) / (D + f + a), both concave in a. So the part is at most t times the
    first at a = t / 2 (Hermite and Hadamard), and at least the trapezoid of the second from a = 0 to t.

    The standard error is as in `average_precision`; the bias is half as large, because only one end of each trapezoid
    counts the positive itself.
    """
    t, f, precision = curve.positive, curve.negative, curve.precision
    above, before = curve.top - t, curve.depth - t - f
    p = curve.positives.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.where(before > 0, above / before, 1.0)
        own = (start + precision) / 2
        value = curve.sums(t * own) / p
        most = curve.sums(np.where(t > 0, t * (above + t / 2) / (before + t / 2), 0.0)) / p
        least = curve.sums(np.where(t > 0, t * (np.where(f > 0, above / (before + f), start) + precision) / 2, 0.0)) / p
        bound = np.where(curve.exact, 0.0, np.maximum(most - value, value - least))
        following = np.zeros(len(t))
        following[1:] = np.where(curve.rows[1:] == curve.rows[:-1], t[:-1], 0)
        error = _error_of_area(curve, value, own, (t + following) / 2)
        bias = curve.sums(t * (1 - precision) / curve.depth) / p / 2
    return Estimate(value, bound, error, bias)


class Gains(NamedTuple):
    """Positives among the highest scores of each row.

    `taken` counts them; a `share` of the pairs on the lowest of these scores, the cut, belongs to them. `above` and
    `above_all` count positives and pairs above the cut, `at` and `at_all` those on it.
    """

    taken: Floats
    above: Floats
    above_all: Floats
    at: Floats
    at_all: Floats
    share: Floats


def gains(curve: Curve, depth: Floats) -> Gains:
    """Positives among the `depth` (0 < depth <= all) highest scores; ties and fractions of a pair count evenly."""
    if len(curve.rows) == 0:
        return Gains(*(np.full(len(curve.exact), np.nan) for _ in range(6)))
    pairs = curve.positive + curve.negative
    every = curve.positives + curve.negatives
    running = np.cumsum(pairs)
    before = np.concatenate([[0], running])[curve.starts]
    rest = np.floor(np.nan_to_num(np.maximum(every - depth, 0.0))).astype(np.int64)
    cut = np.minimum(np.searchsorted(running, before + rest, side="right"), len(pairs) - 1)
    above = (curve.positives - curve.positive_below[cut] - curve.positive[cut]).astype(np.float64)
    above_all = above + curve.negatives - curve.negative_below[cut] - curve.negative[cut]
    share = np.clip((depth - above_all) / pairs[cut], 0.0, 1.0)
    at = curve.positive[cut].astype(np.float64)
    return Gains(above + share * at, above, above_all, at, pairs[cut].astype(np.float64), share)


def lift(curve: Curve, share: float) -> Estimate:
    """Precision among the `share` highest scores (the top) over the share of positives (Ling and Li 1998).

    The standard error uses the influence function w (y - r) of the share of pairs that are positive and in the top: w
    is the part of the pair that lies in the top, r the rate of positives at the cut, from the n^(2/3) of n pairs
    around it. If scores are rounded, the top takes the positives on the cut first, or last.
    """
    p, every = curve.positives.astype(np.float64), (curve.positives + curve.negatives).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = share * every
        top = gains(curve, depth)
        value = top.taken / depth / (p / every)
        taken = top.share * top.at_all
        most, least = np.minimum(taken, top.at), np.maximum(0.0, taken - (top.at_all - top.at))
        off = np.maximum(most - top.share * top.at, top.share * top.at - least) / depth / (p / every)
        reach = np.minimum(every ** (2 / 3) / 2, np.minimum(depth, every - depth))
        rate = (gains(curve, depth + reach).taken - gains(curve, np.maximum(depth - reach, 1e-9)).taken) / (2 * reach)
        rate = np.where(reach > 0, rate, 0.0)

        def squares(weight: Floats | float, positive: Floats, negative: Floats) -> Floats:
            of_positive = (weight * (1 - rate) / share - value) ** 2
            sums: Floats = positive * of_positive + negative * (weight * rate / share) ** 2
            return sums

        under = p - top.above - top.at
        inside = squares(1.0, top.above, top.above_all - top.above) + squares(top.share, top.at, top.at_all - top.at)
        spread = (inside + squares(0.0, under, np.zeros_like(under))) / every - rate**2
        error = np.sqrt(np.where(spread > NEGLIGIBLE, spread, 0.0) / every) / (p / every)
        return Estimate(value, np.where(curve.exact, 0.0, off), error)


class AtPrecision(NamedTuple):
    """The lowest score whose precision reaches a target, and the recall there; NaN if no score does.

    `doubtful` is true if rounding hides whether a score does.
    """

    threshold: Estimate
    recall: Estimate
    doubtful: Flags


def at_precision(curve: Curve, target: float) -> AtPrecision:
    """The lowest threshold whose precision T / D is at least the target.

    T counts the positives at or above it, D all pairs. A rounded score is a threshold of the plain rows too, with the
    same T and D, so the true recall is no lower. The best threshold among the pairs on one rounded score takes all of
    its positives and none of its negatives, or a single negative if it has no positives.
    """
    top, depth = curve.top, curve.depth
    reaches = curve.precision >= target
    split = ~curve.exact[curve.rows] & (top / (depth - curve.negative + (curve.positive == 0)) >= target)

    def lowest(flags: Flags) -> Integers:
        first = np.full(len(curve.exact), len(curve.rows))
        np.minimum.at(first, curve.rows[flags], np.flatnonzero(flags))
        return first

    certain, possible = lowest(reaches), lowest(reaches | split)
    rounding = np.minimum(curve.scores, 1 - curve.scores) * 2.0**-BITS / (1 - 2.0**-BITS)

    def element(values: Floats, at: Integers) -> Floats:
        return np.append(values, np.nan)[at]

    threshold, nothing = element(curve.scores, certain), np.full(len(curve.exact), np.nan)
    lower = element(curve.scores, possible) - element(rounding, possible)
    bound = np.where(curve.exact, 0.0, np.maximum(element(rounding, certain), threshold - lower))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = element(top, certain) / curve.positives
        better = element(top, possible) / curve.positives
    return AtPrecision(
        Estimate(threshold, bound, nothing),
        Estimate(recall, better - recall, nothing),
        (certain == len(curve.rows)) & (possible < len(curve.rows)),
    )


# The best of one rate where another reaches a target. The thresholds are the scores and one above all of them, which
# makes no positive decision. Rounded scores are thresholds of the plain rows too. Thresholds among the pairs on one
# rounded score can only be better; the best one has all positives on it and no negative above it.


def recall_where(curve: Curve, allowed: Flags) -> Estimate:
    """The highest recall of an `allowed` score; all scores above an allowed one must be allowed."""
    certain, possible = np.zeros(len(curve.exact)), curve.positives.astype(np.float64)
    np.maximum.at(certain, curve.rows[allowed], curve.top[allowed])
    np.minimum.at(possible, curve.rows[~allowed], curve.top[~allowed])
    return _shares(curve, certain, possible, curve.positives)


def recall_at_specificity(curve: Curve, target: float) -> Estimate:
    """The highest recall of a threshold whose specificity is at least the target."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return recall_where(curve, curve.negative_below / curve.negatives[curve.rows] >= target)


def recall_at_false_positive_rate(curve: Curve, target: float) -> Estimate:
    """The highest recall of a threshold whose false positive rate is at most the target."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return recall_where(curve, (curve.depth - curve.top) / curve.negatives[curve.rows] <= target)


def specificity_at_recall(curve: Curve, target: float) -> Estimate:
    """The highest specificity of a threshold whose recall is at least the target."""
    reached, least = _recalls(curve, target), curve.negatives if target == 0 else np.zeros_like(curve.negatives)
    certain, possible = least.copy(), least.copy()
    np.maximum.at(certain, curve.rows[reached], curve.negative_below[reached])
    np.maximum.at(possible, curve.rows[reached], (curve.negative_below + curve.negative)[reached])
    return _shares(curve, certain, possible, curve.negatives)


def precision_at_recall(curve: Curve, target: float) -> Estimate:
    """The highest precision of a score whose recall is at least the target."""
    reached = _recalls(curve, target)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.where(curve.positive > 0, curve.top / (curve.depth - curve.negative), curve.precision)
    certain, possible = (np.full(len(curve.exact), np.nan) for _ in range(2))
    np.fmax.at(certain, curve.rows[reached], curve.precision[reached])
    np.fmax.at(possible, curve.rows[reached], best[reached])
    return _shares(curve, certain, possible, np.ones(len(certain)))


def _recalls(curve: Curve, target: float) -> Flags:
    """The scores whose recall is at least the target."""
    with np.errstate(divide="ignore", invalid="ignore"):
        reached: Flags = curve.top / curve.positives[curve.rows] >= target
    return reached


def _shares(
    curve: Curve, certain: Floats | Integers, possible: Floats | Integers, whole: Floats | Integers
) -> Estimate:
    """The share certain / whole; the plain rows may have any share up to possible / whole."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = certain / whole
        bound = np.where(curve.exact, 0.0, possible / whole - value)
        return Estimate(value, bound, np.full(len(certain), np.nan))
