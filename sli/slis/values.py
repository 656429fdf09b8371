"""SLIs of predictions alone and of the delay of feedback: counts, means, null rates and quantiles.

Quantiles interpolate linearly between order statistics (Hyndman and Fan 1996, type 7, as NumPy does). Limit: beyond
EXACT_ROWS rows the values were rounded, and the stated bound is a relative 2^-10 of the larger neighbour.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sli.errors import ConfigError
from sli.slices import quoted
from sli.slis.base import (
    NO_LABELS,
    NO_VALUES,
    Formula,
    Values,
    because,
    count,
    entry,
    histogram,
    mean_of,
    plain,
    proportion,
    total,
)
from sli.slis.states import BITS, Floats, Histograms, Merged


@entry("count")
def count_() -> Formula:
    return Formula(
        {},
        lambda s: plain(s.predictions.astype(np.float64), np.full(len(s.predictions), None, dtype=object)),
        lambda d: float(len(d)),
    )


@entry("mean", parameters=("of",))
def mean(of: str = "prediction") -> Formula:
    column = quoted(of)
    return Formula(
        {"sum": total(f"{column}::DOUBLE", f"{column} IS NOT NULL"), "n": count(f"{column} IS NOT NULL")},
        lambda s: mean_of(s["sum"], s["n"], NO_VALUES),
        lambda d: float(d[of].astype(float).mean()),
    )


@entry("null_rate", parameters=("of",))
def null_rate(of: str = "prediction") -> Formula:
    return Formula(
        {"null": count(f"{quoted(of)} IS NULL")},
        lambda s: proportion(s["null"], s.predictions, (s.predictions == 0, "no predictions")),
        lambda d: float(d[of].isna().mean()),
    )


def quantiles(of: Histograms, q: float) -> tuple[Floats, Floats]:
    """The q-quantile of each row and a bound on its error; NaN for an empty row."""
    totals = of.totals
    running = np.cumsum(of.counts)
    before = np.concatenate([[0], running])[of.offsets[:-1]]
    rank = q * np.maximum(totals - 1, 0)
    lower = np.floor(rank).astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(totals - 1, 0))
    if len(of.keys) == 0:
        return np.full(len(totals), np.nan), np.full(len(totals), np.nan)
    last = len(of.keys) - 1
    low = of.keys[np.minimum(np.searchsorted(running, before + lower, side="right"), last)]
    high = of.keys[np.minimum(np.searchsorted(running, before + upper, side="right"), last)]
    share = rank - lower
    value = np.where(low == high, low, low * (1 - share) + high * share)
    bound = np.where(of.exact, 0.0, np.maximum(np.abs(low), np.abs(high)) * 2.0**-BITS / (1 - 2.0**-BITS))
    return np.where(totals == 0, np.nan, value), np.where(totals == 0, np.nan, bound)


def _checked(q: float) -> float:
    if not isinstance(q, int | float) or not 0 <= q <= 1:
        raise ConfigError("q must be a share", expected="a number from 0 to 1", found=repr(q))
    return float(q)


@entry("quantile", parameters=("q", "of"))
def quantile(q: float, of: str = "prediction") -> Formula:
    q, column = _checked(q), quoted(of)

    def value(s: Merged) -> Values:
        found, bound = quantiles(s["values"], q)
        return plain(found, because((s["values"].totals == 0, NO_VALUES)), bound)

    return Formula(
        {"values": histogram(f"{column}::DOUBLE", f"{column} IS NOT NULL")},
        value,
        lambda d: float(d[of].astype(float).quantile(q)),
    )


@entry("feedback_delay", parameters=("q",))
def feedback_delay(q: float = 0.5) -> Formula:
    """Quantile of the seconds from a prediction to the feedback that labels it."""
    q = _checked(q)

    def value(s: Merged) -> Values:
        found, bound = quantiles(s["delays"], q)
        return plain(found, because((s["delays"].totals == 0, NO_LABELS)), bound)

    def on_rows(pairs: pd.DataFrame) -> float:
        return float(pairs.delay[pairs.labelled].quantile(q))

    return Formula({"delays": histogram("delay", "labelled")}, value, on_rows)
