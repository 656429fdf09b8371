"""Groups: how many pairs have each text, and the exact sum of an amount for each text.

Limit: every different text is kept, so it is meant for columns with few of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.engine.arrow import Column, combined, decimal_column, integer_column, small_decimals
from sli.slis.kinds.lists import (
    Elements,
    Keyed,
    Lists,
    ListState,
    doubles,
    end_to_end,
    first_of_equal,
    in_order,
    owners,
    ranks,
)
from sli.slis.kinds.sums import exact_sum, read_sum, summable
from sli.slis.kinds.terms import Drawn, Reader, Term, keyed
from sli.slis.states import Floats, Integers, MergedState, State, integers

WHOLE_NUMBERS = ("::TINYINT", "::SMALLINT", "::INTEGER")
"""How amounts end that are added up as integers: however many they are, their sum fits a BIGINT."""
SUMMED = {part.name: part.type for part in exact_sum("x")}


@dataclass(frozen=True)
class GroupsState(ListState):
    """The number of pairs by the text `of`, and the sum of `amount` in each group."""

    kind = "groups"
    fields: ClassVar[Mapping[str, str]] = {"key": "VARCHAR", "count": "BIGINT", **SUMMED}
    keyed = True
    element_bytes = 150
    most_elements = 1 << 20

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return cls(of="x::VARCHAR"), cls(of="(x > 0)::VARCHAR", where="x < 1e9", amount="x")

    @property
    def values(self) -> str:
        whole = self.amount.endswith(WHOLE_NUMBERS)
        amount = f", ({self.amount}){'' if whole else '::DOUBLE'} AS x" if self.amount else ""
        return f"({self.of}) AS key{amount}"

    @property
    def present(self) -> str:
        # The expression may be long, and is not computed twice.
        return self.where

    @property
    def grouped(self) -> str:
        if not self.amount:
            sums = dict.fromkeys(SUMMED, "NULL")
        elif self.amount.endswith(WHOLE_NUMBERS):
            # The same sum as of doubles, but faster.
            sums = {"whole": "coalesce(sum(x), 0)::BIGINT", "fraction": "0", "undefined": "0"}
        else:
            sums = {part.name: part.sql for part in exact_sum("x")}
        return "count(*) AS count" + "".join(f", {sql} AS {name}" for name, sql in sums.items())

    def collected(self, source: str) -> str:
        sums = "".join(f", sum(v.{name})::{type} AS {name}" for name, type in list(self.fields.items())[1:])
        return (
            f"SELECT c.cell, v.key::VARCHAR AS key{sums} FROM {source} WHERE v.key IS NOT NULL GROUP BY c.cell, v.key"
        )

    def merge(self, owner: Integers, rows: int, elements: Elements) -> Lists:
        keys = pc.dictionary_encode(elements["key"])
        assert isinstance(keys, pa.DictionaryArray)
        by_text = pc.array_sort_indices(keys.dictionary)
        code = np.argsort(by_text.to_numpy())[keys.indices.to_numpy()] if len(owner) else owner
        order = in_order(owner, code)
        owner, code = owner[order], code[order]
        first = np.flatnonzero(first_of_equal(owner, code))
        sums = {name: _sums(elements[name].take(integer_column(order)), first) for name in list(self.fields)[1:]}
        offsets, _ = ranks(owner[first], rows)
        return Lists(offsets, {"key": keys.dictionary.take(by_text).take(integer_column(code[first])), **sums})

    def updated(self, sides: Mapping[str, Lists], rows: int) -> Lists:
        """Counts and sums can always be subtracted."""
        names = list(self.fields)[1:]
        less = {"key": sides["before"].elements["key"]}
        less |= {name: pc.negate(sides["before"].elements[name]) for name in names}
        owner, _, elements = end_to_end({**sides, "before": Lists(sides["before"].offsets, less)})
        lists = self.merge(owner, rows, elements)
        left = np.flatnonzero(integers(lists.elements["count"]) > 0)
        kept = {name: column.take(integer_column(left)) for name, column in lists.elements.items()}
        return Lists(ranks(owners(lists)[left], rows)[0], kept)

    def read(self, offsets: Integers, elements: Elements) -> Groups:
        sums = read_sum(*(doubles(elements[name]) for name in SUMMED))
        keys = np.asarray(elements["key"].to_numpy(zero_copy_only=False), dtype=object)
        return Groups(offsets, keys, integers(elements["count"]), sums)

    @property
    def term_sql(self) -> dict[str, str]:
        amount = {f"{self.id}:amount": self.where_sql(f"({self.amount})::DOUBLE")} if self.amount else {}
        return {self.id: self.where_sql(f"({self.of})::VARCHAR"), **amount}

    def term(self, reader: Reader) -> Term:
        keys, key = reader.text_positions(self.id)
        amount, place = None, f"{self.id}:amount"
        if self.amount:
            # A null amount adds nothing; one that is too large makes the sum NaN.
            amount = np.where(reader.nulls(place), 0.0, summable(reader.numbers(place)))
        keys_of = keyed(key, amount)

        def merged(drawn: Drawn) -> MergedState:
            offsets, key, counts, sums = keys_of(drawn)
            return Groups(offsets, keys[key], counts, sums if self.amount else np.full(len(key), np.nan))

        return merged


def _sums(numbers: Column, first: Integers) -> Column:
    """The sums of consecutive numbers, up to each next `first` one; null where all are null."""
    if not numbers.null_count and len(first):
        if pa.types.is_int64(numbers.type):
            return integer_column(np.add.reduceat(integers(numbers), first))
        small = small_decimals(numbers)
        # Most amounts are small: what is added up as 64 bits must fit them.
        if small is not None and max(-int(small.min()), int(small.max())) < (1 << 62) // len(small):
            return decimal_column(np.add.reduceat(small, first))
    group = np.zeros(len(numbers), dtype=np.int64)
    group[first[1:]] = 1
    table = pa.table({"group": integer_column(np.cumsum(group)), "number": numbers})
    # A sum of nulls alone is null: the state has no amount.
    how = pc.ScalarAggregateOptions(min_count=1)
    summed = table.group_by("group", use_threads=False).aggregate([("number", "sum", how)])
    return combined(summed.column("number_sum").cast(numbers.type))


@dataclass(frozen=True)
class Groups(Keyed):
    """For each of n rows a map from text to a count and a sum, in flat arrays.

    Row i has the texts `keys[offsets[i]:offsets[i + 1]]`, ascending, each once, with their `counts` and `sums`. A sum
    is NaN if one of its terms is not finite or 2^96 or more in size, or if the state has no amount.

    >>> fares = Groups(np.array([0, 2, 3]), np.array(["east", "west", "east"], dtype=object),
    ...                np.array([2, 1, 4]), np.array([30.0, 8.0, 70.0]))
    >>> counts, sums = fares.dense(["east", "west"])
    >>> counts
    array([[2, 1],
           [4, 0]])
    >>> sums / counts.sum(axis=1, keepdims=True)
    array([[10.        ,  2.66666667],
           [17.5       ,  0.        ]])
    """

    per_key = ("keys", "counts", "sums")

    sums: Floats

    def dense(self, keys: Sequence[str]) -> tuple[Integers, Floats]:
        """Counts and sums as tables with n rows and one column for each of `keys`; other keys are left out."""
        column = {key: i for i, key in enumerate(keys)}
        at = np.array([column.get(key, -1) for key in self.keys], dtype=np.int64)
        rows = self.rows[at >= 0]
        counts = np.zeros((len(self.offsets) - 1, len(keys)), dtype=np.int64)
        sums = np.zeros(counts.shape)
        counts[rows, at[at >= 0]] = self.counts[at >= 0]
        sums[rows, at[at >= 0]] = self.sums[at >= 0]
        return counts, sums
