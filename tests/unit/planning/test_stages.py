"""A plan is the list of its stages: what `sli plan` shows is what a run executes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import MONDAY, small_world
from deltalake import DeltaTable
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, text

import sli
from sli.command.text import plan_lines
from sli.planning.extent import Extent
from sli.planning.plan import Plan
from sli.planning.stages import Amend, Fill, Recompute, RollUp, Write, plain

TEN = MONDAY + 10 * HOUR
PUBLISHED = TEN + 2 * HOUR
WORLD = small_world(grains=("hour", "day"), slice_by=((), ("site",)))


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Two predictions, one with a label, published over all; the logs have sites, too."""
    made = Scenario(tmp_path, WORLD)
    made.log_predictions("p.parquet", [prediction("a", TEN), prediction("b", TEN + HOUR)])
    made.log_feedback("f.parquet", [Feedback("a", TEN + 1, 1.0)])
    made.world = replace(WORLD, slice_by=((),))
    made.run(PUBLISHED)
    return made


def prediction(id: str, time: int) -> Prediction:
    return Prediction(id, time, 0.9, {"site": "n"})


def planned(scenario: Scenario, as_of: int) -> Plan:
    """The plan of a run, after it was checked that the run executes the same stages."""
    plan = sli.plan(scenario.config, as_of=text(as_of))
    ran = scenario.run(as_of).plan
    assert [type(stage) for stage in ran.stages] == [type(stage) for stage in plan.stages]
    # Which of the tiles really change shows only in the run.
    for executed, stage in zip(ran.stages, plan.stages, strict=True):
        if isinstance(stage, RollUp):
            executed = replace(executed, changed=stage.changed)
        assert plain(executed) == plain(stage)
    return plan


def test_new_rows_amend_tiles_and_windows_are_rolled_up_from_them(scenario: Scenario) -> None:
    scenario.log_feedback("g.parquet", [Feedback("b", TEN + HOUR + 1, 1.0)])
    plan = planned(scenario, PUBLISHED)
    assert [type(stage) for stage in plan.stages] == [Amend, RollUp, Write]
    assert plan.roll_up.changed == plan.to_recompute


def test_new_slices_come_with_a_second_run_right_after_one_that_amends_and_confirms(scenario: Scenario) -> None:
    later = PUBLISHED + WORLD.horizon + DAY
    scenario.run(later)
    scenario.world = WORLD
    # A duplicate, so that the final hour it lies in is confirmed as it was.
    scenario.log_predictions("q.parquet", [prediction("a", TEN + 1)])
    plan = sli.plan(scenario.config, as_of=text(later))
    assert [type(stage) for stage in plan.stages] == [Amend, RollUp, Write]
    assert plan.to_confirm
    assert scenario.run(later).plan.extent.slice_sets == WORLD.slice_by
    scenario.check(later)


def test_a_new_sli_and_new_slices_are_filled_into_stored_tiles(scenario: Scenario) -> None:
    scenario.world = replace(WORLD, slis=("accuracy", "brier"))
    plan = planned(scenario, PUBLISHED)
    assert [type(stage) for stage in plan.stages] == [Fill, Fill, RollUp, Write]
    assert plan.new.slice_sets == (("site",),)
    assert all(group.everywhere for group in plan.roll_up.groups)
    assert sli.plan(scenario.config, as_of=text(PUBLISHED)).empty


def test_a_rewritten_file_recomputes_its_tiles(scenario: Scenario) -> None:
    scenario.log_predictions("p.parquet", [prediction("a", TEN), prediction("c", TEN + HOUR)])
    plan = planned(scenario, PUBLISHED)
    assert [type(stage) for stage in plan.stages] == [Recompute, RollUp, Write]


def test_without_anything_to_do_no_stage_changes_tiles(scenario: Scenario) -> None:
    assert planned(scenario, PUBLISHED).empty
    final = planned(scenario, TEN + 3 * DAY)
    assert [type(stage) for stage in final.stages] == [RollUp, Write]
    assert final.roll_up.newly_final


def test_stages_are_plain_values_too(scenario: Scenario) -> None:
    scenario.log_predictions("p.parquet", [prediction("a", TEN)])
    stages = sli.plan(scenario.config, as_of=text(PUBLISHED)).to_dict()["stages"]
    assert isinstance(stages, list)
    assert [stage["stage"] for stage in stages] == ["recompute", "roll up", "write"]
    assert stages[0]["tiles"] == [["2024-01-15T10:00Z", "2024-01-15T12:00Z"]]
    assert stages[1]["groups"][0]["slis"] == ["accuracy"]
    assert "results" in stages[2]["tables"]


def test_a_definition_an_objective_a_grain_or_a_slice_set_makes_cells_new_or_gone() -> None:
    before = Extent({"a": "1", "b": "1"}, {"a": None, "b": ">= 1"}, ("day",), ((),))
    now = Extent({"a": "2", "b": "1"}, {"a": None, "b": None}, ("hour",), ((), ("site",)))
    new, gone = now - before, before - now
    assert new.changed == ("a", "b")
    assert new.grains == ("hour",)
    assert now.slis_in(new) == ("a", "b")
    assert gone.series == {"a": "1"}
    assert not gone.slice_sets
    assert not before - before


def test_a_plan_of_windows_alone_says_so(scenario: Scenario) -> None:
    planned = sli.plan(scenario.config, as_of=text(TEN + 3 * DAY))
    lines = plan_lines(planned, scenario.config)
    assert lines[1] == "no hours to recompute: results follow from what is stored"
    assert not any("0 of" in line or "0.0 kB" in line for line in lines)


def test_the_write_stage_names_the_tables_that_are_written(scenario: Scenario) -> None:
    scenario.log_predictions("q.parquet", [prediction("d", TEN + HOUR)])
    scenario.log_feedback("orphan.parquet", [Feedback("nobody", TEN + 1, 1.0)])  # an audit without rows is not written
    first = Scenario(scenario.root / "other", WORLD)
    first.log_predictions("p.parquet", [prediction("a", TEN)])
    first.log_feedback("f.parquet", [Feedback("a", TEN + 1, 1.0)])
    history = {"revisions", "runs", "results"}
    for made, as_of, expected in (
        (first, PUBLISHED, {"tiles", "days", "inputs", "audit", *history}),
        (scenario, PUBLISHED + HOUR, {"tiles", "days", "keys", "inputs", "audit", *history}),
        (scenario, PUBLISHED - HOUR, history),
    ):
        before = versions(made)
        outcome = made.run(as_of)
        assert outcome.published
        assert set(outcome.plan.write.tables) == {name for name, at in versions(made).items() if at != before.get(name)}
        assert set(outcome.plan.write.tables) == expected


def versions(scenario: Scenario) -> dict[str, int]:
    """The version of each table of the store."""
    folders = (scenario.root / "store").glob("*/_delta_log")
    return {folder.parent.name: DeltaTable(str(folder.parent)).version() for folder in folders}
