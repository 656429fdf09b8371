"""Any call of the storage fails, loses its answer or is torn: the run ends in an error of ours, or well; the next one
leaves what the oracle says."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator

import pytest
from builders import Template, small_world
from deltalake.exceptions import CommitFailedError, DeltaError
from faulty import On, fails, faulty, halved, loses_its_answer, stale, torn
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, config_of

import sli
from sli.errors import ConflictError, SliError, StoreError
from sli.logs.storage import LogStorage
from sli.publishing.delta_tables import table_errors
from sli.publishing.store import Store
from sli.publishing.transaction import SMALL_FILES

START = at("2024-03-08T00:00")
LOGS = ("predictions", "feedback")
AS_OF = START + 3 * DAY
WORLD = small_world(horizon=30 * DAY, since=START, slice_by=((), ("a",)), grains=("day",))


def logged(scenario: Scenario, day: int) -> None:
    rows = [Prediction(f"{day}-{i}", START + day * DAY + i * HOUR, i / 9, {"a": "xy"[i % 2]}) for i in range(6)]
    scenario.log_predictions(f"{day}.parquet", rows)
    # Late feedback, too, so that a run amends.
    known = [row for rows in scenario.predictions.values() for row in rows if not row.id.endswith(str(day))]
    scenario.log_feedback(f"{day}.parquet", [Feedback(row.id, START + day * DAY + 9 * HOUR, 1.0) for row in known[::2]])


@pytest.fixture(autouse=True)
def _compacting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sli.runs.recompute.time.sleep", lambda _: None)
    for name in SMALL_FILES:
        monkeypatch.setitem(SMALL_FILES, name, 1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Something published, what a killed run left on top of it, and logs that have changed since."""
    scenario = Scenario(tmp_path_factory.mktemp("storage") / "world", WORLD)
    for day in (0, 1):
        logged(scenario, day)
        scenario.run(START + (day + 1) * HOUR + day * DAY)
    logged(scenario, 2)
    with faulty(On("write results", fails())), pytest.raises(StoreError):
        scenario.run(START + 3 * DAY)
    return Template(scenario)


@pytest.fixture
def scenario(template: Template) -> Scenario:
    return template.restored()


def calls_of(scenario: Scenario, writes: bool) -> Iterator[tuple[str, int]]:
    """The calls that an undisturbed run makes: their names, and the how-manieth of its name each is."""
    with faulty() as storage:
        scenario.run(AS_OF)
    counts: Counter[str] = Counter()
    for call in storage.calls:
        counts[call.name] += 1
        if call.writes is writes:
            yield call.name, counts[call.name]


def one_of_each_kind(calls: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The first call of each method, and the last of all."""
    return [*{name.split()[0]: (name, nth) for name, nth in reversed(calls)}.values(), calls[-1]]


def error_with(scenario: Scenario, *rules: On) -> SliError | None:
    """The error that a run ends in, if any, which another try may get over."""
    error = None
    with faulty(*rules):
        try:
            scenario.run(AS_OF)
        except SliError as caught:
            error = caught
    assert error is None or error.passes, f"{rules}: {error}"
    return error


def assert_right(scenario: Scenario, runs: int = 3) -> None:
    """After one run more all is as the oracle says, and every publication is there once."""
    scenario.run(AS_OF)
    scenario.check(AS_OF)
    assert list(sli.read(scenario.config, table="runs").sequence) == [*range(1, runs + 1)]


ACTIONS = {"fails": fails(), "loses its answer": loses_its_answer(), "is torn": torn()}
EITHER = "loses its answer or is torn"
"""Each write in one of the two ways that leave something: a write that fails leaves what the one before it leaves that
loses its answer."""
SOAK = pytest.mark.soak
FAULTS = [EITHER, *(pytest.param(fault, marks=SOAK) for fault in ACTIONS)]


def fault_of(fault: str, number: int) -> str:
    """The fault of the write of this number."""
    return EITHER.split(" or ")[number % 2] if fault == EITHER else fault


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("alone", [False, pytest.param(True, marks=SOAK)])
def test_whatever_write_fails_the_next_run_leaves_what_the_oracle_says(
    template: Template, scenario: Scenario, fault: str, alone: bool
) -> None:
    before = Store(scenario.config.store).published()
    calls = [*calls_of(scenario, writes=True)]
    assert [sum(name.startswith(kind) for name, _ in calls) for kind in ("write", "restore", "compact")] == [8, 7, 4]
    scenario = template.restored()
    for number, (name, nth) in enumerate(calls):
        chosen = fault_of(fault, number)
        error_with(scenario, On(name, ACTIONS[chosen], nth))
        if (name, chosen) != ("write results", "loses its answer"):
            assert Store(scenario.config.store).published() == before, name
        if alone:
            assert_right(scenario)
            scenario = template.restored()
    assert_right(scenario)


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_write_of_a_first_run_fails_the_next_run_leaves_what_the_oracle_says(
    scenario: Scenario, fault: str
) -> None:
    shutil.rmtree(scenario.config.store)
    calls = [*calls_of(scenario, writes=True)]
    assert sum(name.startswith("create") for name, _ in calls) == 7
    shutil.rmtree(scenario.config.store)
    for number, (name, nth) in enumerate(calls):
        error_with(scenario, On(name, ACTIONS[fault_of(fault, number)], nth))
    assert_right(scenario, 1)


def test_whatever_read_fails_the_next_run_leaves_what_the_oracle_says(template: Template, scenario: Scenario) -> None:
    before = Store(scenario.config.store).published()
    calls = [(name, nth) for name, nth in calls_of(scenario, writes=False) if not name.startswith("force")]
    assert {name.split()[0] for name, _ in calls} == {
        *("open", "mend", "is_overtaken", "history", "rows", "counts", "list")
    }
    scenario = template.restored()
    for name, nth in calls:
        assert error_with(scenario, On(name, fails(), nth)) is not None, name
        assert Store(scenario.config.store).published() == before, name
    assert_right(scenario)


def test_a_disk_that_does_not_keep_a_run_stops_it_before_its_commit_and_is_told_after_it(
    scenario: Scenario, caplog: pytest.LogCaptureFixture
) -> None:
    before = Store(scenario.config.store).published()
    assert error_with(scenario, On("force results", fails(), 1)) is not None
    assert Store(scenario.config.store).published() == before
    assert error_with(scenario, On("force results", fails(), 2)) is None
    assert "the storage failed, but all is published" in caplog.text
    assert_right(scenario)


def at_urls(scenario: Scenario) -> Scenario:
    """The same logs, read like those of remote storage."""
    tree = config_of(scenario.world, scenario.root)
    logs = {log: {**tree[log], "path": f"file://{tree[log]['path']}"} for log in LOGS}
    scenario.settings = {**scenario.settings, **logs}
    return scenario


def test_whatever_call_of_a_log_fails_the_next_run_leaves_what_the_oracle_says(
    template: Template, scenario: Scenario
) -> None:
    before = Store(scenario.config.store).published()
    calls = [call for call in calls_of(at_urls(scenario), writes=False) if call[0].endswith(("parquet", *LOGS))]
    assert {name.split()[0] for name, _ in calls} == {"list", "get", "check"}
    scenario, gone = at_urls(template.restored()), fails(ConnectionError("reset by peer"))
    for name, nth in one_of_each_kind(calls):
        # The storage is away, also when the run looks why it failed.
        assert error_with(scenario, On(name, gone, nth), On("open *.parquet", gone, 0)) is not None, name
        assert Store(scenario.config.store).published() == before, name
    assert_right(scenario)


def test_a_file_that_storage_gives_now_and_then_is_not_called_damaged(scenario: Scenario) -> None:
    gone = fails(ConnectionError("reset by peer"))
    error = error_with(at_urls(scenario), On("get 0.parquet", gone, 0), On("open 0.parquet", gone, 0))
    assert error is not None
    assert "could not be fetched" in str(error)
    assert_right(scenario)


@pytest.mark.parametrize("nth", [1, 4, 9])
def test_half_an_answer_is_not_taken_for_a_whole_one(scenario: Scenario, nth: int) -> None:
    error_with(at_urls(scenario), On("get *", halved, nth))
    assert_right(scenario)


def test_files_that_a_listing_did_not_name_count_in_the_next_run(scenario: Scenario) -> None:
    before = LogStorage().list("feedback", str(scenario.root / "feedback"))
    assert before is not None
    assert error_with(scenario, On("list feedback", stale(before.take([0, 1])))) is None
    scenario.run(AS_OF)
    scenario.check(AS_OF)


def test_files_whose_size_was_listed_wrong_are_listed_again(scenario: Scenario) -> None:
    right = LogStorage().list("feedback", f"file://{at_urls(scenario).root}/feedback")
    assert right is not None
    sizes, fingerprints = [size + 9 for size in right.sizes], [f"x{mark}" for mark in right.fingerprints]
    wrong = right._replace(sizes=sizes, fingerprints=fingerprints)
    with faulty(On("list feedback", stale(wrong))) as storage:
        scenario.run(AS_OF)
    assert storage.names.count("list feedback") == 2
    scenario.check(AS_OF)


def test_errors_of_the_table_library_become_ours() -> None:
    conflicts = [CommitFailedError("a newer version"), DeltaError("a table already exists")]
    failures = [DeltaError("timed out"), OSError("connection reset"), OSError("No space left on device")]
    for error in (*conflicts, *failures):
        with pytest.raises(StoreError) as caught, table_errors("s3://here"):
            raise error
        assert isinstance(caught.value, ConflictError) is (error in conflicts)
        assert caught.value.passes
        assert caught.value.where == "s3://here"
    assert "make room on its disk" in caught.value.todo
    with pytest.raises(ZeroDivisionError), table_errors("s3://here"):
        raise ZeroDivisionError
