"""Memory follows the work: little is amended within little, and what does not fit is cut until it does."""

from dataclasses import replace

import duckdb
import numpy as np
import pytest
from oracle import Feedback, Prediction, World
from scenario import DAY, HOUR, Scenario, at, published

from sli import hours
from sli.errors import EngineError, OutOfMemory

START = at("2024-01-01T00:00")
AS_OF = START + 12 * DAY
WORLD = World(
    task="binary",
    horizon=30 * DAY,
    since=START,
    zone="UTC",
    slice_by=((),),
    grains=("hour", "day"),
    slis=("accuracy", "roc_auc"),
)


def told(folder, memory="256MB", **changes):
    """A thousand predictions over ten days, in one file; the first run is done."""
    random = np.random.default_rng(0)
    s = Scenario(folder, replace(WORLD, **changes), {"memory": memory})
    rows = [Prediction(f"id{i}", START + i * DAY // 100, round(random.random(), 2), {}) for i in range(1000)]
    s.log_predictions("p.parquet", rows)
    s.log_feedback("f.parquet", [Feedback(row.id, row.time + HOUR, float(i % 3 > 0)) for i, row in enumerate(rows)])
    s.run(AS_OF)
    return s


def corrected(s):
    """New rows: labels corrected, some of them twice, all over the ten days."""
    first = s.feedback["f.parquet"][::2]
    rows = [Feedback(row.id, AS_OF + HOUR, 1 - row.value) for row in first]
    s.log_feedback("g.parquet", rows + [Feedback(row.id, row.time + 1, row.value) for row in rows[::2]])
    return AS_OF + DAY


@pytest.mark.parametrize("memory", ["64MB", "256MB"])
def test_a_thousand_corrections_and_doubles_amend_within_little_memory(tmp_path, memory):
    s = told(tmp_path, memory)
    outcome = s.run(corrected(s))
    assert outcome.plan.news is not None
    s.check(AS_OF + DAY)


def same_from_nothing(s, folder, as_of):
    afresh = Scenario(s.root, s.world, {"store": str(folder / "afresh")})
    afresh.run(as_of)
    assert published(s.config) == published(afresh.config)


@pytest.mark.parametrize("step", ["shares", "exchanged"])
def test_amending_that_runs_out_of_memory_becomes_recomputing(tmp_path, monkeypatch, caplog, step):
    def fails(*_):
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    s = told(tmp_path)
    as_of = corrected(s)
    monkeypatch.setattr(hours, step, fails)
    outcome = s.run(as_of)
    assert outcome.plan.news is None
    assert outcome.plan.jobs
    assert "recomputed" in caplog.text
    same_from_nothing(s, tmp_path, as_of)


def limited(monkeypatch, most):
    """Tasks that make tiles of more time than that run out of memory; gives the lengths of those that did not."""
    real, done = hours.task, []

    def task(chunk, *given):
        length = sum(each.end - each.start for each in chunk.pairs)
        if length > most:
            raise OutOfMemory("a task ran out of memory", todo="raise `memory:` in the config")
        done.append(length)
        return real(chunk, *given)

    monkeypatch.setattr(hours, "task", task)
    return done


@pytest.mark.parametrize(("days", "tasks"), [(6, 2), (1.3, 8)])
def test_tasks_that_run_out_of_memory_are_halved_until_they_do_not(tmp_path, monkeypatch, days, tasks):
    """One group of rows of ten days, which nothing else would cut, also where the parts end within days."""
    done = limited(monkeypatch, days * DAY)
    s = told(tmp_path)
    assert len(done) == tasks
    monkeypatch.undo()
    same_from_nothing(s, tmp_path, AS_OF)
    s.check(AS_OF)


def test_tasks_that_run_out_of_memory_however_small_name_the_key_to_raise(tmp_path, monkeypatch):
    done = limited(monkeypatch, HOUR)
    with pytest.raises(EngineError, match="memory:"):
        told(tmp_path)
    assert not done
