"""A proxy before an S3 server that counts: kind and key of every request, and the bytes of the answers."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Requests:
    """What passed so far. `seen`: kind (LIST, HEAD, GET, PUT, ...) and key of each request, in order."""

    endpoint: str
    seen: list[tuple[str, str]] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0
    """How long each request is held back."""

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
    loop = asyncio.new_event_loop()
    requests = Requests("")

    async def forward(source: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await source.readuntil(b"\r\n\r\n")
                requests.seen.append(_kind(head))
                await asyncio.sleep(requests.seconds)
                out.write(head)
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if length:
                    out.write(await source.readexactly(int(length[0].split(b":")[1])))
                await out.drain()
        out.close()

    async def back(source: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while block := await source.read(1 << 20):
                requests.bytes += len(block)
                out.write(block)
                await out.drain()
        out.close()

    async def serve(source: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        there, to = await asyncio.open_connection(target.hostname, target.port)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(forward(source, to), back(there, out))

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20))
    requests.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield requests
    finally:
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _closed(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _kind(head: bytes) -> tuple[str, str]:
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    asked = urlsplit(target)
    query = parse_qs(asked.query, keep_blank_values=True)
    key = unquote(asked.path)
    if method == "GET" and ("list-type" in query or "prefix" in query):
        return "LIST", f"{key}/{query.get('prefix', [''])[0]}"
    return method, key
