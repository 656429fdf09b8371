"""SLIs of drift: how far the values of a window lie from those of its reference, labelled or not.

Both sides are merged states, so a reference of any length costs no rows. Limit: what two windows have in common (a
sliding window and the one before it) counts on both sides and makes them look alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.engine.sql import quoted, text_of
from sli.errors import ConfigError
from sli.slis.catalogue.values import of_scores
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
    grouped,
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
"""Where a window is large any difference is significant: these say little of it."""
CONSTANT = "reference values do not vary"
MOST_BINS = 1000
RESOLVED = 2.0**-40
"""A spread below this share of the sum of squares is mostly rounding."""

Make = Callable[..., Formula]
Rows = Callable[["pd.DataFrame", "pd.DataFrame"], float]


def _reference(s: Merged) -> Merged:
    if s.reference is None:
        raise ValueError("a drift SLI was given no reference")
    return s.reference


def _compared(now: Integers, then: Integers, value: Floats, bound: Floats | None, *cases: tuple[Flags, str]) -> Values:
    return plain(value, because((now == 0, NO_VALUES), (then == 0, NO_REFERENCE), *cases), bound)


def _comparing(
    states: Mapping[str, State], value: Callable[[Merged], Values], on_rows: Rows, against: Any, range: Range
) -> Formula:
    if against is None:
        raise ConfigError("a drift SLI compares with something", where="against", expected="previous, or leave it out")
    return Formula(states, value, on_rows, against, range)


def _registered(
    name: str,
    better: Better | None,
    parameters: tuple[str, ...],
    text: str,
    scores: Range | None = None,
    version: int = 1,
) -> Callable[[Make], Make]:
    """Register a comparison of numbers: where a prediction is text it refuses it and says what to write, `text`.

    `scores` is its range where the prediction is a score from 0 to 1, if it is another there.
    """

    def register(make: Make) -> Make:
        @functools.wraps(make)
        def of_a_column(**given: Any) -> Formula:
            if given.get("of", "prediction") == "prediction" and given.get("bins") != "values":
                raise ConfigError(f"{name} compares numbers and a class is none", expected=text, found="of: prediction")
            return make(**given)

        for task in TASKS:
            of_task = of_a_column if task == "multiclass" else make
            if task == "binary" and scores is not None:
                of_task = of_scores(make, scores)
            entry(name, task, parameters=parameters, better=better, version=version)(of_task)
        return make

    return register


def _numeric(name: str, better: Better | None, scores: Range | None = None, version: int = 1) -> Callable[[Make], Make]:
    text = "of: a column of numbers, or an SLI that compares classes, such as chi_squared or l_infinity"
    return _registered(name, better, ("of", "against"), text, scores, version)


def _binned(name: str) -> Callable[[Make], Make]:
    return _registered(name, "lower", ("of", "bins", "against"), "bins: values, or of: a column of numbers")


# Numbers


def _values(of: str) -> dict[str, State]:
    return {"values": histogram(f"{quoted(of)}::DOUBLE", f"{quoted(of)} IS NOT NULL")}


def _on_numbers(of: str, function: Callable[[Floats, Floats], float]) -> Rows:
    def on_rows(pairs: pd.DataFrame, reference: pd.DataFrame) -> float:
        now, then = (rows[of].dropna().to_numpy(np.float64) for rows in (pairs, reference))
        return float(function(now, then)) if len(now) and len(then) else float("nan")

    return on_rows


def _of_numbers(
    of: str,
    against: Any,
    distance: Callable[[Pairing, Flags], tuple[Floats, Floats]],
    on_values: Callable[[Floats, Floats], float],
    range: Range = SHARE,
) -> Formula:
    def value(s: Merged) -> Values:
        now: Histograms = s["values"]
        then: Histograms = _reference(s)["values"]
        exact = now.exact & then.exact
        found, bound = distance(distances.of_numbers(now, then, exact), exact)
        return _compared(now.totals, then.totals, found, bound, (~np.isfinite(found), UNDEFINED_SUM))

    return _comparing(_values(of), value, _on_numbers(of, on_values), against, range)


def _functions(now: Floats, then: Floats) -> tuple[Floats, Floats, Floats]:
    """The values of both sides in order, and at each of them both distribution functions."""
    at = np.sort(np.concatenate([now, then]))
    ours, theirs = (np.searchsorted(np.sort(side), at, side="right") / len(side) for side in (now, then))
    return at, ours, theirs


def _ks(now: Floats, then: Floats) -> float:
    _, ours, theirs = _functions(now, then)
    return float(np.abs(ours - theirs).max())


@_numeric("ks", "lower")
def ks(of: str = "prediction", against: Any = "previous") -> Formula:
    return _of_numbers(of, against, distances.kolmogorov_smirnov, _ks)


@_numeric("ks_p", "higher", version=2)
def ks_p(of: str = "prediction", against: Any = "previous") -> Formula:
    """Asymptotic two-sided p-value of `ks` (Smirnov 1948): too large, if anything, for few values or many ties."""

    def distance(pairing: Pairing, exact: Flags) -> tuple[Floats, Floats]:
        found, bound = distances.kolmogorov_smirnov(pairing, exact)
        value = distances.smirnov_p(found, *pairing.totals)
        # The distance is never too large and p falls with it.
        return value, np.where(exact, 0.0, value - distances.smirnov_p(found + bound, *pairing.totals))

    def on_values(now: Floats, then: Floats) -> float:
        sizes = (np.array([len(side)]) for side in (now, then))
        return float(distances.smirnov_p(np.array([_ks(now, then)]), *sizes)[0])

    return _of_numbers(of, against, distance, on_values)


@_numeric("wasserstein", "lower", scores=SHARE)
def wasserstein(of: str = "prediction", against: Any = "previous") -> Formula:
    def on_values(now: Floats, then: Floats) -> float:
        at, ours, theirs = _functions(now, then)
        with np.errstate(over="ignore", invalid="ignore"):
            area = float((np.abs(ours - theirs)[:-1] * np.diff(at)).sum())
        return area if np.isfinite(area) else float("nan")

    return _of_numbers(of, against, distances.wasserstein, on_values, NOT_NEGATIVE)


@_numeric("mean_difference", None, scores=(-1.0, 1.0), version=2)
def mean_difference(of: str = "prediction", against: Any = "previous") -> Formula:
    """Mean less the mean of the reference, with Welch's interval (Welch 1947)."""
    column = f"{quoted(of)}::DOUBLE"
    given = f"{quoted(of)} IS NOT NULL"

    def value(s: Merged) -> Values:
        then = _reference(s)
        with np.errstate(divide="ignore", invalid="ignore"):
            means = [side["sum"] / side["n"] for side in (s, then)]
            difference = means[0] - means[1]
            found = _compared(s["n"], then["n"], difference, None, (~np.isfinite(difference), UNDEFINED_SUM))
            variances = []
            for side, mean in zip((s, then), means, strict=True):
                spread = side["squares"] - side["sum"] * mean
                known = np.where(spread > RESOLVED * side["squares"], spread, np.nan)
                variances.append(known / (side["n"] - 1) / side["n"])
            both = variances[0] + variances[1]
            freedom = both**2 / sum(each**2 / (side["n"] - 1) for side, each in zip((s, then), variances, strict=True))
            return symmetric(found, np.sqrt(both), student(s.level, freedom))

    return _comparing(
        {"sum": total(column, given), "squares": total(f"{column} * {column}", given), "n": count(given)},
        value,
        _on_numbers(of, lambda now, then: math.fsum(now) / len(now) - math.fsum(then) / len(then)),
        against,
        UNLIMITED,
    )


# Bins and categories


def _groups(of: str) -> dict[str, State]:
    return {"values": grouped(text_of(quoted(of)), f"{quoted(of)} IS NOT NULL")}


Shares = Callable[[Floats, Floats], float]


def _counted(codes: Integers, size: int) -> Floats:
    return np.bincount(codes, minlength=size).astype(np.float64)


def _on_categories(of: str, function: Shares) -> Rows:
    """A function of the counts of each value on both sides."""

    def on_rows(pairs: pd.DataFrame, reference: pd.DataFrame) -> float:
        import pandas as pd

        now, then = (rows[of].dropna().to_numpy(object) for rows in (pairs, reference))
        if not len(now) or not len(then):
            return float("nan")
        codes, found = pd.factorize(np.concatenate([now, then]))
        return float(function(*(_counted(each, len(found)) for each in np.split(codes, [len(now)]))))

    return on_rows


def _on_bins(of: str, bins: int, function: Shares) -> Rows:
    """The same of the counts between quantiles of the rounded reference."""

    def on_values(now: Floats, then: Floats) -> float:
        now, then = rounded(now), np.sort(rounded(then))
        if then[0] == then[-1]:
            return float("nan")
        edges = np.unique([then[-(-i * len(then) // bins) - 1] for i in range(1, bins)])
        return float(function(*(_counted(np.searchsorted(edges, each), len(edges) + 1) for each in (now, then))))

    return _on_numbers(of, on_values)


def _of_bins(
    of: str, bins: Any, against: Any, distance: Callable[[Pairing], Floats], on_counts: Shares, range: Range = SHARE
) -> Formula:
    def by_values(s: Merged) -> Values:
        pairing = distances.of_texts(s["values"], _reference(s)["values"])
        return _compared(*pairing.totals, distance(pairing), None)

    def by_quantiles(s: Merged) -> Values:
        now, then = s["values"], _reference(s)["values"]
        pairing = distances.of_numbers(now, then, np.zeros(len(now.exact), dtype=bool))
        constant = pairing.sums((pairing.then > 0).astype(np.float64)) < 2
        value = distance(distances.in_bins(pairing, bins))
        return _compared(*pairing.totals, value, None, (constant, CONSTANT))

    if bins == "values":
        return _comparing(_groups(of), by_values, _on_categories(of, on_counts), against, range)
    if isinstance(bins, bool) or not isinstance(bins, int) or not 2 <= bins <= MOST_BINS:
        raise ConfigError("bins must be a number of bins", expected=f"2 to {MOST_BINS}, or values", found=repr(bins))
    return _comparing(_values(of), by_quantiles, _on_bins(of, bins, on_counts), against, range)


def _smoothed(counts: Floats) -> Floats:
    filled = counts + distances.SMOOTHING
    return np.asarray(filled / filled.sum())


@_binned("psi")
def psi(of: str = "prediction", bins: Any = 10, against: Any = "previous") -> Formula:
    def on_counts(now: Floats, then: Floats) -> float:
        p, q = _smoothed(now), _smoothed(then)
        return float(((p - q) * (np.log(p) - np.log(q))).sum())

    return _of_bins(of, bins, against, distances.stability, on_counts, NOT_NEGATIVE)


@_binned("kl_divergence")
def kl_divergence(of: str = "prediction", bins: Any = 10, against: Any = "previous") -> Formula:
    def on_counts(now: Floats, then: Floats) -> float:
        p, q = _smoothed(now), _smoothed(then)
        return float((p * (np.log(p) - np.log(q))).sum())

    return _of_bins(of, bins, against, distances.kullback_leibler, on_counts, NOT_NEGATIVE)


@_binned("jensen_shannon")
def jensen_shannon(of: str = "prediction", bins: Any = 10, against: Any = "previous") -> Formula:
    def on_counts(now: Floats, then: Floats) -> float:
        p, q = now / now.sum(), then / then.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            to_middle = [(side * np.log2(side / ((p + q) / 2)))[side > 0].sum() for side in (p, q)]
        return float(np.sqrt(max(sum(to_middle) / 2, 0.0)))

    return _of_bins(of, bins, against, distances.jensen_shannon, on_counts)


@_binned("hellinger")
def hellinger(of: str = "prediction", bins: Any = 10, against: Any = "previous") -> Formula:
    def on_counts(now: Floats, then: Floats) -> float:
        return float(np.linalg.norm(np.sqrt(now / now.sum()) - np.sqrt(then / then.sum())) / np.sqrt(2))

    return _of_bins(of, bins, against, distances.hellinger, on_counts)


@_binned("total_variation")
def total_variation(of: str = "prediction", bins: Any = 10, against: Any = "previous") -> Formula:
    def on_counts(now: Floats, then: Floats) -> float:
        return float(np.abs(now / now.sum() - then / then.sum()).sum() / 2)

    return _of_bins(of, bins, against, distances.total_variation, on_counts)


def _of_categories(
    of: str, against: Any, distance: Callable[[Pairing], Floats], on_counts: Shares, range: Range = SHARE
) -> Formula:
    return _of_bins(of, "values", against, distance, on_counts, range)


def _pearson(now: Floats, then: Floats) -> tuple[float, int]:
    table = np.stack([now, then]).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), table.shape[1] - 1


@entry("chi_squared", parameters=("of", "against"), better="lower")
def chi_squared(of: str = "prediction", against: Any = "previous") -> Formula:
    def on_counts(now: Floats, then: Floats) -> float:
        return _pearson(now, then)[0]

    return _of_categories(of, against, lambda p: distances.chi_squared(p)[0], on_counts, NOT_NEGATIVE)


@entry("chi_squared_p", parameters=("of", "against"), better="higher", version=2)
def chi_squared_p(of: str = "prediction", against: Any = "previous") -> Formula:
    """Asymptotic p-value of `chi_squared`; 1 for one category on both sides, as SciPy has it."""

    def on_counts(now: Floats, then: Floats) -> float:
        statistic, freedom = _pearson(now, then)
        return float(distances.chi_squared_p(np.array([statistic]), np.array([freedom]))[0])

    return _of_categories(of, against, lambda p: distances.chi_squared_p(*distances.chi_squared(p)), on_counts)


@entry("l_infinity", parameters=("of", "against"), better="lower")
def l_infinity(of: str = "prediction", against: Any = "previous") -> Formula:
    def on_counts(now: Floats, then: Floats) -> float:
        return float(np.abs(now / now.sum() - then / then.sum()).max())

    return _of_categories(of, against, distances.l_infinity, on_counts)
