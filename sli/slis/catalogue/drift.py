"""SLIs of drift: how far the values of a window, labelled or not, lie from the values of its reference.

They compare numbers, or the shares of bins: between quantiles of the reference or, with bins `values`, one for each
different value. Both sides are merged states, so a long reference costs no rows. Limit: pairs that a window shares with
its reference count on both sides, so the distance comes out smaller; numbers are rounded before they are put in bins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import numpy as np

from sli.engine.sql import quoted, text_of
from sli.errors import ConfigError
from sli.slis.catalogue.columns import double, numeric, present
from sli.slis.formula import (
    NO_REFERENCE,
    NO_VALUES,
    NOT_NEGATIVE,
    SHARE,
    UNDEFINED_SUM,
    UNLIMITED,
    Formula,
    Range,
    Values,
    because,
    count,
    entry,
    groups,
    histogram,
    plain,
    total,
)
from sli.slis.maths import distances
from sli.slis.maths.confidence import student, symmetric
from sli.slis.maths.distances import Pairing
from sli.slis.states import Flags, Floats, Integers, Merged, State

P_VALUES = ("ks_p", "chi_squared_p")
"""They say little about a large window, where any difference is significant."""
RESOLVED = 2.0**-40
"""A spread below this share of the sum of squares is mostly rounding."""
CONSTANT = "reference values do not vary"
MOST_BINS = 1000

Bins = int | Literal["values"]


def _comparison(
    states: Mapping[str, State], value: Callable[[Merged, Merged], Values], against: object, range: Range
) -> Formula:
    """The formula of a `value` of a window and its reference. Raises ConfigError if there is no reference."""
    if against is None:
        raise ConfigError(
            "a drift SLI needs a reference to compare with", where="against", expected="previous, or leave it out"
        )

    def of_both(s: Merged) -> Values:
        assert s.reference is not None, "an SLI that has `against` gets a reference"
        return value(s, s.reference)

    return Formula(states, of_both, against, range)


def _distances(now: Integers, then: Integers, value: Floats, bound: Floats | None, *cases: tuple[Flags, str]) -> Values:
    """Distances of windows of `now` values from references of `then` values."""
    return plain(value, because((now == 0, NO_VALUES), (then == 0, NO_REFERENCE), *cases), bound)


def _histogram(of: str) -> dict[str, State]:
    return {"values": histogram(double(of), present(of))}


# Numbers


_of_numeric_column = partial(
    numeric, instead="a numeric column, or an SLI that compares classes, for example chi_squared or l_infinity"
)


def _of_numbers(
    of: str,
    against: object,
    distance: Callable[[Pairing, Flags], tuple[Floats, Floats]],
    range: Range = SHARE,
) -> Formula:
    def values(s: Merged, reference: Merged) -> Values:
        now, then = s["values"], reference["values"]
        exact = now.exact & then.exact
        value, bound = distance(distances.of_numbers(now, then, exact), exact)
        return _distances(now.totals, then.totals, value, bound, (~np.isfinite(value), UNDEFINED_SUM))

    return _comparison(_histogram(of), values, against, range)


@_of_numeric_column("ks", "lower")
def ks(of: str = "prediction", against: object = "previous") -> Formula:
    """Largest difference of the two distribution functions (Smirnov 1948)."""
    return _of_numbers(of, against, distances.kolmogorov_smirnov)


@_of_numeric_column("ks_p", "higher", version=2)
def ks_p(of: str = "prediction", against: object = "previous") -> Formula:
    """Asymptotic two-sided p-value of `ks` (Smirnov 1948): too large, if anything, for few values or many ties."""

    def distance(pairing: Pairing, exact: Flags) -> tuple[Floats, Floats]:
        ks, bound = distances.kolmogorov_smirnov(pairing, exact)
        value = distances.smirnov_p(ks, *pairing.totals)
        # ks is never too large, and p falls with it.
        return value, np.where(exact, 0.0, value - distances.smirnov_p(ks + bound, *pairing.totals))

    return _of_numbers(of, against, distance)


@_of_numeric_column("wasserstein", "lower", scores=SHARE)
def wasserstein(of: str = "prediction", against: object = "previous") -> Formula:
    """Area between the two distribution functions (Vallender 1974)."""

    return _of_numbers(of, against, distances.wasserstein, NOT_NEGATIVE)


@_of_numeric_column("mean_difference", scores=(-1.0, 1.0), version=2)
def mean_difference(of: str = "prediction", against: object = "previous") -> Formula:
    """Mean of the window less the mean of the reference, with the interval of Welch (1947)."""
    column, given = double(of), present(of)

    def value(s: Merged, then: Merged) -> Values:
        means = [side["sum"] / side["n"] for side in (s, then)]
        difference = means[0] - means[1]
        values = _distances(s["n"], then["n"], difference, None, (~np.isfinite(difference), UNDEFINED_SUM))
        variances = []
        for side, mean in zip((s, then), means, strict=True):
            spread = side["squares"] - side["sum"] * mean
            known = np.where(spread > RESOLVED * side["squares"], spread, np.nan)
            variances.append(known / (side["n"] - 1) / side["n"])
        both = variances[0] + variances[1]
        terms = (variance**2 / (side["n"] - 1) for side, variance in zip((s, then), variances, strict=True))
        freedom = both**2 / sum(terms)
        return symmetric(values, np.sqrt(both), student(s.level, freedom))

    return _comparison(
        {"sum": total(column, given), "squares": total(f"{column} * {column}", given), "n": count(given)},
        value,
        against,
        UNLIMITED,
    )


# Shares of bins


_binned = partial(numeric, better="lower", instead="bins: values, or of: a numeric column")


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

    def value(s: Merged, reference: Merged) -> Values:
        now, then = s["values"], reference["values"]
        pairing = distances.of_numbers(now, then, np.zeros(len(now.exact), dtype=bool))
        constant = pairing.sums((pairing.then > 0).astype(np.float64)) < 2
        apart = distance(distances.in_bins(pairing, bins))
        return _distances(*pairing.totals, apart, None, (constant, CONSTANT))

    return _comparison(_histogram(of), value, against, range)


def _of_categories(of: str, against: object, distance: Callable[[Pairing], Floats], range: Range = SHARE) -> Formula:
    """A distance whose bins are the different values, compared by their text."""

    def value(s: Merged, reference: Merged) -> Values:
        pairing = distances.of_texts(s["values"], reference["values"])
        return _distances(*pairing.totals, distance(pairing), None)

    states = {"values": groups(text_of(quoted(of)), present(of))}
    return _comparison(states, value, against, range)


@_binned("psi")
def psi(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Population stability index of smoothed shares (Jeffreys 1946; Siddiqi 2006)."""

    return _of_bins(of, bins, against, distances.stability, NOT_NEGATIVE)


@_binned("kl_divergence")
def kl_divergence(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Divergence of the window from the reference, of smoothed shares (Kullback and Leibler 1951)."""

    return _of_bins(of, bins, against, distances.kullback_leibler, NOT_NEGATIVE)


@_binned("jensen_shannon")
def jensen_shannon(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Square root of the Jensen-Shannon divergence to base 2 (Lin 1991; Endres and Schindelin 2003)."""

    return _of_bins(of, bins, against, distances.jensen_shannon)


@_binned("hellinger")
def hellinger(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Hellinger distance (Hellinger 1909)."""

    return _of_bins(of, bins, against, distances.hellinger)


@_binned("total_variation")
def total_variation(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Half the sum of |p - q| (Levin and Peres 2017, section 4.1)."""

    return _of_bins(of, bins, against, distances.total_variation)


@entry("chi_squared", better="lower")
def chi_squared(of: str = "prediction", against: object = "previous") -> Formula:
    """Pearson's statistic of the table of two sides and all categories (Pearson 1900)."""

    return _of_categories(of, against, lambda p: distances.chi_squared(p)[0], NOT_NEGATIVE)


@entry("chi_squared_p", better="higher", version=2)
def chi_squared_p(of: str = "prediction", against: object = "previous") -> Formula:
    """Asymptotic p-value of `chi_squared`; 1 if both sides have one category, as in SciPy."""

    return _of_categories(of, against, lambda p: distances.chi_squared_p(*distances.chi_squared(p)))


@entry("l_infinity", better="lower")
def l_infinity(of: str = "prediction", against: object = "previous") -> Formula:
    """Largest difference of both shares of a category."""

    return _of_categories(of, against, distances.l_infinity)
