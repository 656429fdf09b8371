"""Signals: what a handler raises ends the work, also where it raised inside a library that told it as its own error.

DuckDB and Arrow run handlers in the midst of a query or of a stream. What those raise, such as KeyboardInterrupt or the
exception by which a scheduler cancels a run, comes out of them as an error of the query. Limit: in the main thread,
where Python runs handlers.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def delivered() -> Iterator[None]:
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
