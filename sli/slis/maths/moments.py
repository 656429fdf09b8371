"""Standard deviations and standard errors from sums of powers, with what rounding does to them.

Limit: variances are differences of sums, so they are lost to rounding if the mean is much larger than the spread; then
the error is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sli.slis.formula import NO_VALUES, UNDEFINED_SUM, Values, because, plain
from sli.slis.maths.confidence import on_log_scale, student
from sli.slis.states import Floats, Integers, Merged

NEGLIGIBLE = 1e-12
"""A bound below this share of the value is not stated: such a value counts as exact."""
UNIT = 2.0**-80
"""The unit in which sums keep their terms."""
CLEAR = 64.0
"""A variance this many times its rounding error has a standard error that is right to 1 %."""

Coefficients = Mapping[tuple[int, int], Floats | float]
"""A polynomial in x and y: the coefficient of x^a y^b by (a, b)."""
Moment = Callable[[int, int], Floats | float]
"""The mean of x^a y^b from a and b."""


def polynomial_error(terms: Coefficients, moment: Moment, n: Integers) -> Floats:
    """Standard error of the mean of a polynomial over n pairs; NaN where rounding leaves too little of the variance.

    Each moment is off by at most 2^-49 of the size of its terms and 2^-80. By the inequality of Cauchy and Schwarz that
    moves the variance by no more than `noise`.
    """
    zero: Floats | float = 0.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = sum((c * moment(*m) for m, c in terms.items()), zero)
        products = (c * d * moment(m[0] + k[0], m[1] + k[1]) for m, c in terms.items() for k, d in terms.items())
        # Negative where it is lost to rounding.
        variance = sum(products, zero) - mean**2
        size = sum((c**2 * (moment(2 * a, 2 * b) * 2.0**-49 + UNIT) for (a, b), c in terms.items()), zero)
        noise = len(terms) * size
        error: Floats = np.sqrt(variance / (n - 1))
    return np.where(variance > CLEAR * noise, error, np.nan)


def standard_deviation(s: Merged, missing: str = NO_VALUES, what: str = "value") -> Values:
    """Sample standard deviation from the states `n`, `1` to `4` (sums of powers), `low` and `high` (extremes).

    Its standard error is the one of the variance, from the fourth central moment, divided by twice the value (Cramér
    1946, sections 27.4 and 28.4). `missing` and `what` are words of the reasons.
    """
    n, sums, squares = s["n"], s["1"], s["2"]
    constant = (s["low"] == s["high"]) & np.isfinite(s["low"])
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = sums / n
        spread, rounding = squares - sums * middle, squares * 2.0**-50 + n * UNIT
        value = np.where(constant, 0.0, np.sqrt(spread / (n - 1)))
        bound = np.where(constant, 0.0, value - np.sqrt(np.maximum(spread - rounding, 0.0) / (n - 1)))
    reason = because(
        (n == 0, missing),
        (n == 1, f"only one {what}"),
        (~constant & (np.isnan(sums) | np.isnan(squares)), UNDEFINED_SUM),
        (~constant & ~(spread > rounding), f"{what}s vary too little for their size"),
    )
    values = plain(value, reason, np.where(bound > NEGLIGIBLE * value, bound, 0.0))

    def moment(a: int, _: int) -> Floats | float:
        if not a:
            return 1.0
        mean: Floats = s[str(a)] / n
        return mean

    with np.errstate(divide="ignore", invalid="ignore"):
        error = polynomial_error({(2, 0): 1.0, (1, 0): -2 * middle, (0, 0): middle**2}, moment, n) / (2 * value)
    return values.within(*on_log_scale(values.value, error, student(s.level, n - 1)))
