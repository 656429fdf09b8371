"""SLIs of drift of the shares of bins or categories, of a window and of its reference.

Bins lie between quantiles of the reference; with bins `values`, each different value is a bin. Limit: numbers are
rounded before they are put in bins, in short windows, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from sli.engine.sql import quoted, text_of
from sli.errors import ConfigError
from sli.slis.catalogue.columns import Make, present
from sli.slis.catalogue.comparison import (
    comparison_formula,
    distance_values,
    histogram_of,
    reference_of,
    register_comparison,
)
from sli.slis.formula import NOT_NEGATIVE, SHARE, Formula, Range, Values, entry, groups
from sli.slis.maths import distances
from sli.slis.maths.distances import Pairing
from sli.slis.states import Floats, Merged, State

CONSTANT = "reference values do not vary"
MOST_BINS = 1000

Bins = int | Literal["values"]


def _register_binned(name: str) -> Callable[[Make], Make]:
    return register_comparison(name, "lower", ("of", "bins", "against"), "bins: values, or of: a column of numbers")


def _groups(of: str) -> dict[str, State]:
    return {"values": groups(text_of(quoted(of)), present(of))}


def _of_bins(
    of: str,
    bins: Bins,
    against: object,
    distance: Callable[[Pairing], Floats],
    range: Range = SHARE,
) -> Formula:
    """A distance of bins between quantiles of the reference or, with bins `values`, of the different values."""
    if bins == "values":
        return _of_categories(of, against, distance, range)
    if isinstance(bins, bool) or not isinstance(bins, int) or not 2 <= bins <= MOST_BINS:
        raise ConfigError("bins must be a number of bins", expected=f"2 to {MOST_BINS}, or values", found=repr(bins))

    def value(s: Merged) -> Values:
        now, then = s["values"], reference_of(s)["values"]
        pairing = distances.of_numbers(now, then, np.zeros(len(now.exact), dtype=bool))
        constant = pairing.sums((pairing.then > 0).astype(np.float64)) < 2
        apart = distance(distances.in_bins(pairing, bins))
        return distance_values(*pairing.totals, apart, None, (constant, CONSTANT))

    return comparison_formula(histogram_of(of), value, against, range)


def _of_categories(of: str, against: object, distance: Callable[[Pairing], Floats], range: Range = SHARE) -> Formula:
    """A distance whose bins are the different values, compared by their text."""

    def value(s: Merged) -> Values:
        pairing = distances.of_texts(s["values"], reference_of(s)["values"])
        return distance_values(*pairing.totals, distance(pairing), None)

    return comparison_formula(_groups(of), value, against, range)


@_register_binned("psi")
def psi(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Population stability index of smoothed shares (Jeffreys 1946; Siddiqi 2006)."""

    return _of_bins(of, bins, against, distances.stability, NOT_NEGATIVE)


@_register_binned("kl_divergence")
def kl_divergence(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Divergence of the window from the reference, of smoothed shares (Kullback and Leibler 1951)."""

    return _of_bins(of, bins, against, distances.kullback_leibler, NOT_NEGATIVE)


@_register_binned("jensen_shannon")
def jensen_shannon(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Square root of the Jensen-Shannon divergence to base 2 (Lin 1991; Endres and Schindelin 2003)."""

    return _of_bins(of, bins, against, distances.jensen_shannon)


@_register_binned("hellinger")
def hellinger(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Hellinger distance (Hellinger 1909)."""

    return _of_bins(of, bins, against, distances.hellinger)


@_register_binned("total_variation")
def total_variation(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Half the sum of |p - q| (Levin and Peres 2017, section 4.1)."""

    return _of_bins(of, bins, against, distances.total_variation)


@entry("chi_squared", parameters=("of", "against"), better="lower")
def chi_squared(of: str = "prediction", against: object = "previous") -> Formula:
    """Pearson's statistic of the table of two sides and all categories (Pearson 1900)."""

    return _of_categories(of, against, lambda p: distances.chi_squared(p)[0], NOT_NEGATIVE)


@entry("chi_squared_p", parameters=("of", "against"), better="higher", version=2)
def chi_squared_p(of: str = "prediction", against: object = "previous") -> Formula:
    """Asymptotic p-value of `chi_squared`; 1 if both sides have one category, as in SciPy."""

    return _of_categories(of, against, lambda p: distances.chi_squared_p(*distances.chi_squared(p)))


@entry("l_infinity", parameters=("of", "against"), better="lower")
def l_infinity(of: str = "prediction", against: object = "previous") -> Formula:
    """Largest difference of both shares of a category."""

    return _of_categories(of, against, distances.l_infinity)
