"""The week until which the files of a folder that is named by a date may matter: no row there is later.

So a run that needs no rows from before some week lists and compares only the folders of that week and later ones.
Limit: files outside of such folders have no week, and always matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import DAY
from sli.calendar.interval import BEGINNING, END, Instants, moment
from sli.config.model import Config
from sli.engine.arrow import Flags, Rows, integers
from sli.logs.files import Files
from sli.logs.folder_dates import Dated, FolderDates, Older

WEEK = 7 * DAY
EVERY_RUN = END
"""The week of files that always matter."""


@dataclass(frozen=True)
class DatedFolders:
    """The folders of some logs that are named by dates."""

    dates: FolderDates

    @staticmethod
    def of(config: Config) -> DatedFolders:
        """Those of the logs of a config."""
        return DatedFolders(FolderDates.of_paths(path for source in config.sources.values() for path in source.path))

    def weeks(self, files: Files) -> Instants:
        """The start of the week until which each file may matter: that of its folder's date or of the last row there.

        EVERY_RUN if it does not lie in a dated folder.
        """
        folders = self._folders(files)
        return folders.weeks[folders.of_file]

    def older(self, files: Files, since: int) -> Older:
        """The folders that a run need not list if only rows from a week on matter. `files` are those it knows."""
        folders = self._folders(files)
        dated = zip(folders.dated, (folders.weeks >= since).tolist(), strict=True)
        later = frozenset(one.path for one, matters in dated if one and matters and one.end < since)
        return Older(self.dates, since, later)

    def _folders(self, files: Files) -> _Folders:
        names, in_folder = _folder_names(files)
        numbers: dict[Dated | None, int] = {}
        of_folder = np.array([numbers.setdefault(self.dates.around(name), len(numbers)) for name in names], np.int64)
        of_file = of_folder[in_folder]
        last = np.array([dated.end if dated else BEGINNING for dated in numbers], np.int64)
        ranges = files.ranges
        np.maximum.at(last, of_file[ranges.file], ranges.last)
        undated = np.array([dated is None for dated in numbers], bool)
        weeks = np.where(undated, EVERY_RUN, np.maximum(BEGINNING, last // WEEK * WEEK))
        return _Folders(list(numbers), weeks, of_file)


class _Folders(NamedTuple):
    """The dated folders of some files, None for the files in no such folder."""

    dated: list[Dated | None]
    weeks: Instants
    """The week of each."""
    of_file: Rows
    """The number of the folder of each file."""


def lie_in(older: Older, files: Files) -> Flags:
    """Which files lie in older folders."""
    names, in_folder = _folder_names(files)
    return np.array([older.holds(name) for name in names], bool)[in_folder]


def week_of(instant: int) -> int:
    """The start of the week that holds an instant."""
    return max(BEGINNING, instant // WEEK * WEEK)


def week_text(week: int) -> str:
    """The name of a week: its first day. That of EVERY_RUN comes after all others."""
    return "always" if week >= EVERY_RUN else moment(week).date().isoformat()


def _folder_names(files: Files) -> tuple[list[str], Rows]:
    """The folders that files lie in, and the number of that of each file: folders are fewer than files."""
    encoded = pc.replace_substring_regex(files.rows.column("path"), "/[^/]*$", "").dictionary_encode()
    assert isinstance(encoded, pa.DictionaryArray)
    return [str(name) for name in encoded.dictionary.to_pylist()], integers(encoded.indices).astype(np.int64)
