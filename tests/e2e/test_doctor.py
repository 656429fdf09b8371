"""The doctor finds what is wrong with a set-up, says what to do, and finds nothing wrong with a healthy one."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import servers
import yaml
from builders import config_tree
from databases import Database
from deltalake import DeltaTable, write_deltalake
from desk import TEN, ZONED, Desk, N, Said

import sli
from sli.errors import StoreError

Break = Callable[[Desk, pytest.MonkeyPatch], object]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return Desk.made(tmp_path, capsys)


def doctor(desk: Desk, *options: str) -> Said:
    return desk.call("doctor", str(desk.config), *options)


def lines_of(said: Said, level: str) -> list[str]:
    return [line for line in said.out.splitlines() if line.startswith(level)]


def times(start: datetime, kind: pa.DataType = ZONED) -> pa.Array[Any]:
    return pa.array([start + timedelta(milliseconds=i) for i in range(N)], kind)


def published(change: Break) -> Break:
    """Break a store after a run published to it."""

    def breaks(desk: Desk, patch: pytest.MonkeyPatch) -> None:
        assert desk.run().code == 0
        change(desk, patch)

    return breaks


def store(desk: Desk, name: str = "") -> Path:
    return desk.root / "store" / name


def newest_file(desk: Desk, name: str) -> Path:
    return max(store(desk, name).rglob("*.parquet"))


def two_files(desk: Desk, log: str, **changes: Any) -> Path:
    """A second file of each log, of other ids; the one of `log` has other columns."""
    desk.feedback("b.parquet", "q", **(changes if log == "feedback" else {}))
    return desk.predictions("b.parquet", "q", **(changes if log == "predictions" else {}))


def with_state(**changes: Any) -> Break:
    """Publish again what is published, with another state."""

    def breaks(desk: Desk, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
        log = max(store(desk, "results/_delta_log").glob("*.json"))
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        [commit] = [action["commitInfo"] for action in actions if "commitInfo" in action]
        commit["sli_published"] = json.dumps({**json.loads(commit["sli_published"]), **changes})
        log.write_text("\n".join(map(json.dumps, actions)))

    return breaks


def rewritten(table: str, change: Callable[[pa.Table], pa.Table]) -> Break:
    """Replace the rows of a published file, of which the log says the same as before."""
    import pyarrow.parquet as pq

    def breaks(desk: Desk, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
        path = newest_file(desk, table)
        pq.write_table(change(pq.ParquetFile(path).read()), path)
        [log] = [log for log in store(desk, f"{table}/_delta_log").glob("*.json") if path.name in log.read_text()]
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            if "add" in action and action["add"]["path"].endswith(path.name):
                action["add"]["size"] = path.stat().st_size
        log.write_text("\n".join(map(json.dumps, actions)))

    return breaks


def set_column(name: str, values: Sequence[Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        return table.set_column(place, name, pa.array([*values][: len(table)], table.schema.field(name).type))

    return change


def away() -> str:
    [port] = servers.free_ports(1)
    return f"127.0.0.1:{port}"


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[str]:
    """A server that answers a POST to each path with JSON, or with a status code."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = answers[self.path.removeprefix("/api/")]
            answer = answer(asked) if callable(answer) else answer
            self.send_response(answer if isinstance(answer, int) else 200)
            body = json.dumps(answer).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


LOCAL = pa.timestamp("us")


def without_psycopg(desk: Desk, patch: pytest.MonkeyPatch) -> None:
    desk.configure(export={"postgres": {"url": "postgresql://u:a-secret@127.0.0.1/d"}})
    patch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("sli.export.postgres")]:
        patch.delitem(sys.modules, name)


BROKEN: dict[str, tuple[Break, str, str, str]] = {
    "no predictions at the path": (
        lambda desk, _: desk.configure(predictions__path="predictoins"),
        "problem  paths",
        "predictions: nothing at",
        "check `predictions.path`",
    ),
    "no feedback at the path": (
        lambda desk, _: desk.configure(feedback__path="feedbak"),
        "problem  paths",
        "feedback: nothing at",
        "check `feedback.path`",
    ),
    "CSV for Parquet": (
        lambda desk, _: (desk.root / "predictions/a.parquet").rename(desk.root / "predictions/a.csv"),
        "problem  paths",
        "only 1 .csv file, no .parquet",
        "read_csv",
    ),
    "a cut file": (
        lambda desk, _: os.truncate(two_files(desk, ""), 100),
        "warning  files",
        "1 of 2 files set aside as unreadable",
        "write the file again",
    ),
    "a column that no file has": (
        lambda desk, _: desk.configure(predictions__value="scor"),
        "problem  files",
        "scor",
        "did you mean 'score'?",
    ),
    "a column that one file lacks": (
        lambda desk, _: two_files(desk, "predictions", score=None),
        "warning  files",
        "1 of 2 files set aside as missing column",
        "compare the columns under `predictions:`",
    ),
    "a slice column of two types": (
        lambda desk, _: (
            (
                desk.predictions(site=["1"] * N),
                two_files(desk, "predictions", site=[1] * N),
                desk.configure(slice_by=[[], ["site"]]),
            )
        ),
        "warning  columns",
        "column 'site' is string in 1 file, int64 in 1 file",
        "write it with one type",
    ),
    "custom SQL that does not fit": (
        lambda desk, _: (
            desk.predictions(site=[1] * N),
            desk.configure(
                predictions__columns=["site"], slis=[{"name": "s", "states": {"a": "sum(len(site))"}, "value": "a"}]
            ),
        ),
        "problem  columns",
        "site",
        "what to do",
    ),
    "a Python function that is not there": (
        lambda desk, _: desk.configure(slis=["accuracy", {"name": "mine", "python": "nowhere:mine"}]),
        "problem  code",
        "nowhere",
        "what to do",
    ),
    "ids that are numbers in one log": (
        lambda desk, _: desk.predictions(output_id=list(range(N))),
        "warning  files",
        "feedback: 1 of 1 file set aside as wrong id type",
        "write both logs' ids in one type",
    ),
    "ids in another case": (
        lambda desk, _: desk.feedback(prefix="P"),
        "problem  ids",
        "if upper and lower case or spaces are ignored, 100.0 % more predictions have feedback",
        "`id: {sql: EXPRESSION}`",
    ),
    "ids that are padded": (
        lambda desk, _: (
            (
                desk.predictions(output_id=[str(i + 1) for i in range(N)]),
                desk.feedback(output_id=[f"000{i + 1}" for i in range(N)]),
            )
        ),
        "problem  ids",
        "if leading zeros and decimals are ignored",
        "for example '1' and '0001'",
    ),
    "ids with a prefix": (
        lambda desk, _: desk.feedback(output_id=[f"req/p{i}" for i in range(N)]),
        "problem  ids",
        "if only what follows the last mark counts",
        "for example 'p0' and 'req/p0'",
    ),
    "ids of another model": (
        lambda desk, _: desk.feedback(prefix="other"),
        "problem  ids",
        "no prediction has feedback",
        "check that both paths are of one model",
    ),
    "a unit that is wrong": (
        lambda desk, _: (
            (
                desk.predictions(predicted_at=[1_705_312_800_000 + i for i in range(N)]),
                desk.configure(predictions__time={"column": "predicted_at", "unit": "s"}),
            )
        ),
        "problem  files",
        "in unit s every time",
        "write `unit: ms`",
    ),
    "milliseconds taken for microseconds": (
        lambda desk, _: desk.predictions(predicted_at=pa.array([1_705_312_800_000 + i for i in range(N)], ZONED)),
        "warning  times",
        "times before 2000, from 1970-01-20",
        "timestamps of 1970 were made in another unit",
    ),
    "times that are texts": (
        lambda desk, _: desk.predictions(predicted_at=["15.01.2024 10:00"] * N),
        "problem  files",
        "is not ISO 8601",
        "what to do",
    ),
    "local times read as UTC": (
        lambda desk, _: desk.predictions(
            "new.parquet", "n", predicted_at=times(datetime.now() + timedelta(hours=5), LOCAL)
        ),
        "warning  times",
        "with times after now",
        "times without a zone are read in UTC: set `timezone`",
    ),
    "a clock years ahead": (
        lambda desk, _: desk.predictions("new.parquet", "n", predicted_at=times(datetime(2056, 1, 1, tzinfo=UTC))),
        "warning  times",
        "up to 2056-01-01T00:00Z",
        "check the unit and the clock",
    ),
    "a horizon that is too short": (
        lambda desk, _: (
            desk.predictions("b.parquet", "q", predicted_at=times(TEN + timedelta(minutes=45))),
            desk.configure(horizon="30m"),
        ),
        "problem  ids",
        "100.0 % of predictions have feedback only later than 30m, half of them after 1 h or more",
        "set `horizon` longer",
    ),
    "feedback in another zone": (
        lambda desk, _: (
            desk.feedback(known_at=times(TEN - timedelta(hours=5)))
            and desk.predictions("b.parquet", "q", predicted_at=times(TEN - timedelta(hours=9)))
        ),
        "problem  ids",
        "feedback is known before its prediction for 50.0 % of predictions, half of them by 5 h or more",
        "compare the zones and clocks of both logs",
    ),
    "feedback of another year": (
        lambda desk, _: desk.feedback(known_at=times(TEN - timedelta(days=400))),
        "problem  times",
        "is known before the first prediction",
        "check `feedback.path`",
    ),
    "a since after all predictions": (
        lambda desk, _: desk.configure(since="2025-01-01"),
        "problem  times",
        "all predictions were made before `since`",
        "earlier",
    ),
    "a store that is a file": (
        lambda desk, _: (desk.root / "store").write_text(""),
        "problem  rights",
        "the store is a file",
        "name a folder",
    ),
    "a store where nobody may write": (
        lambda desk, _: desk.configure(store="/proc/sli-store"),
        "problem  rights",
        "the store cannot be written: /proc/",
        "let the user that runs sli write in /proc",
    ),
    "a clock that is wrong": (
        lambda _, patch: patch.setattr("sli.doctor.place.time.time", lambda now=time.time: now() - 600),
        "warning  clock",
        "the clock of this machine is 10 min behind that of the storage",
        "set it by NTP",
    ),
    "a run as of the future": (
        lambda desk, _: desk.call("run", str(desk.config), "--as-of", "2099-01-01", "--future"),
        "problem  state",
        "the store is published as of the future, 2099-01-01T00:00Z",
        "--undo-future",
    ),
    "a config that changed": (
        published(lambda desk, _: desk.configure(horizon="2d")),
        "warning  state",
        "the next run recomputes everything",
        "`sli plan CONFIG`",
    ),
    "a newer store": (
        published(with_state(format=99)),
        "problem  state",
        "written by a newer version",
        "upgrade sli",
    ),
    "hours that are held": (
        published(lambda desk, _: (desk.feedback("late.parquet", label=[1] * N), desk.run("--as-of", "2024-02-02"))),
        "warning  state",
        "1 hour of 2024-01-15T10:00Z",
        "`sli backfill CONFIG --start 2024-01-15T10:00Z --end 2024-01-15T11:00Z`",
    ),
    "a table that is gone": (
        published(lambda desk, _: shutil.rmtree(store(desk, "tiles"))),
        "problem  tables",
        "table tiles is lost",
        "--repair",
    ),
    "a file that is gone": (
        published(lambda desk, _: newest_file(desk, "results").unlink()),
        "problem  tables",
        "table results lacks 1 of its files",
        "--repair",
    ),
    "a file that was cut": (
        published(lambda desk, _: os.truncate(newest_file(desk, "days"), 100)),
        "problem  tables",
        "100 bytes instead of",
        "--repair",
    ),
    "a log of a table that was cut": (
        published(lambda desk, _: os.truncate(max(store(desk, "tiles/_delta_log").glob("*.json")), 20)),
        "problem  tables",
        "the log of table tiles is damaged",
        "--repair",
    ),
    "results twice": (
        published(
            lambda desk, _: write_deltalake(
                DeltaTable(store(desk, "results")), DeltaTable(store(desk, "results")).to_pyarrow_table(), mode="append"
            )
        ),
        "problem  rows",
        "1 key of results occur more than once",
        "restore the store from a copy",
    ),
    "results that somebody edited": (
        published(rewritten("results", set_column("value", [0.123]))),
        "problem  rows",
        "are not what the newest revisions say",
        "`sli verify CONFIG`",
    ),
    "tiles that somebody edited": (
        published(rewritten("tiles", set_column("predictions", [7] * 9))),
        "problem  rows",
        "1 hour of results do not agree with their tiles, such as 2024-01-15T10:00Z",
        "`sli backfill CONFIG",
    ),
    "rows that are no numbers": (
        lambda desk, _: (desk.predictions(score=[float("nan")] * 3 + [0.5] * 3), desk.run()),
        "warning  audit",
        "3 rows of predictions invalid",
        "--table audit",
    ),
    "more memory than there is": (
        lambda desk, _: desk.configure(memory="9TB"),
        "problem  memory",
        "1 task at once may use 9,895.6 GB each, and this machine has",
        "set `memory:",
    ),
    "a scheduler that is away": (
        lambda desk, _: desk.configure(dask={"scheduler": f"tcp://{away()}"}),
        "problem  cluster",
        "nobody answers at the Dask scheduler",
        "start it",
    ),
    "a database that is away": (
        lambda desk, _: desk.configure(export={"postgres": {"url": f"postgresql://u:a-secret@{away()}/d"}}),
        "problem  exports",
        "the database does not answer",
        "check that it runs",
    ),
    "a package that is missing": (
        without_psycopg,
        "problem  exports",
        "needs the package psycopg",
        "pip install 'sli-recompute[postgres]'",
    ),
    "no folder for the textfile": (
        lambda desk, _: desk.configure(export={"prometheus": {"textfile": "away/sli.prom"}}),
        "problem  exports",
        "does not exist",
        "create it",
    ),
    "a webhook without encryption": (
        lambda desk, _: desk.configure(export={"webhooks": [{"url": "http://example.com/a-secret-of-many-letters"}]}),
        "warning  exports",
        "example.com is told without encryption",
        "https",
    ),
    "a Prefect that is away": (
        lambda _, patch: patch.setenv("PREFECT_API_URL", f"http://{away()}/api"),
        "problem  prefect",
        "Prefect does not answer",
        "check PREFECT_API_URL",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_doctor_says_what_is_broken_and_what_to_do(name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks, line, text, todo = BROKEN[name]
    breaks(desk, monkeypatch)
    desk.capsys.readouterr()
    said = doctor(desk)
    level, check = line.split()
    lines = [found for found in lines_of(said, level) if found.split()[1] == check and text in found]
    assert lines, f"no line `{line} ... {text}` in:\n{said.out}"
    assert said.has(todo)
    assert said.code == {"warning": 3, "problem": 4}[level] or "problem" in said.out
    assert "a-secret" not in said.out + said.err
    assert lines_of(said, "ok"), "one bad thing hides nothing else"


def test_the_doctor_finds_nothing_wrong_before_and_after_the_first_run(desk: Desk) -> None:
    said = doctor(desk)
    assert (said.code, said.err, lines_of(said, "warning"), lines_of(said, "problem")) == (0, "", [], [])
    assert desk.untouched, "it writes nothing"
    assert desk.run().code == 0
    said = doctor(desk)
    assert (said.code, said.err, lines_of(said, "warning"), lines_of(said, "problem")) == (0, "", [], [])
    assert not list(desk.root.rglob("_probe*"))


def test_each_finding_is_an_entry_of_the_json(desk: Desk) -> None:
    desk.configure(feedback__path="away", store="/proc/sli-store")
    said = doctor(desk, "--json")
    found = {entry["check"]: entry for entry in json.loads(said.out)["findings"] if entry["level"] == "problem"}
    assert said.code == 4
    assert found.keys() == {"paths", "rights"}, "both are told"
    assert found["paths"]["what_to_do"] == "check `feedback.path`"


def test_a_config_error_is_told_as_everywhere(desk: Desk) -> None:
    desk.configure(horizont="1d")
    assert doctor(desk).code == 2


def test_a_check_that_fails_itself_hides_no_other_and_shows_no_traceback(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sli.doctor.logs.size_text", lambda size: 1 / 0 + size)
    said = doctor(desk)
    assert said.has("problem  paths", "the check itself failed: ZeroDivisionError", "ok       rights")


def deployment(name: str, **changes: Any) -> dict[str, Any]:
    schedules = [{"active": True, "schedule": {"cron": "7 * * * *"}}]
    plain = {"id": name, "name": name, "entrypoint": "flows/recompute.py:recompute", "paused": False}
    return {**plain, "schedules": schedules, **changes}


def runs_of(**states: str) -> Callable[[Any], list[dict[str, Any]]]:
    def answer(asked: Any) -> list[dict[str, Any]]:
        [id] = asked["deployments"]["id"]["any_"]
        late = "name" in asked["flow_runs"]["state"]
        state = states.get(id, "COMPLETED")
        if late or state == "LATE":
            return [{"name": "late"}] if late and state == "LATE" else []
        started = "2026-01-01T00:07:00.1Z"
        return [{"name": "a-run", "state_type": state, "state": {"message": "out of luck"}, "start_time": started}]

    return answer


def test_the_doctor_tells_how_the_last_runs_of_the_deployments_ended(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [deployment(name) for name in ("hourly", "nightly", "backfill")]
    found[2]["work_pool_name"] = "sli"
    found += [deployment("paused", paused=True), deployment("of others", entrypoint="theirs.py:flow")]
    states = {"nightly": "FAILED", "backfill": "LATE"}
    with answering({"deployments/filter": found, "flow_runs/filter": runs_of(**states)}) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        said = doctor(desk)
        assert said.has(
            "deployment hourly: 1 schedule, the last run completed, 2026-01-01T00:07Z",
            "deployment nightly: the last run a-run failed, 2026-01-01T00:07Z: out of luck",
            "deployment backfill: 1 scheduled run late",
            "`prefect worker start --pool sli`",
            "deployment paused is paused",
        )
        assert "theirs" not in said.out
    with answering({"deployments/filter": []}) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        assert doctor(desk).has("no deployment of the flows")
    with answering({"deployments/filter": 401}) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        assert doctor(desk).has("Prefect refuses to answer", "PREFECT_API_AUTH_STRING")


def test_the_doctor_finds_nothing_wrong_on_s3_and_leaves_no_probe(desk: Desk, s3: str) -> None:
    from sli.engine.storage import filesystem

    fs, root = filesystem(s3)
    for path in sorted(desk.root.glob("*/*.parquet")):
        fs.pipe_file(f"{root}/{path.relative_to(desk.root)}", path.read_bytes())
    tree = config_tree(s3)
    desk.config.write_text(yaml.safe_dump(tree))
    assert desk.run().code == 0
    said = doctor(desk)
    assert (said.code, said.err, lines_of(said, "warning"), lines_of(said, "problem")) == (0, "", [], [])
    assert not any("_probe" in path for path in fs.find(root))
    [gone] = [path for path in fs.find(f"{root}/store/results") if path.endswith(".parquet")]
    fs.rm_file(gone)
    assert doctor(desk).has("table results lacks 1 of its files")


def damaged(table: str, how: str) -> Break:
    def breaks(desk: Desk, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
        if how == "gone":
            shutil.rmtree(store(desk, table))
        elif how == "its log cut":
            os.truncate(max(store(desk, f"{table}/_delta_log").glob("*.json")), 20)
        elif how == "a file gone":
            newest_file(desk, table).unlink()
        elif how == "a file cut":
            os.truncate(newest_file(desk, table), 50)
        else:  # as an older copy of it
            for log in sorted(store(desk, f"{table}/_delta_log").glob("*.json"))[1:]:
                log.unlink()

    return breaks


HOW = ("gone", "its log cut", "a file gone", "a file cut", "older")
DAMAGES = [(table, HOW[place % len(HOW)]) for place, table in enumerate(["tiles", "days", "inputs", "runs", "audit"])]
DAMAGES += [("tiles", "older"), ("revisions", "a file gone"), ("revisions", "gone"), ("results", "a file gone")]


def values(desk: Desk) -> list[tuple[Any, ...]]:
    frame = sli.read(desk.config)
    return sorted(tuple(map(str, row)) for row in frame[["sli", "window_start", "value", "labelled"]].to_numpy())


@pytest.mark.parametrize(("table", "how"), DAMAGES)
def test_a_repair_brings_every_result_back_and_tells_each_step(table: str, how: str, desk: Desk) -> None:
    for log, column in (("predictions", "predicted_at"), ("feedback", "known_at")):
        getattr(desk, log)("b.parquet", "q", **{column: times(TEN + timedelta(days=1, hours=2))})
    desk.configure(grains=["hour", "day", "cumulative"])
    assert desk.run().code == 0
    before = values(desk)
    damaged(table, how)(desk, pytest.MonkeyPatch())
    assert doctor(desk).has("problem  tables")
    said = doctor(desk, "--repair")
    steps = [line for line in said.out.splitlines() if line.startswith("repair")]
    assert f"table {table}" in steps[0]
    assert steps[0].split()[1] == "begin"
    assert "recomputed" in steps[-1]
    assert lines_of(said, "problem") == [], said.out
    assert values(desk) == before
    assert desk.call("verify", str(desk.config), "--windows", "0").code == 0
    assert doctor(desk).code == 0


def test_a_repair_of_results_keeps_the_history(desk: Desk) -> None:
    assert desk.run().code == 0
    revisions = len(sli.read(desk.config, table="revisions"))
    newest_file(desk, "results").unlink()
    assert doctor(desk, "--repair").has("its rows are written again from the revisions", "0 results changed")
    assert len(sli.read(desk.config, table="revisions")) == revisions


def test_who_misses_a_file_is_sent_to_the_doctor_and_a_repair_is_not_called_a_changed_config(desk: Desk) -> None:
    assert desk.run().code == 0
    newest_file(desk, "tiles").unlink()
    said = desk.call("query", str(desk.config), "accuracy")
    assert said.has("the store cannot be read", "`sli doctor CONFIG` names all that are")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sli.doctor.repair.run", lambda config: (_ for _ in ()).throw(StoreError("away")))
        said = doctor(desk, "--repair")
    assert said.has("warning  state", "a repair ended before its run", "`sli run CONFIG` completes it")
    assert desk.run("--as-of", "2024-02-02").code == 0
    assert desk.call("status", str(desk.config)).has(": repair: predictions, repair: feedback")


def test_a_repair_is_refused_if_the_logs_are_no_longer_whole(desk: Desk) -> None:
    two_files(desk, "")
    assert desk.run().code == 0
    before = values(desk)
    (desk.root / "predictions/b.parquet").unlink()
    shutil.rmtree(store(desk, "tiles"))
    said = doctor(desk, "--repair")
    assert said.has("cannot", "the logs have 3 files, and the last run saw 4", "restore the logs")
    assert values(desk) == before
    assert not store(desk, "_damaged").exists()


def test_a_repair_takes_back_what_was_published_as_of_the_future(desk: Desk) -> None:
    assert desk.run().code == 0
    before = values(desk)
    desk.feedback("more.parquet", label=[1] * N)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sli.planning.as_of.time.time", lambda: 4_070_908_800)
        assert desk.call("run", str(desk.config)).code == 0
    assert doctor(desk).has("the store is published as of the future, 2099-01-01T00:00Z")
    assert doctor(desk, "--repair").has("repair   done    the results are as of 2024-02-01T00:00Z again")
    assert values(desk) == before


def test_a_repair_of_a_healthy_store_changes_nothing(desk: Desk) -> None:
    assert doctor(desk, "--repair").has("nothing is published yet")
    assert desk.run().code == 0
    before = sorted(path for path in desk.root.rglob("*"))
    assert doctor(desk, "--repair").has("nothing is to be mended")
    assert sorted(path for path in desk.root.rglob("*")) == before


def test_a_repair_on_s3_moves_a_damaged_table_away(desk: Desk, s3: str) -> None:
    from sli.engine.storage import filesystem

    desk.configure(store=f"{s3}/store")
    assert desk.run().code == 0
    before = values(desk)
    fs, root = filesystem(s3)
    fs.rm_file(max(fs.find(f"{root}/store/tiles/_delta_log")))
    assert doctor(desk, "--repair").has(f"moved to {s3}/store/_damaged/tiles-")
    assert values(desk) == before
    assert doctor(desk).code == 0


def test_a_user_of_the_database_without_rights_is_told_which_one_lacks(desk: Desk, database: Database) -> None:
    database.execute("CREATE ROLE poor LOGIN PASSWORD 'a-secret'")
    url = database.server.url("poor", "a-secret", database.name)
    desk.configure(export={"postgres": {"url": url}})
    assert doctor(desk).has("the schema does not exist, and the user may not create it", "docs/export.md")
    database.execute("CREATE SCHEMA sli")
    assert doctor(desk).has("the user may not use the schema")
    database.execute("GRANT USAGE ON SCHEMA sli TO poor")
    assert doctor(desk).has("the user may not create tables in the schema")
    database.execute("GRANT CREATE ON SCHEMA sli TO poor")
    said = doctor(desk)
    assert said.has("answers, and its user may write")
    assert "a-secret" not in said.out + said.err
    database.execute("ALTER ROLE poor SET default_transaction_read_only = on")
    assert doctor(desk).has("the database is read-only for this user")
    database.execute("DROP OWNED BY poor", "DROP ROLE poor")


def test_s3_that_ignores_conditional_writes_is_a_problem(
    desk: Desk, careless_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**servers.KEYS, "AWS_ENDPOINT_URL": careless_server}.items():
        monkeypatch.setenv(name, value)
    desk.configure(store="s3://bucket/store")
    assert doctor(desk).has(
        "problem  rights", "the object store ignores conditional writes", "use a store that refuses it"
    )


def test_after_a_repair_nobody_takes_the_new_tables_for_those_of_earlier_publications(desk: Desk) -> None:
    for day in range(2, 6):
        desk.feedback(f"{day}.parquet", label=[day % 2] * N, known_at=times(TEN + timedelta(hours=day)))
        assert desk.run("--as-of", f"2024-01-{14 + day}").code == 0
    damaged("tiles", "its log cut")(desk, pytest.MonkeyPatch())
    assert doctor(desk, "--repair").has("moved to ")
    for day in (16, 17, 18):
        said = desk.call("query", str(desk.config), "accuracy", "--as-of", f"2024-01-{day}T12:00Z")
        assert said.has("the tiles of that time are no longer in the store", "`sli show --as-of`")
    assert desk.call("show", str(desk.config), "--as-of", "2024-01-17T12:00Z").code == 0
    assert desk.call("gc", str(desk.config)).code == 0
    assert desk.call("verify", str(desk.config)).code == 0
    said = doctor(desk)
    assert lines_of(said, "problem") == [], said.out
