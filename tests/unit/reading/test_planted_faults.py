"""`sli verify` finds a fault of each kind that is planted in our own code, or in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import MONDAY, small_world
from deltalake import DeltaTable
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario

import sli
from sli.matching import pairs
from sli.rollup.cover import Timeline
from sli.tiles import aggregate

TEN = MONDAY + 10 * HOUR
AS_OF = MONDAY + DAY + 12 * HOUR
"""Before the first window is final."""


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Two regions in four hours of two days; the decisions are right in the north alone."""
    grains, slis = ("hour", "day", "cumulative"), ("accuracy", "roc_auc")
    world = small_world(slice_by=((), ("region",)), grains=grains, slis=slis, horizon=2 * DAY)
    scenario = Scenario(tmp_path, world)
    rows = [
        (f"{region}{day}{hour}{i}", MONDAY + day * DAY + hour * HOUR + i, region, i % 2)
        for region in ("north", "south")
        for day in (0, 1)
        for hour in (10, 11)
        for i in range(4 if hour == 10 else 6)
    ]
    right = {"north": 0.8, "south": 0.3}
    scenario.log_predictions(
        "p.parquet",
        [Prediction(id, time, right[by] if label else 1 - right[by], {"region": by}) for id, time, by, label in rows],
    )
    scenario.log_feedback("f.parquet", [Feedback(id, time + 1, float(label)) for id, time, _, label in rows])
    return scenario


def differences(scenario: Scenario) -> list[str]:
    scenario.run(AS_OF)
    return sli.verify(scenario.config, windows=None).differences


def patched(function: Callable[..., str], change: Callable[[str], str]) -> Callable[..., str]:
    return lambda *given: change(function(*given))


def test_without_a_fault_nothing_differs(scenario: Scenario) -> None:
    assert differences(scenario) == []


@pytest.mark.parametrize(
    "fault",
    [
        "FROM (SELECT * REPLACE (CASE WHEN k % 2 = 0 THEN truth END AS truth) FROM matched)",
        "FROM (FROM matched UNION ALL FROM matched WHERE k % 2 = 0)",
    ],
    ids=["drops", "doubles"],
)
def test_a_join_that_drops_or_doubles_labels(scenario: Scenario, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def joined(con: Any, spec: Any) -> None:
        con.execute(f"CREATE TEMP VIEW pairs AS {pairs.pairs_sql(spec)} {fault}")

    monkeypatch.setattr("sli.matching.join.create_pairs", joined)
    assert any("labelled; found 4, 4" in difference for difference in differences(scenario))


def test_a_window_that_lies_a_tile_too_late(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    cover = Timeline.cover
    monkeypatch.setattr(
        Timeline, "cover", lambda self, starts, ends, disjoint: cover(self, starts + HOUR, ends + HOUR, disjoint)
    )
    found = differences(scenario)
    assert any("hour 2024-01-15T10:00Z" in difference and "found 8, 8" in difference for difference in found)
    assert any("hour 2024-01-15T09:00Z" in difference and "no prediction found" in difference for difference in found)


def test_a_slice_with_the_name_of_another(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = patched(aggregate.slice_value_sql, lambda sql: f"replace({sql}, 'north', 'south')")
    monkeypatch.setattr(aggregate, "slice_value_sql", renamed)
    found = differences(scenario)
    assert any("{'region': 'north'}: not published" in difference for difference in found)
    assert any("{'region': 'south'}: 8 predictions" in difference for difference in found)


def test_a_merge_that_loses_a_part(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    cover = Timeline.cover

    def lossy(*given: Any) -> Any:
        nodes = cover(*given)
        return type(nodes)(*(np.delete(column, 0) for column in nodes))

    monkeypatch.setattr(Timeline, "cover", lossy)
    assert any("cumulative" in difference and "found" in difference for difference in differences(scenario))


def test_a_stale_tile_in_the_store(scenario: Scenario) -> None:
    scenario.run(AS_OF)
    before = {path: path.read_bytes() for path in tile_files(scenario)}
    corrected = [Feedback(row.id, row.time + 1, 1 - row.value) for row in scenario.feedback["f.parquet"][:4]]
    scenario.log_feedback("g.parquet", corrected)
    assert differences(scenario) == []
    [stale] = [path for path in before if path not in tile_files(scenario)]
    [fresh] = [path for path in tile_files(scenario) if path not in before]
    fresh.write_bytes(before[stale])
    scenario.log_predictions("q.parquet", [Prediction("new", TEN + 5 * HOUR, 0.7, {"region": "north"})])
    found = differences(scenario)
    assert any("day 2024-01-15" in difference and "published" in difference for difference in found)


def tile_files(scenario: Scenario) -> list[Path]:
    """The files of the table of tiles as it is now."""
    uris = DeltaTable(str(scenario.root / "store" / "tiles")).file_uris()
    return [Path(uri.removeprefix("file://")) for uri in uris]
