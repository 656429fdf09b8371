"""How good a model is now, where something is in the way: hours that wait, hours that are held, no labels at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at

import sli
from sli.command.standing import standing_markdown, summary_cells
from sli.judging.standing import problems, standing
from sli.planning.published import Published

MONDAY = at("2024-01-15T00:00")
TEN = MONDAY + 10 * HOUR


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Two predictions, a day apart, without feedback."""
    made = Scenario(tmp_path, small_world(horizon=2 * DAY, grains=("day",), slis=("accuracy", "roc_auc")))
    made.log_predictions("p.parquet", [Prediction("a", TEN, 0.9, {}), Prediction("b", TEN + DAY, 0.9, {})])
    return made


def feedback(scenario: Scenario) -> None:
    """Known in time for both."""
    scenario.log_feedback("f.parquet", [Feedback("a", TEN + HOUR, 1.0), Feedback("b", TEN + DAY + HOUR, 1.0)])


def test_a_model_without_labels_has_no_value_and_says_why(scenario: Scenario) -> None:
    scenario.run(MONDAY + 2 * DAY)
    found = standing(scenario.config)
    assert {(one.sli, one.now.reason, one.before) for one in found.slis} == {
        ("accuracy", "no labelled predictions", None),
        ("roc_auc", "no labelled predictions", None),
    }
    assert found.sentence == (
        "All since 2024-01-15: accuracy has no value: no labelled predictions, still provisional: 0.0% of labels are in"
    )
    assert (found.verdict, found.problems) == ("", ())
    assert summary_cells(found) == {"coverage": "0.0% since 2024-01-15"}
    assert "| roc_auc | - (no labelled predictions) |  |  |  |  | 0.0% of 2 | provisional |" in standing_markdown(found)
    explained = sli.explain(scenario.config, "accuracy", start="2024-01-16", end="2024-01-17")
    assert explained.sentence == "Nothing to compare: accuracy has no value now: no labelled predictions."
    assert [finding.answer for finding in explained.findings] == [
        "cannot be judged",
        "yes, all",
        "no",
        "not asked",
    ]
    assert "too short: 0 final days" in explained.since.sentence


def test_hours_that_wait_are_a_problem_until_a_run_reaches_them(scenario: Scenario) -> None:
    as_of = MONDAY + 2 * DAY
    scenario.run(as_of)
    feedback(scenario)
    scenario.backfill(as_of, "2024-01-16", "2024-01-17")
    [problem] = standing(scenario.config).problems
    assert problem == "new input waits for a run without a look-back: 2024-01-15T00:00Z .. 2024-01-16T00:00Z"
    assert f"- {problem}" in standing_markdown(standing(scenario.config))
    scenario.run(as_of)
    assert standing(scenario.config).problems == ()


def test_hours_that_are_held_are_a_problem_with_the_command_that_applies_them(scenario: Scenario) -> None:
    as_of = MONDAY + 10 * DAY
    scenario.run(as_of)
    feedback(scenario)
    scenario.run(as_of)
    stale, problem = standing(scenario.config).problems
    assert stale == "no predictions since 2024-01-16 11:00: the newest is 8 days older than the run"
    assert problem == (
        "input came for final hours and is held: 2024-01-15T10:00Z .. 2024-01-15T11:00Z, "
        "2024-01-16T10:00Z .. 2024-01-16T11:00Z; to apply it: "
        "sli backfill CONFIG --start 2024-01-15T10:00Z --end 2024-01-16T11:00Z"
    )
    scenario.backfill(as_of, "2024-01-15T10:00Z", "2024-01-16T11:00Z")
    assert standing(scenario.config).problems == (stale,)


@pytest.mark.parametrize(
    ("age", "grains", "expected"),
    [
        (48 * HOUR, ("hour", "day"), []),
        (49 * HOUR, ("hour", "day"), ["no predictions since 2024-01-15: the newest is 2 days older than the run"]),
        (20 * DAY, ("week", "28d/7d"), []),
        (22 * DAY, ("week",), ["no predictions since 2024-01-15: the newest is 22 days older than the run"]),
        (30 * HOUR, ("6h/1h",), []),
        (
            49 * HOUR,
            ("6h/1h", "cumulative"),
            ["no predictions since 2024-01-15: the newest is 2 days older than the run"],
        ),
    ],
)
def test_predictions_that_stopped_long_before_the_run_are_a_problem(
    age: int, grains: tuple[str, ...], expected: list[str]
) -> None:
    newest = at("2024-01-15T05:00")  # midnight in New York
    published = Published(
        sequence=1, run_id="r", as_of=newest + age, base="", newest=newest, states=(), slice_sets=(), grains=grains,
        series={}, objectives={}, timezone="America/New_York",
    )  # fmt: skip
    assert problems(published) == expected
