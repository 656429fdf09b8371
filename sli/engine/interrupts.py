"""Signals: what a handler raises ends the work, also where it raised inside a library that told it as its own error.

DuckDB and Arrow run handlers in the midst of a query or of a stream. What those raise, such as KeyboardInterrupt or the
exception by which a scheduler cancels a run, comes out of them as an error of the query. Limit: in the main thread,
where Python runs handlers.
"""

from __future__ import annotations

import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, wait
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)
PAUSE = 0.05
"""Seconds between two interrupts: one that comes between two queries stops neither."""
_OPEN: ContextVar[list[weakref.ref[Any]] | None] = ContextVar("open", default=None)


@contextmanager
def signals_first() -> Iterator[None]:
    """Where an error ends the block after SIGINT or SIGTERM came, its handler is called anew and may raise instead."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tells = socket.socketpair()
    with told, tells:
        for each in (told, tells):
            each.setblocking(False)
        before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
        try:
            yield
        except Exception:
            with suppress(BlockingIOError):
                for number in told.recv(4096):
                    if number in ENDING:
                        signal.raise_signal(number)
            raise
        finally:
            signal.set_wakeup_fd(before)


def run_in_thread(pool: Executor, task: Callable[[], Any]) -> Any:
    """The result of a task. Where a signal ends the wait for it, the queries of its `stoppable` connections end too."""
    connections: list[weakref.ref[Any]] = []
    context = copy_context()
    context.run(_OPEN.set, connections)
    future = pool.submit(context.run, task)
    try:
        return future.result()
    finally:
        while not future.done():
            for each in filter(None, [kept() for kept in list(connections)]):
                with suppress(Exception):  # it may be closed
                    each.interrupt()
            wait([future], PAUSE)


def make_stoppable(connection: Any) -> None:
    """Let a signal stop what this connection, or cursor, of a task `run_in_thread` is doing."""
    connections = _OPEN.get()
    if connections is not None:
        connections.append(weakref.ref(connection))
