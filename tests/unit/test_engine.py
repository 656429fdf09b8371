"""Where tasks run does not show in what comes back: in this process, in local processes, on a cluster; and failures."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
from distributed import LocalCluster
from oracle import Feedback, Prediction, World
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli import engine
from sli.cluster import PATIENCE, worker_memory
from sli.config import Config
from sli.engine import connected, execute, forwarded
from sli.errors import EngineError, InputError
from sli.loading import checked
from sli.scan import BrokenFiles

MONDAY = at("2024-01-15T00:00")
WORLD = World(
    task="binary",
    horizon=DAY,
    since=MONDAY,
    zone="UTC",
    slice_by=((), ("site",)),
    grains=("hour", "day", "cumulative"),
    slis=("accuracy", "log_loss", "roc_auc", "quantile_50"),
)
LATER = MONDAY + 10 * DAY


def config(**settings: Any) -> Config:
    return checked(config_of(WORLD, Path("/nowhere")) | settings)


def silent(*_: int) -> None:
    return None


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler with one worker process; a task that kills it is not tried again."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as found,
    ):
        yield found.scheduler_address


@pytest.fixture
def places(cluster: str) -> dict[str, Config]:
    return {"in this process": config(), "on a cluster": config(dask={"scheduler": cluster})}


PLACES = pytest.mark.parametrize("place", ["in this process", "on a cluster"])


def slow_first(number: int, of: int) -> Callable[[], int]:
    def task() -> int:
        time.sleep(0.05 * (of - number))
        return number

    return task


def failing(error: Exception) -> Callable[[], None]:
    def task() -> None:
        raise error

    return task


@PLACES
def test_results_come_in_the_order_of_the_tasks_and_progress_counts_each_once(
    places: dict[str, Config], place: str
) -> None:
    seen: list[tuple[int, int]] = []
    found = execute(places[place], [slow_first(i, 6) for i in range(6)], lambda *each: seen.append(each))
    assert found == [0, 1, 2, 3, 4, 5]
    assert seen == [(i, 6) for i in range(1, 7)]


@PLACES
def test_an_error_for_the_user_arrives_as_it_was_raised(places: dict[str, Config], place: str) -> None:
    raised = InputError("the log is wrong", where="here", found="this", todo="that")
    with pytest.raises(InputError) as caught:
        execute(places[place], [slow_first(0, 1), failing(raised)], silent)
    assert str(caught.value) == str(raised)


@PLACES
def test_broken_files_arrive_with_their_names(places: dict[str, Config], place: str) -> None:
    with pytest.raises(BrokenFiles) as caught:
        execute(places[place], [failing(BrokenFiles("files cannot be read", {"a.parquet": "cut off"}))], silent)
    assert caught.value.files == {"a.parquet": "cut off"}


def chatty() -> Callable[[], int]:
    def task() -> int:
        log = logging.getLogger("sli")
        log.info("half of it is done")
        logging.getLogger("other").warning("not of a task")
        log.warning("all of it is %s", "done")
        return 1

    return task


@PLACES
def test_what_tasks_log_arrives_where_the_run_is(
    places: dict[str, Config], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="sli"):
        assert execute(places[place], [chatty(), chatty()], silent) == [1, 1]
    said = [(r.levelname, r.getMessage().split(" (worker")[0]) for r in caplog.records if r.name == "sli"]
    said = [(level, text) for level, text in said if not text.startswith("dashboard: ")]
    assert sorted(said) == [("INFO", "half of it is done")] * 2 + [("WARNING", "all of it is done")] * 2


@PLACES
def test_whoever_is_connected_submits_what_it_likes_and_hears_it_once(
    places: dict[str, Config], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="sli"), connected(places[place], 2) as client:
        assert client.submit(forwarded(client, chatty()), pure=False).result() == 1
        assert client.gather(client.map(abs, [-1, -2])) == [1, 2]
    assert sum("half of it" in each.getMessage() for each in caplog.records) == 1


def test_a_task_that_kills_its_worker_is_an_engine_error_that_names_the_memory_limit(cluster: str) -> None:
    with pytest.raises(
        EngineError, match=r"(?s)killed every worker.*memory limit of a task 96 MiB.*start workers with more memory"
    ):
        execute(config(dask={"scheduler": cluster}, memory="96MB"), [functools.partial(os._exit, 1)], silent)


def test_a_scheduler_where_nobody_listens_is_an_engine_error_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PATIENCE == "10s"
    monkeypatch.setattr("sli.cluster.PATIENCE", "1s")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(EngineError, match="nobody answers at the Dask scheduler") as caught:
            execute(config(dask={"scheduler": address}), [slow_first(0, 0)], silent)
    assert time.monotonic() - began < 3
    assert caught.value.where == address


def test_a_scheduler_without_workers_is_an_engine_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sli.cluster.PATIENCE", "1s")
    quiet = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(n_workers=0, **quiet) as cluster:
        chosen = config(dask={"scheduler": cluster.scheduler_address})
        for attempt in (lambda: engine.check_cluster(chosen), lambda: execute(chosen, [slow_first(0, 0)], silent)):
            with pytest.raises(EngineError, match="the Dask scheduler has no workers") as caught:
                attempt()
            assert caught.value.passes


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:80"])
def test_an_address_that_is_none_is_an_engine_error_at_once(address: str) -> None:
    with pytest.raises(EngineError, match="nobody answers at the Dask scheduler"):
        execute(config(dask={"scheduler": address}), [slow_first(0, 0)], silent)


def test_local_workers_that_outgrow_the_memory_of_a_task_are_killed_and_none_is_left() -> None:
    chosen = config(dask={"workers": 2}, memory="64MB")
    size = worker_memory(chosen)
    before = set(multiprocessing.active_children())

    def greedy() -> int:
        held = b"x" * size
        time.sleep(20)
        return len(held)

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        pytest.raises(EngineError, match="memory limit of a task 64 MiB"),
    ):
        execute(chosen, [greedy], silent)
    assert set(multiprocessing.active_children()) <= before


def logged(scenario: Scenario) -> Scenario:
    """Four days, a file each, of scores with ties and nulls; some feedback is missing, late or corrected."""
    random = np.random.default_rng(7)
    for day in range(4):
        start = MONDAY + day * DAY
        times = start + random.integers(0, DAY // HOUR, 200) * HOUR
        scores = [None if random.random() < 0.05 else round(float(random.random()), 2) for _ in times]
        ids = [f"{day}-{i}" for i in range(200)]
        scenario.log_predictions(
            f"{day}.parquet",
            [
                Prediction(id, int(t), s, {"site": str(random.choice(["a", "b"]))})
                for id, t, s in zip(ids, times, scores, strict=True)
            ],
        )
        delays = random.integers(0, 30, 200) * HOUR
        answers = [
            Feedback(id, int(t + d), float(random.random() < 0.4))
            for id, t, d in zip(ids, times, delays, strict=True)
            if random.random() < 0.9
        ]
        scenario.log_feedback(f"{day}.parquet", [*answers, *(Feedback(a.id, a.time + 1, 1.0) for a in answers[:9])])
    return scenario


def test_two_local_workers_publish_the_very_bits_that_this_process_does(tmp_path: Path) -> None:
    small = {"memory": "1KB"}
    here = logged(Scenario(tmp_path / "here", WORLD, small))
    there = logged(Scenario(tmp_path / "there", WORLD, {**small, "dask": {"workers": 2}}))
    assert len(sli.plan(there.config, as_of=text(LATER)).jobs[0].chunks) > 2
    children = set(multiprocessing.active_children())
    for scenario in (here, there):
        scenario.run(LATER)
    assert set(multiprocessing.active_children()) <= children
    there.check(LATER)
    a, b = (sli.read(each.config).drop(columns="run_id") for each in (here, there))
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    for name in a.select_dtypes("float64"):
        assert (a[name].to_numpy().view(np.int64) == b[name].to_numpy().view(np.int64)).all(), name
