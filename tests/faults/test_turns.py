"""Many runs at once: each waits for its turn, none fails, and who dies in its turn holds up nobody for long."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from builders import small_world
from children import Child
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.config.load import checked
from sli.publishing import turns
from sli.publishing.store import Store
from sli.publishing.turns import Turn
from sli.runs import execute

START = at("2024-03-08T00:00")
WORLD = small_world(
    horizon=30 * DAY, since=START, slice_by=((), ("a",)), grains=("day", "cumulative"), slis=("accuracy", "mean")
)
AT_ONCE = 5


def logged(scenario: Scenario, days: int) -> None:
    for day in range(days):
        rows = [Prediction(f"{day}-{i}", START + day * DAY + i * HOUR, i / 24, {"a": "xy"[i % 2]}) for i in range(24)]
        scenario.log_predictions(f"{day}.parquet", rows)
        told = [Feedback(row.id, (row.time or 0) + 3 * HOUR, float(n % 3 == 0)) for n, row in enumerate(rows[::2])]
        scenario.log_feedback(f"{day}.parquet", told)


def running(tree: dict[str, Any], as_of: str) -> None:
    sli.run(checked(tree), as_of=as_of)


def run_at_once(scenario: Scenario, as_ofs: list[int]) -> None:
    """A process for each as_of, all let go at once; none fails."""
    tree = config_of(scenario.world, scenario.root) | dict(scenario.settings)
    children = [Child(running, tree, text(as_of), waits=True) for as_of in as_ofs]
    for each in children:
        each.go()
    for each in children:
        each.answer(120)


def assert_all_published(scenario: Scenario, as_ofs: list[int]) -> None:
    runs = sli.read(scenario.config, table="runs").sort_values("sequence")
    assert list(runs.sequence) == list(range(1, len(as_ofs) + 1))
    assert sorted(round(each.timestamp()) * 1_000_000 for each in runs.as_of) == sorted(as_ofs)
    scenario.check(max(as_ofs))


def test_of_many_first_runs_at_once_none_fails_and_each_belief_is_kept(tmp_path: Path) -> None:
    scenario, as_ofs = Scenario(tmp_path, WORLD), [START + (3 + n) * DAY for n in range(AT_ONCE)]
    logged(scenario, AT_ONCE + 3)
    run_at_once(scenario, as_ofs)
    assert_all_published(scenario, as_ofs)
    scenario.check(min(as_ofs), read_as_of=min(as_ofs))


def test_of_many_runs_at_once_on_s3_none_fails(s3: str, tmp_path: Path) -> None:
    scenario, as_ofs = Scenario(tmp_path, WORLD, {"store": f"{s3}/store"}), [START + (1 + n) * DAY for n in range(3)]
    logged(scenario, 4)
    run_at_once(scenario, as_ofs)
    assert_all_published(scenario, as_ofs)


def test_a_run_that_waited_does_not_do_again_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scenario = Scenario(tmp_path, WORLD)
    logged(scenario, 2)
    monkeypatch.setattr(turns, "POLL", {True: 0.001, False: 0.001})
    made, made_anew = [], execute.recompute_tiles
    waiting, done = threading.Event(), threading.Event()

    def working(*given: Any) -> Any:
        made.append(threading.current_thread().name)
        assert waiting.wait(60)
        return made_anew(*given)

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "waiting until it ends" in record.getMessage():
                waiting.set()

    monkeypatch.setattr(execute, "recompute_tiles", working)
    told = Told()
    turns.LOG.addHandler(told)
    caplog.set_level(logging.INFO, "sli.store")
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(scenario.run(START + 5 * DAY))) for _ in range(2)]
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        turns.LOG.removeHandler(told)
        done.set()
    assert sorted(each.published for each in outcomes) == [False, True]
    assert len(made) == 1


def holding(store: str, told: Path) -> None:
    """Has the turn of a store until it is killed, and tells so by a file."""
    turn = Turn(store)
    turn.take()
    told.touch()
    time.sleep(600)


def test_the_turn_of_a_killed_process_is_free_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    process = Child(holding, str(tmp_path / "store"), tmp_path / "told")
    while not (tmp_path / "told").exists():
        assert process.runs
        time.sleep(0.01)
    with Turn(str(tmp_path / "store")) as turn:
        assert not turn._lock.take()
    process.kill()
    process.ended()
    with Turn(str(tmp_path / "store")) as turn:
        assert turn._lock.take()
    assert list((tmp_path / "store").iterdir()) == []


def test_a_run_goes_on_beside_one_that_keeps_its_turn_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario(tmp_path, WORLD)
    logged(scenario, 1)
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    with Turn(scenario.config.store) as other:
        other.take()
        assert scenario.run(START + 2 * DAY).published


def test_a_run_gives_its_turn_back_also_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario(tmp_path, WORLD)
    logged(scenario, 1)
    with monkeypatch.context() as patch:
        patch.setattr(execute, "recompute_tiles", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            scenario.run(START + 2 * DAY)
    with Turn(scenario.config.store) as turn:
        assert turn._lock.take()


def test_on_s3_a_holder_that_is_dead_is_overcome_and_a_living_one_is_not(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "BEAT", 0.05)
    monkeypatch.setattr(turns, "STALE", 0.4)
    with Turn(s3) as living, Turn(s3) as other:
        living.take()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert not other._lock.take()
    with Turn(s3) as next_:
        assert next_._lock.take()
        # It dies: nothing renews the object, and nothing removes it.
        assert isinstance(next_._lock, turns._Object)
        next_._lock.ended.set()
        monkeypatch.setattr(turns, "PATIENCE", 10)
        monkeypatch.setattr(turns, "POLL", {False: 0.1})
        with Turn(s3) as heir:
            began = time.monotonic()
            heir.take()
            assert time.monotonic() - began < 10
            assert heir._lock.thread is not None  # type: ignore[union-attr]
    assert Store(s3).published() is None


def test_where_no_turn_can_be_had_a_run_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(turns.fcntl, "flock", refused)
    scenario = Scenario(tmp_path, WORLD)
    logged(scenario, 1)
    assert scenario.run(START + 2 * DAY).published
