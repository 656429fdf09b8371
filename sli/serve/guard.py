"""What is refused before any work, and the headers of every answer.

Only this machine is asked: the name in `Host` must be a loopback name, so that a page elsewhere whose name resolves to
127.0.0.1 reads nothing. Limit: any user of this machine may ask.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
METHODS = ("GET", "HEAD")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
POLICY = "default-src 'none'; frame-ancestors 'none'"


class Guard:
    """Middleware: refuses other hosts and methods, and adds the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # No websockets here; the server's own start and end pass.
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", POLICY)
            await send(message)

        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
            answer = PlainTextResponse("this server answers to 127.0.0.1 and localhost only\n", 421)
            await answer(scope, receive, send_with_headers)
        elif scope["method"] not in METHODS:
            answer = PlainTextResponse("this server only reads: GET and HEAD\n", 405, {"Allow": ", ".join(METHODS)})
            await answer(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)
