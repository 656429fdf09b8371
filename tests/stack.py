"""The services of docker-compose.yml as plain processes: its commands and environment, other host names and ports."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import sealed
import servers
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOTENV = {
    "POSTGRES_PASSWORD": "not-a-secret",
    "RESULTS_WRITER_PASSWORD": "writes-results",
    "RESULTS_READER_PASSWORD": "reads-results",
    "GRAFANA_ADMIN_PASSWORD": "sees-dashboards",
    "AWS_ACCESS_KEY_ID": servers.KEYS["AWS_ACCESS_KEY_ID"],
    "AWS_SECRET_ACCESS_KEY": servers.KEYS["AWS_SECRET_ACCESS_KEY"],
}
"""What a user fills in after `cp configs/env.example .env`."""
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?message}` as Compose fills them in."""

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2] or ""
        if env.get(name):
            return env[name]
        if default.startswith(":?"):
            raise KeyError(f"{name}: {default[2:]}")
        return default.removeprefix(":-")

    return re.sub(r"\$\{(\w+)((?::-|:\?)[^}]*)?\}", value, text)


def image_environment() -> dict[str, str]:
    """The ENV lines of the Dockerfile."""
    lines = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def written_by(service: str) -> list[str]:
    """The folders that a service may write to: its volumes and its tmpfs."""
    found = COMPOSE["services"][service]
    mounts = [volume.split(":") for volume in found.get("volumes", ())]
    return [*(to for _, to, *how in mounts if how != ["ro"]), *(each.split(":")[0] for each in found.get("tmpfs", ()))]


@dataclass
class Stack:
    """Where the running services are, and what a client of them needs."""

    folder: Path
    ports: dict[str, int]
    more: Mapping[str, str] = field(default_factory=dict)
    """Settings of all services that the compose file does not have."""
    image: Path | None = None
    """A folder with the image: `app`, and its programs in `venv`. Its services run sealed; without it, as we do."""

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['4200']}/api"

    @property
    def scheduler(self) -> str:
        return f"tcp://127.0.0.1:{self.ports['8786']}"

    @property
    def storage(self) -> dict[str, str]:
        return {**servers.KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['8333']}"}

    @property
    def app(self) -> Path:
        return self.image / "app" if self.image else ROOT

    def here(self, text: str) -> str:
        """A text of the compose file with this machine's addresses, ports and folders."""
        text = re.sub(r"(?<=[/@])(s3|postgres|prefect-server|dask-scheduler)(?=:\d)", "127.0.0.1", text)
        # The page shares the network of the host, where the scheduler's dashboard is not.
        text = re.sub(r"(?<=:)8787(?=/healthz)|^8787$", str(self.ports["page"]), text)
        text = text.replace("0.0.0.0", "127.0.0.1").replace("/app", str(self.app))
        return re.sub(r"\b(4200|5432|8080|8333|8786|8787|8789)\b", lambda found: str(self.ports[found[1]]), text)

    def command(self, service: str) -> list[str]:
        command = [self.here(interpolated(each, DOTENV)) for each in COMPOSE["services"][service]["command"]]
        if self.image is None or COMPOSE["services"][service]["image"] != "sli":
            return command
        shelf = self.folder / "shelf"
        shelf.mkdir(exist_ok=True)
        return sealed.sealed(command, [self.place(service, path) for path in written_by(service)], shelf)

    def place(self, service: str, path: str) -> Path:
        """The folder that stands for one of a service's container."""
        place = self.folder / f"{service}{path.replace('/', '-')}"
        place.mkdir(exist_ok=True)
        return place

    def environment(self, service: str) -> dict[str, str]:
        """What the image and the service set, and nothing else of ours but where programs and homes are."""
        home = self.place(service, "/var/lib/prefect")
        given = COMPOSE["services"][service].get("environment", {})
        env = {name: self.here(interpolated(str(value), DOTENV)) for name, value in given.items()}
        env = {**image_environment(), **env}
        for path in ("/var/lib/prefect", "/var/spills"):
            env = {name: value.replace(path, str(self.place(service, path))) for name, value in env.items()}
        if self.image is not None:
            here = {"HOME": "/home/sli", "TMPDIR": str(self.place(service, "/tmp"))}
            return {"PATH": f"{self.image}/venv/bin:{os.environ['PATH']}", **here, **env, **self.more}
        here = {"HOME": str(home), "PYTHONPATH": str(ROOT)}
        return {"PATH": f"{servers.BIN}:{os.environ['PATH']}", **here, **env, **self.more}

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()

    @contextmanager
    def running(self, service: str, number: int = 1) -> Iterator[subprocess.Popen[bytes]]:
        """The service as a process, once its health check passes."""
        log = self.folder / f"{service}.log"
        env = self.environment(service)
        with servers.process(self.command(service), log, env, self.app) as child:
            check = COMPOSE["services"][service].get("healthcheck", {}).get("test")
            if check and number == 1:
                assert check[0] == "CMD"
                command = [self.here(each) for each in check[1:]]
                # A process for each look would take longer than the service.
                servers.wait_for(re.findall(r"http://[^']+", command[-1])[0], child, log)
                deadline = time.monotonic() + 60
                while subprocess.run(command, capture_output=True, env=env).returncode:
                    assert child.poll() is None, log.read_text()[-3000:]
                    assert time.monotonic() < deadline, f"{service} is not healthy:\n{log.read_text()[-3000:]}"
                    time.sleep(1)
            yield child

    def once(self, service: str) -> None:
        """Run a service that ends; what it prints is its log."""
        done = subprocess.run(
            self.command(service),
            env=self.environment(service),
            cwd=self.app,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (self.folder / f"{service}.log").write_text(done.stdout)

    def start(
        self,
        deployment: str,
        job: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        due: datetime | None = None,
    ) -> str:
        """Create a run of a deployment through Prefect's API; its id. `env` is added to what the worker gives it.

        It is due now, or was at the time `due`.
        """
        found = httpx.get(f"{self.api}/deployments/name/{deployment}", timeout=30).raise_for_status().json()
        parameters = {"job": {**found["parameters"]["job"], **(job or {})}}
        asked = {"parameters": parameters} | ({"job_variables": {"env": dict(env)}} if env else {})
        if due is not None:
            asked["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        answer = httpx.post(f"{self.api}/deployments/{found['id']}/create_flow_run", json=asked, timeout=30)
        return str(answer.raise_for_status().json()["id"])

    def ended(self, run: str, seconds: float = 120) -> dict[str, Any]:
        """The flow run once it has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found: dict[str, Any] = httpx.get(f"{self.api}/flow_runs/{run}", timeout=30).raise_for_status().json()
            if found["state_type"] in ENDED:
                return found
            time.sleep(0.3)
        raise AssertionError(
            f"{found['name']} is {found['state_name']} after {seconds} s:\n{self.log('worker')[-3000:]}"
        )

    def query(self, kind: str, run: str) -> list[dict[str, Any]]:
        """Artifacts or logs of a flow run."""
        where = {"artifacts": "artifacts", "logs": "logs"}[kind]
        asked = {where: {"flow_run_id": {"any_": [run]}}, "limit": 200}
        found: list[dict[str, Any]] = (
            httpx.post(f"{self.api}/{kind}/filter", json=asked, timeout=30).raise_for_status().json()
        )
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        asked = {"filter": {"event": {"name": [name]}, "occurred": {"since": "2020-01-01T00:00:00Z"}}, "limit": 50}
        found: list[dict[str, Any]] = (
            httpx.post(f"{self.api}/events/filter", json=asked, timeout=30).raise_for_status().json()["events"]
        )
        return found


@contextmanager
def running_stack(folder: Path, server: int | None = None, image: Path | None = None) -> Iterator[Stack]:
    """The services of the compose file in the order of their dependencies; the deployments are made.

    Not Grafana and Prometheus, which no Python package has.

    Where the port of a Prefect `server` is given, it stands for that of the file and the Dask cluster, which take five
    times as long as all others. With an `image`, its services run sealed.
    """
    numbers = ["4200", "8080", "8333", "8786", "8787", "page"]
    with ExitStack() as stack:
        ports = dict(zip(numbers, servers.free_ports(len(numbers)), strict=True))
        database = stack.enter_context(servers.postgres("prefect", DOTENV["POSTGRES_PASSWORD"], "prefect"))
        ports |= {"5432": database.port, "8789": 0} | ({} if server is None else {"4200": server})
        made = Stack(folder, ports, image=image)
        made.once("results")
        s3 = [*made.command("s3"), *servers.s3_places(folder / "objects")]
        env = made.environment("s3")
        child = stack.enter_context(servers.process([str(servers.BIN / "weed"), *s3], folder / "s3.log", env))
        servers.wait_for(made.storage["AWS_ENDPOINT_URL"], child, folder / "s3.log", 60)
        if server is None:
            stack.enter_context(made.running("prefect-server"))
            stack.enter_context(made.running("dask-scheduler"))
            for number in range(COMPOSE["services"]["dask-worker"]["deploy"]["replicas"]):
                stack.enter_context(made.running("dask-worker", 2 + number))
        made.once("deploy")
        stack.enter_context(made.running("worker"))
        stack.enter_context(made.running("page"))
        yield made
