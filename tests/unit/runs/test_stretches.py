"""Results are rolled up, compared and written by stretches: where these are cut, and who does them, changes no bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from builders import small_world
from distributed import LocalCluster
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at

from sli.config.model import Config
from sli.errors import ConflictError, OutOfMemory, StoreError
from sli.publishing import diff, transaction
from sli.publishing.store import Store
from sli.publishing.tile_rows import Slices
from sli.publishing.transaction import Transaction
from sli.runs import hour_tiles, known, rolled_up, stretches, windows
from sli.runs.built import BuiltTiles
from sli.runs.known import Work
from sli.runs.rolled_up import RollUpTask
from sli.runs.stretches import SliceCounts, Stretch

START = at("2024-01-01T00:00")
SLIS = ("accuracy", "roc_auc", {"sli": "psi"})
WORLD = small_world(
    horizon=30 * DAY,
    since=START,
    slice_by=((), ("region",), ("shop",)),
    grains=("hour", "day", "cumulative"),
    slis=("accuracy",),
)
SLICE_BY: list[Any] = [[], ["region"], {"columns": ["shop"], "top": 2}]


def story(folder: Path, dask: Any = "in-process") -> Scenario:
    """Late labels of old hours, predictions that went, SLIs and grains that came and went, an older as_of."""
    s = Scenario(folder, WORLD, {"slis": list(SLIS), "memory": "64MB", "slice_by": SLICE_BY, "dask": dask})
    slices = [{"region": "ab"[i % 2], "shop": "!uvw"[i % 7 % 4]} for i in range(300)]
    rows = [Prediction(f"id{i}", START + i * DAY // 75, (i * 7 % 10) / 10, slices[i]) for i in range(300)]
    for name, some in (("p.parquet", rows[:240]), ("q.parquet", rows[240:])):
        s.log_predictions(name, some)
    s.log_feedback("f.parquet", [Feedback(row.id, row.time + HOUR, float(i % 3 > 0)) for i, row in enumerate(rows)])
    s.run(START + 9 * DAY)
    s.log_feedback("g.parquet", [Feedback(rows[i].id, START + 9 * DAY + HOUR, float(i % 2)) for i in (3, 50, 51, 200)])
    s.run(START + 11 * DAY)
    s.remove("predictions", "q.parquet")
    s.settings |= {"slis": ["accuracy", "recall", SLIS[2]], "grains": ["hour", "day", {"size": "2d", "every": "1d"}]}
    s.run(START + 12 * DAY)
    s.run(START + 10 * DAY)
    s.run(START + 12 * DAY)
    return s


def tables(s: Scenario) -> dict[str, list[str]]:
    """All rows but the ids of runs and times of the clock, as text so that no digit is lost, in any order."""
    store = Store(s.config.store)
    published = store.published()
    random = ("run_id", "seconds", "plan")
    return {
        name: sorted(
            repr({column: value for column, value in row.items() if column not in random})
            for row in store.rows(name, published).to_pylist()
        )
        for name in ("results", "revisions", "days", "tiles", "audit", "runs")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The tables where all is one stretch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "RESULT_BYTES", 1)
        return tables(story(tmp_path_factory.mktemp("whole")))


def cut(monkeypatch: pytest.MonkeyPatch, bytes_of_result: int) -> list[list[Stretch]]:
    """Results that seem to take so many bytes; gives the stretches of each run."""
    found: list[list[Stretch]] = []
    real = windows.stretches_of
    monkeypatch.setattr(windows, "stretches_of", lambda *given: found.append(real(*given)) or found[-1])
    monkeypatch.setattr(stretches, "RESULT_BYTES", bytes_of_result)
    return found


@pytest.mark.parametrize(("bytes_of_result", "fewest"), [(10_000, 2), (200_000, 10)])
def test_where_results_are_cut_changes_no_row_of_any_table(
    whole: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_of_result: int, fewest: int
) -> None:
    found = cut(monkeypatch, bytes_of_result)
    # Tiles are read from files, too, as workers do.
    monkeypatch.setattr(transaction, "FEW_BYTES", 0)
    assert tables(story(tmp_path)) == whole
    assert max(map(len, found)) >= fewest
    by_slices = [stretch for of_run in found for stretch in of_run if stretch.slices != Slices()]
    assert bool(by_slices) == (fewest > 2)


@pytest.mark.parametrize("memory_suffices", [True, False])
def test_stretches_that_are_rolled_up_at_once_give_the_same_rows_also_where_one_needs_all_of_the_memory(
    whole: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_suffices: bool
) -> None:
    cut(monkeypatch, 100_000)
    at_once, alone = set[int](), list[Stretch]()

    class Beside(RollUpTask):
        """A task that may find its part of the memory too small."""

        def __call__(self, stretch: Stretch, done: Callable[[int], None]) -> Any:
            at_once.add(self.scope.config.task_memory)
            if self.scope.config.task_memory == 64 << 20:
                alone.append(stretch)
            elif not memory_suffices and len(stretch.days) > 1:
                raise OutOfMemory("a task ran out of memory")
            return super().__call__(stretch, done)

    monkeypatch.setattr(windows, "RollUpTask", Beside)
    monkeypatch.setattr(windows, "ENOUGH", 1 << 20)
    monkeypatch.setattr(Config, "parallel", 2)
    assert tables(story(tmp_path)) == whole
    assert 32 << 20 in at_once
    assert any(len(stretch.days) > 1 for stretch in alone) != memory_suffices


def in_files(monkeypatch: pytest.MonkeyPatch) -> list[BuiltTiles]:
    """Tiles go to files however few, and each day is merged alone; gives what tasks built."""
    built: list[BuiltTiles] = []
    real = Work.take_over_tiles
    monkeypatch.setattr(Work, "take_over_tiles", lambda work, tiles: built.append(tiles) or real(work, tiles))
    monkeypatch.setattr(hour_tiles, "FEW_BYTES", -1)
    monkeypatch.setattr(known, "FILE_BYTES", 400)
    return built


def test_tiles_that_tasks_write_to_files_give_the_same_rows_and_leave_no_file(
    whole: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = in_files(monkeypatch)
    s = story(tmp_path)
    assert tables(s) == whole
    assert any(tiles.files for tiles in built)
    assert not any(len(tiles.few) for tiles in built)
    assert not unnamed(Path(s.config.store))


@pytest.mark.parametrize("sees_the_store", [True, False])
def test_workers_write_tiles_if_they_see_the_store_and_send_them_if_not(
    whole: dict[str, list[str]],
    scheduler: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sees_the_store: bool,
) -> None:
    built = in_files(monkeypatch)
    if not sees_the_store:
        # As on another machine, where the folder of this one is not.
        monkeypatch.setattr(hour_tiles, "marked", lambda *_: nullcontext("_not-there"))
    s = story(tmp_path, scheduler)
    assert tables(s) == whole
    assert any(tiles.files for tiles in built) == sees_the_store
    assert any(len(tiles.few) for tiles in built) != sees_the_store
    assert any("tasks cannot write tiles to the store" in said for said in caplog.messages) != sees_the_store
    assert not list(Path(s.config.store).rglob("_run-*"))
    assert not unnamed(Path(s.config.store))


def test_a_capped_set_of_slices_is_never_cut_and_no_part_is_empty() -> None:
    slices = {(by, f'{{"{by}":"{i}"}}'): 1 + i % 3 for by in ("a", "b", "c") for i in range(20)}
    counts = SliceCounts(np.array([], dtype=np.int64), slices)
    for parts in range(2, 70):
        found = counts.cut(parts, {("b",): 3})
        assert len(found) <= parts
        inside = [
            [key for key in slices if (one.first or key) <= key and (one.end is None or key < one.end)] for one in found
        ]
        assert sorted(key for some in inside for key in some) == sorted(slices)
        assert all(inside)
        assert sum(any(by == "b" for by, _ in some) for some in inside) == 1


def test_a_comparison_that_runs_out_of_memory_is_cut_by_days(
    whole: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, most = diff._match_rows, []

    def limited(con: Any, old: pa.Table, new: pa.Table, scope: Any) -> None:
        days = {(row["grain"], row["day"]) for rows in (old, new) for row in rows.select(["grain", "day"]).to_pylist()}
        if len(days) > 2:
            raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")
        most.append(len(days))
        real(con, old, new, scope)

    monkeypatch.setattr(diff, "_match_rows", limited)
    assert tables(story(tmp_path)) == whole
    assert max(most) == 2


@pytest.fixture(scope="module", params=[1, 2])
def scheduler(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """A scheduler with one or two worker processes."""
    options = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(n_workers=request.param, threads_per_worker=1, **options) as cluster:
        yield {"scheduler": cluster.scheduler_address}


def test_workers_roll_up_to_the_same_bits_and_one_that_is_killed_loses_and_doubles_no_row(
    whole: dict[str, list[str]], scheduler: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, 100_000)
    armed, rolled = tmp_path / "armed", tmp_path / "rolled"
    rolled.mkdir()

    class Deadly(RollUpTask):
        """A task whose worker is killed, once, when its files are written."""

        def __call__(self, stretch: Stretch, done: Callable[[int], None]) -> Any:
            changes = super().__call__(stretch, done)
            (rolled / str(os.getpid())).touch()
            with suppress(FileNotFoundError):
                armed.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            return changes

    monkeypatch.setattr(windows, "RollUpTask", Deadly)
    armed.touch()
    assert tables(story(tmp_path, scheduler)) == whole
    assert not armed.exists(), "nobody was killed"
    assert str(os.getpid()) not in os.listdir(rolled), "this process rolled up, too"


def test_workers_that_cannot_use_the_store_are_told_and_the_run_goes_on(
    whole: dict[str, list[str]],
    scheduler: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut(monkeypatch, 30_000)
    here = os.getpid()

    class Elsewhere(RollUpTask):
        """A task that finds the store in one process only."""

        def __call__(self, stretch: Stretch, done: Callable[[int], None]) -> Any:
            if os.getpid() != here:
                raise StoreError("the store cannot be read", found="no such folder")
            return super().__call__(stretch, done)

    monkeypatch.setattr(windows, "RollUpTask", Elsewhere)
    assert tables(story(tmp_path, scheduler)) == whole
    assert "workers cannot use the store, so this process rolls up: no such folder" in caplog.messages


def unnamed(store: Path) -> set[str]:
    """The files in the folders of tables that no commit names."""
    named = set()
    for log in store.glob("*/_delta_log/*.json"):
        for line in log.read_text().splitlines():
            if "add" in (action := json.loads(line)):
                named.add(action["add"]["path"].rsplit("/", 1)[-1])
    return {file.name for file in store.rglob("part-*.parquet")} - named


def test_files_of_tasks_and_commits_that_fail_are_not_seen_and_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_files(monkeypatch)
    s = story(tmp_path)
    before, store, copy = tables(s), Path(s.config.store), tmp_path / "copy"
    shutil.copytree(store, copy)
    assert not unnamed(store)
    s.log_feedback("h.parquet", [Feedback(f"id{i}", START + 12 * DAY + HOUR, float(i % 2)) for i in (30, 150)])
    as_of, compared, calls = START + 14 * DAY, rolled_up.compared, []
    cut(monkeypatch, 100_000)

    def fails_late(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 5:
            assert unnamed(store), "nothing was written before"
            raise StoreError("the disk is full")
        return compared(*given)

    with monkeypatch.context() as patch:
        patch.setattr(rolled_up, "compared", fails_late)
        with pytest.raises(StoreError, match="full"):
            s.run(as_of)
    assert not unnamed(store)

    def loses(*_: Any) -> Any:
        assert unnamed(store)
        raise ConflictError("another run published at the same time")

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "table_to_write", loses)
        patch.setattr("sli.publishing.turns.PATIENCE", 0)
        patch.setattr("sli.runs.recompute.ATTEMPTS", 1)
        with pytest.raises(ConflictError):
            s.run(as_of)
    assert not unnamed(store)
    assert tables(s) == before
    s.run(as_of)
    assert not unnamed(store)
    s.settings |= {"store": str(copy)}
    monkeypatch.undo()
    s.run(as_of)
    assert tables(s) != before
    copied = tables(s)
    s.settings |= {"store": str(store)}
    assert tables(s) == copied


def test_a_disk_that_is_full_while_a_stretch_is_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rolled_up, "stored_batches", full)
    with pytest.raises(StoreError, match="make room on its disk"):
        story(tmp_path)
    assert not list(tmp_path.rglob("part-*.parquet"))
