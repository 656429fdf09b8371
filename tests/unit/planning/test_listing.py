"""Which folders of the logs a run lists, and that leaving out old ones changes no result."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at, text

import sli
from sli.calendar.interval import BEGINNING
from sli.errors import InputError
from sli.logs import dated
from sli.logs.folder_dates import FolderDates
from sli.logs.listing import Listing
from sli.logs.storage import LogStorage
from sli.planning import listing
from sli.runs.preview import plan

START = at("2024-01-01T00:00")
NOW = START + 90 * DAY + 12 * HOUR
"""The second run of a day, which has written the index of ids."""


def folder(day: int) -> str:
    return f"day={text(START + day * DAY)[:10]}"


@pytest.fixture(autouse=True)
def many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many that not every run lists all."""
    monkeypatch.setattr(listing, "MOST_FILES", 0)


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Logs of 90 days in folders named by their days. Rows matter for about 10 days."""
    world = small_world(since=START, horizon=2 * DAY, duplicates_within=2 * DAY, slis=("accuracy",))
    scenario = Scenario(tmp_path, world)
    for day in range(91):
        log_day(scenario, day, day * DAY, 1.0)
    scenario.run(NOW - 2 * HOUR)
    log_day(scenario, 90, 90 * DAY + 9 * HOUR, 1.0, "9")
    scenario.run(NOW)
    return scenario


def log_day(scenario: Scenario, day: int, when: int, label: float, name: str = "0") -> None:
    """A file of each log in the folder of a day, with a row at a time after START."""
    id = f"{name}-{day}"
    scenario.log_predictions(f"{folder(day)}/{name}.parquet", [Prediction(id, START + when, 0.75, {})])
    scenario.log_feedback(f"{folder(day)}/{name}.parquet", [Feedback(id, START + when + HOUR, label)])


@pytest.fixture
def listed() -> Iterator[list[int]]:
    """How many files each listing of a log has."""
    counts: list[int] = []
    before = LogStorage.list

    def counting(self: LogStorage, *given: Any) -> Listing | None:
        found = before(self, *given)
        counts.append(len(found.paths) if found else 0)
        return found

    with mock.patch.object(LogStorage, "list", counting):
        yield counts


def results(scenario: Scenario) -> list[str]:
    """All rows of all tables that people read."""
    frames = (sli.read(scenario.config, table=table) for table in ("results", "revisions", "audit"))
    return sorted(
        repr(row) for frame in frames for row in frame.drop(columns="sequence", errors="ignore").to_dict("records")
    )


def test_an_hourly_run_lists_and_reads_only_what_may_matter_and_publishes_what_a_full_listing_does(
    scenario: Scenario, listed: list[int], tmp_path: Path
) -> None:
    log_day(scenario, 90, 90 * DAY + 12 * HOUR, 0.0, "1")
    shutil.copytree(scenario.config.store, tmp_path / "other")
    other = Scenario(
        scenario.root, scenario.world, {"store": str(tmp_path / "other")}, scenario.predictions, scenario.feedback
    )
    planned = plan(scenario.config, as_of=text(NOW + HOUR))
    assert BEGINNING < planned.since < NOW - 7 * DAY
    assert len(planned.inputs.files) < 50 < planned.tiles_total
    outcome = scenario.run(NOW + HOUR)
    assert outcome.plan.since == planned.since
    assert set(listed) == {14}
    full = other.run(NOW + HOUR, full_listing=True)
    assert listed[-2:] == [93, 93]
    assert full.plan.since == BEGINNING
    assert full.plan.to_dict() | {"listed_since": None} == outcome.plan.to_dict() | {"listed_since": None}
    assert results(scenario) == results(other)
    scenario.check(NOW + HOUR)


def test_a_log_of_which_all_young_files_are_gone_ends_the_run(tmp_path: Path) -> None:
    """Its storage is away. The predictions before lie further back than rows matter."""
    world = small_world(since=START, horizon=2 * DAY, duplicates_within=2 * DAY, slis=("accuracy",))
    scenario = Scenario(tmp_path, world)
    for day in (*range(30), 90):
        log_day(scenario, day, day * DAY, 1.0)
    for day in range(30, 90):
        rows = [Feedback(f"0-{day}", START + day * DAY + HOUR, 1.0)]
        scenario.log_feedback(f"{folder(day)}/0.parquet", rows)
    scenario.run(NOW - 2 * HOUR)
    log_day(scenario, 90, 90 * DAY + 9 * HOUR, 1.0, "9")
    scenario.run(NOW)
    before = scenario.published
    assert plan(scenario.config, as_of=text(NOW + HOUR)).since > BEGINNING
    (tmp_path / "predictions").rename(tmp_path / "away")
    (tmp_path / "predictions").mkdir()
    with pytest.raises(InputError, match="empty"):
        scenario.run(NOW + HOUR)
    assert scenario.published == before


@pytest.mark.parametrize("what", ["rewritten", "new", "removed"])
def test_a_change_in_an_old_folder_is_found_by_the_first_run_of_the_next_day(scenario: Scenario, what: str) -> None:
    before = scenario.published
    assert before is not None
    if what == "removed":
        scenario.remove("predictions", f"{folder(3)}/0.parquet")
    else:
        log_day(scenario, 3, 3 * DAY + HOUR, 0.0, "0" if what == "rewritten" else "1")
    assert not scenario.run(NOW + HOUR).published
    log_day(scenario, 90, 90 * DAY + 12 * HOUR, 0.0, "2")
    hourly = scenario.run(NOW + 2 * HOUR)
    assert {path.rsplit("/", 2)[-2] for cause in hourly.plan.causes for path in cause.files} == {folder(90)}
    nightly = scenario.run(NOW + 12 * HOUR)
    assert nightly.plan.since == BEGINNING
    assert {path.rsplit("/", 2)[-2] for cause in nightly.plan.causes for path in cause.files} == {folder(3)}
    for held in nightly.plan.held:
        scenario.backfill(NOW + 12 * HOUR, text(held.start), text(held.end))
    scenario.check(NOW + 12 * HOUR)


def test_the_same_change_is_found_at_once_where_the_run_is_told_to_list_everything(scenario: Scenario) -> None:
    log_day(scenario, 3, 3 * DAY + HOUR, 0.0)
    assert scenario.run(NOW + HOUR, full_listing=True).plan.held


def test_few_files_are_listed_by_every_run(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan(scenario.config, as_of=text(NOW + HOUR)).since > BEGINNING
    monkeypatch.setattr(listing, "MOST_FILES", 184)
    assert plan(scenario.config, as_of=text(NOW + HOUR)).since == BEGINNING
    monkeypatch.setattr(listing, "MOST_FILES", 183)
    assert plan(scenario.config, as_of=text(NOW + HOUR)).since > BEGINNING


def test_a_run_that_needs_older_rows_lists_more(scenario: Scenario) -> None:
    """A file in today's folder with rows of a day of January."""
    hourly = plan(scenario.config, as_of=text(NOW + HOUR)).since
    log_day(scenario, 90, 40 * DAY + HOUR, 0.0, "3")
    planned = plan(scenario.config, as_of=text(NOW + HOUR))
    outcome = scenario.run(NOW + HOUR)
    assert BEGINNING < outcome.plan.since < START + 40 * DAY < hourly
    assert planned.to_confirm == outcome.plan.to_confirm
    for held in outcome.plan.held:
        scenario.backfill(NOW + HOUR, text(held.start), text(held.end))
    scenario.check(NOW + HOUR)


def test_a_folder_with_an_old_date_and_later_rows_is_listed(scenario: Scenario) -> None:
    """Folders may be named by something else, for example by the day on which a model was trained."""
    log_day(scenario, 5, 90 * DAY + HOUR, 0.0, "4")
    scenario.run(NOW + HOUR, full_listing=True)
    log_day(scenario, 5, 90 * DAY + 2 * HOUR, 0.0, "5")
    outcome = scenario.run(NOW + 2 * HOUR)
    assert outcome.plan.since > BEGINNING
    assert outcome.plan.files_changed == 2
    scenario.check(NOW + 2 * HOUR)


@pytest.mark.parametrize("rows", [[Prediction("late", None, 0.5, {})], []])
def test_files_that_the_audit_names_are_read_however_old_they_are(scenario: Scenario, rows: list[Prediction]) -> None:
    scenario.log_predictions(f"{folder(3)}/bad.parquet", rows)
    if not rows:
        (scenario.root / "predictions" / folder(3) / "bad.parquet").write_bytes(b"no Parquet")
    scenario.run(NOW + HOUR, full_listing=True)
    before = sli.read(scenario.config, table="audit")
    assert before.file.str.endswith("bad.parquet").any()
    log_day(scenario, 90, 90 * DAY + 12 * HOUR, 0.0, "1")
    outcome = scenario.run(NOW + 2 * HOUR)
    assert outcome.published
    assert outcome.plan.since > BEGINNING
    after = sli.read(scenario.config, table="audit")
    assert after[after.run_id == outcome.run_id].file.tolist() == before.file.tolist()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("day=2024-01-31", ("day=2024-01-31", "2024-02-01")),
        ("site=7/2024-01-31T05/x", ("site=7/2024-01-31T05", "2024-02-01")),
        ("at=2024-12-31 05%3A00", ("at=2024-12-31 05%3A00", "2025-01-01")),
        ("20240131/00", ("20240131", "2024-02-01")),
        ("2024013105", ("2024013105", "2024-02-01")),
        ("2024/01/31/05", ("2024/01/31", "2024-02-01")),
        ("year=2024/month=12/hour=5", ("year=2024/month=12", "2025-01-01")),
        ("year=2024/month=1/day=31", ("year=2024/month=1/day=31", "2024-02-01")),
        ("2024-02/9", ("2024-02", "2024-03-01")),
        ("y=2024/site=1", ("y=2024", "2025-01-01")),
        ("2024/13", ("2024", "2025-01-01")),
        ("2024-02-30", None),
        ("9999-12-31", None),
        ("store=2024/x", None),
        ("part", None),
        ("", None),
    ],
)
def test_a_folder_is_named_by_the_first_date_below_the_root_of_its_log(
    path: str, found: tuple[str, str] | None
) -> None:
    folders = FolderDates(("data/2023-05-05/logs",))
    around = folders.around(f"/data/2023-05-05/logs/{path}")
    assert (around and (around.path, text(around.end)[:10])) == (
        found and (f"data/2023-05-05/logs/{found[0]}", found[1])
    )
    assert folders.around("/data/2024-01-01/other") is None


def test_weeks_have_names_in_the_order_of_time() -> None:
    weeks = [dated.week_of(START + 7 * DAY * i) for i in range(3)]
    names = [dated.week_text(week) for week in [BEGINNING, *weeks, dated.EVERY_RUN]]
    assert names == sorted(names) == ["0001-01-01", "2023-12-28", "2024-01-04", "2024-01-11", "always"]
