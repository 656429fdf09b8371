"""The files of both logs, as discovered and as the table `inputs` remembers them: columns, and objects where needed.

There may be a file an hour and a log for years of them, and every run looks at all. So what is asked of all is asked
of Arrow's columns, and an object is made of a file only where somebody looks at that one. Limit: a log whose files
take turns in the types of their columns is compared file by file.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Instants, Interval
from sli.engine.arrow import Flags, Rows, flags, floats, integer_column, integers, text_bytes, text_column
from sli.errors import SliError
from sli.schemas import INPUTS

Columns = tuple[tuple[str, str], ...]
"""Names and types."""


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
    def usable(self) -> bool:
        return not self.problem

    def set_aside(self, check: str, explanation: str) -> LogFile:
        """The same, for this reason not used."""
        return self._replace(problem=check, explanation=explanation)

    @property
    def intervals(self) -> list[Interval]:
        """The stretches of time the file has rows in."""
        return [Interval(first, last + 1) for first, last in self.ranges] if self.usable else []

    def meets(self, span: Interval) -> bool:
        """Whether the file has rows in a stretch of time, as far as its footer tells."""
        return self.usable and any(first < span.end and last >= span.start for first, last in self.ranges)

    @property
    def types(self) -> dict[str, str]:
        """Type of each needed column; `hive` for one that is part of the path."""
        return dict(self.columns)


class Problem(NamedTuple):
    """Why a file is set aside: the name of the check that the audit has, and what is the matter with this file."""

    check: str
    explanation: str


class UnreadableFiles(SliError):
    """Files that turned out unreadable beyond their footer."""

    def __init__(self, what: str, files: Mapping[str, Problem] | None = None) -> None:
        super().__init__(what)
        self.files = dict(files or {})


class Ranges(NamedTuple):
    """The groups of rows of usable files: the place of their file, their first and their last instant."""

    file: Rows
    first: Instants
    last: Instants


class Kinds(NamedTuple):
    """The different `columns` that files have, and for each file which of them."""

    of: Rows
    every: list[Columns]


@dataclass(frozen=True)
class Files:
    """Files of one log or of both, one a row of the table `inputs`, in the order of the rows."""

    rows: pa.RecordBatch

    @staticmethod
    def of(files: Iterable[LogFile]) -> Files:
        values: dict[str, Any] = dict(zip(LogFile._fields, zip(*files, strict=True), strict=False))
        if not values:
            return Files(_NONE)
        values["ranges"] = [list(itertools.chain.from_iterable(each)) for each in values["ranges"]]
        return Files(pa.record_batch([pa.array(values[each.name], each.type) for each in INPUTS], schema=INPUTS))

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def __iter__(self) -> Iterator[LogFile]:
        return iter(self._objects)

    @cached_property
    def _objects(self) -> list[LogFile]:
        # Column by column: row by row it would take many times as long.
        columns: dict[str, Any] = {name: self.rows.column(name).to_pylist() for name in LogFile._fields[:-1]}
        columns["ranges"] = [tuple(zip(each[::2], each[1::2], strict=True)) for each in columns["ranges"]]
        kinds = self.kinds
        return list(map(LogFile, *columns.values(), (kinds.every[each] for each in kinds.of)))

    def take(self, chosen: Flags | Rows) -> Files:
        """Those at these places, or flagged."""
        places: Rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        if (np.diff(places) == 1).all():
            # Nothing is copied where they lie side by side, as those of a log do.
            return Files(self.rows.slice(int(places[0]) if len(places) else 0, len(places)))
        return Files(self.rows.take(integer_column(places)))

    def with_more(self, more: Files) -> Files:
        """These, and others after them."""
        return Files(pa.concat_batches([self.rows, more.rows]))

    def with_replaced(self, places: Rows, files: Iterable[LogFile]) -> Files:
        """The same, but for others at these places."""
        order = np.arange(len(self))
        order[places] = len(self) + np.arange(len(places))
        return self.with_more(Files.of(files)).take(order)

    @property
    def paths(self) -> list[str]:
        """Where they lie."""
        found: list[str] = self.rows.column("path").to_pylist()
        return found

    @cached_property
    def usable(self) -> Flags:
        """Which are not set aside."""
        usable: Flags = integers(pc.binary_length(self.rows.column("problem"))) == 0
        return usable

    @property
    def first_usable(self) -> LogFile | None:
        """The first that is not set aside."""
        return next(iter(self.take(np.flatnonzero(self.usable)[:1])), None)

    @property
    def told_of(self) -> Files:
        """Those set aside, or with rows of no time."""
        return self.take(~self.usable | (integers(self.rows.column("null_times")) > 0))

    @cached_property
    def ranges(self) -> Ranges:
        """When the usable ones have rows."""
        instants = integers(self.rows.column("ranges").flatten())
        counts = integers(pc.list_value_length(self.rows.column("ranges"))) // 2
        file = np.repeat(np.arange(len(self)), counts)
        mine = self.usable[file]
        return Ranges(file[mine], instants[::2][mine], instants[1::2][mine])

    @property
    def column_bytes(self) -> npt.NDArray[np.float64]:
        """Compressed bytes of the needed columns of each."""
        return floats(self.rows.column("row_bytes")) * integers(self.rows.column("rows"))

    @property
    def span(self) -> Interval | None:
        """From the first to the last instant of their rows, or None where they hold no time."""
        _, first, last = self.ranges
        return Interval(int(first.min()), int(last.max()) + 1) if len(first) else None

    def meeting(self, span: Interval) -> Rows:
        """Places of those that meet a stretch of time."""
        file, first, last = self.ranges
        found: Rows = np.unique(file[(first < span.end) & (last >= span.start)])
        return found

    @cached_property
    def kinds(self) -> Kinds:
        """The different `columns` of all these files."""
        maps = self.rows.column("columns")
        starts = integers(maps.offsets)
        held = (each.slice(starts[0], starts[-1] - starts[0]) for each in (maps.keys, maps.items))
        names, types = (integers(each.dictionary_encode().indices) for each in held)
        starts = starts - starts[0]
        lengths = np.diff(starts)
        changes = lengths[1:] != lengths[:-1]
        # Neighbours mostly are of one kind: only where they differ a kind is made, to be compared with all others.
        for place in range(int(lengths.max(initial=0))):
            there = np.flatnonzero((lengths[1:] > place) & ~changes)
            here, before = starts[1:-1][there] + place, starts[:-2][there] + place
            changes[there] |= (names[here] != names[before]) | (types[here] != types[before])
        firsts = np.flatnonzero(np.concatenate([[len(self) > 0], changes]))
        known: dict[Columns, int] = {}
        found = [known.setdefault(tuple(each), len(known)) for each in maps.take(integer_column(firsts)).to_pylist()]
        ends = np.append(firsts[1:], len(self))
        return Kinds(np.repeat(np.array(found, np.int64), ends - firsts), list(known))

    def places(self, paths: pa.Array) -> Rows:
        """Where the files of these paths are among these, -1 where they are not."""
        found = pc.index_in(paths, value_set=self.rows.column("path"))
        places: Rows = np.full(len(paths), -1)
        places[flags(found.is_valid())] = integers(found.drop_null())
        return places

    def as_in(self, others: Files, *columns: str) -> Flags:
        """Which are among others of one log, with the same in these columns."""
        places = others.places(self.rows.column("path"))
        found: Flags = places >= 0
        for name in columns:
            found &= others.same(places, name, self.rows.column(name))
        return found

    def same(self, places: Rows, name: str, values: pa.Array) -> Flags:
        """Which of these places hold the given value in a column."""
        found = np.flatnonzero(places >= 0)
        held = self.rows.column(name).take(integer_column(places[found]))
        same: Flags = np.zeros(len(places), bool)
        same[found] = flags(pc.equal(held, values.take(integer_column(found))))
        return same

    def of_log(self, log: str) -> Files:
        return self.take(flags(pc.is_in(self.rows.column("log"), value_set=text_column([log]))))


_NONE = pa.record_batch([pa.nulls(0, each.type) for each in INPUTS], schema=INPUTS)


@dataclass(frozen=True)
class Inputs:
    """Everything discovered, each log's files in the order of their paths."""

    predictions: Files
    feedback: Files

    @staticmethod
    def of(files: Iterable[LogFile]) -> Inputs:
        return Inputs._of(Files.of(files))

    @staticmethod
    def of_rows(rows: pa.Table) -> Inputs:
        """From the table `inputs`."""
        return Inputs._of(Files(pa.concat_batches([_NONE, *rows.select(INPUTS.names).cast(INPUTS).to_batches()])))

    @staticmethod
    def _of(both: Files) -> Inputs:
        return Inputs(both.of_log("predictions"), both.of_log("feedback"))

    @property
    def logs(self) -> tuple[Files, Files]:
        return self.predictions, self.feedback

    @cached_property
    def files(self) -> Files:
        """The files of both logs."""
        return self.predictions.with_more(self.feedback)

    def beside(self, seen: Inputs) -> Files | None:
        """The files that came to those seen, or None where one of these is gone, or another now."""
        more = []
        for files, before in zip(self.logs, seen.logs, strict=True):
            places = files.places(before.rows.column("path"))
            if (places < 0).any() or files.take(places) != before:
                return None
            more.append(files.take(~files.as_in(before)))
        return more[0].with_more(more[1])

    @property
    def digest(self) -> str:
        """Tells which files there are, by their paths, fingerprints and problems."""
        told = hashlib.sha256()
        for name in ("log", "path", "fingerprint", "problem"):
            column = self.files.rows.column(name)
            told.update(integers(pc.binary_length(column)).tobytes())
            told.update(text_bytes(column))
        return told.hexdigest()

    def without(self, broken: Mapping[str, Problem]) -> Inputs:
        """The same with files set aside that turned out unreadable beyond their footer."""
        if not broken:
            return self
        return Inputs(*(_set_aside(files, broken) for files in self.logs))


def _set_aside(files: Files, broken: Mapping[str, Problem]) -> Files:
    places = files.places(text_column([*broken]))
    places = places[places >= 0]
    marked = (each.set_aside(*broken[each.path]) for each in files.take(places))
    return files.with_replaced(places, marked)
