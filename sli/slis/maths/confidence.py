"""Confidence intervals: how far a value computed from n independent pairs may lie from that of endless ones.

All are at the config's level and suppose that pairs are independent; labels that arrive late for reasons of their own
bias a value, which no interval tells. Limit: all but Wilson's rest on large numbers, and say nothing below two pairs.
SciPy is imported where it is needed, since it costs a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sli.slis.formula import UNDEFINED_SUM, UNLIMITED, Range, Values, because, plain
from sli.slis.states import Flags, Floats, Histograms, Integers, Merged


def normal(level: float) -> float:
    """z with a share `level` of the standard normal distribution within -z..z: 1.96 for 0.95."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def student(level: float, freedom: Any) -> Floats:
    """The same of Student's t distribution, also of a fraction of a degree of freedom; NaN below 1."""
    from scipy.special import stdtrit

    v = np.asarray(freedom, dtype=np.float64)
    return np.asarray(stdtrit(np.where(v < 1, np.nan, v), (1 + level) / 2), dtype=np.float64)


def wilson(part: Any, whole: Any, level: float) -> tuple[Floats, Floats]:
    """Wilson's score interval of a proportion (Wilson 1927); NaN where whole is 0."""
    part, whole, z = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64), normal(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = part / whole
        middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
        half = z / (1 + z**2 / whole) * np.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2))
    # At 0 and 1 the interval ends there exactly; rounding must not move the end past the value.
    return np.where(part == 0, 0.0, middle - half), np.where(part == whole, 1.0, middle + half)


def proportion(s: Merged, part: Any, whole: Any, *cases: tuple[Flags, str]) -> Values:
    """part / whole with Wilson's interval; undefined for the reasons in `cases`."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = part / whole
    found = plain(share, because(*cases))
    low, high = wilson(part, whole, s.level)
    return found.within(*(np.where(np.isnan(found.value), np.nan, each) for each in (low, high)))


def symmetric(found: Values, error: Floats, factor: Any) -> Values:
    """Value -+ factor x standard error; none where the error is not known."""
    return found.within(found.value - factor * error, found.value + factor * error)


def mean_of(s: Merged, sums: Any, squares: Any, number: Any, missing: str, range: Range = UNLIMITED) -> Values:
    """sum / number with Student's interval; undefined without rows or where the sum is.

    `squares` is the sum of the squared terms; where it is undefined the interval is null. The mean of few terms that
    lie in a `range` is far from normal near its end. With two ends the interval is that of the terms and one more at
    each end, as Agresti and Caffo (2000) add one success and one failure to a share; with an end at 0 it is symmetric
    in the logarithm of the value.
    """
    number = np.asarray(number)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = sums / number
    found = plain(value, because((number == 0, missing), (np.isnan(value) & (number > 0), UNDEFINED_SUM)))
    factor = student(s.level, number - 1)
    least, most = range
    if np.isfinite(most):
        middle, error = _spread(sums + (least + most), squares + (least**2 + most**2), number + 2)
        return found.within(middle - factor * error, middle + factor * error)
    middle, error = _spread(sums, squares, number)
    return found.within(*on_log_scale(middle, error, factor)) if least == 0 else symmetric(found, error, factor)


def _spread(sums: Any, squares: Any, number: Any) -> tuple[Floats, Floats]:
    """The mean of so many terms and its standard error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / number
        variance = (squares - sums * mean) / (number - 1)
        # Rounding of the squares is noise of up to this size: where it drowns the variance the interval grows with it.
        variance = np.maximum(variance, 0) + squares * 2.0**-50 / (number - 1)
        return mean, np.sqrt(variance / number)


def on_log_scale(value: Floats, error: Floats, factor: Floats) -> tuple[Floats, Floats]:
    """Ends of the interval of a positive value whose logarithm is nearer to normal than it is itself.

    None where so little is known that an end has no number.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        times = np.exp(factor * error / value)
        low, high = value / times, value * times
    known = np.isfinite(high)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def delta(value: Floats, counts: list[Integers], gradient: list[Floats]) -> Floats:
    """Standard error of a function of cell counts of a multinomial, by the delta method.

    `gradient` holds its derivatives by each cell's share of all; Agresti (2013), Categorical Data Analysis, 16.1.
    """
    total = sum(np.asarray(each, dtype=np.float64) for each in counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [np.where(each == 0, 0.0, each / total) for each in counts]
        terms = [np.where(share == 0, 0.0, slope) for share, slope in zip(shares, gradient, strict=True)]
        mean = sum(share * slope for share, slope in zip(shares, terms, strict=True))
        spread = sum(share * slope**2 for share, slope in zip(shares, terms, strict=True)) - mean**2
        error: Floats = np.sqrt(np.maximum(spread, 0.0) / total)
    return np.where(np.isnan(value), np.nan, error)


def of_counts(
    s: Merged, function: Callable[[Any], Floats], counts: list[Integers], *cases: tuple[Flags, str]
) -> Values:
    """A function of cell counts (n rows, cells as columns) that no scale changes, with a delta-method interval.

    The derivatives are taken by central differences, a step of 2^-20 of all pairs.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = np.stack([np.asarray(each, dtype=np.float64) for each in counts], axis=-1)
        value = np.asarray(function(cells), dtype=np.float64)
        total = cells.sum(axis=-1, keepdims=True)
        shares, step = cells / total, 2.0**-20
        gradient = []
        for i in range(len(counts)):
            # Where a cell is empty its share cannot fall; its slope has no weight there anyway.
            up, down = shares.copy(), shares.copy()
            up[..., i] += step
            down[..., i] -= np.minimum(step, down[..., i])
            gradient.append((function(up) - function(down)) / (up[..., i] - down[..., i]))
        error = delta(value, counts, gradient)
    return symmetric(plain(value, because(*cases)), error, normal(s.level))


Moment = Callable[[int, int], Any]


def polynomial_variance(terms: Mapping[tuple[int, int], Any], moment: Moment) -> Floats:
    """Variance of sum over (a, b) of terms[a, b] x^a y^b, from the moments E[x^a y^b]; negative if lost to rounding."""
    mean: Any = sum(c * moment(*m) for m, c in terms.items())
    square: Any = sum(c * d * moment(m[0] + k[0], m[1] + k[1]) for m, c in terms.items() for k, d in terms.items())
    return np.asarray(square - mean**2, dtype=np.float64)


def order_statistics(of: Histograms, q: float, level: float, at: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Distribution-free interval of a quantile: the order statistics of ranks n q -+ z sqrt(n q (1 - q)).

    Conover (1999), Practical Nonparametric Statistics, section 3.2. `at` gives the values at ranks from 1 to n; an end
    beyond the data is NaN.
    """
    n = of.totals.astype(np.float64)
    half = normal(level) * np.sqrt(n * q * (1 - q))
    low, high = np.ceil(n * q - half), np.ceil(n * q + half)
    return (
        np.where(low < 1, np.nan, at(np.clip(low, 1, np.maximum(n, 1)))),
        np.where(high > n, np.nan, at(np.clip(high, 1, np.maximum(n, 1)))),
    )
