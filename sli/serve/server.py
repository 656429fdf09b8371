"""Listening on the loopback address of this machine until it is interrupted.

Limit: one process; it serves plain HTTP to this machine alone, so put a proxy with TLS and a login before it if others
shall see it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping

import uvicorn

from sli.errors import ConfigError
from sli.serve.application import application
from sli.serve.models import Served

HOST, PORT = "127.0.0.1", 8787
TRIED = 100
"""How many of the next ports are tried, to name one that is free."""


def serve(models: Mapping[str, Served], port: int, ready: Callable[[str], None]) -> None:
    """Serve models until interrupted; `ready` gets the address once it listens. Raises ConfigError for a taken port."""
    with listening(port) as listener:
        ready(f"http://{HOST}:{listener.getsockname()[1]}/")
        settings = uvicorn.Config(
            application(models),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(settings).run(sockets=[listener])


def listening(port: int) -> socket.socket:
    """A socket that listens on a port of the loopback address; port 0 is any free one. Raises ConfigError."""
    if not 0 <= port <= 65535:
        raise ConfigError("this is not a port", where="--port", expected="a number from 0 to 65535", found=str(port))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        why = "in use" if error.errno == errno.EADDRINUSE else "not allowed for this user"
        todo = f"--port {_free_port(port)}, or --port 0 for any free one"
        raise ConfigError(f"port {port} is {why}", where="--port", todo=todo) from error
    return listener


def _free_port(port: int) -> int:
    """The next free port; 0 if there is none nearby."""
    for other in range(max(port, 1023) + 1, min(port + TRIED, 65535) + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, other))
            except OSError:
                continue
            return other
    return 0
