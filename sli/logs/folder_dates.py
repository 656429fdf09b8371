"""Dates in the names of folders: which folder is named by a date, and which are older than a week.

Imports neither NumPy nor Arrow, so that a run that finds nothing to do can use it. Limit: a folder counts with all that
lies below it.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

from sli.calendar.duration import DAY
from sli.logs.globs import MAGIC

DAYS = re.compile(r"(?:[^=]*=)?(?:(\d{4})-(\d\d)-(\d\d)(?:[T _%-].*)?|(\d{4})(\d\d)(\d\d)(?:\d\d)?)")
"""Names of folders of a day or an hour: `2024-01-31`, `day=2024-01-31`, `20240131`, `2024-01-31T05`, `2024013105`."""
MONTHS = re.compile(r"(?:[^=]*=)?(\d{4})-(\d\d)")
YEARS = re.compile(r"(?:y[^=]*=)?((?:19|20)\d\d)")
BELOW_YEARS = tuple(re.compile(rf"(?:{letter}[^=]*=)?(\d\d?)") for letter in "md")
"""A month below a year, and a day below a month: `01`, `month=1`; `31`, `day=31`."""


class Dated(NamedTuple):
    """A folder that is named by a date, alone or with the folders that it lies in."""

    path: str
    """Without the protocol of a URL."""
    end: int
    """The end of its day, month or year in UTC."""


@dataclass(frozen=True)
class FolderDates:
    """Which folders of some logs are named by dates. `roots` are the folders of the logs: dates are read below."""

    roots: tuple[str, ...]

    @staticmethod
    def of_paths(paths: Iterable[str]) -> FolderDates:
        """Those of logs at these paths."""
        parts = [_plain(path if "://" in path else os.path.abspath(path)).split("/") for path in paths]
        fixed = {"/".join(itertools.takewhile(lambda part: not MAGIC.search(part), some)) for some in parts}
        return FolderDates(tuple(sorted(fixed, key=len, reverse=True)))

    @functools.lru_cache(maxsize=1 << 16)  # noqa: B019  # equal objects share it
    def around(self, folder: str) -> Dated | None:
        """The dated folder that a folder is or lies in; None if there is none.

        >>> logs = FolderDates(("bucket/logs",))
        >>> logs.around("s3://bucket/logs/site=7/year=2024/month=02/hour=5")
        Dated(path='bucket/logs/site=7/year=2024/month=02', end=1709251200000000)
        >>> logs.around("s3://bucket/logs/2024-01-31/eu").path, logs.around("s3://bucket/logs/site=7")
        ('bucket/logs/2024-01-31', None)
        """
        folder = _plain(folder)
        root = next((root for root in self.roots if not root or f"{folder}/".startswith(f"{root}/")), None)
        if root is None:
            return None
        parts = folder.split("/")
        first = root.count("/") + 1 if root else 0
        for at in range(first, len(parts)):
            if found := _date_at(parts, at):
                last, end = found
                return Dated("/".join(parts[: last + 1]), end)
        return None


@dataclass(frozen=True)
class Older:
    """The dated folders whose files do not matter, if only rows from a week on matter."""

    dates: FolderDates
    since: int
    """The start of the week."""
    later: frozenset[str]
    """The folders with an older date that have rows from then on."""

    @functools.cached_property
    def holds(self) -> Callable[[str], bool]:
        """Whether a file that lies in a folder does not matter."""
        return functools.cache(lambda folder: self._is_older(folder, self.later))

    @functools.cached_property
    def hides(self) -> Callable[[str], bool]:
        """Whether nothing below a folder matters."""
        leading = {path[:at] for path in self.later for at, letter in enumerate(path) if letter == "/"}
        return functools.cache(lambda folder: self._is_older(folder, self.later | leading))

    def _is_older(self, folder: str, except_for: frozenset[str]) -> bool:
        dated = self.dates.around(folder)
        return dated is not None and dated.end < self.since and dated.path not in except_for


def _plain(path: str) -> str:
    return path.split("://", 1)[-1].strip("/")


def _date_at(parts: Sequence[str], at: int) -> tuple[int, int] | None:
    """The place of the last part and the end of a date that begins at a place of a path; None if none does."""
    name = parts[at]
    if match := DAYS.fullmatch(name):
        year, month, day = (int(text) for text in match.groups() if text is not None)
        return _ending(at, year, month, day)
    if match := MONTHS.fullmatch(name):
        return _ending(at, int(match[1]), int(match[2]))
    if match := YEARS.fullmatch(name):
        ending, numbers = _ending(at, int(match[1])), [int(match[1])]
        for place, (part, pattern) in enumerate(zip(parts[at + 1 :], BELOW_YEARS, strict=False), at + 1):
            more = pattern.fullmatch(part)
            numbers.append(int(more[1]) if more else 0)
            if (longer := _ending(place, *numbers)) is None:
                break
            ending = longer
        return ending
    return None


def _ending(last: int, *numbers: int) -> tuple[int, int] | None:
    """The place of the last part of a date, and its end; None if there is no such year, month or day."""
    year, month, day = (*numbers, *(1, 1))[:3]
    try:
        start = date(year, month, day)
        if len(numbers) == 3:
            end = start + timedelta(days=1)
        elif len(numbers) == 2:
            end = date(year + month // 12, month % 12 + 1, 1)
        else:
            end = date(year + 1, 1, 1)
    except (ValueError, OverflowError):
        return None
    return last, (end - date(1970, 1, 1)).days * DAY
