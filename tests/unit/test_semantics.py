"""The promises of DESIGN.md section 3, one by one, each against numbers worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import small_world
from deltalake import DeltaTable
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, UTC_TIME, Scenario, at, text

import sli
from sli import schemas
from sli.errors import OutOfMemory, StoreError
from sli.planning.needs import RECOMPUTE
from sli.publishing.store import Store

MONDAY = at("2024-01-15T00:00")
TEN = MONDAY + 10 * HOUR
MINUTE = HOUR // 60
WORLD = small_world()
LATER = MONDAY + 10 * DAY
"""An as_of at which every window of January 15th is final."""
Make = Callable[..., Scenario]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(settings: Mapping[str, Any] | None = None, name: str = "a", **changes: Any) -> Scenario:
        return Scenario(tmp_path / name, replace(WORLD, **changes), settings or {})

    return made


def p(id: str, time: int, score: float | None = 0.9, **slices: str | None) -> Prediction:
    return Prediction(id, time, score, slices)


def f(id: str, time: int, label: float | None = 1.0) -> Feedback:
    return Feedback(id, time, label)


def results(scenario: Scenario, grain: str = "hour", sli_name: str | None = None, **given: Any) -> Any:
    return sli.read(scenario.config, grain=grain, sli=sli_name, **given)


def windows(frame: Any) -> list[tuple[str, str, int]]:
    """Start, end and predictions of each row."""
    form = "%m-%dT%H:%M"
    return [(r.window_start.strftime(form), r.window_end.strftime(form), r.predictions) for r in frame.itertuples()]


def values(frame: Any) -> list[float | None]:
    return [None if math.isnan(each) else each for each in frame.value]


def audit(scenario: Scenario) -> dict[tuple[str, str], int]:
    """What the newest run set aside or passed over, by log and check."""
    rows = newest_audit(scenario)
    return {key: int(n) for key, n in rows.groupby(["log", "check"])["count"].sum().items()}


def newest_audit(scenario: Scenario) -> pd.DataFrame:
    runs = sli.read(scenario.config, table="runs").sort_values("sequence")
    found = sli.read(scenario.config, table="audit")
    return found[found.run_id == runs.run_id.iloc[-1]]


def revisions(scenario: Scenario, sequence: int) -> pd.DataFrame:
    found = sli.read(scenario.config, table="revisions")
    return found[found.sequence == sequence].sort_values(["grain", "window_start", "sli"])


def versions(scenario: Scenario) -> dict[str, int]:
    root = Path(scenario.config.store)
    return {each.name: DeltaTable(str(each)).version() for each in sorted(root.iterdir())}


def naive(path: Path, id: str, time_name: str, times: list[str], **columns: list[Any]) -> None:
    """A log whose times have no zone."""
    ids = [f"{id}{i}" for i in range(len(times))]
    stamps = pa.array([datetime.fromisoformat(each) for each in times], pa.timestamp("us"))
    pq.write_table(pa.table({"output_id": ids, time_name: stamps, **columns}), path)


# 1. Window membership is by prediction time


def test_a_pair_belongs_to_the_hour_of_its_prediction_not_of_its_feedback(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN + 59 * MINUTE)])
    s.log_feedback("f.parquet", [f("a", TEN + 4 * HOUR)])
    s.run(LATER)
    found = results(s)
    assert windows(found) == [("01-15T10:00", "01-15T11:00", 1)]
    assert (values(found), list(found.labelled)) == ([1.0], [1])


def test_a_file_that_arrives_days_later_counts_in_the_hour_of_its_predictions(make: Make) -> None:
    s = make(horizon=20 * DAY)
    s.log_predictions("p1.parquet", [p("a", TEN + 3 * DAY)])
    s.run(MONDAY + 5 * DAY)
    s.log_predictions("p0.parquet", [p("b", TEN)])
    s.run(MONDAY + 6 * DAY)
    assert windows(results(s)) == [("01-15T10:00", "01-15T11:00", 1), ("01-18T10:00", "01-18T11:00", 1)]


def test_a_prediction_on_the_hour_begins_the_next_window(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN + HOUR - 1), p("b", TEN + HOUR)])
    s.run(LATER)
    assert windows(results(s)) == [("01-15T10:00", "01-15T11:00", 1), ("01-15T11:00", "01-15T12:00", 1)]


def test_naive_times_are_read_in_the_zone_of_the_config(make: Make) -> None:
    s = make(zone="America/New_York", grains=("hour", "day"), since=at("2024-01-14T05:00"))
    naive(s.root / "predictions/p.parquet", "a", "predicted_at", ["2024-01-15T00:30"], score=[0.9])
    naive(s.root / "feedback/f.parquet", "a", "known_at", ["2024-01-15T00:31"], label=[1])
    s.run(LATER)
    assert windows(results(s)) == [("01-15T05:00", "01-15T06:00", 1)]
    assert windows(results(s, "day")) == [("01-15T05:00", "01-16T05:00", 1)]
    assert values(results(s)) == [1.0]


def test_naive_times_meet_zoned_ones_at_the_same_instant(make: Make) -> None:
    s = make(zone="America/New_York", since=at("2024-01-14T05:00"), horizon=MINUTE)
    naive(
        s.root / "predictions/p.parquet",
        "a",
        "predicted_at",
        ["2024-01-15T05:00", "2024-01-15T05:00"],
        score=[0.9, 0.9],
    )
    # 05:00 in New York is 10:00 UTC: the first feedback comes within the minute of horizon, the second after it.
    s.log_feedback("f.parquet", [f("a0", TEN + MINUTE), f("a1", TEN + MINUTE + 1)])
    s.run(LATER)
    found = results(s)
    assert (windows(found), list(found.labelled)) == ([("01-15T10:00", "01-15T11:00", 2)], [1])
    assert audit(s) == {("feedback", "late"): 1}


def test_a_naive_time_that_exists_twice_is_the_earlier_and_one_that_never_exists_has_the_offset_before(
    make: Make,
) -> None:
    s = make(zone="America/New_York", since=at("2024-03-09T05:00"))
    times = ["2024-03-10T01:59", "2024-03-10T02:30", "2024-11-03T01:30", "2024-11-03T02:00"]
    naive(s.root / "predictions/p.parquet", "a", "predicted_at", times, score=[0.9] * 4)
    s.run(at("2025-01-01T00:00"))
    starts = [start for start, _, _ in windows(results(s))]
    assert starts == ["03-10T06:00", "03-10T07:00", "11-03T05:00", "11-03T07:00"]


def test_the_day_clocks_go_forward_has_23_hours(make: Make) -> None:
    s = make(zone="America/New_York", grains=("day",), since=at("2024-03-09T05:00"))
    first, last = at("2024-03-10T05:00"), at("2024-03-11T04:00")
    s.log_predictions("p.parquet", [p("a", first - 1), p("b", first), p("c", last - 1), p("d", last)])
    s.run(at("2024-04-01T00:00"))
    assert windows(results(s, "day")) == [
        ("03-09T05:00", "03-10T05:00", 1),
        ("03-10T05:00", "03-11T04:00", 2),
        ("03-11T04:00", "03-12T04:00", 1),
    ]


def test_the_day_clocks_go_back_has_25_hours_and_its_repeated_hour_is_two_windows(make: Make) -> None:
    s = make(zone="America/New_York", grains=("hour", "day"), since=at("2024-11-02T04:00"))
    first, last = at("2024-11-03T04:00"), at("2024-11-04T05:00")
    repeated = [p("e", at("2024-11-03T05:30")), p("f", at("2024-11-03T06:30"))]
    s.log_predictions("p.parquet", [p("a", first - 1), p("b", first), *repeated, p("c", last - 1), p("d", last)])
    s.run(at("2024-12-01T00:00"))
    assert windows(results(s, "day")) == [
        ("11-02T04:00", "11-03T04:00", 1),
        ("11-03T04:00", "11-04T05:00", 4),
        ("11-04T05:00", "11-05T05:00", 1),
    ]
    hours = windows(results(s))
    assert ("11-03T05:00", "11-03T06:00", 1) in hours
    assert ("11-03T06:00", "11-03T07:00", 1) in hours


def test_hours_and_days_of_a_half_hour_zone_begin_at_half_past_in_utc(make: Make) -> None:
    s = make(zone="Asia/Kolkata", grains=("hour", "day"), since=at("2024-01-14T18:30"))
    midnight = at("2024-01-15T18:30")
    s.log_predictions("p.parquet", [p("a", midnight - 1), p("b", midnight), p("c", midnight + HOUR - 1)])
    s.run(LATER)
    assert windows(results(s)) == [("01-15T17:30", "01-15T18:30", 1), ("01-15T18:30", "01-15T19:30", 2)]
    assert windows(results(s, "day")) == [("01-14T18:30", "01-15T18:30", 1), ("01-15T18:30", "01-16T18:30", 2)]


# 2. Left join


def test_a_prediction_without_feedback_stays_and_lowers_the_coverage(make: Make) -> None:
    s = make(slice_by=((), ("a",)))
    s.log_predictions("p.parquet", [p(f"p{i}", TEN + i, a="x" if i < 3 else "y") for i in range(4)])
    s.log_feedback("f.parquet", [f("p0", TEN + HOUR)])
    s.run(LATER)
    whole = results(s, slice={}).iloc[0]
    assert (whole.predictions, whole.labelled, whole.coverage, whole.value) == (4, 1, 0.25, 1.0)
    dark = results(s, slice={"a": "y"}).iloc[0]
    assert (dark.predictions, dark.labelled, dark.coverage) == (1, 0, 0.0)


def test_feedback_without_prediction_is_counted_and_listed(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + 1), f("ghost", TEN + 1), f("spirit", TEN + 2)])
    s.run(LATER)
    [row] = newest_audit(s).itertuples()
    assert (row.log, row.check, row.count, list(row.samples)) == ("feedback", "orphan", 2, ["ghost", "spirit"])
    assert list(results(s).predictions) == [1]


def test_an_orphan_becomes_a_pair_when_its_prediction_arrives(make: Make) -> None:
    s = make(horizon=20 * DAY)
    s.log_predictions("p1.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("b", TEN + HOUR, 0.0)])
    s.run(MONDAY + DAY)
    assert audit(s) == {("feedback", "orphan"): 1}
    s.log_predictions("p2.parquet", [p("b", TEN)])
    s.run(MONDAY + 2 * DAY)
    assert audit(s) == {}
    found = results(s).iloc[0]
    assert (found.predictions, found.labelled, found.value) == (2, 1, 0.0)


# 3. One pair per output_id


def test_of_several_predictions_with_one_id_the_first_logged_wins(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN + 2, 0.9), p("a", TEN + 1, 0.1), p("a", TEN + 3, 0.1)])
    s.log_feedback("f.parquet", [f("a", TEN + HOUR, 0.0)])
    s.run(LATER)
    found = results(s).iloc[0]
    assert (found.predictions, found.labelled, found.value) == (1, 1, 1.0)
    assert audit(s) == {("predictions", "duplicate"): 2, ("predictions", "conflict"): 1}


def test_keep_latest_turns_it_round(make: Make) -> None:
    s = make(predictions_keep="latest")
    s.log_predictions("p.parquet", [p("a", TEN + 2, 0.9), p("a", TEN + 1, 0.1)])
    s.log_feedback("f.parquet", [f("a", TEN + HOUR, 0.0)])
    s.run(LATER)
    assert values(results(s)) == [0.0]


def test_a_duplicate_on_another_day_counts_on_one_day_only(make: Make) -> None:
    s = make(grains=("day",))
    s.log_predictions("p.parquet", [p("a", TEN), p("a", TEN + DAY), p("b", TEN + DAY)])
    s.run(LATER)
    assert windows(results(s, "day")) == [("01-15T00:00", "01-16T00:00", 1), ("01-16T00:00", "01-17T00:00", 1)]
    assert audit(s) == {("predictions", "duplicate"): 1}


def test_an_earlier_duplicate_that_arrives_later_takes_the_prediction_to_its_own_day(make: Make) -> None:
    s = make(grains=("day",), horizon=20 * DAY)
    s.log_predictions("p2.parquet", [p("a", TEN + DAY, 0.9)])
    s.log_feedback("f.parquet", [f("a", TEN + 2 * DAY, 1.0)])
    s.run(MONDAY + 3 * DAY)
    assert windows(results(s, "day")) == [("01-16T00:00", "01-17T00:00", 1)]
    s.log_predictions("p1.parquet", [p("a", TEN, 0.1)])
    s.run(MONDAY + 4 * DAY)
    found = results(s, "day")
    assert windows(found) == [("01-15T00:00", "01-16T00:00", 1)]
    assert values(found) == [0.0]


def test_predictions_at_the_same_instant_are_settled_by_the_smaller_value_whatever_the_order(make: Make) -> None:
    rows = [p("a", TEN, 0.9), p("a", TEN, 0.1)]
    for name, logged in (("one", rows), ("two", rows[::-1])):
        s = make(name=name)
        s.log_predictions("p.parquet", logged)
        s.log_feedback("f.parquet", [f("a", TEN + HOUR, 1.0)])
        s.run(LATER)
        assert values(results(s)) == [0.0]


def test_a_correction_counts_once(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + HOUR, 0.0), f("a", TEN + 2 * HOUR, 1.0)])
    s.run(LATER)
    found = results(s).iloc[0]
    assert (found.predictions, found.labelled, found.value) == (1, 1, 1.0)
    assert audit(s) == {("feedback", "superseded"): 1}


def test_a_null_value_withdraws_the_label_before_it_and_a_later_one_gives_it_again(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    taken = [f(id, TEN + HOUR, 1.0) for id in "ab"] + [f(id, TEN + 2 * HOUR, None) for id in "ab"]
    s.log_feedback("f.parquet", [*taken, f("b", TEN + 3 * HOUR, 0.0)])
    s.run(LATER)
    found = results(s).iloc[0]
    assert (found.predictions, found.labelled, found.value) == (2, 1, 0.0)
    assert audit(s) == {("feedback", "superseded"): 3, ("feedback", "withdrawn"): 1}


def test_feedback_at_the_same_instant_is_settled_by_the_greater_value_null_being_least(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN + HOUR)])
    ties = [f("a", TEN + HOUR, 0.0), f("a", TEN + HOUR, 1.0), f("b", TEN + 2 * HOUR, 0.0), f("b", TEN + 2 * HOUR, None)]
    s.log_feedback("f.parquet", ties)
    s.run(LATER)
    assert values(results(s)) == [1.0, 0.0]
    assert audit(s) == {("feedback", "superseded"): 2, ("feedback", "conflict"): 2}


def test_keep_first_feedback_ignores_corrections(make: Make) -> None:
    s = make(feedback_keep="first")
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + HOUR, 0.0), f("a", TEN + 2 * HOUR, 1.0)])
    s.run(LATER)
    assert values(results(s)) == [0.0]


def test_nulls_ignore_leaves_the_label_and_counts_the_null(make: Make) -> None:
    s = make(feedback_nulls="ignore")
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + HOUR, 1.0), f("a", TEN + 2 * HOUR, None)])
    s.run(LATER)
    assert list(results(s).labelled) == [1]
    assert audit(s) == {("feedback", "ignored null"): 1}


# 4. Horizon


def test_feedback_exactly_at_the_horizon_counts_and_a_microsecond_later_is_late(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + DAY, 1.0), f("b", TEN + DAY + 1, 0.0)])
    s.run(LATER)
    found = results(s).iloc[0]
    assert (found.labelled, found.value) == (1, 1.0)
    assert audit(s) == {("feedback", "late"): 1}


def test_a_correction_beyond_the_horizon_leaves_the_label_as_it_was(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + HOUR, 1.0), f("a", TEN + DAY + 1, 0.0)])
    s.run(LATER)
    assert values(results(s)) == [1.0]


def test_feedback_before_its_prediction_does_not_count(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN, 1.0), f("b", TEN - 1, 1.0)])
    s.run(LATER)
    assert list(results(s).labelled) == [1]
    assert audit(s) == {("feedback", "before prediction"): 1}


def test_early_allows_feedback_exactly_that_much_before_its_prediction(make: Make) -> None:
    s = make(early=HOUR)
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN - HOUR, 1.0), f("b", TEN - HOUR - 1, 1.0)])
    s.run(LATER)
    assert list(results(s).labelled) == [1]
    assert audit(s) == {("feedback", "before prediction"): 1}


def test_feedback_of_a_prediction_before_since_is_no_orphan(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("old", MONDAY - 1), p("a", MONDAY)])
    s.log_feedback("f.parquet", [f("old", MONDAY + HOUR)])
    s.run(LATER)
    assert windows(results(s)) == [("01-15T00:00", "01-15T01:00", 1)]
    assert audit(s) == {("feedback", "before since"): 1}


def test_a_window_matures_with_time_alone(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    final = TEN + HOUR + DAY
    s.run(final - 1)
    assert list(results(s).maturity) == ["provisional"]
    outcome = s.run(final)
    assert outcome.published
    assert list(results(s).maturity) == ["final"]
    assert list(revisions(s, 2).cause) == ["matured"]


def test_input_for_a_final_window_is_held_and_named_until_it_is_asked_for(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN + 3 * DAY)])
    s.log_feedback("f1.parquet", [f("b", TEN + 3 * DAY + 1, 1.0)])
    s.run(MONDAY + 4 * DAY)
    s.log_feedback("f2.parquet", [f("a", TEN + HOUR, 0.0)])
    outcome = s.run(MONDAY + 5 * DAY)
    assert [(text(each.start), text(each.end)) for each in outcome.plan.held] == [
        ("2024-01-15T10:00:00+00:00", "2024-01-15T11:00:00+00:00")
    ]
    assert list(results(s).labelled) == [0, 1]
    named = sli.plan(s.config, as_of=text(MONDAY + 5 * DAY)).to_dict()["held"]
    assert named == [["2024-01-15T10:00Z", "2024-01-15T11:00Z"]]
    s.backfill(MONDAY + 5 * DAY, "2024-01-15T10:00", "2024-01-15T11:00")
    assert values(results(s)) == [0.0, 1.0]
    assert not s.run(MONDAY + 5 * DAY).plan.held
    s.check(MONDAY + 5 * DAY)


# 5. Nothing is 0 that is unknown


def test_no_labelled_pair_is_null_with_the_reason(make: Make) -> None:
    s = make(slis=("accuracy", "roc_auc", "log_loss", "count", "mean"))
    s.log_predictions("p.parquet", [p("a", TEN, 0.25)])
    s.run(LATER)
    found = {row.sli: (None if math.isnan(row.value) else row.value, row.reason) for row in results(s).itertuples()}
    unknown = (None, "no labelled predictions")
    assert {name: found[name] for name in ("accuracy", "roc_auc", "log_loss")} == dict.fromkeys(
        ("accuracy", "roc_auc", "log_loss"), unknown
    )
    assert (found["count"][0], found["mean"][0]) == (1.0, 0.25)


def test_zero_by_zero_is_null_with_its_own_reason(make: Make) -> None:
    s = make(slis=("precision", "recall", "specificity", "f1", "roc_auc", "accuracy"))
    s.log_predictions("p.parquet", [p("a", TEN, 0.1)])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 0.0)])
    s.run(LATER)
    found = {row.sli: (None if math.isnan(row.value) else row.value, row.reason) for row in results(s).itertuples()}
    assert found["precision"] == (None, "no positive decisions")
    assert found["recall"] == (None, "no positive labels")
    assert found["f1"] == (None, "no positive labels or decisions")
    assert found["roc_auc"] == (None, "only one class")
    assert found["specificity"][0] == found["accuracy"][0] == 1.0


def test_a_null_score_counts_as_a_prediction_and_nowhere_else(make: Make) -> None:
    s = make(slis=("accuracy", "null_rate", "prediction_rate"))
    s.log_predictions("p.parquet", [p("a", TEN, None), p("b", TEN, 0.9)])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 0.0), f("b", TEN + 1, 1.0)])
    s.run(LATER)
    found = results(s)
    assert dict(zip(found.sli, found.value, strict=True)) == {"accuracy": 1.0, "null_rate": 0.5, "prediction_rate": 1.0}
    assert set(found.predictions) == set(found.labelled) == {2}


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_a_score_at_the_threshold_is_the_positive_class(make: Make, threshold: float) -> None:
    s = make(threshold=threshold, slis=("true_positives", "false_negatives"))
    s.log_predictions("p.parquet", [p("a", TEN, threshold), p("b", TEN, math.nextafter(threshold, 0))])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 1.0), f("b", TEN + 1, 1.0)])
    s.run(LATER)
    found = results(s)
    assert dict(zip(found.sli, found.value, strict=True)) == {"true_positives": 1.0, "false_negatives": 1.0}


# 6. A rerun changes nothing


def test_a_rerun_commits_to_no_table(make: Make) -> None:
    s = make(grains=("hour", "day", "cumulative"))
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + 1), f("ghost", TEN + 1)])
    first = s.run(LATER)
    before, rows = versions(s), sli.read(s.config)
    again = s.run(LATER)
    assert (first.published, again.published, again.plan.empty) == (True, False, True)
    assert versions(s) == before
    pd.testing.assert_frame_equal(sli.read(s.config), rows)


def test_a_rewritten_file_with_the_same_rows_revises_nothing(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.run(MONDAY + DAY)
    rows = sli.read(s.config)
    s.log_predictions("p.parquet", [p("a", TEN)])
    assert len(s.run(MONDAY + DAY).revised) == 0
    pd.testing.assert_frame_equal(sli.read(s.config), rows)


def test_the_same_question_to_the_same_input_gives_the_same_rows_in_another_store(make: Make) -> None:
    frames = []
    s = make(slis=("accuracy", "roc_auc", "log_loss"), grains=("hour", "day"))
    s.log_predictions("p.parquet", [p(f"p{i}", TEN + i * MINUTE, i / 97) for i in range(97)])
    s.log_feedback("f.parquet", [f(f"p{i}", TEN + DAY, float(i % 3 == 0)) for i in range(90)])
    for store in ("one", "two"):
        s.settings = {"store": str(s.root / store)}
        s.run(LATER)
        frames.append(sli.read(s.config))
    pd.testing.assert_frame_equal(frames[0], frames[1])


# 7. Incremental equals brute force


def test_many_runs_on_growing_logs_end_where_one_run_ends(make: Make) -> None:
    many = make(grains=("hour", "day", "cumulative"), slis=("accuracy", "recall"), horizon=30 * DAY)
    for day in range(3):
        many.log_predictions(f"p{day}.parquet", [p(f"{day}{i}", TEN + day * DAY + i * HOUR, i / 4) for i in range(4)])
        many.log_feedback(f"f{day}.parquet", [f(f"{day}{i}", TEN + (day + 1) * DAY, float(i % 2)) for i in range(3)])
        many.run(TEN + (day + 1) * DAY + 1)
    many.log_feedback("late.parquet", [f("00", TEN + 3 * DAY, 1.0), f("13", TEN + 3 * DAY, 0.0)])
    many.run(MONDAY + 6 * DAY)
    stepwise = sli.read(many.config)
    many.settings = {"store": str(many.root / "fresh")}
    many.run(MONDAY + 6 * DAY)
    whole = sli.read(many.config)
    told = ["as_of", "run_id"]
    pd.testing.assert_frame_equal(stepwise.drop(columns=told), whole.drop(columns=told))
    cumulative = whole[(whole.grain == "cumulative") & (whole.sli == "accuracy")].iloc[-1]
    # Day 0: scores 0, .25, .5 with labels 1, 1, 0: none right. Day 1: 0, .25, .5, .75 with 0, 1, 0, 0: one right.
    # Day 2: 0, .25, .5 with 0, 1, 0: one right.
    assert (cumulative.value, cumulative.labelled, cumulative.predictions) == (2 / 10, 10, 12)


def test_late_feedback_rewrites_only_the_windows_that_hold_its_prediction(make: Make) -> None:
    s = make(grains=("hour", "day"), horizon=30 * DAY)
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN + HOUR), p("c", TEN + 2 * DAY)])
    first = s.run(MONDAY + 3 * DAY)
    s.log_feedback("f.parquet", [f("a", MONDAY + 3 * DAY + 1)])
    second = s.run(MONDAY + 4 * DAY)
    newest = results(s).set_index("window_start").run_id
    assert list(newest) == [second.run_id, first.run_id, first.run_id]
    assert list(results(s, "day").run_id) == [second.run_id, first.run_id]
    assert windows(revisions(s, 2)) == [("01-15T00:00", "01-16T00:00", 2), ("01-15T10:00", "01-15T11:00", 1)]


def test_a_removed_file_takes_its_rows_with_it(make: Make) -> None:
    s = make(horizon=30 * DAY)
    s.log_predictions("p1.parquet", [p("a", TEN)])
    s.log_predictions("p2.parquet", [p("b", TEN + HOUR)])
    s.log_feedback("f.parquet", [f("a", TEN + 1), f("b", TEN + HOUR)])
    s.run(MONDAY + DAY)
    s.remove("predictions", "p2.parquet")
    s.run(MONDAY + 2 * DAY)
    assert windows(results(s)) == [("01-15T10:00", "01-15T11:00", 1)]
    [gone] = revisions(s, 2).itertuples()
    assert (gone.change, gone.old_value, text(int(gone.window_start.timestamp()) * 1_000_000)) == (
        "removed",
        1.0,
        "2024-01-15T11:00:00+00:00",
    )
    assert audit(s) == {("feedback", "orphan"): 1}


def test_a_new_sli_leaves_the_rows_of_the_others_untouched(make: Make) -> None:
    s = make(grains=("hour", "day"), slis=("accuracy",))
    s.log_predictions("p.parquet", [p("a", TEN, 0.9), p("b", TEN, 0.2)])
    s.log_feedback("f.parquet", [f("a", TEN + 1), f("b", TEN + 1)])
    s.run(LATER)
    before = sli.read(s.config)
    s.world = replace(s.world, slis=("accuracy", "brier"))
    s.run(LATER + DAY)
    pd.testing.assert_frame_equal(sli.read(s.config, sli="accuracy"), before)
    assert values(results(s, sli_name="brier")) == [pytest.approx((0.1**2 + 0.8**2) / 2, abs=1e-15)]


def test_a_changed_definition_is_a_new_series_and_the_old_one_stays_in_the_history(make: Make) -> None:
    s = make()
    s.settings = {"slis": [{"name": "middle", "sli": "quantile", "q": 0.5}]}
    s.log_predictions("p.parquet", [p("a", TEN, 0.2), p("b", TEN, 0.4), p("c", TEN, 0.9)])
    s.run(LATER)
    [old] = sli.read(s.config).itertuples()
    s.settings = {"slis": [{"name": "middle", "sli": "quantile", "q": 1.0}]}
    s.run(LATER + DAY)
    [new] = sli.read(s.config).itertuples()
    assert new.definition != old.definition
    assert new.value == pytest.approx(0.9, abs=new.error_bound + 1e-12)
    history = sli.read(s.config, table="revisions").sort_values("sequence")
    kept = history[history.definition == old.definition]
    assert list(kept.change) == ["added", "removed"]
    assert list(kept.cause) == ["first run", "no longer declared"]
    assert kept.value.iloc[0] == old.value
    assert list(history[history.definition == new.definition].cause) == ["new definition"]


def test_a_comparison_that_runs_out_of_memory_says_what_to_do(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from sli.publishing import diff

    def full(*_: Any) -> Any:
        raise duckdb.OutOfMemoryException("failed to allocate")

    monkeypatch.setattr(diff, "_match_rows", full)
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    with pytest.raises(OutOfMemory, match="raise `memory:`"):
        s.run(LATER)


def test_an_sli_called_otherwise_leaves_no_rows_of_its_old_name(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + 1), f("b", TEN + 1)])
    s.settings = {"slis": [{"name": "old", "sli": "accuracy"}, {"name": "same", "sli": "accuracy"}]}
    s.run(LATER)
    s.settings = {"slis": [{"name": "new", "sli": "accuracy"}, {"name": "same", "sli": "accuracy"}]}
    s.run(LATER)
    assert set(sli.read(s.config).sli) == {"new", "same"}
    history = sli.read(s.config, table="revisions")
    assert list(history[history.change == "removed"].cause.unique()) == ["no longer declared"]


def test_a_changed_objective_changes_the_verdict_and_not_the_series(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 1.0), f("b", TEN + 1, 0.0)])
    found = []
    for objective in (">= 1", ">= 2"):
        s.settings = {"slis": [{"sli": "true_positives", "objective": objective}]}
        s.run(LATER)
        found += sli.read(s.config).itertuples()
    assert [(row.value, row.objective, row.verdict) for row in found] == [
        (1.0, ">= 1", "met"),
        (1.0, ">= 2", "breached"),
    ]
    assert found[0].definition == found[1].definition
    assert list(revisions(s, 2).cause) == ["new objective"]


def test_an_objective_inside_the_interval_is_undecided(make: Make) -> None:
    s = make({"slis": [{"sli": "accuracy", "objective": ">= 0.4"}]})
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 1.0), f("b", TEN + 1, 0.0)])
    s.run(LATER)
    [row] = results(s).itertuples()
    assert (row.value, row.verdict) == (0.5, "undecided")
    # Wilson: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with p = 0.5, n = 2, z = 1.959964
    assert (row.ci_low, row.ci_high) == (pytest.approx(0.0945, abs=1e-4), pytest.approx(0.9055, abs=1e-4))


def test_a_limited_run_leaves_the_rest_pending_and_the_next_run_completes_it(make: Make) -> None:
    s = make(grains=("hour", "day"), horizon=30 * DAY)
    s.log_predictions("p1.parquet", [p("a", TEN), p("b", TEN + DAY)])
    as_of = MONDAY + 3 * DAY
    s.run(as_of)
    s.log_feedback("f.parquet", [f("a", TEN + HOUR), f("b", TEN + DAY + HOUR)])
    limited = s.backfill(as_of, "2024-01-16", "2024-01-17")
    assert limited.plan.left.of(RECOMPUTE)
    assert list(results(s).labelled) == [0, 1]
    assert not s.run(as_of).plan.left.of(RECOMPUTE)
    assert list(results(s).labelled) == [1, 1]
    s.check(as_of)


def test_a_first_run_may_be_limited_too(make: Make) -> None:
    s = make(grains=("hour", "day"))
    s.log_predictions("p1.parquet", [p("a", TEN), p("b", TEN + DAY)])
    s.backfill(LATER, "2024-01-16", "2024-01-17")
    assert windows(results(s)) == [("01-16T10:00", "01-16T11:00", 1)]
    s.run(LATER)
    s.check(LATER)


def test_verify_agrees_and_names_what_differs(make: Make) -> None:
    s = make(grains=("hour", "day"), slis=("accuracy", "roc_auc"))
    s.log_predictions("p.parquet", [p("a", TEN, 0.9), p("b", TEN, 0.2)])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 1.0), f("b", TEN + 1, 0.0)])
    s.run(LATER)
    proof = sli.verify(s.config)
    assert (proof.equal, proof.windows, proof.rows) == (True, 2, 4)
    s.log_feedback("f.parquet", [f("a", TEN + 1, 1.0), f("b", TEN + 1, 1.0)])
    wrong = sli.verify(s.config)
    assert not wrong.equal
    assert any(each.startswith("accuracy") and "1.0 published, 0.5 recomputed" in each for each in wrong.differences)


# 8. As known at


def test_nothing_known_after_as_of_counts_until_the_next_run_with_no_file_changed(make: Make) -> None:
    s = make(horizon=20 * DAY)
    as_of = TEN + HOUR
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN), p("c", as_of + 1)])
    s.log_feedback("f.parquet", [f("a", as_of, 1.0), f("b", as_of + 1, 0.0), f("a", as_of + 1, 0.0)])
    s.run(as_of)
    found = results(s)
    assert windows(found) == [("01-15T10:00", "01-15T11:00", 2)]
    assert (values(found), list(found.labelled)) == ([1.0], [1])
    s.run(as_of + 1)
    found = results(s)
    assert windows(found) == [("01-15T10:00", "01-15T11:00", 2), ("01-15T11:00", "01-15T12:00", 1)]
    assert (values(found), list(found.labelled)) == ([0.0, None], [2, 0])


def test_every_belief_can_be_read_as_of_its_time(make: Make) -> None:
    s = make(horizon=20 * DAY)
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.run(MONDAY + DAY)
    s.log_feedback("f1.parquet", [f("a", MONDAY + DAY + HOUR, 1.0)])
    s.run(MONDAY + 3 * DAY)
    s.log_feedback("f2.parquet", [f("a", MONDAY + 3 * DAY + HOUR, 0.0)])
    s.run(MONDAY + 5 * DAY)
    believed = [values(results(s, as_of=text(MONDAY + n * DAY))) for n in (0, 1, 2, 3, 4, 5, 9)]
    assert believed == [[], [None], [None], [1.0], [1.0], [0.0], [0.0]]
    assert values(results(s)) == [0.0]


def test_revisions_say_the_cause_and_the_value_before(make: Make) -> None:
    s = make(horizon=20 * DAY)
    s.log_predictions("p.parquet", [p("a", TEN), p("b", TEN)])
    s.log_feedback("f0.parquet", [f("a", TEN + 1, 1.0)])
    s.run(MONDAY + DAY)
    s.log_feedback("f1.parquet", [f("b", MONDAY + DAY, 0.0)])
    s.run(MONDAY + 2 * DAY)
    s.log_feedback("f2.parquet", [f("a", MONDAY + 2 * DAY, 0.0)])
    s.run(MONDAY + 3 * DAY)
    s.log_feedback("f3.parquet", [f("a", MONDAY + 3 * DAY, None)])
    s.run(MONDAY + 4 * DAY)
    s.log_predictions("p2.parquet", [p("c", TEN)])
    s.run(MONDAY + 5 * DAY)
    found = sli.read(s.config, table="revisions").sort_values("sequence")
    assert list(found.cause) == [
        "first run",
        "late feedback",
        "corrected feedback",
        "withdrawn feedback",
        "new predictions",
    ]
    assert [None if math.isnan(each) else each for each in found.old_value] == [None, 1.0, 0.5, 0.0, 0.0]
    assert list(found.value) == [1.0, 0.5, 0.0, 0.0, 0.0]


def test_a_run_with_an_older_as_of_adds_to_the_history_and_replaces_no_newer_belief(make: Make) -> None:
    s = make(horizon=20 * DAY)
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("a", MONDAY + DAY, 1.0), f("a", MONDAY + 3 * DAY, 0.0)])
    s.run(MONDAY + 5 * DAY)
    newest, before = sli.read(s.config), versions(s)
    older = s.run(MONDAY + 2 * DAY)
    assert (older.plan.older, older.published) == (True, True)
    pd.testing.assert_frame_equal(sli.read(s.config), newest)
    assert {name: versions(s)[name] for name in ("tiles", "inputs", "audit")} == {
        name: before[name] for name in ("tiles", "inputs", "audit")
    }
    believed = [values(results(s, as_of=text(MONDAY + n * DAY))) for n in (1, 2, 4, 5, 6)]
    assert believed == [[], [1.0], [1.0], [0.0], [0.0]]
    assert not s.run(MONDAY + 2 * DAY).published


# 9. Averages of averages never


def test_longer_windows_pool_their_rows_instead_of_averaging_hours(make: Make) -> None:
    sliding = ("sliding", "2d/1d", ("d", 2), ("d", 1))
    s = make(grains=("hour", "day", "cumulative", sliding))
    s.log_predictions("p.parquet", [p("a", TEN), *(p(f"b{i}", TEN + HOUR) for i in range(3))])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 1.0), *(f(f"b{i}", TEN + HOUR, 0.0) for i in range(3))])
    s.run(LATER)
    assert values(results(s)) == [1.0, 0.0]
    for grain in ("day", "cumulative", "2d/1d"):
        assert set(values(results(s, grain))) == {0.25}


def test_an_exact_value_has_an_error_bound_of_zero_and_an_approximate_one_stays_within_its_own(make: Make) -> None:
    s = make(slis=("accuracy", "quantile_50", "roc_auc"), grains=("day",))
    n = 20_001
    scores = [(0.001 + (i * 7919 % n) / n) / 1.01 for i in range(n)]
    s.log_predictions("p.parquet", [p(str(i), TEN + i, score) for i, score in enumerate(scores)])
    s.log_feedback("f.parquet", [f(str(i), TEN + HOUR, float(score > 0.25)) for i, score in enumerate(scores)])
    s.run(LATER)
    found = {row.sli: row for row in results(s, "day").itertuples()}
    assert found["accuracy"].error_bound == 0
    median = found["quantile_50"]
    assert 0 < median.error_bound < 0.01
    assert abs(median.value - sorted(scores)[n // 2]) <= median.error_bound
    area = found["roc_auc"]
    assert 0 < area.error_bound < 0.01
    assert abs(area.value - 1.0) <= area.error_bound + 1e-12


# 10. Bad input is set aside


def test_invalid_rows_are_set_aside_with_file_count_and_reason_and_the_good_ones_count(make: Make) -> None:
    s = make()
    bad = [p("nan", TEN, math.nan), p("inf", TEN, math.inf), p("two", TEN, 2.0), Prediction(None, TEN, 0.5, {})]
    s.log_predictions("p.parquet", [p("a", TEN), *bad, Prediction("when", None, 0.5, {})])
    s.log_feedback("f.parquet", [f("a", TEN + 1, 1.0), f("a", TEN + 2, 0.5), f("a", TEN + 3, math.nan)])
    outcome = s.run(LATER)
    found = results(s).iloc[0]
    assert (found.predictions, found.labelled, found.value) == (1, 1, 1.0)
    rows = {(row.log, row.check): (Path(row.file).name, row.count) for row in newest_audit(s).itertuples()}
    assert rows == {
        ("predictions", "invalid: no id"): ("p.parquet", 1),
        ("predictions", "invalid: no time"): ("p.parquet", 1),
        ("predictions", "invalid: value is NaN or infinite"): ("p.parquet", 2),
        ("predictions", "invalid: value outside 0..1"): ("p.parquet", 1),
        ("feedback", "invalid: label is neither 0 nor 1"): ("f.parquet", 1),
        ("feedback", "invalid: value is NaN or infinite"): ("f.parquet", 1),
    }
    assert len(outcome.newly_bad) == 6
    assert len(s.run(LATER + DAY).newly_bad) == 0


def test_columns_that_are_not_asked_for_are_not_read(make: Make) -> None:
    s = make(slice_by=((), ("a",)))
    path = s.root / "predictions/p.parquet"
    columns = {"output_id": ["x", "y"], "predicted_at": pa.array([TEN, TEN]).cast(UTC_TIME), "score": [0.9, 0.1]}
    pq.write_table(pa.table({**columns, "a": ["u", "v"], "unused": [1.5, 2.5]}), path, compression="none")
    spoil(path, "unused")
    with pytest.raises(OSError):  # noqa: PT011  the file is as broken as it is meant to be
        pq.read_table(path)
    s.run(LATER)
    assert audit(s) == {}
    assert list(results(s, slice_by=["a"]).predictions) == [1, 1]


def spoil(path: Path, column: str) -> None:
    """Overwrite the pages of a column with bytes that are none; the footer stays as it is."""
    group = pq.read_metadata(path).row_group(0)
    [chunk] = [c for i in range(group.num_columns) if (c := group.column(i)).path_in_schema == column]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * chunk.total_compressed_size)


# What comes and goes in the config


def logged_in_slices(s: Scenario, days: int = 4) -> None:
    for day in range(days):
        rows = [p(f"{day}-{i}", TEN + day * DAY + i * MINUTE, 0.9, site="ab"[i % 2]) for i in range(4)]
        s.log_predictions(f"{day}.parquet", rows)
        s.log_feedback(f"{day}.parquet", [f(r.id, r.time + HOUR) for r in rows[:2]])


def test_a_slice_that_is_taken_out_and_put_back_is_whole_again(make: Make) -> None:
    s = make(slice_by=((), ("site",)), grains=("hour", "cumulative"), horizon=30 * DAY)
    logged_in_slices(s)
    s.run(LATER)
    world, s.world = s.world, replace(s.world, slice_by=((),))
    s.log_feedback("new.parquet", [f("1-2", TEN + DAY + 2 * HOUR), f("3-3", TEN + 3 * DAY + 2 * HOUR)])
    s.run(LATER)
    s.check(LATER)
    s.world = world
    s.run(LATER)
    s.check(LATER)


def test_nothing_is_held_because_an_sli_or_a_slice_came_or_came_back(make: Make) -> None:
    s = make(slice_by=((), ("site",)), slis=("accuracy", "roc_auc"))
    logged_in_slices(s)
    s.run(LATER)
    for change in ({"slis": ("accuracy",)}, {"slice_by": ((),)}):
        world, s.world = s.world, replace(s.world, **change)
        s.log_feedback(f"{sorted(change)}.parquet", [f("nobody", TEN + DAY)])
        assert not s.run(LATER).plan.held
        s.world = world
        s.log_feedback(f"{sorted(change)} again.parquet", [f("nobody else", TEN + DAY)])
        assert not s.run(LATER).plan.held
        # This run confirmed final hours; the next one adds the SLI or the slice to them.
        assert not s.run(LATER).plan.held
        s.check(LATER)


def test_the_audit_that_stands_is_that_of_one_publication_also_where_content_returns(make: Make) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("orphan.parquet", [f("nobody", TEN + HOUR)])
    for _ in range(2):
        s.run(LATER)
        s.log_predictions("more.parquet", [p("b", TEN, math.nan)])
        s.run(LATER)
        s.remove("predictions", "more.parquet")
    s.run(LATER)
    s.check_audit(LATER)


def test_a_week_or_month_is_read_by_an_end_long_before_its_own(make: Make) -> None:
    s = make(grains=("week", "month"))
    s.log_predictions("a.parquet", [p("x", TEN), p("y", TEN + 40 * DAY)])
    s.log_feedback("a.parquet", [f("x", TEN)])
    s.run(MONDAY + 50 * DAY)
    by = text(MONDAY + DAY)
    assert windows(results(s, "week", end=by)) == [("01-15T00:00", "01-22T00:00", 1)]
    assert windows(results(s, "month", end=by)) == [("01-01T00:00", "02-01T00:00", 1)]


def test_a_store_of_an_earlier_form_is_computed_anew(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    s = make()
    s.log_predictions("p.parquet", [p("a", TEN)])
    s.log_feedback("f.parquet", [f("a", TEN, 1.0), f("nobody", TEN)])
    with monkeypatch.context() as patch:
        patch.setattr("sli.config.model.HASHED_SINCE", 2)
        s.run(MONDAY + DAY)
    # As version 2 had it: strays without their reason.
    store = Store(s.config.store)
    tiles = store.tables.open("tiles")
    old = pa.schema([*schemas.TILES.remove(schemas.TILES.get_field_index("strays")), ("strays", pa.list_(pa.string()))])
    tiles.write(old.empty_table(), replacing="all")
    state = replace(store.published(), versions=store.published().versions | {"tiles": tiles.version})
    # Nor did a state name its format.
    tree = {name: value for name, value in json.loads(state.to_json()).items() if name != "format"}
    store.results().write(schemas.RESULTS.empty_table(), metadata={"sli_published": json.dumps(tree)})
    assert [each.what for each in s.run(MONDAY + DAY).plan.causes][:1] == ["config changed: predictions"]
    s.check(MONDAY + DAY)


def test_slices_of_which_none_was_asked_for_before_are_computed(make: Make) -> None:
    s = make(slice_by=(("a",),))
    s.log_predictions("p.parquet", [p("x", TEN, a="1", b="1")])
    s.run(LATER)
    s.world = replace(s.world, slice_by=(("a", "b"),))
    s.log_predictions("p.parquet", [p("x", TEN, a="1", b="1")])
    s.run(LATER)
    s.check(LATER)


@pytest.mark.parametrize(
    ("zone", "since"),
    [
        ("Pacific/Auckland", "2024-01-14T12:00"),
        ("America/New_York", "2024-01-14T12:00"),
        # Clocks went back from 00:01 to 23:01 of the day before.
        ("America/St_Johns", "2010-11-06T02:00"),
    ],
)
def test_what_is_read_from_a_time_on_is_what_ends_after_it_whatever_the_zone_of_the_days(
    make: Make, zone: str, since: str
) -> None:
    first = at(since)
    s = make(grains=("hour", "cumulative"), since=first)
    s.log_predictions("a.parquet", [p(f"{i}", first + i * HOUR // 2) for i in range(3 * 48)])
    s.run(first + 5 * DAY)
    s.world = replace(s.world, zone=zone)
    s.run(first + 5 * DAY)
    for grain in ("hour", "cumulative"):
        whole = results(s, grain)
        for i in range(1, 3 * 48, 8):
            start = pd.Timestamp(first + i * HOUR // 2, unit="us", tz="UTC")
            found = sli.read(s.config.store, grain=grain, start=start.isoformat())
            pd.testing.assert_frame_equal(found, whole[whole.window_end > start].reset_index(drop=True))


def test_what_is_read_from_a_day_on_opens_no_file_of_the_day_before(make: Make) -> None:
    s = make(zone="Pacific/Auckland", grains=("cumulative",), since=MONDAY)
    s.log_predictions("a.parquet", [p(f"{i}", TEN + i * DAY) for i in range(4)])
    s.run(LATER)
    day = s.config.zone.midnights(s.config.zone.date(TEN + 2 * DAY), s.config.zone.date(TEN + 2 * DAY))[0]
    read = partial(sli.read, s.config.store, grain="cumulative", start=text(day))
    whole = read()
    for path in Path(s.config.store).glob(f"results/grain=cumulative/day={s.config.zone.date(day - 1)}/*.parquet"):
        path.unlink()
    pd.testing.assert_frame_equal(read(), whole)
    with pytest.raises(StoreError):
        read(start=text(day - 1))
