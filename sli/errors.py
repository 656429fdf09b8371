"""The errors shown to users: what is wrong, where, what is expected, what was found, and what to do.

Limit: a bug in sli itself is not turned into one of them; it stays a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from sli.masking import masked, masked_tree

FAILED, WRONG_CONFIG, WARNED, DIFFERENT = 4, 2, 3, 5
"""Exit codes of the command; see `sli --help`."""


class SliError(Exception):
    """Base of all errors shown to users. Can be pickled, since Dask sends errors from its workers."""

    exit_code = FAILED

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
        """Whether the same call may succeed later: storage, a worker or a scheduler did not answer."""

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
        """The parts of the message that are not empty, by name."""
        parts: dict[str, Any] = masked_tree({name: value for name, value in self.__dict__.items() if value})
        return parts


class ConfigError(SliError):
    """The config or an argument is wrong; nothing was read or written."""

    exit_code = WRONG_CONFIG


class InputError(SliError):
    """A log cannot be read, or has no usable file; nothing was published."""


class EngineError(SliError):
    """A task failed: a lost worker, or an SQL expression that fails on the rows, for example."""


class OutOfMemory(EngineError):
    """A task needs more than `memory:`; smaller tasks may succeed."""


class StoreError(SliError):
    """The tables cannot be read or written."""


class ConflictError(StoreError):
    """Another run published first, so this one must plan again. It published nothing."""


def _rebuild(kind: type[SliError], state: dict[str, str]) -> SliError:
    error = kind(state["what"])
    error.__dict__.update(state)
    return error


def nearest(name: str, valid: Iterable[str]) -> str:
    """`did you mean 'x'?`, or an empty text if no valid name is similar."""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else ""
