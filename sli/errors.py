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


class UnknownCommitError(StoreError):
    """The store stopped answering during the commit: it may have succeeded or not. The next run finds out which."""


class ExportError(SliError):
    """A sink did not take what is published; the store itself is complete."""


def _rebuild(kind: type[SliError], state: dict[str, str]) -> SliError:
    error = kind(state["what"])
    error.__dict__.update(state)
    return error


def check_known(
    what: str, name: object, valid: Iterable[str], *, where: str = "", nothing: str = "", todo: str = ""
) -> None:
    """Raise ConfigError if a name is none of the valid ones: it lists these, and asks for the one that is similar.

    `nothing` is what is expected where no name is valid, `todo` what to do if none is similar.
    """
    names = list(valid)
    if name not in names:
        expected = f"one of {', '.join(names)}" if names else nothing
        raise ConfigError(what, where=where, expected=expected, todo=nearest(str(name), names) or todo)


SHORT = 3
"""Names up to this length are similar to names as long only if one slip leads from one to the other."""
SIMILAR = 0.65
"""Least share of letters that longer names have in common, by `difflib`."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """`did you mean 'x'?`, or an empty text if no valid name is similar.

    >>> nearest("jfk", ["EWR", "JFK"]), nearest("auc", ["pr_auc", "brier"]), nearest("AA", ["UA", "B6"])
    ("did you mean 'JFK'?", "did you mean 'pr_auc'?", '')
    """
    asked, names = _folded(name), [*dict.fromkeys(valid)]
    begun = [other for other in names if asked and _folded(other).startswith(asked)]
    close = begun if len(begun) == 1 else names
    best = max(close, key=lambda other: _similarity(asked, _folded(other)), default="")
    return f"did you mean '{best}'?" if len(begun) == 1 or _similarity(asked, _folded(best)) else ""


def _folded(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")


def _similarity(asked: str, other: str) -> float:
    """0 if a person who wrote `asked` hardly meant `other`; 1 if they differ in case only."""
    ratio = difflib.SequenceMatcher(None, asked, other).ratio()
    if asked == other or min(len(asked), len(other)) == 0:
        return float(asked == other)
    short, long = sorted((asked, other), key=len)
    if len(short) >= SHORT and short in long:
        return max(ratio, SIMILAR)
    if len(short) <= SHORT and len(long) - len(short) <= 1:
        return ratio if len(asked) > 1 and _one_slip(asked, other) else 0
    return ratio if ratio >= SIMILAR and (len(short) > SHORT or short[0] == long[0]) else 0


def _one_slip(asked: str, other: str) -> bool:
    """Whether two letters are swapped, or one letter after the first is another, missing or too much."""
    if len(asked) == len(other):
        differ = [i for i, (a, b) in enumerate(zip(asked, other, strict=True)) if a != b]
        swapped = len(differ) == 2 and [asked[i] for i in differ] == [other[i] for i in reversed(differ)]
        return swapped or (len(differ) == 1 and differ != [0])
    short, long = sorted((asked, other), key=len)
    return len(long) == len(short) + 1 and any(long[:i] + long[i + 1 :] == short for i in range(1, len(long)))
