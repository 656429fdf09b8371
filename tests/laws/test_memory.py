"""Memory follows the work: little is amended within little, and what does not fit is cut until it does."""

import re
import sys
from dataclasses import replace

import duckdb
import numpy as np
import pytest
from builders import Template, small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, published

import sli
from sli.command.text import expected_lines
from sli.config.load import checked
from sli.errors import EngineError, OutOfMemory
from sli.publishing.store import Store
from sli.rollup import evaluate as evaluation
from sli.rollup import merge
from sli.runs import amended, preview
from sli.runs import hour_tiles as hours

START = at("2024-01-01T00:00")
AS_OF = START + 12 * DAY
WORLD = small_world(horizon=30 * DAY, since=START, grains=("hour", "day"), slis=("accuracy", "roc_auc"))


def after_first_run(folder):
    """A thousand predictions over ten days, in one file; the first run is done."""
    random = np.random.default_rng(0)
    s = Scenario(folder, WORLD, {"memory": "256MB"})
    rows = [Prediction(f"id{i}", START + i * DAY // 100, round(random.random(), 2), {}) for i in range(1000)]
    s.log_predictions("p.parquet", rows)
    s.log_feedback("f.parquet", [Feedback(row.id, row.time + HOUR, float(i % 3 > 0)) for i, row in enumerate(rows)])
    s.run(AS_OF)
    return s


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Template(after_first_run(tmp_path_factory.mktemp("memory") / "world"))


def corrected(s):
    """New rows: labels corrected, some of them twice, all over the ten days."""
    first = s.feedback["f.parquet"][::2]
    rows = [Feedback(row.id, AS_OF + HOUR, 1 - row.value) for row in first]
    s.log_feedback("g.parquet", rows + [Feedback(row.id, row.time + 1, row.value) for row in rows[::2]])
    return AS_OF + DAY


def test_corrections_and_doubles_amend_within_little_memory(template):
    s = template.restored()
    s.settings = {"memory": "64MB"}
    outcome = s.run(corrected(s))
    assert outcome.plan.new_rows is not None
    s.check(AS_OF + DAY)


def same_from_nothing(s, folder, as_of):
    afresh = Scenario(s.root, s.world, {"store": str(folder / "afresh")})
    afresh.run(as_of)
    assert published(s.config) == published(afresh.config)


@pytest.mark.parametrize("step", ["contributions", "update_tiles"])
def test_amending_that_runs_out_of_memory_becomes_recomputing(template, tmp_path, monkeypatch, caplog, step):
    def fails(*_):
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    s = template.restored()
    as_of = corrected(s)
    monkeypatch.setattr(amended, step, fails)
    outcome = s.run(as_of)
    assert outcome.plan.new_rows is None
    assert outcome.plan.task_sets
    assert "recomputed" in caplog.text
    same_from_nothing(s, tmp_path, as_of)


def limited(monkeypatch, most):
    """Tasks that make tiles of more time than that run out of memory; gives the lengths of those that did not."""
    real, done = hours.match_and_build, []

    def task(work, *given):
        length = sum(each.end - each.start for each in work.prediction_tiles)
        if length > most:
            raise OutOfMemory("a task ran out of memory", todo="raise `memory:` in the config")
        done.append(length)
        return real(work, *given)

    monkeypatch.setattr(hours, "match_and_build", task)
    return done


def test_tasks_that_run_out_of_memory_are_halved_until_they_do_not(tmp_path, monkeypatch):
    """One group of rows of ten days, which nothing else would cut, also where the parts end within days."""
    done = limited(monkeypatch, 1.3 * DAY)
    s = after_first_run(tmp_path)
    assert len(done) == 8
    monkeypatch.undo()
    same_from_nothing(s, tmp_path, AS_OF)
    s.check(AS_OF)


def test_tasks_that_run_out_of_memory_however_small_name_the_key_to_raise(tmp_path, monkeypatch):
    done = limited(monkeypatch, HOUR)
    with pytest.raises(EngineError, match="memory:"):
        after_first_run(tmp_path)
    assert not done


def test_days_that_run_out_of_memory_name_the_key_to_raise(template, monkeypatch):
    def fails(*_):
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    s = template.restored()
    monkeypatch.setattr(merge.TileTree, "merge", fails)
    with pytest.raises(OutOfMemory, match="memory:"):
        s.run(corrected(s))


OWN = """
calls = 0


def gap(label, score):
    global calls
    calls += 1
    return float(score[label == 1].sum() - score[label == 0].sum())
"""


def wide(folder, store, **more):
    """SLIs of each kind of state, compared with nothing, the window before and a fixed one; 1,200 predictions."""
    if not (folder / "own.py").exists():
        (folder / "own.py").write_text(OWN)
        random = np.random.default_rng(1)
        s = Scenario(folder, replace(WORLD, slice_by=((), ("region", "shop"))))
        slices = [{"region": "abc"[i % 3], "shop": str(random.integers(5))} for i in range(1200)]
        rows = [Prediction(f"id{i}", START + i * DAY // 600, random.random(), slices[i]) for i in range(1200)]
        s.log_predictions("p.parquet", rows)
        s.log_feedback("f.parquet", [Feedback(row.id, row.time, float(random.random() < row.value)) for row in rows])
    fixed = {"start": "2024-01-01", "end": "2024-01-02"}
    slis = [
        *("accuracy", "roc_auc", "mean", {"sli": "distinct_count", "of": "shop"}, {"sli": "mode_share", "of": "shop"}),
        *({"sli": "ks"}, {"sli": "psi", "against": fixed, "bins": 4}, {"name": "gap", "python": "own:gap"}),
    ]
    tree = config_of(WORLD, folder) | {"store": str(folder / store), "folder": str(folder), "slis": slis}
    tree |= {"slice_by": [[], ["region"], ["region", "shop"]], "memory": "64MB"}
    return checked(tree | {"grains": ["day", "cumulative", {"size": "2d", "every": "12h"}], **more})


def results_of(config):
    store = Store(config.store)
    rows = store.rows("results", store.published())
    names = [name for name in rows.schema.names if name not in ("run_id", "day")]
    keys = ("sli", "grain", "window_end", "window_start", "slice")
    return sorted(rows.select(names).to_pylist(), key=lambda row: [str(row[name]) for name in keys])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of logs, and the results of a run with memory enough for few batches, as text."""
    folder = tmp_path_factory.mktemp("wide")
    config = wide(folder, "whole", memory="8GB")
    steps = []
    sli.run(config, as_of="2024-01-08", progress=lambda what, *of: steps.append(what))
    # Text, so that a NaN equals itself and no digit is lost.
    return folder, repr(results_of(config)), steps.count("rolling up")


def test_batches_keep_within_their_share_of_memory_and_change_no_bit(whole, monkeypatch):
    folder, expected, few = whole
    sizes, reports = [], []
    real = evaluation.Evaluation._batch_of_rows

    def spied(self, first, last, grain, rows, *given):
        # Lists are not among them: they are merged where they are evaluated, some rows at a time.
        sizes.append((last - first, evaluation.VALUES * len(self.slis), self.config.task_memory // evaluation.BATCH))
        return real(self, first, last, grain, rows, *given)

    monkeypatch.setattr(evaluation.Evaluation, "_batch_of_rows", spied)
    cut = wide(folder, "cut")
    monkeypatch.setattr(evaluation, "BATCH", 4000)
    sli.run(cut, as_of="2024-01-08", progress=lambda what, *of: reports.append((what, of)))
    assert len(sizes) > 3 * few
    assert all(rows == 1 or rows * of_row <= budget for rows, of_row, budget in sizes)
    steps = [of for what, of in reports if what == "rolling up"]
    assert len(steps) > 3 * few
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    assert repr(results_of(cut)) == expected


def test_a_batch_that_runs_out_of_memory_is_halved(whole, monkeypatch):
    real, most = evaluation.Evaluation._batch_of_rows, []

    def limited(self, first, last, *given):
        if last - first > 50:
            raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")
        most.append(last - first)
        return real(self, first, last, *given)

    folder, expected, _ = whole
    cut = wide(folder, "halved")
    monkeypatch.setattr(evaluation.Evaluation, "_batch_of_rows", limited)
    sli.run(cut, as_of="2024-01-08")
    assert 25 < max(most) <= 50
    assert repr(results_of(cut)) == expected
    monkeypatch.setattr(evaluation.Evaluation, "_batch_of_rows", lambda *_: limited(None, 0, 51))
    with pytest.raises(EngineError, match="memory:") as raised:
        sli.run(wide(folder, "none"), as_of="2024-01-08")
    # Which window, which slice, which SLIs, how much it needs.
    window = "2d/12h 2023-12-30T12:00Z to 2024-01-01T12:00Z"
    assert raised.value.where == f"{window}, slice {{}}, SLIs accuracy, roc_auc, mean, distinct_count, mode_share, gap"
    assert (raised.value.expected, raised.value.found) == ("`memory:` of about 128 MiB", "64 MiB")


def test_a_window_that_alone_runs_out_of_memory_is_named(whole, monkeypatch):
    folder, _, _ = whole

    def fails(*_, **__):
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    monkeypatch.setattr(evaluation.Evaluation, "_batches_of_windows", fails)
    with pytest.raises(OutOfMemory, match="memory:") as raised:
        sli.run(wide(folder, "nothing"), as_of="2024-01-08")
    assert re.match(r"\S+ \S+ to \S+, SLIs accuracy, .*gap$", raised.value.where)


def test_a_plan_says_how_much_is_written_and_how_often_functions_are_called(tmp_path):
    config = wide(tmp_path, "store")
    first = preview.expected_results(config, sli.plan(config, as_of="2024-01-08"))
    outcome = sli.run(config, as_of="2024-01-08")
    own = sys.modules["own"]
    assert first.functions == ("gap",)
    assert own.calls <= first.calls
    assert outcome.results <= first.results
    alone = wide(tmp_path, "alone", slice_by=[[]], slis=["accuracy", "roc_auc"])
    found = preview.expected_results(alone, sli.plan(alone, as_of="2024-01-08"))
    assert found.results == found.for_each_slice == sli.run(alone, as_of="2024-01-08").results
    # Once tiles are there, so are their slices: 1, 3 and 15.
    again = wide(tmp_path, "store", slis=["accuracy", "precision"])
    known = preview.expected_results(again, sli.plan(again, as_of="2024-01-08"))
    assert known.results == 19 * known.for_each_slice
    assert expected_lines(first, config.slice_sets)[0].startswith(f"about {first.windows} windows")
