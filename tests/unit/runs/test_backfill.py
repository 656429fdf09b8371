"""Backfills: chunk by chunk, continued after an interruption, one SLI alone, beside scheduled runs; and look-backs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import Template, small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, text

import sli
from sli.errors import ConfigError, StoreError
from sli.publishing.store import Store

MONDAY = at("2024-01-15T00:00")
DAYS = 6
WORLD = small_world(
    zone="America/New_York",
    slice_by=((), ("site",)),
    grains=("hour", "day", "cumulative", ("sliding", "2d/1d", ("d", 2), ("d", 1))),
    slis=("accuracy", "log_loss"),
)
AS_OF = MONDAY + 20 * DAY
"""Every hour is final."""
WHOLE = {"start": "2024-01-15", "end": "2024-01-22"}


class Stop(BaseException):
    """The end of a process."""


def site(hour: int) -> dict[str, str | None]:
    return {"site": "ab"[hour % 2]}


def logged(folder: Path) -> Scenario:
    """Six days of four predictions each, a file a day; feedback for every second one."""
    made = Scenario(folder, WORLD)
    for day in range(DAYS):
        hours = [6, 11, 12, 20]
        rows = [Prediction(f"{day}-{h}", MONDAY + day * DAY + h * HOUR, h / 24, site(h)) for h in hours]
        made.log_predictions(f"{day}.parquet", rows)
        made.log_feedback(f"{day}.parquet", [Feedback(r.id, r.time + HOUR, 1.0) for r in rows[::2]])
    return made


def late(scenario: Scenario) -> None:
    """Feedback, known in time and logged late, for all that had none."""
    for day in range(DAYS):
        rows = [r for r in scenario.predictions[f"{day}.parquet"][1::2] if r.time is not None]
        scenario.log_feedback(f"late-{day}.parquet", [Feedback(r.id, (r.time or 0) + HOUR, 0.0) for r in rows])


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return logged(tmp_path)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """Published as of AS_OF; and the same when late feedback came, which a run holds."""
    made = {name: logged(tmp_path_factory.mktemp(name) / "world") for name in ("published", "holding")}
    for scenario in made.values():
        scenario.run(AS_OF)
    late(made["holding"])
    assert made["holding"].run(AS_OF).plan.held
    return {name: Template(scenario) for name, scenario in made.items()}


@pytest.fixture
def published(templates: dict[str, Template]) -> Scenario:
    return templates["published"].restored()


@pytest.fixture
def holding(templates: dict[str, Template]) -> Scenario:
    return templates["holding"].restored()


def stopping(after: int) -> Callable[..., None]:
    def done(number: int, *_: Any) -> None:
        if number == after:
            raise Stop

    return done


def rows(scenario: Scenario, *, without: tuple[str, ...] = ()) -> pd.DataFrame:
    frame = sli.read(scenario.config)
    return frame[~frame.sli.isin(without)].drop(columns=["run_id", "as_of"]).reset_index(drop=True)


def test_a_backfill_applies_what_was_held_and_says_what_changed(scenario: Scenario) -> None:
    scenario.run(AS_OF)
    before = sli.read(scenario.config)
    late(scenario)
    assert scenario.run(AS_OF).plan.held
    outcome = sli.backfill(scenario.config, **WHOLE, chunk="2d", as_of=text(AS_OF))
    scenario.check(AS_OF)
    assert not outcome.runs[-1].plan.held
    assert len(outcome.runs) == 3 + 1
    after = sli.read(scenario.config)
    key = ["sli", "grain", "window_start", "window_end"]
    whole = [frame[frame.slice_by == ()].set_index(key).value for frame in (before, after)]
    mine = outcome.changes[outcome.changes.slice_by == ()].set_index(key)
    pd.testing.assert_series_equal(mine.old_value.sort_index(), whole[0][mine.index].sort_index(), check_names=False)
    pd.testing.assert_series_equal(mine.value.sort_index(), whole[1][mine.index].sort_index(), check_names=False)
    assert set(outcome.changes.cause) == {"late feedback"}
    assert len(outcome.changes) == len(outcome.changes[[*key, "slice"]].astype(str).drop_duplicates())
    kept = sli.read(scenario.config, table="backfills")
    pd.testing.assert_frame_equal(kept, outcome.changes)
    # A window longer than a chunk changed more than once on the way and is told once.
    revised = sli.read(scenario.config, table="revisions")
    assert (revised.backfill == outcome.backfill.id).sum() > len(kept)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_backfill_that_was_interrupted_continues_where_it_stopped(holding: Scenario, stop: int) -> None:
    with pytest.raises(Stop):
        sli.backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF), done=stopping(stop))
    [unfinished] = Store(holding.config.store).published().backfills  # type: ignore[union-attr]
    planned = sli.plan_backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF))
    assert (planned.resumed, planned.backfill, len(planned.parts)) == (True, unfinished, 4 - stop)
    outcome = sli.backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF))
    assert (outcome.resumed, len(outcome.runs), outcome.backfill.id) == (True, 4 - stop, unfinished.id)
    assert Store(holding.config.store).published().backfills == ()  # type: ignore[union-attr]
    holding.check(AS_OF)
    # It tells all of it, not only what the second call did.
    assert set(outcome.changes[outcome.changes.grain == "day"].window_start.dt.day) == set(range(15, 15 + DAYS))


def test_an_interrupted_backfill_continues_beside_runs_and_other_backfills(holding: Scenario) -> None:
    with pytest.raises(Stop):
        sli.backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF), done=stopping(1))
    holding.log_predictions("new.parquet", [Prediction("new", AS_OF + HOUR // 2, 0.3, site(0))])
    holding.run(AS_OF + HOUR)
    holding.backfill(AS_OF + HOUR, "2024-01-18", "2024-01-19")
    assert len(Store(holding.config.store).published().backfills) == 1  # type: ignore[union-attr]
    outcome = sli.backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF + HOUR))
    assert outcome.resumed
    holding.check(AS_OF + HOUR)


def test_hourly_runs_between_the_chunks_of_a_backfill_leave_both_right(holding: Scenario) -> None:
    hours = []

    def hourly(number: int, *_: Any) -> None:
        at_ = AS_OF + number * HOUR
        holding.log_predictions(f"new-{number}.parquet", [Prediction(f"n{number}", at_ - 1, 0.9, site(number))])
        hours.append(holding.run(at_, look_back="1d").published)

    outcome = sli.backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF), done=hourly)
    assert hours == [True] * 4
    assert len(outcome.runs) == 4
    # No chunk replaced a newer belief, nor was any lost for being older.
    assert [each.plan.as_of for each in outcome.runs] == [AS_OF + n * HOUR for n in range(4)]
    holding.run(AS_OF + 4 * HOUR)
    holding.check(AS_OF + 4 * HOUR)


def test_a_second_backfill_of_the_same_interval_recomputes_and_publishes_nothing(published: Scenario) -> None:
    first = sli.backfill(published.config, **WHOLE, as_of=text(AS_OF))
    assert [(each.published, each.plan.tiles > 0) for each in first.runs] == [(False, True)]
    assert first.changes.empty


def test_a_new_sli_is_backfilled_alone(published: Scenario) -> None:
    before, known = rows(published), set(published.config.states)
    published.world = replace(WORLD, slis=(*WORLD.slis, "roc_auc"))
    planned = sli.plan_backfill(published.config, **WHOLE, sli="roc_auc", chunk="2d", as_of=text(AS_OF))
    assert set(planned.windows.slis) == {("roc_auc",)}
    assert set(planned.windows.reason) == {"new definition"}
    outcome = sli.backfill(published.config, **WHOLE, sli="roc_auc", chunk="2d", as_of=text(AS_OF))
    # What it shares with the others is there already.
    states = set(published.config.states) - known
    for each in outcome.runs:
        assert [set(job.states) for job in each.plan.task_sets] == [states]
        assert not each.plan.to_recompute
    pd.testing.assert_frame_equal(rows(published, without=("roc_auc",)), before)
    assert set(outcome.changes.sli) == {"roc_auc"}
    assert set(outcome.changes.cause) == {"new definition"}
    published.check(AS_OF)
    windows = outcome.changes[["grain", "window_start", "window_end"]].drop_duplicates()
    promised = planned.windows[["grain", "window_start", "window_end"]]
    merged = windows.merge(promised, how="left", indicator=True)
    assert (merged._merge == "both").all()
    assert not published.run(AS_OF).published


def test_a_new_sli_backfilled_in_part_waits_where_it_lacks_hours(published: Scenario) -> None:
    published.world = replace(WORLD, slis=(*WORLD.slis, "brier"))
    part = {"start": "2024-01-17", "end": "2024-01-19"}
    outcome = sli.backfill(published.config, **part, sli=["brier"], as_of=text(AS_OF))
    found = sli.read(published.config, sli="brier", slice={})
    assert sorted(set(found[found.grain == "day"].window_start.dt.strftime("%d"))) == ["17", "18"]
    assert set(found.grain) == {"hour", "day", "2d/1d"}  # the whole since deployment would hold hours without it
    assert list(outcome.runs[0].plan.lacking) == ["brier"]
    again = sli.backfill(published.config, **part, sli=["brier"], as_of=text(AS_OF))
    assert again.runs == ()
    filled = published.run(AS_OF)
    assert not filled.plan.to_recompute
    assert list(filled.plan.to_fill) == ["brier"]
    published.check(AS_OF)


def test_an_interrupted_backfill_of_a_new_sli_continues(published: Scenario) -> None:
    published.world = replace(WORLD, slis=(*WORLD.slis, "brier"))
    with pytest.raises(Stop):
        sli.backfill(published.config, **WHOLE, sli="brier", chunk="2d", as_of=text(AS_OF), done=stopping(2))
    outcome = sli.backfill(published.config, **WHOLE, sli="brier", chunk="2d", as_of=text(AS_OF))
    assert (outcome.resumed, len(outcome.runs)) == (True, 1)
    published.check(AS_OF)


def test_an_sli_that_lacks_nothing_is_not_backfilled(published: Scenario) -> None:
    planned = sli.plan_backfill(published.config, **WHOLE, sli="accuracy", as_of=text(AS_OF))
    assert planned.parts == ()
    assert sli.backfill(published.config, **WHOLE, sli="accuracy", as_of=text(AS_OF)).runs == ()


def test_a_look_back_leaves_older_hours_for_a_run_without(scenario: Scenario) -> None:
    scenario.world = replace(WORLD, horizon=30 * DAY)
    scenario.run(AS_OF)
    late(scenario)
    hourly = scenario.run(AS_OF, look_back="1d")
    newest = Store(scenario.config.store).published().newest  # type: ignore[union-attr]
    assert {each.start >= newest - DAY for each in hourly.plan.to_recompute} == {True}
    found = sli.read(scenario.config, grain="hour", sli="accuracy", slice={})
    recent = found.window_start > pd.Timestamp(newest - DAY - HOUR, unit="us", tz="UTC")
    assert set(found[recent].coverage) == {1.0}
    assert set(found[~recent].coverage) == {0.0, 1.0}
    assert not scenario.run(AS_OF, look_back="1d").published
    scenario.run(AS_OF)
    scenario.check(AS_OF)


def test_hours_never_published_are_caught_up_however_long_the_outage(scenario: Scenario) -> None:
    scenario.run(MONDAY + 7 * DAY)
    for day in range(10, 15):
        scenario.log_predictions(f"{day}.parquet", [Prediction(f"{day}", MONDAY + day * DAY, 0.9, site(day))])
    scenario.run(AS_OF, look_back="1h")
    found = sli.read(scenario.config, grain="hour", sli="accuracy", slice={})
    assert (found.window_start >= pd.Timestamp("2024-01-25", tz="UTC")).sum() == 5
    scenario.check(AS_OF)


def test_the_first_run_does_everything_whatever_its_look_back(scenario: Scenario) -> None:
    scenario.run(AS_OF, look_back="1h")
    scenario.check(AS_OF)


@pytest.mark.parametrize("limited", ["look-back", "backfill"])
def test_final_hours_that_a_limited_run_left_out_are_held_and_not_changed_by_the_next(
    published: Scenario, limited: str
) -> None:
    before = rows(published)
    late(published)
    if limited == "look-back":
        published.run(AS_OF, look_back="0h")
    else:
        published.backfill(AS_OF, "2024-01-25", "2024-01-26")
    pd.testing.assert_frame_equal(rows(published), before)
    outcome = published.run(AS_OF)
    assert outcome.plan.held
    pd.testing.assert_frame_equal(rows(published), before)


def test_new_slices_enter_with_a_run_that_reaches_every_hour(scenario: Scenario) -> None:
    scenario.world = replace(WORLD, slice_by=((),))
    for name, logged in list(scenario.predictions.items()):
        scenario.log_predictions(name, logged)
    scenario.run(AS_OF)
    scenario.world = WORLD
    for name, logged in list(scenario.predictions.items()):
        scenario.log_predictions(name, logged)
    scenario.backfill(AS_OF, "2024-01-15", "2024-01-17")
    assert set(sli.read(scenario.config).slice_by) == {()}
    scenario.run(AS_OF)
    for held in scenario.run(AS_OF).plan.held:
        scenario.backfill(AS_OF, text(held.start), text(held.end))
    scenario.check(AS_OF)


def test_a_backfill_needs_both_ends(scenario: Scenario) -> None:
    with pytest.raises(ConfigError, match="both a start and an end"):
        sli.backfill(scenario.config, start="2024-01-15", end=None)


@pytest.mark.soak
def test_a_backfill_of_an_sli_that_changed_or_went_meanwhile_does_not_skip_hours_or_linger(published: Scenario) -> None:
    first = {"name": "extra", "states": {"n": "count(*)"}, "value": "n / labelled"}
    published.settings = {"slis": ["accuracy", "log_loss", first]}
    with pytest.raises(Stop):
        sli.backfill(published.config, **WHOLE, sli="extra", chunk="2d", as_of=text(AS_OF), done=stopping(2))
    published.settings = {"slis": ["accuracy", "log_loss", {**first, "states": {"n": "sum(2)"}}]}
    outcome = sli.backfill(published.config, **WHOLE, sli="extra", chunk="2d", as_of=text(AS_OF))
    assert outcome.resumed
    found = sli.read(published.config, sli="extra", grain="day", slice={})
    assert set(found.window_start.dt.day) >= {16, 17, 18, 19, 20}
    with pytest.raises(Stop):
        sli.backfill(published.config, **WHOLE, chunk="2d", as_of=text(AS_OF), done=stopping(1))
    published.settings = {"slis": ["accuracy", "log_loss", {**first, "states": {"n": "sum(3)"}}]}
    with pytest.raises(Stop):
        sli.backfill(published.config, **WHOLE, sli="extra", chunk="2d", as_of=text(AS_OF), done=stopping(1))
    published.settings = {}
    published.run(AS_OF)
    [left] = Store(published.config.store).published().backfills  # type: ignore[union-attr]
    assert left.slis == ()


@pytest.mark.soak
def test_a_backfill_that_another_process_finishes_meanwhile_stays_finished(holding: Scenario) -> None:

    def other(number: int, *_: Any) -> None:
        if number == 1:
            sli.backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF))

    sli.backfill(holding.config, **WHOLE, chunk="2d", as_of=text(AS_OF), done=other)
    assert Store(holding.config.store).published().backfills == ()  # type: ignore[union-attr]
    holding.check(AS_OF)


def test_what_a_backfill_changed_is_read_when_asked_for_so_that_failing_to_tell_does_not_do_it_again(
    holding: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:

    def away(*_: Any) -> None:
        raise StoreError("the store cannot be read", passes=True)

    with monkeypatch.context() as patch:
        patch.setattr("sli.publishing.history.backfill_changes", away)
        patch.setattr("sli.runs.backfill.backfill_changes", away)
        outcome = sli.backfill(holding.config, **WHOLE, as_of=text(AS_OF))
        with pytest.raises(StoreError):
            _ = outcome.changes
    assert len(outcome.changes) > 0
