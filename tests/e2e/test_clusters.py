"""Results equal wherever tasks run and whoever dies; a cluster unlike this process is refused; the page says so."""

from __future__ import annotations

import importlib
import importlib.metadata
import itertools
import json
import logging
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import distributed
import numpy as np
import pandas as pd
import pytest
import yaml
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, text
from servers import BIN, process

import sli
from sli.doctor.examine import examine
from sli.errors import EngineError
from sli.matching.cluster import EXACT, MINOR
from sli.matching.execute import execute
from sli.runs import hour_tiles as hours

ROOT = Path(__file__).parents[2]
PAGE = re.search(r"## Clusters\n(.*?)(?=\n## |\Z)", (ROOT / "docs" / "scaling.md").read_text(), flags=re.DOTALL)[1]
MONDAY = at("2024-01-15T00:00")
LATER = MONDAY + 10 * DAY
WORLD = small_world(
    slice_by=((), ("site",)),
    grains=("hour", "day", "cumulative"),
    slis=("accuracy", "log_loss", "roc_auc", "quantile_50"),
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def logged(scenario: Scenario) -> Scenario:
    """Three days, a file each, of scores with ties and nulls; some feedback is missing, late or corrected."""
    random = np.random.default_rng(7)
    for day in range(3):
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


@contextmanager
def dask(tmp_path: Path, *command: str, **env: str) -> Iterator[None]:
    place = tmp_path / "scheduler.json"
    log = tmp_path / f"dask-{command[0]}.log"
    options = ["--scheduler-file", str(place), "--dashboard-address", "127.0.0.1:0", *command[1:]]
    with process([str(BIN / "dask"), command[0], *options], log, env={**os.environ, **env}, cwd=tmp_path):
        yield


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a scheduler with two workers, as a person starts them, and the folder of its file."""
    folder = tmp_path_factory.mktemp("dask")
    with (
        dask(folder, "scheduler", "--host", "127.0.0.1", "--port", "0"),
        dask(folder, "worker", "--nworkers", "2", "--nthreads", "1"),
    ):
        deadline = time.monotonic() + 60
        while not (folder / "scheduler.json").exists() or not (folder / "scheduler.json").stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = json.loads((folder / "scheduler.json").read_text())["address"]
        with distributed.Client(address, timeout="30s") as client:
            client.wait_for_workers(2, timeout=60)
        yield address, folder


@pytest.mark.soak
def test_the_tables_are_the_same_bits_wherever_tasks_run_and_whoever_is_killed(
    scheduler: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    armed, task = tmp_path / "armed", hours.match_and_build

    def deadly(*given: Any) -> Any:
        """A task whose worker is killed, once, when all of its work is done."""
        found = task(*given)
        with suppress(FileNotFoundError):
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    monkeypatch.setattr(hours, "match_and_build", deadly)
    (tmp_path / "my_cluster.py").write_text(blocks("python")[0])
    places: dict[str, Any] = {
        "here": {"dask": "in-process"},
        "workers": {"dask": {"workers": 2}},
        "scheduler": {"dask": {"scheduler": scheduler[0]}},
        "factory": yaml.safe_load(blocks("yaml")[0]),
    }
    children, tables = set(multiprocessing.active_children()), {}
    for name, place in places.items():
        settings = {"memory": "1KB", "folder": str(tmp_path), **place}
        scenario = logged(Scenario(tmp_path / name, WORLD, settings))
        assert len(sli.plan(scenario.config, as_of=text(LATER)).task_sets[0].tasks) > 2
        if name in ("workers", "scheduler"):
            armed.touch()
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="sli"):
            scenario.run(LATER)
        assert not armed.exists(), "nobody was killed"
        dashboards = [each for each in caplog.messages if each.startswith("dashboard: http://")]
        assert len(dashboards) == (name != "here")
        tables[name] = sli.read(scenario.config).drop(columns="run_id")
    assert set(multiprocessing.active_children()) <= children
    for name in places:
        a, b = tables["here"], tables[name]
        pd.testing.assert_frame_equal(a, b, check_exact=True)
        for column in a.select_dtypes("float64"):
            assert (a[column].to_numpy().view(np.int64) == b[column].to_numpy().view(np.int64)).all(), (name, column)


def test_a_worker_with_another_version_is_named_with_it_and_what_to_do(
    scheduler: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = scheduler
    other = tmp_path / "duckdb-1.4.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: duckdb\nVersion: 1.4.0\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    chosen = Scenario(tmp_path, WORLD, {"dask": {"scheduler": address}}).config
    with dask(folder, "worker", "--nthreads", "1", "--name", "odd", PYTHONPATH=path):
        with distributed.Client(address, timeout="30s") as client:
            client.wait_for_workers(3, timeout=60)
            found = client.scheduler_info(n_workers=-1)["workers"]
        odd = next(each for each, at in found.items() if at["name"] == "odd")
        with pytest.raises(EngineError) as caught:
            execute(chosen, [int], lambda *_: None)
        [told] = [finding for finding in examine(chosen) if finding.check == "cluster"]
    assert (told.level, "another version of duckdb" in told.text) == ("problem", True)
    own = importlib.metadata.version("duckdb")
    for part in (
        "another version of duckdb",
        f"where: {address}",
        f"expected: duckdb {own}",
        f"duckdb 1.4.0 at worker {odd}",
        f"install duckdb=={own}",
    ):
        assert part in str(caught.value)


def test_a_scheduler_that_cannot_open_the_tasks_is_told_apart_from_a_bug(
    scheduler: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def task():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    chosen = Scenario(tmp_path, WORLD, {"dask": {"scheduler": scheduler[0]}}).config
    with pytest.raises(EngineError, match="lacks a module that tasks need") as caught:
        execute(chosen, [importlib.import_module("only_here").task], lambda *_: None)
    assert caught.value.found == "ModuleNotFoundError: No module named 'only_here'"


def test_a_run_that_amends_asks_for_no_cluster(tmp_path: Path) -> None:
    scenario = logged(Scenario(tmp_path, WORLD, {"dask": "in-process"}))
    scenario.run(LATER)
    scenario.settings = {"dask": {"scheduler": "tcp://127.0.0.1:9"}}
    scenario.log_feedback("late.parquet", [Feedback("2-0", MONDAY + 2 * DAY + 12 * HOUR, 1.0)])
    assert sli.plan(scenario.config, as_of=text(LATER + HOUR)).new_rows is not None
    scenario.run(LATER + HOUR)


def test_the_page_names_the_packages_that_are_compared() -> None:
    for each in (*EXACT, *MINOR):
        assert f"`{each}`" in PAGE


@pytest.mark.parametrize("block", blocks("python")[1:], ids=lambda block: block.split()[1].strip(","))
def test_the_factories_of_the_page_return_what_their_project_makes(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"^(?:from|import) (\S+)", block, flags=re.MULTILINE):
        for part in itertools.accumulate(name.split("."), "{}.{}".format):
            monkeypatch.setitem(sys.modules, part, MagicMock())
    space: dict[str, Any] = {}
    exec(block, space)
    image = {"image": "sli"} if "image," in block else {}
    assert isinstance(space["client"](**image), MagicMock)
