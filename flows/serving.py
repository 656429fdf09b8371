"""One process that schedules and runs the flows of a config, or of a folder of them.

It starts a Prefect server unless the user names one.

Limit: flows run as child processes on this machine, while this process runs; the next run catches up on missed ones.
For a work pool see prefect.yaml.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flows.naming import slug
from sli.config.load import load_config
from sli.config.several import are_several, load_models
from sli.engine.storage import message_of
from sli.errors import ConfigError, EngineError, SliError

if TYPE_CHECKING:
    from prefect import Flow, State
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule

    from flows.parameters import Backfill, Recompute

HOURLY = "7 * * * *"
NIGHTLY = "23 3 * * *"
PATIENCE = 120
"""Seconds a Prefect server may take to start."""
PAUSE = 5.0
"""Seconds before a server that ended is started again."""
QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
LEASES = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
"""Without it a server that restarts ends the runs that have a concurrency limit."""
BOUNDED = {"PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs"}
"""Flow runs leave the database 90 days after their end, with their logs and artifacts; otherwise they never do."""


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted; returns the exit code."""
    options = _parser().parse_args(arguments)
    # A supervisor stops a service by SIGTERM: end as by Ctrl-C, and end the server too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        name = _name_of(options.config)
        home = _server_home(options.home, name)
        path = str(Path(options.config).resolve())
        served = deployments(name, path, options.hourly, options.nightly, options.look_back)
        with _server(home) if home else nullcontext():
            with suppress(KeyboardInterrupt):
                _serve(served)
            _send_log()
            print("stopping; the next start catches up", flush=True)
    except SliError as error:
        print(f"flows: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows",
        description="Schedule a config, or all of a folder: hourly, nightly, and backfills on demand. "
        "Uses the Prefect server of PREFECT_API_URL or of the profile in PREFECT_HOME, or starts one.",
    )
    parser.add_argument(
        "config",
        metavar="CONFIG",
        help="path of the YAML config, or of a folder of configs: each run looks into it again and runs all its "
        "models, one after another",
    )
    parser.add_argument(
        "--hourly", default=HOURLY, metavar="CRON", help=f"when the hourly run starts, in UTC (default: {HOURLY})"
    )
    parser.add_argument(
        "--nightly", default=NIGHTLY, metavar="CRON", help=f"when the nightly run starts, in UTC (default: {NIGHTLY})"
    )
    parser.add_argument(
        "--look-back",
        metavar="DURATION",
        help="the hourly run only recomputes hours of the last DURATION (for example 1d); older stale hours wait for "
        "the nightly run",
    )
    parser.add_argument(
        "--home",
        metavar="PATH",
        help="folder for the state of the server it starts (default: PREFECT_HOME, or a folder for each model in "
        "~/.sli/prefect)",
    )
    return parser


def _name_of(path: str) -> str:
    """What deployments are named after: the model, or the folder of several, which are printed. Raises SliError."""
    if not are_several([path]):
        return slug(load_config(path).model)
    models, notes = load_models([path])
    wrong = [model for model in models if isinstance(model.config, SliError)]
    for note in [*notes, *(f"{model.name}: {model.config}" for model in wrong)]:
        print(f"flows: {note}", file=sys.stderr)
    if len(wrong) == len(models):
        raise ConfigError("no config of the folder can be used", where=path, todo="see the messages above")
    good = [model.name for model in models if model not in wrong]
    print(f"{path}: {', '.join(good)}", flush=True)
    return slug(Path(path).resolve().name)


def _server_home(option: str | None, name: str) -> Path | None:
    """Set PREFECT_API_URL. Returns the home of the server to start, or None if the user names a server."""
    os.environ.update(QUIET)
    if "PREFECT_API_URL" in os.environ:
        return None
    variable = os.environ.get("PREFECT_HOME")
    if variable and not option and (url := _profile_url(Path(variable))):
        os.environ["PREFECT_API_URL"] = url
        return None
    home = Path(option or variable or Path.home() / ".sli" / "prefect" / name).expanduser().absolute()
    try:
        # Prefect, imported later, would only warn if it cannot make the folder, and makes no parent folders.
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "the home of the Prefect server cannot be made",
            where="--home" if option else "PREFECT_HOME" if variable else "~/.sli/prefect",
            expected="a folder that can be written",
            found=f"{home}: {error.strerror}",
            todo="name another one with --home",
        ) from error
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update({"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"})
    return home


def _profile_url(home: Path) -> str | None:
    """The API URL in the active profile of a Prefect home, as `prefect config set` and `cloud login` write it."""
    try:
        tree = tomllib.loads((home / "profiles.toml").read_text())
    except (OSError, ValueError):
        return None
    profile = tree.get("profiles", {}).get(os.environ.get("PREFECT_PROFILE", tree.get("active")), {})
    url = profile.get("PREFECT_API_URL")
    return url if isinstance(url, str) else None


@contextmanager
def _server(home: Path) -> Iterator[None]:
    """Run the server of PREFECT_API_URL as a child process; if it ends before we do, it is started again."""
    url, log = os.environ["PREFECT_API_URL"], home / "server.log"
    server, ending, turn = _start_server(url, log), threading.Event(), threading.Lock()

    def start_again() -> None:
        nonlocal server
        while True:
            server.wait()
            ending.wait(PAUSE)
            with turn:
                if ending.is_set():
                    return
                print(f"flows: the Prefect server ended and is started again; see {log}", file=sys.stderr, flush=True)
                server = _start_server(url, log)

    try:
        _wait(url, server, log)
        threading.Thread(target=start_again, daemon=True).start()
        yield
    finally:
        with turn:
            ending.set()
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _start_server(url: str, log: Path) -> subprocess.Popen[bytes]:
    address = urllib.parse.urlsplit(url)
    where = ["--host", str(address.hostname), "--port", str(address.port)]
    command = [sys.executable, "-m", "prefect", "server", "start", *where]
    env = {**BOUNDED, **os.environ, **LEASES}
    with log.open("ab") as out:
        return subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)


def _wait(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and child.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise EngineError(
        "the Prefect server did not start",
        where=url,
        expected=f"an answer within {PATIENCE} s",
        found=f"exit code {child.poll()}" if child.poll() is not None else "none",
        todo=f"see {log}",
    )


def _serve(deployments: Sequence[RunnerDeployment]) -> None:
    from prefect import serve
    from prefect.client.schemas.schedules import CronSchedule

    from flows.heartbeats import watch_heartbeats

    print(f"Prefect at {os.environ['PREFECT_API_URL'].removesuffix('/api')}", flush=True)
    try:
        watch_heartbeats()
    except Exception as error:  # a server of the user may forbid it; runs need it not
        print(f"flows: the automation for crashed runs cannot be made: {message_of(error)}", file=sys.stderr)
    for deployment in deployments:
        crons = [s.schedule.cron for s in deployment.schedules or [] if isinstance(s.schedule, CronSchedule)]
        schedules = [f"{cron} UTC" for cron in crons]
        print(f"  {deployment.flow_name}/{deployment.name}  {', '.join(schedules) or 'on demand'}", flush=True)
    serve(*deployments, pause_on_shutdown=False, print_starting_message=False)


def _send_log() -> None:
    """Send the last log lines while the server still runs; at exit it would be gone."""
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()


def deployments(name: str, path: str, hourly: str, nightly: str, look_back: str | None) -> list[RunnerDeployment]:
    """The three deployments of a config or a folder; the same as in prefect.yaml. Raises ConfigError."""
    # Imported here: Prefect reads its settings from the environment when it is imported.
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy

    from flows.backfill import backfill
    from flows.parameters import Recompute, check_parameters
    from flows.recompute import recompute

    job = {"config": path}
    cancel_new, in_turn = ConcurrencyLimitStrategy.CANCEL_NEW, ConcurrencyLimitStrategy.ENQUEUE
    limits = {"look_back": look_back} if look_back else {}
    hourly_job = check_parameters(Recompute, job | limits).model_dump(mode="json", exclude_unset=True)
    return [
        _deployment(recompute, f"{name}-hourly", hourly_job, cancel_new, _schedule("hourly", hourly)),
        _deployment(recompute, f"{name}-nightly", job, in_turn, _schedule("nightly", nightly)),
        _deployment(backfill, name, job, in_turn),
    ]


def _deployment(
    flow: Flow[[Recompute], State[object]] | Flow[[Backfill], State[object]],
    name: str,
    job: Mapping[str, object],
    collision: ConcurrencyLimitStrategy,
    schedule: Schedule | None = None,
) -> RunnerDeployment:
    """A deployment that runs one at a time; `collision` says what happens to a second run."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.deployments.runner import RunnerDeployment

    from flows.heartbeats import TAG

    limit = ConcurrencyLimitConfig(limit=1, collision_strategy=collision, grace_period_seconds=120)
    deployment = flow.to_deployment(
        name, schedule=schedule, parameters={"job": job}, concurrency_limit=limit, tags=[TAG]
    )
    assert isinstance(deployment, RunnerDeployment)  # a coroutine only where an event loop runs
    return deployment


def _schedule(option: str, cron: str) -> Schedule:
    from prefect.schedules import Cron

    try:
        return Cron(cron, timezone="UTC")
    except ValueError as error:
        expected = "five fields, for example 7 * * * *"
        raise ConfigError(
            "this is not a cron expression", where=f"--{option}", expected=expected, found=cron
        ) from error
