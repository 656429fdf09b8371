"""Laws of states: rounding and sums mean the same in SQL and in NumPy."""

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sli.slis.kinds.histograms import BITS, ROUNDABLE, SPLIT, rounded, rounded_sql
from sli.slis.kinds.sums import FRACTION, LIMIT, SumState

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


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as opened:
        opened.execute("SET threads=1")
        yield opened


def in_sql(con, expression, values) -> np.ndarray:
    table = pa.table({"i": np.arange(len(values)), "x": floats(values)})  # noqa: F841 - DuckDB finds it by name
    found = con.execute(f"SELECT {expression} AS y FROM table ORDER BY i".replace("table", '"table"')).fetchnumpy()
    return np.asarray(found["y"])


# Rounding


@pytest.mark.parametrize("spread", SPREADS)
def test_rounding_in_sql_equals_numpy_to_the_bit(con, spread):
    random = np.random.default_rng(1)
    shares = np.concatenate([random.random(20_000), 10.0 ** -random.uniform(0, 320, 5_000)])
    wide = random.normal(size=20_000) * 10.0 ** random.integers(-320, 300, 20_000)
    values = np.concatenate([floats(EDGES[spread]), shares, 1 - shares, [] if spread == "probability" else wide])
    assert in_sql(con, rounded_sql("x", spread), values).tobytes() == rounded(values, spread).tobytes()


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


# Sums


def summed(con, values) -> float:
    """The sum as the kernel takes it and the roll-up finishes it."""
    state = SumState(of="x")
    expression, term = state.packed(lambda part: part.sql), state.operand
    table = pa.table({"x": pa.array(values, pa.float64())})
    con.register("terms", table)
    parts = con.execute(f"SELECT {expression} AS s FROM (SELECT *, {term} FROM terms)").fetchall()[0][0]
    con.unregister("terms")
    if parts["undefined"]:
        return math.nan
    return float(int(parts["whole"])) + float(int(parts["fraction"])) / FRACTION


terms = st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), max_size=50)


@given(values=st.lists(st.floats(1e-9, 1e20), max_size=50))
def test_a_sum_of_positive_terms_equals_fsum(con, values):
    assert summed(con, values) == pytest.approx(math.fsum(values), rel=1e-12)


@given(values=terms)
def test_a_sum_that_cancels_is_near_fsum_for_the_size_of_its_terms(con, values):
    # A term is kept in units of 2^-80; the merged whole and fraction are each rounded to a double once.
    allowed = len(values) * (2.0**-81 + 2.0**-52) + 1e-12 * abs(math.fsum(values))
    assert abs(summed(con, values) - math.fsum(values)) <= allowed


@given(values=terms, random=st.randoms(use_true_random=False))
def test_a_sum_is_the_same_bits_in_any_order(con, values, random):
    mixed = [*values, 1e-20, 1e28, -1e28, 0.1]
    first = summed(con, mixed)
    random.shuffle(mixed)
    assert summed(con, mixed).hex() == first.hex()


@pytest.mark.parametrize("term", [LIMIT, -LIMIT, 1e300, math.inf, -math.inf, math.nan])
def test_a_term_beyond_the_limit_leaves_the_sum_undefined(con, term):
    assert math.isnan(summed(con, [1.0, term]))


def test_terms_up_to_the_limit_are_summed_and_nulls_are_no_terms(con):
    top = np.nextafter(LIMIT, 0)
    assert summed(con, [top, None, top, None]) == 2 * top
    assert summed(con, [None]) == 0
