"""Samples: some of the pairs, for functions that do not merge."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar, cast

import numpy as np
import pyarrow as pa

from sli.engine.arrow import combined, integer_column
from sli.engine.connection import scratch
from sli.engine.sql import quoted, text_of
from sli.slis.custom.function import Columns, Pairs
from sli.slis.kinds.lists import (
    Elements,
    Lists,
    ListState,
    check_none,
    doubles,
    end_to_end,
    in_order,
    most_kept,
    ranks,
)
from sli.slis.kinds.terms import Drawn, Reader, Term
from sli.slis.states import Floats, Integers, MergedState, Objects, State, integers

Element = TypeVar("Element")

SAMPLE_ROWS = 1000
"""A sample keeps this many pairs."""
TEXT_BYTES = 200
"""About how many bytes a text column of a sample takes, for each element, with its copies."""


@dataclass(frozen=True)
class SampleState(ListState):
    """Label, prediction and the `columns` of the SAMPLE_ROWS pairs with the smallest keys: a uniform sample that does
    not depend on how pairs are grouped."""

    kind = "sample"
    for_function = True
    fields: ClassVar[Mapping[str, str]] = {
        "key": "BIGINT",
        "truth": "DOUBLE",
        "prediction": "DOUBLE",
        "columns": "VARCHAR[]",
    }
    element_bytes = 100
    most_elements = SAMPLE_ROWS

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return cls(of="prediction"), cls(of="decision", where="x > 0", columns=("x",))

    @property
    def bytes_of_element(self) -> int:
        return self.element_bytes + TEXT_BYTES * len(self.columns)

    @property
    def present(self) -> str:
        return self.where

    @property
    def values(self) -> str:
        kept = ", ".join(text_of(quoted(name)) for name in self.columns)
        prediction = "value" if self.of == "prediction" else self.of
        return (
            f"{{'key': (k >> 1)::BIGINT, 'truth': truth::DOUBLE, 'prediction': {prediction}::DOUBLE, "
            f"'columns': [{kept}]::VARCHAR[]}} AS x"
        )

    def collected(self, source: str) -> str:
        least = f"SELECT c.cell, unnest(min(x, {most_kept(SAMPLE_ROWS)})) AS x FROM {source} GROUP BY c.cell"
        return f"SELECT cell, {self.unnested} FROM ({least})"

    def merge(self, owner: Integers, rows: int, elements: Elements) -> Lists:
        order = in_order(owner, integers(elements["key"]), *(doubles(elements[x]) for x in ("truth", "prediction")))
        smallest = order[ranks(owner[order], rows)[1] < SAMPLE_ROWS]
        kept = {name: column.take(integer_column(smallest)) for name, column in elements.items()}
        return Lists(ranks(owner[smallest], rows)[0], kept)

    def updated(self, sides: Mapping[str, Lists], rows: int) -> Lists:
        """Raises CannotAmend if a full sample loses a pair: which pair would take its place is unknown."""
        owner, sign, elements = end_to_end(sides)
        side = pa.array(np.repeat(list(sides), [lists.offsets[-1] for lists in sides.values()]), pa.string())
        full = pa.array((np.diff(sides["stored"].offsets) >= SAMPLE_ROWS)[owner])
        with scratch() as con:
            flat = {
                "row": integer_column(owner),
                "sign": integer_column(sign),
                "side": side,
                "in_full": full,
                **elements,
            }
            con.register("elements_arrow", pa.table(flat))
            before, after = (
                f"SELECT row, key FROM elements_arrow WHERE in_full AND side = '{side}'" for side in ("before", "after")
            )
            check_none(con, f"({before}) EXCEPT ALL ({after})")
            con.execute(
                f"CREATE TEMP TABLE summed AS SELECT row, in_full, {self.names}, sum(sign)::BIGINT AS n "
                "FROM elements_arrow GROUP BY ALL"
            )
            check_none(con, "SELECT 1 FROM summed WHERE n < 0 AND NOT in_full")
            left = con.sql(
                f"SELECT row, {self.names} FROM (SELECT *, unnest(range(n)) FROM summed WHERE n > 0)"
            ).to_arrow_table()
        kept = {name: combined(left.column(name)) for name in self.fields}
        return self.merge(integers(left.column("row")), rows, kept)

    def read(self, offsets: Integers, elements: Elements) -> Samples:
        truth, prediction = (doubles(elements[name]) for name in ("truth", "prediction"))
        keys = integers(elements["key"])
        # Arrow allows null lists, but a sample never stores one.
        texts = cast("list[list[str | None]]", elements["columns"].to_pylist() if self.columns else [])
        pieces = list(itertools.pairwise(offsets))
        columns: list[Mapping[str, Objects]] = [
            {name: np.array([row[i] for row in texts[a:b]], dtype=object) for i, name in enumerate(self.columns)}
            for a, b in pieces
        ]
        return Samples(
            [truth[a:b] for a, b in pieces],
            [prediction[a:b] for a, b in pieces],
            [keys[a:b] for a, b in pieces],
            columns,
        )

    @property
    def term_sql(self) -> dict[str, str]:
        return arguments_sql(self)

    def term(self, reader: Reader) -> Term:
        """The sample has all pairs of a window, however many; its keys are their positions."""
        arguments = Arguments.of(self, reader)

        def merged(drawn: Drawn) -> MergedState:
            keys = list(arguments.drawn(drawn))
            labels, predictions, columns = zip(*map(arguments.at, keys), strict=True) if keys else ((), (), ())
            return Samples(list(labels), list(predictions), keys, list(columns))

        return merged


@dataclass(frozen=True)
class Samples:
    """For each of n rows a uniform sample of its pairs, ordered by `key`: labels, predictions and, as text, columns."""

    label: list[Floats]
    prediction: list[Floats]
    keys: list[Integers]
    columns: list[Mapping[str, Objects]]

    def take(self, rows: Integers) -> Samples:
        """These rows in this order; -1 is an empty row."""

        def at(values: list[Element], empty: Element) -> list[Element]:
            return [empty if row < 0 else values[row] for row in rows]

        nothing: Floats = np.array([])
        return Samples(
            at(self.label, nothing),
            at(self.prediction, nothing),
            at(self.keys, np.array([], dtype=np.int64)),
            at(self.columns, {}),
        )

    def between(self, first: int, last: int) -> Samples:
        """The rows from `first` up to, but not including, `last`."""
        at = slice(first, last)
        return Samples(self.label[at], self.prediction[at], self.keys[at], self.columns[at])


def arguments_sql(state: State) -> dict[str, str]:
    """SQL of the arguments of a Python function for each pair, its columns as text."""
    prediction = "value" if state.of == "prediction" else state.of
    columns = {name: text_of(quoted(name)) for name in state.columns}
    arguments = {"label": state.where_sql("truth::DOUBLE"), "prediction": f"{prediction}::DOUBLE", **columns}
    return {f"{state.id}:{name}": sql for name, sql in arguments.items()}


@dataclass(frozen=True)
class Arguments:
    """The arguments of a Python function for each pair; pairs that it does not get have a NaN label."""

    label: Floats
    prediction: Floats
    columns: Columns

    @staticmethod
    def of(state: State, reader: Reader) -> Arguments:
        """Read from the columns of `arguments_sql`."""
        columns = {name: reader.texts(f"{state.id}:{name}") for name in state.columns}
        return Arguments(reader.numbers(f"{state.id}:label"), reader.numbers(f"{state.id}:prediction"), columns)

    def drawn(self, drawn: Drawn) -> Iterator[Integers]:
        """The pairs of each window that the function gets."""
        for begin, end in itertools.pairwise(drawn.indptr):
            pairs = np.repeat(drawn.indices[begin:end], drawn.data[begin:end])
            yield pairs[~np.isnan(self.label[pairs])]

    def at(self, pairs: Integers) -> Pairs:
        """The arguments for these pairs."""
        return self.label[pairs], self.prediction[pairs], {name: column[pairs] for name, column in self.columns.items()}
