"""Laws of rounding: twice is once, order stays, and the error is small."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sli.slis.kinds.rounding import BITS, ROUNDABLE, SPLIT, rounded

RELATIVE = 2.0**-BITS
TINY = 5e-324
SPREADS = ("real", "probability")
EDGES = {
    "real": [0.0, -0.0, 1.0, -1.0, TINY, -TINY, 2.2250738585072014e-308, 1e290, 1.1e290, 1.7e308, -1.7e308, 1 / 3],
    "probability": [0.0, 1.0, 0.5, np.nextafter(0.5, 0), np.nextafter(1.0, 0), TINY, 1e-300, 2**-53, 1 / 3, 2 / 3],
}

real = st.floats(allow_nan=False, allow_infinity=False)
share = st.floats(0, 1)
spread_and_values = st.sampled_from(SPREADS).flatmap(
    lambda spread: st.tuples(st.just(spread), st.lists(real if spread == "real" else share, min_size=1, max_size=60))
)


def floats(values) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


@given(spread_and_values)
def test_rounding_is_idempotent_monotone_and_near(spread_and_values):
    spread, values = spread_and_values
    values = np.sort(floats([*values, *EDGES[spread]]))
    found = rounded(values, spread)
    assert np.isfinite(found).all()
    assert (rounded(found, spread) == found).all()
    assert (np.diff(found[np.abs(values) <= ROUNDABLE]) >= 0).all()
    assert (np.diff(found) >= 0).all()
    assert (np.abs(found - values) <= RELATIVE * np.abs(values)).all()


@given(st.lists(share, min_size=1, max_size=60))
def test_a_probability_is_as_near_seen_from_one_as_seen_from_zero(values):
    values = floats(values)
    error = np.abs(rounded(values, "probability") - values)
    assert (error <= RELATIVE * np.minimum(values, 1 - values)).all()


def test_a_rounded_value_has_ten_significant_bits():
    assert SPLIT == 2.0 ** (53 - BITS) + 1
    values = np.random.default_rng(2).uniform(1, 2, 10_000)
    assert len(np.unique(rounded(values))) <= 2 ** (BITS - 1) + 1
