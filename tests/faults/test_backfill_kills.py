"""Real kills of real backfills: at whatever instant, the same command goes on to the same end, beside other runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from builders import small_world
from children import Child
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.planning.published import Published
from sli.publishing.store import Store

ROOT = Path(__file__).parents[2]
MONDAY = at("2024-01-15T00:00")
AS_OF = MONDAY + 20 * DAY
WORLD = small_world(slice_by=((), ("site",)), grains=("hour", "day", "cumulative"), slis=("accuracy", "roc_auc"))


@pytest.fixture(params=[3, pytest.param(6, marks=pytest.mark.soak)])
def days(request: pytest.FixtureRequest) -> int:
    """How many days, and so chunks, the backfill has."""
    return request.param


@pytest.fixture
def scenario(tmp_path: Path, days: int) -> Scenario:
    """Published, and then feedback for final hours came: it is held until a backfill."""
    made = Scenario(tmp_path, WORLD)
    for day in range(days):
        rows = [
            Prediction(f"{day}-{h}", MONDAY + day * DAY + h * HOUR, h / 24, {"site": "ab"[h % 2]}) for h in range(24)
        ]
        made.log_predictions(f"{day}.parquet", rows)
        made.log_feedback(f"{day}.parquet", [Feedback(r.id, (r.time or 0) + HOUR, 1.0) for r in rows[::2]])
    made.run(AS_OF)
    for day in range(days):
        rows = made.predictions[f"{day}.parquet"][1::2]
        made.log_feedback(f"late-{day}.parquet", [Feedback(r.id, (r.time or 0) + HOUR, 0.0) for r in rows])
    assert made.run(AS_OF).plan.held
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config_of(WORLD, tmp_path)))
    return made


def asked(scenario: Scenario, days: int) -> list[str]:
    """The arguments of the command."""
    interval = ["--start", "2024-01-15", "--end", f"2024-01-{15 + days}", "--chunk", "1d"]
    return ["backfill", str(scenario.root / "c.yaml"), *interval, "--as-of", text(AS_OF)]


def backfilling(arguments: list[str]) -> int:
    return main(arguments)


def state(scenario: Scenario) -> Published:
    found = Store(scenario.config.store).published()
    assert found is not None
    return found


def test_a_backfill_killed_again_and_again_ends_where_an_undisturbed_one_does(scenario: Scenario, days: int) -> None:
    reached = []
    for kill in range(40):
        before = state(scenario).sequence
        process = Child(backfilling, asked(scenario, days))
        # At every instant of a chunk in turn: between commits, and in the middle of writing the tables.
        while process.runs and state(scenario).sequence == before:
            time.sleep(0.02)
        time.sleep(0.07 * (kill % 5))
        process.kill()
        code, answer = process.ended()
        reached.append(state(scenario).backfills[0].done if state(scenario).backfills else None)
        sli.read(scenario.config)
        if code == 0:
            assert answer == 0
            break
        assert code == -signal.SIGKILL, answer
        if not state(scenario).backfills:
            break
        if kill % 2:
            scenario.log_predictions(f"n{kill}.parquet", [Prediction(f"n{kill}", AS_OF + kill, 0.7, {"site": "a"})])
            scenario.run(AS_OF + kill, look_back="1d")
    done = [each for each in reached if each is not None]
    assert len(done) >= days // 2
    assert done == sorted(set(done)), "no chunk was done twice"
    last = sli.read(scenario.config, table="runs").as_of.max()
    end = int(last.timestamp()) * 1_000_000 + last.microsecond
    scenario.run(end)
    scenario.check(end)
    changes = sli.read(scenario.config, table="backfills")
    assert changes.backfill.nunique() == 1
    whole = changes[(changes.grain == "day") & (changes.slice_by == ()) & (changes.sli == "accuracy")]
    assert sorted(whole.window_start.dt.day) == [15, 16, 17, 18, 19, 20][:days]
    assert set(whole.cause) == {"late feedback"}


def test_ctrl_c_ends_a_backfill_with_a_word_and_no_traceback(scenario: Scenario, days: int) -> None:
    before = state(scenario).sequence
    process = subprocess.Popen(
        [sys.executable, "-m", "sli.command.cli", *asked(scenario, days)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    while state(scenario).sequence == before:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "the same command continues" in errors
    assert state(scenario).backfills
