"""A proxy before an S3 server that counts: kind and key of every request, and the bytes of the answers."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Requests:
    """What passed so far. `seen`: kind (LIST, HEAD, GET, PUT, ...) and key of each request, in order."""

    endpoint: str
    seen: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0

    def clear(self) -> None:
        self.seen.clear()
        self.bytes = 0

    def kinds(self, below: str = "") -> dict[str, int]:
        """How many of each kind, of keys that contain a text."""
        return dict(Counter(kind for kind, key in self.seen if below in key))


@contextmanager
def counted(endpoint: str) -> Iterator[Requests]:
    """Requests to the endpoint this yields go to another one and are counted."""
    target = urlsplit(endpoint)
    requests = Requests("")
    open_sockets: set[socket.socket] = set()

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((target.hostname, target.port)) as there, self.request as here:
                open_sockets.update((there, here))
                answers = threading.Thread(target=back, args=(there, here))
                answers.start()
                with suppress(OSError), here.makefile("rb") as asked:
                    while head := _head(asked):
                        requests.seen.append(_kind(head))
                        # The body of some comes only once the server asked for it.
                        there.sendall(head)
                        there.sendall(asked.read(_length(head)))
                _end(there)
                answers.join()
                open_sockets.difference_update((there, here))

    def back(there: socket.socket, here: socket.socket) -> None:
        with suppress(OSError):
            while block := there.recv(1 << 20):
                requests.bytes += len(block)
                here.sendall(block)
        _end(here)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as server:
        requests.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield requests
        finally:
            server.shutdown()
            thread.join()
            for each in list(open_sockets):
                _end(each)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _head(asked: BinaryIO) -> bytes:
    """A request up to its empty line; empty once there is none any more."""
    lines = []
    while (line := asked.readline()) not in (b"", b"\r\n"):
        lines.append(line)
    return b"".join([*lines, b"\r\n"]) if lines else b""


def _length(head: bytes) -> int:
    found = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(found[0].split(b":")[1]) if found else 0


def _kind(head: bytes) -> tuple[str, str]:
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    asked = urlsplit(target)
    query = parse_qs(asked.query, keep_blank_values=True)
    key = unquote(asked.path)
    if method == "GET" and ("list-type" in query or "prefix" in query):
        return "LIST", f"{key}/{query.get('prefix', [''])[0]}"
    return method, key
