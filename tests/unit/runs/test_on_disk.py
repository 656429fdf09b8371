"""How hour tiles lie in their files, and which of them a run reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at

from sli.planning import costs
from sli.publishing.tile_rows import StoredRows
from sli.runs import built
from sli.runs.built import by_slice_sets

ROWS = [
    ("2024-01-02", "", 0),
    ("2024-01-01", "", 1),
    ("2024-01-01", "region", 2),
    ("2024-01-01", "", 3),
    ("2024-01-02", "region", 4),
    ("2024-01-01", "region", 5),
]


def groups() -> list[list[int]]:
    day, slice_by, number = zip(*ROWS, strict=True)
    tiles = pa.table({"day": day, "slice_by": slice_by, "number": number})
    return [rows.column("number").to_pylist() for rows in by_slice_sets(tiles)]


def test_rows_of_a_day_and_a_slice_set_are_written_together_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "GROUP_BYTES", 0)
    assert groups() == [[0], [4], [1, 3], [2, 5]]


def test_small_slice_sets_share_a_group_but_days_never_do() -> None:
    assert groups() == [[0, 4], [1, 3, 2, 5]]


def test_no_tiles_are_no_group() -> None:
    nothing = pa.table({"day": pa.array([], pa.string()), "slice_by": pa.array([], pa.string())})
    assert list(by_slice_sets(nothing)) == []


def test_a_run_that_recomputes_hours_reads_the_stored_tiles_of_days_near_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = at("2024-01-01T00:00")
    world = small_world(since=start, horizon=2 * DAY, duplicates_within=2 * DAY, slis=("accuracy",))
    scenario, read = Scenario(tmp_path, world), set[object]()

    def log(day: int, name: str) -> None:
        made = start + day * DAY + 12 * HOUR
        scenario.log_predictions(f"{day}{name}.parquet", [Prediction(f"{day}{name}", made, 0.7, {})])
        scenario.log_feedback(f"{day}{name}.parquet", [Feedback(f"{day}{name}", made + HOUR, 1.0)])

    for day in range(20):
        log(day, "a")
    scenario.run(start + 20 * DAY)
    log(19, "b")
    rows_of = StoredRows.rows

    def noted(self: StoredRows, *given: Any, **named: Any) -> pa.Table:
        rows = rows_of(self, *given, **named)
        if self.name == "tiles":
            read.update(rows.column("day").to_pylist())
        return rows

    monkeypatch.setattr(costs, "AMENDING", 1e9)
    monkeypatch.setattr(StoredRows, "rows", noted)
    outcome = scenario.run(start + 20 * DAY + HOUR)
    assert outcome.plan.task_sets
    assert {"2024-01-20"} <= read <= {f"2024-01-{day}" for day in range(16, 22)}
    monkeypatch.undo()
    scenario.check(start + 20 * DAY + HOUR)
