"""A signal ends the work with the exception of its handler, also during a query.

DuckDB and Arrow run signal handlers in the middle of a query. If a handler raises there (for example
KeyboardInterrupt), they raise an error of the query instead. Limit: only in the main thread, where handlers run.
"""

from __future__ import annotations

import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, as_completed, wait
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
ENDING = (signal.SIGINT, signal.SIGTERM)
PAUSE = 0.05
"""Seconds between two interrupts. They repeat, since an interrupt between two queries stops neither."""
_CONNECTIONS: ContextVar[list[weakref.ref[Any]] | None] = ContextVar("connections", default=None)
"""The connections of the task that runs in this thread."""


@contextmanager
def signals_first() -> Iterator[None]:
    """Call the signal's handler again if the block fails after SIGINT or SIGTERM: what it raises replaces the error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        for end in (reader, writer):
            end.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        except Exception:
            with suppress(BlockingIOError):
                for number in reader.recv(4096):
                    if number in ENDING:
                        signal.raise_signal(number)
            raise
        finally:
            signal.set_wakeup_fd(before)


def run_in_threads(
    pool: Executor, tasks: Iterable[Callable[[], T]], progress: Callable[[int], None] = lambda _: None
) -> list[T]:
    """The results of tasks, in their order; `progress` is told how many are finished.

    Once one fails, or a signal ends the wait, no other begins, and the queries of stoppable connections end.
    """
    connections: list[weakref.ref[Any]] = []
    futures = []
    for task in tasks:
        context = copy_context()
        context.run(_CONNECTIONS.set, connections)
        futures.append(pool.submit(context.run, task))
    try:
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            progress(done)
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        while not all(future.done() for future in futures):
            for connection in filter(None, [reference() for reference in list(connections)]):
                with suppress(Exception):  # the connection may be closed
                    connection.interrupt()
            wait(futures, PAUSE)


def make_stoppable(connection: Any) -> None:
    """Let a signal interrupt the queries of this connection or cursor, if its task runs by `run_in_threads`."""
    connections = _CONNECTIONS.get()
    if connections is not None:
        connections.append(weakref.ref(connection))
