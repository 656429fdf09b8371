"""How far the work is: bars on a terminal, silence elsewhere; messages about cluster and store stand above them.

Limit: a step that cannot be counted only shows how long it has taken.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from sli.masking import masked

TOLD = ("sli.cluster", "sli.store")
"""Loggers whose messages people see."""


class Bars(logging.Handler):
    """Progress bars on a terminal, silence elsewhere; above them what is said of the cluster, such as its dashboard."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: Any = None
        self.bars: dict[str, Any] = {}
        self.done: dict[str, int] = {}

    def __enter__(self) -> Callable[[str, int, int], None]:
        for log in map(logging.getLogger, TOLD):
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
        for log in map(logging.getLogger, TOLD):
            log.removeHandler(self)
        if self.shown is not None:
            self.shown.stop()

    def emit(self, record: logging.LogRecord) -> None:
        said = masked(record.getMessage())
        # Not on stdout, where `--json` prints its one document.
        if self.shown is None:
            print(f"sli: {said}", file=sys.stderr)
        else:
            self.shown.console.print(
                f"sli: {masked(record.getMessage())}", markup=False, highlight=False, soft_wrap=True
            )

    def step(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of one kind of work; 0 of 1 where it cannot be counted."""
        if self.shown is None:
            return
        # A step that is tried again, or of a further chunk, begins again.
        if what in self.bars and done < self.done[what]:
            self.shown.remove_task(self.bars.pop(what))
        if what not in self.bars:
            self.bars[what] = self.shown.add_task(what, total=None)
        self.done[what] = done
        self.shown.update(self.bars[what], completed=done, total=None if (done, total) == (0, 1) else total)
