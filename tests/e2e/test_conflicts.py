"""Rows of one id that say different things: a run that loses many of them says so and ends with exit code 3."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from desk import TEN, ZONED, Desk

import sli


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk.made(tmp_path, capsys)


def times(n: int, days: int = 0, hours: int = 0) -> Any:
    return pa.array([TEN + timedelta(days=days, hours=hours, milliseconds=i) for i in range(n)], ZONED)


def scored(desk: Desk, name: str, prefix: str, n: int, score: float, days: int = 0) -> None:
    desk.predictions(f"{name}.parquet", prefix, n, score=[score] * n, predicted_at=times(n, days))


def test_champion_and_challenger_with_the_same_ids_are_a_warning_with_share_samples_and_remedy(desk: Desk) -> None:
    scored(desk, "a", "p", 200, 0.9)
    scored(desk, "challenger", "p", 200, 0.1)
    said = desk.run()
    assert said.code == 3
    [line] = [line for line in said.err.splitlines() if "in conflict" in line]
    assert "predictions, 200 of 400 rows (50.0%) of 2024-01-15 share an id" in line
    assert "for example p0, p1, p10; log each model to a folder of its own, with a config of its own" in line
    assert desk.counts() == (200, 6)
    assert desk.audit() == {("predictions", "duplicate"): 200, ("predictions", "conflict"): 200}
    again = desk.run()
    assert (again.code, again.err) == (0, "")


def test_json_has_the_conflicts_as_numbers(desk: Desk) -> None:
    scored(desk, "challenger", "p", 3, 0.99)
    said = desk.run("--json")
    assert said.code == 3
    [found] = json.loads(said.out)["conflicts"]
    assert found == {
        "log": "predictions",
        "days": ["2024-01-15"],
        "rows": 9,
        "conflicts": 3,
        "samples": ["p0", "p1", "p2"],
        "share": 3 / 9,
    }


@pytest.mark.parametrize(
    ("conflicts", "limit", "code"),
    [(2, {}, 0), (3, {}, 3), (3, {"max_conflicts": 0.02}, 0), (1, {"max_conflicts": 0}, 3)],
)
def test_the_share_that_is_allowed_is_one_in_a_hundred_or_what_the_config_says(
    desk: Desk, conflicts: int, limit: dict[str, Any], code: int
) -> None:
    desk.configure(**limit)
    scored(desk, "a", "p", 200, 0.9)
    scored(desk, "b", "p", conflicts, 0.1)
    assert desk.run().code == code


def test_rows_logged_twice_with_the_same_value_are_no_conflict(desk: Desk) -> None:
    scored(desk, "a", "p", 50, 0.9)
    scored(desk, "b", "p", 50, 0.9)
    assert desk.run().code == 0
    assert desk.audit() == {("predictions", "duplicate"): 50}


def test_one_bad_day_among_many_good_ones_is_told_and_told_once(desk: Desk) -> None:
    desk.configure(horizon="60d")
    for day in range(10):
        scored(desk, f"{day}", f"d{day}-", 300, 0.9, day)
    assert desk.run().code == 0
    scored(desk, "challenger", "d4-", 20, 0.1, 4)
    said = desk.run()
    assert said.code == 3
    assert said.has("20 of 320 rows (6.2%) of 2024-01-19 share an id", "for example d4-0")
    scored(desk, "later", "d11-", 300, 0.9, 11)
    assert desk.run("--as-of", "2024-02-02").code == 0


def test_feedback_at_the_same_time_with_another_value_is_a_conflict_and_a_correction_is_none(desk: Desk) -> None:
    desk.feedback("corrected.parquet", label=[1] * 6, known_at=times(6, hours=2))
    assert desk.run().code == 0
    desk.feedback("twice.parquet", label=[0] * 6, known_at=times(6, hours=2))
    said = desk.run()
    assert said.code == 3
    assert said.has(
        "in conflict: feedback, 6 of 18 rows (33.3%) of 2024-01-15", "for example p0", "one value for each id"
    )
    assert sli.read(desk.config).value.tolist() == [3 / 6]


def test_a_backfill_that_finds_conflicts_ends_with_the_warning(desk: Desk) -> None:
    assert desk.run().code == 0
    scored(desk, "challenger", "p", 6, 0.99)
    said = desk.backfill("2024-01-15", "2024-01-16")
    assert said.code == 3
    assert said.has("6 of 12 rows (50.0%)")
