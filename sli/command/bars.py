"""Progress bars on a terminal, nothing elsewhere; and messages about the cluster and the store on stderr.

Limit: a step that cannot be counted only shows how long it has taken.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from sli.masking import masked

LOGGERS = ("sli.cluster", "sli.store")
"""Loggers whose messages people see."""


class Bars(logging.Handler):
    """Progress bars on a terminal, nothing elsewhere. Messages of `LOGGERS`, for example the dashboard, stand above."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Any = None
        self.bars: dict[str, Any] = {}
        self.done: dict[str, int] = {}

    def __enter__(self) -> Callable[[str, int, int], None]:
        for log in map(logging.getLogger, LOGGERS):
            log.addHandler(self)
            log.setLevel(logging.INFO)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TimeElapsedColumn

            parts = (SpinnerColumn(), "{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            self.shown = Progress(*parts, console=Console(stderr=True), transient=True)
            self.shown.start()
        return self.step

    def __exit__(self, *_: object) -> None:
        for log in map(logging.getLogger, LOGGERS):
            log.removeHandler(self)
        if self.shown is not None:
            self.shown.stop()

    def emit(self, record: logging.LogRecord) -> None:
        message = f"sli: {masked(record.getMessage())}"
        # Not on stdout, where `--json` prints its one document.
        if self.shown is None:
            print(message, file=sys.stderr)
        else:
            self.shown.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def step(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` units of a step are done; 0 of 1: they cannot be counted."""
        if self.shown is None:
            return
        # A step begins again if it is retried, or in the next part of a backfill.
        if what in self.bars and done < self.done[what]:
            self.shown.remove_task(self.bars.pop(what))
        if what not in self.bars:
            self.bars[what] = self.shown.add_task(what, total=None)
        self.done[what] = done
        self.shown.update(self.bars[what], completed=done, total=None if (done, total) == (0, 1) else total)
