"""Laws of every SLI, found by discovery: what is published equals plain rows, and scikit-learn, SciPy or NumPy."""

import importlib
import math
import re
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest
import yaml
from sklearn import config_context, metrics
from twins import multiclass
from twins.common import classes, errors, over
from twins.common import values as of_column
from worlds import ZONE, built_in, config_of, fewest, pairs_of, series, twin_of, write_logs

import sli
from sli.config.load import load_config
from sli.config.model import Config
from sli.publishing.store import Store
from sli.slis import CATALOGUE, TASKS
from sli.slis.kinds.histograms import EXACT_ROWS
from sli.slis.kinds.samples import SAMPLE_ROWS

AS_OF = "2024-04-01"
DOCS = Path(__file__).parents[2] / "docs" / "sli.md"


SQL = {
    "fare_range": ({"low": "min(fare)", "high": "max(fare)"}, "high - low", of_column(np.ptp, "fare")),
    "fare_mean": ({"fares": "sum(fare)", "n": "count(fare)"}, "fares / n", of_column(np.mean, "fare")),
    "waiting": ({"waited": "sum(delay)"}, "waited", lambda d: over(d.delay.dropna(), np.sum)),
    "halves": ({"n": "count(*)"}, "n / 2", lambda d: len(d) / 2),
    "position": ({"position": "sum(fare)"}, "position", of_column(np.sum, "fare")),
    "late": (
        {"n": "count(CASE WHEN known_at > predicted_at + INTERVAL 1 DAY THEN 1 END)"},
        "n / predictions",
        lambda d: over(d.delay, lambda x: np.mean(x > 86_400), lambda x: x.isna().all()),
    ),
}
OWN = """
def own_score(y_true, y_pred, y_score):
    return y_score[y_true[:, None] == ["a", "b", "c"]].mean()

def share_over(truth, predicted):
    return float((predicted >= truth).mean())

def fails(truth, predicted):
    raise ValueError("not today")

def infinite(truth, predicted):
    return float("inf")
"""
PYTHON = {
    "binary": {
        "called_mcc": ("sklearn.metrics:matthews_corrcoef", classes(metrics.matthews_corrcoef)),
        "share_over": ("laws_own_metrics:share_over", classes(lambda y, z: np.mean(z >= y))),
    },
    "regression": {
        "median_error": ("sklearn.metrics:median_absolute_error", errors(metrics.median_absolute_error)),
        "share_over": ("laws_own_metrics:share_over", errors(lambda y, p: np.mean(p >= y))),
    },
    "multiclass": {
        "kappa": ("sklearn.metrics:cohen_kappa_score", multiclass.TWINS["cohen_kappa"]),
        "hits": ("sklearn.metrics:accuracy_score", multiclass.TWINS["accuracy"]),
        "own_score": ("laws_own_metrics:own_score", multiclass.own_score),
    },
    "ranking": {"median_error": ("sklearn.metrics:median_absolute_error", errors(metrics.median_absolute_error))},
}
BROKEN = {"fails": "ValueError: not today", "infinite": "the function returned inf"}


BUILT_IN = [(task, name) for task in TASKS for name in series(task)]
MERGED = BUILT_IN + [("regression", name) for name in SQL]
CALLED = [(task, name) for task in TASKS for name in PYTHON[task]]


@dataclass(frozen=True)
class PublishedWorld:
    """A published store and the pairs it was made of."""

    path: Path
    config: Config
    pairs: pd.DataFrame
    results: pd.DataFrame
    windows: dict = field(default_factory=dict)

    @cached_property
    def of_series(self):
        """The rows of each series."""
        return dict(list(self.results.groupby("sli")))

    @cached_property
    def declared(self):
        return {each.name: each for each in self.config.declared}

    def of(self, name, step=24):
        """Some rows of a series with the pairs of their window and slice, and of what they are compared with.

        Of each series all kinds of rows, large hours among them, and every few of the rest. Where these begin differs
        between series, so that together they see all windows and slices.
        """
        rows = self.of_series[name]
        kinds = rows.assign(large=rows.predictions > 500, bounded=rows.error_bound > 0, empty=rows.value.isna())
        kinds = kinds[["grain", "large", "bounded", "empty", "reason"]]
        place = np.arange(len(rows)) + list(self.of_series).index(name)
        # Three of four rows are of hours.
        some = np.where(rows.grain == "hour", place % (4 * step) == 0, place % step == 0)
        rows = rows[some | ~kinds.duplicated().to_numpy()]
        assert len(rows)
        reference = self.declared[name].reference
        for row in rows.itertuples():
            frames = [self.inside(row.window_start, row.window_end, row.slice)]
            if reference is not None:
                frames.append(self.compared(reference, row))
            yield row, *frames

    def inside(self, start, end, slice):
        key = (start, end, *slice.items())
        if key not in self.windows:
            inside = (self.pairs.predicted_at >= start) & (self.pairs.predicted_at < end)
            self.windows[key] = self.pairs[inside & in_slice(self.pairs, slice)]
            self.windows[key].attrs.update(end=round(end.timestamp() * 1e6), tile="60min")
        return self.windows[key]

    def compared(self, reference, row):
        if reference.kind == "table":
            key = (reference.path, *row.slice.items())
            if key not in self.windows:
                table = pd.read_parquet(reference.path)
                self.windows[key] = table[in_slice(table, row.slice)]
            return self.windows[key]
        if reference.kind == "window":
            micros = (reference.interval.start, reference.interval.end)
            return self.inside(*(pd.Timestamp(each, unit="us", tz="UTC") for each in micros), row.slice)
        days = {"day": 1, "2d/1d": 2}.get(row.grain)
        local = row.window_start.tz_convert(ZONE)
        before = row.window_start if row.grain == "cumulative" else row.window_start - pd.Timedelta("1h")
        if days:
            before = (local.tz_localize(None) - pd.Timedelta(days=days)).tz_localize(ZONE)
        return self.inside(before, row.window_start, row.slice)


def in_slice(rows, slice):
    inside = pd.Series(True, index=rows.index)
    for column, value in slice.items():
        inside &= rows[column].isna() if value is None else rows[column] == value
    return inside


def tree(task):
    merged = [{"name": name, "states": states, "value": value} for name, (states, value, _) in SQL.items()]
    merged = merged if task == "regression" else []
    called = [{"name": name, "python": call} for name, (call, _) in PYTHON[task].items()]
    broken = [{"name": name, "python": f"laws_own_metrics:{name}"} for name in BROKEN]
    return config_of(task, [*built_in(task), *merged, *called, *broken])


def run(path, settings=()):
    with pytest.MonkeyPatch.context() as patch:
        # As few calls of a function as an interval of 95 % can do with.
        patch.setattr("sli.slis.custom.sampled.resamples", lambda level: 39)
        assert sli.run(path, as_of=AS_OF, settings=settings).published


class Worlds(dict):
    """The worlds by task, each made when it is first asked for."""

    def __init__(self, make_folder):
        self.make_folder = make_folder

    def __missing__(self, task):
        folder, pairs = self.make_folder(task), pairs_of(task)
        write_logs(folder, pairs, task)
        (folder / "laws_own_metrics.py").write_text(OWN)
        (folder / "config.yaml").write_text(yaml.safe_dump(tree(task)))
        run(folder / "config.yaml")
        config = load_config(folder / "config.yaml")
        self[task] = PublishedWorld(folder / "config.yaml", config, pairs, sli.read(config))
        return self[task]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return Worlds(tmp_path_factory.mktemp)


def equal(found, expected):
    return found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def check(row, expected):
    """A published row says what is expected, within the error it states; an estimate, near its interval."""
    if math.isnan(expected):
        assert math.isnan(row.value), row
        assert isinstance(row.reason, str), row
        return
    assert not isinstance(row.reason, str), row
    if math.isnan(row.error_bound):
        assert math.isnan(row.ci_low) or abs(row.value - expected) <= 2 * (row.ci_high - row.ci_low), (row, expected)
    elif row.error_bound > 0:
        assert abs(row.value - expected) <= row.error_bound + 1e-12, (row, expected)
    else:
        assert equal(row.value, expected), (row, expected)


@pytest.mark.parametrize(("task", "name"), CATALOGUE)
def test_an_entry_has_a_twin_and_a_line_in_the_docs(task, name):
    assert twin_of(task, name)
    assert f"`{name}`" in DOCS.read_text()


@pytest.mark.parametrize(("task", "name"), MERGED)
@config_context(skip_parameter_validation=True)  # much of the time of thousands of calls on few pairs
def test_published_values_equal_their_twins(worlds, task, name):
    kind, parameters = series(task).get(name, (name, {}))
    twin = SQL[name][2] if name in SQL else partial(twin_of(task, kind), **parameters)
    for row, *frames in worlds[task].of(name):
        check(row, float(twin(*frames)))


@pytest.mark.parametrize("task", TASKS)
def test_published_rows_equal_brute_force(worlds, task):
    rows = worlds[task].results
    windows = len(rows[["grain", "window_start", "window_end"]].drop_duplicates())
    found = sli.verify(worlds[task].config, windows=windows // 6)
    assert found.differences == []
    assert found.rows > len(rows) / 12


@pytest.mark.soak
@pytest.mark.parametrize("task", TASKS)
def test_all_published_rows_equal_brute_force(worlds, task):
    found = sli.verify(worlds[task].config, windows=None)
    assert found.differences == []
    assert found.rows + found.estimates == len(worlds[task].results)


@pytest.mark.parametrize("task", TASKS)
def test_an_interval_holds_the_value_and_so_does_the_worst_case_of_what_is_complete(worlds, task):
    rows = worlds[task].results
    assert not (rows.ci_low > rows.value).any()
    assert not (rows.ci_high < rows.value).any()
    assert not (rows.ci_low.notna() & rows.value.isna()).any()
    assert (rows.missing_low.isna() == rows.missing_high.isna()).all()
    assert not (rows.missing_low > rows.missing_high).any()
    complete = rows[(rows.labelled == rows.predictions) & rows.missing_low.notna()]
    assert (complete.missing_low == complete.value).all()
    assert (complete.missing_high == complete.value).all()


@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")  # the twin's, on a small hour
@pytest.mark.parametrize(("task", "name"), CALLED)
def test_a_python_function_is_exact_for_hour_and_day_and_estimated_beyond_a_sample(worlds, task, name):
    twin, estimated = PYTHON[task][name][1], 0
    for row, pairs in worlds[task].of(name, step=1):
        expected, given = twin(pairs), pairs[pairs.usable]
        if name == "own_score":
            given = given.dropna(subset=multiclass.SCORES)
        if row.grain in ("hour", "day") or len(given) <= SAMPLE_ROWS:
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
    for row, pairs in worlds[task].of(name, step=1):
        assert math.isnan(row.value)
        assert row.reason == (BROKEN[name] if pairs.usable.any() else "no labelled predictions")


@pytest.mark.parametrize("task", TASKS)
def test_a_value_is_null_exactly_where_a_documented_reason_is_given(worlds, task):
    rows = Store(worlds[task].config.store).rows("results", None)
    for name in ("value", "ci_low", "ci_high", "missing_low", "missing_high", "error_bound"):
        assert pc.all(pc.is_finite(rows[name])).as_py() is not False, name
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
    quantiles = [name for name, (sli, _) in series(task).items() if sli == "quantile"]
    assert {row.error_bound > 0 for name in quantiles for row, _ in worlds[task].of(name)} == {True, False}
    assert rows.coverage.between(0, 1).all()


@pytest.mark.soak
@pytest.mark.parametrize("task", ["binary", "ranking"])
def test_many_small_tasks_publish_the_same_bits_as_one(worlds, task, monkeypatch):
    world, settings = worlds[task], ["store=small"]
    assert len(sli.plan(world.path, as_of=AS_OF, settings=settings).task_sets[0].tasks) == 1
    monkeypatch.setattr(importlib.import_module("sli.planning.tasks"), "FACTOR", 1e9)  # small tasks
    assert len(sli.plan(world.path, as_of=AS_OF, settings=settings).task_sets[0].tasks) > 2
    run(world.path, settings)
    found = sli.read(world.path.parent / "small")
    pd.testing.assert_frame_equal(found, world.results, check_exact=True)


def test_runs_one_after_the_other_publish_the_same_bits_as_one(worlds):
    world, grown, every = worlds["binary"], worlds["binary"].path.with_name("grown.yaml"), built_in("binary")
    slis = fewest(every, world.config.declared[: len(every)])
    grown.write_text(yaml.safe_dump({**config_of("binary", slis), "store": "grown"}))
    for as_of in ("2024-03-10T03:00", AS_OF):
        assert sli.run(grown, as_of=as_of).published
    runs, mine = ["as_of", "run_id"], world.results.sli.isin([sli["name"] for sli in slis])
    expected = world.results[mine].drop(columns=runs).reset_index(drop=True)
    pd.testing.assert_frame_equal(sli.read(grown).drop(columns=runs), expected, check_exact=True)
