"""Laws of drift: distances of merged states equal SciPy's of plain values; of rounded ones they lie within bounds."""

import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from twins import drift as twins

from sli.errors import ConfigError
from sli.slis.catalogue import drift
from sli.slis.formula import TASKS, Formula, entries
from sli.slis.kinds.groups import Groups
from sli.slis.kinds.histograms import Histograms
from sli.slis.kinds.rounding import rounded
from sli.slis.maths import distances
from sli.slis.states import Merged

DRIFT = sorted(twins.TWINS)
SERIES = [(name, given) for name in DRIFT for given in twins.PARAMETERS[name]]
nan = math.nan


def make(name, task="regression", **given) -> Formula:
    return entries(task)[name].make(**given)


def flat(rows):
    """Offsets, keys and counts of lists of values, one a row."""
    found = [np.unique(np.asarray(values), return_counts=True) for values in rows]
    offsets = np.concatenate([[0], np.cumsum([len(keys) for keys, _ in found])]).astype(np.int64)
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *(number for _, number in found)])
    return offsets, [key for keys, _ in found for key in keys], counts.astype(np.int64)


def histograms(rows, exact=True) -> Histograms:
    rows = [np.asarray(values, dtype=np.float64) for values in rows]
    offsets, keys, counts = flat([values if exact else rounded(values) for values in rows])
    marked = np.zeros_like(counts)
    return Histograms(offsets, np.array(keys, dtype=np.float64), counts, marked, np.full(len(rows), exact))


def groups(rows) -> Groups:
    offsets, keys, counts = flat([[str(value) for value in values] for values in rows])
    return Groups(offsets, np.array(keys, dtype=object), counts, np.zeros(len(keys)))


def merged(formula, frames, of, exact=True, reference=None) -> Merged:
    """The states of a frame a row, as the roll-up would hand them over."""
    rows = [frame[of].dropna().tolist() for frame in frames]
    states = {}
    for name, state in formula.states.items():
        if state.kind == "histogram":
            states[name] = histograms(rows, exact)
        elif state.kind == "groups":
            states[name] = groups(rows)
        elif state.kind == "count":
            states[name] = np.array([len(values) for values in rows], dtype=np.int64)
        else:
            power = 2 if name == "squares" else 1
            states[name] = np.array([math.fsum(x**power for x in values) for values in rows])
    sizes = np.array([len(frame) for frame in frames], dtype=np.int64)
    return Merged(sizes, sizes * 0, states, sizes * 0, reference=reference)


def compared(formula, now, then, of, exact=True):
    return formula.value(merged(formula, now, of, exact, merged(formula, then, of, exact)))


def frame(random, size) -> pd.DataFrame:
    shift = random.normal()
    values = np.where(random.random(size) < 0.3, random.integers(-2, 3, size), random.normal(shift, 3, size))
    fare = random.gamma(2, 1e3, size)
    fare[random.random(size) < 0.1] = nan
    region = random.choice(np.array(["north", "o'süd, x", "rare", None], dtype=object), size, p=[0.5, 0.3, 0.1, 0.1])
    return pd.DataFrame({"prediction": values, "fare": fare, "region": pd.Series(region, dtype=object)})


@pytest.fixture(scope="module")
def windows():
    """Windows and their references: some empty, of one value, alike, or apart."""
    random = np.random.default_rng(5)
    sizes = [(0, 0), (0, 9), (9, 0), (1, 1), (1, 50), (2, 1), (700, 900), (3000, 10), (40, 40), *[(60, 200)] * 20]
    now, then = ([frame(random, size[side]) for size in sizes] for side in (0, 1))
    same, constant = frame(random, 30), frame(random, 30).assign(prediction=1.5, fare=7.0, region="north")
    return [*now, same, constant, constant], [*then, same, constant, same]


@pytest.fixture(scope="module")
def expected(windows):
    """What SciPy says of each window and its reference, by the SLI and its parameters."""

    @cache
    def of(name, parameters):
        return [twins.TWINS[name](now, then, **yaml.safe_load(parameters)) for now, then in zip(*windows, strict=True)]

    return lambda name, given: of(name, yaml.safe_dump(given))


@pytest.mark.parametrize("name", DRIFT)
def test_a_drift_sli_is_there_for_every_task_and_takes_what_it_says(name):
    for task in TASKS:
        entry = entries(task)[name]
        assert entry.better == ("higher" if name in drift.P_VALUES else None if name == "mean_difference" else "lower")
    formula = make(name, against={"table": "training.parquet"})
    assert formula.against == {"table": "training.parquet"}
    assert make(name).against == "previous"


@pytest.mark.parametrize(("name", "given"), SERIES)
def test_values_from_states_equal_scipys(windows, expected, name, given):
    found = compared(make(name, **given), *windows, given.get("of", "prediction"))
    assert found.value == pytest.approx(expected(name, given), rel=1e-10, abs=1e-12, nan_ok=True)
    assert np.isnan(found.value).tolist() == [reason is not None for reason in found.reason]
    assert (found.bound[~np.isnan(found.value)] == 0).all()
    assert np.isfinite(found.value).sum() > 20


@pytest.mark.parametrize(("name", "given"), SERIES)
def test_rounded_values_lie_within_their_bound(windows, expected, name, given):
    found = compared(make(name, **given), *windows, given.get("of", "prediction"), exact=False)
    true = np.array(expected(name, given))
    assert (np.isnan(found.value) == np.isnan(true)).all()
    defined = ~np.isnan(true)
    assert (np.abs(found.value - true)[defined] <= found.bound[defined] + 1e-12 * (1 + np.abs(true[defined]))).all()
    assert (found.bound[defined] > 0).any() == (name in ("ks", "ks_p", "wasserstein"))


@pytest.mark.parametrize("name", DRIFT)
def test_a_side_without_values_is_null_and_says_which(windows, name):
    empty, some = windows[0][0], windows[0][-1]
    found = compared(make(name), [empty, empty, some], [empty, some, empty], "prediction")
    assert found.reason.tolist() == ["no values", "no values", "no reference values"]
    assert np.isnan(found.value).all()
    nothing = compared(make(name), [], [], "prediction")
    assert len(nothing.value) == len(nothing.reason) == 0


@pytest.mark.parametrize("name", twins.BINNED)
def test_quantiles_of_a_constant_reference_are_no_bins(name):
    now, then = pd.DataFrame({"prediction": [1.0, 2.0]}), pd.DataFrame({"prediction": [3.0, 3.0, 3.0001]})
    found = compared(make(name), [now], [then], "prediction")
    assert found.reason.tolist() == ["reference values do not vary"]
    assert compared(make(name, bins="values"), [now], [then], "prediction").value[0] > 0


@pytest.mark.parametrize("name", [*twins.NUMERIC, *twins.BINNED])
def test_a_class_is_no_number(name):
    with pytest.raises(ConfigError, match="needs numbers"):
        make(name, "multiclass")
    make(name, "multiclass", of="fare")
    if name in twins.BINNED:
        assert make(name, "multiclass", bins="values").states["values"].kind == "groups"


@pytest.mark.parametrize("bins", [1, 0, -3, 1001, 2.5, True, "ten", None])
def test_bins_that_are_none_are_refused(bins):
    with pytest.raises(ConfigError, match="bins must be"):
        make("psi", bins=bins)


def test_one_category_on_both_sides_is_no_drift():
    both = [pd.DataFrame({"prediction": ["a"] * size}) for size in (3, 5)]
    assert compared(make("chi_squared"), both[:1], both[1:], "prediction").value.tolist() == [0.0]
    assert compared(make("chi_squared_p"), both[:1], both[1:], "prediction").value.tolist() == [1.0]


def test_the_two_zeros_of_floats_are_one_category():
    now, then = pd.DataFrame({"prediction": [0.0, -0.0, 1.0]}), pd.DataFrame({"prediction": [0.0, 0.0, 1.0]})
    formula = make("l_infinity")
    assert compared(formula, [now], [then], "prediction").value.tolist() == [0.0]


def test_values_too_large_to_be_subtracted_say_so():
    now, then = pd.DataFrame({"prediction": [1.7e308]}), pd.DataFrame({"prediction": [-1.7e308]})
    found = compared(make("wasserstein"), [now], [then], "prediction")
    assert found.reason.tolist() == ["a term is not finite or beyond 2^96"]


number = st.one_of(st.floats(-1e9, 1e9), st.integers(-5, 5).map(float), st.floats(1, 1.01))
numbers = st.lists(number, min_size=1, max_size=40)


def pairing(now, then, exact):
    sides = histograms([now], exact), histograms([then], exact)
    flags = np.array([exact])
    return distances.of_numbers(*sides, flags), flags


@given(numbers, numbers)
def test_ks_of_rounded_values_is_never_too_large_and_within_its_bound(now, then):
    (value,), (bound,) = distances.kolmogorov_smirnov(*pairing(now, then, False))
    true = twins.ks(now, then)
    assert value - 1e-12 <= true <= value + bound + 1e-12
    assert value + bound <= 1 + 1e-12


@given(numbers, numbers)
def test_wasserstein_of_rounded_values_lies_within_its_bound(now, then):
    (value,), (bound,) = distances.wasserstein(*pairing(now, then, False))
    size = max(map(abs, [*now, *then]))
    assert abs(value - stats.wasserstein_distance(now, then)) <= bound + 1e-12 * size


@given(numbers, numbers)
def test_exact_distances_equal_scipys(now, then):
    (d,), (bound,) = distances.kolmogorov_smirnov(*pairing(now, then, True))
    assert d == pytest.approx(twins.ks(now, then), abs=1e-12)
    assert bound == 0
    (w,), _ = distances.wasserstein(*pairing(now, then, True))
    assert w == pytest.approx(stats.wasserstein_distance(now, then), rel=1e-12, abs=1e-12 * max(map(abs, now + then)))


@given(numbers, numbers, st.integers(2, 12))
def test_bins_count_what_lies_between_the_quantiles_of_the_reference(now, then, bins):
    expected = twins.quantile_bins(np.array(now), np.array(then), bins)
    found = distances.in_bins(pairing(now, then, False)[0], bins)
    if expected is not None:
        assert [found.now.tolist(), found.then.tolist()] == expected.tolist()


@settings(max_examples=settings.default.max_examples * 3 // 10)
@given(st.lists(st.sampled_from("abcde"), min_size=1), st.lists(st.sampled_from("abcde"), min_size=1))
def test_distances_are_0_for_equal_shares_and_within_their_range(now, then):
    for name in ("psi", "kl_divergence", "jensen_shannon", "hellinger", "chi_squared", "l_infinity"):
        given = {"bins": "values"} if "bins" in entries("regression")[name].parameters else {}
        frames = [pd.DataFrame({"prediction": values}) for values in (now, then)]
        value = compared(make(name, **given), frames[:1], frames[1:], "prediction").value[0]
        same = compared(make(name, **given), frames[:1], frames[:1], "prediction").value[0]
        assert value >= 0 == same
        assert value <= 1 or name in ("psi", "kl_divergence", "chi_squared")


def test_jensen_shannon_of_almost_equal_shares_keeps_its_digits():
    counts = [{"a": 10**9, "b": 10**9}, {"a": 10**9 + 1, "b": 10**9}]
    sides = [
        Groups(np.array([0, 2]), np.array(list(each), dtype=object), np.array(list(each.values())), np.zeros(2))
        for each in counts
    ]
    (found,) = distances.jensen_shannon(distances.of_texts(*sides))
    d = 0.25e-9  # each share moves by this from 1/2: the divergence is d^2 / (2 ln 2) to first order
    assert found == pytest.approx(d / math.sqrt(2 * math.log(2)), rel=1e-6)


def test_a_p_value_of_one_category_is_1_and_of_nothing_none():
    assert distances.chi_squared_p(np.array([nan, 0.0]), np.array([0, 0])) == pytest.approx([nan, 1], nan_ok=True)


@pytest.mark.parametrize("sizes", [(200, 300), (400, 60)])
def test_the_interval_of_a_mean_difference_covers_the_true_one(sizes):
    random = np.random.default_rng(11)
    true, formula = 0.5, make("mean_difference")
    now, then = random.gamma(2, 1, (2000, sizes[0])), random.normal(2 - true, 3, (2000, sizes[1]))

    def states(rows, reference=None):
        n = np.full(2000, rows.shape[1])
        found = {"sum": rows.sum(axis=1), "squares": (rows**2).sum(axis=1), "n": n}
        return Merged(n, n * 0, found, n * 0, reference=reference)

    found = formula.value(states(now, states(then)))
    assert 0.93 <= ((found.low <= true) & (true <= found.high)).mean() <= 0.97


def test_the_interval_of_a_mean_difference_is_welchs_and_none_where_the_spread_is_lost():
    random = np.random.default_rng(3)
    now, then = random.normal(3, 1, 300), random.normal(2, 5, 120)
    frames = [pd.DataFrame({"prediction": each}) for each in (now, then, now + 1e9, [1.0], [2.0, 2.0])]
    found = compared(make("mean_difference"), [frames[0], *frames[2:]], [frames[1]] * 4, "prediction")
    expected = stats.ttest_ind(now, then, equal_var=False).confidence_interval()
    assert [found.low[0], found.high[0]] == pytest.approx([expected.low, expected.high], rel=1e-4)
    assert np.isnan(found.low[1:]).all()
    assert np.isfinite(found.value).all()


@pytest.mark.parametrize("name", DRIFT)
def test_a_reference_of_nothing_is_refused(name):
    with pytest.raises(ConfigError, match="needs a reference to compare with"):
        make(name, against=None)


def test_rows_are_compared_each_with_its_own_reference_however_many():
    random = np.random.default_rng(9)
    now, then = (
        [pd.DataFrame({"prediction": random.normal(size=random.integers(0, 9))}) for _ in range(600)] for _ in "ab"
    )
    for name in ("ks", "wasserstein", "psi", "l_infinity"):
        formula, some = make(name), range(0, 600, 8)
        found = compared(formula, now, then, "prediction").value
        alone = [compared(formula, [now[i]], [then[i]], "prediction").value[0] for i in some]
        assert found[some] == pytest.approx(alone, nan_ok=True)
