"""Distances between the values of a window and of its reference, for many rows at once.

A `Pairing` holds the counts of both sides by value, so that each distance is a few passes over flat arrays. Limit: a
distance is above 0 by chance alone, the more so the fewer the values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.slis.kinds.groups import Groups
from sli.slis.kinds.histograms import Histograms
from sli.slis.kinds.rounding import BITS
from sli.slis.states import Flags, Floats, Integers, sums_by, totals_by

SMOOTHING = 0.5
"""Added to the count of every bin, as Jeffreys's prior does, so that an empty bin makes no distance infinite."""


@dataclass(frozen=True)
class Pairing:
    """For each of `size` rows its keys and how many values the window (`now`) and the reference (`then`) have of each.

    The arrays are flat, ascending by row and key. A key is a number, a bin or the place of a text.
    """

    size: int
    rows: Integers
    keys: Floats
    now: Integers
    then: Integers

    @cached_property
    def offsets(self) -> Integers:
        """The elements of row i are `offsets[i]:offsets[i + 1]`."""
        return np.searchsorted(self.rows, np.arange(self.size + 1))

    @cached_property
    def totals(self) -> tuple[Integers, Integers]:
        """Number of values in each row: of the window, and of the reference."""
        return totals_by(self.offsets, self.now), totals_by(self.offsets, self.then)

    @cached_property
    def lengths(self) -> Integers:
        """Number of keys in each row."""
        return np.diff(self.offsets)

    def shares(self, extra: float = 0.0) -> tuple[Floats, Floats]:
        """Share of each key among the values of its row, on both sides, after adding `extra` to every count.

        NaN where a row has no value and nothing was added.
        """
        return self._share(self.now, self.totals[0], extra), self._share(self.then, self.totals[1], extra)

    def _share(self, counts: Integers, totals: Integers, extra: float) -> Floats:
        with np.errstate(invalid="ignore"):
            shares: Floats = (counts + extra) / (totals + extra * self.lengths)[self.rows]
        return shares

    def running(self) -> tuple[Integers, Integers]:
        """Number of values up to and including each key of the row, on both sides."""
        return self._running(self.now), self._running(self.then)

    def _running(self, counts: Integers) -> Integers:
        sums = np.concatenate([[0], np.cumsum(counts)])
        running: Integers = sums[1:] - sums[self.offsets[:-1]][self.rows]
        return running

    def sums(self, terms: Floats) -> Floats:
        """Sum of the terms of each row."""
        return sums_by(self.rows, terms, self.size)

    def largest(self, terms: Floats) -> Floats:
        """The largest term of each row; 0 for an empty row."""
        largest = np.zeros(self.size)
        filled = np.flatnonzero(self.lengths)
        if len(filled):
            largest[filled] = np.maximum.reduceat(terms, self.offsets[filled])
        return largest


def _pair_counts(size: int, rows: Integers, keys: Floats, now: Integers, then: Integers) -> Pairing:
    """The pairing of counts in any order; the counts of equal keys of a row are added up."""
    order = np.lexsort((keys, rows))
    rows, keys, now, then = rows[order], keys[order], now[order], then[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]) | (keys[1:] != keys[:-1])
    at = np.flatnonzero(first)
    return Pairing(size, rows[at], keys[at], np.add.reduceat(now, at), np.add.reduceat(then, at))


def _sides(now: Histograms | Groups, then: Histograms | Groups, keys: Floats) -> Pairing:
    """The pairing of two sides; `keys` has the keys of `now`, then the keys of `then`."""
    rows = np.concatenate([now.rows, then.rows])
    ours = np.concatenate([now.counts, np.zeros_like(then.counts)])
    theirs = np.concatenate([np.zeros_like(now.counts), then.counts])
    return _pair_counts(len(now.offsets) - 1, rows, keys, ours, theirs)


def of_numbers(now: Histograms, then: Histograms, exact: Flags) -> Pairing:
    """The pairing of two histograms by value, by rounded value in rows where `exact` is false."""
    return _sides(now, then, np.concatenate([now.rounded_unless(exact), then.rounded_unless(exact)]))


def of_texts(now: Groups, then: Groups) -> Pairing:
    """The pairing of two groups by text."""
    # Keys are numbered in the order of their texts, so that the order within a row does not depend on the other rows.
    texts = np.concatenate([now.keys, then.keys])
    # The two zeros of floats are equal, so they must be one category, but their texts differ.
    encoded = pa.array(np.where(texts == "-0.0", "0.0", texts), pa.string()).dictionary_encode()
    place = np.empty(len(encoded.dictionary), dtype=np.int64)
    place[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(place))
    codes = place[encoded.indices.to_numpy()]
    return _sides(now, then, codes.astype(np.float64))


def in_bins(pairing: Pairing, bins: int) -> Pairing:
    """The same values in bins (e[i - 1], e[i]] between quantiles of the reference.

    e[i] is the smallest value such that at least i / bins of the reference lie at or below it (Hyndman and Fan 1996,
    type 1), for i = 1 .. bins - 1; equal edges are one edge. The first bin has no lower end, the last no upper end.
    """
    # Edge i lies below a value if i / bins <= the share of the reference below the value.
    below = (pairing.running()[1] - pairing.then) * bins // np.maximum(pairing.totals[1], 1)[pairing.rows]
    # The last bin exists even if it is empty on both sides.
    last = np.arange(pairing.size)
    nothing = np.zeros(pairing.size, dtype=np.int64)
    return _pair_counts(
        pairing.size,
        np.concatenate([pairing.rows, last]),
        np.concatenate([np.minimum(below, bins - 1), np.full(pairing.size, bins - 1)]).astype(np.float64),
        np.concatenate([pairing.now, nothing]),
        np.concatenate([pairing.then, nothing]),
    )


def kolmogorov_smirnov(pairing: Pairing, exact: Flags) -> tuple[Floats, Floats]:
    """Largest difference of the two distribution functions (Smirnov 1948), and a bound on its error.

    Rounding keeps order, so both functions are right between one rounded value and the next: the difference is never
    too large. At worst all values of one side on a rounded value come before all values of the other side.
    """
    (n, m), (now, then) = pairing.totals, pairing.running()
    with np.errstate(divide="ignore", invalid="ignore"):
        ours, theirs = now / n[pairing.rows], then / m[pairing.rows]
        ours_before, theirs_before = (now - pairing.now) / n[pairing.rows], (then - pairing.then) / m[pairing.rows]
    value = pairing.largest(np.abs(ours - theirs))
    most = pairing.largest(np.maximum(ours - theirs_before, theirs - ours_before))
    return value, np.where(exact, 0.0, most - value)


def wasserstein(pairing: Pairing, exact: Flags) -> tuple[Floats, Floats]:
    """Area between the two distribution functions: the first Wasserstein distance (Vallender 1974), and an error bound.

    Rounding moves a value by at most 2^-BITS of its size, and the distance by at most the sum of the mean moves of both
    sides. Infinite if the values are too large to be subtracted.
    """
    (n, m), (now, then) = pairing.totals, pairing.running()
    last = np.ones(len(pairing.rows), dtype=bool)
    last[:-1] = pairing.rows[1:] != pairing.rows[:-1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gap = np.abs(now / n[pairing.rows] - then / m[pairing.rows])
        width = np.where(last, 0.0, np.diff(pairing.keys, append=0.0))
        # Where the functions agree there is no area, even if the width is infinite.
        value = pairing.sums(np.where(gap == 0, 0.0, gap * width))
        p, q = pairing.shares()
        bound = pairing.sums(np.abs(pairing.keys) * (2.0**-BITS / (1 - 2.0**-BITS)) * (p + q))
    return value, np.where(exact, 0.0, bound)


def stability(pairing: Pairing) -> Floats:
    """Population stability index of smoothed shares: Jeffreys's divergence (Jeffreys 1946; Siddiqi 2006)."""
    p, q = pairing.shares(SMOOTHING)
    return pairing.sums((p - q) * np.log(p / q))


def kullback_leibler(pairing: Pairing) -> Floats:
    """Divergence of the window from its reference in nats, of smoothed shares (Kullback and Leibler 1951)."""
    p, q = pairing.shares(SMOOTHING)
    return np.maximum(pairing.sums(p * np.log(p / q)), 0.0)


def jensen_shannon(pairing: Pairing) -> Floats:
    """Square root of the Jensen-Shannon divergence to base 2 (Lin 1991; Endres and Schindelin 2003)."""
    p, q = pairing.shares()
    with np.errstate(divide="ignore", invalid="ignore"):
        d = (p - q) / (p + q)
        # p ln(p / mean) + q ln(q / mean), in a form that does not cancel where p and q are close.
        terms = np.where(np.abs(d) == 1, 2 * math.log(2), np.log1p(-(d**2)) + 2 * d * np.arctanh(d))
        terms = np.where(p + q == 0, 0.0, (p + q) / 2 * terms)
    return np.sqrt(np.clip(pairing.sums(terms) / (2 * math.log(2)), 0.0, 1.0))


def hellinger(pairing: Pairing) -> Floats:
    """Hellinger distance, from 0 to 1 (Hellinger 1909; Le Cam and Yang 2000)."""
    p, q = pairing.shares()
    return np.minimum(np.sqrt(pairing.sums((np.sqrt(p) - np.sqrt(q)) ** 2) / 2), 1.0)


def total_variation(pairing: Pairing) -> Floats:
    """Half the sum of the differences of both shares of each key, from 0 to 1 (Levin and Peres 2017, section 4.1).

    It is the largest difference of both shares of any set of keys.
    """
    p, q = pairing.shares()
    return np.minimum(pairing.sums(np.abs(p - q)) / 2, 1.0)


def l_infinity(pairing: Pairing) -> Floats:
    """Largest difference of both shares of a key."""
    p, q = pairing.shares()
    return pairing.largest(np.abs(p - q))


def chi_squared(pairing: Pairing) -> tuple[Floats, Integers]:
    """Pearson's statistic of the table of two sides and all keys (Pearson 1900), and its degrees of freedom."""
    p, q = pairing.shares()
    n, m = pairing.totals
    return pairing.sums((p - q) ** 2 / (pairing.now + pairing.then)) * n * m, np.maximum(pairing.lengths - 1, 0)


def smirnov_p(distance: Floats, n: Integers, m: Integers) -> Floats:
    """Asymptotic two-sided p-value of a Kolmogorov-Smirnov distance of n and m values (Smirnov 1948)."""
    from scipy.special import kolmogorov

    with np.errstate(invalid="ignore"):
        return np.asarray(kolmogorov(distance * np.sqrt(n / (n + m) * m)), dtype=np.float64)


def chi_squared_p(x: Floats, freedom: Integers) -> Floats:
    """P(X > x) of the chi-squared distribution; 1 with 0 degrees of freedom, NaN where x is NaN."""
    from scipy.special import chdtrc

    return np.where((freedom == 0) & ~np.isnan(x), 1.0, chdtrc(freedom, x))
