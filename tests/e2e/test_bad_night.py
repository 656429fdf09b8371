"""Nights after which the next scheduled run must catch up by itself: real processes, and a schedule of a minute.

Limit: a minute stands for an hour; the times of Prefect's leases are not shortened.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import servers
from databases import DatabaseAt
from nights import Night
from stack import DOTENV, ROOT, Stack

pytestmark = pytest.mark.soak
SLOT = 330
"""Seconds that docs/scheduling.md allows a concurrency slot to stay taken after its run is gone."""
SOON = """
from datetime import timedelta
from flows import heartbeats
heartbeats.SILENCE = timedelta(seconds=90)
heartbeats.watch_heartbeats()
"""


def wait(true: Callable[[], Any], seconds: float) -> float:
    """Until something is true; the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not true after {seconds} s"
        time.sleep(0.5)
    return time.monotonic() - began


def environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def kill(name: str, value: str) -> list[int]:
    """Kill at once all processes with a variable in their environment."""
    found = [each.pid for each in psutil.process_iter() if environment_of(each).get(name) == value]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found


@dataclass
class Services:
    """The Prefect services of docker-compose.yml, each of which can be killed and started again."""

    stack: Stack
    database: servers.Postgres
    night: Night
    gate: Path
    running: dict[str, tuple[subprocess.Popen[bytes], ExitStack]] = field(default_factory=dict)

    def start(self, service: str) -> None:
        exits = ExitStack()
        self.running[service] = exits.enter_context(self.stack.running(service)), exits

    def kill(self, service: str) -> None:
        child, exits = self.running.pop(service)
        os.killpg(child.pid, signal.SIGKILL)
        exits.close()

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.stack.api}/{path}", timeout=30).raise_for_status().json()

    def post(self, path: str, **asked: Any) -> Any:
        return httpx.post(f"{self.stack.api}/{path}", json=asked, timeout=30).raise_for_status().json()

    def states(self) -> list[str]:
        """The states of the hourly runs that were due, the newest first."""
        where = {"state": {"type": {"any_": ["RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PENDING"]}}}
        found = self.post("flow_runs/filter", flow_runs=where, sort="EXPECTED_START_TIME_DESC")
        return [each["state_type"] for each in found]

    def working(self) -> str | None:
        """The flow run that works, if one does."""
        where = {"state": {"type": {"any_": ["RUNNING"]}}}
        found = self.post("flow_runs/filter", flow_runs=where)
        return found[0]["id"] if found else None

    def taken(self) -> int:
        return sum(each["active_slots"] for each in self.post("v2/concurrency_limits/filter"))

    def hold(self) -> str:
        """Log an hour, and wait for the run that finds it; it works until there is no gate."""
        hold(self.night, self.gate)
        return str(self.working())


def hold(night: Night, gate: Path) -> None:
    """Log an hour, and wait until a run works on it, which goes on once there is no gate."""
    seen = Path(f"{gate}.seen")
    seen.unlink(missing_ok=True)
    gate.touch()
    night.log()
    wait(seen.exists, 150)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder, gate = tmp_path_factory.mktemp("stack"), tmp_path_factory.mktemp("gate") / "gate"
    with servers.postgres("prefect", DOTENV["POSTGRES_PASSWORD"], "prefect") as database:
        ports = dict(zip(("4200", "8080"), servers.free_ports(2), strict=True))
        absent = dict.fromkeys(("8333", "8786", "8787", "8789", "page"), 9)
        often = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "5"}
        stack = Stack(folder, ports | absent | {"5432": database.port}, often)
        night = Night.begin(tmp_path_factory.mktemp("night"), gate=gate)
        made = Services(stack, database, night, gate)
        try:
            made.start("prefect-server")
            stack.once("deploy")
            subprocess.run([sys.executable, "-c", SOON], check=True, env=stack.environment("deploy"))
            found = made.get("deployments/name/recompute/hourly")
            hourly = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "slug": "hourly", "active": True}
            changes = {"parameters": {"job": {"config": str(night.path)}}, "schedules": [hourly]}
            httpx.patch(f"{stack.api}/deployments/{found['id']}", json=changes, timeout=30).raise_for_status()
            made.start("worker")
            night.log()
            night.wait_for(1)
            yield made
        finally:
            gate.unlink(missing_ok=True)
            for _, exits in made.running.values():
                exits.close()
            kill("PREFECT_API_URL", stack.api)


def test_the_automation_is_made_once_however_often_it_is_asked_for(services: Services) -> None:
    names = [each["name"] for each in services.post("automations/filter")]
    assert names == ["sli: flow runs that ended without a word"]


def test_a_server_that_was_away_for_hours_is_followed_by_one_run_that_catches_up(
    services: Services, record_property: Callable[[str, object], None]
) -> None:
    night, before = services.night, len(services.states())
    services.kill("prefect-server")
    night.log(6)
    time.sleep(200)
    services.start("prefect-server")
    record_property("seconds", night.wait_for(night.hours))
    wait(lambda: not services.working(), 60)
    states = services.states()[: len(services.states()) - before]
    print(states)
    assert "COMPLETED" in states
    assert set(states) <= {"COMPLETED", "CANCELLED"}


def test_a_database_that_is_killed_and_started_again_stops_no_schedule(services: Services) -> None:
    services.night.log()
    services.database.kill()
    time.sleep(20)
    services.database.start()
    services.night.wait_for(services.night.hours)


def test_a_run_goes_on_while_its_server_starts_again(services: Services) -> None:
    run = services.hold()
    services.kill("prefect-server")
    time.sleep(10)
    services.start("prefect-server")
    services.gate.unlink()
    services.night.wait_for(services.night.hours)
    ended = services.stack.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]["message"]


def test_a_worker_killed_with_its_flow_leaves_a_slot_for_minutes_and_no_run_that_works_for_ever(
    services: Services,
) -> None:
    run = services.hold()
    began = time.monotonic()
    services.kill("worker")
    assert kill("PREFECT__FLOW_RUN_ID", run)
    services.gate.unlink()
    services.start("worker")
    ended = services.stack.ended(run, 300)
    crashed = time.monotonic() - began
    assert (ended["state_type"], "no heartbeat for 90 s" in ended["state"]["message"]) == ("CRASHED", True)
    services.night.wait_for(services.night.hours, SLOT)
    print("crashed after", crashed, "published after", time.monotonic() - began)
    assert time.monotonic() - began < SLOT + 90
    wait(lambda: not services.working() and not services.taken(), 60)


def test_the_tables_after_such_nights_are_those_of_calm_ones(services: Services) -> None:
    services.night.check()


def test_flow_runs_of_long_ago_leave_the_database(services: Services) -> None:
    wait(lambda: "COMPLETED" in services.states(), 60)
    database, done = DatabaseAt(services.database.url()), "WHERE state_type = 'COMPLETED'"
    old = database.execute(f"UPDATE flow_run SET end_time = end_time - interval '100 days' {done} RETURNING id::text")
    assert old
    where = f"FROM flow_run WHERE id::text IN ({', '.join(repr(id) for (id,) in old)})"
    wait(lambda: database.execute(f"SELECT count(*) {where}") == [(0,)], 60)


@contextmanager
def one_command(night: Night, home: Path, log: Path) -> Iterator[None]:
    """`python -m flows` with a schedule of a minute, killed at the end with its server and its flow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "AWS"))}
    env = {**kept, "PYTHONPATH": str(ROOT), "HOME": str(home), "PREFECT_HOME": str(home)}
    command = [sys.executable, "-m", "flows", str(night.path), "--hourly", "* * * * *"]
    with servers.process(command, log, env, home) as child:
        yield
        os.kill(child.pid, signal.SIGKILL)
        kill("PREFECT_HOME", str(home))


def is_server(process: psutil.Process, home: Path) -> bool:
    """Whether a process is the Prefect server with this home, and not one that it started."""
    try:
        started_so = {"server", "start", "prefect"} <= {*process.cmdline()}
    except psutil.Error:
        return False
    return started_so and environment_of(process).get("PREFECT_HOME") == str(home)


def test_one_command_killed_with_its_server_and_its_flow_catches_up_when_it_starts_again(tmp_path: Path) -> None:
    gate, home = tmp_path / "gate", tmp_path / "home"
    night = Night.begin(tmp_path / "night", gate=gate)
    home.mkdir()
    with one_command(night, home, tmp_path / "first.log"):
        night.log()
        night.wait_for(1)
        [server] = [each for each in psutil.process_iter() if is_server(each, home)]
        server.kill()
        night.log()
        night.wait_for(2)
        hold(night, gate)
    gate.unlink()
    night.log(6)
    began = time.monotonic()
    with one_command(night, home, tmp_path / "second.log"):
        night.wait_for(night.hours, SLOT + 90)
    print("published after", time.monotonic() - began)
    night.check()
