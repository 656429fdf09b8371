"""Whether a run amends or recomputes follows from what each costs; both give the same tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import MONDAY, small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, text

import sli
from sli.command.text import plan_lines
from sli.planning import costs
from sli.planning.costs import Amounts
from sli.planning.stages import Amend, Recompute

TEN = MONDAY + 10 * HOUR
PUBLISHED = TEN + DAY
WORLD = small_world(grains=("hour", "day"), slice_by=((), ("site",)))


def amounts_of(new_rows: int, looked_through: int, rows: int) -> Amounts:
    return Amounts(new_rows=new_rows, looked_through=looked_through, rows=rows)


MEASURED = {
    "20,000 an hour, 30 days, a few late": (amounts_of(2_160, 14_870_000, 26_700_000), True),
    "5,000 an hour, 7 days, a few late": (amounts_of(504, 852_000, 1_576_000), True),
    "5,000 an hour, 7 days, the rest of the labels": (amounts_of(133_650, 890_000, 1_710_000), True),
    "5,000 an hour, 7 days, all labels": (amounts_of(830_689, 890_000, 1_690_000), False),
    "500 an hour, 7 days, all labels": (amounts_of(83_138, 89_000, 169_000), False),
    "1,000 an hour, 7 days, a few late": (amounts_of(504, 170_000, 315_000), True),
    "100 an hour, 7 days, a few late": (amounts_of(504, 17_000, 32_000), False),
}
"""What was measured, with whether amending took less."""


AMENDING = costs.AMENDING
"""As it is when no test changes it."""


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constants as they were measured."""
    monkeypatch.setattr(costs, "AMENDING", AMENDING)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("case", MEASURED)
def test_the_cheaper_way_of_each_measured_case_is_chosen(case: str) -> None:
    amounts, amends = MEASURED[case]
    assert amounts.costs.amends == amends


@pytest.mark.usefixtures("measured")
def test_a_cluster_that_only_a_recompute_starts_speaks_for_amending() -> None:
    amounts, _ = MEASURED["100 an hour, 7 days, a few late"]
    assert replace(amounts, cluster=True).costs.amends


def test_both_ways_give_the_same_tables_and_a_plan_says_which_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"id{i}" for i in range(30)]
    for cost, stage, word in ((-1.0, Amend, "to recompute these hours"), (1.0, Recompute, "to amend these hours")):
        scenario = Scenario(tmp_path / word.split()[1], WORLD)
        rows = [Prediction(id, TEN + i * HOUR // 4, 0.9, {"site": "ns"[i % 2]}) for i, id in enumerate(ids)]
        scenario.log_predictions("p.parquet", rows)
        scenario.log_feedback("f.parquet", [Feedback(id, PUBLISHED - 1, 1.0) for id in ids[::2]])
        scenario.run(PUBLISHED)
        scenario.log_feedback("g.parquet", [Feedback(id, PUBLISHED + 1, 0.0) for id in ids[1::4]])
        monkeypatch.setattr(costs, "AMENDING", cost)
        plan = sli.plan(scenario.config, as_of=text(PUBLISHED + HOUR))
        assert isinstance(plan.stages[0], stage)
        assert any(word in line for line in plan_lines(plan, scenario.config))
        scenario.run(PUBLISHED + HOUR)
        scenario.check(PUBLISHED + HOUR)
