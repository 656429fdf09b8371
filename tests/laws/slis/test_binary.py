"""Laws of the SLIs of a binary task on states made by hand: twins, intervals, parameters."""

import math
from functools import partial

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import config_context
from twins import binary as twins

from sli.errors import ConfigError
from sli.slis import entries
from sli.slis.kinds.groups import Groups
from sli.slis.kinds.histograms import Histograms
from sli.slis.states import Merged

CASES = [(name, given) for name in twins.TWINS for given in twins.PARAMETERS.get(name, [{}])]
WITHOUT_INTERVAL = {
    *("true_positives", "false_positives", "true_negatives", "false_negatives", "ece", "calibration_score"),
    *("threshold_at_precision", "recall_at_precision", *twins.TARGETS),
}


def frame(label, score):
    """Pairs of labels (None: missing) and scores (NaN: null)."""
    label = pd.array(label, dtype="boolean")
    pairs = pd.DataFrame({"label": label, "prediction": np.asarray(score, dtype=float)})
    pairs["labelled"] = pairs.label.notna()
    pairs["usable"] = pairs.labelled & pairs.prediction.notna()
    pairs["decision"] = (pairs.prediction >= 0.5).astype("boolean").where(pairs.prediction.notna())
    return pairs


def random_frames(number, size, missing=0.2, seed=1):
    random = np.random.default_rng(seed)
    for _ in range(number):
        n = int(random.integers(0, size))
        score = np.where(random.random(n) < 0.4, random.choice([0, 0.1, 0.25, 0.5, 1], n), random.random(n))
        label = (random.random(n) < random.choice([0.02, 0.5, 0.98])).astype(object)
        label[random.random(n) < missing] = None
        score[random.random(n) < 0.1] = math.nan
        yield frame(label, score)


class Rows:
    """The pairs of frames, a row each; states are computed by DuckDB, each once for all formulas that need it."""

    def __init__(self, frames):
        self.rows, self.n, self.states = (
            pd.concat([pairs.assign(row=i) for i, pairs in enumerate(frames)]),
            len(frames),
            {},
        )
        self.con = duckdb.connect(config={"threads": 1})
        self.con.register("pairs", pa.Table.from_pandas(self.rows, preserve_index=False))

    def merged(self, formula):
        """What the value of a formula sees."""
        for state in formula.states.values():
            if state.id not in self.states:
                self.states[state.id] = kept(self.con, state, self.n)
        states = {name: self.states[state.id] for name, state in formula.states.items()}
        counted = self.rows.row >= 0, self.rows.labelled
        predictions, labelled = (np.bincount(self.rows.row[flags], minlength=self.n) for flags in counted)
        return Merged(predictions, labelled, states, np.zeros(self.n, dtype=np.int64))


def kept(con, state, n):
    amount, number = state.amount or f"({state.mark or 0})::INTEGER", state.kind in ("count", "sum")
    of = f"sum({state.of})" if state.kind == "sum" else "0" if number else state.of
    columns = con.execute(
        f"SELECT row, {of} AS k, count(*) AS n, sum({amount}) AS a FROM pairs WHERE {state.where} "
        f"GROUP BY {'row' if number else '1, 2'} ORDER BY 1, 2"
    ).fetchnumpy()
    rows, keys, counts, sums = (np.asarray(columns[name]) for name in ("row", "k", "n", "a"))
    offsets, counts = np.searchsorted(rows, np.arange(n + 1)), counts.astype(np.int64)
    if state.kind == "groups":
        return Groups(offsets, keys.astype(str).astype(object), counts, sums.astype(np.float64))
    if state.kind == "histogram":
        marked = sums.astype(np.int64)
        return Histograms(offsets, keys.astype(np.float64), counts, marked, np.ones(n, dtype=bool), state.spread)
    values = np.zeros(n, dtype=np.int64 if state.kind == "count" else np.float64)
    values[rows] = counts if state.kind == "count" else keys
    return values


FRAMES = [*random_frames(20, 60), frame([], []), frame([None, True], [0.3, math.nan])]


@pytest.fixture(scope="module")
def rows():
    return Rows(FRAMES)


def formula_of(name, given):
    return entries("binary")[name].make(**given)


@pytest.mark.parametrize(("name", "given"), CASES)
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@config_context(skip_parameter_validation=True)  # much of the time of thousands of calls on few pairs
def test_values_equal_their_twins(rows, name, given):
    formula, twin = formula_of(name, given), partial(twins.TWINS[name], **given)
    values = formula.value(rows.merged(formula))
    assert values.value == pytest.approx([twin(pairs) for pairs in FRAMES], rel=1e-12, abs=1e-12, nan_ok=True)
    undefined = np.array([reason is not None for reason in values.reason])
    assert (np.isnan(values.value) == undefined).all()
    assert (values.bound[~undefined] == 0).all()
    assert undefined.any()
    assert not undefined.all()


@pytest.mark.parametrize(("name", "given"), CASES)
def test_intervals_hold_the_value_and_exist_unless_the_docs_say_none(rows, name, given):
    formula = formula_of(name, given)
    values = formula.value(rows.merged(formula))
    known = ~np.isnan(values.low)
    assert (known == ~np.isnan(values.high)).all()
    assert known.any() == (name not in WITHOUT_INTERVAL and given.get("k") not in (1.5, 100))
    assert not known[np.isnan(values.value)].any()
    assert (values.low[known] <= values.value[known]).all()
    assert (values.value[known] <= values.high[known]).all()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("accuracy", {"threshold": 1.5}),
        ("prediction_rate", {"threshold": "high"}),
        ("cost", {"false_positive": -2e12}),
        ("cost", {"true_negative": math.inf}),
        ("precision_at_recall", {"target": 1.01}),
        ("ece", {"bins": 0}),
        ("ece", {"bins": 2.5}),
        ("calibration", {"bin": 10}),
        ("calibration_score", {"bin": True}),
        ("lift", {"k": 0}),
        ("recall_at_precision", {"target": math.nan}),
    ],
)
def test_a_parameter_out_of_range_is_a_config_error(name, given):
    with pytest.raises(ConfigError):
        formula_of(name, given)


def test_a_constant_on_all_prices_moves_cost_and_its_interval_by_that_constant(rows):
    names = ("false_positive", "false_negative", "true_positive", "true_negative")
    costs, dearer = (
        formula_of("cost", dict(zip(names, prices, strict=True))) for prices in ((4, 1, -7, 2), (7, 4, -4, 5))
    )
    values, other = (formula.value(rows.merged(formula)) for formula in (costs, dearer))
    for name in ("value", "low", "high"):
        assert getattr(other, name) == pytest.approx(getattr(values, name) + 3, abs=1e-12, nan_ok=True)
    assert (costs.range, dearer.range) == ((-7, 4), (-4, 7))


def test_a_threshold_is_a_decision_of_its_own():
    formula = formula_of("recall", {"threshold": 0})
    pairs = frame([True, False, True], [0.1, 0.2, 0.9])
    assert formula.value(Rows([pairs]).merged(formula)).value[0] == 1
