"""Quantiles of histograms, with their error bounds and distribution-free intervals.

They interpolate linearly between order statistics (Hyndman and Fan 1996, type 7, as NumPy does). Limit: beyond
EXACT_ROWS values a histogram is rounded, and the bound is a relative 2^-10 of the larger neighbour.
"""

from __future__ import annotations

import numpy as np

from sli.slis.formula import UNDEFINED_SUM, Values, because, plain
from sli.slis.kinds.histograms import Histograms
from sli.slis.kinds.rounding import BITS
from sli.slis.maths.confidence import normal
from sli.slis.states import Floats, Integers, Merged

ROUNDING = 2.0**-BITS / (1 - 2.0**-BITS)
"""How far a value may lie from its rounded one, relative to the rounded one."""


def quantile_of(s: Merged, histogram: Histograms, q: float, missing: str) -> Values:
    """The q-quantile of each row with its interval at `s.level`; `missing` is the reason for an empty row."""
    value, bound = quantiles(histogram, q)
    values = plain(value, because((histogram.totals == 0, missing), (~np.isfinite(value), UNDEFINED_SUM)), bound)
    return values.within(*quantile_interval(histogram, q, s.level))


def quantiles(histogram: Histograms, q: float) -> tuple[Floats, Floats]:
    """The q-quantile of each row and a bound on its error; NaN for an empty row.

    >>> waits = Histograms(np.array([0, 2]), np.array([1.0, 5.0]), np.array([3, 1]), np.array([0, 0]), np.array([True]))
    >>> quantiles(waits, 0.5)
    (array([1.]), array([0.]))
    """
    totals = histogram.totals
    rank = q * np.maximum(totals - 1, 0)
    lower = np.floor(rank).astype(np.int64)
    low = _value_at(histogram, lower)
    high = _value_at(histogram, np.minimum(lower + 1, np.maximum(totals - 1, 0)))
    share = rank - lower
    with np.errstate(invalid="ignore"):
        value = np.where(low == high, low, low * (1 - share) + high * share)
        bound = np.where(histogram.exact, 0.0, np.maximum(np.abs(low), np.abs(high)) * ROUNDING)
    return np.where(totals == 0, np.nan, value), np.where(totals == 0, np.nan, bound)


def quantile_interval(histogram: Histograms, q: float, level: float) -> tuple[Floats, Floats]:
    """Distribution-free interval: the values at the ranks n q -+ z sqrt(n q (1 - q)) of n values.

    Conover (1999), Practical Nonparametric Statistics, section 3.2. The ends are moved outwards by what rounding may
    have done. NaN where an end lies beyond the data, and at q of 0 and 1: nothing is known beyond an extreme.
    """
    n = histogram.totals.astype(np.float64)
    half = normal(level) * np.sqrt(n * q * (1 - q))

    def value_at(rank: Floats) -> Floats:
        return _value_at(histogram, np.clip(rank, 1, np.maximum(n, 1)).astype(np.int64) - 1)

    low_rank, high_rank = np.ceil(n * q - half), np.ceil(n * q + half)
    low = np.where(low_rank < 1, np.nan, value_at(low_rank))
    high = np.where(high_rank > n, np.nan, value_at(high_rank))
    with np.errstate(invalid="ignore"):
        rounding = np.where(histogram.exact, 0.0, ROUNDING)
        low, high = low - np.abs(low) * rounding, high + np.abs(high) * rounding
        known = np.isfinite(low) & np.isfinite(high) & (0 < q < 1)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _value_at(histogram: Histograms, rank: Integers) -> Floats:
    """The value with this rank, from 0, in each row; any value where the row is empty."""
    if len(histogram.keys) == 0:
        return np.full(len(histogram.exact), np.nan)
    running = np.cumsum(histogram.counts)
    before = np.concatenate([[0], running])[histogram.offsets[:-1]]
    return histogram.keys[np.minimum(np.searchsorted(running, before + rank, side="right"), len(histogram.keys) - 1)]
