"""Results are rolled up, compared and published by stretches of days: where these are cut changes no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at

from sli.engine import spill
from sli.errors import EngineError
from sli.publishing import diff
from sli.publishing.store import Store
from sli.runs import stretches

START = at("2024-01-01T00:00")
SLIS = ("accuracy", "roc_auc", {"sli": "psi"})
WORLD = small_world(horizon=30 * DAY, since=START, grains=("hour", "day", "cumulative"), slis=("accuracy",))


def story(folder: Path) -> Scenario:
    """Late labels of old hours, predictions that went, SLIs and grains that came and went, an older as_of."""
    s = Scenario(folder, WORLD, {"slis": list(SLIS), "memory": "64MB"})
    rows = [Prediction(f"id{i}", START + i * DAY // 30, (i * 7 % 10) / 10, {"region": "ab"[i % 2]}) for i in range(300)]
    for name, some in (("p.parquet", rows[:240]), ("q.parquet", rows[240:])):
        s.log_predictions(name, some)
    s.log_feedback("f.parquet", [Feedback(row.id, row.time + HOUR, float(i % 3 > 0)) for i, row in enumerate(rows)])
    s.run(START + 9 * DAY)
    s.log_feedback("g.parquet", [Feedback(rows[i].id, START + 9 * DAY + HOUR, float(i % 2)) for i in (3, 50, 51, 200)])
    s.run(START + 11 * DAY)
    s.remove("predictions", "q.parquet")
    s.settings |= {"slis": ["accuracy", "recall", SLIS[2]], "grains": ["hour", "day", {"size": "2d", "every": "1d"}]}
    s.run(START + 12 * DAY)
    s.run(START + 10 * DAY)
    s.run(START + 12 * DAY)
    return s


def tables(s: Scenario) -> dict[str, list[str]]:
    """All rows but the ids of runs and times of the clock, as text so that no digit is lost, in any order."""
    store = Store(s.config.store)
    published = store.published()
    random = ("run_id", "seconds", "plan")
    return {
        name: sorted(
            repr({column: value for column, value in row.items() if column not in random})
            for row in store.rows(name, published).to_pylist()
        )
        for name in ("results", "revisions", "days", "tiles", "audit", "runs")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The tables where every grain is one stretch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "RESULT_BYTES", 1)
        return tables(story(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize(("bytes_of_result", "together"), [(100_000, 100), (10_000_000, 0)])
def test_where_results_are_cut_changes_no_row_of_any_table(
    whole: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_of_result: int, together: int
) -> None:
    cut = []
    real = stretches._of_grain
    monkeypatch.setattr(stretches, "_of_grain", lambda *given: cut.append(list(real(*given))) or cut[-1])
    monkeypatch.setattr(stretches, "RESULT_BYTES", bytes_of_result)
    monkeypatch.setattr(diff, "TOGETHER", together)
    assert tables(story(tmp_path)) == whole
    assert max(map(len, cut)) >= (10 if bytes_of_result > 1_000_000 else 2)


def test_a_comparison_that_runs_out_of_memory_is_cut_by_days(
    whole: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, most = diff._match_rows, []

    def limited(con: Any, old: pa.Table, new: pa.Table, scope: Any) -> None:
        days = {(row["grain"], row["day"]) for rows in (old, new) for row in rows.select(["grain", "day"]).to_pylist()}
        if len(days) > 2:
            raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")
        most.append(len(days))
        real(con, old, new, scope)

    monkeypatch.setattr(diff, "_match_rows", limited)
    assert tables(story(tmp_path)) == whole
    assert max(most) == 2


def test_a_disk_that_is_full_while_results_wait_on_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill.pa.ipc, "new_stream", full)
    with pytest.raises(EngineError, match="TMPDIR"):
        story(tmp_path)
