"""The family of states that are lists of elements: histograms, groups, distinct values and samples.

DuckDB finds the elements of pairs, one row each and in any order; NumPy merges them to lists in order, which takes a
fifth of the time. Limit: the elements of all rows that are read together are in memory at once.
"""

from __future__ import annotations

import functools
import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sli.engine.arrow import Column, concat_columns, integer_column, list_column
from sli.engine.connection import batches_of
from sli.slis.kinds.parts import ARROW, WORKED
from sli.slis.states import (
    CannotAmend,
    Flags,
    Floats,
    Integers,
    State,
    Structure,
    integers,
    rows_at,
    rows_between,
    totals_by,
)

if TYPE_CHECKING:
    import duckdb

Elements: TypeAlias = "Mapping[str, Column]"
"""The columns of the elements of many lists, laid end to end."""


class Lists(NamedTuple):
    """Many lists, laid end to end: list i has the elements `offsets[i]` up to `offsets[i + 1]`."""

    offsets: Integers
    elements: Elements

    def part(self, first: int, last: int) -> Lists:
        """The lists from `first` up to, but not including, `last`."""
        offsets, inside = rows_between(self.offsets, first, last)
        return Lists(offsets, {name: column[inside] for name, column in self.elements.items()})


def laid_end_to_end(parts: Sequence[Lists]) -> Lists:
    """All lists of all parts."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Lists(np.concatenate([*offsets, ends[-1:]]), concat_columns([part.elements for part in parts]))


def interleaved(some: Lists, others: Lists, which: Flags) -> Lists:
    """Lists of which the flags say whether each is the next one of `some` or of the `others`."""
    edges = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), len(which)]
    before_some, before_others = (np.concatenate([[0], np.cumsum(flags)]) for flags in (which, ~which))
    parts = []
    for first, last in itertools.pairwise(edges):
        source, before = (some, before_some) if which[first] else (others, before_others)
        parts.append(source.part(int(before[first]), int(before[last])))
    return laid_end_to_end(parts)


READ = 1 << 19
"""Elements are merged as soon as so many are read."""
SIGNS = {"stored": 1, "before": -1, "after": 1}
"""The tables of an update, and whether it adds or subtracts them."""


@dataclass(frozen=True)
class ListState(State):
    """A state that is a list of elements."""

    fields: ClassVar[Mapping[str, str]]
    """The SQL type of each field of an element, as it is stored; an element of one field is no struct."""
    keyed: ClassVar[bool] = False
    """Whether the elements of a list are different keys with their counts: then an SLI sees `Keyed`."""
    shares: ClassVar[bool] = False
    """Whether its `merge_shared` is faster than to merge the elements of each list anew for each row."""
    element_bytes: ClassVar[int]
    """About how many bytes an element takes, with its copies, while it is merged and read."""
    most_elements: ClassVar[int]
    """At most, or at most usually, how many elements a list has."""

    @property
    def type(self) -> pa.DataType:
        types = {name: ARROW[sql] for name, sql in self.fields.items()}
        return pa.list_(pa.struct(types.items()) if len(types) > 1 else next(iter(types.values())))

    @property
    def bytes_of_element(self) -> int:
        """About how many bytes an element of this state takes."""
        return self.element_bytes

    @property
    def nothing(self) -> Elements:
        """No elements."""
        return {name: pa.array([], ARROW[sql]) for name, sql in self.fields.items()}

    @property
    @abstractmethod
    def values(self) -> str:
        """SQL of the columns of a pair that `collected` needs."""

    @property
    def present(self) -> str:
        """SQL condition for the pairs that have a value."""
        return f"({self.where}) AND ({self.of}) IS NOT NULL"

    @property
    def grouped(self) -> str:
        """SQL of aggregates of the `values` of the same tile, slice and `key`, if pairs are grouped before they are
        collected; else empty."""
        return ""

    @abstractmethod
    def collected(self, source: str) -> str:
        """SQL of elements to be merged: one row an element, its cell and then its fields.

        `source` joins pairs, or what they are `grouped` to (alias v), with their cells (alias c). A cell is a tile and
        a slice; it has columns `cell` and `predictions`.
        """

    @abstractmethod
    def merge(self, owner: Integers, rows: int, elements: Elements) -> Lists:
        """Merge lists: element i belongs to row `owner[i]` of `rows` rows; each row gets one list, in order."""

    def merge_shared(self, lists: Lists, owner: Integers, at: Integers, rows: int) -> Lists:
        """As `merge`, from lists that belong to several rows each: row `owner[i]`, ascending, has list `at[i]`."""
        offsets, elements = rows_at(lists.offsets, at)
        taken = {name: column.take(integer_column(elements)) for name, column in lists.elements.items()}
        return self.merge(np.repeat(owner, np.diff(offsets)), rows, taken)

    def column(self, elements: duckdb.DuckDBPyRelation, owner: str, rows: int) -> Column:
        """A column of `rows` lists, merged from elements in any order; `owner` has the number of the list of each.

        What is merged never has more than twice as many elements as the lists, or a few times READ.
        """
        merged, waiting, more = Lists(np.zeros(rows + 1, dtype=np.int64), self.nothing), [], 0
        for batch in batches_of(elements, READ):
            waiting.append(batch)
            more += len(batch)
            if more >= max(READ, merged.offsets[-1]):
                merged, waiting, more = self._with(merged, waiting, owner), [], 0
        return list_column(*(self._with(merged, waiting, owner) if more else merged), self.type)

    def _with(self, lists: Lists, batches: Sequence[pa.RecordBatch], owner: str) -> Lists:
        """The lists merged with more elements."""
        rows, parts = len(lists.offsets) - 1, [lists.elements] if lists.offsets[-1] else []
        parts += [{name: batch.column(name) for name in self.fields} for batch in batches]
        of_elements = [owners(lists), *(integers(batch.column(owner)) for batch in batches)]
        return self.merge(np.concatenate(of_elements), rows, concat_columns(parts))

    @abstractmethod
    def updated(self, sides: Mapping[str, Lists], rows: int) -> Lists:
        """The lists of `rows` rows after an update, which adds or subtracts those of the `sides`, as SIGNS says.

        Raises CannotAmend.
        """

    @abstractmethod
    def read(self, offsets: Integers, elements: Elements) -> Structure:
        """What an SLI sees of lists laid end to end: list i has elements `offsets[i]` up to `offsets[i + 1]`."""

    @property
    def trial(self) -> str:
        return f"SELECT {self.values} FROM pairs WHERE {self.where}"

    @property
    def unnested(self) -> str:
        """SQL of the fields of an element `x`, in the types in which they are worked on."""
        single = len(self.fields) == 1
        return ", ".join(
            f"{'x' if single else f'x.{name}'}::{WORKED.get(sql, sql)} AS {name}" for name, sql in self.fields.items()
        )

    @property
    def names(self) -> str:
        return ", ".join(self.fields)


def owners(lists: Lists) -> Integers:
    """The number of the list of each element."""
    return np.repeat(np.arange(len(lists.offsets) - 1), np.diff(lists.offsets))


def end_to_end(sides: Mapping[str, Lists]) -> tuple[Integers, Integers, dict[str, Column]]:
    """The elements of an update, side after side: the number of the list of each, its sign (SIGNS), and its fields."""
    owner = [owners(lists) for lists in sides.values()]
    sign = np.repeat([SIGNS[side] for side in sides], [len(of_side) for of_side in owner])
    return np.concatenate(owner), sign, concat_columns([lists.elements for lists in sides.values()])


def check_none(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise CannotAmend if a query finds a row."""
    if con.execute(f"SELECT count(*) FROM ({sql})").fetchall()[0][0]:
        raise CannotAmend


def most_kept(most: int) -> str:
    """SQL of how many of the smallest values a cell keeps: at most as many as it has, since DuckDB reserves memory."""
    return f"least({most}, c.predictions)"


def in_order(owner: Integers, *keys: npt.NDArray[Any]) -> Integers:
    """The positions of elements by owner and then by their keys, the first key first; else in the order they have."""
    # Few owners fit 16 bits, which NumPy sorts without comparing.
    narrow = owner.astype(np.uint16) if owner.max(initial=0) < 1 << 16 else owner
    if not keys:
        return np.argsort(narrow, kind="stable")
    order = np.argsort(keys[-1], kind="stable" if len(keys) > 1 else None)
    for key in (*reversed(keys[:-1]), narrow):
        order = order[np.argsort(key[order], kind="stable")]
    return order


def first_of_equal(owner: Integers, key: npt.NDArray[Any]) -> Flags:
    """Which elements, in order, have another owner or key than the one before them. A NaN equals itself."""
    first = np.ones(len(owner), dtype=bool)
    other = key[1:] != key[:-1]
    if key.dtype.kind == "f":
        other &= ~(np.isnan(key[1:]) & np.isnan(key[:-1]))
    first[1:] = (owner[1:] != owner[:-1]) | other
    return first


def ranks(owner: Integers, rows: int) -> tuple[Integers, Integers]:
    """The offsets of each of `rows` owners among ascending owners, and the place of each element in its list."""
    offsets = np.searchsorted(owner, np.arange(rows + 1))
    return offsets, np.arange(len(owner)) - offsets[owner]


def doubles(column: Column) -> Floats:
    """A column of numbers as an array; null is NaN."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


@dataclass(frozen=True)
class Keyed:
    """For each of n rows a map from key to count, in flat arrays.

    Row i has the keys `keys[offsets[i]:offsets[i + 1]]`, ascending, each once, and their `counts`.
    """

    per_key: ClassVar[tuple[str, ...]]
    """The arrays that have an element a key."""

    offsets: Integers
    keys: npt.NDArray[Any]
    counts: Integers

    # Several SLIs read one state: the properties that they share are computed once.

    @functools.cached_property
    def rows(self) -> Integers:
        """The row each key belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @functools.cached_property
    def totals(self) -> Integers:
        """Number of values in each row."""
        return totals_by(self.offsets, self.counts)

    def take(self, rows: Integers) -> Self:
        """These rows in this order; -1 is an empty row."""
        return self._elements(*rows_at(self.offsets, rows))

    def between(self, first: int, last: int) -> Self:
        """The rows from `first` up to, but not including, `last`."""
        return self._elements(*rows_between(self.offsets, first, last))

    def _elements(self, offsets: Integers, at: Integers | slice) -> Self:
        """Rows with these elements."""
        return replace(self, offsets=offsets, **{name: getattr(self, name)[at] for name in self.per_key})
