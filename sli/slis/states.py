"""States: the aggregates that a tile keeps for SLIs, and what an SLI sees once they are merged.

Merging in any order gives the same bits. Each kind of state is one module in `kinds`. Limit: a state aggregates pairs,
or the queries of a ranking; only a Python function sees all pairs of an hour or a day at once.
"""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sli.engine.sql import quoted

if TYPE_CHECKING:
    from sli.slis.kinds.terms import Reader, Term

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]

Scalar = TypeVar("Scalar", bound=np.generic)

Spread = Literal["real", "probability"]
Unit = Literal["pair", "query"]

VERSION = 2
"""Raise it when the stored form of a state or its meaning changes: it is part of every state's id."""


@dataclass(frozen=True)
class State(ABC):
    """One aggregate over the SQL expression `of`, for the pairs where the SQL condition `where` holds.

    A subclass is a kind of state and has all that is known of it: `sli.slis.kinds.parts` and `sli.slis.kinds.lists`
    have the two families of kinds that merge. What `spread`, `mark`, `amount`, `columns`, `call` and `source` mean, the
    kinds that use them say.

    With unit `query` a count or sum is over the queries of a ranking. `of` and `where` then see `ranked` (the labels by
    descending prediction, ties by ascending label), `ideal` (the labels, descending), `n` (their number) and `complete`
    (every prediction has a value and a label).
    """

    kind: ClassVar[str]
    merges: ClassVar[bool] = True
    """Whether a window's state follows from the states of its parts; else it is computed from all pairs of an hour or a
    day."""
    for_function: ClassVar[bool] = False
    """Whether it exists to call a Python function."""
    resamples: ClassVar[bool] = True
    """Whether its pairs drawn again tell how much it varies: not so where drawing again gives no new value."""

    of: str = ""
    where: str = "true"
    spread: Spread = "real"
    mark: str = ""
    amount: str = ""
    unit: Unit = "pair"
    call: str = ""
    columns: tuple[str, ...] = ()
    source: str = field(default="", repr=False)

    @functools.cached_property
    def id(self) -> str:
        """The name of its column in the tiles. Equal states of several SLIs share one column."""
        sql = [self.kind, self.of, self.where, self.spread, self.mark, self.amount]
        parts = [*sql, self.unit, self.call, *self.columns]
        content = "\x1f".join([str(VERSION), *parts, self.source])
        return f"{self.kind}_{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @property
    @abstractmethod
    def type(self) -> pa.DataType:
        """The Arrow type of its column."""

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[State, ...]:
        """States of this kind over a column of numbers `x`, on which the laws are tested."""

    @property
    def trial(self) -> str:
        """A short query that fails for the same reasons as the SQL of the state."""
        return f"SELECT 1{''.join(f', {quoted(name)}' for name in self.columns)} FROM pairs WHERE {self.where}"

    @property
    @abstractmethod
    def term_sql(self) -> dict[str, str]:
        """SQL of what a pair adds: each column by its name, which begins with the id of the state."""

    @abstractmethod
    def term(self, reader: Reader) -> Term:
        """How the pairs that `reader` has make up the states of windows that they are drawn for."""

    def where_sql(self, value: str) -> str:
        """SQL of a value of the pairs where `where` holds; null for the others."""
        return f"CASE WHEN {self.where} THEN {value} END"


def with_states(rows: pa.Table, states: Mapping[str, State]) -> pa.Table:
    """Rows with a column for each of the states, which have their ids as keys; a missing column is added as nulls."""
    for name, state in states.items():
        if name not in rows.schema.names:
            rows = rows.append_column(name, pa.nulls(len(rows), state.type))  # type: ignore[call-overload]  # one a type in the stubs
    return rows


class CannotAmend(Exception):
    """A state cannot be subtracted, for example a minimum, or memory is short: the tiles must be recomputed."""


def integers(column: object) -> Integers:
    """The integers of a DuckDB or Arrow column without nulls."""
    return np.asarray(column, dtype=np.int64)


def totals_by(offsets: Integers, counts: Integers) -> Integers:
    """Sums of `counts` between consecutive offsets; 0 for an empty stretch."""
    totals, filled = np.zeros(len(offsets) - 1, dtype=np.int64), np.diff(offsets) > 0
    if filled.any():
        # Between two stretches that are not empty lie no counts.
        totals[filled] = np.add.reduceat(counts[: offsets[-1]], offsets[:-1][filled])
    return totals


def sums_by(rows: Integers, terms: Floats | Integers, size: int) -> Floats:
    """Sum of the terms of each of `size` rows; `rows[i]` is the row of term i.

    A row's sum has the same bits for any content of the other rows. Add up doubles of a row with this function or with
    `sum_last_axis` only: a difference of running sums would carry the rounding of all rows before.
    """
    return np.bincount(rows, weights=terms, minlength=size).astype(np.float64)


def sum_last_axis(terms: Floats) -> Floats:
    """Sum along the last axis. A row's sum has the same bits for any content of the other rows."""
    # NumPy adds in the order of the memory, which depends on how the array was built.
    sums: Floats = np.ascontiguousarray(terms).sum(axis=-1)
    return sums


def rows_between(offsets: Integers, first: int, last: int) -> tuple[Integers, slice]:
    """The rows from `first` up to, but not including, `last`: their new offsets, and the slice of their elements."""
    return offsets[first : last + 1] - offsets[first], slice(int(offsets[first]), int(offsets[last]))


def rows_at(offsets: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """The rows `rows` in this order: their new offsets, and the indices of their elements. A row of -1 is empty."""
    sizes = np.where(rows < 0, 0, np.diff(offsets)[rows]) if len(offsets) > 1 else np.zeros(len(rows), dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    at = np.arange(ends[-1]) - np.repeat(ends[:-1] - np.where(rows < 0, 0, offsets[np.maximum(rows, 0)]), sizes)
    return ends, at


class Structure(Protocol):
    """What an SLI sees of a state that is no array: n rows."""

    def take(self, rows: Integers) -> Self:
        """These rows in this order; -1 is an empty row."""

    def between(self, first: int, last: int) -> Self:
        """The rows from `first` up to, but not including, `last`."""


Array = npt.NDArray[np.generic]
MergedState = Array | Structure
"""One state of n rows: an array, or the structure of its kind."""


@dataclass(frozen=True)
class Merged:
    """What an SLI sees: n rows, one for each window and slice, with its merged states by the names the SLI gave them.

    `predictions` and `labelled` are numbers of pairs, `ends` the ends of the windows (UTC microseconds), `level` the
    level of the confidence intervals. `reference` holds the same states of the window that each row is compared with,
    empty states where a row has no reference; it is None for an SLI that compares nothing.

    >>> two_windows = Merged(np.array([10, 20]), np.array([8, 20]), {"right": np.array([6, 15])}, np.array([1, 2]))
    >>> two_windows["right"] / two_windows.labelled
    array([0.75, 0.75])
    """

    predictions: Integers
    labelled: Integers
    states: Mapping[str, MergedState]
    ends: Integers
    level: float = 0.95
    reference: Merged | None = None

    # The type of a state follows from its kind, which only its SLI knows.
    def __getitem__(self, name: str) -> Any:
        return self.states[name]

    def each(self, change: Callable[[Any], Any]) -> Merged:
        """The same with every array and structure changed, and without a reference."""
        states = {name: change(state) for name, state in self.states.items()}
        return Merged(change(self.predictions), change(self.labelled), states, change(self.ends), self.level)

    def take(self, rows: Integers) -> Merged:
        """These rows in this order; -1 is a row without predictions."""
        return self.each(lambda state: take(state, rows) if isinstance(state, np.ndarray) else state.take(rows))

    def between(self, first: int, last: int) -> Merged:
        """The rows from `first` up to, but not including, `last`."""
        reference = None if self.reference is None else self.reference.between(first, last)
        rows = self.each(lambda s: s[first:last] if isinstance(s, np.ndarray) else s.between(first, last))
        return replace(rows, reference=reference)


def take(values: npt.NDArray[Scalar], rows: Integers) -> npt.NDArray[Scalar]:
    """The elements of these rows in this order; for -1 what an array has for nothing: 0, None or NaN."""
    nothing = np.array({"i": 0, "O": None}.get(values.dtype.kind, np.nan), dtype=values.dtype)
    return np.where(rows < 0, nothing, values[rows]) if len(values) else np.full(len(rows), nothing)
