"""Every mistake a user can make ends in one of these: what, where, what was expected and found, what to do next.

Limit: a bug in sli itself is not dressed up as one of them; it stays a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from sli.masking import masked, masked_tree


class SliError(Exception):
    """Root of all errors shown to users. Survives pickling, since it crosses Dask."""

    exit_code = 4

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        expected: str = "",
        found: str = "",
        todo: str = "",
        others: str = "",
        passes: bool = False,
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.expected, self.found, self.todo = what, where, expected, found, todo
        self.others = others
        self.passes = passes
        """Whether the same call may succeed later with nothing changed: storage, a worker or a scheduler was away."""

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__))

    def __str__(self) -> str:
        lines = [self.what]
        for name in ("where", "expected", "found", "todo"):
            text = getattr(self, name)
            if text:
                lines.append(f"  {'what to do' if name == 'todo' else name}: {text}")
        return masked("\n".join(lines) + (f"\n{self.others}" if self.others else ""))

    def to_dict(self) -> dict[str, Any]:
        """What there is to say, by name."""
        told: dict[str, Any] = masked_tree({name: value for name, value in self.__dict__.items() if value})
        return told


class ConfigError(SliError):
    """The config or an argument is wrong; nothing was done."""

    exit_code = 2


class InputError(SliError):
    """The logs cannot be used at all; nothing was published."""


class EngineError(SliError):
    """A task could not be carried out: out of memory, a lost worker, an SQL expression that fails on the rows."""


class OutOfMemory(EngineError):
    """What a task needs is more than `memory:`; smaller tasks may do."""


class StoreError(SliError):
    """The tables cannot be read or written."""


class ConflictError(StoreError):
    """Another run published first; this one must plan again. Nothing of it is visible."""


def _rebuild(kind: type[SliError], state: dict[str, str]) -> SliError:
    error = kind(state["what"])
    error.__dict__.update(state)
    return error


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no valid name is near."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else ""
