"""Processes for tests that kill them or let them run at once: forks of one process that has imported what runs need.

So no test waits for imports. Limit: a child has the environment of the test, but its modules are as imported, without
what the test has patched.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        *("sli.command.cli", "sli.command.answers", "sli.command.text", "sli.reading.read"),
        *("sli.runs.backfill", "sli.runs.recompute", "sli.runs.hour_tiles", "sli.runs.windows"),
        *("deltalake", "duckdb", "pandas", "pyarrow.dataset", "hypothesis.strategies", "pytest"),
    ]
)


class Child:
    """A process that calls a function; it begins at once, or with `go` where it is to wait."""

    def __init__(self, function: Callable[..., Any], *given: Any, waits: bool = False) -> None:
        # Test modules cannot be imported by name: their functions travel by value.
        module = sys.modules[function.__module__]
        cloudpickle.register_pickle_by_value(module)
        try:
            job = cloudpickle.dumps((function, given))
        finally:
            cloudpickle.unregister_pickle_by_value(module)
        self._ours, its = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_call, args=(job, dict(os.environ), its, waits), daemon=True)
        self.process.start()
        its.close()
        assert self._ours.poll(60), "the child does not begin"
        assert self._ours.recv() == "ready"

    def go(self) -> None:
        self._ours.send("go")

    def kill(self) -> None:
        self.process.kill()

    @property
    def runs(self) -> bool:
        return self.process.is_alive()

    def answer(self, seconds: float = 60) -> Any:
        """What the function returned, once the process has ended; an AssertionError with its traceback if it failed."""
        code, answer = self.ended(seconds)
        assert code == 0, answer
        return answer

    def ended(self, seconds: float = 60) -> tuple[int, Any]:
        """The exit code, minus the signal if one killed it, and what it answered or its traceback, if anything."""
        answer = None
        if self._ours.poll(seconds):
            # A killed process answers nothing.
            try:
                answer = self._ours.recv()
            except EOFError:
                answer = None
        self.process.join(seconds)
        code = self.process.exitcode
        assert code is not None, f"the child still runs after {seconds} s"
        self._ours.close()
        self.process.close()
        return code, answer


def _call(job: bytes, environment: dict[str, str], parent: Connection, waits: bool) -> None:
    os.environ.clear()
    os.environ.update(environment)
    function, given = cloudpickle.loads(job)
    parent.send("ready")
    if waits:
        assert parent.recv() == "go"
    try:
        parent.send(function(*given))
    except BaseException:
        parent.send(traceback.format_exc())
        sys.exit(1)
