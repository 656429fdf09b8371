"""SLIs of the values of one column over all predictions, labelled or not: moments, quantiles, shares, distinct values.

Quantiles interpolate linearly between order statistics (Hyndman and Fan 1996, type 7, as NumPy does). Limit: beyond
EXACT_ROWS rows the values were rounded, and the stated bound is a relative 2^-10 of the larger neighbour.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sli.engine.sql import literal, quoted, text_of
from sli.errors import ConfigError
from sli.slis.formula import (
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
    grouped,
    histogram,
    plain,
    total,
)
from sli.slis.maths.confidence import (
    Moment,
    mean_of,
    normal,
    on_log_scale,
    order_statistics,
    polynomial_variance,
    proportion,
    student,
    symmetric,
)
from sli.slis.states import BITS, DISTINCT, Flags, Floats, Histograms, Integers, Merged, State

if TYPE_CHECKING:
    import pandas as pd

NUMERIC = ("binary", "regression", "ranking")
"""Tasks whose predictions are numbers."""
NEGLIGIBLE = 1e-12
"""A bound below this, relative to the value, is not worth a mention: such a value counts as exact."""
ROUNDING = 2.0**-BITS / (1 - 2.0**-BITS)
"""How far a value may lie from its rounded one, relative to that."""
UNIT = 2.0**-80
"""What a sum resolves: its terms are kept in this unit."""
CLEAR = 64.0
"""A variance this many times what rounding may have done to it has a standard error right to 1 %."""

Make = Callable[..., Formula]


def of_scores(make: Make, range: Range) -> Make:
    """The SLI of a column in a binary task, whose prediction is a score from 0 to 1: of it the value is in `range`."""

    @functools.wraps(make)
    def made(**given: Any) -> Formula:
        formula = make(**given)
        return replace(formula, range=range) if given.get("of", "prediction") == "prediction" else formula

    return made


def numeric(
    name: str, parameters: tuple[str, ...], listed: tuple[str, ...] = (), scores: Range = UNLIMITED, version: int = 1
) -> Callable[[Make], Make]:
    """Register an SLI of a column of numbers, which the prediction of a multiclass task is not.

    `scores` is its range where that is a score from 0 to 1.
    """

    def register(make: Make) -> Make:
        @functools.wraps(make)
        def of_column(**given: Any) -> Formula:
            if given.get("of", "prediction") == "prediction":
                raise ConfigError(
                    f"'{name}' needs numbers, and the prediction of a multiclass task is a class",
                    where="of",
                    expected="a numeric column",
                    todo="write `of: COLUMN`, with a numeric column listed under predictions.columns",
                )
            return make(**given)

        entry(name, "regression", "ranking", parameters=parameters, listed=listed, version=version)(make)
        of_binary = of_scores(make, scores)
        entry(name, "binary", parameters=parameters, listed=listed, version=version)(of_binary)
        entry(name, "multiclass", parameters=parameters, listed=listed, version=version)(of_column)
        return make

    return register


def present(of: str) -> str:
    """SQL condition that a column has a value."""
    return f"{quoted(of)} IS NOT NULL"


def number(of: str) -> str:
    """SQL of a column as a double."""
    return f"{quoted(of)}::DOUBLE"


def numbers(pairs: pd.DataFrame, of: str) -> pd.Series:
    """The values of a numeric column that are not null."""
    return pairs[of].dropna().astype(float)


def texts(pairs: pd.DataFrame, of: str) -> pd.Series:
    """The values of a column that are not null as the text SQL makes of them."""
    values: pd.Series = pairs[of].dropna()

    def text(each: Any) -> str:
        if isinstance(each, float | np.floating):
            return str(each).removesuffix(".0")
        return str(each).lower() if isinstance(each, bool | np.bool_) else str(each)

    return values.map(text)


# Moments


def _mean(of: str, range: Range) -> Formula:
    x = number(of)
    return Formula(
        {"sum": total(x, present(of)), "squares": total(f"{x} * {x}", present(of)), "n": count(present(of))},
        lambda s: mean_of(s, s["sum"], s["squares"], s["n"], NO_VALUES, range),
        lambda d: float(numbers(d, of).mean()),
        range=range,
    )


@numeric("mean", ("of",), scores=SHARE, version=2)
def mean(of: str = "prediction") -> Formula:
    return _mean(of, UNLIMITED)


@entry("mean", "binary", parameters=("of",), version=2)
def mean_of_scores(of: str = "prediction") -> Formula:
    """The interval of scores keeps to their range, too."""
    return _mean(of, SHARE if of == "prediction" else UNLIMITED)


def polynomial_error(terms: Mapping[tuple[int, int], Any], moment: Moment, n: Integers) -> Floats:
    """Standard error of the mean of a polynomial of n pairs; NaN where rounding leaves too little of it.

    Each moment is off by at most 2^-49 of its terms' size and 2^-80, which by the inequality of Cauchy and Schwarz
    moves the variance by no more than `noise`.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = polynomial_variance(terms, moment)
        size: Any = sum(c**2 * (moment(2 * a, 2 * b) * 2.0**-49 + UNIT) for (a, b), c in terms.items())
        noise = len(terms) * size
        error: Floats = np.sqrt(variance / (n - 1))
    return np.where(variance > CLEAR * noise, error, np.nan)


def std_of(s: Merged, missing: str = NO_VALUES, what: str = "value") -> Values:
    """The standard deviation from the number `n`, sums of powers `1` to `4` and extremes `low` and `high` of values.

    Its standard error is that of the variance, from the fourth central moment, over twice the value (Cramér 1946,
    sections 27.4 and 28.4).
    """
    n, sums, squares = s["n"], s["1"], s["2"]
    constant = (s["low"] == s["high"]) & np.isfinite(s["low"])
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = sums / n
        spread, off = squares - sums * middle, squares * 2.0**-50 + n * UNIT
        value = np.where(constant, 0.0, np.sqrt(spread / (n - 1)))
        bound = np.where(constant, 0.0, value - np.sqrt(np.maximum(spread - off, 0.0) / (n - 1)))
    reason = because(
        (n == 0, missing),
        (n == 1, f"only one {what}"),
        (~constant & (np.isnan(sums) | np.isnan(squares)), UNDEFINED_SUM),
        (~constant & ~(spread > off), f"{what}s vary too little for their size"),
    )
    found = plain(value, reason, np.where(bound > NEGLIGIBLE * value, bound, 0.0))

    def moment(a: int, _: int) -> Any:
        return s[str(a)] / n if a else 1.0

    with np.errstate(divide="ignore", invalid="ignore"):
        error = polynomial_error({(2, 0): 1.0, (1, 0): -2 * middle, (0, 0): middle**2}, moment, n) / (2 * value)
    return found.within(*on_log_scale(found.value, error, student(s.level, n - 1)))


@numeric("std", ("of",), scores=(0.0, math.sqrt(0.5)), version=2)
def std(of: str = "prediction") -> Formula:
    """Square root of (sum x^2 - (sum x)^2 / n) / (n - 1)."""
    x = number(of)
    powers = {str(a): total(" * ".join([x] * a), present(of)) for a in range(1, 5)}
    return Formula(
        {**powers, "n": count(present(of)), "low": _extreme("min", of), "high": _extreme("max", of)},
        std_of,
        lambda d: float(numbers(d, of).std(ddof=1)),
        range=NOT_NEGATIVE,
    )


@numeric("sum", ("of",))
def sum_(of: str = "prediction") -> Formula:
    return Formula(
        {"sum": total(number(of), present(of)), "n": count(present(of))},
        lambda s: plain(s["sum"], because((s["n"] == 0, NO_VALUES), (np.isnan(s["sum"]), UNDEFINED_SUM))),
        lambda d: math.fsum(numbers(d, of)) if d[of].notna().any() else math.nan,
    )


def _extreme(kind: str, of: str) -> State:
    return State("min" if kind == "min" else "max", of=number(of), where=present(of))


def _of_extreme(kind: str, of: str) -> Formula:
    return Formula(
        {"x": _extreme(kind, of)},
        lambda s: plain(s["x"], because((np.isnan(s["x"]), NO_VALUES))),
        lambda d: float(numbers(d, of).agg(kind)),
    )


@numeric("min", ("of",), scores=SHARE)
def min_(of: str = "prediction") -> Formula:
    return _of_extreme("min", of)


@numeric("max", ("of",), scores=SHARE)
def max_(of: str = "prediction") -> Formula:
    return _of_extreme("max", of)


# Quantiles


def checked(q: Any, name: str = "q") -> float:
    """A share as a config gives it."""
    if not isinstance(q, int | float) or isinstance(q, bool) or not 0 <= q <= 1:
        raise ConfigError(f"{name} must be a share", expected="a number from 0 to 1", found=repr(q))
    return float(q)


def ranked(of: Histograms, rank: Integers) -> Floats:
    """The value with this rank, from 0, in each row; anything where the row is empty."""
    if len(of.keys) == 0:
        return np.full(len(of.exact), np.nan)
    running = np.cumsum(of.counts)
    before = np.concatenate([[0], running])[of.offsets[:-1]]
    return of.keys[np.minimum(np.searchsorted(running, before + rank, side="right"), len(of.keys) - 1)]


def quantiles(of: Histograms, q: float) -> tuple[Floats, Floats]:
    """The q-quantile of each row and a bound on its error; NaN for an empty row."""
    totals = of.totals
    rank = q * np.maximum(totals - 1, 0)
    lower = np.floor(rank).astype(np.int64)
    low, high = ranked(of, lower), ranked(of, np.minimum(lower + 1, np.maximum(totals - 1, 0)))
    share = rank - lower
    with np.errstate(invalid="ignore"):
        value = np.where(low == high, low, low * (1 - share) + high * share)
        bound = np.where(of.exact, 0.0, np.maximum(np.abs(low), np.abs(high)) * ROUNDING)
    return np.where(totals == 0, np.nan, value), np.where(totals == 0, np.nan, bound)


def quantile_interval(of: Histograms, q: float, level: float) -> tuple[Floats, Floats]:
    """Order statistics on both sides, moved outwards by what rounding may have done; NaN where one is beyond the data.

    At q of 0 and 1 there is none: nothing is known of what lies beyond an extreme.
    """
    low, high = order_statistics(of, q, level, lambda rank: ranked(of, rank.astype(np.int64) - 1))
    with np.errstate(invalid="ignore"):
        off = np.where(of.exact, 0.0, ROUNDING)
        low, high = low - np.abs(low) * off, high + np.abs(high) * off
        known = np.isfinite(low) & np.isfinite(high) & (0 < q < 1)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def quantile_of(s: Merged, of: Histograms, q: float, missing: str) -> Values:
    """The q-quantile of a histogram with a distribution-free interval; undefined for an empty row."""
    value, bound = quantiles(of, q)
    found = plain(value, because((of.totals == 0, missing), (~np.isfinite(value), UNDEFINED_SUM)), bound)
    return found.within(*quantile_interval(of, q, s.level))


@numeric("quantile", ("q", "of"), scores=SHARE, version=2)
def quantile(q: float, of: str = "prediction") -> Formula:
    q = checked(q)
    return Formula(
        {"values": histogram(number(of), present(of))},
        lambda s: quantile_of(s, s["values"], q, NO_VALUES),
        lambda d: float(numbers(d, of).quantile(q)),
    )


# Shares


@entry("null_rate", parameters=("of",), better="lower", version=2)
def null_rate(of: str = "prediction") -> Formula:
    return Formula(
        {"null": count(f"{quoted(of)} IS NULL")},
        lambda s: proportion(s, s["null"], s.predictions, (s.predictions == 0, "no predictions")),
        lambda d: float(d[of].isna().mean()),
        range=SHARE,
    )


@entry("missing_count", parameters=("of",), better="lower")
def missing_count(of: str = "prediction") -> Formula:
    return Formula(
        {"null": count(f"{quoted(of)} IS NULL")},
        lambda s: plain(s["null"].astype(np.float64), np.full(len(s["null"]), None, dtype=object)),
        lambda d: float(d[of].isna().sum()),
        range=NOT_NEGATIVE,
    )


def _share(of: str, condition: str, on_values: Callable[[pd.DataFrame], pd.Series]) -> Formula:
    """The share of the values that are not null for which the SQL condition holds."""
    return Formula(
        {"part": count(f"{present(of)} AND ({condition})"), "n": count(present(of))},
        lambda s: proportion(s, s["part"], s["n"], (s["n"] == 0, NO_VALUES)),
        lambda d: float(on_values(d).mean()),
        range=SHARE,
    )


@entry("share", *NUMERIC, parameters=("of", "value"), version=2)
def share(of: str, value: Any) -> Formula:
    """Values equal to `value`: as numbers if it is one, otherwise as text, so that 3 finds 3.0 and `true` a boolean."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        wanted = float(text)
    except ValueError:
        wanted = math.nan
    if not math.isfinite(wanted):
        return _share(of, f"{text_of(quoted(of))} = {literal(text)}", lambda d: texts(d, of) == text)

    def on_numbers(pairs: pd.DataFrame) -> pd.Series:
        import pandas as pd

        return pd.to_numeric(texts(pairs, of), errors="coerce") == wanted

    return _share(of, f"coalesce(TRY_CAST({quoted(of)}::VARCHAR AS DOUBLE) = {wanted!r}::DOUBLE, false)", on_numbers)


@entry("share", "multiclass", parameters=("of", "value"), version=2)
def share_of_class(value: Any, of: str = "prediction") -> Formula:
    return share(of, value)


@numeric("histogram", ("of", "edges", "bin"), scores=SHARE, listed=("edges",), version=2)
def histogram_(edges: Sequence[float], bin: int, of: str = "prediction") -> Formula:
    """Share of the values in one bin, low edge inside: 0 is below the first edge, the last is from the last one on."""
    rising = isinstance(edges, list | tuple) and len(edges) > 0 and all(isinstance(e, int | float) for e in edges)
    if not rising or any(not a < b for a, b in itertools.pairwise([-math.inf, *edges, math.inf])):
        raise ConfigError("edges must be numbers that rise", where="edges", expected="[0, 10, 20]", found=repr(edges))
    if not isinstance(bin, int) or isinstance(bin, bool) or not 0 <= bin <= len(edges):
        raise ConfigError(
            "there is no such bin", where="bin", expected=f"a whole number from 0 to {len(edges)}", found=repr(bin)
        )
    low, high = [-math.inf, *map(float, edges), math.inf][bin : bin + 2]
    x = number(of)
    sides = [f"{x} >= {low!r}::DOUBLE"] * math.isfinite(low) + [f"{x} < {high!r}::DOUBLE"] * math.isfinite(high)
    return _share(of, " AND ".join(sides), lambda d: (numbers(d, of) >= low) & (numbers(d, of) < high))


@entry("mode_share", *NUMERIC, parameters=("of", "rank"), version=2)
def mode_share(of: str, rank: int = 1) -> Formula:
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ConfigError("rank must be a position", where="rank", expected="1, 2, 3, ...", found=repr(rank))

    def value(s: Merged) -> Values:
        groups = s["groups"]
        totals, at = groups.totals, groups.offsets[:-1] + rank - 1
        few: Flags = at >= groups.offsets[1:]
        falling = groups.counts[np.lexsort((-groups.counts, groups.rows))]
        part = np.zeros(len(few))
        part[~few] = falling[at[~few]]
        return proportion(s, part, totals, (totals == 0, NO_VALUES), (few, "fewer different values than the rank"))

    def on_rows(pairs: pd.DataFrame) -> float:
        shares = texts(pairs, of).value_counts(normalize=True)
        return float(shares.iloc[rank - 1]) if len(shares) >= rank else math.nan

    return Formula({"groups": grouped(text_of(quoted(of)), present(of))}, value, on_rows, range=SHARE)


@entry("mode_share", "multiclass", parameters=("of", "rank"), version=2)
def mode_share_of_classes(of: str = "prediction", rank: int = 1) -> Formula:
    return mode_share(of, rank)


@entry("distinct_count", parameters=("of",), version=2)
def distinct_count(of: str = "prediction") -> Formula:
    """Number of different values: the hashes kept or, where that is all a set keeps, (k - 1) / the largest of them.

    The estimate and its variance D (D - k + 1) / (k - 2) are those of Bar-Yossef et al. (2002), "Counting distinct
    elements in a data stream", and Beyer et al. (2007), "On synopses for distinct-value estimation under multiset
    operations".
    """

    def value(s: Merged) -> Values:
        kept = s["values"].kept
        full = kept >= DISTINCT
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate = np.where(full, np.maximum((DISTINCT - 1) / s["values"].largest, DISTINCT), kept)
            error = np.where(full, np.sqrt(estimate * (estimate - DISTINCT + 1) / (DISTINCT - 2)), np.nan)
        found = plain(estimate, np.full(len(kept), None, dtype=object), np.where(full, np.nan, 0.0))
        within = symmetric(found, error, normal(s.level))
        return replace(within, low=np.maximum(within.low, DISTINCT))

    values = State("distinct", of=quoted(of), where=present(of))
    return Formula({"values": values}, value, lambda d: float(d[of].nunique()), range=NOT_NEGATIVE)
