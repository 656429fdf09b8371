"""The family of states that are lists of elements: histograms, groups, distinct values and samples.

While tiles are merged or updated each element is a row, so DuckDB works on lists with a GROUP BY; in a stored tile they
are lists in a fixed order. Limit: the elements of all rows that are read together are in memory at once.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sli.engine.arrow import ChunkedColumn, Column
from sli.slis.kinds.parts import ARROW, WORKED, Part
from sli.slis.states import CannotAmend, Floats, Integers, State, Structure, rows_at, rows_between, totals_by

if TYPE_CHECKING:
    import duckdb

Elements: TypeAlias = "Mapping[str, Column | ChunkedColumn]"
"""The columns of the elements of many lists, laid end to end."""
SIGNS = {"stored": 1, "before": -1, "after": 1}
"""The tables of an update, and whether it adds or subtracts them."""


@dataclass(frozen=True)
class ListState(State):
    """A state that is a list of elements."""

    fields: ClassVar[Mapping[str, str]]
    """The SQL type of each field of an element, as it is stored; an element of one field is no struct."""
    order: ClassVar[str]
    """The order of the elements of a list."""
    keyed: ClassVar[bool] = False
    """Whether the elements of a list are different keys with their counts: then an SLI sees `Keyed`."""
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
    def size(self) -> Part | None:
        """The number of values of a list, in column `n_<id>` of the cells that it is collected in, if it decides how
        they are collected."""
        return None

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
        """SQL of elements: one row an element, its cell and then its fields.

        `source` joins pairs, or what they are `grouped` to (alias v), with their cells (alias c). A cell is a tile and
        a slice; it has columns `cell` and `predictions`, and `n_<id>` if the state has a `size`.
        """

    @abstractmethod
    def merged(self, source: str, group: str) -> str:
        """SQL that merges the elements in rows of `source` that have the same values in the columns `group`."""

    @abstractmethod
    def updated(self, con: duckdb.DuckDBPyConnection) -> str:
        """SQL of elements after an update: column `row` and then their fields.

        The tables SIGNS have a column with the lists of a tile in each row. Raises CannotAmend.
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

    def signed_elements(self) -> str:
        """SQL of the elements of the three lists (SIGNS) of each tile, each with its sign."""
        lists = (f"(SELECT row, unnest({self.id}) AS x FROM {side})" for side in SIGNS)
        return " UNION ALL ".join(
            f"SELECT row, {sign} AS sign, {side == 'stored'} AS stored, {self.unnested} FROM {elements}"
            for (side, sign), elements in zip(SIGNS.items(), lists, strict=True)
        )


def check_none(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise CannotAmend if a query finds a row."""
    if con.execute(f"SELECT count(*) FROM ({sql})").fetchall()[0][0]:
        raise CannotAmend


def most_kept(most: int) -> str:
    """SQL of how many of the smallest values a cell keeps: at most as many as it has, since DuckDB reserves memory."""
    return f"least({most}, c.predictions)"


def smallest_sql(of: str, number: int) -> str:
    """SQL list of the smallest values of a group."""
    # DuckDB's own min(x, n) reserves room for n values at once, which is too much where a group has few values.
    return f"list_slice(list_sort(list({of})), 1, {number})"


def doubles(column: Column | ChunkedColumn) -> Floats:
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
