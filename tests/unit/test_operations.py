"""The page for whoever is on call: it names all there is, its commands run, and what it says of stores happens."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli import errors
from sli.command.arguments import EPILOG
from sli.command.cli import main
from sli.config.export_sections import PROBLEMS
from sli.doctor.examine import CHECKS
from sli.runs.outcome import Outcome

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
MONDAY = at("2024-01-15T00:00")
WORLD = small_world(grains=("hour", "day", "cumulative"))
LAST = 5
"""The day of the last run, after which every hour that is logged is final."""


def section(title: str) -> str:
    [found] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def rows(title: str) -> list[list[str]]:
    """The cells of a section's first table, without backticks and its head."""
    [table, *_] = re.findall(r"(?:^\|.*\n)+", section(title), flags=re.MULTILINE)
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_every_exit_code_of_the_command_is_on_the_page() -> None:
    told = {int(line) for line in re.findall(r"^  (\d+)  ", EPILOG, flags=re.MULTILINE)}
    source = (ROOT / "sli/command/cli.py").read_text()
    interrupted = {int(code) for code in re.findall(r"return (\d{2,})", source)}
    assert {int(row[0]) for row in rows("Exit codes")} == told | interrupted
    worst = re.findall(r"it is the worst: (.*)", EPILOG)
    assert worst[0] in section("Exit codes")


def test_every_class_of_errors_is_on_the_page_with_its_exit_code() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.SliError)]
    assert {(row[0], int(row[1])) for row in rows("Errors")} == {(each.__name__, each.exit_code) for each in classes}


def test_every_event_of_flows_and_webhooks_is_on_the_page() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "flows").glob("*.py"))
    emitted = set(re.findall(r'"(sli\.\w+\.\w+)"', sources))
    assert {row[0] for row in rows("Events")} - {""} == emitted
    assert {row[1] for row in rows("Events")} - {""} == {"published", *PROBLEMS}


def test_every_beginning_of_a_warning_on_the_page_is_printed_somewhere() -> None:
    printed = "".join(path.read_text() for path in (ROOT / "sli").rglob("*.py"))
    assert [row[0] for row in rows("Warnings") if f'"{row[0]}' not in printed] == []


def test_every_check_of_the_doctor_is_on_the_page() -> None:
    told = [name for row in rows("The doctor") for name in row[0].split(", ")]
    assert sorted(told) == sorted(check.name for check in CHECKS)


class Desk(Scenario):
    """A scenario with a config file beside a store `results`, and days to log."""

    @property
    def path(self) -> Path:
        return self.root / "sli.yaml"

    def write(self, **changes: Any) -> None:
        tree = config_of(self.world, self.root) | {"store": str(self.root / "results")} | changes
        self.path.write_text(yaml.safe_dump(tree))

    def day(self, day: int) -> None:
        """Log a day, with corrections of the one before."""
        begin = MONDAY + day * DAY
        made = [Prediction(f"{day}-{i}", begin + i * HOUR, i / 24, {}) for i in range(24)]
        labels = [Feedback(row.id, row.time + 3 * HOUR, float(i % 3 > 0)) for i, row in enumerate(made)]
        late = [Feedback(f"{day - 1}-{i}", begin + i * HOUR - HOUR, 0.0) for i in range(24)] if day else []
        self.log_predictions(f"{day:02}.parquet", made)
        self.log_feedback(f"{day:02}.parquet", [*labels, *late])

    def go(self, day: int) -> Outcome:
        """The run as of the end of a day."""
        return sli.run(str(self.path), as_of=text(MONDAY + (day + 1) * DAY))

    def values(self, **given: Any) -> pd.DataFrame:
        return sli.read(self.path, **given).drop(columns=["run_id", "as_of"]).astype(str)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path, WORLD)
    made.write()
    for day in range(4):
        made.day(day)
    made.go(2)
    made.go(LAST)
    return made


def copied(store: Path, to: Path) -> Iterator[str]:
    """Copy in the order of the page; yields after each step."""
    tables = sorted((path.name for path in store.iterdir() if path.is_dir()), key=lambda name: name != "results")
    to.mkdir()
    for table in tables:
        for part in ("_delta_log", "."):
            log = shutil.ignore_patterns("_delta_log") if part == "." else None
            shutil.copytree(store / table / part, to / table / part, ignore=log, dirs_exist_ok=True)
            yield f"{table}/{part}"


def test_the_first_look_and_a_backup_with_the_commands_of_the_page(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk.root)
    blocks = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    commands = [line[2:].split("  #")[0] for block in blocks for line in block.splitlines()]
    before = desk.values()
    assert len(commands) >= 7
    for command in commands:
        if command.startswith("sli "):
            assert main(command.split()[1:]) == 0, command
        else:
            subprocess.run(command, shell=True, check=True)
    assert "error" not in capsys.readouterr().err
    pd.testing.assert_frame_equal(desk.values(), before)


def test_a_copy_in_the_order_of_the_page_while_runs_publish_is_a_store_that_goes_on(desk: Desk) -> None:
    backup, day = desk.root / "backup", LAST + 1
    for number, _ in enumerate(copied(desk.root / "results", backup)):
        if number % 3:
            continue
        desk.day(day)
        desk.go(day)
        day += 1
    whole, runs = desk.values(), len(sli.read(desk.path, table="runs"))
    assert day > LAST + 4
    desk.write(store=str(backup))
    assert sli.read(desk.path, grain="day").window_start.nunique() == 4
    outcome = desk.go(day - 1)
    assert outcome.published
    pd.testing.assert_frame_equal(desk.values(), whole)
    assert len(sli.read(desk.path, table="runs")) < runs
    assert not desk.go(day - 1).published


def test_a_restored_copy_catches_up_and_forgets_only_what_was_believed_in_between(desk: Desk) -> None:
    shutil.copytree(desk.root / "results", desk.root / "backup")
    for day in range(6, 10):
        desk.day(day)
        desk.go(day)
    whole = desk.values()
    desk.write(store=str(desk.root / "backup"))
    desk.go(9)
    pd.testing.assert_frame_equal(desk.values(), whole)
    between = text(MONDAY + 8 * DAY)
    assert sli.read(desk.path, as_of=between, grain="day").window_start.nunique() == 4
    desk.write()
    assert sli.read(desk.path, as_of=between, grain="day").window_start.nunique() == 6


def test_a_store_that_moved_has_nothing_to_do_and_moved_logs_change_nothing(desk: Desk) -> None:
    whole = desk.values()
    shutil.move(desk.root / "results", desk.root / "elsewhere")
    desk.write(store=str(desk.root / "elsewhere"))
    assert not desk.go(LAST).published
    tree = yaml.safe_load(desk.path.read_text())
    for log in ("predictions", "feedback"):
        shutil.copytree(desk.root / log, desk.root / "archive" / log)
        tree[log]["path"] = str(desk.root / "archive" / log)
    desk.path.write_text(yaml.safe_dump(tree))
    outcome = desk.go(LAST)
    assert len(outcome.revised) == 0
    pd.testing.assert_frame_equal(desk.values(), whole)


def test_logs_deleted_behind_final_hours_keep_their_values_until_a_key_that_counts_rows_changes(desk: Desk) -> None:
    whole = desk.values()
    for log in ("predictions", "feedback"):
        desk.remove(log, "00.parquet")
    assert desk.go(LAST).plan.held
    pd.testing.assert_frame_equal(desk.values(), whole)
    desk.write(horizon="2d")
    desk.go(LAST)
    days = sli.read(desk.path, grain="day").window_start
    assert days.min().isoformat() == "2024-01-16T00:00:00+00:00"


ALL, SOME, NONE = "everything, from the logs", "only the states that it lacks; final hours too", "nothing"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"slis": [{"sli": "accuracy", "objective": ">= 0.5"}]}, NONE),
        ({"memory": "3GB"}, NONE),
        ({"slis": ["accuracy", "log_loss"]}, SOME),
        ({"grains": ["hour", "day", "cumulative", {"size": "2d", "every": "1d"}]}, NONE),
        ({"horizon": "2d"}, ALL),
        ({"timezone": "America/New_York"}, ALL),
        ({"threshold": 0.7}, ALL),
        ({"since": "2024-01-16"}, ALL),
        ({"duplicates_within": "5d"}, ALL),
        ({"predictions__where": "score >= 0"}, ALL),
    ],
)
def test_a_change_of_the_config_costs_what_the_page_says(desk: Desk, changes: dict[str, Any], says: str) -> None:
    before = sli.read(desk.path)
    tree = yaml.safe_load(desk.path.read_text())
    for key, value in changes.items():
        log, _, name = key.rpartition("__")
        (tree[log] if log else tree)[name] = value
    desk.path.write_text(yaml.safe_dump(tree))
    desk.go(LAST + 1)
    told = {row[1] for row in rows("Changing the config")}
    assert says in told
    after = sli.read(desk.path)
    accuracy = set(after[after.sli == "accuracy"].definition)
    assert (accuracy != set(before.definition)) == (says == ALL)
    pd.testing.assert_frame_equal(
        sli.read(desk.path, as_of=text(MONDAY + 6 * DAY)).drop(columns="as_of"), before.drop(columns="as_of")
    )
