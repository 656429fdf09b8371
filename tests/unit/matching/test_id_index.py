"""The index of ids: what is looked up in it, which files are read for it, and that stale entries do no harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at

from sli.logs import reader
from sli.matching import id_index, other_tiles, unmatched
from sli.publishing.store import Store
from sli.tiles import amend

TEN = at("2024-01-15T10:00")
WORLD = small_world(horizon=20 * DAY, grains=("hour", "day"))


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Hours with a file of predictions each; `a` of the first wins over `a` of the third. The first run is done."""
    s = Scenario(tmp_path, WORLD)
    for hour, ids in enumerate(["ab", "c", "ad", "e"]):
        rows = [Prediction(id, TEN + hour * HOUR, 0.9 - hour / 10, {}) for id in ids]
        s.log_predictions(f"{hour}.parquet", rows)
    s.log_feedback("f.parquet", [Feedback(id, TEN + 5 * HOUR, 1.0) for id in [*"ac", "nobody", "later"]])
    s.run(TEN + DAY)
    return s


def indexed(s: Scenario) -> bool:
    """Whether the store has an index of ids."""
    published = Store(s.config.store).published()
    assert published is not None
    return published.id_hash == id_index.HASH


def amended(s: Scenario) -> Scenario:
    """The scenario after a run that looked ids up, so that the store has an index."""
    s.log_feedback("g.parquet", [Feedback("b", TEN + 6 * HOUR, 0.0)])
    assert s.run(TEN + DAY).plan.new_rows is not None
    return s


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The names of the files that each query of an index reads."""
    queries: list[set[str]] = []
    rows_sql = reader.rows_sql

    def recorded(con: Any, files: Any, *rest: Any) -> str:
        files = list(files)
        queries.append({Path(file.path).name for file in files})
        return rows_sql(con, files, *rest)

    for module in (reader, id_index):
        monkeypatch.setattr(module, "rows_sql", recorded)
    return queries


def test_the_index_is_written_when_ids_are_first_looked_up_after_a_run_from_scratch(scenario: Scenario) -> None:
    assert not indexed(scenario)
    scenario.log_predictions("1.parquet", [Prediction("c", TEN + HOUR, 0.1, {})])
    assert scenario.run(TEN + DAY).plan.new_rows is None
    assert indexed(scenario)
    scenario.check(TEN + DAY)


def test_a_recompute_reads_only_files_that_hold_the_ids_near_its_changes(
    scenario: Scenario, files_read: list[set[str]]
) -> None:
    amended(scenario)
    files_read.clear()
    scenario.log_predictions("3.parquet", [Prediction(id, TEN + 3 * HOUR, 0.2, {}) for id in "ec"])
    plan = scenario.run(TEN + DAY).plan
    assert plan.new_rows is None
    assert set().union(*files_read) == {"1.parquet", "3.parquet"}
    scenario.check(TEN + DAY)


def test_a_corrected_file_recomputes_no_hours_but_its_own_and_those_whose_winners_change(scenario: Scenario) -> None:
    amended(scenario)
    scenario.log_predictions("3.parquet", [Prediction("e", TEN + 3 * HOUR, 0.2, {})])
    assert [(i.start - TEN) // HOUR for i in scenario.run(TEN + DAY).plan.to_recompute] == [3]
    scenario.log_predictions("3.parquet", [Prediction("a", TEN - HOUR, 0.2, {})])
    stretches = [((i.start - TEN) // HOUR, (i.end - TEN) // HOUR) for i in scenario.run(TEN + DAY).plan.to_recompute]
    assert stretches == [(-1, 1), (2, 4)]  # hours 0 and 2 have the other rows of `a`, which lose now
    scenario.check(TEN + DAY)


@pytest.mark.parametrize("prepared", [amended, lambda s: s], ids=["with an index", "without one"])
def test_what_lost_to_a_row_that_is_gone_counts_again(
    scenario: Scenario, prepared: Callable[[Scenario], Scenario]
) -> None:
    s = prepared(scenario)
    s.remove("predictions", "0.parquet")
    s.run(TEN + DAY)
    s.check(TEN + DAY)
    s.log_predictions("0.parquet", [Prediction("d", TEN, 0.9, {})])
    s.run(TEN + DAY)
    s.check(TEN + DAY)


def test_earlier_unmatched_feedback_is_asked_again_only_near_changed_predictions(
    scenario: Scenario, files_read: list[set[str]]
) -> None:
    s = amended(scenario)
    # So late a prediction that its feedback is known long before it, in an hour that is not recomputed.
    s.log_predictions("late.parquet", [Prediction("later", TEN + 40 * DAY, 0.9, {})])
    s.remove("predictions", "1.parquet")
    files_read.clear()
    assert s.run(TEN + 41 * DAY).plan.new_rows is None
    assert "0.parquet" not in set().union(*files_read)
    s.check_audit(TEN + 41 * DAY)


def test_ids_that_share_a_hash_never_change_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (id_index, other_tiles, unmatched, amend):
        monkeypatch.setattr(module, "ID_HASH", "(length(id) + 1)::BIGINT")
    s = Scenario(tmp_path, replace(WORLD, horizon=2 * HOUR), {"memory": "1KB"})
    for hour, ids in enumerate(["ab", "c", "ad", "e"]):
        s.log_predictions(f"{hour}.parquet", [Prediction(id, TEN + hour * HOUR, 0.9, {}) for id in ids])
    s.log_feedback("f.parquet", [Feedback(id, TEN + 4 * HOUR, 1.0) for id in "abcdx"])
    s.run(TEN + DAY)
    s.check(TEN + DAY)
    s.settings = {}
    s.log_feedback("g.parquet", [Feedback(id, TEN + DAY, 0.0) for id in "ey"])
    s.log_predictions("4.parquet", [Prediction(id, TEN + DAY, 0.1, {}) for id in "eay"])
    assert s.run(TEN + DAY + HOUR).plan.new_rows is not None
    s.log_predictions("5.parquet", [Prediction(id, TEN + DAY + HOUR, 0.1, {}) for id in "xyz"])
    s.log_predictions("4.parquet", [Prediction(id, TEN + DAY, 0.2, {}) for id in "eay"])
    assert s.run(TEN + DAY + 2 * HOUR).plan.new_rows is None
    s.check(TEN + DAY + 2 * HOUR)
