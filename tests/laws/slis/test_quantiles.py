"""Laws of quantiles and their intervals, and of what a set of hashes says of the number of distinct values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sli.slis import CATALOGUE
from sli.slis.kinds.distincts import DISTINCT, Distincts
from sli.slis.kinds.histograms import Histograms
from sli.slis.kinds.rounding import rounded
from sli.slis.maths.quantiles import quantile_interval, quantiles
from sli.slis.states import Merged

share = st.floats(0, 1)
moderate = st.floats(-1e100, 1e100)
some_rows = st.lists(st.lists(st.one_of(moderate, st.integers(-5, 5).map(float)), max_size=60), max_size=5)


def histograms(rows, exact=True) -> Histograms:
    """Histograms of lists of values, one a row, rounded where they are not exact."""
    flags = np.full(len(rows), exact)
    keys, counts, offsets = [np.array([])], [np.array([], dtype=np.int64)], [0]
    for values in rows:
        found, number = np.unique(
            np.asarray(values, dtype=np.float64) if exact else rounded(np.asarray(values, dtype=np.float64)),
            return_counts=True,
        )
        keys.append(found)
        counts.append(number)
        offsets.append(offsets[-1] + len(found))
    whole = np.concatenate(counts).astype(np.int64)
    return Histograms(np.array(offsets), np.concatenate(keys), whole, np.zeros_like(whole), flags)


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
def test_quantiles_of_empty_rows_are_undefined_and_no_error(rows):
    value, bound = quantiles(histograms(rows), 0.5)
    empty = np.array([not each for each in rows], dtype=bool)
    assert (np.isnan(value) == empty).all()
    assert (np.isnan(bound) == empty).all()
    assert np.isnan(quantile_interval(histograms(rows), 0.5, 0.95)).all()


@pytest.mark.parametrize("n", [6, 30, 301, 1000])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
def test_the_interval_of_a_quantile_is_two_order_statistics_that_hold_it_as_often_as_the_binomial_says(n, q):
    # The value of rank k is k here, so the ends are ranks: the number of values below the quantile lies in [low, high).
    (low,), (high,) = quantile_interval(histograms([np.arange(1, n + 1)]), q, 0.95)
    below = stats.binom(n, q)
    half = stats.norm.ppf(0.975) * math.sqrt(n * q * (1 - q))
    beyond = math.ceil(n * q - half) < 1 or math.ceil(n * q + half) > n
    assert math.isnan(low) == math.isnan(high) == beyond
    if not beyond:
        assert (low, high) == (math.ceil(n * q - half), math.ceil(n * q + half))
        assert 0.92 <= below.cdf(high - 1) - below.cdf(low - 1) <= 0.985


@pytest.mark.parametrize("q", [0, 1])
def test_an_extreme_has_no_interval(q):
    assert np.isnan(quantile_interval(histograms([np.arange(1000)]), q, 0.95)).all()


@given(st.lists(moderate, min_size=20, max_size=60))
def test_the_interval_of_rounded_values_holds_that_of_the_very_values(values):
    exact = quantile_interval(histograms([values]), 0.5, 0.95)
    coarse = quantile_interval(histograms([values], exact=False), 0.5, 0.95)
    assert coarse[0] <= exact[0]
    assert coarse[1] >= exact[1]


def distinct(kept, largest):
    none = np.zeros(len(kept), dtype=np.int64)
    found = CATALOGUE["binary", "distinct_count"].make()
    return found.value(Merged(none, none, {"values": Distincts(np.asarray(kept), np.asarray(largest))}, none))


def test_a_set_that_is_not_full_is_counted_exactly_and_has_no_interval():
    found = distinct([0, 1, DISTINCT - 1], [math.nan, 0.3, 0.999])
    assert found.value.tolist() == [0, 1, DISTINCT - 1]
    assert found.bound.tolist() == [0, 0, 0]
    assert np.isnan(found.low).all()
    assert found.reason.tolist() == [None] * 3


@pytest.mark.parametrize("number", [DISTINCT, DISTINCT + 1, 1100, 2000, 100_000, 10**9])
def test_the_interval_of_an_estimated_number_of_distinct_values_holds_it(number):
    # The k-th smallest of D uniform hashes is Beta(k, D - k + 1).
    largest = stats.beta(DISTINCT, number - DISTINCT + 1).rvs(2000, random_state=np.random.default_rng(8))
    found = distinct(np.full(2000, DISTINCT), largest)
    held = np.mean((found.low <= number) & (number <= found.high))
    assert held >= 0.93
    if number > 1.5 * DISTINCT:
        assert held <= 0.97
        assert found.value.mean() == pytest.approx(number, rel=0.005)
    assert np.isnan(found.bound).all()
    assert (found.low >= DISTINCT).all()
