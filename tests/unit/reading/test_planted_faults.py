"""`sli verify` finds a fault of each kind that is planted in our own code, or in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from builders import MONDAY, small_world
from deltalake import DeltaTable, write_deltalake
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


def test_windows_that_wait_for_the_states_of_an_sli_are_not_missing(scenario: Scenario) -> None:
    scenario.run(AS_OF)
    scenario.world = replace(scenario.world, slis=("accuracy", "brier"))
    lacking = scenario.run(AS_OF, look_back="1h").plan.lacking
    assert lacking["brier"]
    found = sli.verify(scenario.config, windows=None)
    assert found.differences == []
    assert found.rows == len(sli.read(scenario.config))


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
    monkeypatch.setattr(Timeline, "cover", lambda self, starts, ends: cover(self, starts + HOUR, ends + HOUR))
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
        return type(nodes)(*(column[:-1] for column in nodes))

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


@pytest.mark.parametrize("grain", ["hour", "day", "cumulative"])
def test_a_window_all_of_whose_rows_are_gone(scenario: Scenario, grain: str) -> None:
    scenario.run(AS_OF)
    ends = sli.read(scenario.config, grain=grain).window_end
    results(scenario).delete(f"grain = '{grain}' AND window_end = '{ends.max().isoformat()}'")
    found = sli.verify(scenario.config, windows=None)
    assert len(found.differences) == 2 * 3
    assert all(f"{grain} 2024-01-" in line and ": not published, " in line for line in found.differences)
    assert found.windows == found.windows_total == 4 + 2 + 2


def test_a_row_that_is_there_twice(scenario: Scenario) -> None:
    scenario.run(AS_OF)
    table = results(scenario)
    rows = table.to_pyarrow_table()
    chosen = rows.filter((pc.field("sli") == "accuracy") & (pc.field("grain") == "day")).slice(0, 1)
    write_deltalake(table, chosen, mode="append")
    [found] = sli.verify(scenario.config, windows=None).differences
    assert found.startswith("accuracy, day 2024-01-1")
    assert found.endswith(": published 2 times")


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("predictions", "predictions + 1", "21 predictions, 20 labelled; found 20, 20"),
        ("labelled", "labelled - 1", "20 predictions, 19 labelled; found 20, 20"),
        ("coverage", "0.5", "coverage 0.5 published, 1.0 recomputed"),
        ("maturity", "'final'", "final published, provisional found"),
        ("ci_low", "0.25", "ci_low 0.25 published, 0."),
        ("ci_high", "NULL", "ci_high nan published, 0."),
    ],
)
def test_a_wrong_count_coverage_maturity_or_interval(scenario: Scenario, column: str, value: str, text: str) -> None:
    scenario.run(AS_OF)
    where = "sli = 'accuracy' AND grain = 'day' AND cardinality(slice_by) = 0"
    results(scenario).update(updates={column: value}, predicate=where)
    found = sli.verify(scenario.config, windows=None).differences
    assert [line.partition(": ")[2][: len(text)] for line in found] == [text, text]


def results(scenario: Scenario) -> DeltaTable:
    return DeltaTable(str(scenario.root / "store" / "results"))


def tile_files(scenario: Scenario) -> list[Path]:
    """The files of the table of tiles as it is now."""
    uris = DeltaTable(str(scenario.root / "store" / "tiles")).file_uris()
    return [Path(uri.removeprefix("file://")) for uri in uris]
