"""PostgreSQL as a sink: its tables equal what is published, whatever came between, and it says what is wrong."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import servers
from databases import Database, bits, database_of
from desk import TEN, ZONED, Desk

import sli
from sli.calendar.zone import zone
from sli.config.arguments import instant_of
from sli.config.load import load_config
from sli.errors import ExportError
from sli.export.after import export_published
from sli.export.postgres import connection, send, staging, tables
from sli.export.postgres.rows import Slices, result_rows
from sli.publishing.store import Store
from sli.schemas import RESULTS
from sli.slices import slice_text

ODD = ["it's", 'a "b"', "🛫 e\u0301", "a,b\nc", "\\N", "", "x" * 9000, "NULL", "{}", "nul\0l", "nul␀l"]
"""Values of a slice column that could break SQL, CSV, JSON or an index."""


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], database: Database) -> Desk:
    made = Desk.made(tmp_path, capsys)
    configure(made, database)
    return made


def configure(desk: Desk, database: Database | str, **changes: Any) -> None:
    """A config with a sink, by which no hour becomes final, so that a run takes whatever comes."""
    url = database if isinstance(database, str) else database.url
    desk.configure(**{"export": {"postgres": {"url": url}}, "horizon": "60d"} | changes)


def more(desk: Desk, number: int) -> None:
    """A file of predictions and their feedback, a minute after the last."""
    at = [TEN + timedelta(minutes=number + 1, milliseconds=i) for i in range(6)]
    desk.predictions(f"{number}.parquet", f"n{number}-", predicted_at=pa.array(at, ZONED))
    desk.feedback(f"{number}.parquet", f"n{number}-", label=[number % 2] * 6)


def runs(desk: Desk) -> list[Any]:
    return list(sli.read(desk.config, table="runs").itertuples())


def position(database: Database) -> Any:
    [row] = database.rows("models")
    return row["version"]


def test_a_run_sends_what_it_published(desk: Desk, database: Database) -> None:
    configure(
        desk,
        database,
        grains=["hour", "day", "cumulative", {"size": "7d"}],
        slis=["accuracy", {"sli": "recall", "objective": ">= 0.4"}, "log_loss", "count", {"sli": "quantile", "q": 0.5}],
        slice_by=[[], ["region"], ["region", "kind"]],
    )
    desk.predictions(region=["a", "b"] * 3, kind=["x", None, "x", "y", "y", "x"])
    assert desk.run().code == 0
    assert database.check(desk.config) > 100
    more(desk, 1)
    desk.predictions("1.parquet", "q", region=[None] * 6, kind=["z"] * 6)
    assert desk.run("--as-of", "2024-02-02").code == 0
    database.check(desk.config)
    assert {row["cause"] for row in database.rows("changes")} == {"new predictions"}
    [model] = database.rows("models")
    assert model["newest"] == TEN + timedelta(hours=1)
    assert model["sentence"].startswith("All since 2024-01-15: ")
    assert len(database.rows("runs")) == 2
    [recall] = (row for row in database.rows("slis") if row["sli"] == "recall")
    assert (recall["objective_low"], recall["objective_high"], recall["better"]) == (0.4, None, "higher")
    assert {row["question"] for row in database.rows("findings")} >= {"Chance?", "Late labels?", "Bad data?"}
    names = {row["slice_name"] for row in database.rows("slices")}
    assert {"all", "a", "x, a", "null"} <= names


def test_a_row_that_did_not_change_is_not_written_again(desk: Desk, database: Database) -> None:
    desk.run()
    before = database.execute("SELECT sli, xmin::text FROM sli.results")
    assert desk.call("export", "postgres", str(desk.config)).has("1 results", "0 of them were new or other, 0 removed")
    assert database.execute("SELECT sli, xmin::text FROM sli.results") == before


def test_odd_names_arrive_as_they_are(desk: Desk, database: Database) -> None:
    desk.configure(
        export={"postgres": {"url": database.url, "schema": 'a "b"; DROP 🛬'}},
        model='mo\'del "🛫"',
        slice_by=[[], ["o\"d'd 🛫"]],
        slis=[{"name": 'it\'s "so" 🛫', "sli": "accuracy"}],
    )
    values = [ODD[i % len(ODD)] for i in range(22)]
    desk.predictions(n=22, **{"o\"d'd 🛫": values})
    desk.feedback(n=22)
    said = desk.run()
    assert said.code == 3
    assert said.has("export.postgres: 1 slice with a NUL character", "␀")
    rows = database.rows("results", 'a "b"; DROP 🛬')
    assert {row["slice_key"] for row in rows if row["slice"]} >= {
        slice_text({"o\"d'd 🛫": v}) for v in ODD if len(v) < 99
    }
    got = {(row["slice"].get("o\"d'd 🛫"), bits(row["value"])) for row in rows}
    published = sli.read(desk.config)
    shown = {
        (None if not s else s["o\"d'd 🛫"].replace("\0", "␀"), bits(value))
        for s, value in zip(published["slice"], published.value, strict=True)
    }
    assert (got, len(rows)) == (shown, len(published) == len(ODD) + 1 and len(published))
    assert {row["model"] for row in rows} == {'mo\'del "🛫"'}


def test_doubles_arrive_to_the_bit(database: Database) -> None:
    values = [math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, 1 / 3, None, -0.0, 2**53 + 1.0]
    at = datetime(2024, 1, 15, tzinfo=UTC)
    rows = [
        {"model": "m", "sli": f"{i}", "definition": "d", "grain": "hour", "window_start": at, "window_end": at}
        | {"slice_by": [], "slice": [], "value": value, "ci_low": value, "day": "2024-01-15", "predictions": 2**62}
        for i, value in enumerate(values)
    ]
    stored = pa.Table.from_pylist(rows, schema=RESULTS)
    with connection.connected(sink_of(database)) as con:
        tables.prepare(con, "sli", "here")
        target = staging.Staging(con, "sli", "m")
        target.replace_days([result_rows(stored, "m", Slices())], "hour", ["2024-01-15"])
        con.commit()
    found = {row["sli"]: row for row in database.rows("results")}
    assert [bits(found[f"{i}"]["value"]) for i in range(len(values))] == list(map(bits, values))
    assert {row["predictions"] for row in found.values()} == {2**62}


def sink_of(database: Database, **changes: Any) -> Any:
    from sli.config.postgres_section import PostgresSink

    return PostgresSink(**{"url": database.url, "schema": "sli", **changes})


@pytest.mark.parametrize("runs", [5, pytest.param(100, marks=pytest.mark.soak)])
def test_what_runs_published_while_it_was_away_comes_with_the_next(desk: Desk, database: Database, runs: int) -> None:
    desk.run()
    first, config = position(database), load_config(desk.config)
    for number in range(runs):
        if number % 10 == 3:
            more(desk, number)
        else:
            desk.feedback(f"late-{number}.parquet", label=[(number + i) % 2 for i in range(6)])
        assert sli.run(config, as_of=f"2024-02-02T{number // 60:02}:{number % 60:02}").published
    assert position(database) == first
    assert desk.run("--as-of", "2024-02-03").has("nothing to do")
    database.check(config)
    assert position(database) >= first + runs
    assert len(database.rows("runs")) == 1 + runs


def test_a_store_that_lost_the_version_it_had_is_compared_whole(desk: Desk, database: Database) -> None:
    desk.run()
    database.execute("DELETE FROM sli.results WHERE sli = 'accuracy'")
    for log in (desk.root / "store/results/_delta_log").glob("*1.json"):
        log.unlink()
    database.execute("UPDATE sli.models SET version = 0, files = 'of another time'")
    assert desk.run("--as-of", "2024-02-01").code == 0
    database.check(desk.config)


def test_a_store_that_is_made_anew_replaces_the_rows_of_its_model(desk: Desk, database: Database) -> None:
    desk.predictions(region=["a", "b"] * 3)
    configure(desk, database, slice_by=[[], ["region"]])
    desk.run()
    assert len(database.rows("slices")) == 3
    configure(desk, database, store="other", slis=["recall"])
    assert desk.run().has("export.postgres: the tables had this model from another store")
    database.check(desk.config)
    assert len(database.rows("slices")) == 1
    assert desk.run("--as-of", "2024-02-02").has("nothing to do")


def test_a_model_that_is_renamed_leaves_no_rows_of_its_old_name(desk: Desk, database: Database) -> None:
    desk.run()
    configure(desk, database, model="renamed")
    assert desk.call("export", "postgres", str(desk.config)).code == 0
    for table in tables.TABLES:
        assert {row["model"] for row in database.rows(table.name)} <= {"renamed"}, table.name
    assert len(database.rows("results")) == len(sli.read(desk.config))


def test_models_share_a_schema(desk: Desk, database: Database) -> None:
    desk.run()
    first = database.rows("results")
    configure(desk, database, model="second", store="second", slis=["recall"])
    desk.run()
    assert {row["model"] for row in database.rows("results")} == {"m", "second"}
    assert [row for row in database.rows("results") if row["model"] == "m"] == first


def test_rows_that_are_not_published_are_removed_and_rows_that_are_lost_come_back(
    desk: Desk, database: Database
) -> None:
    desk.run()
    database.execute(
        "UPDATE sli.results SET value = 7 WHERE sli = 'accuracy'",
        'INSERT INTO sli.results SELECT (r).* FROM (SELECT jsonb_populate_record(r, \'{"sli": "gone"}\') r '
        "FROM sli.results r LIMIT 1) s",
        'INSERT INTO sli.results SELECT (r).* FROM (SELECT jsonb_populate_record(r, \'{"day": "1999-01-01"}\') r '
        "FROM sli.results r WHERE sli = 'gone') s ON CONFLICT DO NOTHING",
        "DELETE FROM sli.slices",
    )
    assert desk.call("export", "postgres", str(desk.config)).has("1 removed")
    database.check(desk.config)
    assert [row["slice_name"] for row in database.rows("slices")] == ["all"]


def test_a_publication_that_is_taken_back_is_taken_back_there_too(desk: Desk, database: Database) -> None:
    desk.run()
    database.check(desk.config)
    before = database.rows("results")
    more(desk, 1)
    desk.run("--as-of", "2024-02-02")
    assert database.rows("results") != before
    assert Store(load_config(desk.config).store).undo_after(instant_of(zone("UTC"), "as_of", "2024-02-01"))
    assert desk.call("export", "postgres", str(desk.config)).code == 0
    assert database.rows("results") == before
    assert {row["as_of"].day for row in database.rows("models")} == {1}
    more(desk, 2)
    desk.run("--as-of", "2024-02-01")
    database.check(desk.config)
    assert {row["as_of"] for row in database.rows("runs")} == {row.as_of for row in runs(desk)}


def test_a_run_as_of_earlier_changes_no_row(desk: Desk, database: Database) -> None:
    desk.run()
    before = database.rows("results")
    assert desk.run("--as-of", "2024-01-15T10:30").code == 0
    assert database.rows("results") == before


def test_two_exports_at_once_give_the_same_rows(desk: Desk, database: Database) -> None:
    desk.run()
    config, failed = load_config(desk.config), []
    database.execute("DROP SCHEMA sli CASCADE")

    def export() -> None:
        try:
            send.send_all(config, config.export.postgres)  # type: ignore[arg-type]
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=export) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, str(failed[0])
    database.check(config)


def test_an_export_sees_the_tables_that_another_one_made_while_it_waited(desk: Desk, database: Database) -> None:
    desk.run()
    sink = load_config(desk.config).export.postgres
    assert sink is not None
    database.execute("DROP SCHEMA sli CASCADE")
    with connection.connected(sink) as waiting, connection.connected(sink) as first:
        tables.lock(first, "sli")
        assert tables._format(waiting, "sli", "here") == 0
        waits = threading.Thread(target=tables.lock, args=(waiting, "sli"))
        waits.start()
        while not database.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            time.sleep(0.05)
        tables.prepare(first, "sli", "here")
        waits.join()
        assert tables._format(waiting, "sli", "here") == tables.FORMAT


def test_an_export_waits_for_another_one_only_so_long(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run()
    monkeypatch.setattr(connection, "LOCK_SECONDS", 1)
    with connection.connected(sink_of(database)) as other:
        tables.lock(other, "sli", "m")
        assert desk.call("export", "postgres", str(desk.config)).has("another export of this model is at work")


def test_an_older_format_is_brought_up_to_date_and_filled(desk: Desk, database: Database) -> None:
    desk.run()
    database.execute("ALTER TABLE sli.results DROP COLUMN coverage", "DROP TABLE sli.findings")
    database.execute("UPDATE sli.sli_format SET format = 0")
    assert desk.run().has("nothing to do")
    database.check(desk.config)
    assert database.rows("findings")
    assert database.rows("sli_format") == [{"format": tables.FORMAT}]


def test_a_newer_format_is_refused_and_left_as_it_is(desk: Desk, database: Database) -> None:
    desk.run()
    database.execute("UPDATE sli.sli_format SET format = 9", "DELETE FROM sli.results")
    said = desk.call("export", "postgres", str(desk.config))
    assert said.code == 4
    assert said.has("a newer format", "format 9", "upgrade sli")
    assert not database.rows("results")


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE sli.results (mine text)",
        "CREATE VIEW sli.results AS SELECT 1 AS mine",
        "CREATE TABLE sli.models (model text)",
        "CREATE TABLE sli.sli_format (mine text)",
    ],
)
def test_a_table_of_the_same_name_is_left_as_it_is(desk: Desk, database: Database, made: str) -> None:
    database.execute("CREATE SCHEMA sli", made)
    said = desk.run()
    assert said.code == 3
    assert said.has(
        "export.postgres: the schema has tables of the same name that sli did not make", "`export.postgres.schema`"
    )
    assert said.out.startswith("published")
    [(columns,)] = database.execute("SELECT count(*) FROM information_schema.columns WHERE table_schema = 'sli'")
    assert columns == 1


def test_tables_that_somebody_changed_are_told(desk: Desk, database: Database) -> None:
    desk.run()
    database.execute("ALTER TABLE sli.results DROP COLUMN value")
    said = desk.call("export", "postgres", str(desk.config))
    assert said.code == 4
    assert said.has("are not those that sli made", "value")


URLS: list[tuple[Callable[[servers.Postgres, Database], str], list[str]]] = [
    (
        lambda server, db: server.url("postgres", "wrong-secret", db.name),
        ["refused the connection", "password of the URL"],
    ),
    (lambda server, db: server.url("nobody-here", "wrong-secret", db.name), ["refused the connection"]),
    (
        lambda server, db: server.url(database="not_there"),
        ['database "not_there" does not exist', "create the database"],
    ),
    (lambda server, db: f"{db.url}?sslmode=require", ["SSL", "`sslmode`"]),
    (lambda server, db: "postgresql://u:wrong-secret@127.0.0.1:9/d", ["does not answer", "127.0.0.1:9/d"]),
    (
        lambda server, db: "postgresql://u:wrong-secret@no-such-host.invalid/d",
        ["no-such-host.invalid", "the host of the URL"],
    ),
    (lambda server, db: f"{db.url}?no_such=1", ["the URL of the database cannot be read", "no_such"]),
]


@pytest.mark.parametrize(("url", "parts"), URLS)
def test_a_database_that_cannot_be_reached_is_a_warning_without_credentials(
    desk: Desk, postgres_server: servers.Postgres, database: Database, url: Any, parts: list[str]
) -> None:
    configure(desk, url(postgres_server, database))
    said = desk.run()
    assert said.code == 3
    assert said.has("export.postgres: ", "the results are published, the next run sends them", *parts[:1])
    assert len(sli.read(desk.config)) == 1
    alone = desk.call("export", "postgres", str(desk.config))
    assert alone.code == 4
    assert alone.has(*parts)
    everything = said.out + said.err + alone.out + alone.err
    assert "wrong-secret" not in everything
    assert postgres_server.password not in everything
    # The next run has nothing to do but this.
    assert desk.run().code == 3
    configure(desk, database)
    assert desk.run().code == 0
    database.check(desk.config)


def test_a_wrong_url_or_schema_fails_before_any_work(desk: Desk) -> None:
    for value, parts in (
        ({"url": "host=db password=hunter22"}, ["not the URL of a PostgreSQL database", "export.postgres.url"]),
        ({"url": "mysql://u:hunter22@db/x"}, ["not the URL of a PostgreSQL database"]),
        ({}, ["'url' is missing"]),
        ({"url": "postgresql://db/x", "shcema": "a"}, ["unknown key 'shcema'", "did you mean 'schema'?"]),
        ({"url": "postgresql://db/x", "schema": "pg_mine"}, ["not the name of a schema"]),
        ({"url": "postgresql://db/x", "schema": "x" * 64}, ["not the name of a schema"]),
    ):
        desk.configure(export={"postgres": value})
        said = desk.run()
        assert said.code == 2
        assert said.has(*parts)
        assert "hunter22" not in said.out + said.err
        assert desk.untouched
    desk.configure(export={"postgers": {}})
    assert desk.run().has("unknown key 'postgers'", "did you mean 'postgres'?")
    desk.configure()
    said = desk.call("export", "postgres", str(desk.config))
    assert said.code == 2
    assert said.has("the config names no PostgreSQL")


def test_the_url_comes_from_the_environment_and_is_masked(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESULTS_URL", database.url)
    desk.configure(export={"postgres": {"url": "${RESULTS_URL}"}})
    assert desk.run().code == 0
    database.check(desk.config)


def test_another_sink_changes_no_definition_and_recomputes_nothing(desk: Desk, database: Database) -> None:
    configure(desk, database, export={})
    desk.run()
    before = load_config(desk.config)
    configure(desk, database)
    after = load_config(desk.config)
    assert (before.base, before.digest) == (after.base, after.digest)
    assert desk.run().has("nothing to do")
    database.check(desk.config)


def test_a_database_that_cannot_hold_a_character_says_so(desk: Desk, postgres_server: servers.Postgres) -> None:
    with database_of(postgres_server, "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as latin:
        configure(desk, latin, slice_by=[["region"]])
        desk.predictions(region=["🛫"] * 6)
        assert desk.run().has("export.postgres: the database cannot hold a character", "the encoding UTF8")


def test_a_backfill_sends_what_it_published(desk: Desk, database: Database) -> None:
    desk.run()
    more(desk, 3)
    assert desk.backfill("2024-01-15", "2024-01-16").code == 0
    database.check(desk.config)


def test_a_sink_whose_package_is_missing_says_how_to_install_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("sli.export.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert desk.run().has("`export.postgres` needs the package psycopg", "pip install 'sli-recompute[postgres]'")


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "GROUP_ROWS", 1)
    monkeypatch.setattr(send, "BATCH_ROWS", 1)


@pytest.mark.usefixtures("small_groups")
def test_days_come_group_by_group(desk: Desk, database: Database) -> None:
    configure(desk, database, grains=["hour", "day", "cumulative"])
    at = [TEN + timedelta(days=i) for i in range(6)]
    desk.predictions(predicted_at=pa.array(at, ZONED))
    desk.run()
    assert database.check(desk.config) > 10
    desk.feedback(label=[1] * 6)
    desk.run("--as-of", "2024-02-02")
    database.check(desk.config)


@pytest.fixture
def own_server() -> Iterator[servers.Postgres]:
    with servers.postgres("postgres", "the-admin's-own", "results") as server:
        yield server


def test_what_psycopg_logs_beside_an_error_is_not_printed() -> None:
    code = "import logging, sli.export.postgres.connection; logging.getLogger('psycopg').warning('error ignored')"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stderr == b""


@pytest.mark.usefixtures("small_groups")
def test_a_server_that_is_killed_midway_shows_nothing_of_it_and_gets_all_by_the_next_run(
    desk: Desk, own_server: servers.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(own_server, "results")
    configure(desk, database, grains=["hour", "day", "cumulative"])
    desk.run()
    before = database.rows("results")
    more(desk, 1)
    calls = []
    real = staging.Staging.replace_days

    def killed(self: staging.Staging, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            own_server.kill()
        return real(self, *arguments)

    monkeypatch.setattr(staging.Staging, "replace_days", killed)
    said = desk.run("--as-of", "2024-02-02")
    assert said.code == 3
    assert said.has("export.postgres: the database went away before it had everything", "the next run sends them")
    assert len(calls) == 2
    assert desk.run("--as-of", "2024-02-02").has("nothing to do", "the database does not answer")
    own_server.start()
    assert database.rows("results") == before
    assert desk.run("--as-of", "2024-02-02").code == 0
    database.check(desk.config)
    assert database.rows("results") != before


@pytest.mark.usefixtures("small_groups")
def test_a_server_that_freezes_midway_does_not_hold_the_run_and_the_next_one_sends_all(
    desk: Desk, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stays alive: the kernel answers for a process that is stopped."""
    configure(desk, database, grains=["hour", "day", "cumulative"])
    desk.run()
    more(desk, 1)
    frozen: list[int] = []
    real = staging.Staging.replace_days

    def freezes(self: staging.Staging, *arguments: Any) -> Any:
        if not frozen:
            frozen.append(self.connection.info.backend_pid)
            os.kill(frozen[0], signal.SIGSTOP)
        return real(self, *arguments)

    monkeypatch.setattr(staging.Staging, "replace_days", freezes)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 1.0)
    try:
        said = desk.run("--as-of", "2024-02-02")
    finally:
        os.kill(frozen[0], signal.SIGCONT)
    assert said.code == 3
    assert said.has("export.postgres: the database went away before it had everything (no answer for 1 s)")
    monkeypatch.undo()
    assert desk.run("--as-of", "2024-02-02").code == 0
    database.check(desk.config)


def test_an_error_that_nobody_foresaw_is_a_warning_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "connected", lambda _: 1 / 0)
    said = desk.run()
    assert said.code == 3
    assert said.has("export.postgres: ZeroDivisionError: division by zero; the results are published")
    with pytest.raises(ZeroDivisionError):
        desk.call("export", "postgres", str(desk.config))


def test_of_several_models_one_without_database_stops_no_other(desk: Desk, database: Database, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text(desk.config.read_text().replace("model: m\n", "model: n\n").replace("store: store", "store: n"))
    configure(desk, "postgresql://u@127.0.0.1:9/d")
    said = desk.call("run", str(desk.config), str(second), "--as-of", "2024-02-01")
    assert said.code == 3
    assert said.has("m: export.postgres: the database does not answer")
    assert {row["model"] for row in database.rows("results")} == {"n"}


def test_the_tables_say_so_if_the_config_changed_since_the_last_run(desk: Desk, database: Database) -> None:
    desk.run()
    configure(desk, database, horizon="2d")
    assert desk.call("export", "postgres", str(desk.config)).code == 0
    [model] = database.rows("models")
    assert model["sentence"] == "the config differs from what is published"


def test_errors_of_the_sink_are_export_errors(desk: Desk) -> None:
    desk.run()
    config = load_config(desk.config)
    assert export_published(config) == ()
    sink = config.export.postgres
    assert sink is not None
    with pytest.raises(ExportError, match="the database refused the rows"), connection.connected(sink) as con:
        con.execute("SELECT 1 / 0")
    with pytest.raises(psycopg.Error):
        psycopg.connect("host=")


RIGHTS = re.findall(r"```sql\n(.*?)```", (Path(__file__).parents[3] / "docs/export.md").read_text(), flags=re.DOTALL)[0]


@pytest.fixture
def roles(database: Database) -> Iterator[Callable[[str], str]]:
    """The roles of the docs, each with its URL."""
    database.execute(RIGHTS)
    database.execute(f"REVOKE CREATE ON DATABASE {database.name} FROM PUBLIC")
    yield lambda role: database.server.url(role, "change me", database.name)
    database.execute(*(f"DROP {what} {role}" for role in ("sli_reader", "sli_writer") for what in ("OWNED BY", "ROLE")))


def test_the_rights_of_the_docs_suffice_and_give_nothing_else(
    desk: Desk, database: Database, roles: Callable[[str], str]
) -> None:
    configure(desk, roles("sli_writer"))
    assert desk.run().code == 0
    more(desk, 1)
    assert desk.run("--as-of", "2024-02-02").code == 0
    assert desk.call("export", "postgres", str(desk.config)).code == 0
    database.check(desk.config)
    with psycopg.connect(roles("sli_writer"), autocommit=True) as writer:
        for forbidden in ("CREATE TABLE public.x ()", "CREATE SCHEMA mine", "CREATE ROLE other"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute(forbidden)
    with psycopg.connect(roles("sli_reader"), autocommit=True) as reader:
        for table in tables.TABLES:
            reader.execute(f"SELECT * FROM sli.{table.name}").fetchall()
        for forbidden in ("DELETE FROM sli.results", "CREATE TABLE sli.x ()"):
            with pytest.raises(psycopg.Error):
                reader.execute(forbidden)


@pytest.mark.usefixtures("roles")
def test_a_user_without_rights_is_told_which_are_needed(
    desk: Desk, database: Database, roles: Callable[[str], str]
) -> None:
    configure(desk, roles("sli_reader"))
    said = desk.run()
    assert said.code == 3
    assert said.has("export.postgres: ", "docs/export.md", "the next run sends them")
    database.execute("ALTER ROLE sli_reader RESET ALL")
    assert desk.run().has("the user lacks a right in the database (permission denied for schema sli", "docs/export.md")
    configure(desk, roles("sli_writer"), export={"postgres": {"url": roles("sli_writer"), "schema": "other"}})
    assert desk.run().has("the user lacks a right", "permission denied for database")
    database.execute(f"REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC")
    configure(desk, roles("sli_writer"))
    assert desk.run().has("the user lacks a right", "temporary")
    assert "change me" not in said.out + said.err
