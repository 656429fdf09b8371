"""Distances between two distributions, row by row: the maps from value to count of a window and of its reference.

A `Pairing` lays both maps side by side, so that each distance is a few passes over flat arrays. Limit: a distance is of
what was counted; every one but the difference of means is above 0 by chance alone, the more so the fewer the values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.slis.states import BITS, Flags, Floats, Groups, Histograms, Integers, sums_by, totals_by

if TYPE_CHECKING:
    pass

SMOOTHING = 0.5
"""Added to the count of every bin, as Jeffreys's prior does, where an empty one would make a distance infinite."""


@dataclass(frozen=True)
class Pairing:
    """For each of `size` rows a map from key to two counts, flat, ascending by row and key."""

    size: int
    rows: Integers
    keys: Floats
    now: Integers
    then: Integers

    @cached_property
    def offsets(self) -> Integers:
        """Row i lies at `offsets[i]:offsets[i + 1]`."""
        return np.searchsorted(self.rows, np.arange(self.size + 1))

    @cached_property
    def totals(self) -> tuple[Integers, Integers]:
        """Number of values in each row, now and then."""
        return totals_by(self.offsets, self.now), totals_by(self.offsets, self.then)

    @cached_property
    def lengths(self) -> Integers:
        """Number of keys in each row."""
        return np.diff(self.offsets)

    def shares(self, extra: float = 0.0) -> tuple[Floats, Floats]:
        """The counts as shares of their row, `extra` added to each of them first; NaN for nothing of nothing."""
        found = []
        for counts, totals in zip((self.now, self.then), self.totals, strict=True):
            with np.errstate(invalid="ignore"):
                found.append((counts + extra) / (totals + extra * self.lengths)[self.rows])
        return found[0], found[1]

    def running(self) -> tuple[Integers, Integers]:
        """Counts up to and including each key of the row."""
        found = []
        for counts in (self.now, self.then):
            sums = np.concatenate([[0], np.cumsum(counts)])
            found.append(sums[1:] - sums[self.offsets[:-1]][self.rows])
        return found[0], found[1]

    def sums(self, terms: Floats) -> Floats:
        """Sum of the terms of each row."""
        return sums_by(self.rows, terms, self.size)

    def largest(self, terms: Floats) -> Floats:
        """The largest term of each row, 0 for an empty one."""
        found = np.zeros(self.size)
        filled = np.flatnonzero(self.lengths)
        if len(filled):
            found[filled] = np.maximum.reduceat(terms, self.offsets[filled])
        return found


def _joined(size: int, rows: Integers, keys: Floats, now: Integers, then: Integers) -> Pairing:
    """Counts of equal keys of a row added up."""
    order = np.lexsort((keys, rows))
    rows, keys, now, then = rows[order], keys[order], now[order], then[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]) | (keys[1:] != keys[:-1])
    at = np.flatnonzero(first)
    return Pairing(size, rows[at], keys[at], np.add.reduceat(now, at), np.add.reduceat(then, at))


def _aligned(now: Histograms | Groups, then: Histograms | Groups, keys: Floats) -> Pairing:
    rows = np.concatenate([now.rows, then.rows])
    ours = np.concatenate([now.counts, np.zeros_like(then.counts)])
    theirs = np.concatenate([np.zeros_like(now.counts), then.counts])
    return _joined(len(now.offsets) - 1, rows, keys, ours, theirs)


def of_numbers(now: Histograms, then: Histograms, exact: Flags) -> Pairing:
    """Two histograms side by side, of rounded values where `exact` is false."""
    return _aligned(now, then, np.concatenate([now.where_exact(exact), then.where_exact(exact)]))


def of_texts(now: Groups, then: Groups) -> Pairing:
    """Two groups side by side, keys in the order of their texts: as they come, those of other rows would decide."""
    texts = np.concatenate([now.keys, then.keys])
    # Equal numbers are one category, and the two zeros of floats are equal but have different texts.
    encoded = pa.array(np.where(texts == "-0.0", "0.0", texts), pa.string()).dictionary_encode()
    place = np.empty(len(encoded.dictionary), dtype=np.int64)
    place[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(place))
    codes = place[encoded.indices.to_numpy()]
    return _aligned(now, then, codes.astype(np.float64))


def in_bins(of: Pairing, bins: int) -> Pairing:
    """The counts in bins (e[i - 1], e[i]] whose edges e[1] .. e[bins - 1] are quantiles of the reference.

    e[i] is the smallest value with at least i / bins of the reference up to it (Hyndman and Fan 1996, type 1); equal
    edges are one. The first bin has no lower end and the last no upper end.
    """
    # The edges below a value are those i with i / bins <= the share of the reference below it.
    below = (of.running()[1] - of.then) * bins // np.maximum(of.totals[1], 1)[of.rows]
    # The last bin may hold nothing on either side and is a bin nevertheless.
    last = np.arange(of.size)
    nothing = np.zeros(of.size, dtype=np.int64)
    return _joined(
        of.size,
        np.concatenate([of.rows, last]),
        np.concatenate([np.minimum(below, bins - 1), np.full(of.size, bins - 1)]).astype(np.float64),
        np.concatenate([of.now, nothing]),
        np.concatenate([of.then, nothing]),
    )


def kolmogorov_smirnov(of: Pairing, exact: Flags) -> tuple[Floats, Floats]:
    """Largest difference of the two distribution functions (Smirnov 1948), and a bound on its error.

    Rounding keeps order, so the functions are right wherever one rounded value ends and the next begins: the value is
    never too large. Within one rounded value, at worst all values of one side come before all of the other.
    """
    (n, m), (now, then) = of.totals, of.running()
    with np.errstate(divide="ignore", invalid="ignore"):
        ours, theirs = now / n[of.rows], then / m[of.rows]
        ours_before, theirs_before = (now - of.now) / n[of.rows], (then - of.then) / m[of.rows]
    value = of.largest(np.abs(ours - theirs))
    most = of.largest(np.maximum(ours - theirs_before, theirs - ours_before))
    return value, np.where(exact, 0.0, most - value)


def wasserstein(of: Pairing, exact: Flags) -> tuple[Floats, Floats]:
    """Area between the two distribution functions: the first Wasserstein distance (Vallender 1974), and its bound.

    Rounding moves no value by more than 2^-BITS of its size, and the distance by no more than both means of that. Inf
    where values are too large to be subtracted.
    """
    (n, m), (now, then) = of.totals, of.running()
    last = np.ones(len(of.rows), dtype=bool)
    last[:-1] = of.rows[1:] != of.rows[:-1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        apart = np.abs(now / n[of.rows] - then / m[of.rows])
        width = np.where(last, 0.0, np.diff(of.keys, append=0.0))
        # Two sides that agree up to here have no area, however wide the gap.
        value = of.sums(np.where(apart == 0, 0.0, apart * width))
        p, q = of.shares()
        bound = of.sums(np.abs(of.keys) * (2.0**-BITS / (1 - 2.0**-BITS)) * (p + q))
    return value, np.where(exact, 0.0, bound)


def stability(of: Pairing) -> Floats:
    """Population stability index, Jeffreys's divergence (Jeffreys 1946), of smoothed shares."""
    p, q = of.shares(SMOOTHING)
    return of.sums((p - q) * np.log(p / q))


def kullback_leibler(of: Pairing) -> Floats:
    """Divergence of the window from its reference in nats (Kullback and Leibler 1951), of smoothed shares."""
    p, q = of.shares(SMOOTHING)
    return np.maximum(of.sums(p * np.log(p / q)), 0.0)


def jensen_shannon(of: Pairing) -> Floats:
    """Square root of the Jensen-Shannon divergence to base 2 (Lin 1991; Endres and Schindelin 2003)."""
    p, q = of.shares()
    with np.errstate(divide="ignore", invalid="ignore"):
        d = (p - q) / (p + q)
        # p ln(p / mean) + q ln(q / mean), written so that nothing cancels where p and q are close.
        terms = np.where(np.abs(d) == 1, 2 * math.log(2), np.log1p(-(d**2)) + 2 * d * np.arctanh(d))
        terms = np.where(p + q == 0, 0.0, (p + q) / 2 * terms)
    return np.sqrt(np.clip(of.sums(terms) / (2 * math.log(2)), 0.0, 1.0))


def hellinger(of: Pairing) -> Floats:
    """Hellinger distance, from 0 to 1 (Hellinger 1909; Le Cam and Yang 2000)."""
    p, q = of.shares()
    return np.minimum(np.sqrt(of.sums((np.sqrt(p) - np.sqrt(q)) ** 2) / 2), 1.0)


def total_variation(of: Pairing) -> Floats:
    """Half the sum of the differences of the two shares of a key: the largest difference of the shares of any set of
    keys, from 0 to 1 (Levin and Peres 2017, section 4.1)."""
    p, q = of.shares()
    return np.minimum(of.sums(np.abs(p - q)) / 2, 1.0)


def l_infinity(of: Pairing) -> Floats:
    """Largest difference of the two shares of a key."""
    p, q = of.shares()
    return of.largest(np.abs(p - q))


def chi_squared(of: Pairing) -> tuple[Floats, Integers]:
    """Pearson's statistic of the table of two rows and a column a key (Pearson 1900), and its degrees of freedom."""
    p, q = of.shares()
    n, m = of.totals
    return of.sums((p - q) ** 2 / (of.now + of.then)) * n * m, np.maximum(of.lengths - 1, 0)


def smirnov_p(distance: Floats, n: Integers, m: Integers) -> Floats:
    """Asymptotic two-sided p-value of a Kolmogorov-Smirnov distance of n and m values (Smirnov 1948)."""
    from scipy.special import kolmogorov

    with np.errstate(invalid="ignore"):
        return np.asarray(kolmogorov(distance * np.sqrt(n / (n + m) * m)), dtype=np.float64)


def chi_squared_p(x: Floats, freedom: Integers) -> Floats:
    """P(X > x) of the chi-squared distribution; 1 without any freedom, NaN where x is."""
    from scipy.special import chdtrc

    return np.where((freedom == 0) & ~np.isnan(x), 1.0, chdtrc(freedom, x))
