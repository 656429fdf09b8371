"""`sli sql` says of the published tables what `sli.read` says, reads no more than it must, and reads nothing else."""

from __future__ import annotations

import json
import operator
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from desk import TEN, ZONED, Desk

import sli
from sli.config.load import load_config
from sli.errors import ConfigError, SliError
from sli.reading.read import standing_audit
from sli.reading.rows import rows_of_frame
from sli.reading.sql.execute import sql_rows
from sli.reading.sql.statement import statement
from sli.reading.sql.views import VIEWS

DAYS, N = 40, 6
FIRST, SECOND = "2024-03-01", "2024-03-02"
ODD = 'say "hi", it\'s\n✈️ {"a":1}'


def times(day: int, hours: int = 0) -> Any:
    return pa.array([TEN + timedelta(days=day, hours=hours, milliseconds=i) for i in range(N)], ZONED)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store after a first run of forty days, and a second run with a late label and a row without an id."""
    desk = Desk(tmp_path_factory.mktemp("sql"), None)  # type: ignore[arg-type]
    desk.configure(
        slis=["accuracy", "recall"],
        slice_by=[[], ["site"]],
        grains=["hour", "day", "cumulative", {"size": "7d", "every": "1d"}],
        timezone="America/New_York",
        horizon="60d",
    )
    for day in range(DAYS):
        ids = [f"d{day}-{i}" for i in range(N)]
        desk.predictions(f"{day}.parquet", output_id=ids, predicted_at=times(day), site=["A", None, ODD] * 2)
        labelled = range(N) if day else range(1, N)
        columns = {"output_id": [ids[i] for i in labelled], "known_at": times(day, 1).take(pa.array(labelled))}
        desk.feedback(f"{day}.parquet", **columns, label=[i % 2 for i in labelled])
    sli.run(desk.config, as_of=FIRST)
    desk.feedback("late.parquet", output_id=["d0-0", None], known_at=times(30)[:2], label=[1, 1])
    sli.run(desk.config, as_of=SECOND)
    return desk.root


@pytest.fixture
def desk(root: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(root, capsys)


def asked(desk: Desk, text: str) -> list[dict[str, Any]]:
    rows = sql_rows(load_config(desk.config), text)
    return pa.Table.from_batches(rows.batches, rows.schema).to_pylist()


def frame_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = rows_of_frame(frame)
    return pa.Table.from_batches(rows.batches, rows.schema).to_pylist()


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert found
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


@pytest.mark.parametrize(
    ("view", "choice"),
    [
        ("current", {}),
        ("hourly", {"grain": "hour"}),
        ("daily", {"grain": "day"}),
        ("cumulative", {"grain": "cumulative"}),
        (f"as_known('{FIRST}')", {"as_of": FIRST}),
        (f"as_known('{FIRST}T12:00Z')", {"as_of": f"{FIRST}T12:00Z"}),
        (f"as_known('{SECOND}')", {"as_of": SECOND}),
        ("revisions", {"table": "revisions"}),
        ("runs", {"table": "runs"}),
    ],
)
def test_a_view_has_the_rows_that_the_reader_gives(desk: Desk, view: str, choice: dict[str, Any]) -> None:
    same(asked(desk, f"from {view}"), frame_rows(sli.read(desk.config, **choice)))


def test_changes_are_those_of_the_last_run_and_the_audit_is_the_current_one(desk: Desk) -> None:
    revisions = sli.read(desk.config, table="revisions")
    last = revisions[revisions.sequence == revisions.sequence.max()]
    assert 0 < len(last) < len(revisions)
    same(asked(desk, "from changes"), frame_rows(last))
    same(asked(desk, "from audit"), frame_rows(standing_audit(load_config(desk.config))))


def test_what_was_known_stands_beside_what_is_known_now(desk: Desk) -> None:
    key = "sli, grain, window_start, slice_by, slice"
    found = asked(
        desk,
        f"select k.labelled as before, n.labelled as now from as_known('{FIRST}') k join daily n using ({key}) "
        "where k.labelled <> n.labelled and sli = 'accuracy' and slice_by = []",
    )
    assert found == [{"before": 5, "now": 6}]


def test_times_without_a_zone_are_local_and_times_of_the_answer_are_utc(desk: Desk) -> None:
    [row] = asked(
        desk, "select distinct window_start, hour(window_start) h from daily where window_start = '2024-01-16 00:00'"
    )
    assert row["window_start"].isoformat() == "2024-01-16T05:00:00+00:00"
    assert row["h"] == 0


def test_slices_are_maps_and_their_columns_lists(desk: Desk) -> None:
    found = asked(desk, "select distinct slice_by, slice['site'] as site from daily order by all")
    assert [(row["slice_by"], row["site"]) for row in found] == [
        ([], None),
        (["site"], "A"),
        (["site"], ODD),
        (["site"], None),
    ]


def test_a_condition_on_times_opens_only_files_that_can_matter(desk: Desk, tmp_path: Path) -> None:
    """Every file of another day is gone, so opening any of them would be an error."""
    copy = Desk(tmp_path / "copy", desk.capsys)
    shutil.copytree(desk.root, copy.root)
    kept = set[str]()
    for day in (copy.root / "store/results").glob("grain=*/day=*"):
        if day.name >= "day=2024-02-10":
            kept.add(day.name)
        else:
            shutil.rmtree(day)
    assert len(kept) > 5
    late = "window_start >= '2024-02-10'"
    assert asked(copy, f"select count(*) n from daily where {late}") == [{"n": 15 * 4 * 2 - 8}]
    assert asked(copy, f"select count(*) n from current where {late} and sli = 'recall'")[0]["n"] > 0
    assert asked(copy, "select max(value) v from hourly where window_end > '2024-02-10'")[0]["v"] is not None
    with pytest.raises(SliError, match="store cannot be read"):
        asked(copy, "select count(value) n from daily")


@pytest.mark.parametrize("edge", ["window_start", "window_end"])
@pytest.mark.parametrize("sign", ["=", "<=", ">=", "<", ">"])
def test_no_file_that_matters_stays_closed(desk: Desk, edge: str, sign: str) -> None:
    """Also at the edges of its day, across a change of the clocks, and in zones and grains of any length."""
    rows = asked(desk, "from current")
    instants = sorted({row[edge] for row in rows})
    assert len(instants) > DAYS
    compare = {"=": operator.eq, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}[sign]
    for instant in instants[::7] + instants[-2:]:
        [found] = asked(desk, f"select count(*) n from current where {edge} {sign} '{instant.isoformat()}'")
        assert found["n"] == sum(compare(row[edge], instant) for row in rows)


def test_what_was_known_is_told_by_as_of_also_of_runs_in_another_order(tmp_path: Path) -> None:
    desk = Desk(tmp_path, None)  # type: ignore[arg-type]
    desk.configure(horizon="30d", slice_by=[[], ["site"]])
    desk.predictions(site=["A", None] * 3)
    desk.feedback()
    desk.feedback("later.parquet", n=2, known_at=times(3)[:2], label=[1, 0])
    for as_of in ("2024-01-20", "2024-01-15T12:00", "2024-01-17", "2024-01-15T10:00:00.002"):
        sli.run(desk.config, as_of=as_of)
    values = set[str]()
    for as_of in ("2024-01-15T11:00", "2024-01-16", "2024-01-17", "2024-01-19T05:00Z", "2024-01-21"):
        found = asked(desk, f"from as_known('{as_of}')")
        same(found, frame_rows(sli.read(desk.config, as_of=as_of)))
        values.add(repr(sorted(map(repr, found))))
    assert len(values) > 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select * from dayly", "did you mean 'daily'?"),
        ("select windwo_start from daily", "did you mean 'window_start'?"),
        ("select d.valeu from daily d", "did you mean 'value'?"),
        ("with x as (select valu from daily) select * from x", "did you mean 'value'?"),
        ("select * from as_known", "as_known('2014-01-02')"),
        ("select * from as_known('2024-01-01')", "2024-03-01 00:00 or later, the as_of of the first run"),
        ("select * from as_known('yesterday')", "ISO 8601"),
        ("select * from as_known(now())", "not a text in quotes"),
        ("select value from daily where", "syntax error"),
        ("", "it is not one statement"),
        ("select 1; select 2", "it is not one statement"),
        ("select 1; drop table published_results", "it is not a SELECT statement"),
        ("insert into current select * from current", "it is not a SELECT statement"),
        ("copy (select 1) to 'stolen.csv'", "it is not a SELECT statement"),
        ("attach 'other.db'", "it is not a SELECT statement"),
        ("set enable_external_access = true", "it is not a SELECT statement"),
        ("install httpfs", "it is not a SELECT statement"),
        ("show tables", "it is not a SELECT statement"),
        ("select * from 'c.yaml'", "there is no table 'c.yaml'"),
        ("select * from '/etc/passwd'", "there is no table"),
        ("select * from read_text('/etc/passwd')", "'read_text' cannot be read from"),
        ("select * from (select * from read_csv('c.yaml'))", "'read_csv' cannot be read from"),
        ("select (select content from read_text('/etc/passwd'))", "'read_text' cannot be read from"),
        ("select * from glob('*')", "'glob' cannot be read from"),
        ("select * from duckdb_settings()", "'duckdb_settings' cannot be read from"),
        ("select * from query_table('published_runs')", "'query_table' cannot be read from"),
        ("select * from published_results", "there is no table 'published_results'"),
        ("select * from information_schema.tables", "there is no table 'information_schema.tables'"),
        ("select * from desk", "there is no table 'desk'"),
        ("select Current_Setting('secret_directory')", "`current_setting` reads a setting"),
        ("select value from daily where sli = getvariable('x')", "`getvariable` reads a setting"),
        ("select value, value from daily", "two columns of the answer are named 'value'"),
        ("select 'a'::integer", "Could not convert string 'a'"),
        ("select " + "(" * 3000 + "1" + ")" * 3000, "SQL cannot be used"),
        ("select '" + "x" * 200_000 + "'", "it is too long"),
    ],
)
def test_what_is_no_question_to_the_tables_is_a_clear_error(desk: Desk, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        asked(desk, text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "with daily as (from daily where sli = 'accuracy') select count(*) n from daily",
        "select count(*) n from daily where sli in (with daily as (select 'accuracy' sli) select sli from daily)",
    ],
)
def test_a_query_may_have_the_name_of_a_view_and_read_it(desk: Desk, text: str) -> None:
    assert asked(desk, text) == asked(desk, "select count(*) n from daily where sli = 'accuracy'")
    assert asked(desk, text) != [{"n": 0}]


def test_a_statement_that_passed_the_check_still_opens_no_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database itself is shut in, whatever the check overlooks."""
    monkeypatch.setattr(
        "sli.reading.sql.execute.statement", lambda text: statement("select 1").__class__(text, frozenset(), ())
    )
    secret = desk.root / "secret.txt"
    secret.write_text("hunter2")
    for text in (
        f"select * from read_text('{secret}')",
        f"select * from read_csv('{desk.config}')",
        f"select * from '{secret}'",
        f"copy (select 1 as x) to '{desk.root / 'stolen.csv'}'",
        f"attach '{desk.root / 'other.db'}'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "load httpfs",
        "select * from secret",
    ):
        with pytest.raises(ConfigError) as error:
            asked(desk, text)
        assert "hunter2" not in str(error.value)
    assert not (desk.root / "stolen.csv").exists()
    assert not (desk.root / "other.db").exists()


def test_an_answer_is_computed_while_it_is_taken(desk: Desk) -> None:
    batches = iter(
        sql_rows(load_config(desk.config), "select range n, repeat('x', 1000) t from range(10_000_000_000)").batches
    )
    assert 0 < len(next(batches)) <= 1 << 17


def test_types_that_no_format_has_become_integers_or_texts(desk: Desk) -> None:
    [row] = asked(
        desk,
        "select sum(predictions) n, max(window_end - window_start) long, time '10:00' t, uuid()::text <> '' u, "
        "[1, 2] l, {'a': interval 1 day} s, null x, [max(window_end)] w from daily",
    )
    assert row["n"] == DAYS * N * 4
    assert (row["long"], row["t"], row["l"], row["s"], row["x"]) == ("1 day", "10:00:00", [1, 2], "{'a': 1 day}", None)
    assert row["w"] == "['2024-02-24 00:00:00-05']"


def test_equal_statements_give_their_rows_in_the_same_order(desk: Desk) -> None:
    first = asked(desk, "from current")
    assert first == asked(desk, "from current")
    days = [row["window_end"] for row in first if row["grain"] == "day"]
    assert days == sorted(days)


def test_a_row_may_be_described_and_summarized(desk: Desk) -> None:
    assert [row["column_name"] for row in asked(desk, "describe changes")] == [*VIEWS["changes"].columns]
    assert len(asked(desk, "summarize select value from daily")) == 1


def test_every_view_reads_columns_that_its_table_has(desk: Desk) -> None:
    for name in VIEWS:
        call = f"as_known('{SECOND}')" if name == "as_known" else name
        assert [row["column_name"] for row in asked(desk, f"describe from {call}")] == [*VIEWS[name].columns]


def test_nothing_published_yet_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk.made(tmp_path, capsys)
    said = desk.call("sql", str(desk.config), "select * from current")
    assert said.code == 4
    assert said.has("nothing is published yet")


def test_a_table_for_a_pipe_has_no_empty_cell_and_says_what_is_null(desk: Desk) -> None:
    values = "('a b', 1, null), (null, 22, ''), ('x' || chr(10) || 'y', null, 'z')"
    text = f"select site, n, t from (values {values}) v(site, n, t)"
    said = desk.call("sql", str(desk.config), text)
    assert said.code == 0
    assert said.out.splitlines() == ["site   n  t", "a b    1  -", '-     22  ""', "x\\ny   -  z"]
    empty = desk.call("sql", str(desk.config), "select value, sli from daily where sli = 'no'")
    assert empty.out.split() == ["value", "sli"]


def test_errors_are_json_where_json_was_asked_for(desk: Desk) -> None:
    said = desk.call("sql", str(desk.config), "select * from dayly", "--json")
    assert said.code == 2
    assert json.loads(said.out)["error"]["todo"] == "did you mean 'daily'?"
