"""The files of both logs, as discovered and as the table `inputs` keeps them: one row for each file.

Years of hourly files are many. So questions about all files are answered from Arrow columns, and only single files
become objects. Limit: if neighbouring files often differ in the types of their columns,
the types are compared file by file.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.lib import concat_batches  # the stubs of `pyarrow` itself lack it

from sli.calendar.interval import BEGINNING, Instants, Interval
from sli.engine.arrow import (
    Column,
    Flags,
    Integers,
    Rows,
    flags,
    floats,
    integer_column,
    integers,
    text_bytes,
    text_column,
)
from sli.errors import SliError
from sli.schemas import FILES

Columns = tuple[tuple[str, str], ...]
"""Name and type of each column."""


NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
"""The value in the name of a folder that stands for null."""
FOLDER_COLUMN, SEPARATOR = re.compile(r"([^=?\n]+)=([^=?\n]*)"), re.compile(r"[/\\]")
"""Names of folders that are columns, and what parts a path: exactly as DuckDB has them, which reads the values."""


def folders_of(path: str) -> dict[str, str | None]:
    """The values of the columns of the folders in a path, without the escapes of writers; None for null.

    >>> folders_of("logs/day=2026-01-01/site=north%20west/shop=__HIVE_DEFAULT_PARTITION__/part-0.parquet")
    {'day': '2026-01-01', 'site': 'north west', 'shop': None}
    """
    pairs = (found.groups() for found in map(FOLDER_COLUMN.fullmatch, SEPARATOR.split(path)[:-1]) if found)
    return {name: None if value == NULL_FOLDER else unquote(value) if "%" in value else value for name, value in pairs}


class LogFile(NamedTuple):
    """One file of a log. `ranges`: first and last instant of each group of rows; a `problem` sets the file aside."""

    log: str
    path: str
    fingerprint: str
    bytes: int
    rows: int = 0
    problem: str = ""
    explanation: str = ""
    ranges: tuple[tuple[int, int], ...] = ()
    row_bytes: float = 0.0
    null_times: int = 0
    columns: Columns = ()

    @property
    def side(self) -> str:
        """`predictions` or `feedback`, also for a file of one of several feedback logs."""
        return self.log.partition(" ")[0]

    @property
    def usable(self) -> bool:
        return not self.problem

    def set_aside(self, check: str, explanation: str) -> LogFile:
        """The file with the reason why it is not used."""
        return self._replace(problem=check, explanation=explanation)

    @property
    def intervals(self) -> list[Interval]:
        """The stretches of time in which the file has rows."""
        return [Interval(first, last + 1) for first, last in self.ranges] if self.usable else []

    def meets(self, span: Interval) -> bool:
        """Whether the file has rows in this stretch of time, according to its footer."""
        return self.usable and any(first < span.end and last >= span.start for first, last in self.ranges)

    @property
    def folders(self) -> dict[str, str | None]:
        """The values of the columns of the folders that the file lies in, for example `12` for `hour=12/`."""
        return folders_of(self.path)

    def stored(self, names: Collection[str]) -> frozenset[str]:
        """The columns of the file of these names, which SQL may write in another case."""
        lower = {name.lower() for name in names}
        return frozenset(name for name, kind in self.columns if kind not in ("", "hive") and name.lower() in lower)

    @property
    def types(self) -> dict[str, str]:
        """Stored type of each needed field and column (see `logs.fields`); `hive` for one that is part of the path."""
        return dict(self.columns)


class Problem(NamedTuple):
    """Why a file is set aside: the name of the check as in the audit, and what is wrong with this file."""

    check: str
    explanation: str


class UnreadableFiles(SliError):
    """Raised for files whose footers can be read but not their rows. `files`: the problem of each path."""

    def __init__(self, what: str, files: Mapping[str, Problem] | None = None) -> None:
        super().__init__(what)
        self.files = dict(files or {})


class Ranges(NamedTuple):
    """The groups of rows of usable files, one an element: position of the file, first and last instant."""

    file: Rows
    first: Instants
    last: Instants


class Kinds(NamedTuple):
    """The different `columns` that files have: file i has `all[of_file[i]]`."""

    of_file: Rows
    all: list[Columns]


@dataclass(frozen=True)
class Files:
    """Files of one log or of both, one a row of the table `inputs`, in the order of the rows."""

    rows: pa.RecordBatch

    @staticmethod
    def of(files: Iterable[LogFile]) -> Files:
        files = list(files)
        values: dict[str, Sequence[object]] = dict(zip(LogFile._fields, zip(*files, strict=True), strict=False))
        if not values:
            return Files(_NONE)
        values["ranges"] = [list(itertools.chain.from_iterable(file.ranges)) for file in files]
        return Files(pa.record_batch([pa.array(values[field.name], field.type) for field in FILES], schema=FILES))

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def __iter__(self) -> Iterator[LogFile]:
        return iter(self._files)

    @cached_property
    def _files(self) -> list[LogFile]:
        # Column by column: row by row takes many times as long.
        columns: dict[str, list[Any]] = {name: self.rows.column(name).to_pylist() for name in LogFile._fields[:-1]}
        columns["ranges"] = [tuple(zip(ends[::2], ends[1::2], strict=True)) for ends in columns["ranges"]]
        kinds = self.kinds
        return list(map(LogFile, *columns.values(), (kinds.all[kind] for kind in kinds.of_file)))

    def take(self, selection: Flags | Rows) -> Files:
        """The files at these positions, or with these flags."""
        places: Rows = np.flatnonzero(selection) if selection.dtype == bool else selection.astype(np.int64)
        if (np.diff(places) == 1).all():
            # A slice copies nothing: most selections are neighbours, as the files of one log are.
            return Files(self.rows.slice(int(places[0]) if len(places) else 0, len(places)))
        return Files(self.rows.take(integer_column(places)))

    def with_more(self, more: Files) -> Files:
        """These files, then the others."""
        return Files(concat_batches([self.rows, more.rows]))

    @property
    def by_path(self) -> Files:
        """The same in the order of their paths."""
        return self.take(integers(pc.sort_indices(self.rows.column("path"))))

    def replace_at(self, places: Rows, files: Iterable[LogFile]) -> Files:
        """The same files with others at these positions."""
        order = np.arange(len(self))
        order[places] = len(self) + np.arange(len(places))
        return self.with_more(Files.of(files)).take(order)

    @property
    def paths(self) -> list[str]:
        return [str(path) for path in self.rows.column("path").to_pylist()]

    @cached_property
    def usable(self) -> Flags:
        """Which files are not set aside."""
        return np.equal(_text_lengths(self.rows.column("problem")), 0)

    @property
    def first_usable(self) -> LogFile | None:
        """The first file that is not set aside."""
        return next(iter(self.take(np.flatnonzero(self.usable)[:1])), None)

    @property
    def audited(self) -> Files:
        """The files that the audit names: they are set aside, or have rows whose time is null."""
        return self.take(~self.usable | (integers(self.rows.column("null_times")) > 0))

    @cached_property
    def ranges(self) -> Ranges:
        """When the usable files have rows."""
        ranges = self.rows.column("ranges")
        assert isinstance(ranges, pa.ListArray)
        instants = integers(ranges.flatten())
        file = np.repeat(np.arange(len(self)), integers(ranges.value_lengths()) // 2)
        of_usable = self.usable[file]
        return Ranges(file[of_usable], instants[::2][of_usable], instants[1::2][of_usable])

    @property
    def row_count(self) -> int:
        """How many rows these files have."""
        return int(integers(self.rows.column("rows")).sum())

    @property
    def column_bytes(self) -> npt.NDArray[np.float64]:
        """Compressed bytes of the needed columns of each file."""
        return floats(self.rows.column("row_bytes")) * integers(self.rows.column("rows"))

    @property
    def span(self) -> Interval | None:
        """From the first to the last instant of the rows of usable files; None if there are none."""
        _, first, last = self.ranges
        return Interval(int(first.min()), int(last.max()) + 1) if len(first) else None

    def meeting(self, span: Interval) -> Rows:
        """Positions of the files that have rows in a stretch of time."""
        file, first, last = self.ranges
        return np.unique(file[(first < span.end) & (last >= span.start)])

    @cached_property
    def kinds(self) -> Kinds:
        """The different `columns` of these files."""
        maps = self.rows.column("columns")
        assert isinstance(maps, pa.MapArray)
        starts = integers(maps.offsets)
        entries = (part.slice(starts[0], starts[-1] - starts[0]) for part in (maps.keys, maps.items))
        names, types = (integers(part.dictionary_encode().indices) for part in entries)
        starts = starts - starts[0]
        lengths = np.diff(starts)
        # Mostly a file has the columns of the file before it. Only where it differs they become a tuple, which is
        # compared with all others.
        changes = lengths[1:] != lengths[:-1]
        for place in range(int(lengths.max(initial=0))):
            there = np.flatnonzero((lengths[1:] > place) & ~changes)
            here, before = starts[1:-1][there] + place, starts[:-2][there] + place
            changes[there] |= (names[here] != names[before]) | (types[here] != types[before])
        firsts = np.flatnonzero(np.concatenate([[len(self) > 0], changes]))
        known: dict[Columns, int] = {}
        different: Column = maps.take(integer_column(firsts))
        kinds = [known.setdefault(tuple(pairs or ()), len(known)) for pairs in different.to_pylist()]
        ends = np.append(firsts[1:], len(self))
        return Kinds(np.repeat(np.array(kinds, np.int64), ends - firsts), list(known))

    def places(self, paths: Column) -> Rows:
        """For each path the position of its file among these, -1 if there is none."""
        indices = pc.index_in(paths, value_set=self.rows.column("path"))
        places: Rows = np.full(len(paths), -1)
        places[flags(indices.is_valid())] = integers(indices.drop_null())
        return places

    def found_in(self, others: Files, *columns: str) -> Flags:
        """Which of these files are among others of the same log, with equal values in these columns."""
        places = others.places(self.rows.column("path"))
        same: Flags = places >= 0
        for name in columns:
            same &= others.equal_at(places, name, self.rows.column(name))
        return same

    def equal_at(self, places: Rows, name: str, values: Column) -> Flags:
        """For each position whether the file there has the given value in a column; False at position -1."""
        present = np.flatnonzero(places >= 0)
        own = self.rows.column(name).take(integer_column(places[present]))
        equal: Flags = np.zeros(len(places), bool)
        equal[present] = flags(pc.equal(own, values.take(integer_column(present))))
        return equal

    @property
    def digest(self) -> str:
        """A hash of the paths, fingerprints and problems of all files."""
        digest = hashlib.sha256()
        for name in ("log", "path", "fingerprint", "problem"):
            column = self.rows.column(name)
            digest.update(_text_lengths(column).astype(np.int64).tobytes())
            digest.update(text_bytes(column))
        return digest.hexdigest()

    def of_logs(self, names: Sequence[str]) -> Files:
        """The files of the logs of these names."""
        return self.take(flags(pc.is_in(self.rows.column("log"), value_set=text_column(names))))


def _text_lengths(column: Column) -> Integers:
    """The bytes of each text of a column."""
    assert isinstance(column, pa.StringArray)
    return integers(pc.binary_length(column))


_NONE = pa.record_batch([pa.nulls(0, field.type) for field in FILES], schema=FILES)


@dataclass(frozen=True)
class Inputs:
    """All files of both logs, of each log in the order of their paths."""

    predictions: Files
    feedback: Files
    tables: tuple[str, ...] = field(default=(), compare=False)
    """The tables that name the files, for example `predictions: Delta table, version 12, 34 files`."""
    since: int = BEGINNING
    """Files that do not matter from this week on (see `dated`) may be missing."""

    @staticmethod
    def of(files: Iterable[LogFile]) -> Inputs:
        return Inputs._of(Files.of(files))

    @staticmethod
    def of_rows(rows: pa.Table) -> Inputs:
        """The files in rows of the table `inputs`."""
        return Inputs._of(Files(concat_batches([_NONE, *rows.select(FILES.names).cast(FILES).to_batches()])))

    @staticmethod
    def _of(both: Files) -> Inputs:
        predictions = flags(pc.is_in(both.rows.column("log"), value_set=text_column(["predictions"])))
        return Inputs(both.take(predictions), both.take(~predictions))

    @property
    def logs(self) -> tuple[Files, Files]:
        return self.predictions, self.feedback

    @cached_property
    def files(self) -> Files:
        """The files of both logs."""
        return self.predictions.with_more(self.feedback)

    def without(self, problems: Mapping[str, Problem]) -> Inputs:
        """The same inputs with files set aside whose rows turned out unreadable: the problem of each path."""
        if not problems:
            return self
        predictions, feedback = (_set_aside(files, problems) for files in self.logs)
        return replace(self, predictions=predictions, feedback=feedback)


def _set_aside(files: Files, problems: Mapping[str, Problem]) -> Files:
    places = files.places(text_column([*problems]))
    places = places[places >= 0]
    return files.replace_at(places, (file.set_aside(*problems[file.path]) for file in files.take(places)))
