"""Twins of drift, from SciPy and pandas: of the pairs of a window and those of its reference."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy import special, stats
from scipy.spatial import distance

from sli.slis.kinds.rounding import rounded

nan = math.nan


def numbers(function):
    """A twin of the values of a column on both sides."""

    def twin(pairs, reference, of="prediction", **_):
        now, then = (d[of].dropna().astype(float).to_numpy() for d in (pairs, reference))
        return float(function(now, then)) if len(now) and len(then) else nan

    return twin


def table(pairs, reference, of):
    """Counts of each value: a row a side, a column a value."""
    values = pd.concat([pairs[of], reference[of]], ignore_index=True)
    side = np.repeat([0, 1], [len(pairs), len(reference)])
    return pd.crosstab(side[values.notna()], values[values.notna()].to_numpy()).reindex([0, 1]).to_numpy(float)


def categories(function):
    """A twin of the table of values on both sides."""

    def twin(pairs, reference, of="prediction", **_):
        if not (pairs[of].notna().any() and reference[of].notna().any()):
            return nan
        return float(function(table(pairs, reference, of)))

    return twin


def quantile_bins(now, then, bins):
    """Counts between quantiles of the rounded reference, or None where it is constant."""
    now, then = rounded(now), np.sort(rounded(then))
    if then[0] == then[-1]:
        return None
    ranks = [math.ceil(Fraction(i * len(then), bins)) for i in range(1, bins)]
    edges = [-np.inf, *np.unique(then[np.array(ranks) - 1]), np.inf]
    return np.stack([np.bincount(pd.cut(x, edges, labels=False), minlength=len(edges) - 1) for x in (now, then)])


def binned(function, smoothing=0.0):
    """A twin of the shares of the bins on both sides."""

    def shares(counts):
        counts = counts + smoothing
        return function(*(counts / counts.sum(axis=1, keepdims=True)))

    def twin(pairs, reference, of="prediction", bins=10, **_):
        if bins == "values":
            return categories(shares)(pairs, reference, of)
        now, then = (d[of].dropna().astype(float).to_numpy() for d in (pairs, reference))
        counts = quantile_bins(now, then, bins) if len(now) and len(then) else None
        return nan if counts is None else float(shares(counts))

    return twin


def ks(now, then):
    with np.errstate(divide="ignore", invalid="ignore"):  # SciPy's p-value of one value a side, not looked at
        return stats.ks_2samp(now, then, method="asymp").statistic


def ks_p(now, then):
    return stats.kstwobign.sf(ks(now, then) * math.sqrt(len(now) * len(then) / (len(now) + len(then))))


def jensen_shannon(p, q):
    return 0.0 if np.array_equal(p, q) else distance.jensenshannon(p, q, base=2)


TWINS = {
    "ks": numbers(ks),
    "ks_p": numbers(ks_p),
    "wasserstein": numbers(stats.wasserstein_distance),
    "mean_difference": numbers(lambda now, then: math.fsum(now) / len(now) - math.fsum(then) / len(then)),
    "psi": binned(lambda p, q: special.rel_entr(p, q).sum() + special.rel_entr(q, p).sum(), smoothing=0.5),
    "kl_divergence": binned(stats.entropy, smoothing=0.5),
    "jensen_shannon": binned(jensen_shannon),
    "hellinger": binned(lambda p, q: distance.euclidean(np.sqrt(p), np.sqrt(q)) / math.sqrt(2)),
    "total_variation": binned(lambda p, q: distance.cityblock(p, q) / 2),
    "chi_squared": categories(lambda t: stats.chi2_contingency(t, correction=False).statistic),
    "chi_squared_p": categories(lambda t: stats.chi2_contingency(t, correction=False).pvalue),
    "l_infinity": categories(lambda t: distance.chebyshev(*(t / t.sum(axis=1, keepdims=True)))),
}

NUMERIC = ("ks", "ks_p", "wasserstein", "mean_difference")
BINNED = ("psi", "kl_divergence", "jensen_shannon", "hellinger", "total_variation")
PARAMETERS = {
    **{name: [{}, {"of": "fare"}] for name in NUMERIC},
    **{name: [{}, {"of": "fare", "bins": 4}, {"of": "region", "bins": "values"}] for name in BINNED},
    **{name: [{}, {"of": "region"}] for name in ("chi_squared", "chi_squared_p", "l_infinity")},
}
# Where the prediction is a class, what compares numbers wants a column or the values as bins.
MULTICLASS = {
    **{name: [{"of": "fare"}] for name in NUMERIC},
    **{name: [{"bins": "values"}, {"of": "fare", "bins": 4}] for name in BINNED},
}
