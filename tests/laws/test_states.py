"""Laws of states: rounding, histograms and sums mean the same in SQL, in NumPy and in scikit-learn."""

import math

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sli.slis.binary import auc
from sli.slis.states import BITS, FRACTION, LIMIT, ROUNDABLE, SPLIT, Histograms, State, rounded, rounded_sql
from sli.slis.values import quantiles
from sli.tile import aggregate

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


def histograms(rows, spread="real", exact=True) -> Histograms:
    """Histograms of lists of values, one a row, rounded where they are not exact."""
    flags = np.broadcast_to(np.asarray(exact, dtype=bool), len(rows)).copy()
    keys, counts, offsets = [], [], [0]
    for values, kept in zip(rows, flags, strict=True):
        values = floats(values) if kept else rounded(floats(values), spread)
        found, number = np.unique(values, return_counts=True)
        keys.append(found)
        counts.append(number)
        offsets.append(offsets[-1] + len(found))
    flat = [np.concatenate([floats([]), *keys]), np.concatenate([np.array([], dtype=np.int64), *counts])]
    return Histograms(np.array(offsets), flat[0], flat[1].astype(np.int64), flags, spread)


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


# Distributions

scored = st.lists(st.tuples(st.booleans(), st.one_of(share, st.sampled_from([0.0, 0.25, 0.5, 1.0]))), max_size=80)


def by_class(pairs):
    return [s for label, s in pairs if label], [s for label, s in pairs if not label]


def area(*rows, exact=True):
    split = [by_class(pairs) for pairs in rows]
    return auc(*(histograms([each[i] for each in split], "probability", exact) for i in (0, 1)))


def area_of_sklearn(pairs):
    labels, scores = zip(*pairs, strict=True) if pairs else ((), ())
    return roc_auc_score(labels, scores) if len(set(labels)) == 2 else math.nan


@given(st.lists(scored, max_size=5))
def test_auc_of_exact_histograms_equals_scikit_learn(rows):
    value, bound = area(*rows)
    assert value == pytest.approx([area_of_sklearn(pairs) for pairs in rows], abs=1e-12, nan_ok=True)
    assert (bound[~np.isnan(value)] == 0).all()


@given(scored)
def test_auc_of_rounded_histograms_lies_within_its_bound(pairs):
    assume(len({label for label, _ in pairs}) == 2)
    (value,), (bound,) = area(pairs, exact=False)
    assert abs(value - area_of_sklearn(pairs)) <= bound + 1e-12


@given(scored, scored)
def test_auc_where_one_class_was_rounded_lies_within_its_bound(first, second):
    assume(all(len({label for label, _ in pairs}) == 2 for pairs in (first, second)))
    split = [by_class(pairs) for pairs in (first, second)]
    positive = histograms([p for p, _ in split], "probability", [False, True])
    negative = histograms([n for _, n in split], "probability", True)
    value, bound = auc(positive, negative)
    assert abs(value[0] - area_of_sklearn(first)) <= bound[0] + 1e-12
    assert value[1] == pytest.approx(area_of_sklearn(second), abs=1e-12)
    assert bound[1] == 0


def test_auc_of_a_million_close_scores_lies_within_a_small_bound():
    random = np.random.default_rng(3)
    labels = random.random(200_000) < 0.01
    scores = 1 - np.exp(-random.exponential(9, 200_000) - labels)
    (value,), (bound,) = auc(*(histograms([scores[labels == c]], "probability", False) for c in (True, False)))
    assert abs(value - roc_auc_score(labels, scores)) <= bound <= 0.002


moderate = st.floats(-1e100, 1e100)
some_rows = st.lists(st.lists(st.one_of(moderate, st.integers(-5, 5).map(float)), max_size=60), max_size=5)


@given(some_rows, share)
def test_quantiles_of_exact_histograms_equal_numpy(rows, q):
    value, bound = quantiles(histograms(rows), q)
    for i, values in enumerate(rows):
        if values:
            size = np.abs(values).max()
            assert value[i] == pytest.approx(np.quantile(values, q), rel=1e-12, abs=1e-12 * size)
            assert bound[i] == 0
        else:
            assert np.isnan(value[i])
            assert np.isnan(bound[i])


@given(st.lists(moderate, min_size=1, max_size=60), share)
def test_quantiles_of_rounded_histograms_lie_within_their_bound(values, q):
    (value,), (bound,) = quantiles(histograms([values], exact=False), q)
    assert abs(value - np.quantile(values, q)) <= bound * (1 + 1e-12)


@pytest.mark.parametrize("rows", [[], [[]], [[], []], [[], [0.5], []]])
def test_empty_rows_are_undefined_and_no_error(rows):
    value, bound = quantiles(histograms(rows), 0.5)
    area, error = auc(histograms(rows, "probability"), histograms([[]] * len(rows), "probability"))
    empty = np.array([not each for each in rows], dtype=bool)
    assert (np.isnan(value) == empty).all()
    assert (np.isnan(bound) == empty).all()
    assert np.isnan(area).all()
    assert len(error) == len(rows)


# Sums


def summed(con, values) -> float:
    """The sum as the kernel takes it and the roll-up finishes it."""
    state = State("sum", of="x")
    expression, term = aggregate(state)
    table = pa.table({"x": pa.array(values, pa.float64())})
    con.register("terms", table)
    parts = con.execute(f"SELECT {expression} AS s FROM (SELECT *, {term} FROM terms)").fetchall()[0][0]
    con.unregister("terms")
    if parts["undefined"]:
        return math.nan
    return float(int(parts["whole"])) + float(int(parts["fraction"])) / FRACTION


terms = st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), max_size=50)


@settings(max_examples=60)
@given(values=st.lists(st.floats(1e-9, 1e20), max_size=50))
def test_a_sum_of_positive_terms_equals_fsum(con, values):
    assert summed(con, values) == pytest.approx(math.fsum(values), rel=1e-12)


@settings(max_examples=60)
@given(values=terms)
def test_a_sum_that_cancels_is_near_fsum_for_the_size_of_its_terms(con, values):
    # A term is kept in units of 2^-80; the merged whole and fraction are each rounded to a double once.
    allowed = len(values) * (2.0**-81 + 2.0**-52) + 1e-12 * abs(math.fsum(values))
    assert abs(summed(con, values) - math.fsum(values)) <= allowed


@settings(max_examples=40)
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
