"""Kills and crowds: runs, backfills and maintenance killed at any instant, again and again, and many at once.

Nothing is lost, nothing counted twice, no error is left that somebody must act on.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders import small_world
from children import Child
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, published, text

import sli
from sli.command.cli import main
from sli.config import checks
from sli.config.load import checked
from sli.errors import SliError

START = at("2024-03-08T00:00")
WORLD = small_world(
    horizon=12 * HOUR, since=START, slice_by=((), ("a",)), grains=("day", "cumulative"), slis=("accuracy", "mean")
)
TOGETHER = 5
"""So many kills come between two runs that are left alone."""


def logged(scenario: Scenario, number: int) -> None:
    """Predictions of an hour, feedback of the one before, and late feedback that a backfill counts."""
    rows = [Prediction(f"{number}-{i}", START + number * HOUR + i, i / 4, {"a": "xy"[i % 2]}) for i in range(4)]
    scenario.log_predictions(f"{number}.parquet", rows)
    known = [Feedback(f"{hour}-{hour % 4}", START + number * HOUR, 1.0) for hour in (number, number - 1, number - 5)]
    scenario.log_feedback(f"{number}.parquet", [row for row in known if not row.id.startswith("-")])


def as_of(number: int) -> int:
    return START + (number + 1) * HOUR


def tree_of(scenario: Scenario, url: str, keep: str) -> dict[str, Any]:
    """The config, with the store in a folder or at a URL; replaced files stay so long."""
    store = {"path": url or str(scenario.root / "store"), "keep_files": keep}
    return config_of(scenario.world, scenario.root) | {"store": store}


def working(tree: dict[str, Any], what: str, until: int, day: int) -> str:
    """A run, a backfill of a day, or maintenance; returns what went wrong, if anything."""
    if tree["store"]["keep_files"] == "0s":
        checks.SHORTEST_KEEP = 0  # in this process; nobody reads meanwhile
    try:
        if what == "run":
            sli.run(checked(tree), as_of=text(until))
        elif what == "backfill":
            sli.backfill(checked(tree), as_of=text(until), start=text(day), end=text(day + DAY))
        else:
            config = Path(tree["predictions"]["path"]).parent / f"sli-{os.getpid()}.yaml"
            config.write_text(json.dumps(tree))
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
                code = main(["gc", str(config)])
            config.unlink()
            return told.getvalue() if code else ""
    except SliError as error:
        return str(error)
    return ""


def check(scenario: Scenario, tree: dict[str, Any], until: int) -> None:
    """Everything, after a run and a backfill of all days, is what a store says that nobody disturbed."""
    sli.run(checked(tree), as_of=text(until))
    sli.backfill(checked(tree), as_of=text(until), start=text(START), end=text(until))
    expected = scenario.answer(until).results
    found = published(checked(tree))
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key][3:5] == (row.predictions, row.labelled), key
        assert found[key][0] == pytest.approx(row.value), key
    sequence = sorted(sli.read(checked(tree), table="runs").sequence)
    assert sequence == [*range(1, len(sequence) + 1)], "a publication is there twice, or is lost"


def killed(scenario: Scenario, url: str, kills: int, seconds: tuple[float, float]) -> Counter[str]:
    """So many processes killed after some time drawn at random; how they ended."""
    pick, outcomes, tree = random.Random(11), Counter[str](), tree_of(scenario, url, "0s")
    logged(scenario, 0)
    sli.run(checked(tree), as_of=text(as_of(0)))
    for number in range(1, kills + 1):
        logged(scenario, number)
        what = pick.choice(["run", "run", "backfill", "gc"])
        day = START + pick.randrange(max(1, number // 24 + 1)) * DAY
        child = Child(working, tree, what, as_of(number), day)
        time.sleep(pick.uniform(*seconds))
        child.kill()
        code, answer = child.ended()
        outcomes["killed" if code == -signal.SIGKILL else "ended before"] += 1
        assert code == -signal.SIGKILL or answer == "", answer
        if number % TOGETHER == 0:
            check(scenario, tree, as_of(number))
    check(scenario, tree, as_of(kills))
    return outcomes


@pytest.fixture(autouse=True)
def _short_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SHORTEST_KEEP", 0)


@pytest.mark.parametrize("kills", [10, pytest.param(300, marks=pytest.mark.soak)])
def test_kills_at_any_instant_lose_and_double_nothing(tmp_path: Path, kills: int) -> None:
    outcomes = killed(Scenario(tmp_path, WORLD), "", kills, (0.02, 0.7))
    print(f"{kills} kills in a folder: {dict(outcomes)}")
    assert outcomes["killed"] > kills / 4


@pytest.mark.soak
def test_kills_at_any_instant_lose_and_double_nothing_on_s3(
    tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else each kill leaves the others waiting for half a minute.
    monkeypatch.setattr("sli.publishing.turns.PATIENCE", 0)
    outcomes = killed(Scenario(tmp_path, WORLD), f"{s3}/store", 200, (0.1, 2.0))
    print(f"200 kills on S3: {dict(outcomes)}")
    assert outcomes["killed"] > 50


CROWD = 8


def working_on(tree: dict[str, Any], process: int, until: float, folder: str) -> dict[str, int]:
    """Works for a while on what is logged; returns how often it did what. Raises AssertionError on any error."""
    pick, did = random.Random(process), Counter[str]()
    while time.time() < until:
        number = int(Path(folder, "newest").read_text())
        what = pick.choice(["run", "run", "run", "backfill", "gc"])
        wrong = working(tree, what, as_of(number), START + pick.randrange(number // 24 + 1) * DAY)
        assert not wrong, f"{what}: {wrong}"
        did[what] += 1
    return dict(did)


@pytest.mark.soak
@pytest.mark.parametrize("minutes", [10])
def test_a_crowd_of_processes_at_once_loses_and_doubles_nothing(tmp_path: Path, minutes: float) -> None:
    crowd(Scenario(tmp_path, WORLD), minutes * 60)


def crowd(scenario: Scenario, seconds: float) -> None:
    tree, newest = tree_of(scenario, "", "1d"), scenario.root / "newest"
    logged(scenario, 0)
    newest.write_text("0")
    until, number = time.time() + seconds, 0
    children = [Child(working_on, tree, process, until, str(scenario.root)) for process in range(CROWD)]
    while time.time() < until:
        time.sleep(min(3.0, seconds / 4))
        number += 1
        logged(scenario, number)
        newest.write_text(str(number))
    did = sum((Counter(child.answer(300)) for child in children), Counter[str]())
    check(scenario, tree, as_of(number))
    print(f"{CROWD} processes for {seconds:.0f} s: {dict(did)}, {number + 1} files of each log")
