"""Where tasks run does not show in what comes back: in this process, in local processes, on a cluster; and failures."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import duckdb
import pytest
from builders import small_world
from distributed import LocalCluster
from scenario import at, config_of

from sli.command import bars
from sli.config.load import checked
from sli.config.model import Config
from sli.errors import ConfigError, EngineError, InputError, SliError
from sli.logs.damaged import reading
from sli.logs.files import UnreadableFiles
from sli.logs.log import predictions_log
from sli.matching import execute as engine
from sli.matching.cluster import PATIENCE, worker_memory
from sli.matching.execute import cluster_client, execute, forward_logs
from sli.slis.custom.imports import load

MONDAY = at("2024-01-15T00:00")
WORLD = small_world(
    slice_by=((), ("site",)),
    grains=("hour", "day", "cumulative"),
    slis=("accuracy", "log_loss", "roc_auc", "quantile_50"),
)


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
    with pytest.raises(UnreadableFiles) as caught:
        execute(places[place], [failing(UnreadableFiles("files cannot be read", {"a.parquet": "cut off"}))], silent)
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
    with caplog.at_level("INFO", logger="sli"), cluster_client(places[place], 2) as client:
        assert client.submit(forward_logs(client, chatty()), pure=False).result() == 1
        assert client.gather(client.map(abs, [-1, -2])) == [1, 2]
    assert sum("half of it" in each.getMessage() for each in caplog.records) == 1


def test_a_task_that_kills_its_worker_is_an_engine_error_that_names_the_memory_limit(cluster: str) -> None:
    with pytest.raises(
        EngineError,
        match=r"(?s)killed every worker.*memory limit of a task 96 MiB.*its log.*start workers with more memory",
    ):
        execute(config(dask={"scheduler": cluster}, memory="96MB"), [functools.partial(os._exit, 1)], silent)


def test_a_module_that_workers_lack_is_named(cluster: str) -> None:
    def task() -> None:
        raise ModuleNotFoundError("No module named 'only_here'")

    with pytest.raises(EngineError, match="lacks a module") as caught:
        execute(config(dask={"scheduler": cluster}), [task], silent)
    assert caught.value.found == "ModuleNotFoundError: No module named 'only_here'"


def test_a_scheduler_where_nobody_listens_is_an_engine_error_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PATIENCE == "10s"
    monkeypatch.setattr("sli.matching.cluster.PATIENCE", "1s")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(EngineError, match="nobody answers at the Dask scheduler") as caught:
            execute(config(dask={"scheduler": address}), [slow_first(0, 0)], silent)
    assert time.monotonic() - began < 3
    assert caught.value.where == address


def test_a_scheduler_without_workers_is_an_engine_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sli.matching.cluster.PATIENCE", "1s")
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
    size = worker_memory(chosen.task_memory)
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


FACTORIES = """
import logging
from distributed import Client, LocalCluster

made = []

def of_address(address):
    return Client(address)

def of_cluster():
    made.append(LocalCluster(processes=False, n_workers=1, dashboard_address=None,
                             scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}))
    return made[-1]

def broken(quota=3):
    raise RuntimeError(f"quota of {quota} reached")

def other(address):
    return address

def closed(address):
    client = Client(address)
    client.close()
    return client
"""


@pytest.fixture(scope="module")
def factories(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("factories")
    (folder / "factories.py").write_text(FACTORIES)
    return str(folder)


def made_by(folder: str, name: str, **options: Any) -> Config:
    return config(dask={"factory": name, "options": options}, folder=folder)


@pytest.mark.parametrize("name", ["factories:of_address", "factories.of_address"])
def test_a_factory_named_either_way_is_a_place_and_a_cluster_it_only_found_goes_on(
    factories: str, cluster: str, name: str
) -> None:
    for _ in range(2):
        assert execute(made_by(factories, name, address=cluster), [slow_first(i, 2) for i in range(2)], silent) == [
            0,
            1,
        ]


def test_a_cluster_that_a_factory_started_is_closed_afterwards_also_after_an_error(factories: str) -> None:
    chosen = made_by(factories, "factories:of_cluster")
    assert execute(chosen, [slow_first(0, 1)], silent) == [0]
    with pytest.raises(InputError):
        execute(chosen, [failing(InputError("the log is wrong"))], silent)
    made = load("factories:of_cluster", Path(factories)).__globals__["made"]
    assert [each.status.name for each in made] == ["closed", "closed"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nowhere:client", ["the module of 'nowhere:client' cannot be imported", "dask: {factory: nowhere:client}"]),
        ("factories:of_adress", ["does not name a function", "did you mean 'of_address'?"]),
        ("factories", ["does not name a function", "module:function"]),
        (
            "factories:of_cluster",
            ["does not take its options", "factories:of_cluster()", "unexpected keyword argument 'address'"],
        ),
    ],
)
def test_a_factory_that_cannot_be_called_is_known_before_any_work(factories: str, name: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        engine.check_cluster(made_by(factories, name, address="tcp://127.0.0.1:1"))
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "parts"),
    [
        ("factories:broken", EngineError, ["the factory of the cluster failed", "RuntimeError: quota of 3 reached"]),
        ("factories:other", ConfigError, ["returned no Dask client", "tcp://"]),
        ("factories:closed", ConfigError, ["not connected", "one that is closed"]),
    ],
)
def test_a_factory_that_gives_no_client_is_named_with_what_it_gave(
    factories: str, cluster: str, name: str, kind: type[SliError], parts: list[str]
) -> None:
    options = {} if name == "factories:broken" else {"address": cluster}
    with pytest.raises(kind) as caught:
        execute(made_by(factories, name, **options), [slow_first(0, 1)], silent)
    for part in [*parts, f"dask: {{factory: {name}}}"]:
        assert part in str(caught.value)


def test_a_worker_with_less_memory_than_its_tasks_may_use_is_warned_of(
    cluster: str, caplog: pytest.LogCaptureFixture
) -> None:
    execute(config(dask={"scheduler": cluster}, memory="900TB"), [slow_first(0, 1)], silent)
    assert any("set `memory: " in each.getMessage() for each in caplog.records if each.levelname == "WARNING")


def test_one_cluster_grows_with_the_tasks_and_its_dashboard_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    chosen, before = config(dask={"workers": 2}), set(multiprocessing.active_children())

    def where() -> int:
        time.sleep(0.5)
        return os.getpid()

    with caplog.at_level("INFO", logger="sli"), engine.one_cluster():
        first = execute(chosen, [where], silent)
        later = execute(chosen, [where] * 4, silent)
    assert len(set(first + later)) == 2
    told = [each.getMessage() for each in caplog.records if each.getMessage().startswith("dashboard: ")]
    assert len(told) == 1
    assert re.fullmatch(r"dashboard: http://127.0.0.1:\d+/status", told[0])
    assert set(multiprocessing.active_children()) <= before


def test_configs_share_a_cluster_as_long_as_their_settings_for_it_are_equal(factories: str) -> None:
    chosen = made_by(factories, "factories:of_cluster")
    made = load("factories:of_cluster", Path(factories)).__globals__["made"]
    made.clear()
    with engine.one_cluster():
        with pytest.raises(InputError):
            execute(chosen, [failing(InputError("of this model")), *[slow_first(0, 4)] * 8], silent)
        with cluster_client(chosen, 1) as client:
            deadline = time.monotonic() + 5
            while client.futures:
                assert time.monotonic() < deadline, "tasks of the model that failed would keep the next one waiting"
                time.sleep(0.01)
        assert execute(chosen.model_copy(update={"model": "another"}), [slow_first(1, 2)], silent) == [1]
        assert [each.status.name for each in made] == ["running"]
        in_process = config(memory="1GB")
        with cluster_client(in_process, 1) as client:
            assert client.submit(abs, -1).result() == 1
        assert [each.status.name for each in made] == ["closed"]
        assert execute(chosen, [slow_first(0, 1)], silent) == [0]
    assert [each.status.name for each in made] == ["closed", "closed"]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"dask": {"workers": 2}}, {"dask": {"workers": 2}, "level": 0.9}, True),
        ({"dask": {"workers": 2}}, {"dask": {"workers": 3}}, False),
        ({"dask": {"workers": 2}, "memory": "1GB"}, {"dask": {"workers": 2}, "memory": "2GB"}, False),
        ({"dask": {"scheduler": "tcp://h:1"}, "memory": "1GB"}, {"dask": {"scheduler": "tcp://h:1"}}, True),
        ({"dask": {"factory": "a:b"}, "folder": "/a"}, {"dask": {"factory": "a:b"}, "folder": "/b"}, False),
    ],
)
def test_which_settings_need_a_cluster_of_their_own(one: dict[str, Any], other: dict[str, Any], equal: bool) -> None:
    assert (engine.cluster_of(config(**one)) == engine.cluster_of(config(**other))) is equal


def test_the_command_says_on_stderr_where_the_dashboard_is(capsys: pytest.CaptureFixture[str]) -> None:
    with bars.Bars():
        logging.getLogger("sli.cluster").info("dashboard: %s", "http://host:8787/status")
    logging.getLogger("sli.cluster").info("after it nobody listens")
    assert capsys.readouterr() == ("", "sli: dashboard: http://host:8787/status\n")


def test_tasks_share_half_the_memory_of_the_machine_or_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("sli.engine.machine.CONTAINER_LIMITS", (str(tmp_path / "none"), str(limit)))
    assert config().task_memory == machine // 2
    limit.write_text("max\n")
    assert config().task_memory == machine // 2
    limit.write_text(f"{1 << 30}\n")
    assert config().task_memory == 1 << 29
    assert config(dask={"workers": 4}).task_memory == 1 << 27
    assert config(memory="3GB").task_memory == 3 << 30


def test_a_signal_stops_what_a_task_in_this_process_is_doing() -> None:
    ended: list[Exception] = []

    def task() -> None:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            with reading(1, 1 << 28, [(predictions_log(config()), [])], "a task") as con:
                # A minute, were it left alone.
                con.sql("SELECT sum(hash(a.range + b.range)) FROM range(1_000_000) a, range(20_000) b").fetchall()
        except Exception as error:
            ended.append(error)
            raise

    with pytest.raises(KeyboardInterrupt):
        execute(config(), [task, task], silent)
    assert [type(each) for each in ended] == [duckdb.InterruptException]


def test_bars_show_what_cannot_be_counted_and_begin_anew_with_a_further_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with bars.Bars() as progress:
        pass
    shown = bars.Bars()
    with shown as progress:
        seen = []
        for done, total in [(0, 1), (1, 1), (0, 1), (1, 4), (3, 4), (1, 2)]:
            progress("comparing", done, total)
            [task] = shown.shown.tasks
            seen.append((task.completed, task.total))
    assert seen == [(0, None), (1, 1), (0, None), (1, 4), (3, 4), (1, 2)]
