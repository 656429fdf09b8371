"""Distinct values: the smallest hashes of the values, which tell about how many different ones there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sli.engine.arrow import integer_column
from sli.engine.sql import text_of
from sli.slis.kinds.lists import Elements, Lists, ListState, end_to_end, first_of_equal, in_order, most_kept, ranks
from sli.slis.kinds.terms import Drawn, Reader, Term, keyed, positions
from sli.slis.states import CannotAmend, Floats, Integers, MergedState, State, integers, take

DISTINCT = 1024
"""A state of distinct values keeps this many hashes."""
HASHES = 2.0**63
"""The number of possible hashes."""


@dataclass(frozen=True)
class DistinctState(ListState):
    """The DISTINCT smallest hashes of the values of `of`."""

    kind = "distinct"
    resamples = False
    fields: ClassVar[Mapping[str, str]] = {"hash": "BIGINT"}
    element_bytes = 30
    most_elements = DISTINCT

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return (cls(of="x"),)

    @property
    def values(self) -> str:
        return f"{text_of(self.of)} AS x"

    def collected(self, source: str) -> str:
        values = f"SELECT DISTINCT c.cell, {most_kept(DISTINCT)} AS room, x FROM {source}"
        hashed = f"SELECT DISTINCT cell, room, {_hash_sql('x')} AS h FROM ({values})"
        return f"SELECT cell, unnest(min(h, room)) AS hash FROM ({hashed}) GROUP BY cell"

    def merge(self, owner: Integers, rows: int, elements: Elements) -> Lists:
        hashes = integers(elements["hash"])
        order = in_order(owner, hashes)
        owner, hashes = owner[order], hashes[order]
        new = first_of_equal(owner, hashes)
        owner, hashes = owner[new], hashes[new]
        smallest = ranks(owner, rows)[1] < DISTINCT
        return Lists(ranks(owner[smallest], rows)[0], {"hash": integer_column(hashes[smallest])})

    def updated(self, sides: Mapping[str, Lists], rows: int) -> Lists:
        """Raises CannotAmend if a hash goes, because other pairs may still have its value."""
        owner, sign, elements = end_to_end({"before": sides["before"], "after": sides["after"]})
        hashes = integers(elements["hash"])
        order = in_order(owner, hashes)
        of_hash = np.cumsum(first_of_equal(owner[order], hashes[order])) - 1
        stays = np.bincount(of_hash, weights=sign[order] > 0) > 0
        if not stays.all():
            raise CannotAmend
        owner, _, elements = end_to_end({"stored": sides["stored"], "after": sides["after"]})
        return self.merge(owner, rows, elements)

    def read(self, offsets: Integers, elements: Elements) -> Distincts:
        kept = np.diff(offsets)
        largest = np.full(len(kept), np.nan)
        # Hashes ascend, so the last of a row is its largest.
        largest[kept > 0] = integers(elements["hash"])[offsets[1:][kept > 0] - 1] / HASHES
        return Distincts(kept, largest)

    @property
    def term_sql(self) -> dict[str, str]:
        # A hash is never negative; -1 without a value.
        return {self.id: f"coalesce({self.where_sql(_hash_sql(text_of(self.of)))}, -1)"}

    def term(self, reader: Reader) -> Term:
        values = integers(reader.column(self.id))
        hashes, key = positions(values, values >= 0)
        keys_of = keyed(key)

        def merged(drawn: Drawn) -> MergedState:
            offsets, key, *_ = keys_of(drawn)
            kept = np.minimum(np.diff(offsets), DISTINCT)
            largest = np.full(len(kept), np.nan)
            largest[kept > 0] = hashes[key[(offsets[:-1] + kept)[kept > 0] - 1]] / HASHES
            return Distincts(kept, largest)

        return merged


def _hash_sql(text: str) -> str:
    # MD5 because DuckDB's own hash may change with its version; without its lowest bit it fits a signed integer.
    return f"(md5_number_lower({text}) >> 1)::BIGINT"


@dataclass(frozen=True)
class Distincts:
    """For each of n rows the number of hashes kept, at most DISTINCT, and the largest as a share of the hash range."""

    kept: Integers
    largest: Floats

    def take(self, rows: Integers) -> Distincts:
        """These rows in this order; -1 is an empty row."""
        return Distincts(take(self.kept, rows), take(self.largest, rows))

    def between(self, first: int, last: int) -> Distincts:
        """The rows from `first` up to, but not including, `last`."""
        return Distincts(self.kept[first:last], self.largest[first:last])
