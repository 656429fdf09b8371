"""A store of a version that did not keep outcomes gains them, but for final hours whose logs are gone."""

import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, text

import sli
from sli.calendar.interval import Interval
from sli.command.text import OUTCOMES, outcome_lines, plan_lines
from sli.config.model import Config
from sli.errors import ConfigError
from sli.reading.outcomes import label_arrival, prediction_shares

MONDAY = at("2024-01-15T00:00")
TEN = MONDAY + 10 * HOUR


def without_outcomes(config):
    return {state.id: state for one in config.declared for state in one.formula.states.values()}


@pytest.fixture
def older(tmp_path, monkeypatch):
    """Two days published without outcomes, one prediction in each; the logs of the first day are gone since."""
    s = Scenario(tmp_path, small_world(horizon=DAY, grains=("day",)))
    for name, hour in (("a", TEN), ("b", TEN + DAY)):
        s.log_predictions(f"{name}.parquet", [Prediction(name, hour, 0.9, {})])
        s.log_feedback(f"{name}.parquet", [Feedback(name, hour + 2 * HOUR, 1.0)])
    with monkeypatch.context() as patch:
        patch.setattr(Config, "states", property(without_outcomes))
        s.run(MONDAY + 4 * DAY)
    for log in ("predictions", "feedback"):
        s.remove(log, "a.parquet")
    return s


def test_hours_gain_outcomes_and_no_result_changes(older):
    as_of = MONDAY + 4 * DAY
    before = sli.read(older.config)
    with pytest.raises(ConfigError, match="the tiles do not keep outcomes of predictions yet"):
        label_arrival(older.config)
    planned = sli.plan(older.config, as_of=text(as_of))
    assert f"compute only {OUTCOMES}: 2024-01-16T10:00Z .. 2024-01-16T11:00Z" in plan_lines(planned, older.config)
    older.run(as_of)
    assert sli.read(older.config).equals(before)
    arrival = label_arrival(older.config)
    assert arrival.labelled.tolist()[:4] == [0, 0, 1, 1]
    assert arrival.predictions.iloc[0] == 1
    assert arrival.attrs["lacking"] == 1
    assert prediction_shares(older.config, "day").window_start.dt.day.tolist() == [16]


def test_hours_that_stay_without_outcomes_cost_no_later_run_anything(older):
    as_of = MONDAY + 4 * DAY
    outcome = older.run(as_of)
    assert outcome.plan.held == (Interval(TEN, TEN + HOUR),)
    assert sli.plan(older.config, as_of=text(as_of)).empty
    older.log_predictions("c.parquet", [Prediction("c", MONDAY + 4 * DAY, 0.9, {})])
    assert older.run(as_of + HOUR).plan.new_rows is not None
    assert prediction_shares(older.config, "day").window_start.dt.day.tolist() == [16, 19]


def test_equal_changes_are_printed_in_the_order_of_the_config(tmp_path):
    s = Scenario(tmp_path, small_world(horizon=DAY, grains=("day",)))
    s.log_predictions("a.parquet", [Prediction("a", TEN, 0.9, {})])
    s.log_feedback("a.parquet", [Feedback("a", TEN + HOUR, 1.0)])
    s.run(TEN + DAY)
    # Those that need a new state are rolled up together, after those that need none.
    s.world = small_world(horizon=DAY, grains=("day",), slis=("accuracy", "brier", "count", "log_loss"))
    lines = outcome_lines(s.run(TEN + DAY), s.config)
    assert [line.split(", ")[1].split(":")[0] for line in lines if "-> " in line] == ["brier", "count", "log_loss"]
