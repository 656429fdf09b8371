"""Confidence intervals of shares, means and functions of counts.

All intervals suppose independent pairs, and that labels do not arrive late for a reason that depends on them. Limit:
all but Wilson's suppose many pairs, and need at least two. SciPy is imported where it is used, because importing it
takes a quarter of a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sli.slis.formula import UNDEFINED_SUM, UNLIMITED, Range, Values, because, plain
from sli.slis.states import Flags, Floats, Integers, Merged

Counts = Floats | Integers


USUAL = {0.9: 1.6448536269514722, 0.95: 1.959963984540054, 0.99: 2.5758293035489004}
"""What SciPy gives for usual levels, since importing it takes a quarter of an hourly run."""


def normal(level: float) -> float:
    """z such that a share `level` of the standard normal distribution lies between -z and z: 1.96 for 0.95."""
    if level in USUAL:
        return USUAL[level]
    # The normal distribution of Python is 2 units in the last place off at 0.95: published intervals would change.
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def outside(z: float) -> float:
    """The share of the standard normal distribution that lies beyond -z and z: 0.05 for 1.96."""
    return math.erfc(z / math.sqrt(2))


def student(level: float, freedom: npt.ArrayLike) -> Floats:
    """The same number for Student's t distribution; NaN below 1 degree of freedom, which need not be whole."""
    from scipy.special import stdtrit

    v = np.asarray(freedom, dtype=np.float64)
    # Many windows have as many pairs as another one.
    different, at = np.unique(v, return_inverse=True)
    factors = stdtrit(np.where(different < 1, np.nan, different), (1 + level) / 2)
    return np.asarray(factors, dtype=np.float64)[at.reshape(v.shape)]


def wilson(part: npt.ArrayLike, whole: npt.ArrayLike, level: float) -> tuple[Floats, Floats]:
    """Both ends of Wilson's score interval (Wilson 1927) of the share part / whole; NaN where whole is 0.

    >>> low, high = wilson(np.array([8, 0]), np.array([10, 10]), 0.95)
    >>> low.round(3), high.round(3)
    (array([0.49, 0.  ]), array([0.943, 0.278]))
    """
    part, whole, z = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64), normal(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = part / whole
        middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
        half = z / (1 + z**2 / whole) * np.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2))
    # At a share of 0 or 1 the interval ends exactly there; rounding must not move that end past the value.
    return np.where(part == 0, 0.0, middle - half), np.where(part == whole, 1.0, middle + half)


def proportion(s: Merged, part: npt.ArrayLike, whole: npt.ArrayLike, *cases: tuple[Flags, str]) -> Values:
    """The share part / whole with Wilson's interval at `s.level`; undefined where a flag of `cases` is true.

    >>> s = Merged(np.array([10, 0]), np.array([10, 0]), {}, np.array([1, 2]))
    >>> values = proportion(s, np.array([8, 0]), s.labelled, (s.labelled == 0, "no labelled predictions"))
    >>> values.value, values.low.round(3)
    (array([0.8, nan]), array([0.49,  nan]))
    """
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = part / whole
    values = plain(share, because(*cases))
    low, high = wilson(part, whole, s.level)
    undefined = np.isnan(values.value)
    return values.within(np.where(undefined, np.nan, low), np.where(undefined, np.nan, high))


def symmetric(values: Values, error: Floats, factor: Floats | float) -> Values:
    """The interval value -+ factor x standard error; none where the error is NaN."""
    return values.within(values.value - factor * error, values.value + factor * error)


def mean_of(
    s: Merged,
    sums: Floats,
    squares: Floats,
    number: Counts,
    missing: str,
    range: Range = UNLIMITED,
    *cases: tuple[Flags, str],
) -> Values:
    """The mean sums / number with Student's interval at `s.level`.

    The value is undefined where a flag of `cases` is true, where `number` is 0, with the reason `missing`, and where
    the sum is NaN. `squares` is the sum of the squared terms; where it is NaN there is no interval.

    The mean of few terms that lie in a `range` is far from normal near an end of the range. With two finite ends the
    interval is computed with one more term at each end, as Agresti and Caffo (2000) add one success and one
    failure to a share. With one end, at 0, the interval is symmetric in the logarithm of the value.

    >>> s = Merged(np.array([4]), np.array([4]), {}, np.array([1]))
    >>> mean = mean_of(s, np.array([20.0]), np.array([130.0]), np.array([4]), "no values")
    >>> mean.value, mean.low.round(2), mean.high.round(2)
    (array([5.]), array([-0.03]), array([10.03]))
    """
    number = np.asarray(number, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = sums / number
    values = plain(value, because(*cases, (number == 0, missing), (np.isnan(value), UNDEFINED_SUM)))
    factor = student(s.level, number - 1)
    least, most = range
    if np.isfinite(most):
        middle, error = _mean_and_error(sums + (least + most), squares + (least**2 + most**2), number + 2)
        return values.within(middle - factor * error, middle + factor * error)
    middle, error = _mean_and_error(sums, squares, number)
    return values.within(*on_log_scale(middle, error, factor)) if least == 0 else symmetric(values, error, factor)


def _mean_and_error(sums: Floats, squares: Floats, number: Counts) -> tuple[Floats, Floats]:
    """The mean of `number` terms, and its standard error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / number
        variance = (squares - sums * mean) / (number - 1)
        # Rounding of the squares adds noise up to this size. Where it drowns the variance, the interval must grow.
        variance = np.maximum(variance, 0) + squares * 2.0**-50 / (number - 1)
        return mean, np.sqrt(variance / number)


def on_log_scale(value: Floats, error: Floats, factor: Floats) -> tuple[Floats, Floats]:
    """Ends of an interval of a positive value that is symmetric in its logarithm, which is nearer to normal.

    NaN where the error is so large that an end overflows.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        times = np.exp(factor * error / value)
        low, high = value / times, value * times
    known = np.isfinite(high)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def delta(value: Floats, counts: Sequence[Counts], gradient: Sequence[Floats]) -> Floats:
    """Standard error of a function of the cell counts of a multinomial, by the delta method.

    `gradient` holds the derivatives of the function by the share of each cell. Agresti (2013), Categorical Data
    Analysis, 16.1.
    """
    total = sum(np.asarray(count, dtype=np.float64) for count in counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [np.where(count == 0, 0.0, count / total) for count in counts]
        terms = [np.where(share == 0, 0.0, slope) for share, slope in zip(shares, gradient, strict=True)]
        mean = sum(share * slope for share, slope in zip(shares, terms, strict=True))
        spread = sum(share * slope**2 for share, slope in zip(shares, terms, strict=True)) - mean**2
        error: Floats = np.sqrt(np.maximum(spread, 0.0) / total)
    return np.where(np.isnan(value), np.nan, error)


def of_counts(
    s: Merged, function: Callable[[Floats], Floats], counts: Sequence[Counts], *cases: tuple[Flags, str]
) -> Values:
    """A function of the counts of cells with a delta-method interval at `s.level`; undefined where a case holds.

    `function` takes an array of n rows with the cells as its last axis, and must give the same value for counts and for
    shares. Its derivatives are central differences, with a step of 2^-20 of all pairs.

    >>> s = Merged(np.array([100]), np.array([100]), {}, np.array([1]))
    >>> yes, no = np.array([60]), np.array([40])
    >>> odds = of_counts(s, lambda cells: cells[..., 0] / cells[..., 1], [yes, no], (no == 0, "no noes"))
    >>> odds.value, odds.low.round(2), odds.high.round(2)
    (array([1.5]), array([0.9]), array([2.1]))
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = np.stack([np.asarray(count, dtype=np.float64) for count in counts], axis=-1)
        value = np.asarray(function(cells), dtype=np.float64)
        total = cells.sum(axis=-1, keepdims=True)
        shares, step = cells / total, 2.0**-20
        gradient = []
        for i in range(len(counts)):
            # The share of an empty cell cannot fall; its slope has no weight in the error anyway.
            up, down = shares.copy(), shares.copy()
            up[..., i] += step
            down[..., i] -= np.minimum(step, down[..., i])
            gradient.append((function(up) - function(down)) / (up[..., i] - down[..., i]))
        error = delta(value, counts, gradient)
    return symmetric(plain(value, because(*cases)), error, normal(s.level))
