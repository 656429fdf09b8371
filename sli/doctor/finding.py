"""What a check found: one line, and what to do about it. Limit: a finding is text; it mends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sli.calendar.duration import SECOND
from sli.calendar.interval import Interval, iso
from sli.errors import SliError
from sli.masking import masked

Level = Literal["ok", "warning", "problem", "skipped"]
LEVELS: tuple[Level, ...] = ("ok", "skipped", "warning", "problem")
"""From harmless to worst."""


@dataclass(frozen=True)
class Finding:
    """A line of a check. A `problem` makes a run fail or its values wrong or unknown; a `warning` may."""

    level: Level
    text: str
    todo: str = ""
    check: str = ""
    """The name of the check."""

    def to_dict(self) -> dict[str, str]:
        """As plain values, without credentials."""
        parts = {"check": self.check, "level": self.level, "text": self.text, "what_to_do": self.todo}
        return {name: masked(text) for name, text in parts.items() if text}


class Skipped(Exception):
    """Raised by a check that does not apply; its text says why."""


def ok(text: str) -> Finding:
    """Nothing is wrong."""
    return Finding("ok", text)


def warning(text: str, todo: str) -> Finding:
    """Something may be wrong."""
    return Finding("warning", text, todo)


def problem(text: str, todo: str) -> Finding:
    """Something is wrong."""
    return Finding("problem", text, todo)


def problem_of(error: SliError) -> Finding:
    """The problem that an error tells, on one line.

    >>> from sli.errors import StoreError
    >>> problem_of(StoreError("a table is missing", where="store/tiles", todo="restore it")).text
    'a table is missing: store/tiles'
    """
    expected = f"expected {error.expected}" if error.expected else ""
    found = f"found {error.found}" if error.found else ""
    details = ", ".join(filter(None, (error.where, expected, found)))
    text = f"{error.what}: {details}" if details else error.what
    return problem(" ".join(f"{text} {error.others}".split()), error.todo or "see the message")


def span_text(span: Interval) -> str:
    """The first and the last instant of rows, to the second.

    >>> span_text(Interval(0, 90_000_001))
    '1970-01-01T00:00Z .. 1970-01-01T00:01:30Z'
    """
    return f"{iso(span.start // SECOND * SECOND)} .. {iso((span.end - 1) // SECOND * SECOND)}"
