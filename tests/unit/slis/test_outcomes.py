"""The state of outcomes: its SQL gives the same bins and steps as its Python, for numbers of any size."""

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sli.slis.outcomes import NO_VALUE, Outcomes, age_steps, ages_end, fields_of

HOUR = 3_600_000_000
HUGE = np.finfo(float).max
TINY = np.finfo(float).smallest_subnormal


def keys_of(outcomes, values, truths, ages=0):
    """The key of each pair, all predicted in tile 5."""
    pairs = pd.DataFrame({"value": values, "truth": truths})
    known = (5 + np.broadcast_to(ages, len(pairs))) * HOUR
    rows = pa.Table.from_pandas(pairs.assign(tile=5, f_t=known, labelled=pairs.truth.notna()))
    with duckdb.connect() as con:
        con.register("pairs", rows)
        keys = con.execute(f"SELECT ({outcomes.state.of})::VARCHAR AS key FROM pairs").fetchnumpy()["key"]
    return fields_of(np.asarray(keys, dtype=object))


def test_bins_of_numbers_of_any_size_hold_them():
    random, powers = np.random.default_rng(1), 2.0 ** np.arange(-1074, 1024)
    drawn = random.normal(size=500) * 10.0 ** random.integers(-300, 300, 500)
    edges = [0.0, -0.0, TINY, -TINY, HUGE, -HUGE, np.nan]
    values = np.concatenate([drawn, powers, -powers, np.nextafter(powers, 0), np.nextafter(powers, np.inf), edges])
    outcomes = Outcomes("regression", 0.5, (), HOUR)
    bins = outcomes.bins(values)
    assert (keys_of(outcomes, values, np.ones(len(values))).bin == bins).all()
    assert bins[-1] == NO_VALUE
    for value, bin_ in zip(values[:-1].tolist(), bins[:-1].tolist(), strict=True):
        low, high = outcomes.edges(bin_)
        assert low == value == high or low <= value < high or low < value <= high < 0
    order = np.argsort(values[:-1])
    assert (np.diff(bins[:-1][order]) >= 0).all()


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.3, 1.0])
def test_bins_of_scores_never_cross_the_threshold(threshold):
    tenths = np.arange(11) / 10
    scores = np.concatenate([tenths, [threshold], np.nextafter([*tenths[1:], threshold or 1], 0), [TINY]])
    outcomes = Outcomes("binary", threshold, (), HOUR)
    bins = keys_of(outcomes, scores, np.ones(len(scores))).bin
    assert (bins == outcomes.bins(scores)).all()
    for score, bin_ in zip(scores.tolist(), bins.tolist(), strict=True):
        low, high = outcomes.edges(bin_)
        assert low <= score < high or low <= score == high == 1
        assert (score >= threshold) == (low >= threshold)


def test_steps_of_ages_are_exact_below_eight_tiles_and_four_a_doubling_above():
    ages = np.concatenate([np.arange(-2, 300), 2 ** np.arange(3, 21), 2 ** np.arange(3, 21) - 1])
    outcomes = Outcomes("ranking", 0.5, (), HOUR)
    steps = keys_of(outcomes, np.zeros(len(ages)), np.ones(len(ages)), ages).age
    assert (steps == age_steps(ages)).all()
    every = np.arange(150)
    assert (age_steps(ages_end(every)) == every + 1).all()
    assert (age_steps(ages_end(every) - 1) == every).all()


def test_labels_are_told_apart_where_that_means_something():
    values, truths = [1.0, 1.0, 0.0, np.nan, 1.0], [1.0, 0.0, 0.0, 1.0, np.nan]
    positives = {
        task: keys_of(Outcomes(task, 0.5, ("a", "b"), HOUR), values, truths).positive.tolist()
        for task in ("binary", "multiclass", "regression", "ranking")
    }
    assert positives["binary"] == [True, False, False, True, False]
    assert positives["multiclass"] == [True, False, True, False, False]
    assert positives["regression"] == positives["ranking"] == [True, True, True, True, False]
    classes = Outcomes("multiclass", 0.5, ("a", "b"), HOUR)
    assert [classes.text(bin_) for bin_ in classes.bins(np.array(values))] == ["b", "b", "a", "no value", "b"]
