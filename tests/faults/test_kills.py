"""A run killed at any instant: readers keep the old belief whole, and the next run leaves what an unkilled one would have left."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from oracle import Feedback, Prediction, World
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.config import Config
from sli.errors import StoreError
from sli.tables import LAYOUT, Store, Transaction

START = at("2024-03-08T00:00")
FIRST, SECOND, THIRD = START + 2 * DAY, START + 4 * DAY, START + 9 * DAY
STAGED = [name for name in LAYOUT if name != "results"]
POINTS = [*(f"after {name}" for name in STAGED), "before results", "after results"]
ROOT = Path(__file__).parents[2]
WORLD = World(
    task="binary",
    horizon=2 * DAY,
    since=START,
    zone="UTC",
    slice_by=((), ("a",)),
    grains=("day", "cumulative"),
    slis=("accuracy", "mean"),
)


class Killed(BaseException):
    """Stands for a kill where a whole process would be too slow: no handler in the product catches it."""


def predictions(seed: int, day: int, rows: int = 12) -> list[Prediction]:
    pick = random.Random(seed)
    times = [START + day * DAY + pick.randrange(24) * HOUR + pick.randrange(3600) * 1_000_000 for _ in range(rows)]
    return [
        Prediction(f"id-{pick.randrange(40)}", t, pick.choice([0.1, 0.5, 0.9, None]), {"a": pick.choice(["x", "y"])})
        for t in times
    ]


def feedback(seed: int, day: int, rows: int = 12) -> list[Feedback]:
    pick = random.Random(seed)
    times = [START + day * DAY + pick.randrange(48) * HOUR for _ in range(rows)]
    return [Feedback(f"id-{pick.randrange(44)}", t, pick.choice([0.0, 1.0, 1.0, None])) for t in times]


def logged_first(scenario: Scenario) -> None:
    scenario.log_predictions("0.parquet", predictions(1, 0))
    scenario.log_predictions("1.parquet", predictions(2, 1))
    scenario.log_feedback("0.parquet", feedback(3, 0))


def logged_second(scenario: Scenario) -> None:
    """New predictions, late and corrected feedback, a file taken back."""
    scenario.log_predictions("2.parquet", predictions(4, 2))
    scenario.log_feedback("0.parquet", [*feedback(3, 0), *feedback(5, 1)])
    scenario.log_feedback("1.parquet", feedback(6, 3))


def logged_third(scenario: Scenario) -> None:
    scenario.log_predictions("3.parquet", predictions(7, 5))
    scenario.log_feedback("3.parquet", feedback(8, 5))
    scenario.remove("feedback", "1.parquet")


def in_store(scenario: Scenario, name: str) -> Scenario:
    """The same logs and world with a store of its own, where nothing is killed."""
    twin = Scenario(scenario.root, scenario.world, {**scenario.settings, "store": str(scenario.root / name)})
    twin.predictions, twin.feedback = scenario.predictions, scenario.feedback
    return twin


def belief(config: Config) -> dict[str, Any]:
    """All that readers can see, row for row; only how long a run took may differ between stores."""
    seen: dict[str, Any] = {name: sli.read(config, table=name) for name in ("results", "revisions", "audit", "runs")}
    seen["runs"] = seen["runs"].drop(columns="seconds")
    seen["as of FIRST"] = sli.read(config, as_of=text(FIRST))
    return {name: sorted(map(repr, frame.to_dict("records"))) for name, frame in seen.items()}


def everything(config: Config) -> dict[str, Any]:
    """What readers see and what the next plan rests on: the published state, tiles and inputs."""
    store = Store(config.store)
    published = store.published()
    assert published is not None
    state = {name: value for name, value in json.loads(published.to_json()).items() if name != "versions"}
    rows = {name: store.dataset(name, published).to_table().to_pylist() for name in ("tiles", "inputs")}
    return belief(config) | {"state": state} | {name: sorted(map(repr, each)) for name, each in rows.items()}


def assert_equal(scenario: Scenario, expected: dict[str, Any]) -> None:
    found = everything(scenario.config)
    for name in expected:
        assert found[name] == expected[name], f"{name} differs"


CHILD = """
import json, os, signal, sys
import sli
from sli.config import checked
from sli.tables import Transaction

tree, as_of, point = json.loads(sys.argv[1])
write = Transaction.write

def dying(self, name, *given, **named):
    if point == f"before {name}":
        os._exit(9)
    write(self, name, *given, **named)
    if point == f"after {name}":
        os.kill(os.getpid(), signal.SIGKILL)

Transaction.write = dying
print("ready", flush=True)
sli.run(checked(tree), as_of=as_of)
"""


def child(scenario: Scenario, as_of: int, point: str) -> subprocess.Popen[bytes]:
    tree = config_of(scenario.world, scenario.root) | dict(scenario.settings)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps([tree, text(as_of), point])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def killed_process(scenario: Scenario, as_of: int, point: str) -> None:
    process = child(scenario, as_of, point)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (9, -signal.SIGKILL), errors.decode()


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a scenario until a point, where it dies without a chance to clean up."""

    def run(scenario: Scenario, as_of: int, point: str, **given: Any) -> None:
        def die(reached: str) -> None:
            if reached == point:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            watched(patch, die)
            scenario.run(as_of, **given)

    return run


@pytest.fixture
def photographed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Scenario]]:
    """Runs a scenario to its end; the scenarios returned have the store as a kill at each point would have left it."""

    def run(scenario: Scenario, as_of: int, **given: Any) -> dict[str, Scenario]:
        found = {}

        def photograph(reached: str) -> None:
            found[reached] = in_store(scenario, f"killed-{reached.replace(' ', '-')}")
            shutil.copytree(scenario.config.store, found[reached].config.store)

        with monkeypatch.context() as patch:
            watched(patch, photograph)
            scenario.run(as_of, **given)
        return found

    return run


def watched(patch: pytest.MonkeyPatch, at_point: Callable[[str], None]) -> None:
    """Calls back between any two steps of publication."""
    import deltalake

    write, created, commit = Transaction.write, Transaction._created, deltalake.write_deltalake
    current = ""

    def writing(self: Transaction, name: str, *given: Any, **named: Any) -> None:
        nonlocal current
        current = name
        if name == "results":
            at_point("before results")
        write(self, name, *given, **named)
        at_point(f"after {name}")

    def creating(self: Transaction, name: str) -> Any:
        Path(self.store.uri(name)).mkdir(parents=True)
        at_point(f"folder of {name}")
        table = created(self, name)
        at_point(f"created {name}")
        return table

    def committing(*given: Any, **named: Any) -> None:
        # What an earlier kill left is rolled back by now; the new rows are not yet written.
        at_point(f"restored {current}")
        commit(*given, **named)

    patch.setattr(Transaction, "write", writing)
    patch.setattr(Transaction, "_created", creating)
    patch.setattr(deltalake, "write_deltalake", committing)


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    scenario = Scenario(tmp_path, WORLD)
    logged_first(scenario)
    return scenario


def test_a_run_killed_anywhere_leaves_the_old_belief_and_the_next_run_completes_it(
    scenario: Scenario, photographed: Callable[..., dict[str, Scenario]]
) -> None:
    scenario.run(FIRST)
    old = belief(scenario.config)
    logged_second(scenario)
    killed = photographed(scenario, SECOND)
    assert killed.keys() >= set(POINTS)
    new = everything(scenario.config)
    for point in POINTS[:-1]:
        assert belief(killed[point].config) == old, point
    assert_equal(killed["after results"], new)
    for point in ("after tiles", "before results", "after results"):
        assert killed[point].run(SECOND).published is (point != "after results")
        assert_equal(killed[point], new)
    scenario.check(SECOND)


def test_a_process_killed_while_it_publishes_is_completed_by_the_next(scenario: Scenario) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    old = belief(scenario.config)
    logged_second(scenario)
    for point in ("after revisions", "before results"):
        killed_process(scenario, SECOND, point)
        assert belief(scenario.config) == old
    for each in (scenario, twin):
        each.run(SECOND)
    assert_equal(scenario, everything(twin.config))
    assert not scenario.run(SECOND).published


def test_a_killed_first_run_leaves_nothing_to_read_and_the_next_run_completes_it(
    scenario: Scenario, photographed: Callable[..., dict[str, Scenario]]
) -> None:
    killed = photographed(scenario, FIRST)
    for point, each in killed.items():
        if point != "after results":
            with pytest.raises(StoreError, match="nothing is published yet"):
                sli.read(each.config)
    chosen = ["folder of tiles", "created tiles", "created results"]
    expected = everything(scenario.config)
    for point in chosen:
        assert killed[point].run(FIRST).published
        assert_equal(killed[point], expected)


def test_a_run_killed_again_and_again_is_completed_once(scenario: Scenario, dying: Callable[..., None]) -> None:
    twin = in_store(scenario, "unkilled")
    for point in ["after runs", "restored audit", "created results"]:
        dying(scenario, FIRST, point)
    with pytest.raises(StoreError, match="nothing is published yet"):
        sli.read(scenario.config)
    for each in (scenario, twin):
        each.run(FIRST)
    assert_equal(scenario, everything(twin.config))


def test_more_kills_than_versions_between_two_checkpoints_are_rolled_back(
    scenario: Scenario, dying: Callable[..., None]
) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    logged_second(scenario)
    old = belief(scenario.config)
    for _ in range(5):
        dying(scenario, SECOND, "before results")
    assert belief(scenario.config) == old
    tiles = Store(scenario.config.store).handle("tiles")
    assert tiles.version() >= 10
    for each in (scenario, twin):
        each.run(SECOND)
    assert_equal(scenario, everything(twin.config))


def test_what_a_killed_run_of_other_settings_and_as_of_left_does_not_count(
    scenario: Scenario, dying: Callable[..., None]
) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    plain = scenario.settings
    scenario.settings = {"slis": ["accuracy", {"name": "q", "sli": "quantile", "q": 0.3}], "slice_by": [["a"]]}
    dying(scenario, FIRST + HOUR, "before results")
    scenario.settings = plain
    logged_second(scenario)
    dying(scenario, SECOND, "after audit")
    logged_third(scenario)
    for each in (scenario, twin):
        each.run(THIRD)
    assert_equal(scenario, everything(twin.config))
    assert sorted(sli.read(scenario.config, table="runs").sequence) == [1, 2]


def test_a_killed_run_of_new_states_is_completed_by_the_next(scenario: Scenario, dying: Callable[..., None]) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
        each.world = replace(WORLD, slis=(*WORLD.slis, "log_loss", "quantile_30"))
    for point in ("after tiles", "before results"):
        dying(scenario, FIRST, point)
    for each in (scenario, twin):
        each.run(FIRST)
    assert_equal(scenario, everything(twin.config))
    scenario.check(FIRST)


def test_a_killed_run_of_an_older_as_of_is_completed_by_the_next(
    scenario: Scenario, photographed: Callable[..., dict[str, Scenario]]
) -> None:
    logged_second(scenario)
    scenario.run(SECOND)
    old = belief(scenario.config)
    killed = photographed(scenario, FIRST)
    new = everything(scenario.config)
    for point in ("after revisions",):
        assert belief(killed[point].config) == old, point
        assert killed[point].run(FIRST).published
        assert_equal(killed[point], new)
    scenario.check(SECOND, read_as_of=SECOND)
    scenario.check(FIRST, read_as_of=FIRST)


def test_a_killed_backfill_is_completed_by_the_next(
    scenario: Scenario, photographed: Callable[..., dict[str, Scenario]]
) -> None:
    scenario.run(THIRD)
    rows = [Feedback(row.id, row.time + HOUR, 1.0) for row in predictions(1, 0) if row.time is not None]
    scenario.log_feedback("late.parquet", rows)
    assert scenario.run(THIRD).plan.held
    old = belief(scenario.config)
    asked = {"start": text(START), "end": text(START + 3 * DAY)}
    killed = photographed(scenario, THIRD, **asked)
    new = everything(scenario.config)
    for point in ("before results",):
        assert belief(killed[point].config) == old, point
        killed[point].run(THIRD, **asked)
        assert_equal(killed[point], new)
    scenario.check(THIRD)


def test_histories_of_runs_killed_anywhere_end_at_the_oracle(tmp_path: Path, dying: Callable[..., None]) -> None:
    seed = 1
    pick = random.Random(seed)
    sliding = ("sliding", "2d/1d", ("d", 2), ("d", 1))
    world = replace(WORLD, horizon=30 * DAY, zone="America/New_York", grains=("hour", "cumulative", sliding))
    scenario = Scenario(tmp_path, replace(world, slis=("roc_auc", "feedback_delay_50")))
    as_of = START + 2 * DAY
    scenario.log_predictions("0.parquet", predictions(seed, 0))
    scenario.log_feedback("0.parquet", feedback(seed, 0))
    scenario.run(as_of)
    for step in range(1, 3):
        name, day, content = f"{pick.randrange(3)}.parquet", pick.randrange(3), seed * 100 + step
        scenario.log_feedback(name, feedback(content, day))
        if pick.random() < 0.5:
            scenario.log_predictions(name, predictions(content, day))
        as_of += pick.choice([HOUR, DAY])
        dying(scenario, as_of, pick.choice([*POINTS[:-1], "restored audit"]))
        scenario.run(as_of)
        scenario.check(as_of)


def test_a_process_killed_at_random_instants_loses_and_doubles_nothing(scenario: Scenario) -> None:
    pick = random.Random(7)
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    old = belief(scenario.config)
    logged_second(scenario)
    twin.run(SECOND)
    new = belief(twin.config)
    for _ in range(3):
        process = child(scenario, SECOND, "never")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pick.uniform(0.3, 0.9))
        process.kill()
        process.communicate(timeout=60)
        assert belief(scenario.config) in (old, new)
    scenario.run(SECOND)
    assert_equal(scenario, everything(twin.config))
    scenario.check(SECOND)
