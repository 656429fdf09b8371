"""Predictions with one id: near each other one counts, far apart each does, and the index forgets what is far."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import small_world
from deltalake import DeltaTable
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, published, text

import sli
from sli.command.text import plan_lines
from sli.config import model
from sli.matching.id_index import IdIndex
from sli.planning import formats
from sli.planning.plan import Plan
from sli.publishing.store import Store
from sli.reading.verify import verify

MONDAY = at("2024-01-15T00:00")
TEN = MONDAY + 10 * HOUR
WEEK = 7 * DAY


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Scenario]:
    def made(settings: dict[str, Any] | None = None, **world: Any) -> Scenario:
        return Scenario(tmp_path, small_world(**{"grains": ("hour", "day"), **world}), settings or {})

    return made


def p(id: str, time: int, score: float = 0.9) -> Prediction:
    return Prediction(id, time, score, {})


def days_that_count(s: Scenario) -> list[int]:
    """The days since Monday on which a prediction counts."""
    return sorted((start - MONDAY) // DAY for _, grain, start, *_ in published(s.config) if grain == "day")


def weeks(s: Scenario) -> set[int]:
    """The weeks whose ids the store keeps, counted from that of Monday."""
    table = DeltaTable(f"{s.config.store}/keys", version=Store(s.config.store).published().versions["keys"])
    return {int(week) - MONDAY // WEEK for week in table.to_pyarrow_table().column("week").to_pylist()}


@pytest.mark.parametrize(("keep", "counting"), [("first", [0, 75]), ("latest", [40, 75])])
@pytest.mark.parametrize("order", [(75, 20, 0, 40), (40, 0, 75, 20)])
def test_of_a_chain_one_counts_whatever_came_first(
    make: Callable[..., Scenario], keep: str, counting: list[int], order: tuple[int, ...]
) -> None:
    s = make(horizon=20 * DAY, predictions_keep=keep)
    for place, day in enumerate(order):
        s.log_predictions(f"{day}.parquet", [p("a", TEN + day * DAY, day / 100), p(f"b{day}", MONDAY + 100 * DAY)])
        s.run(MONDAY + (101 + place) * DAY)
        for held in s.published.needs.of("held"):
            s.backfill(MONDAY + (101 + place) * DAY, text(held.start), text(held.end))
        s.check(MONDAY + (101 + place) * DAY)
    assert days_that_count(s) == [*counting, 100]
    assert verify(s.config, windows=None).equal


@pytest.mark.parametrize(
    ("later", "counts"), [(30 * DAY + 59 * HOUR // 60, False), (30 * DAY + HOUR - 1, False), (30 * DAY + HOUR, True)]
)
def test_what_is_apart_is_counted_between_the_starts_of_tiles(
    make: Callable[..., Scenario], later: int, counts: bool
) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("a", TEN + later)])
    s.run(MONDAY + 40 * DAY)
    assert len(days_that_count(s)) == 1 + counts
    s.check(MONDAY + 40 * DAY)


def test_each_prediction_that_counts_has_its_own_feedback(make: Callable[..., Scenario]) -> None:
    s = make(horizon=DAY, duplicates_within=DAY)
    s.log_predictions("p.parquet", [p("a", TEN), p("a", TEN + 2 * DAY, 0.1)])
    known = (TEN - 1, TEN, TEN + HOUR, TEN + 2 * DAY - 1, TEN + 2 * DAY + HOUR, TEN + 9 * DAY)
    s.log_feedback("f.parquet", [Feedback("a", time, float(n % 2)) for n, time in enumerate(known)])
    s.run(MONDAY + 20 * DAY)
    s.check(MONDAY + 20 * DAY)
    assert s.answer(MONDAY + 20 * DAY).audit == {
        ("feedback", "superseded"): 1,
        ("feedback", "before prediction"): 1,
        ("feedback", "late"): 1,
        ("feedback", "orphan"): 1,
    }
    assert verify(s.config, windows=None).equal


def hourly(s: Scenario, day: int) -> Any:
    """A day more of both logs, and a run that amends."""
    now = MONDAY + day * DAY
    s.log_predictions(f"{day}.parquet", [p(f"{day}-{n}", now - HOUR) for n in range(3)])
    s.log_feedback(f"{day}.parquet", [Feedback(f"{day - 1}-0", now - HOUR, 1.0), Feedback("nobody", now - HOUR, 0.0)])
    return s.run(now)


@pytest.fixture
def forgetful(make: Callable[..., Scenario]) -> Scenario:
    """Ten weeks of logs, of which the index keeps the last ten days, a week more, and what else is in their weeks."""
    s = make(horizon=2 * DAY, duplicates_within=8 * DAY)
    s.log_predictions("0.parquet", [p("a", TEN), p("gone", TEN)])
    s.run(MONDAY + 1 * DAY)
    for day in (2, 22, 42, 62, 67):
        assert hourly(s, day).plan.new_rows is not None
    return s


def test_ids_too_old_to_matter_are_forgotten(forgetful: Scenario) -> None:
    assert weeks(forgetful) == {9, 10}
    forgetful.check(MONDAY + 67 * DAY)


@pytest.mark.parametrize("rewritten", [False, True])
def test_old_rows_that_come_late_find_the_ids_that_the_index_forgot(forgetful: Scenario, rewritten: bool) -> None:
    s, as_of = forgetful, MONDAY + 68 * DAY
    s.log_predictions("late.parquet", [p("a", TEN - HOUR), p("a", TEN + 4 * DAY), p("22-1", TEN + 15 * DAY)])
    s.log_feedback("late.parquet", [Feedback(id, TEN + HOUR, 1.0) for id in ("a", "gone", "nobody")])
    if rewritten:
        s.log_predictions("0.parquet", [p("a", TEN)])
    assert (s.run(as_of).plan.new_rows is None) is rewritten
    held = s.run(as_of).plan.held
    assert held
    for interval in held:
        s.backfill(as_of, text(interval.start), text(interval.end))
    s.check(as_of)
    assert hourly(s, 70).plan.new_rows is not None
    s.check(MONDAY + 70 * DAY)


def test_a_row_that_is_gone_and_forgotten_no_longer_wins(make: Callable[..., Scenario]) -> None:
    s = make(horizon=2 * DAY, duplicates_within=8 * DAY)
    s.log_predictions("0.parquet", [p("a", TEN), p("b", TEN)])
    s.log_predictions("1.parquet", [p("a", TEN + 3 * DAY), p("a", TEN + 9 * DAY)])
    s.log_feedback("0.parquet", [Feedback("b", TEN + 3 * DAY, 1.0)])
    s.run(MONDAY + 12 * DAY)
    for day in (15, 40, 70):
        hourly(s, day)
    s.remove("predictions", "0.parquet")
    as_of = MONDAY + 71 * DAY
    for interval in s.run(as_of).plan.held:
        s.backfill(as_of, text(interval.start), text(interval.end))
    s.check(as_of)
    assert 3 in days_that_count(s)


def test_a_held_hour_that_lost_to_a_row_gone_before_the_index_was_written_stays_held(
    make: Callable[..., Scenario],
) -> None:
    s, day = make(horizon=2 * HOUR), MONDAY + DAY
    s.log_predictions("0.parquet", [p("a", TEN + 4 * HOUR)])
    s.log_predictions("1.parquet", [p("a", TEN)])
    s.run(day)
    s.log_predictions("1.parquet", [p("b", TEN + DAY)])
    held = s.run(day + 5 * DAY).plan.held
    assert [interval.start for interval in held] == [TEN, TEN + 4 * HOUR]
    s.log_feedback("0.parquet", [Feedback("a", time, 1.0) for time in (TEN, day + 5 * DAY)])
    assert s.run(day + 6 * DAY).plan.held == held
    for interval in held:
        s.backfill(day + 6 * DAY, text(interval.start), text(interval.end))
    s.check(day + 6 * DAY)


def test_a_run_reads_no_ids_that_are_too_old(forgetful: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from the logs nor from weeks that a run before should have dropped."""
    looked_up: list[int] = []
    stored = IdIndex._stored

    def recorded(index: IdIndex, con: Any, spans: Any) -> str:
        looked_up.extend(span.start for span in spans)
        assert not index._outside(spans)
        return stored(index, con, spans)

    monkeypatch.setattr(IdIndex, "_stored", recorded)
    assert hourly(forgetful, 72).plan.new_rows is not None
    assert min(looked_up) >= MONDAY + (72 - 11) * DAY


def test_forever_counts_an_id_once_keeps_all_ids_and_says_its_cost(make: Callable[..., Scenario]) -> None:
    s = make(duplicates_within=-1)
    s.log_predictions("0.parquet", [p("a", TEN), p("a", TEN + 900 * DAY)])
    s.run(MONDAY + 901 * DAY)
    s.log_feedback("0.parquet", [Feedback("a", TEN + HOUR, 1.0)])

    def said(plan: Plan) -> str:
        return "\n".join(plan_lines(plan, s.config))

    plan = sli.plan(s.config, as_of=text(MONDAY + 902 * DAY))
    assert "ids are looked up among all 3 rows of both logs" in said(plan)
    assert plan.to_dict()["ids_looked_up_in_all_rows"] == 3
    for interval in s.run(MONDAY + 902 * DAY).plan.held:
        s.backfill(MONDAY + 902 * DAY, text(interval.start), text(interval.end))
    s.check(MONDAY + 902 * DAY)
    assert days_that_count(s) == [0]
    assert weeks(s) == {0, 129}
    s.world = small_world(grains=("hour", "day"))
    plan = sli.plan(s.config, as_of=text(MONDAY + 902 * DAY))
    assert "looked up among" not in said(plan)
    assert plan.from_scratch
    s.run(MONDAY + 902 * DAY)
    s.check(MONDAY + 902 * DAY)
    assert days_that_count(s) == [0, 900]


def test_a_store_from_before_this_rule_recomputes_only_where_another_prediction_counts_now(
    make: Callable[..., Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    s, as_of = make(horizon=20 * DAY), MONDAY + 50 * DAY
    s.log_predictions("0.parquet", [p("a", TEN), p("a", TEN + 45 * DAY), p("b", TEN + 46 * DAY)])
    s.log_feedback("0.parquet", [Feedback("a", TEN + 46 * DAY, 1.0), Feedback("a", TEN + 30 * DAY, 0.0)])
    with monkeypatch.context() as before:
        before.setattr(model, "DUPLICATES_WITHIN", 100 * 365 * DAY)
        before.setattr(formats, "FORMAT", 6)
        s.run(as_of)
        assert days_that_count(s) == [0, 46]
    outcome = s.run(as_of)
    assert outcome.plan.migration is not None
    assert [(i.start - MONDAY) // DAY for i in outcome.plan.to_recompute] == [45]
    assert days_that_count(s) == [0, 45, 46]
    s.check(as_of)
