"""A power loss at any instant: what no run has told as published may be gone or cut off, all else is there; the next
run needs nobody, and leaves what the oracle says."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from builders import Template, small_world
from oracle import Feedback, Prediction
from power import LOSSES, Disk, can_record, recorded, write
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.errors import SliError, StoreError
from sli.publishing import power_loss
from sli.publishing.delta_tables import NEXT_RUN
from sli.publishing.power_loss import FolderLog
from sli.publishing.store import LAYOUT, Store

ROOT = Path(__file__).parents[2]
START = at("2024-03-08T00:00")
WORLD = small_world(horizon=30 * DAY, since=START, slice_by=((), ("a",)), grains=("day", "cumulative"))
BEFORE = 9
"""Runs before: the next commit is the tenth, with which the table library writes a checkpoint."""
RUN = """
import sys
from sli.command.cli import main
from sli.publishing.transaction import SMALL_FILES
SMALL_FILES.update(dict.fromkeys(SMALL_FILES, 1))
sys.exit(main(sys.argv[1:]))
"""
needs_strace = pytest.mark.skipif(not can_record(), reason="strace is not there, or may not trace")


def as_of(runs: int) -> int:
    return START + DAY + runs * HOUR


def logged(scenario: Scenario, number: int) -> None:
    """Predictions of an hour, and late feedback of the one before."""
    rows = [Prediction(f"{number}-{i}", START + number * HOUR + i, i / 4, {"a": "xy"[i % 2]}) for i in range(4)]
    scenario.log_predictions(f"{number}.parquet", rows)
    known = [Feedback(f"{number - 1}-{i}", START + number * HOUR, 1.0) for i in range(3)]
    scenario.log_feedback(f"{number}.parquet", known)


def world_after(folder: Path, runs: int) -> Scenario:
    scenario = Scenario(folder / "world", WORLD)
    logged(scenario, 0)
    for number in range(runs):
        logged(scenario, number + 1)
        scenario.run(as_of(number))
    logged(scenario, runs + 1)
    return scenario


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(world_after(tmp_path_factory.mktemp("power"), BEFORE))


class Recording:
    """A run that was recorded, to end in a power loss wherever one likes."""

    def __init__(self, scenario: Scenario, runs: int) -> None:
        self.scenario, self.runs, self.root = scenario, runs, scenario.root
        self.before = self.root.with_name(f"{self.root.name}-before")
        shutil.copytree(self.root, self.before)
        config = self.root.with_name("sli.yaml")
        config.write_text(yaml.safe_dump(config_of(WORLD, self.root)))
        command = [sys.executable, "-c", RUN, "run", str(config), "--as-of", text(as_of(runs))]
        self.events = recorded(command, self.root, {"PYTHONPATH": str(ROOT)})
        self.told = self.seen()

    def seen(self) -> list[str]:
        """What readers see; nothing before the first publication."""
        try:
            frame = sli.read(self.scenario.config)
        except StoreError as error:
            if "nothing is published yet" not in str(error):
                raise
            return []
        return sorted(map(repr, frame.drop(columns="run_id").to_dict("records")))

    def lose_power(self, events: int, pick: random.Random, loss: str) -> None:
        """Everything as the power loss leaves it after so many events."""
        disk = Disk.of(self.before, self.root, self.events[:events])
        write(disk.lose_power(pick, loss), self.root)
        for log in ("predictions", "feedback"):  # with the times of their files
            shutil.copytree(self.before / log, self.root / log, dirs_exist_ok=True)

    def check(self, events: int, pick: random.Random, loss: str) -> str:
        """What the next run found; afterwards all is as the oracle says, and every publication there once."""
        self.lose_power(events, pick, loss)
        seen = None
        try:
            seen = self.seen()
        except StoreError as error:
            if error.todo != NEXT_RUN:
                raise
        if events == len(self.events):
            assert seen == self.told, "what the run told as published is gone"
        outcome = self.scenario.run(as_of(self.runs))
        assert seen is None or outcome.published is (seen != self.told), "readers saw something else than the next run"
        assert self.seen() == self.told
        self.scenario.check(as_of(self.runs))
        assert list(sli.read(self.scenario.config, table="runs").sequence) == [*range(1, self.runs + 2)]
        return "read after the next run only" if seen is None else "was there" if seen == self.told else "published"


def drawn(recording: Recording, number: int, seed: int) -> Counter[str]:
    """So many power losses at instants drawn at random, each in the three ways, and one after the run's end."""
    pick, outcomes = random.Random(seed), Counter[str]()
    instants = [len(recording.events), *(pick.randrange(len(recording.events)) for _ in range(number))]
    for instant in instants:
        for loss in LOSSES:
            try:
                outcomes[recording.check(instant, pick, loss)] += 1
            except (AssertionError, SliError) as error:
                pytest.fail(f"after {instant} of {len(recording.events)} events, kept: {loss}: {error}")
    return outcomes


@needs_strace
@pytest.mark.parametrize(
    ("runs", "number"),
    [
        (0, 3),
        (BEFORE, 3),
        pytest.param(0, 50, marks=pytest.mark.soak),
        pytest.param(BEFORE, 50, marks=pytest.mark.soak),
    ],
)
def test_a_power_loss_at_any_instant_loses_nothing_that_a_run_told(
    template: Template, tmp_path: Path, runs: int, number: int
) -> None:
    recording = Recording(template.restored() if runs else world_after(tmp_path, 0), runs)
    outcomes = drawn(recording, number, 7)
    print(f"{len(recording.events)} events of a run, {outcomes.total()} power losses: {dict(outcomes)}")
    assert outcomes["was there"] >= len(LOSSES)
    assert outcomes["published"]


def newest(scenario: Scenario, table: str, kind: str = "*.json") -> Path:
    return max(Path(scenario.config.store, table, "_delta_log").glob(kind))


def aged(path: Path, content: bytes) -> None:
    """Write a file an hour ago."""
    path.write_bytes(content)
    os.utime(path, (path.stat().st_mtime - 3600,) * 2)


def cut_at_line(content: bytes) -> bytes:
    """All lines but the last two: each is whole."""
    return b"\n".join(content.rstrip().split(b"\n")[:-2]) + b"\n"


CUTS = {
    "empty": lambda _: b"",
    "cut": lambda content: content[:300],
    "cut between lines": cut_at_line,
    "a page of zeros": lambda content: content[:400] + bytes(400) + content[800:],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_publication_that_was_cut_off_is_stepped_over_and_made_again(
    template: Template, cut: str, caplog: pytest.LogCaptureFixture
) -> None:
    scenario = template.restored()
    before = sli.read(scenario.config)
    scenario.run(as_of(BEFORE))
    commit = newest(scenario, "results")
    aged(commit, CUTS[cut](commit.read_bytes()))
    assert sli.read(scenario.config).equals(before)
    assert sli.plan(scenario.config, as_of=text(as_of(BEFORE))).tiles
    assert newest(scenario, "results") == commit, "reading and planning change nothing"
    assert scenario.run(as_of(BEFORE)).published
    assert f"cut off before it counted: {commit.name}" in caplog.text
    scenario.check(as_of(BEFORE))
    assert len(sli.read(scenario.config, table="runs")) == BEFORE + 1


def test_a_table_that_a_first_run_had_not_wholly_made_is_made_anew(tmp_path: Path) -> None:
    scenario = world_after(tmp_path, 0)
    scenario.run(as_of(0))
    for table in LAYOUT:
        log = sorted(Path(scenario.config.store, table, "_delta_log").glob("*.json"))
        for commit in log[1:]:
            commit.unlink()
        if log and table != "results":
            aged(log[0], b"".join(log[0].read_bytes().splitlines(keepends=True)[:2]))
    scenario.run(as_of(0))
    scenario.check(as_of(0))


def test_the_undoing_of_a_run_that_was_cut_off_between_two_lines_does_not_count(template: Template) -> None:
    scenario = template.restored()
    before = sli.read(scenario.config)
    store = Store(scenario.config.store)
    assert store.undo_after(as_of(BEFORE - 2)) is not None
    assert not sli.read(scenario.config).equals(before)
    commit = newest(scenario, "results")
    aged(commit, cut_at_line(commit.read_bytes()))
    assert sli.read(scenario.config).equals(before)


def test_more_commits_of_results_than_a_power_loss_can_cut_off_are_damage(template: Template) -> None:
    scenario = template.restored()
    for path in sorted(Path(scenario.config.store, "results", "_delta_log").glob("*.json"))[-4:]:
        aged(path, b"")
    for call in (lambda: sli.read(scenario.config), lambda: scenario.run(as_of(BEFORE))):
        with pytest.raises(StoreError, match="the log of a table is damaged"):
            call()
    assert newest(scenario, "results").stat().st_size == 0


@pytest.mark.parametrize("table", ["results", "tiles"])
def test_a_checkpoint_that_was_cut_off_is_removed_by_the_next_run(template: Template, table: str) -> None:
    scenario = template.restored()
    scenario.run(as_of(BEFORE))
    checkpoint = newest(scenario, table, "*.checkpoint.parquet")
    aged(checkpoint, checkpoint.read_bytes()[:1000])
    if table == "results":
        with pytest.raises(StoreError, match="the log of a table is damaged") as caught:
            sli.read(scenario.config)
        assert caught.value.todo == NEXT_RUN
    logged(scenario, BEFORE + 2)
    scenario.run(as_of(BEFORE + 1))
    assert not checkpoint.exists()
    scenario.check(as_of(BEFORE + 1))


def test_a_commit_that_may_still_be_on_its_way_is_waited_for(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = template.restored()
    commit = newest(scenario, "results")
    whole, waited = commit.read_bytes(), list[float]()
    commit.write_bytes(b"")

    def arrives(seconds: float) -> None:
        waited.append(seconds)
        commit.write_bytes(whole)

    monkeypatch.setattr(power_loss.time, "sleep", arrives)
    FolderLog(commit.parents[1]).mend()
    assert commit.read_bytes() == whole
    assert 50 < waited[0] <= power_loss.SETTLED


def test_a_disk_that_fails_to_keep_what_a_publication_rests_on_publishes_nothing(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = template.restored()
    before = sli.read(scenario.config)

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(power_loss.os, "fsync", failing)
        with pytest.raises(StoreError, match="the store cannot be written"):
            scenario.run(as_of(BEFORE))
    assert sli.read(scenario.config).equals(before)
    scenario.run(as_of(BEFORE))
    scenario.check(as_of(BEFORE))
