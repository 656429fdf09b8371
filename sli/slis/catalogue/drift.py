"""SLIs of drift: how far the numbers of a window, labelled or not, lie from the numbers of its reference.

Both sides are merged states, so a long reference costs no rows. Limit: pairs that a window shares with its reference
count on both sides, so the distance comes out smaller.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sli.slis.catalogue.columns import Make, double, present
from sli.slis.catalogue.comparison import (
    comparison_formula,
    distance_values,
    histogram_of,
    reference_of,
    register_comparison,
)
from sli.slis.formula import NOT_NEGATIVE, SHARE, UNDEFINED_SUM, UNLIMITED, Better, Formula, Range, Values, count, total
from sli.slis.kinds.histograms import Histograms
from sli.slis.maths import distances
from sli.slis.maths.confidence import student, symmetric
from sli.slis.maths.distances import Pairing
from sli.slis.states import Flags, Floats, Merged

P_VALUES = ("ks_p", "chi_squared_p")
"""They say little about a large window, where any difference is significant."""
RESOLVED = 2.0**-40
"""A spread below this share of the sum of squares is mostly rounding."""


def _numeric(name: str, better: Better | None, scores: Range | None = None, version: int = 1) -> Callable[[Make], Make]:
    text = "of: a column of numbers, or an SLI that compares classes, for example chi_squared or l_infinity"
    return register_comparison(name, better, ("of", "against"), text, scores, version)


def _of_numbers(
    of: str,
    against: object,
    distance: Callable[[Pairing, Flags], tuple[Floats, Floats]],
    range: Range = SHARE,
) -> Formula:
    def values(s: Merged) -> Values:
        now: Histograms = s["values"]
        then: Histograms = reference_of(s)["values"]
        exact = now.exact & then.exact
        value, bound = distance(distances.of_numbers(now, then, exact), exact)
        return distance_values(now.totals, then.totals, value, bound, (~np.isfinite(value), UNDEFINED_SUM))

    return comparison_formula(histogram_of(of), values, against, range)


@_numeric("ks", "lower")
def ks(of: str = "prediction", against: object = "previous") -> Formula:
    """Largest difference of the two distribution functions (Smirnov 1948)."""
    return _of_numbers(of, against, distances.kolmogorov_smirnov)


@_numeric("ks_p", "higher", version=2)
def ks_p(of: str = "prediction", against: object = "previous") -> Formula:
    """Asymptotic two-sided p-value of `ks` (Smirnov 1948): too large, if anything, for few values or many ties."""

    def distance(pairing: Pairing, exact: Flags) -> tuple[Floats, Floats]:
        ks, bound = distances.kolmogorov_smirnov(pairing, exact)
        value = distances.smirnov_p(ks, *pairing.totals)
        # ks is never too large, and p falls with it.
        return value, np.where(exact, 0.0, value - distances.smirnov_p(ks + bound, *pairing.totals))

    return _of_numbers(of, against, distance)


@_numeric("wasserstein", "lower", scores=SHARE)
def wasserstein(of: str = "prediction", against: object = "previous") -> Formula:
    """Area between the two distribution functions (Vallender 1974)."""

    return _of_numbers(of, against, distances.wasserstein, NOT_NEGATIVE)


@_numeric("mean_difference", None, scores=(-1.0, 1.0), version=2)
def mean_difference(of: str = "prediction", against: object = "previous") -> Formula:
    """Mean of the window less the mean of the reference, with the interval of Welch (1947)."""
    column, given = double(of), present(of)

    def value(s: Merged) -> Values:
        then = reference_of(s)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [side["sum"] / side["n"] for side in (s, then)]
            difference = means[0] - means[1]
            values = distance_values(s["n"], then["n"], difference, None, (~np.isfinite(difference), UNDEFINED_SUM))
            variances = []
            for side, mean in zip((s, then), means, strict=True):
                spread = side["squares"] - side["sum"] * mean
                known = np.where(spread > RESOLVED * side["squares"], spread, np.nan)
                variances.append(known / (side["n"] - 1) / side["n"])
            both = variances[0] + variances[1]
            terms = (variance**2 / (side["n"] - 1) for side, variance in zip((s, then), variances, strict=True))
            freedom = both**2 / sum(terms)
            return symmetric(values, np.sqrt(both), student(s.level, freedom))

    return comparison_formula(
        {"sum": total(column, given), "squares": total(f"{column} * {column}", given), "n": count(given)},
        value,
        against,
        UNLIMITED,
    )
