"""What belongs to a log, and files remembered from one run to the next."""

from __future__ import annotations

import itertools
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import small_world
from oracle import Feedback, Prediction
from scenario import DAY, HOUR, Scenario, at

from sli.calendar.interval import Interval, instant, union
from sli.engine.connection import connect
from sli.logs.discovery import discover
from sli.logs.files import Files, Inputs, LogFile
from sli.logs.listing import _micros_of
from sli.logs.log import predictions_log
from sli.logs.paths import list_files
from sli.logs.reader import count_sql, rows_sql
from sli.publishing.store import Store
from sli.publishing.transaction import SMALL_FILES

MONDAY = at("2024-01-01T00:00")
WORLD = small_world(since=MONDAY)


def names(root: Path) -> list[str]:
    found = list_files("predictions", [str(root)])
    return [str(Path(each).relative_to(root)) for each in found.paths]


def test_hidden_files_and_folders_are_no_part_of_a_log_and_others_are_told_apart(tmp_path: Path) -> None:
    for name in ("b/a.parquet", "a.parq", "_old/a.parquet", ".b/a.parquet", "b/_a.parquet", "b/note.txt", "c.pq"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path) == ["a.parq", "b/a.parquet", "c.pq"]
    found = list_files("predictions", [str(tmp_path)])
    assert found.others == [str(tmp_path / "b/note.txt")]
    remote = list_files("predictions", [f"file://{tmp_path}"])
    assert [f"file://{each}" for each in found.paths] == remote.paths
    assert found[1:3] == remote[1:3]
    assert remote.others == found.others
    for nothing in (str(tmp_path / "none"), f"file://{tmp_path}/none"):
        assert list_files("predictions", [nothing]).missing == {nothing: ""}
    alone = list_files("predictions", [str(tmp_path / "a.parq")])
    assert alone[:3] == tuple(column[:1] for column in found[:3])


def test_a_link_is_the_file_it_leads_to_and_one_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    target, logs = tmp_path / "target", tmp_path / "logs"
    logs.mkdir()
    target.write_bytes(b"one")
    (logs / "a.parquet").symlink_to(target)
    (logs / "b.parquet").symlink_to(tmp_path / "nowhere")
    (logs / "c").symlink_to(logs)
    assert names(logs) == ["a.parquet", "b.parquet"]
    before = list_files("predictions", [str(logs)])
    assert before.refused == {str(logs / "b.parquet"): "a link that leads nowhere"}
    target.write_bytes(b"two")
    os.utime(target, (1, 1))
    assert list_files("predictions", [str(logs)]) != before, "of one size, and the link itself is as it was"


def test_a_listing_says_when_each_file_was_written(tmp_path: Path) -> None:
    for name, seconds in (("b.parquet", 1), ("a.parquet", 1_700_000_000.25)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, seconds))
    for url in (str(tmp_path), f"file://{tmp_path}"):
        found = list_files("predictions", [url])
        assert found.modified == [1_700_000_000_250_000, 1_000_000], "microseconds, in the order of the paths"
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/{tmp_path.name}/a.parquet", b"x")
    found = list_files("predictions", [f"memory://{tmp_path.name}"])
    assert found.modified == [instant(memory.info(f"/{tmp_path.name}/a.parquet")["created"])]


@pytest.mark.parametrize(
    ("time", "micros"),
    [
        (datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), 1_000_005),
        (datetime(1970, 1, 1, 0, 0, 2), 2_000_000),
        ("1970-01-01T02:00:00.5+02:00", 500_000),
        (1.5, 1_500_000),
        ("yesterday", 0),
        (None, 0),
    ],
)
def test_a_time_of_change_is_read_as_file_systems_give_it(time: object, micros: int) -> None:
    assert _micros_of(time) == micros


def test_files_seen_before_are_the_same_and_their_footers_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario(tmp_path, WORLD)
    for day in range(3):
        made = [Prediction(f"{day}-{i}", MONDAY + day * DAY + i * HOUR, 0.5, {}) for i in range(3)]
        scenario.log_predictions(f"{day}.parquet", made)
        scenario.log_feedback(f"{day}.parquet", [Feedback(each.id, (each.time or 0) + 1, 1.0) for each in made])
    scenario.run(MONDAY + 3 * DAY)
    store = Store(scenario.config.store)
    seen = store.inputs(store.published())
    assert seen == discover(scenario.config)
    read: list[object] = []
    footer = pq.read_metadata
    monkeypatch.setattr(pq, "read_metadata", lambda opened: read.append(opened) or footer(opened))
    scenario.log_feedback("1.parquet", [Feedback("1-0", MONDAY + DAY + 1, 0.0)])
    found = discover(scenario.config, seen)
    assert len(read) == 1
    assert [new == old for new, old in zip(found.files, seen.files, strict=True)] == [True] * 4 + [False, True]


def test_files_that_came_are_added_to_those_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SMALL_FILES, "inputs", 2)
    scenario = Scenario(tmp_path, WORLD)
    scenario.log_predictions("0.parquet", [Prediction("0", MONDAY, 0.5, {})])
    scenario.log_feedback("0.parquet", [Feedback("0", MONDAY, 1.0)])
    store, files = Store(scenario.config.store), []

    def run() -> None:
        scenario.run(MONDAY + DAY)
        remembered = store.inputs(store.published()).files
        assert sorted(remembered) == sorted(discover(scenario.config).files)
        files.append(len(store.tables.open("inputs").files()))

    run()
    for hour in range(1, 4):
        scenario.log_feedback(f"{hour}.parquet", [Feedback(f"{hour}", MONDAY, 1.0)])
        run()
    scenario.log_feedback("1.parquet", [Feedback("0", MONDAY, 0.0)])
    run()
    scenario.log_feedback("4.parquet", [])
    run()
    scenario.remove("feedback", "2.parquet")
    run()
    assert files == [1, 2, 1, 2, 1, 2, 1]
    scenario.check(MONDAY + DAY)


def test_files_of_every_shape_survive_their_table() -> None:
    types = (("id", "string"), ("t", "timestamp[us, tz=UTC]"))
    files = (
        LogFile("predictions", "a", "1-2", 1, 2, "", "", ((1, 2), (3, 4)), 1.5, 1, types),
        LogFile("predictions", "b", "1-2", 1),
        LogFile("feedback", "c", "1-3", 0, 0, "unreadable", "no Parquet", (), 0.0, 0, (("id", ""),)),
        LogFile("feedback", "d", "1-4", 9, 8, "", "", ((5, 6),), 0.5, 0, types),
    )
    inputs = Inputs.of(files)
    assert tuple(inputs.files) == files
    stored = pa.Table.from_batches([inputs.files.rows])
    assert Inputs.of_rows(stored) == Inputs.of_rows(pa.concat_tables([stored.slice(2), stored.slice(0, 2)])) == inputs
    assert tuple(Inputs.of_rows(stored.slice(1, 2)).files) == files[1:3]
    assert tuple(Inputs.of_rows(stored.slice(0, 0)).files) == ()


@pytest.mark.parametrize("zoned", [True, False])
def test_footers_tell_how_many_rows_a_span_holds_where_no_file_lies_in_it_in_part(tmp_path: Path, zoned: bool) -> None:
    scenario = Scenario(tmp_path, WORLD)
    kind = pa.timestamp("us", tz="UTC") if zoned else pa.timestamp("us")
    for hour in range(4):
        times = [MONDAY + hour * HOUR + minute * HOUR // 60 for minute in range(60)]
        table = pa.table(
            {
                "output_id": [f"{hour}-{i}" for i in range(61)],
                "predicted_at": pa.array([None, *times], pa.int64()).cast(kind),
                "score": [0.5] * 61,
            }
        )
        (tmp_path / "predictions").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "predictions" / f"{hour}.parquet", row_group_size=25)
    scenario.log_feedback("a", [Feedback("0-0", MONDAY, 1.0)])
    config = scenario.config
    files, source = discover(config).predictions, predictions_log(config)
    con = connect(1, 1 << 30)
    for first, last in ((0, 240), (60, 120), (30, 90), (61, 119), (0, 1), (500, 600)):
        span = Interval(MONDAY + first * HOUR // 60, MONDAY + last * HOUR // 60)
        told = count_sql(con, files, source, span)
        read = con.execute(f"SELECT count(*) FROM {rows_sql(con, files, source, span)}").fetchall()
        assert con.execute(f"SELECT {told}").fetchall() == read == [(max(0, min(240, last) - first),)]
        assert ("read_parquet" in told) == (first < 240 and (first % 60 > 0 or last % 60 > 0))


KINDS: list[tuple[tuple[str, str], ...]] = [(("id", "a"), ("t", "b")), (("id", "a"), ("t", "c")), (("id", "a"),), ()]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_asked_of_all_files_is_what_each_of_them_says(seed: int) -> None:
    pick = random.Random(seed)
    kinds = pick.sample(KINDS, pick.randint(1, 4))
    files = []
    for i in range(pick.randint(0, 12)):
        firsts = [pick.randrange(-9, 9) for _ in range(pick.randrange(3))]
        files.append(
            LogFile(
                "predictions",
                f"{i:02d}ü",
                pick.choice(["1", "2"]),
                1,
                pick.randrange(4),
                pick.choice(["", "", "", "damaged"]),
                "",
                tuple((first, first + pick.randrange(5)) for first in firsts),
                pick.random(),
                pick.choice([0, 0, 3]),
                pick.choice(kinds),
            )
        )
    every = Files.of(files)
    assert [every.kinds.all[each] for each in every.kinds.of_file] == [each.columns for each in files]
    assert every.usable.tolist() == [each.usable for each in files]
    assert every.first_usable == next((each for each in files if each.usable), None)
    assert list(every.audited) == [each for each in files if each.problem or each.null_times]
    assert every.column_bytes.tolist() == [each.row_bytes * each.rows for each in files]
    spans = [(i, *both) for i, each in enumerate(files) if each.usable for both in each.ranges]
    assert list(zip(*(each.tolist() for each in every.ranges), strict=True)) == spans
    lasts = [last + 1 for _, _, last in spans]
    assert every.span == (Interval(min(first for _, first, _ in spans), max(lasts)) if spans else None)
    within = Interval(pick.randrange(-9, 0), pick.randrange(9))
    assert every.meeting(within).tolist() == [i for i, each in enumerate(files) if each.meets(within)]
    others = [each._replace(fingerprint=pick.choice(["1", "2"])) for each in files if pick.random() < 0.7]
    known = {each.path: each for each in others}
    assert every.found_in(Files.of(others)).tolist() == [each.path in known for each in files]
    same = [known.get(each.path, each._replace(fingerprint="")).fingerprint == each.fingerprint for each in files]
    assert every.found_in(Files.of(others), "fingerprint").tolist() == same
    places = np.array(sorted(pick.sample(range(len(files)), len(files) // 2)), np.int64)
    changed = [files[i]._replace(problem="damaged") for i in places]
    expected = {**dict(enumerate(files)), **dict(zip(places.tolist(), changed, strict=True))}
    assert list(every.replace_at(places, changed)) == list(expected.values())
    assert list(every.take(places)) == [files[i] for i in places]


def test_what_tells_a_run_from_another_are_paths_fingerprints_and_problems() -> None:
    first, other = (LogFile("predictions", path, "1", 1) for path in ("ab", "c"))
    told = {
        Inputs.of(each).files.digest
        for each in (
            [],
            [first],
            [first, other],
            [first._replace(path="a"), other._replace(path="bc")],
            [first, other._replace(log="feedback")],
            [first, other._replace(fingerprint="2")],
            [first, other._replace(problem="damaged")],
        )
    }
    assert len(told) == 7
    assert Inputs.of([first, other._replace(rows=3)]).files.digest in told


@pytest.mark.parametrize("seed", range(80))
def test_joined_intervals_hold_the_same_instants_and_do_not_touch(seed: int) -> None:
    pick = random.Random(seed)
    starts = np.array([pick.randrange(20) for _ in range(seed % 9)], np.int64)
    spans = [(start, start + pick.randrange(4)) for start in starts]
    found = union(Interval(*each) for each in spans)
    assert {at for each in found for at in range(each.start, each.end)} == {at for a, b in spans for at in range(a, b)}
    assert all(one.end < other.start for one, other in itertools.pairwise(found))
    assert all(not each.empty and type(each.start) is int for each in found)
