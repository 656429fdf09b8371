"""SLIs of drift of the shares of bins or categories, of a window and of its reference.

Bins lie between quantiles of the reference; with bins `values`, each different value is a bin. Limit: numbers are
rounded before they are put in bins, in short windows, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from sli.engine.sql import quoted, text_of
from sli.errors import ConfigError
from sli.slis.catalogue.columns import Make, present
from sli.slis.catalogue.comparison import (
    OnBoth,
    comparison_formula,
    distance_values,
    histogram_of,
    on_numbers,
    reference_of,
    register_comparison,
)
from sli.slis.formula import NOT_NEGATIVE, SHARE, Formula, Range, Values, entry, groups
from sli.slis.kinds.histograms import rounded
from sli.slis.maths import distances
from sli.slis.maths.distances import Pairing
from sli.slis.states import Floats, Integers, Merged, State

if TYPE_CHECKING:
    import pandas as pd

CONSTANT = "reference values do not vary"
MOST_BINS = 1000

Bins = int | Literal["values"]


def _register_binned(name: str) -> Callable[[Make], Make]:
    return register_comparison(name, "lower", ("of", "bins", "against"), "bins: values, or of: a column of numbers")


def _groups(of: str) -> dict[str, State]:
    return {"values": groups(text_of(quoted(of)), present(of))}


OnCounts = Callable[[Floats, Floats], float]
"""A distance from the counts of each bin or category, of the window and of the reference."""


def _counts(codes: Integers, size: int) -> Floats:
    return np.bincount(codes, minlength=size).astype(np.float64)


def _on_categories(of: str, function: OnCounts) -> OnBoth:
    """`on_rows` of a distance whose bins are the different values."""

    def on_rows(pairs: pd.DataFrame, reference: pd.DataFrame) -> float:
        import pandas as pd

        now, then = (rows[of].dropna().to_numpy(object) for rows in (pairs, reference))
        if not len(now) or not len(then):
            return float("nan")
        codes, categories = pd.factorize(np.concatenate([now, then]))
        return float(function(*(_counts(side, len(categories)) for side in np.split(codes, [len(now)]))))

    return on_rows


def _on_bins(of: str, bins: int, function: OnCounts) -> OnBoth:
    """`on_rows` of a distance whose bins lie between quantiles of the rounded reference."""

    def on_values(now: Floats, then: Floats) -> float:
        now, then = rounded(now), np.sort(rounded(then))
        if then[0] == then[-1]:
            return float("nan")
        edges = np.unique([then[-(-i * len(then) // bins) - 1] for i in range(1, bins)])
        return float(function(*(_counts(np.searchsorted(edges, side), len(edges) + 1) for side in (now, then))))

    return on_numbers(of, on_values)


def _of_bins(
    of: str,
    bins: Bins,
    against: object,
    distance: Callable[[Pairing], Floats],
    on_counts: OnCounts,
    range: Range = SHARE,
) -> Formula:
    """A distance of bins between quantiles of the reference or, with bins `values`, of the different values."""
    if bins == "values":
        return _of_categories(of, against, distance, on_counts, range)
    if isinstance(bins, bool) or not isinstance(bins, int) or not 2 <= bins <= MOST_BINS:
        raise ConfigError("bins must be a number of bins", expected=f"2 to {MOST_BINS}, or values", found=repr(bins))

    def value(s: Merged) -> Values:
        now, then = s["values"], reference_of(s)["values"]
        pairing = distances.of_numbers(now, then, np.zeros(len(now.exact), dtype=bool))
        constant = pairing.sums((pairing.then > 0).astype(np.float64)) < 2
        apart = distance(distances.in_bins(pairing, bins))
        return distance_values(*pairing.totals, apart, None, (constant, CONSTANT))

    return comparison_formula(histogram_of(of), value, _on_bins(of, bins, on_counts), against, range)


def _of_categories(
    of: str, against: object, distance: Callable[[Pairing], Floats], on_counts: OnCounts, range: Range = SHARE
) -> Formula:
    """A distance whose bins are the different values, compared by their text."""

    def value(s: Merged) -> Values:
        pairing = distances.of_texts(s["values"], reference_of(s)["values"])
        return distance_values(*pairing.totals, distance(pairing), None)

    return comparison_formula(_groups(of), value, _on_categories(of, on_counts), against, range)


def _smooth(counts: Floats) -> Floats:
    filled = counts + distances.SMOOTHING
    return np.asarray(filled / filled.sum())


@_register_binned("psi")
def psi(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Population stability index of smoothed shares (Jeffreys 1946; Siddiqi 2006)."""

    def on_counts(now: Floats, then: Floats) -> float:
        p, q = _smooth(now), _smooth(then)
        return float(((p - q) * (np.log(p) - np.log(q))).sum())

    return _of_bins(of, bins, against, distances.stability, on_counts, NOT_NEGATIVE)


@_register_binned("kl_divergence")
def kl_divergence(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Divergence of the window from the reference, of smoothed shares (Kullback and Leibler 1951)."""

    def on_counts(now: Floats, then: Floats) -> float:
        p, q = _smooth(now), _smooth(then)
        return float((p * (np.log(p) - np.log(q))).sum())

    return _of_bins(of, bins, against, distances.kullback_leibler, on_counts, NOT_NEGATIVE)


@_register_binned("jensen_shannon")
def jensen_shannon(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Square root of the Jensen-Shannon divergence to base 2 (Lin 1991; Endres and Schindelin 2003)."""

    def on_counts(now: Floats, then: Floats) -> float:
        p, q = now / now.sum(), then / then.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            to_middle = [(side * np.log2(side / ((p + q) / 2)))[side > 0].sum() for side in (p, q)]
        return float(np.sqrt(max(sum(to_middle) / 2, 0.0)))

    return _of_bins(of, bins, against, distances.jensen_shannon, on_counts)


@_register_binned("hellinger")
def hellinger(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Hellinger distance (Hellinger 1909)."""

    def on_counts(now: Floats, then: Floats) -> float:
        return float(np.linalg.norm(np.sqrt(now / now.sum()) - np.sqrt(then / then.sum())) / np.sqrt(2))

    return _of_bins(of, bins, against, distances.hellinger, on_counts)


@_register_binned("total_variation")
def total_variation(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Half the sum of |p - q| (Levin and Peres 2017, section 4.1)."""

    def on_counts(now: Floats, then: Floats) -> float:
        return float(np.abs(now / now.sum() - then / then.sum()).sum() / 2)

    return _of_bins(of, bins, against, distances.total_variation, on_counts)


def _pearson(now: Floats, then: Floats) -> tuple[float, int]:
    table = np.stack([now, then]).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1


@entry("chi_squared", parameters=("of", "against"), better="lower")
def chi_squared(of: str = "prediction", against: object = "previous") -> Formula:
    """Pearson's statistic of the table of two sides and all categories (Pearson 1900)."""

    def on_counts(now: Floats, then: Floats) -> float:
        return _pearson(now, then)[0]

    return _of_categories(of, against, lambda p: distances.chi_squared(p)[0], on_counts, NOT_NEGATIVE)


@entry("chi_squared_p", parameters=("of", "against"), better="higher", version=2)
def chi_squared_p(of: str = "prediction", against: object = "previous") -> Formula:
    """Asymptotic p-value of `chi_squared`; 1 if both sides have one category, as in SciPy."""

    def on_counts(now: Floats, then: Floats) -> float:
        statistic, freedom = _pearson(now, then)
        return float(distances.chi_squared_p(np.array([statistic]), np.array([freedom]))[0])

    return _of_categories(of, against, lambda p: distances.chi_squared_p(*distances.chi_squared(p)), on_counts)


@entry("l_infinity", parameters=("of", "against"), better="lower")
def l_infinity(of: str = "prediction", against: object = "previous") -> Formula:
    """Largest difference of both shares of a category."""

    def on_counts(now: Floats, then: Floats) -> float:
        return float(np.abs(now / now.sum() - then / then.sum()).max())

    return _of_categories(of, against, distances.l_infinity, on_counts)
