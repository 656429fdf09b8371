"""The whole stack of docker-compose.yml through Prefect's API: hourly runs, backfills, cancelling, wrong parameters."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import servers
import yaml
from databases import DatabaseAt
from grafana import Board
from stack import COMPOSE, DOTENV, ROOT, Stack, interpolated

import sli
from sli.command.cli import main
from sli.config.load import load_config
from sli.config.model import Config
from sli.config.sections import StoreSection
from sli.doctor.examine import examine
from sli.engine.storage import filesystem
from sli.publishing.store import Store

DAYS = 20
UTC_TIME = pa.timestamp("us", tz="UTC")
HOUR = 3_600_000_000
START = 1_359_720_000_000_000
"""2013-02-01T12:00Z."""
BACKFILL = {"start": "2013-02-01", "end": "2013-02-22", "chunk": "7d"}


def write(folder: Path, log: str, name: str, columns: dict[str, Any]) -> None:
    path = folder / log / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def predictions(folder: Path) -> None:
    random = np.random.default_rng(7)
    for day in range(DAYS):
        times = START + day * 24 * HOUR + np.arange(60) * (HOUR // 5)
        write(
            folder,
            "predictions",
            f"{day:02}.parquet",
            {
                "output_id": [f"{day}-{i}" for i in range(60)],
                "predicted_at": pa.array(times).cast(UTC_TIME),
                # On one day the model says no whatever comes, which breaches the objective of recall.
                "score": random.random(60) * (0.1 if day == 10 else 1),
                "origin": random.choice(["EWR", "JFK", "LGA"], 60),
            },
        )


def feedback(folder: Path, name: str, first: int, label: int) -> None:
    """For every second prediction of each day, from the first or the second on."""
    for day in range(DAYS):
        chosen = range(first, 60, 2)
        times = [START + day * 24 * HOUR + i * (HOUR // 5) + HOUR for i in chosen]
        columns = {
            "output_id": [f"{day}-{i}" for i in chosen],
            "known_at": pa.array(times).cast(UTC_TIME),
            "late": [(i + label) % 2 for i in range(len(chosen))],
        }
        write(folder, "feedback", f"{name}-{day:02}.parquet", columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def config(stack: Stack) -> Config:
    """The config of the stack, read where its services' addresses are known."""
    env = stack.environment("worker")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DASK_SCHEDULER", "RESULTS_URL"):
            patch.setenv(name, env[name])
        return load_config(env["SLI_CONFIG"])


@pytest.fixture(autouse=True)
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests of the compose file need no servers.
    if "stack" in request.fixturenames:
        for name, value in request.getfixturevalue("stack").storage.items():
            monkeypatch.setenv(name, value)


def upload(folder: Path) -> None:
    fs, _ = filesystem("s3://sli")
    for path in sorted(folder.glob("*/*.parquet")):
        fs.pipe_file(f"sli/{path.relative_to(folder)}", path.read_bytes())


def locally(config: Config, folder: Path, store: Path, as_of: Any) -> Any:
    """The results of the same logs from a folder, in this process."""
    logs = {
        log: getattr(config, log).model_copy(update={"path": str(folder / log)}) for log in ("predictions", "feedback")
    }
    here = config.model_copy(update={**logs, "stored": StoreSection(path=str(store)), "dask": "in-process"})
    sli.run(here, as_of=as_of)
    return here


def same(a: Config, b: Config) -> bool:
    one, two = (sli.read(each).drop(columns=["run_id", "as_of"]) for each in (a, b))
    return bool(one.astype(str).equals(two.astype(str))) and len(one) > 0


def artifact(stack: Stack, run: str, key: str) -> Any:
    found = [each for each in stack.query("artifacts", run) if each["key"] == f"flights-late15-{key}"]
    return found[-1] if found else None


@pytest.mark.soak
def test_deploy_says_what_it_made(stack: Stack) -> None:
    said = stack.log("deploy")
    for name in ("recompute/hourly", "recompute/nightly", "backfill/backfill"):
        assert f"Deployment '{name}' successfully created" in said


@pytest.mark.soak
def test_the_schedules_create_runs(stack: Stack) -> None:
    deadline, names = time.monotonic() + 90, set[str]()
    while time.monotonic() < deadline and names != {"hourly", "nightly"}:
        runs = httpx.post(
            f"{stack.api}/flow_runs/filter", json={"flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}}}
        )
        made = [each for each in runs.json() if each["auto_scheduled"]]
        found = {httpx.get(f"{stack.api}/deployments/{each['deployment_id']}").json()["name"] for each in made}
        names |= found
        time.sleep(1)
    assert names == {"hourly", "nightly"}


@pytest.mark.soak
def test_the_object_store_passes_its_health_check(stack: Stack) -> None:
    check = stack.here(COMPOSE["services"]["s3"]["healthcheck"]["test"][1])
    subprocess.run(check, shell=True, check=True, capture_output=True)


@pytest.mark.soak
def test_the_pages_of_the_server_are_there_and_reach_its_api(stack: Stack) -> None:
    root = stack.api.removesuffix("/api")
    assert "<html" in httpx.get(root, follow_redirects=True, timeout=30).raise_for_status().text
    assert httpx.get(f"{root}/ui-settings", timeout=30).raise_for_status().json()["api_url"] == stack.api


@pytest.mark.soak
def test_an_hourly_run_through_prefect_publishes_to_s3_what_a_run_on_a_folder_does(
    stack: Stack, config: Config, folder: Path, tmp_path: Path
) -> None:
    predictions(folder)
    feedback(folder, "first", 0, 0)
    (folder / "feedback/broken.parquet").write_bytes(b"no Parquet")
    upload(folder)
    run = stack.start("recompute/hourly")
    ended = stack.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
    assert re.fullmatch(r"flights-late15, all that is stale, as of \d{4}-\d\d-\d\dT[\d:]+Z", ended["name"])
    assert "published" in ended["state"]["message"]
    assert "set aside: feedback, unreadable" in ended["state"]["message"]
    as_of = sli.read(config, table="runs").as_of.iloc[-1].to_pydatetime()
    assert same(config, locally(config, folder, tmp_path / "store", as_of))
    said = [each["message"] for each in stack.query("logs", run)]
    assert any(each.startswith("dashboard: http://") for each in said)
    assert any(
        re.search(r"matched .*, 40 files: 1200 predictions, 600 labelled, .* s \(worker tcp", each) for each in said
    )
    assert artifact(stack, run, "progress")["data"] == 100
    latest = artifact(stack, run, "latest")["data"]
    assert "| SLI | now | 95% interval | required | before | change | coverage | maturity |" in latest
    assert re.search(
        r"\| recall \| [\d.]+ \| [\d.]+ \.\. [\d.]+ \| \w+ \(>= 0\.4\) \|.*\| 50\.0% of [\d,]+ \| final \|",
        latest,
    )
    rows = artifact(stack, run, "changes")["data"]
    assert {"window", "slice", "SLI", "old", "new", "cause"} == set(yaml.safe_load(rows)[0])


@pytest.mark.soak
def test_a_second_run_has_nothing_to_do(stack: Stack, config: Config) -> None:
    before = Store(config.store).published()
    ended = stack.ended(stack.start("recompute/nightly"))
    assert "nothing to do" in ended["state"]["message"]
    assert Store(config.store).published() == before


def test_the_doctor_finds_every_service_of_the_stack(
    stack: Stack, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", stack.api)
    found = list(examine(config))
    told = [(finding.check, finding.text) for finding in found if finding.check in ("prefect", "cluster", "exports")]
    # Alone, this test finds no logs.
    assert {finding.check for finding in found if finding.level == "problem"} <= {"paths"}
    for name in ("hourly", "nightly", "backfill"):
        assert any(check == "prefect" and text.startswith(f"deployment {name}: ") for check, text in told), told
    assert any("with our versions" in text for _, text in told)
    assert any("its user may write" in text for _, text in told)


@pytest.mark.soak
def test_a_backfill_through_prefect_is_planned_cancelled_continued_and_told(
    stack: Stack, config: Config, folder: Path, tmp_path: Path
) -> None:
    feedback(folder, "late", 1, 1)
    upload(folder)
    nightly = stack.ended(stack.start("recompute/nightly"))
    assert nightly["state_type"] == "COMPLETED"
    assert "held: final hours that would change" in artifact(stack, nightly["id"], "latest")["data"]
    before = sli.read(config)

    dry = stack.ended(stack.start("backfill/backfill", {**BACKFILL, "dry_run": True}))
    assert dry["state_type"] == "COMPLETED", dry["state"]["message"]
    plan = artifact(stack, dry["id"], "backfill-plan")["data"]
    assert "in 3 parts" in plan
    assert re.search(r"day +20  2013-02-01 \.\. 2013-02-20: asked", plan)
    assert sli.read(config).equals(before)

    run = stack.start("backfill/backfill", BACKFILL)
    wait(lambda: len(Store(config.store).published().backfills) > 0)  # type: ignore[union-attr]
    httpx.post(f"{stack.api}/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}}).raise_for_status()
    assert stack.ended(run)["state_type"] == "CANCELLED"
    [unfinished] = Store(config.store).published().backfills  # type: ignore[union-attr]
    assert unfinished.interval.start < unfinished.done < unfinished.interval.end

    again = stack.ended(stack.start("backfill/backfill", BACKFILL))
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    assert unfinished.id in again["state"]["message"]
    assert Store(config.store).published().backfills == ()  # type: ignore[union-attr]
    as_of = sli.read(config, table="runs").as_of.iloc[-1].to_pydatetime()
    assert same(config, locally(config, folder, tmp_path / "store", as_of))
    changes = sli.read(config, table="backfills")
    assert set(changes.cause) == {"late feedback"}
    rows = yaml.safe_load(artifact(stack, again["id"], "changes")["data"])
    assert {row["cause"] for row in rows} == {"late feedback"}
    assert again["name"].startswith("flights-late15, backfill 2013-02-01T05:00Z .. 2013-02-22T05:00Z, as of ")


def wait(true: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.soak
def test_a_flow_run_that_is_killed_leaves_the_store_clean_and_the_next_completes_it(
    stack: Stack, config: Config, folder: Path, tmp_path: Path
) -> None:
    feedback(folder, "first", 0, 1)
    upload(folder)
    run = stack.start("backfill/backfill", {**BACKFILL, "chunk": "2d"})
    wait(lambda: len(Store(config.store).published().backfills) > 0)  # type: ignore[union-attr]
    mine = [each.pid for each in psutil.process_iter() if environment_of(each).get("PREFECT__FLOW_RUN_ID") == run]
    assert mine
    for each in mine:
        os.kill(each, signal.SIGKILL)
    assert stack.ended(run)["state_type"] == "CRASHED"
    sli.read(config)
    left = Store(config.store).published()
    goes_on = stack.start("backfill/backfill", {**BACKFILL, "chunk": "2d"})
    wait(lambda: Store(config.store).published() != left)
    for each in dask_workers(stack):
        os.kill(each, signal.SIGKILL)
    again = stack.ended(goes_on)
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    as_of = sli.read(config, table="runs").as_of.iloc[-1].to_pydatetime()
    assert same(config, locally(config, folder, tmp_path / "store", as_of))


def dask_workers(stack: Stack) -> list[int]:
    """The processes in which tasks run; each has a nanny that starts another."""
    import distributed

    with distributed.Client(stack.scheduler, timeout="10s") as client:
        return list(client.run(os.getpid).values())


def environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.soak
def test_the_results_are_in_postgres_where_grafana_reads_them_and_in_the_live_page(
    stack: Stack, config: Config
) -> None:
    writer = stack.environment("worker")["RESULTS_URL"]
    assert DatabaseAt(writer).check(config) > 100
    reader = writer.replace("sli_writer:writes-results", "sli_reader:reads-results")
    board = Board(ROOT / "configs/grafana/dashboards/sli.json", reader)
    variables = board.chosen()
    assert variables["model"] == "flights-late15"
    for _, target in board.targets():
        board.rows(target["rawSql"], variables)
    with pytest.raises(psycopg.Error, match=r"read-only|permission denied"):
        DatabaseAt(reader).execute("DELETE FROM sli.results")
    page = f"http://127.0.0.1:{stack.ports['page']}"
    assert "flights-late15" in httpx.get(page, follow_redirects=True, timeout=60).raise_for_status().text
    assert "sli_value_ratio{" in httpx.get(f"{page}/metrics", timeout=60).raise_for_status().text


@pytest.mark.soak
@pytest.mark.parametrize(
    ("deployment", "job", "env", "parts"),
    [
        (
            "backfill/backfill",
            {"start": "soon", "end": "2013-03-01"},
            {},
            ["start is not a date or time", "job.start", "soon"],
        ),
        ("backfill/backfill", {**BACKFILL, "strat": "2013-03-01"}, {}, ["strat"]),
        (
            "recompute/nightly",
            {"settings": ["dask={scheduler: 'tcp://127.0.0.1:9'}"]},
            {},
            ["nobody answers at the Dask"],
        ),
        ("recompute/nightly", {}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ["the store cannot be read", "address"]),
    ],
)
def test_what_cannot_be_is_a_failed_state_with_a_message_within_seconds(
    stack: Stack, deployment: str, job: dict[str, Any], env: dict[str, str], parts: list[str]
) -> None:
    began = time.monotonic()
    try:
        ended = stack.ended(stack.start(deployment, job, env), 60)
    except httpx.HTTPStatusError as refused:
        # What the form can tell is refused before there is a run.
        said = refused.response.text
    else:
        assert ended["state_type"] == "FAILED"
        said = ended["state"]["message"]
        logged = "\n".join(each["message"] for each in stack.query("logs", ended["id"]))
        assert "Traceback" not in logged, logged
    assert [part for part in parts if part not in said] == []
    assert time.monotonic() - began < 45


@pytest.mark.soak
def test_events_tell_of_publications_breaches_and_bad_input(stack: Stack) -> None:
    for name in ("sli.run.published", "sli.objective.breached", "sli.audit.bad_input"):
        wait(lambda name=name: len(stack.events(name)) > 0, 30)
    breached = stack.events("sli.objective.breached")[0]
    assert breached["resource"]["prefect.resource.id"] == "sli.model.flights-late15.recall"
    assert breached["payload"]["objective"] == ">= 0.4"


@pytest.mark.soak
def test_no_artifact_of_a_run_of_the_stack_holds_a_secret(stack: Stack) -> None:
    """Logs and homes of all services, every object of the store, every row of Prefect's database, pages and outputs."""
    secrets = [value for name, value in DOTENV.items() if name != "AWS_ACCESS_KEY_ID"]
    said = {str(path): path.read_bytes() for path in stack.folder.glob("*.log")}
    homes = [path for home in stack.folder.glob("home-*") for path in home.rglob("*") if path.is_file()]
    said |= {str(path): path.read_bytes() for path in homes}
    fs, _ = filesystem("s3://sli")
    said |= {path: fs.cat_file(path) for path in fs.find("sli/stack") or fs.find("sli")}
    prefect = f"postgresql://prefect:{DOTENV['POSTGRES_PASSWORD']}@127.0.0.1:{stack.ports['5432']}/prefect"
    with psycopg.connect(prefect) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in tables:
            rows = connection.execute(psycopg.sql.SQL("SELECT t::text FROM {} t").format(psycopg.sql.Identifier(name)))
            said[f"table {name}"] = "\n".join(text for (text,) in rows).encode()
    page = f"http://127.0.0.1:{stack.ports['page']}"
    for path in ("/", "/metrics", "/healthz"):
        said[path] = httpx.get(page + path, follow_redirects=True, timeout=60).content
    assert len(said) > 50
    assert "flights-late15" in said["table deployment"].decode() + said["table flow_run"].decode()
    leaks = {(name, secret) for name, content in said.items() for secret in secrets if secret.encode() in content}
    assert not leaks


@pytest.mark.skipif(shutil.which("psql") is None, reason="no psql found (Debian: apt-get install postgresql-client)")
def test_the_database_of_the_results_is_made_once_and_its_users_may_do_nothing_else(tmp_path: Path) -> None:
    with servers.postgres("prefect", DOTENV["POSTGRES_PASSWORD"], "prefect") as server:
        ports = dict.fromkeys(("4200", "8080", "8333", "8786", "8787", "page"), 0) | {"5432": server.port}
        stack = Stack(tmp_path, ports)
        _, ready = COMPOSE["services"]["postgres"]["healthcheck"]["test"]
        here = f"{server.bin}/{ready} --host 127.0.0.1 --port {server.port}"
        subprocess.run(here, shell=True, check=True, capture_output=True, user=server.nobody)
        stack.once("results")
        writer = DatabaseAt(stack.environment("worker")["RESULTS_URL"])
        writer.execute("CREATE TABLE sli.kept ()")
        stack.once("results")
        assert writer.execute("SELECT count(*) FROM sli.kept") == [(0,)]
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            DatabaseAt(writer.url.replace("/results", "/prefect")).execute("SELECT 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            writer.execute("CREATE SCHEMA other")
        reader = DatabaseAt(writer.url.replace("sli_writer:writes-results", "sli_reader:reads-results"))
        assert reader.execute("SELECT count(*) FROM sli.kept") == [(0,)]
        log = (server.folder / "postgres.log").read_text()
        assert "writes-results" not in log + (tmp_path / "results.log").read_text()


def test_grafana_of_the_stack_has_the_dashboard_of_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**servers.KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "DASK_SCHEDULER": "tcp://127.0.0.1:1"}
    for name, value in {**environment, "RESULTS_URL": "postgresql://sli_writer@postgres:5432/results"}.items():
        monkeypatch.setenv(name, value)
    assert main(["export", "grafana", str(ROOT / "configs/stack.yaml"), "--folder", str(tmp_path)]) == 0
    ours = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.*")}
    kept = ROOT / "configs/grafana"
    assert {path.relative_to(kept): path.read_text() for path in kept.rglob("*.*")} == ours


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_every_service_has_a_version_listens_on_loopback_and_mounts_what_is_there(service: str) -> None:
    found = COMPOSE["services"][service]
    assert found["image"] == "sli" or re.search(r":v?\d", found["image"])
    assert all(port.startswith("127.0.0.1:") for port in found.get("ports", ()))
    if found.get("network_mode") == "host":
        assert service == "page" or "--web.listen-address=127.0.0.1:9090" in found["command"]
    for volume in found.get("volumes", ()):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_the_compose_file_keeps_to_the_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    found = subprocess.run([*check, str(ROOT / "docker-compose.yml")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(("service", "command"), [("dask-scheduler", "dask_scheduler"), ("dask-worker", "dask_worker")])
def test_the_commands_of_the_cluster_have_only_options_that_there_are(service: str, command: str) -> None:
    program, name, *options = COMPOSE["services"][service]["command"]
    assert (program, f"dask_{name}") == ("dask", command)
    importlib.import_module(f"distributed.cli.{command}").main.make_context(name, options)


def test_the_compose_file_has_no_secret_and_the_example_names_all_it_asks_for() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    example = (ROOT / "configs/env.example").read_text()
    named = dict(line.split("=", 1) for line in example.splitlines() if "=" in line and not line.startswith("#"))
    assert asked == set(named)
    assert {name for name, value in named.items() if value} == {"SLI_CONFIG"}
    with pytest.raises(KeyError, match=r"see configs/env.example"):
        interpolated(text, {})


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_every_service_that_keeps_running_has_a_health_check(service: str) -> None:
    found = COMPOSE["services"][service]
    assert ("healthcheck" in found) == (found["restart"] != "no")


def test_what_a_service_waits_for_is_a_service_that_can_say_so() -> None:
    services, done = COMPOSE["services"], list[str]()
    waiting = {name: found.get("depends_on", {}) for name, found in services.items()}
    for name, others in waiting.items():
        for other, how in others.items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for the health of {other}"
            if how["condition"] == "service_completed_successfully":
                assert services[other]["restart"] == "no", f"{name} waits for the end of {other}"
    while len(done) < len(waiting):
        ready = [name for name in waiting if name not in done and set(waiting[name]) <= {*done}]
        assert ready, f"{waiting.keys() - {*done}} wait for each other"
        done += ready


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus found (Debian: apt-get install prometheus)"
)
def test_prometheus_of_the_stack_starts_with_its_command_and_is_healthy(tmp_path: Path) -> None:
    [port], found, log = servers.free_ports(1), COMPOSE["services"]["prometheus"], tmp_path / "log"
    places = {"/etc/prometheus": str(ROOT / "configs/prometheus"), "9090": str(port)}

    def here(text: str) -> str:
        text = text.replace("=/prometheus", f"={tmp_path}")
        for theirs, ours in places.items():
            text = text.replace(theirs, ours)
        return text

    with servers.process(["prometheus", *map(here, found["command"])], log) as child:
        servers.wait_for(f"http://127.0.0.1:{port}/-/ready", child, log)
        check = here(found["healthcheck"]["test"][1])
        assert b"Healthy" in subprocess.run(check, shell=True, check=True, capture_output=True).stdout
        rules = httpx.get(f"http://127.0.0.1:{port}/api/v1/rules").json()["data"]["groups"]
        assert rules
