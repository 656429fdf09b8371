"""A proxy before an S3 server that fails or lies: what happens to a request is decided by a fault, one at a time.

    with s3_proxy(endpoint, folder) as proxy:
        proxy.begin(Fault(Request("PUT results commit", 1), "its reply is lost"))

A request has a name: its method, the table or log, and what it is about, for example `PUT results commit`. The proxy is
a process of its own, since the table library holds Python's lock while it waits for some answers.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import servers

CONTROL = "/-/proxy"
"""The address at which the proxy itself is told what to do."""
SECONDS = 0.3
"""How late a late reply comes."""
KINDS = {
    "commit": r".*/_delta_log/\d{20}\.json",
    "checkpoint": r".*/_delta_log/.*checkpoint.*",
    "turn": r".*/_turn",
    "probe": r".*/_probe-.*",
    "mark": r".*/_run-.*",
    "file": r".*\.parquet",
}
LOST = "its reply is lost"
FOR_GOOD = " for good"
"""A fault that all later requests meet, too."""


class Request(NamedTuple):
    """The nth request of its name."""

    name: str
    nth: int


class Fault(NamedTuple):
    """What happens to a request."""

    request: Request
    what: str


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes


def faults_of(request: Request) -> list[str]:
    """The faults that make sense for a request; 412 is the answer to a condition, so only writes get it."""
    method, _, what = request.name.split()
    faults = ["it does not arrive", "503", "500", "it is late", f"403{FOR_GOOD}", f"503{FOR_GOOD}"]
    if method in ("PUT", "POST", "DELETE"):
        faults += [LOST, f"{LOST}{FOR_GOOD}"]
    if method == "PUT" and what in ("commit", "turn", "probe"):
        faults += ["412"]
    if method in ("GET", "LIST"):
        faults += ["half of its reply comes"]
    if method == "LIST":
        faults += ["stale"]
    return faults


def name_of(method: str, target: str) -> str:
    """The name of a request to an address."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    path = unquote(url.path)
    if method == "GET" and "list-type" in query:
        method, path = "LIST", f"{path}/{query.get('prefix', [''])[0].rstrip('/')}/"
    place = next((part for part in TABLES if f"/{part}/" in path), "store")
    what = next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, path)), "folder")
    return f"{method} {place} {what}"


TABLES = (
    *("tiles", "days", "keys", "inputs", "audit", "revisions", "runs", "results"),
    *("predictions", "feedback"),
)


class Requests:
    """The requests that came, in their order, and the fault that one of them meets."""

    def __init__(self, endpoint: str) -> None:
        self.server = urlsplit(endpoint).netloc
        self._lock = threading.Lock()
        self.lists: dict[str, Reply] = {}
        """The first answer to each listing."""
        self.begin()

    def begin(self, fault: Fault | None = None) -> None:
        """Count anew, and let a fault happen."""
        with self._lock:
            self.fault, self.met, self.requests, self._counts = fault, 0, list[Request](), Counter[str]()

    def arrived(self, name: str) -> str:
        """What happens to a request that comes now."""
        with self._lock:
            self._counts[name] += 1
            request = Request(name, self._counts[name])
            self.requests.append(request)
            if self.fault is None:
                return ""
            what = self.fault.what
            for_good = what.endswith(FOR_GOOD)
            if request != self.fault.request and not (for_good and self.met):
                return ""
            self.met += 1
            # A write is done once; after that nobody answers.
            return "503" if self.met > 1 and what.startswith(LOST) else what.removesuffix(FOR_GOOD)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Requests

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        content = self._content()
        if self.path == CONTROL:
            self._answer(self._controlled(content))
            return
        name = name_of(self.command, self.path)
        what = self.proxy.arrived(name)
        if what == "it does not arrive":
            self.close_connection = True
            return
        if what in ("500", "503", "403"):
            self._answer(_error(int(what)))
            return
        if what == "stale" and self._listing in self.proxy.lists:
            self._answer(self.proxy.lists[self._listing])
            return
        reply = self._forwarded(content)
        if name.startswith("LIST"):
            self.proxy.lists.setdefault(self._listing, reply)
        if what == LOST:
            self.close_connection = True
        elif what == "412":
            self._answer(_error(412))
        else:
            if what == "it is late":
                time.sleep(SECONDS)
            self._answer(reply, half=what == "half of its reply comes")

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _controlled(self, content: bytes) -> Reply:
        """POST begins anew, with a fault or with none; GET tells what came."""
        if self.command == "POST":
            fault = json.loads(content)
            self.proxy.begin(fault and Fault(Request(*fault[0]), fault[1]))
        state = {"met": self.proxy.met, "requests": self.proxy.requests}
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(state).encode())

    @property
    def _listing(self) -> str:
        return str(parse_qs(urlsplit(self.path).query).get("prefix"))

    def _content(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            content = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forwarded(self, content: bytes) -> Reply:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        server = http.client.HTTPConnection(self.proxy.server, timeout=30)
        try:
            server.request(self.command, self.path, content or None, headers)
            answer = server.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            server.close()

    def _answer(self, reply: Reply, half: bool = False) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in (*HOP, "content-length", "date", "server"):
                self.send_header(name, value)
        size = reply.headers.get("Content-Length") if self.command == "HEAD" else str(len(reply.content))
        self.send_header("Content-Length", size or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.content[: len(reply.content) // 2] if half else reply.content)
        if half:
            self.wfile.flush()
            self.close_connection = True


HOP = ("connection", "transfer-encoding", "keep-alive", "expect")
"""Headers that hold for one connection only."""
CODES = {403: "AccessDenied", 412: "PreconditionFailed", 500: "InternalError", 503: "SlowDown"}


def _error(status: int) -> Reply:
    text = f"<Error><Code>{CODES[status]}</Code><Message>{CODES[status]}</Message></Error>"
    return Reply(status, {"Content-Type": "application/xml"}, text.encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Clients go away as they like."""


class Proxy:
    """A running proxy, at an address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def begin(self, fault: Fault | None = None) -> None:
        """Count anew, and let a fault happen."""
        self._asked("POST", json.dumps(fault))

    @property
    def met(self) -> int:
        """How many requests met the fault."""
        return int(self._asked("GET")["met"])

    @property
    def requests(self) -> list[Request]:
        return [Request(*request) for request in self._asked("GET")["requests"]]

    def _asked(self, method: str, content: str | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        try:
            connection.request(method, CONTROL, content)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()


@contextmanager
def s3_proxy(endpoint: str, folder: Path) -> Iterator[Proxy]:
    """A proxy before the server at an endpoint; what it prints goes to a file in a folder."""
    [port] = servers.free_ports(1)
    log = folder / "proxy.log"
    proxy = Proxy(f"http://127.0.0.1:{port}")
    with servers.process([sys.executable, __file__, endpoint, str(port)], log) as child:
        servers.wait_for(f"{proxy.address}{CONTROL}", child, log)
        yield proxy


if __name__ == "__main__":
    Server(
        ("127.0.0.1", int(sys.argv[2])), type("OfServer", (Handler,), {"proxy": Requests(sys.argv[1])})
    ).serve_forever()
