"""Disks that are full or read-only, logs of tables that were cut, folders that killed processes left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from builders import Template, small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.engine import connection, panics
from sli.errors import StoreError
from sli.publishing.store import LAYOUT

ROOT = Path(__file__).parents[2]
START = at("2024-03-08T00:00")
WORLD = small_world(
    horizon=2 * DAY, since=START, slice_by=((), ("a",)), grains=("day", "cumulative"), slis=("accuracy", "mean")
)


def logged(scenario: Scenario, day: int) -> None:
    rows = [Prediction(f"{day}-{i}", START + day * DAY + i * HOUR, i / 24, {"a": "xy"[i % 2]}) for i in range(24)]
    scenario.log_predictions(f"{day}.parquet", rows)
    scenario.log_feedback(f"{day}.parquet", [Feedback(row.id, (row.time or 0) + HOUR, 1.0) for row in rows[::2]])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Something published twice, and logs that have grown since."""
    scenario = Scenario(tmp_path_factory.mktemp("disks") / "world", WORLD)
    logged(scenario, 0)
    scenario.run(START + DAY)
    logged(scenario, 1)
    scenario.run(START + 2 * DAY)
    logged(scenario, 2)
    return Template(scenario)


@pytest.fixture
def scenario(template: Template, tmp_path: Path) -> Scenario:
    scenario = template.restored()
    (tmp_path / "sli.yaml").write_text(yaml.safe_dump(config_of(WORLD, scenario.root)))
    return scenario


FULL = """
import resource, sys
import sli, sli.runs.hour_tiles, sli.engine.panics, sli.engine.storage
from sli.command.cli import main
from sli.publishing.delta_tables import Table

# Files that may not grow stand for a disk that is full. What little room is left decides whether panics are kept off.
sli.engine.panics.SPARE_BYTES = 1 << 60
config, as_of, when = sys.argv[1:]
write = Table.write

def fill():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.RLIM_INFINITY))

def full(*given, **named):
    fill()
    return write(*given, **named)

sys.stderr.write("before\\n")
Table.write = full
if when == "from the start":
    fill()
sys.exit(main(["run", config, "--as-of", as_of]))
"""


@pytest.mark.parametrize(
    ("when", "what"),
    [
        ("from the start", "the store cannot be written"),
        ("as it is written", "the store cannot be written"),
    ],
)
def test_a_full_disk_is_told_by_an_error_and_not_by_a_panic(
    scenario: Scenario, tmp_path: Path, when: str, what: str
) -> None:
    before = sli.read(scenario.config)
    given = [str(tmp_path / "sli.yaml"), text(START + 3 * DAY), when]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUST_BACKTRACE": "1"}
    done = subprocess.run([sys.executable, "-c", FULL, *given], capture_output=True, text=True, env=environment)
    assert done.returncode == 4, done.stderr
    first, error, *rest = done.stderr.splitlines()
    assert (first, error) == ("before", f"sli: {what}")
    assert all(line.startswith("  ") for line in rest), done.stderr
    assert sli.read(scenario.config).equals(before)
    scenario.run(START + 3 * DAY)
    scenario.check(START + 3 * DAY)


PANIC = """
thread 'tokio-rt-worker' (19808) panicked at /home/runner/object_store-0.13.2/src/buffered.rs:369:41:
Already shut down
stack backtrace:
   0: rust_begin_unwind
             at /rustc/library/std/src/panicking.rs
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
"""


def test_what_others_print_beside_a_panic_is_kept(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert panics.without_panics(f"one\n{PANIC}{PANIC}two\n  three\n{PANIC}") == "one\ntwo\n  three\n"

    def failing() -> None:
        with panics.hide_panics(str(tmp_path), 0):
            os.write(2, f"kept\n{PANIC}".encode())
            raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(panics, "SPARE_BYTES", 1 << 60)
        with pytest.raises(ZeroDivisionError):
            failing()
    assert capfd.readouterr().err == "kept\n"
    with pytest.raises(ZeroDivisionError):
        failing()
    assert capfd.readouterr().err == f"kept\n{PANIC}", "with room left nothing is held back"


def test_a_read_only_store_is_told_by_an_error_before_anything_is_written(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sli.publishing.delta_tables.os.access", lambda *_: False)
    with pytest.raises(StoreError, match="the store cannot be written") as caught:
        scenario.run(START + 3 * DAY)
    assert "read-only" in caught.value.found


def newest(scenario: Scenario, table: str) -> Path:
    return max(Path(scenario.config.store, table, "_delta_log").glob("*.json"))


@pytest.mark.parametrize("size", [0, 1, 300])
@pytest.mark.parametrize("table", ["tiles", "runs"])
def test_a_log_of_a_table_that_was_cut_is_an_error_that_says_so_and_nothing_is_written(
    scenario: Scenario, table: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(newest(scenario, table), size)
    before = {path: path.stat().st_mtime_ns for path in Path(scenario.config.store).rglob("*")}
    with pytest.raises(StoreError, match="the log of a table is damaged") as caught:
        scenario.run(START + 3 * DAY)
    assert caught.value.where.endswith(f"{table}/_delta_log")
    assert not caught.value.passes
    assert "restore it from a copy" in caught.value.todo
    assert "unknown" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in Path(scenario.config.store).rglob("*")} == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("table", list(LAYOUT))
@pytest.mark.parametrize("lost", ["all of it", "its log"])
def test_a_store_that_lost_any_of_its_tables_is_told_so(scenario: Scenario, table: str, lost: str) -> None:
    shutil.rmtree(Path(scenario.config.store, table, "" if lost == "all of it" else "_delta_log"))
    calls = [lambda: scenario.run(START + 3 * DAY)]
    if table == "results":
        calls += [
            lambda: sli.read(scenario.config.store),
            lambda: sli.plan(scenario.config, as_of=text(START + 3 * DAY)),
        ]
    for call in calls:
        with pytest.raises(StoreError, match="a table of the store is missing") as caught:
            call()
        assert caught.value.where == f"{scenario.config.store}/{table}"
        assert "restore it from a copy" in caught.value.todo
    assert not any(Path(scenario.config.store, table).rglob("*.json")), "nothing was begun anew"


SPILLING = """
import sys, time
from sli.engine.connection import spill_folder
print(spill_folder(), flush=True)
sys.stdin.readline()
"""


def spilling(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that spills below a folder, and where."""
    process = subprocess.Popen(
        [sys.executable, "-c", SPILLING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_killed_processes_spilled_is_removed_by_the_next_and_that_of_living_ones_is_not(tmp_path: Path) -> None:
    other = tmp_path / f"{connection.PREFIX}of-nobody"
    other.write_text("a file is no folder of ours")
    living, its = spilling(tmp_path)
    killed, left = spilling(tmp_path)
    (left / "duckdb_temp_storage-0.tmp").write_text("spilled")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert left.is_dir()
    following, own = spilling(tmp_path)
    assert not left.exists()
    assert its.is_dir()
    assert own.is_dir()
    for each in (living, following):
        each.communicate("\n")
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
