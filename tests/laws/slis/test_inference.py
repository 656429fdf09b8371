"""Laws of intervals: quantiles are SciPy's and those of published tables; few pairs near an end hold the true mean."""

import numpy as np
import pytest
from scipy import special, stats

from sli.slis.formula import NOT_NEGATIVE, SHARE, UNLIMITED
from sli.slis.maths.confidence import USUAL, mean_of, normal, student
from sli.slis.states import Merged

# Fisher and Yates (1963), table III; two-sided.
PUBLISHED = {
    (1, 0.95): 12.706,
    (2, 0.95): 4.303,
    (3, 0.95): 3.182,
    (1, 0.99): 63.657,
    (2, 0.99): 9.925,
    (3, 0.99): 5.841,
    (30, 0.95): 2.042,
}


@pytest.mark.parametrize(("freedom", "level"), PUBLISHED)
def test_students_t_is_that_of_the_tables(freedom, level):
    assert round(float(student(level, freedom)), 3) == PUBLISHED[freedom, level]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_quantiles_equal_scipys_at_any_number_of_degrees_of_freedom(level):
    freedom = np.array([1, 4 / 3, 2.5, 3, 7, 29.7, 1000, 1e6])
    assert student(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-10)
    assert np.isnan(student(level, np.array([0.0, 0.99, -1.0, np.nan]))).all()
    assert normal(level) == pytest.approx(stats.norm.ppf((1 + level) / 2), rel=1e-14)


def calibrated(random, shape, low, high):
    """Squared errors of scores that are right on average: small ones, and rarely one that is large."""
    score = random.beta(low, high, shape)
    return (score - (random.random(shape) < score)) ** 2


NEAR_AN_END = {
    "squares of confident scores": lambda random, shape: calibrated(random, shape, 0.2, 5),
    "squares of low scores": lambda random, shape: calibrated(random, shape, 1, 20),
    "rare errors": lambda random, shape: (random.random(shape) < 0.02).astype(float),
    "gains": lambda random, shape: np.where(random.random(shape) < 0.5, 1.0, random.beta(5, 1, shape)),
}


def interval(terms, range):
    n = np.full(len(terms), terms.shape[1])
    seen = Merged(n, n, {}, n * 0)
    return mean_of(seen, terms.sum(axis=1), (terms**2).sum(axis=1), n, "nothing", range)


@pytest.mark.parametrize("kind", NEAR_AN_END)
def test_intervals_of_means_of_few_shares_near_an_end_hold_the_true_one(kind):
    random = np.random.default_rng(17)
    true = NEAR_AN_END[kind](random, (500, 1000)).mean()
    for n in (2, 3, 5, 10, 20, 50):
        values = interval(NEAR_AN_END[kind](random, (2000, n)), SHARE).clipped(*SHARE)
        assert np.mean((values.low <= true) & (true <= values.high)) > 0.94, n
        assert (values.low <= values.value).all()
        assert (values.value <= values.high).all()


def test_the_interval_of_a_loss_stays_above_0_and_there_is_none_of_one_pair_or_where_all_are_0():
    values = interval(np.array([[0.01, 0.9], [0.0, 0.0]]), NOT_NEGATIVE)
    assert 0 < values.low[0] < values.value[0] < values.high[0]
    assert np.isnan([values.low[1], values.high[1]]).all()
    for range in (UNLIMITED, NOT_NEGATIVE, SHARE):
        assert np.isnan(interval(np.array([[0.5]]), range).low[0])


def test_the_normal_distribution_is_that_of_scipy_to_the_bit() -> None:
    for level in (*USUAL, 0.5, 0.8, 0.975, 0.999):
        assert normal(level) == special.ndtri((1 + level) / 2)
