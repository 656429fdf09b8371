"""SLIs of drift: how far the values of a window, labelled or not, lie from those of its reference.

Both sides are merged states, so a long reference costs no rows. Limit: pairs that a window shares with its reference
count on both sides and make them look more alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from sli.engine.sql import quoted, text_of
from sli.errors import ConfigError
from sli.slis.catalogue.columns import Make, double, present, with_range_of_scores
from sli.slis.formula import (
    NO_REFERENCE,
    NO_VALUES,
    NOT_NEGATIVE,
    SHARE,
    TASKS,
    UNDEFINED_SUM,
    UNLIMITED,
    Better,
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
from sli.slis.states import Flags, Floats, Histograms, Integers, Merged, State, rounded

if TYPE_CHECKING:
    import pandas as pd

P_VALUES = ("ks_p", "chi_squared_p")
"""Of a large window these say little: any difference is significant."""
CONSTANT = "reference values do not vary"
MOST_BINS = 1000
RESOLVED = 2.0**-40
"""A spread below this share of the sum of squares is mostly rounding."""

Bins = int | Literal["values"]
Rows = Callable[["pd.DataFrame", "pd.DataFrame"], float]


def _reference(s: Merged) -> Merged:
    if s.reference is None:
        raise ValueError("a drift SLI was given no reference")
    return s.reference


def _distance(now: Integers, then: Integers, value: Floats, bound: Floats | None, *cases: tuple[Flags, str]) -> Values:
    """Distances of windows of `now` values from references of `then` values."""
    return plain(value, because((now == 0, NO_VALUES), (then == 0, NO_REFERENCE), *cases), bound)


def _comparing(
    states: Mapping[str, State], value: Callable[[Merged], Values], on_rows: Rows, against: object, range: Range
) -> Formula:
    if against is None:
        raise ConfigError(
            "a drift SLI needs a reference to compare with", where="against", expected="previous, or leave it out"
        )
    return Formula(states, value, on_rows, against, range)


def _registered(
    name: str,
    better: Better | None,
    parameters: tuple[str, ...],
    text: str,
    scores: Range | None = None,
    version: int = 1,
) -> Callable[[Make], Make]:
    """Register a comparison of numbers for every task.

    In a multiclass task, whose prediction is a class, it refuses the prediction; `text` says what to write instead.
    `scores` is the range of the SLI if the column is the score of a binary task and that range is narrower.
    """

    def register(make: Make) -> Make:
        @functools.wraps(make)
        def of_column(**arguments: object) -> Formula:
            if arguments.get("of", "prediction") == "prediction" and arguments.get("bins") != "values":
                raise ConfigError(
                    f"{name} compares numbers, but the prediction of a multiclass task is a class",
                    expected=text,
                    found="of: prediction",
                )
            return make(**arguments)

        for task in TASKS:
            of_task = of_column if task == "multiclass" else make
            if task == "binary" and scores is not None:
                of_task = with_range_of_scores(make, scores)
            entry(name, task, parameters=parameters, better=better, version=version)(of_task)
        return make

    return register


def _numeric(name: str, better: Better | None, scores: Range | None = None, version: int = 1) -> Callable[[Make], Make]:
    text = "of: a column of numbers, or an SLI that compares classes, for example chi_squared or l_infinity"
    return _registered(name, better, ("of", "against"), text, scores, version)


def _binned(name: str) -> Callable[[Make], Make]:
    return _registered(name, "lower", ("of", "bins", "against"), "bins: values, or of: a column of numbers")


# Numbers


def _values(of: str) -> dict[str, State]:
    return {"values": histogram(double(of), present(of))}


def _on_numbers(of: str, function: Callable[[Floats, Floats], float]) -> Rows:
    def on_rows(pairs: pd.DataFrame, reference: pd.DataFrame) -> float:
        now, then = (rows[of].dropna().to_numpy(np.float64) for rows in (pairs, reference))
        return float(function(now, then)) if len(now) and len(then) else float("nan")

    return on_rows


def _of_numbers(
    of: str,
    against: object,
    distance: Callable[[Pairing, Flags], tuple[Floats, Floats]],
    on_values: Callable[[Floats, Floats], float],
    range: Range = SHARE,
) -> Formula:
    def values(s: Merged) -> Values:
        now: Histograms = s["values"]
        then: Histograms = _reference(s)["values"]
        exact = now.exact & then.exact
        value, bound = distance(distances.of_numbers(now, then, exact), exact)
        return _distance(now.totals, then.totals, value, bound, (~np.isfinite(value), UNDEFINED_SUM))

    return _comparing(_values(of), values, _on_numbers(of, on_values), against, range)


def _functions(now: Floats, then: Floats) -> tuple[Floats, Floats, Floats]:
    """The values of both sides, ascending, and both distribution functions at each of them."""
    values = np.sort(np.concatenate([now, then]))
    ours, theirs = (np.searchsorted(np.sort(side), values, side="right") / len(side) for side in (now, then))
    return values, ours, theirs


def _ks(now: Floats, then: Floats) -> float:
    _, ours, theirs = _functions(now, then)
    return float(np.abs(ours - theirs).max())


@_numeric("ks", "lower")
def ks(of: str = "prediction", against: object = "previous") -> Formula:
    """Largest difference of the two distribution functions (Smirnov 1948)."""
    return _of_numbers(of, against, distances.kolmogorov_smirnov, _ks)


@_numeric("ks_p", "higher", version=2)
def ks_p(of: str = "prediction", against: object = "previous") -> Formula:
    """Asymptotic two-sided p-value of `ks` (Smirnov 1948): too large, if anything, for few values or many ties."""

    def distance(pairing: Pairing, exact: Flags) -> tuple[Floats, Floats]:
        ks, bound = distances.kolmogorov_smirnov(pairing, exact)
        value = distances.smirnov_p(ks, *pairing.totals)
        # ks is never too large, and p falls with it.
        return value, np.where(exact, 0.0, value - distances.smirnov_p(ks + bound, *pairing.totals))

    def on_values(now: Floats, then: Floats) -> float:
        sizes = (np.array([len(side)]) for side in (now, then))
        return float(distances.smirnov_p(np.array([_ks(now, then)]), *sizes)[0])

    return _of_numbers(of, against, distance, on_values)


@_numeric("wasserstein", "lower", scores=SHARE)
def wasserstein(of: str = "prediction", against: object = "previous") -> Formula:
    """Area between the two distribution functions (Vallender 1974)."""

    def on_values(now: Floats, then: Floats) -> float:
        values, ours, theirs = _functions(now, then)
        with np.errstate(over="ignore", invalid="ignore"):
            area = float((np.abs(ours - theirs)[:-1] * np.diff(values)).sum())
        return area if np.isfinite(area) else float("nan")

    return _of_numbers(of, against, distances.wasserstein, on_values, NOT_NEGATIVE)


@_numeric("mean_difference", None, scores=(-1.0, 1.0), version=2)
def mean_difference(of: str = "prediction", against: object = "previous") -> Formula:
    """Mean of the window less the mean of the reference, with the interval of Welch (1947)."""
    column, given = double(of), present(of)

    def value(s: Merged) -> Values:
        then = _reference(s)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [side["sum"] / side["n"] for side in (s, then)]
            difference = means[0] - means[1]
            values = _distance(s["n"], then["n"], difference, None, (~np.isfinite(difference), UNDEFINED_SUM))
            variances = []
            for side, mean in zip((s, then), means, strict=True):
                spread = side["squares"] - side["sum"] * mean
                known = np.where(spread > RESOLVED * side["squares"], spread, np.nan)
                variances.append(known / (side["n"] - 1) / side["n"])
            both = variances[0] + variances[1]
            terms = (variance**2 / (side["n"] - 1) for side, variance in zip((s, then), variances, strict=True))
            freedom = both**2 / sum(terms)
            return symmetric(values, np.sqrt(both), student(s.level, freedom))

    return _comparing(
        {"sum": total(column, given), "squares": total(f"{column} * {column}", given), "n": count(given)},
        value,
        _on_numbers(of, lambda now, then: math.fsum(now) / len(now) - math.fsum(then) / len(then)),
        against,
        UNLIMITED,
    )


# Bins and categories


def _groups(of: str) -> dict[str, State]:
    return {"values": groups(text_of(quoted(of)), present(of))}


OnCounts = Callable[[Floats, Floats], float]
"""A distance from the counts of each bin or category, of the window and of the reference."""


def _counts(codes: Integers, size: int) -> Floats:
    return np.bincount(codes, minlength=size).astype(np.float64)


def _on_categories(of: str, function: OnCounts) -> Rows:
    """`on_rows` of a distance whose bins are the different values."""

    def on_rows(pairs: pd.DataFrame, reference: pd.DataFrame) -> float:
        import pandas as pd

        now, then = (rows[of].dropna().to_numpy(object) for rows in (pairs, reference))
        if not len(now) or not len(then):
            return float("nan")
        codes, categories = pd.factorize(np.concatenate([now, then]))
        return float(function(*(_counts(side, len(categories)) for side in np.split(codes, [len(now)]))))

    return on_rows


def _on_bins(of: str, bins: int, function: OnCounts) -> Rows:
    """`on_rows` of a distance whose bins lie between quantiles of the rounded reference."""

    def on_values(now: Floats, then: Floats) -> float:
        now, then = rounded(now), np.sort(rounded(then))
        if then[0] == then[-1]:
            return float("nan")
        edges = np.unique([then[-(-i * len(then) // bins) - 1] for i in range(1, bins)])
        return float(function(*(_counts(np.searchsorted(edges, side), len(edges) + 1) for side in (now, then))))

    return _on_numbers(of, on_values)


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
        now, then = s["values"], _reference(s)["values"]
        pairing = distances.of_numbers(now, then, np.zeros(len(now.exact), dtype=bool))
        constant = pairing.sums((pairing.then > 0).astype(np.float64)) < 2
        apart = distance(distances.in_bins(pairing, bins))
        return _distance(*pairing.totals, apart, None, (constant, CONSTANT))

    return _comparing(_values(of), value, _on_bins(of, bins, on_counts), against, range)


def _of_categories(
    of: str, against: object, distance: Callable[[Pairing], Floats], on_counts: OnCounts, range: Range = SHARE
) -> Formula:
    """A distance whose bins are the different values, compared by their text."""

    def value(s: Merged) -> Values:
        pairing = distances.of_texts(s["values"], _reference(s)["values"])
        return _distance(*pairing.totals, distance(pairing), None)

    return _comparing(_groups(of), value, _on_categories(of, on_counts), against, range)


def _smoothed(counts: Floats) -> Floats:
    filled = counts + distances.SMOOTHING
    return np.asarray(filled / filled.sum())


@_binned("psi")
def psi(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Population stability index of smoothed shares (Jeffreys 1946; Siddiqi 2006)."""

    def on_counts(now: Floats, then: Floats) -> float:
        p, q = _smoothed(now), _smoothed(then)
        return float(((p - q) * (np.log(p) - np.log(q))).sum())

    return _of_bins(of, bins, against, distances.stability, on_counts, NOT_NEGATIVE)


@_binned("kl_divergence")
def kl_divergence(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Divergence of the window from the reference, of smoothed shares (Kullback and Leibler 1951)."""

    def on_counts(now: Floats, then: Floats) -> float:
        p, q = _smoothed(now), _smoothed(then)
        return float((p * (np.log(p) - np.log(q))).sum())

    return _of_bins(of, bins, against, distances.kullback_leibler, on_counts, NOT_NEGATIVE)


@_binned("jensen_shannon")
def jensen_shannon(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Square root of the Jensen-Shannon divergence to base 2 (Lin 1991; Endres and Schindelin 2003)."""

    def on_counts(now: Floats, then: Floats) -> float:
        p, q = now / now.sum(), then / then.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            to_middle = [(side * np.log2(side / ((p + q) / 2)))[side > 0].sum() for side in (p, q)]
        return float(np.sqrt(max(sum(to_middle) / 2, 0.0)))

    return _of_bins(of, bins, against, distances.jensen_shannon, on_counts)


@_binned("hellinger")
def hellinger(of: str = "prediction", bins: Bins = 10, against: object = "previous") -> Formula:
    """Hellinger distance (Hellinger 1909)."""

    def on_counts(now: Floats, then: Floats) -> float:
        return float(np.linalg.norm(np.sqrt(now / now.sum()) - np.sqrt(then / then.sum())) / np.sqrt(2))

    return _of_bins(of, bins, against, distances.hellinger, on_counts)


@_binned("total_variation")
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
