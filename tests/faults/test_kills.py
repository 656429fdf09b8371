"""A run killed at any instant: readers keep the old belief, and the next run leaves what an unkilled one would."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from builders import Template, small_world
from children import Child
from faulty import Call, On, after, fails, faulty, first, loses_its_answer
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.config.load import checked
from sli.config.model import Config
from sli.engine.interrupts import signals_first
from sli.errors import StoreError
from sli.publishing.store import LAYOUT, Store
from sli.publishing.transaction import Transaction

START = at("2024-03-08T00:00")
FIRST, SECOND, THIRD = START + 2 * DAY, START + 4 * DAY, START + 9 * DAY
STAGED = [name for name in LAYOUT if name not in ("keys", "results")]  # keys are written by runs that look ids up
POINTS = [*(f"after write {name}" for name in STAGED), "before write results", "after write results"]
WORLD = small_world(
    horizon=2 * DAY, since=START, slice_by=((), ("a",)), grains=("day", "cumulative"), slis=("accuracy", "mean")
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


def in_store(scenario: Scenario, name: str) -> Scenario:
    """The same logs and world with a store of its own, where nothing is killed."""
    twin = Scenario(scenario.root, scenario.world, {**scenario.settings, "store": str(scenario.root / name)})
    twin.predictions, twin.feedback = scenario.predictions, scenario.feedback
    return twin


def belief(config: Config) -> dict[str, Any]:
    """All that readers can see, row for row; only how long a run took may differ between stores."""
    seen: dict[str, Any] = {name: sli.read(config, table=name) for name in ("results", "revisions", "audit", "runs")}
    seen["runs"] = seen["runs"].drop(columns="seconds")
    return {name: sorted(map(repr, frame.to_dict("records"))) for name, frame in seen.items()}


def everything(config: Config) -> dict[str, Any]:
    """What readers see and what the next plan rests on: the published state, tiles and inputs."""
    store = Store(config.store)
    published = store.published()
    assert published is not None
    state = {name: value for name, value in json.loads(published.to_json()).items() if name != "versions"}
    rows = {name: store.rows(name, published).to_pylist() for name in ("tiles", "inputs")}
    return belief(config) | {"state": state} | {name: sorted(map(repr, each)) for name, each in rows.items()}


def assert_equal(scenario: Scenario, expected: dict[str, Any]) -> None:
    found = everything(scenario.config)
    for name in expected:
        assert found[name] == expected[name], f"{name} differs"


def running(tree: dict[str, Any], as_of: str, point: str) -> None:
    """A run in a process of its own, which kills itself at a point, if any."""
    when, _, call = point.partition(" ")
    at_point = {"before": first, "after": after}[when](lambda: os.kill(os.getpid(), signal.SIGKILL)) if call else None
    with faulty(*[On(call, at_point)] * bool(call)):
        sli.run(checked(tree), as_of=as_of)


def child(scenario: Scenario, as_of: int, point: str) -> Child:
    return Child(running, config_of(scenario.world, scenario.root) | dict(scenario.settings), text(as_of), point)


def killed_process(scenario: Scenario, as_of: int, point: str) -> None:
    code, answer = child(scenario, as_of, point).ended()
    assert code == -signal.SIGKILL, answer


def dying(scenario: Scenario, as_of: int, point: str) -> None:
    """Runs a scenario until a point, such as `after write tiles`, where it dies without a chance to clean up."""
    when, _, call = point.partition(" ")
    dies = {"before": fails, "after": loses_its_answer}[when](Killed())
    with faulty(On(call, dies)), pytest.raises(Killed):
        scenario.run(as_of)


def photographed(scenario: Scenario, as_of: int, **given: Any) -> dict[str, Scenario]:
    """Runs a scenario to its end; the scenarios returned have the store as a kill at each point would have left it."""
    found = {}

    def photograph(point: str) -> None:
        while point in found:  # the index of ids is written in several steps
            point += " again"
        found[point] = in_store(scenario, f"killed-{point.replace(' ', '-')}")
        shutil.copytree(scenario.config.store, found[point].config.store)

    def action(call: Call) -> Any:
        if not call.writes:
            return call.proceed()
        # A table that is created has its folder first.
        call.path.mkdir(parents=True, exist_ok=True)
        photograph(f"before {call.name}")
        answer = call.proceed()
        photograph(f"after {call.name}")
        return answer

    with faulty(On("*", action, 0)):
        (scenario.backfill if given else scenario.run)(as_of, **given)
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Template, dict[str, Any], dict[str, Any]]:
    """Something published as of FIRST, logs changed since; its belief; all that a run as of SECOND leaves."""
    scenario = Scenario(tmp_path_factory.mktemp("kills") / "world", WORLD)
    logged_first(scenario)
    scenario.run(FIRST)
    logged_second(scenario)
    template = Template(scenario)
    old = belief(scenario.config)
    scenario.run(SECOND)
    return template, old, everything(scenario.config)


@pytest.fixture
def scenario(template: tuple[Template, Any, Any]) -> Scenario:
    return template[0].restored()


@pytest.fixture
def old(template: tuple[Any, dict[str, Any], Any]) -> dict[str, Any]:
    return template[1]


@pytest.fixture
def new(template: tuple[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    return template[2]


def copied(scenario: Scenario, name: str) -> Scenario:
    """The same with a copy of the store as it is."""
    twin = in_store(scenario, name)
    shutil.copytree(scenario.config.store, twin.config.store)
    return twin


def test_a_run_killed_anywhere_leaves_the_old_belief_and_the_next_run_completes_it(
    scenario: Scenario, old: Any, new: Any
) -> None:
    killed = photographed(scenario, SECOND)
    assert killed.keys() >= set(POINTS)
    for point in POINTS[:-1]:
        assert belief(killed[point].config) == old, point
    for point in ("after write tiles", "after write audit", "before write results", "after write results"):
        assert killed[point].run(SECOND).published is (point != "after write results")
        assert_equal(killed[point], new)
    scenario.check(SECOND)


def test_a_process_killed_while_it_publishes_is_completed_by_the_next(scenario: Scenario, old: Any, new: Any) -> None:
    for point in ("after write revisions", "before write results"):
        killed_process(scenario, SECOND, point)
        assert belief(scenario.config) == old
        assert sli.read(scenario.config).equals(sli.read(scenario.config, as_of=text(SECOND)))
    scenario.run(SECOND)
    assert_equal(scenario, new)
    assert not scenario.run(SECOND).published


def test_a_process_killed_at_random_instants_loses_and_doubles_nothing(scenario: Scenario, old: Any, new: Any) -> None:
    pick = random.Random(7)
    published = {name: new[name] for name in old}
    for _ in range(4):
        process = child(scenario, SECOND, "")
        time.sleep(pick.uniform(0.1, 0.7))
        process.kill()
        process.ended()
        assert belief(scenario.config) in (old, published)
    scenario.run(SECOND)
    assert_equal(scenario, new)
    scenario.check(SECOND)


def test_a_killed_first_run_leaves_nothing_to_read_and_the_next_run_completes_it(scenario: Scenario) -> None:
    shutil.rmtree(scenario.config.store)
    killed = photographed(scenario, SECOND)
    for point, each in killed.items():
        if point != "after write results":
            with pytest.raises(StoreError, match="nothing is published yet"):
                sli.read(each.config)
    expected = everything(scenario.config)
    for point in ("before create tiles", "after create tiles", "after write audit", "after create results"):
        assert killed[point].run(SECOND).published
        assert_equal(killed[point], expected)


def test_a_first_run_killed_again_and_again_is_completed_once(scenario: Scenario) -> None:
    shutil.rmtree(scenario.config.store)
    for point in ["after create results", "after write runs", "before write audit"]:
        dying(scenario, SECOND, point)
    with pytest.raises(StoreError, match="nothing is published yet"):
        sli.read(scenario.config)
    scenario.run(SECOND)
    twin = in_store(scenario, "unkilled")
    twin.run(SECOND)
    assert_equal(scenario, everything(twin.config))


def test_more_kills_than_versions_between_two_checkpoints_are_rolled_back(
    scenario: Scenario, old: Any, new: Any
) -> None:
    for _ in range(6):
        dead = Transaction(Store(scenario.config.store))
        for name in STAGED:
            dead.write(name, dead.store.rows(name, dead.published))
    assert belief(scenario.config) == old
    assert Store(scenario.config.store).tables.open("tiles").version >= 10  # type: ignore[union-attr]
    scenario.run(SECOND)
    assert_equal(scenario, new)


def test_what_a_killed_run_of_other_settings_and_as_of_left_does_not_count(scenario: Scenario, new: Any) -> None:
    plain = scenario.settings
    scenario.settings = {"slis": ["accuracy", {"name": "q", "sli": "quantile", "q": 0.3}], "slice_by": [["a"]]}
    dying(scenario, THIRD, "before write results")
    scenario.settings = plain
    dying(scenario, SECOND + HOUR, "after write audit")
    scenario.run(SECOND)
    assert_equal(scenario, new)


def test_a_killed_run_of_new_states_is_completed_by_the_next(scenario: Scenario) -> None:
    twin = copied(scenario, "unkilled")
    for each in (scenario, twin):
        each.world = replace(WORLD, slis=(*WORLD.slis, "log_loss", "quantile_30"))
    for point in ("after write tiles", "before write results"):
        dying(scenario, SECOND, point)
    for each in (scenario, twin):
        each.run(SECOND)
    assert_equal(scenario, everything(twin.config))
    scenario.check(SECOND)


def test_a_killed_run_of_an_older_as_of_is_completed_by_the_next(scenario: Scenario, old: Any) -> None:
    older = FIRST - DAY
    killed = photographed(scenario, older)
    expected = everything(scenario.config)
    assert {name: expected[name] for name in old} != old
    for point in ("after write revisions", "before write results"):
        assert belief(killed[point].config) == old, point
        assert killed[point].run(older).published
        assert_equal(killed[point], expected)
    scenario.check(older, read_as_of=older)


def test_a_killed_backfill_is_completed_by_the_next(scenario: Scenario) -> None:
    scenario.run(THIRD)
    rows = [Feedback(row.id, row.time + HOUR, 1.0) for row in predictions(1, 0) if row.time is not None]
    scenario.log_feedback("late.parquet", rows)
    held = scenario.run(THIRD).plan.held
    assert held
    old = belief(scenario.config)
    asked = {"start": text(START), "end": text(START + 3 * DAY)}
    killed = photographed(scenario, THIRD, **asked)
    new = everything(scenario.config)
    for point in ("after write tiles", "before write results"):
        assert belief(killed[point].config) == old, point
    killed["before write results"].backfill(THIRD, **asked)
    assert_equal(killed["before write results"], new)
    scenario.check(THIRD)


def test_a_killed_run_that_amends_is_completed_by_the_next(scenario: Scenario) -> None:
    shutil.rmtree(scenario.config.store)
    scenario.world = replace(WORLD, horizon=30 * DAY)
    scenario.run(SECOND)
    as_of = SECOND
    # The first run that amends writes the keys of all files, the later ones those of new files.
    for step, point in enumerate(("after write keys", "after write keys"), 1):
        scenario.log_feedback(f"late-{step}.parquet", feedback(50 + step, step % 2))
        scenario.log_predictions(f"late-{step}.parquet", predictions(50 + step, 2))
        as_of += HOUR
        dying(scenario, as_of, point)
        outcome = scenario.run(as_of)
        assert outcome.plan.new_rows is not None
        scenario.check(as_of)


def test_histories_of_runs_killed_anywhere_end_at_the_oracle(tmp_path: Path) -> None:
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
        dying(scenario, as_of, pick.choice([*POINTS[:-1], "before write audit"]))
        scenario.run(as_of)
        scenario.check(as_of)


class Stopped(BaseException):
    """As schedulers raise where a run is cancelled."""


def stop(*_: Any) -> None:
    raise Stopped


def in_a_query() -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    duckdb.sql("SELECT sum(hash(a.range + b.range)) FROM range(1_000_000) a, range(300) b").fetchall()


def in_a_stream() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        os.kill(os.getpid(), signal.SIGTERM)
        yield pa.record_batch({"x": [1]})

    with duckdb.connect(config={"threads": 1}) as con:
        con.register("rows", pa.RecordBatchReader.from_batches(pa.schema({"x": pa.int64()}), batches()))
        con.sql("FROM rows").fetchall()


@pytest.mark.parametrize("come", [in_a_query, in_a_stream])
@pytest.mark.parametrize("handler", [stop, signal.default_int_handler])
def test_a_signal_ends_a_run_as_its_handler_says_wherever_it_comes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    come: Callable[[], None],
    handler: Callable[..., Any],
) -> None:
    scenario = Scenario(tmp_path, WORLD)
    logged_first(scenario)
    path = tmp_path / "sli.yaml"
    path.write_text(json.dumps(config_of(scenario.world, tmp_path)))
    monkeypatch.setattr("sli.runs.on_disk.updated_days", lambda *_: come())
    before = signal.signal(signal.SIGTERM, handler)
    try:
        if handler is stop:
            with pytest.raises(Stopped):
                sli.run(path)
        else:
            assert main(["run", str(path)]) == 130
            assert capsys.readouterr().err == "sli: interrupted; nothing unpublished is visible\n"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert Store(scenario.config.store).published() is None


def test_an_error_after_a_signal_that_ends_nothing_is_told() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))

    @signals_first()
    def failing() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            failing()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert set(heard) == {signal.SIGTERM}
