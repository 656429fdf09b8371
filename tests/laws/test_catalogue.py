"""Laws of every SLI, found by discovery: what is published equals plain rows, and scikit-learn, SciPy or NumPy."""

import importlib
import inspect
import math
import re
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
import yaml
from scipy.stats import binomtest
from sklearn import metrics

import sli
from sli.config import Config
from sli.loading import load_config
from sli.slis import CATALOGUE
from sli.slis.states import EXACT_ROWS, SAMPLE_ROWS
from sli.tables import Store

SINCE = pd.Timestamp("2024-03-09", tz="America/New_York")  # the clocks change on the 10th
AS_OF = "2024-04-01"
TASKS = ("binary", "regression")
DOCS = Path(__file__).parents[2] / "docs" / "sli.md"
nan = math.nan

# The entries' parameters to try; those not named here are tried without any.
PARAMETERS = {
    "quantile": [{"q": 0.9}, {"q": 0.25, "of": "fare"}],
    "mean": [{}, {"of": "fare"}],
    "null_rate": [{}, {"of": "fare"}],
    "feedback_delay": [{}, {"q": 0.9}],
}


def over(rows, function, undefined=lambda rows: rows.empty):
    return nan if undefined(rows) else float(function(rows))


def usable(function, undefined=lambda _: False):
    return lambda d: over(d[d.usable], function, lambda u: u.empty or undefined(u))


def classes(function, undefined=lambda *_: False):
    """Of labels and decisions as 0 and 1."""
    return usable(
        lambda u: function(u.label.astype(int), u.decision.astype(int)),
        lambda u: undefined(u.label.astype(bool), u.decision.astype(bool)),
    )


def cell(i, j):
    return classes(lambda y, z: metrics.confusion_matrix(y, z, labels=[0, 1])[i, j])


def errors(function):
    return usable(lambda u: function(u.label.astype(float), u.prediction))


def constant(u):
    return u.label.nunique() < 2


def values(function, of="prediction"):
    return lambda d: over(d[of].dropna().astype(float), function)


TWINS = {
    "accuracy": classes(metrics.accuracy_score),
    "precision": classes(metrics.precision_score, lambda _, z: not z.any()),
    "recall": classes(metrics.recall_score, lambda y, _: not y.any()),
    "specificity": classes(partial(metrics.recall_score, pos_label=0), lambda y, _: y.all()),
    "positive_rate": classes(lambda y, _: np.mean(y)),
    "prediction_rate": lambda d: over(d.decision.dropna().astype(bool), np.mean),
    "f1": classes(metrics.f1_score, lambda y, z: not (y | z).any()),
    "log_loss": usable(lambda u: metrics.log_loss(u.label.astype(int), u.prediction, labels=[0, 1])),
    "brier": usable(lambda u: metrics.mean_squared_error(u.label.astype(int), u.prediction)),
    "true_negatives": cell(0, 0),
    "false_positives": cell(0, 1),
    "false_negatives": cell(1, 0),
    "true_positives": cell(1, 1),
    "roc_auc": usable(lambda u: metrics.roc_auc_score(u.label.astype(int), u.prediction), constant),
    "mae": errors(metrics.mean_absolute_error),
    "mse": errors(metrics.mean_squared_error),
    "rmse": errors(metrics.root_mean_squared_error),
    "bias": errors(lambda y, p: np.mean(p - y)),
    "r2": usable(lambda u: metrics.r2_score(u.label.astype(float), u.prediction), constant),
    "count": len,
    "mean": lambda d, of="prediction": values(np.mean, of)(d),
    "null_rate": lambda d, of="prediction": float(np.mean(d[of].isna())),
    "quantile": lambda d, q, of="prediction": values(partial(np.quantile, q=q), of)(d),
    "feedback_delay": lambda d, q=0.5: over(d.delay[d.labelled], partial(np.quantile, q=q)),
}
# The whole that each proportion with a Wilson interval is a part of.
WHOLES = {
    "accuracy": lambda d: d.usable.sum(),
    "precision": lambda d: (d.usable & d.decision.fillna(False)).sum(),
    "recall": lambda d: (d.usable & d.label.fillna(False)).sum(),
    "specificity": lambda d: (d.usable & ~d.label.fillna(True)).sum(),
    "positive_rate": lambda d: d.usable.sum(),
    "prediction_rate": lambda d: d.prediction.notna().sum(),
    "null_rate": len,
}
SQL = {
    "fare_range": ({"low": "min(fare)", "high": "max(fare)"}, "high - low", values(np.ptp, "fare")),
    "fare_mean": ({"fares": "sum(fare)", "n": "count(fare)"}, "fares / n", values(np.mean, "fare")),
    "waiting": ({"waited": "sum(delay)"}, "waited", lambda d: over(d.delay.dropna(), np.sum)),
    "halves": ({"n": "count(*)"}, "n / 2", lambda d: len(d) / 2),
    "position": ({"position": "sum(fare)"}, "position", values(np.sum, "fare")),
    "late": (
        {"n": "count(CASE WHEN known_at > predicted_at + INTERVAL 1 DAY THEN 1 END)"},
        "n / predictions",
        lambda d: (d.delay > 86_400).mean(),
    ),
}
OWN = """
def share_over(truth, predicted):
    return float((predicted >= truth).mean())

def fails(truth, predicted):
    raise ValueError("not today")

def infinite(truth, predicted):
    return float("inf")
"""
PYTHON = {
    "binary": {
        "mcc": ("sklearn.metrics:matthews_corrcoef", classes(metrics.matthews_corrcoef)),
        "share_over": ("laws_own_metrics:share_over", classes(lambda y, z: np.mean(z >= y))),
    },
    "regression": {
        "median_error": ("sklearn.metrics:median_absolute_error", errors(metrics.median_absolute_error)),
        "share_over": ("laws_own_metrics:share_over", errors(lambda y, p: np.mean(p >= y))),
    },
}
BROKEN = {"fails": "ValueError: not today", "infinite": "the function returned inf"}


def series(task):
    """All built-in series of a task: by name the catalogue's name and the parameters."""
    found = {}
    for name, entry in CATALOGUE.items():
        for i, parameters in enumerate(PARAMETERS.get(name, [{}]) if task in entry.tasks else []):
            found[f"{name}_{i}" if i else name] = (name, parameters)
    return found


BUILT_IN = [(task, name) for task in TASKS for name in series(task)]
MERGED = BUILT_IN + [(task, name) for task in TASKS for name in SQL]
PROPORTIONS = [(task, name) for task, name in BUILT_IN if series(task)[name][0] in WHOLES]
CALLED = [(task, name) for task in TASKS for name in PYTHON[task]]


@dataclass(frozen=True)
class World:
    """A published store and the pairs it was made of."""

    path: Path
    config: Config
    pairs: pd.DataFrame
    results: pd.DataFrame
    windows: dict = field(default_factory=dict)

    def of(self, name):
        """Every row of a series with the pairs of its window and slice."""
        rows = self.results[self.results.sli == name]
        assert len(rows)
        for row in rows.itertuples():
            key = (row.window_start, row.window_end, *row.slice.items())
            if key not in self.windows:
                self.windows[key] = self._inside(row)
            yield row, self.windows[key]

    def _inside(self, row):
        inside = (self.pairs.predicted_at >= row.window_start) & (self.pairs.predicted_at < row.window_end)
        for column, value in row.slice.items():
            inside &= self.pairs[column].isna() if value is None else self.pairs[column] == value
        return self.pairs[inside]

    def formula(self, name):
        return next(each.formula for each in self.config.declared if each.name == name)


def pairs_of(task):
    """Random pairs: few in most hours, more than a histogram or a sample keeps in one of them."""
    random = np.random.default_rng(7)
    hours = np.concatenate([[1, 25, 60], random.choice(np.arange(2, 90), 17, replace=False)])
    n = np.concatenate([[1700, 1, 2], random.integers(1, 60, 17)])
    hour = np.repeat(hours, n)
    size = len(hour)
    noise = random.random(size)
    score = np.where(random.random(size) < 0.3, random.choice([0, 0.25, 0.5, 0.51, 1], size), noise)
    label = (random.random(size) < 0.2 + 0.5 * score).astype(float)
    region = random.choice(np.array(["north", "o'süd, x", "rare", None], dtype=object), size, p=[0.55, 0.3, 0.05, 0.1])
    if task == "regression":
        score, label = random.normal(3, 20, size), random.normal(2, 30, size).round(1)
    label[(random.random(size) < 0.15) | (region == "rare") & (hour > 40)] = nan
    score[random.random(size) < 0.05] = nan
    fare = np.where(random.random(size) < 0.1, nan, random.gamma(2, 1e3, size))
    micros = random.integers(0, 3_600_000_000, size)
    delay = random.integers(0, 3 * 86_400_000_000, size)
    predicted = SINCE.tz_convert("UTC") + pd.to_timedelta(hour * 3_600_000_000 + micros, unit="us")
    made = pd.DataFrame({"output_id": [f"id{i}" for i in range(size)], "predicted_at": predicted, "prediction": score})
    made = made.assign(region=region, fare=fare, label=label, labelled=~np.isnan(label))
    made["known_at"] = (made.predicted_at + pd.to_timedelta(delay, unit="us")).where(made.labelled)
    made["delay"] = np.where(made.labelled, delay / 1e6, nan)
    made["usable"] = made.labelled & made.prediction.notna()
    made["decision"] = (made.prediction >= 0.5).astype("boolean").where(made.prediction.notna())
    if task == "binary":
        made["label"] = (made.label == 1).astype("boolean").where(made.labelled)
    return made


def write_logs(folder, pairs):
    """A file a day, so that a small memory cuts the work into several tasks; one in fifty labels is a withdrawn one."""
    withdrawn = pairs[~pairs.labelled].iloc[::50]
    known = pairs[pairs.labelled].assign(label=lambda d: d.label.astype(float))[["output_id", "known_at", "label"]]
    known = pd.concat([known, withdrawn.assign(known_at=withdrawn.predicted_at, label=nan)[known.columns]])
    logged = pairs[["output_id", "predicted_at", "prediction", "region", "fare"]]
    for log, rows, time in (("predictions", logged, "predicted_at"), ("feedback", known, "known_at")):
        (folder / log).mkdir()
        for day, part in rows.groupby(rows[time].dt.date):
            part.to_parquet(folder / log / f"{day}.parquet", index=False)


def tree(task):
    built_in = [{"sli": sli, "name": name, **given} for name, (sli, given) in series(task).items()]
    merged = [{"name": name, "states": states, "value": value} for name, (states, value, _) in SQL.items()]
    called = [{"name": name, "python": call} for name, (call, _) in PYTHON[task].items()]
    broken = [{"name": name, "python": f"laws_own_metrics:{name}"} for name in BROKEN]
    predictions = {"path": "predictions", "id": "output_id", "time": "predicted_at", "value": "prediction"}
    return {
        "model": f"laws-{task}",
        "timezone": "America/New_York",
        "since": "2024-03-09",
        "store": "results",
        "horizon": "7d",
        "task": task,
        "predictions": {**predictions, "columns": ["fare"]},
        "feedback": {"path": "feedback", "id": "output_id", "time": "known_at", "value": "label"},
        "slice_by": [[], ["region"]],
        "grains": ["hour", "day", "cumulative", {"size": "2d", "every": "1d"}],
        "slis": [*built_in, *merged, *called, *broken],
    }


def run(path, settings=()):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A single label was found", UserWarning)  # scikit-learn's on a small hour
        assert sli.run(path, as_of=AS_OF, settings=settings).published


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    made = {}
    for task in TASKS:
        folder, pairs = tmp_path_factory.mktemp(task), pairs_of(task)
        write_logs(folder, pairs)
        (folder / "laws_own_metrics.py").write_text(OWN)
        (folder / "config.yaml").write_text(yaml.safe_dump(tree(task)))
        run(folder / "config.yaml")
        config = load_config(folder / "config.yaml")
        made[task] = World(folder / "config.yaml", config, pairs, sli.read(config))
    return made


def equal(found, expected):
    return found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def check(row, expected):
    """A published row says what is expected, within the error it states."""
    if math.isnan(expected):
        assert math.isnan(row.value), row
        assert isinstance(row.reason, str), row
        return
    assert not isinstance(row.reason, str), row
    if row.error_bound > 0:
        assert abs(row.value - expected) <= row.error_bound + 1e-12, (row, expected)
    else:
        assert equal(row.value, expected), (row, expected)


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_has_a_twin_and_a_line_in_the_docs(name):
    entry = CATALOGUE[name]
    assert name in TWINS, f"write the twin of {name}, from scikit-learn, SciPy or NumPy"
    assert f"`{name}`" in DOCS.read_text()
    assert set(inspect.signature(entry.make).parameters) == set(entry.parameters)
    assert set(entry.tasks) <= set(TASKS)


@pytest.mark.parametrize(("task", "name"), MERGED)
def test_published_values_equal_their_twins(worlds, task, name):
    kind, parameters = series(task).get(name, (name, {}))
    twin = SQL[name][2] if name in SQL else partial(TWINS[kind], **parameters)
    for row, pairs in worlds[task].of(name):
        check(row, float(twin(pairs)))


@pytest.mark.parametrize(("task", "name"), MERGED)
def test_published_values_equal_the_formula_on_plain_rows(worlds, task, name):
    formula = worlds[task].formula(name)
    for row, pairs in worlds[task].of(name):
        check(row, formula.on_rows(pairs))


@pytest.mark.parametrize(("task", "name"), PROPORTIONS)
def test_intervals_of_proportions_are_wilsons(worlds, task, name):
    whole = WHOLES[series(task)[name][0]]
    for row, pairs in worlds[task].of(name):
        if isinstance(row.reason, str):
            assert math.isnan(row.ci_low), row
            assert math.isnan(row.ci_high), row
        else:
            n = int(whole(pairs))
            expected = binomtest(round(row.value * n), n).proportion_ci(0.95, method="wilson")
            assert equal([row.ci_low, row.ci_high], [expected.low, expected.high])


@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@pytest.mark.parametrize(("task", "name"), CALLED)
def test_a_python_function_is_exact_for_hour_and_day_and_estimated_beyond_a_sample(worlds, task, name):
    twin, estimated = PYTHON[task][name][1], 0
    for row, pairs in worlds[task].of(name):
        expected = twin(pairs)
        if row.grain in ("hour", "day") or pairs.usable.sum() <= SAMPLE_ROWS:
            check(row, expected)
            assert math.isnan(row.ci_low)
            assert math.isnan(expected) or row.error_bound == 0
        else:
            estimated += 1
            assert row.ci_low <= row.value <= row.ci_high
            assert abs(row.value - expected) <= row.ci_high - row.ci_low
            assert math.isnan(row.error_bound)
    assert estimated


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_python_function_that_fails_leaves_null_and_its_reason(worlds, task, name):
    for row, pairs in worlds[task].of(name):
        assert math.isnan(row.value)
        assert row.reason == (BROKEN[name] if pairs.usable.any() else "no labelled predictions")


@pytest.mark.parametrize("task", TASKS)
def test_a_value_is_null_exactly_where_a_documented_reason_is_given(worlds, task):
    rows = Store(worlds[task].config.store).rows("results", None)
    for name in ("value", "ci_low", "ci_high", "error_bound"):
        assert pc.all(pc.is_finite(rows[name])).as_py(), name
    assert rows["value"].is_null() == rows["reason"].is_valid()
    outside = pc.or_(pc.greater(rows["ci_low"], rows["value"]), pc.less(rows["ci_high"], rows["value"]))
    assert not pc.any(outside).as_py()
    docs = re.sub(r"\s+", " ", DOCS.read_text())
    given = set(pc.unique(rows["reason"]).drop_null().to_pylist()) - set(BROKEN.values())
    assert [reason for reason in given if reason not in docs] == []


@pytest.mark.parametrize("task", TASKS)
def test_the_worlds_reach_beyond_what_is_kept_exactly(worlds, task):
    rows = worlds[task].results
    assert (rows[rows.grain == "hour"].labelled > EXACT_ROWS).any()
    assert {row.error_bound > 0 for row, _ in worlds[task].of("quantile")} == {True, False}
    assert rows.coverage.between(0, 1).all()


@pytest.mark.parametrize("task", TASKS)
def test_many_small_tasks_publish_the_same_bits_as_one(worlds, task, monkeypatch):
    world, settings = worlds[task], ["store=small"]
    assert len(sli.plan(world.path, as_of=AS_OF, settings=settings).jobs[0].chunks) == 1
    monkeypatch.setattr(importlib.import_module("sli.chunks"), "FACTOR", 1e9)  # a task's memory holds almost nothing
    assert len(sli.plan(world.path, as_of=AS_OF, settings=settings).jobs[0].chunks) > 2
    run(world.path, settings)
    found = sli.read(world.path.parent / "small")
    pd.testing.assert_frame_equal(found, world.results, check_exact=True)
