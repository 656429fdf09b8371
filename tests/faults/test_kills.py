"""A run killed at any instant: readers keep the old belief whole, and the next run leaves what an unkilled one would have left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
    zone="America/New_York",
    slice_by=((), ("a",)),
    grains=("hour", "day", "cumulative", ("sliding", "2d/1d", ("d", 2), ("d", 1))),
    slis=("accuracy", "roc_auc", "count", "feedback_delay_50"),
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
    seen |= {f"as of {moment}": sli.read(config, as_of=text(moment)) for moment in (FIRST, SECOND, THIRD)}
    return {name: sorted(map(repr, frame.to_dict("records"))) for name, frame in seen.items()}


def basis(config: Config) -> dict[str, Any]:
    """What the next plan rests on: the published state, tiles and inputs."""
    store = Store(config.store)
    published = store.published()
    assert published is not None
    state = {name: value for name, value in json.loads(published.to_json()).items() if name != "versions"}
    rows = {name: store.dataset(name, published).to_table().to_pylist() for name in ("tiles", "inputs")}
    return {"state": state} | {name: sorted(map(repr, each)) for name, each in rows.items()}


def assert_equal(scenario: Scenario, twin: Scenario) -> None:
    for look in (belief, basis):
        found, expected = look(scenario.config), look(twin.config)
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
    import deltalake

    def run(scenario: Scenario, as_of: int, point: str, **given: Any) -> None:
        write, created = Transaction.write, Transaction._created
        commit, current = deltalake.write_deltalake, [""]

        def writing(self: Transaction, name: str, *positional: Any, **named: Any) -> None:
            current[0] = name
            if point == f"before {name}":
                raise Killed
            write(self, name, *positional, **named)
            if point == f"after {name}":
                raise Killed

        def creating(self: Transaction, name: str) -> Any:
            if point == f"folder of {name}":
                Path(self.store.uri(name)).mkdir(parents=True)
                raise Killed
            table = created(self, name)
            if point == f"created {name}":
                raise Killed
            return table

        def committing(*positional: Any, **named: Any) -> None:
            if point == f"restored {current[0]}":
                raise Killed
            commit(*positional, **named)

        with monkeypatch.context() as patch:
            patch.setattr(Transaction, "write", writing)
            patch.setattr(Transaction, "_created", creating)
            patch.setattr(deltalake, "write_deltalake", committing)
            with pytest.raises(Killed):
                scenario.run(as_of, **given)

    return run


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    scenario = Scenario(tmp_path, WORLD)
    logged_first(scenario)
    return scenario


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_leaves_the_old_belief_and_the_next_run_completes_it(scenario: Scenario, point: str) -> None:
    twin = in_store(scenario, "unkilled")
    scenario.run(FIRST)
    twin.run(FIRST)
    old = belief(scenario.config)
    logged_second(scenario)
    twin.run(SECOND)
    killed_process(scenario, SECOND, point)
    assert belief(scenario.config) == (belief(twin.config) if point == "after results" else old)
    outcome = scenario.run(SECOND)
    assert outcome.published is (point != "after results")
    assert_equal(scenario, twin)
    scenario.check(SECOND)
    assert not scenario.run(SECOND).published


def test_a_killed_first_run_leaves_nothing_to_read_and_the_next_run_completes_it(
    scenario: Scenario, dying: Callable[..., None]
) -> None:
    twin = in_store(scenario, "unkilled")
    twin.run(FIRST)
    points = [f"{what} {name}" for name in LAYOUT for what in ("folder of", "created", "after") if name != "results"]
    for point in [*points, "before results", "folder of results", "created results"]:
        one = in_store(scenario, point.replace(" ", "-"))
        dying(one, FIRST, point)
        with pytest.raises(StoreError, match="nothing is published yet"):
            sli.read(one.config)
        assert one.run(FIRST).published
        assert_equal(one, twin)


def test_a_first_run_killed_again_and_again_is_completed_once(scenario: Scenario, dying: Callable[..., None]) -> None:
    twin = in_store(scenario, "unkilled")
    twin.run(FIRST)
    for point in [*POINTS[:-1], "restored tiles", "restored audit", *POINTS[-2::-1]]:
        dying(scenario, FIRST, point)
        with pytest.raises(StoreError, match="nothing is published yet"):
            sli.read(scenario.config)
    scenario.run(FIRST)
    assert_equal(scenario, twin)


def test_a_run_killed_more_often_than_the_tables_make_checkpoints_is_completed_once(
    scenario: Scenario, dying: Callable[..., None]
) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    logged_second(scenario)
    old = belief(scenario.config)
    for _ in range(6):
        dying(scenario, SECOND, "before results")
        dying(scenario, SECOND, "restored revisions")
    assert belief(scenario.config) == old
    for each in (scenario, twin):
        each.run(SECOND)
    assert_equal(scenario, twin)


def test_what_a_killed_run_left_of_another_as_of_does_not_count(scenario: Scenario, dying: Callable[..., None]) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    logged_second(scenario)
    for point in POINTS[:-1]:
        dying(scenario, SECOND, point)
    logged_third(scenario)
    for each in (scenario, twin):
        each.run(THIRD)
    assert_equal(scenario, twin)
    assert list(sli.read(scenario.config, table="runs").sequence) == [1, 2]


def test_a_killed_run_that_declared_new_states_and_slices_leaves_none_of_them(
    scenario: Scenario, dying: Callable[..., None]
) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    plain = scenario.settings
    scenario.settings = {
        "slis": ["accuracy", "log_loss", {"name": "q", "sli": "quantile", "q": 0.3}],
        "slice_by": [["a"]],
        "grains": ["day"],
    }
    for point in ("after tiles", "before results"):
        dying(scenario, FIRST, point)
    scenario.settings = plain
    logged_second(scenario)
    for each in (scenario, twin):
        each.run(SECOND)
    found, expected = belief(scenario.config), belief(twin.config)
    assert found == expected
    scenario.check(SECOND)


def test_a_killed_run_of_new_states_is_completed_by_the_next(scenario: Scenario, dying: Callable[..., None]) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
        each.world = World(**{**WORLD.__dict__, "slis": (*WORLD.slis, "log_loss", "quantile_30")})
    for point in POINTS[:-1]:
        dying(scenario, FIRST, point)
    for each in (scenario, twin):
        each.run(FIRST)
    assert_equal(scenario, twin)
    scenario.check(FIRST)


@pytest.mark.parametrize("point", ["after revisions", "after runs", "before results", "after results"])
def test_a_killed_run_of_an_older_as_of_is_completed_by_the_next(
    scenario: Scenario, dying: Callable[..., None], point: str
) -> None:
    twin = in_store(scenario, "unkilled")
    logged_second(scenario)
    for each in (scenario, twin):
        each.run(SECOND)
    old = belief(scenario.config)
    dying(scenario, FIRST, point)
    for each in (scenario, twin)[1 if point == "after results" else 0 :]:
        each.run(FIRST)
    if point != "after results":
        assert belief(scenario.config) != old
    assert_equal(scenario, twin)
    scenario.check(SECOND)
    scenario.check(FIRST, read_as_of=FIRST)


def test_a_killed_backfill_is_completed_by_the_next(scenario: Scenario, dying: Callable[..., None]) -> None:
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(THIRD)
    scenario.log_feedback("late.parquet", feedback(9, 0))
    for each in (scenario, twin):
        assert each.run(THIRD).plan.held
    asked = {"start": text(START), "end": text(START + 3 * DAY)}
    old = belief(scenario.config)
    for point in POINTS[:-1]:
        dying(scenario, THIRD, point, **asked)
        assert belief(scenario.config) == old
    for each in (scenario, twin):
        each.run(THIRD, **asked)
    assert_equal(scenario, twin)
    scenario.check(THIRD)


@pytest.mark.parametrize("seed", range(3))
def test_histories_of_runs_killed_anywhere_end_at_the_oracle(
    tmp_path: Path, dying: Callable[..., None], seed: int
) -> None:
    pick = random.Random(seed)
    scenario = Scenario(tmp_path, World(**{**WORLD.__dict__, "horizon": 30 * DAY}))
    as_of = START + DAY
    scenario.log_predictions("0.parquet", [*predictions(seed, 0), Prediction("id-0", START, 0.5, {"a": "x"})])
    scenario.log_feedback("0.parquet", feedback(seed, 0))
    scenario.run(as_of)
    for step in range(1, 4):
        log = pick.choice([scenario.log_predictions, scenario.log_feedback])
        make = predictions if log == scenario.log_predictions else feedback
        log(f"{pick.randrange(4)}.parquet", make(seed * 100 + step, pick.randrange(4)))  # type: ignore[operator]
        as_of += pick.choice([HOUR, DAY])
        for _ in range(pick.randrange(3)):
            dying(scenario, as_of, pick.choice(["after tiles", "after inputs", "after audit", "after runs"]))
        scenario.run(as_of)
        scenario.check(as_of)
    sequences = list(sli.read(scenario.config, table="runs").sequence)
    assert sorted(sequences) == list(range(1, len(sequences) + 1))


def test_a_process_killed_at_random_instants_loses_and_doubles_nothing(scenario: Scenario) -> None:
    pick = random.Random(7)
    twin = in_store(scenario, "unkilled")
    for each in (scenario, twin):
        each.run(FIRST)
    old = belief(scenario.config)
    logged_second(scenario)
    twin.run(SECOND)
    new = belief(twin.config)
    for _ in range(6):
        process = child(scenario, SECOND, "never")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pick.uniform(0.15, 0.7))
        process.kill()
        process.communicate(timeout=60)
        assert belief(scenario.config) in (old, new)
    scenario.run(SECOND)
    assert_equal(scenario, twin)
    scenario.check(SECOND)
    logged_third(scenario)
    for each in (scenario, twin):
        each.run(THIRD)
    assert_equal(scenario, twin)
