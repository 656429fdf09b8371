"""Intervals of the difference of two values of an SLI, second minus first: of other pairs, of some or all of the same.

An interval of a difference needs more than the two intervals beside each other: they may overlap although the values
surely differ. Limit: all suppose independent requests; `of_independent` also that the two values rest on other ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sli.slis.formula import Values
from sli.slis.maths.confidence import Counts, student, wilson
from sli.slis.states import Floats

DEFINED = 0.9
"""A bootstrap interval needs a value for at least this share of the resamples."""


class Difference(NamedTuple):
    """Differences of n rows, second minus first, with both ends of their intervals; NaN where there is none."""

    value: Floats
    low: Floats
    high: Floats


def of_independent(first: Values, second: Values) -> Difference:
    """The difference of two values that rest on different pairs, from the interval that each of them has.

    The method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27: 1693). Of two shares with
    Wilson's intervals it is the hybrid score interval, method 10 of Newcombe (1998, Statistics in Medicine 17: 873). If
    both values rest on the same requests, it is mostly too wide.

    >>> champion = Values(*(np.array([x]) for x in (0.8, None, 0.711, 0.867, 0.0, np.nan, np.nan)))
    >>> challenger = Values(*(np.array([x]) for x in (0.9, None, 0.826, 0.945, 0.0, np.nan, np.nan)))
    >>> [float(end[0].round(3)) for end in of_independent(champion, challenger)]
    [0.1, 0.0, 0.2]
    """
    return _recovered(second.value, second.low, second.high, first.value, first.low, first.high, 0.0)


def of_sharing(
    first: Values, second: Values, shared: npt.ArrayLike, number: npt.ArrayLike, number_second: npt.ArrayLike
) -> Difference:
    """The difference of two values that share pairs: of overlapping windows, or of the whole and a slice of it.

    The interval recovers the variances from both intervals (Zou 2008, Statistics in Medicine 27: 1693), with the
    correlation of two means of n1 and n2 pairs of which m are the same: r = m / sqrt(n1 n2) (Cochran 1977, Sampling
    Techniques, section 12.10, of overlapping samples). Count the pairs that the SLI rests on: those with a label for
    one that needs labels. The r of other SLIs than means is nearly this one where the shared pairs are like the others.
    Simulated at 0.95 (docs/benchmarks.md), it holds the true difference in 93 to 98 of 100 cases; in 92 or
    93 of a 0.9-quantile of a slice unlike the whole, and of the log loss of a slice of 30 pairs.

    >>> whole = Values(*(np.array([x]) for x in (0.8, None, 0.775, 0.824, 0.0, np.nan, np.nan)))  # of 1,000 pairs
    >>> slice = Values(*(np.array([x]) for x in (0.75, None, 0.711, 0.786, 0.0, np.nan, np.nan)))  # of 500 of them
    >>> [float(end[0].round(3)) for end in of_sharing(whole, slice, 500, 1000, 500)]
    [-0.05, -0.078, -0.025]
    """
    m, n, n_second = (np.asarray(count, dtype=np.float64) for count in (shared, number, number_second))
    with np.errstate(divide="ignore", invalid="ignore"):
        # Without a pair there is no value either.
        r = np.where(m == 0, 0.0, m / np.sqrt(n * n_second))
    return _recovered(second.value, second.low, second.high, first.value, first.low, first.high, r)


def _recovered(
    value: Floats, low: Floats, high: Floats, other: Floats, low_other: Floats, high_other: Floats, r: Floats | float
) -> Difference:
    """value - other, from the ends of both intervals and the correlation `r` of the two values."""
    difference = value - other
    below, above = value - low, high - value
    below_other, above_other = other - low_other, high_other - other
    # Rounding may leave a square of 0 just below 0.
    down = np.sqrt(np.maximum(below**2 - 2 * r * below * above_other + above_other**2, 0.0))
    up = np.sqrt(np.maximum(above**2 - 2 * r * above * below_other + below_other**2, 0.0))
    return Difference(difference, difference - down, difference + up)


def of_paired_shares(
    both: npt.ArrayLike, only_first: npt.ArrayLike, only_second: npt.ArrayLike, neither: npt.ArrayLike, level: float
) -> Difference:
    """The difference of two shares of the same requests, from how many of them count on both sides, on one, on none.

    Method 10 of Newcombe (1998, Statistics in Medicine 17: 2635): Wilson's interval of each share, and the correlation
    of the two, corrected for continuity. NaN without requests.

    >>> [float(end.round(4)) for end in of_paired_shares(36, 2, 12, 0, 0.95)]  # an example of that paper
    [0.2, 0.0569, 0.3404]
    """
    a, b, c, d = (np.asarray(count, dtype=np.float64) for count in (both, only_first, only_second, neither))
    n = a + b + c + d
    product = a * d - b * c
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = np.sqrt((a + b) * (c + d) * (a + c) * (b + d))
        corrected = np.where(product > 0, np.maximum(product - n / 2, 0.0), product)
        r = np.where(margins == 0, 0.0, corrected / margins)
        first, second = (a + b) / n, (a + c) / n
    low, high = wilson(a + c, n, level)
    low_first, high_first = wilson(a + b, n, level)
    return _recovered(second, low, high, first, low_first, high_first, r)


def mcnemar(only_first: Counts | int, only_second: Counts | int) -> Floats:
    """P value of McNemar's test that two shares of the same requests are equal: from the requests that differ.

    The mid-p version of the exact test (Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13: 91):
    it holds its level as the exact one does in nearly all cases, and finds more. 1 if no request differs.

    >>> float(mcnemar(1, 7).round(4))  # an example of that paper
    0.0391
    """
    from scipy.special import betainc

    first, second = np.asarray(only_first, dtype=np.float64), np.asarray(only_second, dtype=np.float64)
    fewer, more = np.minimum(first, second), np.maximum(first, second)
    # The binomial probability of at most k of n, each with probability 1/2, is betainc(n - k, k + 1, 1/2).
    at_most = betainc(np.maximum(more, 1), fewer + 1, 0.5)
    fewer_still = np.where(fewer == 0, 0.0, betainc(more + 1, np.maximum(fewer, 1), 0.5))
    return np.where(more == 0, 1.0, np.minimum(at_most + fewer_still, 1.0))


def of_resamples(resampled: Floats, requests: int, level: float) -> tuple[float, float]:
    """Both ends of the interval of a value, from its values in resamples of so many requests; NaN if too few have one.

    The percentile interval of the bootstrap (Efron 1979), widened for few requests as far as Student's interval is
    wider than the normal one with the variance of the sample (Hesterberg 2015, The American Statistician 69: 371).

    >>> values = np.arange(1.0, 1000.0)
    >>> [tuple(map(round, of_resamples(values, requests, 0.95))) for requests in (1_000_000, 20)]
    [(25, 975), (16, 984)]
    """
    from scipy.special import ndtr

    defined = resampled[~np.isnan(resampled)]
    if requests < 2 or len(defined) < DEFINED * len(resampled):
        return np.nan, np.nan
    tail = float(ndtr(-student(level, requests - 1) * np.sqrt(requests / (requests - 1))))
    low, high = np.quantile(defined, [tail, 1 - tail], method="weibull")
    return float(low), float(high)
