"""Laws of the SLIs of a binary task on states made by hand: twins, intervals, parameters."""

import math
from functools import partial

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from twins import binary as twins

from sli.errors import ConfigError
from sli.slis import entries
from sli.slis.states import Groups, Histograms, Merged

CASES = [(name, given) for name in twins.TWINS for given in twins.PARAMETERS.get(name, [{}])]
WITHOUT_INTERVAL = {
    *("true_positives", "false_positives", "true_negatives", "false_negatives", "ece", "calibration_score"),
    *("threshold_at_precision", "recall_at_precision", *twins.TARGETS),
}


def frame(label, score):
    """Pairs of labels (None: missing) and scores (NaN: null)."""
    label = pd.array(label, dtype="boolean")
    made = pd.DataFrame({"label": label, "prediction": np.asarray(score, dtype=float)})
    made["labelled"] = made.label.notna()
    made["usable"] = made.labelled & made.prediction.notna()
    made["decision"] = (made.prediction >= 0.5).astype("boolean").where(made.prediction.notna())
    return made


def random_frames(number, size, missing=0.2, seed=1):
    random = np.random.default_rng(seed)
    for _ in range(number):
        n = int(random.integers(0, size))
        score = np.where(random.random(n) < 0.4, random.choice([0, 0.1, 0.25, 0.5, 1], n), random.random(n))
        label = (random.random(n) < random.choice([0.02, 0.5, 0.98])).astype(object)
        label[random.random(n) < missing] = None
        score[random.random(n) < 0.1] = math.nan
        yield frame(label, score)


def merged(formula, frames):
    """What the value of a formula sees of each frame, its states computed by DuckDB."""
    every = pd.concat([each.assign(row=i) for i, each in enumerate(frames)])
    n = len(frames)
    with duckdb.connect(config={"threads": 1}) as con:
        con.register("pairs", pa.Table.from_pandas(every, preserve_index=False))
        states = {name: kept(con, state, n) for name, state in formula.states.items()}
    predictions, labelled = (np.bincount(every.row[flags], minlength=n) for flags in (every.row >= 0, every.labelled))
    return Merged(predictions, labelled, states, np.zeros(n, dtype=np.int64))


def kept(con, state, n):
    amount, number = state.amount or f"({state.mark or 0})::INTEGER", state.kind in ("count", "sum")
    of = f"sum({state.of})" if state.kind == "sum" else "0" if number else state.of
    found = con.execute(
        f"SELECT row, {of} AS k, count(*) AS n, sum({amount}) AS a FROM pairs WHERE {state.where} "
        f"GROUP BY {'row' if number else '1, 2'} ORDER BY 1, 2"
    ).fetchnumpy()
    rows, keys, counts, sums = (np.asarray(found[name]) for name in ("row", "k", "n", "a"))
    offsets, counts = np.searchsorted(rows, np.arange(n + 1)), counts.astype(np.int64)
    if state.kind == "groups":
        return Groups(offsets, keys.astype(str).astype(object), counts, sums.astype(np.float64))
    if state.kind == "histogram":
        marked = sums.astype(np.int64)
        return Histograms(offsets, keys.astype(np.float64), counts, marked, np.ones(n, dtype=bool), state.spread)
    made = np.zeros(n, dtype=np.int64 if state.kind == "count" else np.float64)
    made[rows] = counts if state.kind == "count" else keys
    return made


FRAMES = [*random_frames(40, 60), frame([], []), frame([None, True], [0.3, math.nan])]


def made(name, given):
    return entries("binary")[name].make(**given)


@pytest.mark.parametrize(("name", "given"), CASES)
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
def test_values_equal_their_twins_and_plain_rows(name, given):
    formula, twin = made(name, given), partial(twins.TWINS[name], **given)
    found = formula.value(merged(formula, FRAMES))
    for other in (twin, formula.on_rows):
        assert found.value == pytest.approx([other(each) for each in FRAMES], rel=1e-12, abs=1e-12, nan_ok=True)
    undefined = np.array([reason is not None for reason in found.reason])
    assert (np.isnan(found.value) == undefined).all()
    assert (found.bound[~undefined] == 0).all()
    assert undefined.any()
    assert not undefined.all()


@pytest.mark.parametrize(("name", "given"), CASES)
def test_intervals_hold_the_value_and_exist_unless_the_docs_say_none(name, given):
    formula = made(name, given)
    found = formula.value(merged(formula, FRAMES))
    known = ~np.isnan(found.low)
    assert (known == ~np.isnan(found.high)).all()
    assert known.any() == (name not in WITHOUT_INTERVAL and given.get("k") not in (1.5, 100))
    assert not known[np.isnan(found.value)].any()
    assert (found.low[known] <= found.value[known]).all()
    assert (found.value[known] <= found.high[known]).all()


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
        made(name, given)


def test_a_constant_on_all_prices_moves_cost_and_its_interval_by_that_constant():
    names = ("false_positive", "false_negative", "true_positive", "true_negative")
    costs, moved = (made("cost", dict(zip(names, prices, strict=True))) for prices in ((4, 1, -7, 2), (7, 4, -4, 5)))
    found, other = (each.value(merged(each, FRAMES)) for each in (costs, moved))
    for name in ("value", "low", "high"):
        assert getattr(other, name) == pytest.approx(getattr(found, name) + 3, abs=1e-12, nan_ok=True)
    assert (costs.range, moved.range) == ((-7, 4), (-4, 7))


def test_a_threshold_is_a_decision_of_its_own():
    formula = made("recall", {"threshold": 0})
    pairs = frame([True, False, True], [0.1, 0.2, 0.9])
    assert formula.value(merged(formula, [pairs])).value[0] == formula.on_rows(pairs) == 1
