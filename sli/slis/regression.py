"""SLIs of a regression task: errors are `prediction - label` over the pairs that have both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from sli.slis.base import NO_LABELS, UNDEFINED_SUM, Formula, Values, because, count, entry, mean_of, plain, total
from sli.slis.states import Merged, State

USABLE = count("usable")
NEGLIGIBLE = 1e-12
"""A bound below this is not worth a mention: such a value counts as exact."""
SQUARES = total("(prediction - label) * (prediction - label)", "usable")


def _mean(of: str, on_errors: Callable[[pd.Series], pd.Series]) -> Formula:
    def on_rows(pairs: pd.DataFrame) -> float:
        kept = pairs[pairs.usable]
        return float(on_errors(kept.prediction - kept.label).mean())

    return Formula(
        {"sum": total(of, "usable"), "usable": USABLE}, lambda s: mean_of(s["sum"], s["usable"], NO_LABELS), on_rows
    )


@entry("mae", "regression")
def mae() -> Formula:
    return _mean("abs(prediction - label)", lambda e: e.abs())


@entry("mse", "regression")
def mse() -> Formula:
    return _mean(SQUARES.of, lambda e: e**2)


@entry("bias", "regression")
def bias() -> Formula:
    return _mean("prediction - label", lambda e: e)


@entry("rmse", "regression")
def rmse() -> Formula:
    def value(s: Merged) -> Values:
        squared = mean_of(s["sum"], s["usable"], NO_LABELS)
        return plain(np.sqrt(squared.value), squared.reason)

    def on_rows(pairs: pd.DataFrame) -> float:
        kept = pairs[pairs.usable]
        return float(np.sqrt(((kept.prediction - kept.label) ** 2).mean()))

    return Formula({"sum": SQUARES, "usable": USABLE}, value, on_rows)


def _r2(s: Merged) -> Values:
    n, sums, squares = s["usable"], s["y"], s["yy"]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = squares - sums * (sums / n)
        off = squares * 2.0**-51
        value = 1 - s["sse"] / spread
        bound = (1 - value) * off / (spread - off)
    constant = (n < 2) | (s["low"] == s["high"])
    unknown = np.isnan(s["sse"]) | np.isnan(squares) | np.isnan(sums)
    reason = because(
        (n == 0, NO_LABELS),
        (constant, "labels do not vary"),
        (unknown, UNDEFINED_SUM),
        (~(spread > off), "labels vary too little for their size"),
    )
    return plain(value, reason, np.where(bound > NEGLIGIBLE, bound, 0.0))


@entry("r2", "regression")
def r2() -> Formula:
    """1 - SSE / SST, with SST = sum y^2 - (sum y)^2 / n.

    The sums are exact but for the rounding of each y^2 and of the last step, together at most 2^-51 of sum y^2: the
    bound is what that does to the value.
    """

    def on_rows(pairs: pd.DataFrame) -> float:
        kept = pairs[pairs.usable]
        if kept.label.nunique() < 2:
            return float("nan")
        return float(1 - ((kept.prediction - kept.label) ** 2).sum() / ((kept.label - kept.label.mean()) ** 2).sum())

    return Formula(
        {
            "sse": SQUARES,
            "y": total("label", "usable"),
            "yy": total("label * label", "usable"),
            "low": State("min", of="label", where="usable"),
            "high": State("max", of="label", where="usable"),
            "usable": USABLE,
        },
        _r2,
        on_rows,
    )
