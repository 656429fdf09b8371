"""Files that nobody needs any more are removed, by runs and by `sli gc`; whatever a reader can still need stays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from builders import config_tree
from unattended import START, Unattended

import sli
from sli.command.cli import main
from sli.config.checks import TABLES
from sli.config.load import checked
from sli.engine.stored_files import StoredFolder
from sli.errors import ConfigError, StoreError
from sli.maintenance.collect import collect
from sli.publishing import delta_tables, transaction
from sli.publishing.mending import publish_without
from sli.publishing.store import LAYOUT, Store
from sli.reading.publication import opened
from sli.report.changes import changes_of

DAY = 24


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Unattended:
    """Nine hourly runs, and the same folder again for each test (see `job`)."""
    job = Unattended(tmp_path_factory.mktemp("unattended") / "job")
    for _ in range(9):
        job.pass_hours()
    shutil.copytree(job.folder, job.folder.with_name("copy"))
    return job


@pytest.fixture
def job(grown: Unattended) -> Unattended:
    shutil.rmtree(grown.folder)
    shutil.copytree(grown.folder.with_name("copy"), grown.folder)
    grown.hours = 9
    return grown


def age(job: Unattended, hours: float) -> None:
    """All files of the store become so much older."""
    for path in job.files():
        status = path.stat()
        os.utime(path, (status.st_atime - hours * 3600, status.st_mtime - hours * 3600))


def content(job: Unattended) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in job.files()}


def test_what_was_replaced_stays_as_long_as_the_config_says_and_goes_then(job: Unattended) -> None:
    before = set(job.files())
    assert collect(job.config).files == 0
    assert before <= set(job.files())
    age(job, DAY + 1)
    done = collect(job.config)
    assert len(done.removed["results"].replaced) >= 8
    assert done.files == len(before - set(job.files()))
    assert collect(job.config).files == 0


def test_a_reader_that_opened_a_publication_can_read_it_although_runs_go_on(job: Unattended) -> None:
    age(job, 12)
    publication = opened(job.config)
    expected = {name: publication.rows(name).num_rows for name in ("results", "tiles", "days", "revisions", "runs")}
    for _ in range(7):
        job.pass_hours()
    collect(job.config)
    again = opened(job.config, as_of=START + 9 * pd.Timedelta(hours=1))
    assert {name: again.rows(name).num_rows for name in expected} == expected


def test_a_dry_run_writes_nothing_and_says_what_would_go(
    job: Unattended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sli.yaml"
    path.write_text(yaml.safe_dump(config_tree(job.folder, grains=["hour", "day"], store=stored(job, keep_files="1d"))))
    age(job, 3 * DAY)
    before = content(job)
    assert main(["gc", str(path), "--dry-run", "--json"]) == 0
    would = json.loads(capsys.readouterr().out)
    assert content(job) == before
    assert main(["gc", str(path)]) == 0
    said = capsys.readouterr().out
    assert would["files"] == len(before.keys() - set(job.files())) > 50
    assert f"{would['files']} files removed" in said
    assert main(["gc", str(path)]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def stored(job: Unattended, **keys: str) -> dict[str, str]:
    return {"path": job.config.store, **keys}


def test_left_over_files_of_killed_runs_go_after_a_day_and_what_is_not_ours_stays(job: Unattended) -> None:
    store = Path(job.config.store)
    day = next(store.glob("tiles/day=*"))
    left = [
        *(day / "part-0f.parquet", store / "tiles" / "_run-0f", store / "_probe-0f"),
        store / "runs" / "_delta_log" / "_commit_0f.json.tmp",
    ]
    foreign = [store / "notes.txt", day / "notes.parquet"]
    for path in (*left, *foreign):
        path.write_bytes(b"")
    age(job, DAY - 1)
    assert collect(job.config).removed[""].left_over == {}
    age(job, 2)
    job.pass_hours()  # the first run of a day would remove them, this one does not look for them
    assert all(path.exists() for path in left)
    done = collect(job.config)
    assert set(done.removed[""].left_over) == {str(path.relative_to(store)) for path in left}
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in foreign)


def test_the_first_run_of_a_day_removes_left_over_files(job: Unattended) -> None:
    left = next(Path(job.config.store).glob("tiles/day=*")) / "part-0f.parquet"
    left.write_bytes(b"")
    age(job, DAY + 1)
    job.pass_hours(DAY)
    assert not left.exists()


def test_nothing_is_removed_from_a_table_that_lacks_files(job: Unattended) -> None:
    live = Store(job.config.store).tables.open("results")
    assert live is not None
    gone = Path(live.files()[0])
    age(job, 2 * DAY)
    gone.unlink()
    before = set(job.files())
    with pytest.raises(StoreError, match="not where they should be"):
        collect(job.config)
    assert {path for path in before if "results" in path.parts and "_delta_log" not in path.parts} <= set(job.files())


def test_a_run_that_cannot_remove_files_has_published_and_says_so(
    job: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(StoredFolder, "remove", refused)
    age(job, 2 * DAY)
    outcome = job.pass_hours()
    assert outcome.published
    assert outcome.warnings == (
        "everything is published, but old files of the store could not be removed: Access Denied",
    )


class Killed(BaseException):
    """Stands for a kill."""


def killed_after(count: int) -> Callable[[StoredFolder, Iterator[str]], None]:
    """Removes files until so many are gone, of all calls together."""
    left, remove = [count], StoredFolder.remove

    def some(self: StoredFolder, paths: Any) -> None:
        for path in paths:
            if not left[0]:
                raise Killed
            left[0] -= 1
            remove(self, [path])

    return some


@pytest.mark.parametrize("count", [0, 1, 7, 40, 70, 90])
def test_maintenance_that_is_killed_is_finished_by_the_next(
    job: Unattended, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    known = {hour: job.results(START + hour * pd.Timedelta(hours=1)) for hour in (3, 9)}
    age(job, 2 * DAY)
    with monkeypatch.context() as patch:
        patch.setattr(StoredFolder, "remove", killed_after(count))
        with pytest.raises(Killed):
            collect(job.config)
    for hour, rows in known.items():
        pd.testing.assert_frame_equal(job.results(START + hour * pd.Timedelta(hours=1)), rows)
    job.pass_hours()
    collect(job.config)
    assert collect(job.config).files == 0
    assert sli.verify(job.config).equal


def test_an_undone_run_can_be_undone_only_while_its_files_are_there(job: Unattended) -> None:
    store, limit = Store(job.config.store), int((START + pd.Timedelta(hours=4)).value // 1000)
    age(job, 3 * DAY)
    collect(job.config)
    before = content(job)
    with pytest.raises(StoreError, match="no earlier publication"):
        store.undo_after(limit)
    assert content(job) == before


def test_after_an_undone_run_the_files_of_the_older_publication_stay(job: Unattended) -> None:
    limit = int((START + pd.Timedelta(hours=4)).value // 1000)
    rows = job.results(START + pd.Timedelta(hours=4))
    assert Store(job.config.store).undo_after(limit) is not None
    age(job, 3 * DAY)
    collect(job.config)
    pd.testing.assert_frame_equal(job.results(), rows)
    job.pass_hours()
    assert sli.verify(job.config).equal


def test_history_keeps_what_was_known_since_the_cut_to_the_bit(job: Unattended) -> None:
    for _ in range(4):
        job.pass_hours(DAY)
    known = [START + pd.Timedelta(hours=hours) for hours in (4, 9, 33, 57, 81, 105)]
    rows = {as_of: job.results(as_of) for as_of in known}
    config = checked(config_tree(job.folder, grains=["hour", "day"], store=stored(job, history="2d")))
    done = collect(config)
    assert done.thinned > 0
    job.pass_hours()
    for as_of in known:
        if as_of < known[-1] - pd.Timedelta(days=2):
            with pytest.raises(StoreError, match="no longer kept"):
                job.results(as_of)
        else:
            pd.testing.assert_frame_equal(job.results(as_of), rows[as_of])


def test_what_is_kept_for_less_than_a_day_is_refused(job: Unattended) -> None:
    with pytest.raises(ConfigError) as error:
        checked(config_tree(job.folder, store=stored(job, keep_files="2h")))
    assert error.value.where.endswith("store.keep_files")
    with pytest.raises(ConfigError, match="unknown key 'keep'"):
        checked(config_tree(job.folder, store=stored(job, keep="2d")))


def test_what_was_believed_before_small_files_were_merged_can_be_read_as_long_as_what_came_of_it(
    job: Unattended,
) -> None:
    for _ in range(3):
        job.pass_hours()
    believed, names = job.now, ("results", "tiles", "days", "revisions", "runs", "inputs")
    expected = {name: opened(job.config).rows(name).num_rows for name in names}
    age(job, DAY)
    assert collect(job.config).merged
    age(job, DAY + 1)
    job.pass_hours()
    assert collect(job.config).removed["runs"].replaced
    publication = opened(job.config, as_of=believed)
    assert {name: publication.rows(name).num_rows for name in names} == expected


def test_after_merging_small_files_the_last_run_is_still_the_last_one_and_the_next_finds_nothing_to_do(
    job: Unattended,
) -> None:
    def told() -> tuple[object, ...]:
        publication = opened(job.config)
        runs = publication.rows("runs").column("sequence").to_pylist()
        return publication.published.sequence, max(runs), changes_of(publication).windows

    before = told()
    assert collect(job.config).merged
    assert told() == before == (9, 9, before[2])
    assert before[2]
    assert not sli.run(job.config, as_of=job.now).published
    job.pass_hours()
    assert told()[:2] == (10, 10)


def test_files_that_are_too_large_to_be_merged_are_left_alone(job: Unattended, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sorted(path.stat().st_size for path in (Path(job.config.store) / "runs").glob("*.parquet"))
    for module in (delta_tables, transaction):
        monkeypatch.setattr(module, "TARGET_BYTES", sizes[0] + sizes[1] - 1)
    assert "runs" not in collect(job.config).merged
    before = content(job)
    assert collect(job.config).merged == {}
    assert content(job) == before


def test_what_was_known_before_a_repair_that_lost_revisions_is_refused_also_after_history_is_thinned(
    job: Unattended,
) -> None:
    for _ in range(3):
        job.pass_hours(DAY)
    files = (Path(job.config.store) / "revisions").glob("grain=hour/*")
    lost = f"grain=hour/{min(files, key=lambda path: path.stat().st_mtime).name}"
    publish_without(Store(job.config.store), [], {"revisions": {lost}}, {"revisions"})
    rows = job.results()
    config = checked(config_tree(job.folder, grains=["hour", "day"], store=stored(job, history="1d")))
    for thinned in (False, True):
        assert bool(thinned and collect(config).thinned) == thinned
        for hours in (4, 9 + 2 * DAY, 8 + 3 * DAY):
            with pytest.raises(StoreError, match="no longer kept"):
                job.results(START + pd.Timedelta(hours=hours))
        pd.testing.assert_frame_equal(job.results(job.now), rows)


def test_a_log_in_the_folder_of_a_table_is_refused(tmp_path: Path) -> None:
    assert set(TABLES) == set(LAYOUT)
    for path in (f"{tmp_path}/store/inputs", f"{tmp_path}/store/tiles/predictions/*.parquet"):
        with pytest.raises(ConfigError, match="belongs to a table of the store"):
            checked(config_tree(tmp_path, predictions__path=path))
    checked(config_tree(tmp_path, predictions__path=f"{tmp_path}/store/inputs-of-mine"))
