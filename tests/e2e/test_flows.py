"""Flows on one machine: one command that schedules them, retries, the parameters' form, an automation.

One server for all of these tests, that of the command: a server takes as long to start as all else here together.
"""

from __future__ import annotations

import http.server
import importlib
import json
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import servers
import yaml
from builders import small_world
from nights import Night
from oracle import Feedback, Prediction
from scenario import HOUR, Scenario, at, config_of
from stack import COMPOSE, DOTENV, ROOT, Stack, interpolated, running_stack

import sli
from flows import serving
from sli.config.model import Config
from sli.errors import ConfigError, StoreError
from sli.publishing.store import Store

MONDAY = at("2024-01-15T00:00")
WORLD = small_world(grains=("hour", "cumulative"))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The first import of Prefect sends all logs to the error stream of the test, which ends with the test."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if type(handler).__module__.startswith("prefect."):
            root.removeHandler(handler)


def logged(folder: Path) -> Scenario:
    """A day of predictions, all labelled, and a config."""
    made = Scenario(folder, WORLD)
    made.log_predictions("p.parquet", [Prediction(f"{i}", MONDAY + i * HOUR, i / 24, {}) for i in range(24)])
    made.log_feedback("f.parquet", [Feedback(f"{i}", MONDAY + i * HOUR + 1, 1.0) for i in range(24)])
    (folder / "c.yaml").write_text(yaml.safe_dump(config_of(WORLD, folder)))
    return made


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return logged(tmp_path)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "AWS"))}
    return {**kept, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1", **more}


@dataclass
class Served:
    """The one command that schedules and runs a config on one machine, which starts a Prefect server."""

    process: subprocess.Popen[bytes]
    scenario: Scenario

    @property
    def home(self) -> Path:
        return self.scenario.root / "not yet there" / "prefect"

    @property
    def said(self) -> str:
        return (self.scenario.root / "flows.log").read_text()

    @property
    def port(self) -> int:
        return int(re.findall(r"Prefect at http://127\.0\.0\.1:(\d+)\n", self.said)[0])

    def wait_for(self, pattern: str) -> None:
        """Until it has said what matches a pattern."""
        deadline = time.monotonic() + 180
        while not re.search(pattern, self.said, re.DOTALL):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The one command while it runs. A signal ends it, and then nothing of it is left."""
    scenario = logged(tmp_path_factory.mktemp("served"))
    command = [sys.executable, "-m", "flows", str(scenario.root / "c.yaml"), "--hourly", "* * * * *"]
    env = environment(PREFECT_HOME=str(scenario.root / "not yet there" / "prefect"), HOME=str(scenario.root))
    with servers.process(command, scenario.root / "flows.log", env, scenario.root) as process:
        served = Served(process, scenario)
        served.wait_for(r"backfill/test  on demand")
        yield served
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "stopping; the next start catches up" in served.said
    assert [each.pid for each in psutil.process_iter() if str(served.home) in environment_of(each)] == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", served.port)) != 0


def environment_of(process: psutil.Process) -> str:
    try:
        return str(process.environ())
    except psutil.Error:
        return ""


PROFILES = """
active = "work"
[profiles.work]
PREFECT_API_URL = "http://prefect.example:4200/api"
[profiles.play]
PREFECT_LOGGING_LEVEL = "DEBUG"
"""


def forget_prefect(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """An environment without a Prefect; what a call sets in it is taken back at the end."""
    for name in ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE", *serving.QUIET):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))


@pytest.mark.parametrize(
    ("env", "home", "own", "api"),
    [
        ({}, None, "~/.sli/prefect/test", "http://127.0.0.1:"),
        ({"PREFECT_HOME": "~/there"}, None, "~/there", "http://127.0.0.1:"),
        ({"PREFECT_HOME": "~/there"}, "~/asked", "~/asked", "http://127.0.0.1:"),
        ({"PREFECT_HOME": "~/profiles"}, None, None, "http://prefect.example:4200/api"),
        ({"PREFECT_HOME": "~/profiles", "PREFECT_PROFILE": "play"}, None, "~/profiles", "http://127.0.0.1:"),
        ({"PREFECT_HOME": "~/there", "PREFECT_API_URL": "http://named/api"}, None, None, "http://named/api"),
    ],
)
def test_the_home_of_a_prefect_that_is_there_and_the_server_it_names_are_used(
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    home: str | None,
    own: str | None,
    api: str,
) -> None:
    def here(path: str) -> str:
        return path.replace("~", str(scenario.root))

    (scenario.root / "profiles").mkdir()
    (scenario.root / "profiles/profiles.toml").write_text(PROFILES)
    forget_prefect(monkeypatch, scenario.root)
    for name, value in env.items():
        monkeypatch.setenv(name, here(value))
    chosen = serving._server_home(home and here(home), "test")
    assert chosen == (Path(here(own)) if own else None)
    assert os.environ["PREFECT_API_URL"].startswith(api)
    if chosen:
        assert chosen.is_dir()
        assert os.environ["PREFECT_HOME"] == str(chosen)


def test_a_home_that_cannot_be_made_is_said_with_where_it_was_named(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(scenario.root / "c.yaml" / "prefect"))
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        serving._server_home(None, "test")
    assert caught.value.where == "PREFECT_HOME"


@pytest.mark.parametrize(
    ("content", "arguments", "parts"),
    [
        ("model: x", [], ["'since' is missing", "sli init"]),
        (None, [], ["the config cannot be read"]),
        ("", ["--hourly", "often"], ["often"]),
        ("", ["--look-back", "long"], ["'long' is not a duration"]),
    ],
)
def test_a_wrong_config_or_argument_ends_it_before_any_server_starts(
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    arguments: list[str],
    parts: list[str],
) -> None:
    path, home = scenario.root / "c.yaml", scenario.root / "prefect"
    if content is None:
        path.unlink()
    elif content:
        path.write_text(content)
    forget_prefect(monkeypatch, scenario.root)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert serving.main([str(path), *arguments, "--home", str(home)]) == 2
    said = capsys.readouterr().err
    assert [part for part in parts if part not in said] == []
    assert not (home / "server.log").exists()


def test_the_command_ends_with_the_exit_code_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: x")
    command = [sys.executable, "-m", "flows", str(tmp_path / "c.yaml"), "--home", str(tmp_path / "prefect")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert found.returncode == 2
    assert "'since' is missing" in found.stderr
    assert "Traceback" not in found.stderr


ANSWERING = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_that_ends_is_started_again_until_the_command_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [port] = servers.free_ports(1)
    url, started = f"http://127.0.0.1:{port}", list[subprocess.Popen[bytes]]()

    def start(_: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            started.append(subprocess.Popen([sys.executable, "-c", ANSWERING, str(port)], stdout=out, stderr=out))
        return started[-1]

    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.setattr(serving, "PAUSE", 0.1)
    monkeypatch.setattr(serving, "_start_server", start)
    with serving._server(tmp_path):
        started[0].kill()
        deadline = time.monotonic() + 30
        while len(started) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        servers.wait_for(url, started[1], tmp_path / "server.log", 30)
    assert [child.poll() is None for child in started] == [False, False]
    assert "the Prefect server ended and is started again" in capsys.readouterr().err


@pytest.fixture
def folder(scenario: Scenario) -> Path:
    """Three models on the logs of the scenario; the config of the first is wrong."""
    base = config_of(WORLD, scenario.root)
    configs = scenario.root / "My configs"
    configs.mkdir()
    (configs / "base.yaml").write_text(yaml.safe_dump({key: base[key] for key in base if key != "model"}))
    for name, more in (("a", {"level": 2}), ("b", {}), ("c", {})):
        tree = {"extends": "base.yaml", "model": name, "store": str(scenario.root / f"store-{name}"), **more}
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(tree))
    return configs


def test_the_deployments_of_a_folder_are_named_after_it_and_wrong_configs_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serving._name_of(str(folder)) == "my-configs"
    said = capsys.readouterr()
    assert said.out == f"{folder}: b, c\n"
    assert said.err.startswith(f"flows: {folder}/a.yaml: the number is out of range\n")
    for name in ("b", "c"):
        (folder / f"{name}.yaml").unlink()
    with pytest.raises(ConfigError, match="no config of the folder can be used"):
        serving._name_of(str(folder))


def test_a_flow_run_of_a_folder_runs_all_its_models_and_fails_if_one_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import recompute as flow
    from flows.model import Recomputed
    from flows.parameters import Recompute

    away, shown, names, told = ["b"], list[str](), list[str](), list[str]()

    def recompute_model(config: Config, job: Recompute) -> Recomputed:
        if config.model in away:
            raise StoreError("the store is away")
        return Recomputed(sli.run(config, as_of=job.as_of), "published", [])

    monkeypatch.setattr(flow, "recompute_model", recompute_model)
    monkeypatch.setattr(flow, "get_run_logger", lambda: SimpleNamespace(info=told.append, error=told.append))
    monkeypatch.setattr(flow, "show_text", lambda name, _, lines, __: shown.extend([name, *lines]))
    monkeypatch.setattr(flow, "name_run", lambda *parts: names.append(", ".join(parts)))
    failed = flow.recompute.fn(Recompute(config=str(folder), as_of=datetime(2024, 1, 17)))
    assert failed.type.value == "FAILED"
    assert failed.message.splitlines() == [
        "3 models, 1 failed, 1 with a config error",
        f"{folder}/a.yaml: config error: the number is out of range",
        "b: failed: the store is away",
    ]
    assert names == ["My configs, 3 models, all that is stale, 2024-01-17T00:00:00"]
    assert told[2:5] == ["2 of 3: b", "b: the store is away", "3 of 3: c"]
    assert shown[0] == "My configs"
    assert [line.split()[-1] for line in shown[2:5]] == ["range", "away", "published"]
    (folder / "a.yaml").unlink()
    away.clear()
    whole = flow.recompute.fn(Recompute(config=str(folder), as_of=datetime(2024, 1, 17)))
    assert (whole.type.value, whole.message) == ("COMPLETED", "2 models")
    empty = flow.recompute.fn(Recompute(config=str(folder.parent / "predictions")))
    assert (empty.type.value, "this folder has none" in empty.message) == ("FAILED", True)


def test_a_failed_run_says_so_to_webhooks_and_on_the_page_and_a_page_that_cannot_be_written_is_a_warning(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import model, telling
    from flows.parameters import Recompute

    links, told = list[str](), list[str]()

    def full(_: Config) -> None:
        raise StoreError("the disk is full", todo="make room")

    monkeypatch.setattr(telling, "create_link_artifact", lambda link, **_: links.append(link))
    monkeypatch.setattr(
        telling, "get_run_logger", lambda: SimpleNamespace(warning=lambda *parts: told.append(parts[-1]))
    )
    monkeypatch.setattr(model, "check_reachable", full)
    notices = scenario.root / "notices.jsonl"
    scenario = replace(scenario, settings={**scenario.settings, "export": {"webhooks": [{"file": str(notices)}]}})
    config, page = scenario.config, Path(scenario.config.store) / "report.html"
    scenario.run(as_of=MONDAY + 48 * HOUR)
    telling.publish_report(config)
    assert "disk is full" not in page.read_text()
    with pytest.raises(StoreError):
        model.recompute_model(config, Recompute(config="c.yaml"))
    assert "The last run failed: the disk is full what to do: make room" in page.read_text()
    assert json.loads(notices.read_text())["failed"] == {"what": "the disk is full", "todo": "make room"}
    assert (links, told) == ([page.as_uri()] * 2, [])
    page.unlink()
    page.mkdir()
    telling.publish_report(config)
    assert "this is a folder" in told[0]


CALLED = """
import contextlib, io, json, os, sys, traceback
for line in sys.stdin:
    code, sys.argv[1:], env = json.loads(line)
    os.environ.update(env)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
    print(json.dumps(out.getvalue()), flush=True)
"""


@dataclass
class Flows:
    """A process that runs flows against a server, one after another: Prefect takes seconds to import."""

    process: subprocess.Popen[str]
    errors: Path

    def call(self, code: str, *arguments: str, **env: str) -> tuple[str, str]:
        """What a script prints, and what appears in the log meanwhile."""
        before = len(self.errors.read_text())
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([code, arguments, env]), file=self.process.stdin, flush=True)
        timer = threading.Timer(120, self.process.kill)
        timer.start()
        answer = self.process.stdout.readline()
        timer.cancel()
        assert answer, self.errors.read_text()
        return json.loads(answer), self.errors.read_text()[before:]


@pytest.fixture(scope="module")
def short_stack(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The services of docker-compose.yml beside another server than its own."""
    with running_stack(tmp_path_factory.mktemp("stack"), server=served.port) as found:
        yield found


@pytest.fixture(scope="module")
def flow_runs(short_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flows]:
    folder = tmp_path_factory.mktemp("flows")
    env = environment(PREFECT_API_URL=short_stack.api, PREFECT_HOME=str(folder / "prefect"))
    command = [sys.executable, "-c", CALLED]
    with (
        (folder / "errors.log").open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        ) as process,
    ):
        yield Flows(process, folder / "errors.log")


RETRIES = """
import functools, json, sys
from prefect import flow
from sli.errors import ConfigError, StoreError
from flows import work

tries = []

def job(error, failures):
    tries.append(1)
    if len(tries) <= failures:
        raise error
    return "done"

@flow
def tried(passes, failures):
    kind = StoreError if passes else ConfigError
    error = kind("it is away", passes=passes)
    patient = work.attempt.with_options(retry_delay_seconds=0)
    try:
        return str(patient(functools.partial(job, error, failures)))
    except StoreError as error:
        return f"gave up: {error}"

for passes, failures in [(True, 1), (True, 9), (False, 1)]:
    tries.clear()
    print("RESULT", json.dumps([tried(passes, failures), len(tries)]))
"""


def test_what_passes_is_tried_again_and_what_does_not_is_not(flow_runs: Flows) -> None:
    out, errors = flow_runs.call(RETRIES)
    results = [json.loads(line.split(" ", 1)[1]) for line in out.splitlines() if line.startswith("RESULT")]
    assert results == [["done", 2], ["gave up: it is away", 3], ["it is away", 1]], errors


def form(stack: Stack, deployment: str) -> dict[str, Any]:
    import httpx

    found = httpx.get(f"{stack.api}/deployments/name/{deployment}", timeout=30).raise_for_status().json()
    schema: dict[str, Any] = found["parameter_openapi_schema"]
    return schema


@pytest.mark.parametrize("deployment", ["recompute/hourly", "backfill/backfill"])
def test_the_form_in_the_ui_explains_every_parameter_and_admits_no_other(short_stack: Stack, deployment: str) -> None:
    [job] = form(short_stack, deployment)["definitions"].values()
    assert job["additionalProperties"] is False
    names = sorted(job["properties"], key=lambda name: job["properties"][name]["position"])
    run, backfill = ["look_back", "as_of", "full_listing"], ["start", "end", "sli", "chunk", "dry_run"]
    expected = run if "recompute" in deployment else backfill
    assert names == ["config", *expected, "settings"]
    for name, each in job["properties"].items():
        assert each["title"], name
        assert len(each["description"]) > 10, name


def test_the_server_of_the_compose_file_has_only_options_and_settings_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Started as a whole it takes longer: `make soak`.
    from prefect.cli._app import _app
    from prefect.settings import Settings

    program, *arguments = COMPOSE["services"]["prefect-server"]["command"]
    command, given, _ = _app.parse_args(arguments, exit_on_error=False, print_error=False)
    assert (program, command.__name__, given.arguments) == ("prefect", "start", {"host": "0.0.0.0", "port": 4200})
    settings = COMPOSE["services"]["prefect-server"]["environment"]
    for name in settings:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_SERVER_API_PORT", "1")  # so that no address is the default
    before = Settings().model_dump()
    for name, text in settings.items():
        value = interpolated(str(text), DOTENV)
        monkeypatch.setenv(name, value)
        assert Settings().model_dump() != before, f"{name} is not a setting"
        if name == "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE":
            importlib.import_module(value)
        monkeypatch.delenv(name)


@pytest.fixture
def on_call() -> Iterator[tuple[str, list[str]]]:
    """A webhook, and what it was told."""
    told: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/page", told
    server.shutdown()
    server.server_close()


BREACHING = """
import sys
from flows.recompute import recompute
from flows.parameters import Recompute
state = recompute(Recompute(config=sys.argv[1]), return_state=True)
print(state.type.value, state.message)
"""


def test_the_automation_of_the_docs_pages_whoever_is_on_call(
    flow_runs: Flows, scenario: Scenario, on_call: tuple[str, list[str]]
) -> None:
    url, told = on_call
    page = (ROOT / "docs/scheduling.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    _, errors = flow_runs.call(code, ON_CALL_URL=url)
    assert "Traceback" not in errors
    tree = config_of(WORLD, scenario.root) | {"slis": [{"sli": "accuracy", "objective": ">= 0.99"}]}
    (scenario.root / "c.yaml").write_text(yaml.safe_dump(tree))
    out, errors = flow_runs.call(BREACHING, str(scenario.root / "c.yaml"))
    assert out.startswith("COMPLETED published"), out + errors
    deadline = time.monotonic() + 60
    while not told:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "test: accuracy breached >= 0.99" in told[0]
    assert "coverage" in told[0]


UNTOLD = """
import sys
from unittest.mock import patch
from flows import telling
from flows.recompute import recompute
from flows.parameters import Recompute
def away(*_, **__):
    raise ConnectionError("the server is away")
shown = ("update_progress_artifact", "create_progress_artifact", "create_table_artifact", "create_link_artifact")
with patch.multiple(telling, PAUSE=0.0, **dict.fromkeys(shown, away)):
    state = recompute(Recompute(config=sys.argv[1]), return_state=True)
print(state.type.value, state.message)
"""


def test_what_cannot_be_shown_does_not_end_the_work_and_conflicts_are_told(
    flow_runs: Flows, scenario: Scenario
) -> None:
    challenger = [Prediction(f"{i}", MONDAY + i * HOUR, 1 - i / 24, {}) for i in range(24)]
    scenario.log_predictions("challenger.parquet", challenger)
    (scenario.root / "c.yaml").write_text(yaml.safe_dump(config_of(WORLD, scenario.root) | {"max_conflicts": 0.01}))
    out, errors = flow_runs.call(UNTOLD, str(scenario.root / "c.yaml"))
    assert out.startswith("COMPLETED published"), out + errors
    assert "progress could not be shown: ConnectionError: the server is away" in errors
    assert "the outcome could not be shown" in errors
    assert "the report could not be shown" in errors
    assert "in conflict: predictions, 23 of 48 rows (47.9%) of 2024-01-15" in out


def test_one_command_schedules_and_runs_with_no_server_there(served: Served) -> None:
    # A task is told as completed before what was published is.
    served.wait_for(r"published.*Finished in state Completed")
    for line in ("test-hourly  * * * * * UTC", "test-nightly  23 3 * * * UTC", "backfill/test  on demand"):
        assert line in served.said
    wrong = re.compile("error|warn|fail|traceback", re.IGNORECASE)
    assert [line for line in served.said.splitlines() if wrong.search(line)] == []
    database = served.home / "prefect.db"
    assert database.exists()
    assert not (served.scenario.root / ".sli").exists()
    store = served.scenario.config.store
    assert Store(store).published() is not None
    page = Path(store) / "report.html"
    assert "accuracy" in page.read_text()
    with closing(sqlite3.connect(database)) as connection:
        links = connection.execute("SELECT data FROM artifact WHERE key = 'test-report'").fetchall()
    assert page.as_uri() in str(links)


def test_runs_that_were_due_while_the_worker_was_away_start_together_and_one_catches_up(
    short_stack: Stack, tmp_path: Path
) -> None:
    night = Night.begin(tmp_path)
    night.log()
    sli.run(night.config)
    address = short_stack.environment("worker")["PREFECT_WORKER_WEBSERVER_PORT"]
    [worker] = [each for each in psutil.process_iter() if f"'{address}'" in environment_of(each)]
    worker.kill()
    night.log(6)
    job, now = {"config": str(night.path)}, datetime.now(UTC)
    due = [now - timedelta(hours=hours) for hours in range(6, 0, -1)]
    runs = [short_stack.start("recompute/hourly", job, due=time) for time in due]
    with short_stack.running("worker"):
        ended = [short_stack.ended(run) for run in runs]
    messages = [each["state"]["message"] for each in ended]
    assert {each["state_type"] for each in ended} <= {"COMPLETED", "CANCELLED"}, messages
    [published] = [each for each in messages if each.startswith("published")]
    assert "7 of 7 hours recomputed" in published  # the first one has late feedback
    others = {each for each in messages if each != published}
    assert all(each.startswith(("nothing to do", "Deployment concurrency limit")) for each in others), messages
    night.check()


def test_the_server_marks_runs_whose_process_is_gone(short_stack: Stack) -> None:
    import httpx

    from flows.heartbeats import NAME, SILENCE, TAG

    automations = httpx.post(f"{short_stack.api}/automations/filter", json={}, timeout=30).json()
    # The command and the stack made it, each once.
    [made] = [each for each in automations if each["name"] == NAME]
    assert made["trigger"]["within"] == SILENCE.total_seconds()
    for deployment in ("recompute/test-hourly", "recompute/hourly", "recompute/nightly", "backfill/backfill"):
        found = httpx.get(f"{short_stack.api}/deployments/name/{deployment}", timeout=30).raise_for_status().json()
        assert TAG in found["tags"]
