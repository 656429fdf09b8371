"""Runs at once, readers meanwhile, files that change under a run, commits whose answer is lost, broken stores.

Nothing is lost, nothing counted twice, nothing seen by halves; what cannot go on ends in an error of ours.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Template, small_world
from children import Child
from faulty import AWAY, Call, On, fails, faulty, first, late, loses_its_answer, stale
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of, text

import sli
from sli.command.cli import main
from sli.config.load import checked
from sli.errors import ConflictError, InputError, StoreError, UnknownCommitError
from sli.matching import execute as engine
from sli.planning.needs import RECOMPUTE
from sli.publishing import turns
from sli.publishing.store import Store
from sli.runs import recompute
from sli.runs.outcome import Outcome
from sli.slis.states import CannotAmend

OVERTAKEN = ConflictError("another run published at the same time", passes=True)
START = at("2024-03-08T00:00")
FIRST, SECOND, THIRD = START + 2 * DAY, START + 4 * DAY, START + 6 * DAY
WORLD = small_world(
    horizon=30 * DAY, since=START, slice_by=((), ("a",)), grains=("day", "cumulative"), slis=("accuracy", "mean")
)
KEY = ["sli", "definition", "grain", "window_start", "window_end", "by", "at"]


def predictions(seed: int, day: int) -> list[Prediction]:
    pick = random.Random(seed)
    times = [START + day * DAY + pick.randrange(24 * 60) * 60_000_000 for _ in range(12)]
    return [Prediction(f"id-{pick.randrange(40)}", t, pick.choice([0.1, 0.9]), {"a": pick.choice("xy")}) for t in times]


def feedback(seed: int, day: int) -> list[Feedback]:
    pick = random.Random(seed)
    times = [START + day * DAY + pick.randrange(48) * HOUR for _ in range(12)]
    return [Feedback(f"id-{pick.randrange(44)}", t, pick.choice([0.0, 1.0, None])) for t in times]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Something published as of FIRST, and logs that have changed since."""
    scenario = Scenario(tmp_path_factory.mktemp("races") / "world", WORLD)
    scenario.log_predictions("0.parquet", predictions(1, 0))
    scenario.log_predictions("1.parquet", predictions(2, 1))
    scenario.log_feedback("0.parquet", feedback(3, 0))
    scenario.run(FIRST)
    scenario.log_predictions("2.parquet", predictions(4, 2))
    scenario.log_feedback("0.parquet", [*feedback(3, 0), *feedback(5, 1)])
    scenario.log_feedback("1.parquet", feedback(6, 3))
    return Template(scenario)


@pytest.fixture
def scenario(template: Template) -> Scenario:
    return template.restored()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go on beside each other instead of waiting for their turn: the commit alone decides."""
    monkeypatch.setattr(recompute.time, "sleep", lambda _: None)
    monkeypatch.setattr(turns, "PATIENCE", 0)


def assert_sound(scenario: Scenario, *as_ofs: int) -> None:
    """No key twice in results, no belief twice in revisions, one row a run in runs, every as_of at the oracle."""
    for table, key in (("results", KEY), ("revisions", [*KEY, "sequence", "as_of"])):
        frame = sli.read(scenario.config, table=table)
        frame = frame.assign(by=frame.slice_by.map(str), at=frame["slice"].map(str))
        assert not frame.duplicated(key).any(), f"rows of {table} are there twice"
    runs = sli.read(scenario.config, table="runs").sort_values("sequence")
    newest = runs.run_id.iloc[-1]
    published = Store(scenario.config.store).published()
    assert published is not None
    assert list(runs.sequence) == list(range(1, published.sequence + 1))
    for as_of in as_ofs:
        scenario.check(as_of, read_as_of=None if as_of == published.as_of and published.run_id == newest else as_of)


@contextmanager
def rival_at(point: str, rival: Callable[[], Any]) -> Iterator[list[Any]]:
    """Lets another run finish while the first one is about to make a call. Gives what the rival returned."""
    outcomes: list[Any] = []
    name, _, nth = point.partition("#")
    with faulty(On(name, first(lambda: outcomes.append(rival())), int(nth or 1))):
        yield outcomes


DISCOVERED = "is_overtaken results"
"""Where a run has listed its logs, and looks whether another one published before it reads them."""


@pytest.mark.parametrize("point", ["open inputs", DISCOVERED, "write audit", "write results"])
def test_a_run_that_another_overtakes_finds_nothing_left_to_do(scenario: Scenario, point: str) -> None:
    with rival_at(point, lambda: scenario.run(SECOND)) as rivals:
        outcome = scenario.run(SECOND)
    assert rivals[0].published
    assert not outcome.published
    assert_sound(scenario, FIRST, SECOND)
    assert len(sli.read(scenario.config, table="runs")) == 2


@pytest.mark.parametrize(
    ("point", "other"),
    [
        ("open results", THIRD),
        ("open tiles", START + DAY),
        ("open inputs", START + 3 * DAY),
        ("write inputs", START + DAY),
        ("write results", THIRD),
    ],
)
def test_overtaken_by_a_run_of_another_as_of_both_beliefs_are_kept(scenario: Scenario, point: str, other: int) -> None:
    with rival_at(point, lambda: scenario.run(other)):
        scenario.run(SECOND)
    as_ofs = (FIRST, SECOND, other)
    assert_sound(scenario, *as_ofs)


def test_a_run_that_storage_tells_nothing_of_its_rival_loses_at_its_commit(scenario: Scenario) -> None:
    # The rival asks before, while the run opens the inputs.
    with faulty(On("open inputs", first(lambda: scenario.run(SECOND))), On("is_overtaken results", stale(False), 2)):
        assert not scenario.run(SECOND).published
    assert_sound(scenario, FIRST, SECOND)


def test_overtaken_by_a_first_run_the_first_run_starts_over(tmp_path: Path) -> None:
    for point in ("create results", "create tiles", "write tiles", "write results"):
        scenario = Scenario(tmp_path / point.replace(" ", "-"), WORLD)
        scenario.log_predictions("0.parquet", predictions(1, 0))
        scenario.log_feedback("0.parquet", feedback(3, 0))
        with rival_at(point, lambda scenario=scenario: scenario.run(FIRST)):
            assert not scenario.run(FIRST).published
        assert_sound(scenario, FIRST)


def test_a_run_as_known_now_that_a_later_one_overtakes_does_its_work_and_does_not_become_history(
    tmp_path: Path,
) -> None:
    scenario = Scenario(tmp_path, replace(WORLD, horizon=3000 * DAY))
    for day in (0, 1, 2):
        scenario.log_predictions(f"{day}.parquet", predictions(day, day))
    scenario.run(THIRD)
    for day in (0, 1, 2):
        scenario.log_feedback(f"{day}.parquet", feedback(day, day))
    later = int(time.time()) * 1_000_000 + DAY
    with rival_at("write results", lambda: scenario.run(later, look_back="0h")) as rivals:
        outcome = sli.run(scenario.config)
    assert rivals[0].plan.left.of(RECOMPUTE)
    assert (outcome.published, outcome.plan.older, outcome.plan.as_of) == (True, False, later)
    scenario.check(later)


def test_backfills_of_disjoint_intervals_at_once_both_count(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, replace(WORLD, horizon=12 * HOUR))
    for day in (0, 1, 2):
        scenario.log_predictions(f"{day}.parquet", predictions(day, day))
    scenario.log_feedback("0.parquet", feedback(3, 0))
    scenario.run(THIRD)
    for day in (0, 2):
        rows = [Feedback(row.id, row.time + HOUR, 1.0) for row in predictions(day, day) if row.time is not None]
        scenario.log_feedback(f"late-{day}.parquet", rows)
    assert len(scenario.run(THIRD).plan.held) > 0
    halves = [
        {"start": text(START), "end": text(START + DAY)},
        {"start": text(START + DAY), "end": text(START + 3 * DAY)},
    ]
    with rival_at("write results", lambda: scenario.backfill(THIRD, **halves[0])) as rivals:
        outcome = scenario.backfill(THIRD, **halves[1])
    assert rivals[0].published
    assert outcome.published
    scenario.check(THIRD)


def test_a_run_that_loses_every_time_gives_up_and_leaves_the_belief_whole(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sli.read(scenario.config)
    monkeypatch.setattr(recompute, "ATTEMPTS", 2)
    with faulty(On("write *", fails(OVERTAKEN), 0)), pytest.raises(ConflictError, match="another run published"):
        scenario.run(SECOND)
    assert sli.read(scenario.config).equals(before)
    scenario.run(SECOND)
    assert_sound(scenario, FIRST, SECOND)


def test_threads_that_run_at_once_lose_and_double_nothing(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    # They pause after each loss: three that never do could go on losing to each other, each by what it writes before
    # its commit. On a busy machine one may lose more than ATTEMPTS times before the others end.
    monkeypatch.undo()
    monkeypatch.setattr(turns, "PATIENCE", 0)
    monkeypatch.setattr(recompute, "ATTEMPTS", 100)
    start, errors = threading.Barrier(3), []

    def running(as_of: int) -> None:
        start.wait()
        try:
            scenario.run(as_of)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=running, args=(as_of,)) for as_of in (SECOND, SECOND, THIRD)]
    with faulty(On("write results", late(0.1), 0)):
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert not errors
    assert_sound(scenario, FIRST, THIRD)
    scenario.run(SECOND)
    assert_sound(scenario, FIRST, SECOND, THIRD)


def publishes(tree: dict[str, Any], as_of: str) -> bool:
    return sli.run(checked(tree), as_of=as_of).published


def test_processes_that_run_at_once_publish_once(scenario: Scenario) -> None:
    tree = config_of(scenario.world, scenario.root)
    children = [Child(publishes, tree, text(SECOND), waits=True) for _ in range(2)]
    for each in children:
        each.go()
    assert sorted(each.answer() for each in children) == [False, True]
    assert_sound(scenario, FIRST, SECOND)
    assert len(sli.read(scenario.config, table="runs")) == 2


def test_commits_that_landed_but_were_reported_failed_are_not_published_twice(scenario: Scenario) -> None:
    # The second attempt gets further.
    with faulty(*(On(f"write {table}", loses_its_answer(OVERTAKEN)) for table in ("tiles", "runs"))):
        scenario.run(SECOND)
    assert_sound(scenario, FIRST, SECOND)
    assert len(sli.read(scenario.config, table="runs")) == 2


@pytest.mark.parametrize("error", [AWAY, OVERTAKEN])
def test_a_run_whose_commit_landed_though_its_answer_was_lost_says_what_it_published(
    scenario: Scenario, error: StoreError
) -> None:
    with faulty(On("write results", loses_its_answer(error))):
        outcome = scenario.run(SECOND)
    assert outcome.published
    assert len(outcome.revised) > 0
    assert not scenario.run(SECOND).published
    assert_sound(scenario, FIRST, SECOND)


def test_a_run_whose_commit_landed_below_that_of_another_says_what_it_published(scenario: Scenario) -> None:
    def action(call: Call) -> None:
        call.proceed()
        scenario.run(THIRD)
        raise AWAY

    with faulty(On("write results", action)):
        assert scenario.run(SECOND).published
    assert_sound(scenario, FIRST, SECOND, THIRD)


@pytest.mark.parametrize("landed", [False, True])
def test_a_run_that_cannot_know_whether_it_published_says_so_and_the_next_run_finds_out(
    scenario: Scenario, landed: bool
) -> None:
    before = sli.read(scenario.config)
    commit = loses_its_answer() if landed else fails()
    with faulty(On("write results", commit), On("open results", fails(), 2)) as storage:
        with pytest.raises(UnknownCommitError, match="whether this run published its results is not known") as caught:
            scenario.run(SECOND)
        assert storage.names[-2:] == ["write results", "open results"]
    assert caught.value.passes
    assert "counts nothing twice" in caught.value.todo
    assert sli.read(scenario.config).equals(before) is not landed
    assert scenario.run(SECOND).published is not landed
    assert_sound(scenario, FIRST, SECOND)
    assert len(sli.read(scenario.config, table="runs")) == 2


def rows_of(frame: Any) -> tuple[str, ...]:
    return tuple(sorted(map(repr, frame.to_dict("records"))))


def test_a_reader_meanwhile_sees_only_whole_publications(scenario: Scenario) -> None:
    seen: dict[str, list[Any]] = {"results": [], "revisions": [], "runs": []}
    errors: list[BaseException] = []
    done = threading.Event()

    def reading() -> None:
        try:
            while not done.is_set():
                for table, found in seen.items():
                    found.append(rows_of(sli.read(scenario.config, table=table)))
        except BaseException as error:
            errors.append(error)

    def state() -> dict[str, Any]:
        return {table: rows_of(sli.read(scenario.config, table=table)) for table in seen}

    states = [state()]
    reader = threading.Thread(target=reading)
    reader.start()
    try:
        for as_of in (SECOND, START + DAY, THIRD):
            scenario.run(as_of)
            states.append(state())
    finally:
        done.set()
        reader.join()
    assert not errors
    for table, found in seen.items():
        assert len(found) > 3
        whole = [each[table] for each in states]
        positions = []
        for each in found:
            assert each in whole, f"a reader saw a state of {table} that was never published"
            positions.append(max(n for n, one in enumerate(whole) if one == each))
        assert positions == sorted(positions), f"a reader of {table} went back in time"


def after_discovery(change: Callable[[], None]) -> AbstractContextManager[Any]:
    """Changes files once they have been listed and before they are read."""
    return rival_at(DISCOVERED, change)


def test_a_file_removed_after_it_was_listed_counts_no_more_in_either_log(scenario: Scenario) -> None:
    def remove() -> None:
        scenario.remove("feedback", "0.parquet")
        scenario.remove("predictions", "2.parquet")

    with after_discovery(remove):
        scenario.run(SECOND)
    scenario.check(SECOND, read_as_of=SECOND)
    scenario.run(SECOND)
    scenario.check(SECOND)


def test_two_files_removed_that_two_tasks_read_count_no_more(scenario: Scenario) -> None:
    scenario.settings = {"memory": "1KB"}  # many small tasks

    def remove() -> None:
        scenario.remove("feedback", "0.parquet")
        scenario.remove("feedback", "1.parquet")

    scenario.log_feedback("5.parquet", feedback(7, 2))
    with after_discovery(remove):
        scenario.run(SECOND)
    scenario.check(SECOND, read_as_of=SECOND)
    scenario.run(SECOND)
    scenario.check(SECOND)


def test_a_file_rewritten_after_it_was_listed_is_right_by_the_next_run_in_either_log(scenario: Scenario) -> None:
    def rewrite() -> None:
        scenario.log_predictions("2.parquet", [*predictions(8, 0), *predictions(9, 3)])
        scenario.log_feedback("0.parquet", [*feedback(8, 0), *feedback(9, 3)])

    with after_discovery(rewrite):
        scenario.run(SECOND)
    assert scenario.run(SECOND).plan.files_changed == 2
    scenario.check(SECOND)
    assert not scenario.run(SECOND).published


def test_a_file_that_could_not_be_read_once_is_read_by_the_next_run_in_either_log(scenario: Scenario) -> None:
    # Its fingerprint is the same as before: what failed was the reading, not the file.
    paths = [scenario.root / "predictions/2.parquet", scenario.root / "feedback/1.parquet"]

    def hide() -> None:
        for path in paths:
            path.rename(path.with_suffix(".hidden"))

    with after_discovery(hide):
        scenario.run(SECOND)
    for path in paths:
        path.with_suffix(".hidden").rename(path)
    scenario.run(SECOND)
    scenario.check(SECOND)


def test_a_log_removed_whole_is_an_error_and_the_belief_stays(scenario: Scenario) -> None:
    before = sli.read(scenario.config)
    shutil.rmtree(scenario.root / "predictions")
    with pytest.raises(InputError, match="does not exist"):
        scenario.run(SECOND)
    assert sli.read(scenario.config).equals(before)


def test_a_store_on_a_path_that_is_a_file_or_read_only_is_a_store_error(scenario: Scenario) -> None:
    file = scenario.root / "file"
    file.write_text("not a folder")
    for path in (str(file), str(file / "below"), "/proc/read-only", "/dev/null"):
        scenario.settings = {"store": path}
        with pytest.raises(StoreError, match="cannot be written") as caught:
            scenario.run(FIRST)
        assert caught.value.where.startswith(path)
        with pytest.raises(StoreError):
            sli.read(scenario.config)
    assert file.read_text() == "not a folder"


@pytest.mark.parametrize("content", ["no json", ""])
def test_a_damaged_log_of_the_results_is_a_store_error_and_is_not_written_to(scenario: Scenario, content: str) -> None:
    folder = scenario.root / "store" / "results" / "_delta_log"
    for path in folder.glob("*.json"):
        path.write_text(content)
    with pytest.raises(StoreError, match="cannot be read"):
        sli.read(scenario.config)
    with pytest.raises(StoreError, match="cannot be read"):
        scenario.run(SECOND)
    assert {path.read_text() for path in folder.glob("*.json")} == {content}


@pytest.mark.parametrize("table", ["tiles", "runs"])
def test_a_store_that_lost_one_of_its_tables_is_a_store_error_and_the_results_stay(
    scenario: Scenario, table: str
) -> None:
    before = sli.read(scenario.config)
    shutil.rmtree(scenario.root / "store" / table)
    if table == "runs":
        with pytest.raises(StoreError):
            sli.read(scenario.config, table=table)
    for _ in range(2):
        with pytest.raises(StoreError):
            scenario.run(SECOND)
    assert sli.read(scenario.config).equals(before)


@pytest.mark.parametrize("table", ["tiles", "results"])
def test_a_store_that_lost_its_files_is_a_store_error(scenario: Scenario, table: str) -> None:
    for path in (scenario.root / "store" / table).rglob("*.parquet"):
        path.unlink()
    with pytest.raises(StoreError):
        scenario.run(SECOND)
    if table == "results":
        with pytest.raises(StoreError):
            sli.read(scenario.config)


def test_the_time_told_is_that_of_the_clock_with_failed_attempts_and_the_end_of_the_cluster(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    once, failures = recompute._attempt, [ConflictError("another run published at the same time"), CannotAmend()]

    # `time.sleep` does nothing in this file.
    rest = threading.Event().wait

    def slow(*given: Any) -> Outcome:
        rest(0.3)
        if failures:
            raise failures.pop(0)
        kept = engine._SHARED.get()
        assert kept is not None
        kept.stack.callback(rest, 0.3)
        return once(*given)

    monkeypatch.setattr(recompute, "_attempt", slow)
    path = scenario.root / "c.json.yaml"
    path.write_text(json.dumps(config_of(WORLD, scenario.root)))
    began = time.monotonic()
    assert main(["run", str(path), "--as-of", text(SECOND)]) == 0
    lasted = time.monotonic() - began
    [told] = re.findall(r"published \S+ in ([\d.]+) s", capsys.readouterr().out)
    assert 1.2 <= float(told) + 0.05 <= lasted + 0.1
    assert sli.read(scenario.config, table="runs").seconds.iloc[-1] >= 0.9


def test_every_step_of_a_run_shows_that_it_has_begun_and_ended(scenario: Scenario) -> None:
    def told(as_of: int) -> list[str]:
        steps: dict[str, tuple[int, int]] = {}
        sli.run(scenario.config, as_of=text(as_of), progress=lambda what, *at: steps.update({what: at}))
        assert [what for what, (done, total) in steps.items() if done != total] == []
        return list(steps)

    first, last = ["listing files"], ["rolling up", "comparing", "writing", "removing old files"]
    asides = "looking for the predictions of unmatched feedback"
    assert told(SECOND) == [*first, "looking for repeated ids", "matching", asides, "adding up days", *last]
    scenario.log_feedback("new.parquet", feedback(7, 3))
    assert told(THIRD) == [*first, "matching", "amending hours", *last]
