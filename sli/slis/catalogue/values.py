"""SLIs of the values of one column over all predictions, labelled or not: moments, quantiles, shares, distinct values.

Limit: they see one column at a time, and no label.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sli.engine.sql import literal, quoted, text_of
from sli.errors import ConfigError
from sli.slis.catalogue.columns import NUMERIC, double, numeric, present
from sli.slis.catalogue.parameters import number_in, whole_number_in
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
    groups,
    histogram,
    plain,
    total,
)
from sli.slis.kinds.distincts import DISTINCT, DistinctState
from sli.slis.kinds.extremes import MaxState, MinState
from sli.slis.kinds.groups import Groups
from sli.slis.maths.confidence import mean_of, normal, proportion, symmetric
from sli.slis.maths.moments import standard_deviation
from sli.slis.maths.quantiles import quantile_of
from sli.slis.states import Flags, Merged, State

# Moments


def _mean(of: str, range: Range) -> Formula:
    x = double(of)
    return Formula(
        {"sum": total(x, present(of)), "squares": total(f"{x} * {x}", present(of)), "n": count(present(of))},
        lambda s: mean_of(s, s["sum"], s["squares"], s["n"], NO_VALUES, range),
        range=range,
    )


@numeric("mean", scores=SHARE, version=2)
def mean(of: str = "prediction") -> Formula:
    """Mean of the values."""
    return _mean(of, UNLIMITED)


@entry("mean", "binary", version=2)
def mean_of_scores(of: str = "prediction") -> Formula:
    """Mean of the values; the interval of scores uses their range."""
    return _mean(of, SHARE if of == "prediction" else UNLIMITED)


@numeric("std", scores=(0.0, math.sqrt(0.5)), version=2)
def std(of: str = "prediction") -> Formula:
    """Sample standard deviation: the square root of (sum x^2 - (sum x)^2 / n) / (n - 1)."""
    x = double(of)
    powers = {str(a): total(" * ".join([x] * a), present(of)) for a in range(1, 5)}
    return Formula(
        {
            **powers,
            "n": count(present(of)),
            "low": MinState(of=double(of), where=present(of)),
            "high": MaxState(of=double(of), where=present(of)),
        },
        standard_deviation,
        range=NOT_NEGATIVE,
    )


@numeric("sum")
def sum_(of: str = "prediction") -> Formula:
    """Exact sum of the values."""
    return Formula(
        {"sum": total(double(of), present(of)), "n": count(present(of))},
        lambda s: plain(s["sum"], because((s["n"] == 0, NO_VALUES), (np.isnan(s["sum"]), UNDEFINED_SUM))),
    )


def _extreme(state: State) -> Formula:
    return Formula({"x": state}, lambda s: plain(s["x"], because((np.isnan(s["x"]), NO_VALUES))))


@numeric("min", scores=SHARE)
def min_(of: str = "prediction") -> Formula:
    """Least value."""
    return _extreme(MinState(of=double(of), where=present(of)))


@numeric("max", scores=SHARE)
def max_(of: str = "prediction") -> Formula:
    """Greatest value."""
    return _extreme(MaxState(of=double(of), where=present(of)))


@numeric("quantile", scores=SHARE, version=2)
def quantile(q: float, of: str = "prediction") -> Formula:
    """q-quantile of the values (Hyndman and Fan 1996, type 7)."""
    q = number_in("q", q, 0, 1)
    return Formula(
        {"values": histogram(double(of), present(of))},
        lambda s: quantile_of(s, s["values"], q, NO_VALUES),
    )


# Shares


@entry("null_rate", better="lower", version=2)
def null_rate(of: str = "prediction") -> Formula:
    """Share of the predictions whose value is null."""
    return Formula(
        {"null": count(f"{quoted(of)} IS NULL")},
        lambda s: proportion(s, s["null"], s.predictions, (s.predictions == 0, "no predictions")),
        range=SHARE,
    )


@entry("missing_count", better="lower")
def missing_count(of: str = "prediction") -> Formula:
    """Number of predictions whose value is null."""
    return Formula(
        {"null": count(f"{quoted(of)} IS NULL")},
        lambda s: plain(s["null"].astype(np.float64)),
        range=NOT_NEGATIVE,
    )


def _share(of: str, condition: str) -> Formula:
    """Share of the values that are not null for which an SQL condition holds."""
    return Formula(
        {"part": count(f"{present(of)} AND ({condition})"), "n": count(present(of))},
        lambda s: proportion(s, s["part"], s["n"], (s["n"] == 0, NO_VALUES)),
        range=SHARE,
    )


@entry("share", *NUMERIC, version=2)
def share(of: str, value: object) -> Formula:
    """Share of the values equal to `value`.

    Values are compared as numbers if `value` is a number, else as text: 3 finds 3.0, and `true` finds a boolean.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        wanted = float(text)
    except ValueError:
        wanted = math.nan
    if not math.isfinite(wanted):
        return _share(of, f"{text_of(quoted(of))} = {literal(text)}")

    return _share(of, f"coalesce(TRY_CAST({quoted(of)}::VARCHAR AS DOUBLE) = {wanted!r}::DOUBLE, false)")


@entry("share", "multiclass", version=2)
def share_of_class(value: object, of: str = "prediction") -> Formula:
    """Share of the values, by default of the predicted classes, equal to `value`."""
    return share(of, value)


@numeric("histogram", scores=SHARE, listed=("edges",), version=2)
def histogram_(edges: Sequence[float], bin: int, of: str = "prediction") -> Formula:
    """Share of the values in one bin between edges.

    Bin 0 is below the first edge, bin i from edge i to below the next, the last bin from the last edge on.
    """
    are_numbers = isinstance(edges, list | tuple) and len(edges) > 0 and all(isinstance(e, int | float) for e in edges)
    if not are_numbers or any(not a < b for a, b in itertools.pairwise([-math.inf, *edges, math.inf])):
        raise ConfigError("edges must be numbers that rise", where="edges", expected="[0, 10, 20]", found=repr(edges))
    bin = whole_number_in("bin", bin, 0, len(edges))
    low, high = [-math.inf, *map(float, edges), math.inf][bin : bin + 2]
    x = double(of)
    sides = [f"{x} >= {low!r}::DOUBLE"] * math.isfinite(low) + [f"{x} < {high!r}::DOUBLE"] * math.isfinite(high)
    return _share(of, " AND ".join(sides))


@entry("mode_share", *NUMERIC, version=2)
def mode_share(of: str, rank: int = 1) -> Formula:
    """Share of the values that are the most common one; with `rank` r, the r-th most common."""
    rank = whole_number_in("rank", rank, 1)

    def value(s: Merged) -> Values:
        by_text: Groups = s["groups"]
        totals, at = by_text.totals, by_text.offsets[:-1] + rank - 1
        few: Flags = at >= by_text.offsets[1:]
        falling = by_text.counts[np.lexsort((-by_text.counts, by_text.rows))]
        part = np.zeros(len(few))
        part[~few] = falling[at[~few]]
        return proportion(s, part, totals, (totals == 0, NO_VALUES), (few, "fewer different values than the rank"))

    return Formula({"groups": groups(text_of(quoted(of)), present(of))}, value, range=SHARE)


@entry("mode_share", "multiclass", version=2)
def mode_share_of_classes(of: str = "prediction", rank: int = 1) -> Formula:
    """`mode_share`, by default of the predicted classes."""
    return mode_share(of, rank)


@entry("distinct_count", version=2)
def distinct_count(of: str = "prediction") -> Formula:
    """Number of different values: counted below 1024, else estimated from the k = 1024 smallest hashes.

    The estimate is D = (k - 1) / h, h the largest of these hashes as a share of the hash range (Bar-Yossef et al. 2002,
    "Counting distinct elements in a data stream"). Its variance is D (D - k + 1) / (k - 2) (Beyer et al. 2007, "On
    synopses for distinct-value estimation under multiset operations").
    """

    def value(s: Merged) -> Values:
        kept = s["values"].kept
        full = kept >= DISTINCT
        estimate = np.where(full, np.maximum((DISTINCT - 1) / s["values"].largest, DISTINCT), kept)
        error = np.where(full, np.sqrt(estimate * (estimate - DISTINCT + 1) / (DISTINCT - 2)), np.nan)
        number = plain(estimate, bound=np.where(full, np.nan, 0.0))
        values = symmetric(number, error, normal(s.level))
        return replace(values, low=np.maximum(values.low, DISTINCT))

    state = DistinctState(of=quoted(of), where=present(of))
    return Formula({"values": state}, value, range=NOT_NEGATIVE)
