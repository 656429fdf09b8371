"""The family of states that are a fixed number of parts, each one SQL aggregate: counts, sums and extremes.

While tiles are aggregated, merged or updated, each part is a column of its own; in a stored tile the parts of a state
are one column. Limit: a part merges by a sum, a minimum or a maximum.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sli.slis.states import Array, State

ARROW: Mapping[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DECIMAL(38, 0)": pa.decimal128(38, 0),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
}
"""The Arrow type of each SQL type that is stored."""
Parts: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""An array of numbers for each part of a state, by the names of the parts."""
WORKED = {"DECIMAL(38, 0)": "HUGEINT"}
"""The SQL type in which numbers are added up, where it is not the stored one."""
READ = {"DECIMAL(38, 0)": "DOUBLE"}
"""The SQL type in which numbers are read, where it is not the stored one."""


class Part(NamedTuple):
    """One column: how it is aggregated, how it merges, and its SQL type as it is stored."""

    name: str
    """Its name among the parts of a state; empty if the state has no other."""
    sql: str
    """SQL aggregate over pairs, or over queries."""
    merge: Literal["sum", "min", "max"]
    type: str

    @property
    def worked(self) -> str:
        """The SQL type in which it is added up."""
        return WORKED.get(self.type, self.type)

    def updated(self, stored: str, before: str, after: str) -> str:
        """SQL of what is stored after an update, from the stored value, the subtracted and the added one."""
        if self.merge == "sum":
            return f"coalesce({stored}, 0) - coalesce({before}, 0) + coalesce({after}, 0)"
        return f"{'least' if self.merge == 'min' else 'greatest'}({stored}, {after})"

    def lost(self, stored: str, before: str, after: str) -> str:
        """SQL condition that an update cannot tell the value: a stored extreme goes, and none as extreme comes."""
        if self.merge == "sum":
            return "false"
        beyond, within = ("<", ">") if self.merge == "min" else (">", "<")
        gone = f"{before} IS NOT NULL AND NOT {before} {within} {stored}"
        return f"({gone} AND ({after} IS NULL OR {before} {beyond} {after}))"


PREDICTIONS = Part("predictions", "count(*)", "sum", "BIGINT")
LABELLED = Part("labelled", "coalesce(sum(labelled::INTEGER), 0)::BIGINT", "sum", "BIGINT")


@dataclass(frozen=True)
class PartsState(State):
    """A state that is a fixed number of parts."""

    nothing: ClassVar[str] = "0"
    """SQL of each part where there is nothing to aggregate."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """The parts, in the order in which they are stored."""

    @property
    def operand(self) -> str:
        """SQL of the column `x_<id>` of each pair that the parts aggregate; empty if they need none."""
        return ""

    @abstractmethod
    def read(self, parts: Parts) -> Array:
        """What an SLI sees: one element a row, from an array for each part."""

    @property
    def type(self) -> pa.DataType:
        types = [(part.name, ARROW[part.type]) for part in self.parts]
        return pa.struct(types) if len(types) > 1 else types[0][1]

    def column(self, part: Part) -> str:
        """The name of a part's own column."""
        return f"{self.id}_{part.name}" if part.name else self.id

    def stored(self, part: Part, table: str) -> str:
        """SQL of a part from the stored column of a table."""
        return f"{table}.{self.id}.{part.name}" if part.name else f"{table}.{self.id}"

    def packed(self, sql: Callable[[Part], str]) -> str:
        """SQL of the state as it is stored, from the SQL of each part."""
        values = [f"{sql(part)}::{part.type}" for part in self.parts]
        if len(values) == 1:
            return values[0]
        named = (f"'{part.name}': {value}" for part, value in zip(self.parts, values, strict=True))
        return f"{{{', '.join(named)}}}"

    @property
    def empty(self) -> str:
        """SQL of the state, as it is stored, where there is nothing to aggregate."""
        return self.packed(lambda _: self.nothing)

    @property
    def trial(self) -> str:
        rows, term = "queries" if self.unit == "query" else "pairs", f", {self.operand}" if self.operand else ""
        return f"SELECT {self.packed(lambda part: part.sql)} FROM (SELECT *{term} FROM {rows})"


def part_columns(states: Iterable[State]) -> dict[str, Part]:
    """The columns of all parts of states by their names, after the numbers of predictions and labels."""
    columns = {"predictions": PREDICTIONS, "labelled": LABELLED}
    for state in states:
        if isinstance(state, PartsState):
            columns |= {state.column(part): part for part in state.parts}
    return columns


def read_sql(columns: Mapping[str, Part]) -> str:
    """SQL of columns of parts as `PartsState.read` gets them."""
    return ", ".join(f"{name}::{READ.get(part.type, part.type)} AS {name}" for name, part in columns.items())


def arrays_of(state: PartsState, rows: pa.Table) -> Parts:
    """An array for each part of a state, from columns that `read_sql` selects."""
    columns = {part.name: rows.column(state.column(part)) for part in state.parts}
    return {name: np.asarray(column.to_numpy(zero_copy_only=False)) for name, column in columns.items()}
