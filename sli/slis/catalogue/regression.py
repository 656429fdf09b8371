"""SLIs of a regression task, over the pairs with a label y and a prediction p; the error e of a pair is p - y.

Limit: no worst-case bounds over missing labels, since one missing label can make any of these values arbitrarily large.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sli.slis.catalogue.parameters import number_in
from sli.slis.formula import (
    NO_LABELS,
    NOT_NEGATIVE,
    UNDEFINED_SUM,
    UNLIMITED,
    Formula,
    Range,
    Values,
    because,
    count,
    entry,
    histogram,
    plain,
    total,
)
from sli.slis.kinds.extremes import MaxState, MinState
from sli.slis.maths.confidence import mean_of, on_log_scale, student
from sli.slis.maths.moments import NEGLIGIBLE, UNIT, Coefficients, polynomial_error, standard_deviation
from sli.slis.maths.quantiles import quantile_of
from sli.slis.states import Floats, Merged, State

USABLE = count("usable")
ERROR = "(prediction - label)"
ABSOLUTE = "abs(prediction - label)"


def _moment(a: int, b: int) -> State:
    """State: the sum of e^a y^b."""
    return total(" * ".join([ERROR] * a + ["label"] * b), "usable")


SQUARES = _moment(2, 0)


# Means


def _mean_loss(
    sums: State,
    squares: State,
    unless: str = "",
    reason: str = "",
    range: Range = NOT_NEGATIVE,
) -> Formula:
    """Mean of a loss; undefined for `reason` if a usable pair satisfies the SQL condition `unless`.

    `sums` and `squares` are the states of the sum of the loss and of its square.
    """
    states = {"sum": sums, "squares": squares, "usable": USABLE}
    if unless:
        states["outside"] = count(f"usable AND ({unless})")

    def value(s: Merged) -> Values:
        cases = [(s["outside"] > 0, reason)] if unless else []
        return mean_of(s, s["sum"], s["squares"], s["usable"], NO_LABELS, NOT_NEGATIVE, *cases)

    return Formula(states, value, range=range)


def _root(formula: Formula) -> Formula:
    return Formula(
        formula.states,
        lambda s: formula.value(s).map(lambda x: np.sqrt(x)),
        range=NOT_NEGATIVE,
    )


@entry("mae", "regression", better="lower", version=2)
def mae() -> Formula:
    """Mean of |e|."""
    return _mean_loss(total(ABSOLUTE, "usable"), SQUARES)


@entry("mse", "regression", better="lower", version=2)
def mse() -> Formula:
    """Mean of e^2."""
    return _mean_loss(SQUARES, _moment(4, 0))


@entry("rmse", "regression", better="lower", version=2)
def rmse() -> Formula:
    """Square root of the mean of e^2."""
    return _root(mse())


@entry("bias", "regression", version=2)
def bias() -> Formula:
    """Mean of e."""
    return Formula(
        {"sum": _moment(1, 0), "squares": SQUARES, "usable": USABLE},
        lambda s: mean_of(s, s["sum"], s["squares"], s["usable"], NO_LABELS),
    )


@entry("error_std", "regression", better="lower")
def error_std() -> Formula:
    """Sample standard deviation of e: what is left of `rmse` without the bias."""
    powers = {str(a): _moment(a, 0) for a in range(1, 5)}
    ends = {"low": MinState(of=ERROR, where="usable"), "high": MaxState(of=ERROR, where="usable")}
    return Formula(
        {**powers, **ends, "n": USABLE},
        lambda s: standard_deviation(s, NO_LABELS, "error"),
        range=NOT_NEGATIVE,
    )


@entry("pinball", "regression", better="lower", version=2)
def pinball(q: float) -> Formula:
    """Mean loss of a forecast of the q-quantile (Koenker and Bassett 1978)."""
    q = number_in("q", q, 0, 1)
    loss = f"greatest({q!r}::DOUBLE * (label - prediction), {1 - q!r}::DOUBLE * (prediction - label))"

    return _mean_loss(total(loss, "usable"), total(f"{loss} * {loss}", "usable"))


@entry("mape", "regression", better="lower", version=2)
def mape() -> Formula:
    """Mean of |e| / |y| (de Myttenaere et al. 2016)."""
    where, loss = "usable AND label <> 0", f"{ABSOLUTE} / abs(label)"

    sums, squares = total(loss, where), total(f"{loss} * {loss}", where)
    return _mean_loss(sums, squares, "label = 0", "a label is 0")


@entry("smape", "regression", better="lower", version=2)
def smape() -> Formula:
    """Mean of 2 |e| / (|y| + |p|), 0 where both are 0 (Makridakis 1993): from 0 to 2."""
    part = f"2.0::DOUBLE * {ABSOLUTE} / (abs(label) + abs(prediction))"
    loss = f"(CASE WHEN label = 0 AND prediction = 0 THEN 0.0::DOUBLE ELSE {part} END)"

    return _mean_loss(total(loss, "usable"), total(f"{loss} * {loss}", "usable"), range=(0.0, 2.0))


def _log1p(x: str) -> str:
    """SQL of ln(1 + x) that is exact for a small x, too (Kahan's correction; Higham 2002, problem 1.5)."""
    one = f"(1.0::DOUBLE + {x})"
    return f"(CASE WHEN {one} = 1.0::DOUBLE THEN {x} ELSE ln({one}) * ({x} / ({one} - 1.0::DOUBLE)) END)"


@entry("msle", "regression", better="lower", version=2)
def msle() -> Formula:
    """Mean of (ln(1 + p) - ln(1 + y))^2, as in scikit-learn."""
    outside = "label <= -1 OR prediction <= -1"
    where, gap = f"usable AND NOT ({outside})", f"({_log1p('prediction')} - {_log1p('label')})"

    sums, squares = total(f"pow({gap}, 2)", where), total(f"pow({gap}, 4)", where)
    return _mean_loss(sums, squares, outside, "a label or prediction is -1 or less")


@entry("rmsle", "regression", better="lower", version=2)
def rmsle() -> Formula:
    """Square root of `msle`."""
    return _root(msle())


# Ratios


def _wape(s: Merged) -> Values:
    n, errors, labels = s["usable"], s["errors"], s["labels"]
    sums = {(1, 0): errors, (0, 1): labels, (2, 0): s["20"], (1, 1): s["11"], (0, 2): s["02"]}
    value = errors / labels
    reason = because((n == 0, NO_LABELS), (labels == 0, "all labels are 0"), (np.isnan(value), UNDEFINED_SUM))
    influence: Coefficients = {(1, 0): 1.0, (0, 1): -value}
    error = polynomial_error(influence, lambda a, b: sums[a, b] / n, n) / (labels / n)
    values = plain(value, reason)
    return values.within(*on_log_scale(values.value, error, student(s.level, n - 1)))


@entry("wape", "regression", better="lower", version=2)
def wape() -> Formula:
    """Sum of |e| / sum of |y| (Hyndman and Koehler 2006); with the variance of a ratio (Cochran 1977, 6.4)."""

    states = {
        "errors": total(ABSOLUTE, "usable"),
        "labels": total("abs(label)", "usable"),
        "20": SQUARES,
        "11": total(f"{ABSOLUTE} * abs(label)", "usable"),
        "02": _moment(0, 2),
        "usable": USABLE,
    }
    return Formula(states, _wape, range=NOT_NEGATIVE)


def _share_explained(s: Merged, residual: Floats, lost: Floats, middle: Floats | None = None) -> Values:
    """1 - residual / sum of (y - mean y)^2; the residual is a sum of (e - middle)^2 whose error is at most `lost`.

    The bound is what rounding does to the value: the sums lose at most 2^-51 of the sum of y^2 and one unit for each
    term. The influence function of the value is the polynomial -((e - middle)^2 - K (y - mean y)^2) / var y with
    K = residual / sum of (y - mean y)^2.
    """
    n = s["usable"]
    y = s["01"] / n
    spread, rounding = s["02"] - s["01"] * y, s["02"] * 2.0**-51 + n * UNIT
    left = residual / spread
    bound = (lost + left * rounding) / (spread - rounding)
    reason = because(
        (n == 0, NO_LABELS),
        ((n < 2) | (s["low"] == s["high"]), "labels do not vary"),
        (np.isnan(residual) | np.isnan(spread), UNDEFINED_SUM),
        (~(spread > rounding), "labels vary too little for their size"),
    )
    values = plain(1 - left, reason, np.where(bound > NEGLIGIBLE * np.maximum(1.0, left), bound, 0.0))
    terms: dict[tuple[int, int], Floats | float] = {
        (2, 0): 1.0,
        (0, 2): -left,
        (0, 1): 2 * left * y,
        (0, 0): -left * y**2,
    }
    if middle is not None:
        terms |= {(1, 0): -2 * middle, (0, 0): middle**2 - left * y**2}
    error = polynomial_error(terms, lambda a, b: s[f"{a}{b}"] / n if a + b else 1.0, n) / (spread / n)
    low, high = on_log_scale(left, error, student(s.level, n - 1))
    undefined = np.isnan(values.value)
    return values.within(np.where(undefined, np.nan, 1 - high), np.where(undefined, np.nan, 1 - low))


def _of_moments(value: Callable[[Merged], Values], names: str) -> Formula:
    """A formula of sums of e^a y^b, each named by its exponents (`21` is e^2 y), and of the extremes of the labels."""
    states = {name: _moment(int(name[0]), int(name[1])) for name in names.split()}
    ends = {"low": MinState(of="label", where="usable"), "high": MaxState(of="label", where="usable")}
    return Formula({**states, **ends, "usable": USABLE}, value, range=(-np.inf, 1.0))


@entry("r2", "regression", better="higher", version=2)
def r2() -> Formula:
    """1 - SSE / SST, with SST = sum y^2 - (sum y)^2 / n (Wright 1921)."""

    return _of_moments(lambda s: _share_explained(s, s["20"], s["usable"] * UNIT), "20 40 21 22 01 02 03 04")


@entry("explained_variance", "regression", better="higher", version=2)
def explained_variance() -> Formula:
    """1 - var e / var y, as in scikit-learn: `r2` without the bias."""

    def value(s: Merged) -> Values:
        n = s["usable"]
        middle = s["10"] / n
        residual = np.maximum(s["20"] - s["10"] * middle, 0.0)
        return _share_explained(s, residual, s["20"] * 2.0**-51 + n * UNIT, middle)

    return _of_moments(value, "10 20 30 40 11 21 12 22 01 02 03 04")


# Quantiles


def _quantile(of: str, q: float, range: Range) -> Formula:
    return Formula(
        {"errors": histogram(of, "usable")},
        lambda s: quantile_of(s, s["errors"], q, NO_LABELS),
        range=range,
    )


@entry("error_quantile", "regression", version=2)
def error_quantile(q: float) -> Formula:
    """q-quantile of e (Hyndman and Fan 1996, type 7)."""
    return _quantile("prediction - label", number_in("q", q, 0, 1), UNLIMITED)


@entry("absolute_error_quantile", "regression", better="lower", version=2)
def absolute_error_quantile(q: float) -> Formula:
    """q-quantile of |e| (Hyndman and Fan 1996, type 7)."""
    return _quantile(ABSOLUTE, number_in("q", q, 0, 1), NOT_NEGATIVE)


@entry("median_absolute_error", "regression", better="lower", version=2)
def median_absolute_error() -> Formula:
    """Median of |e|."""
    return _quantile(ABSOLUTE, 0.5, NOT_NEGATIVE)


@entry("max_error", "regression", better="lower")
def max_error() -> Formula:
    """Largest |e|."""

    def value(s: Merged) -> Values:
        return plain(s["x"], because((np.isnan(s["x"]), NO_LABELS), (np.isinf(s["x"]), UNDEFINED_SUM)))

    states = {"x": MaxState(of=ABSOLUTE, where="usable")}
    return Formula(states, value, range=NOT_NEGATIVE)
