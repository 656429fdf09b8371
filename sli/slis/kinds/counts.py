"""Counts: how many pairs, or queries of a ranking, satisfy a condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sli.slis.kinds.parts import Part, Parts, PartsState
from sli.slis.kinds.terms import Reader, Term
from sli.slis.states import Array, State


@dataclass(frozen=True)
class CountState(PartsState):
    """The number of pairs where `where` holds."""

    kind = "count"

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return cls(), cls(where="x > 0")

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Part("", f"coalesce(sum(({self.where})::INTEGER), 0)", "sum", "BIGINT"),)

    def read(self, parts: Parts) -> Array:
        return parts[""]

    @property
    def term_sql(self) -> dict[str, str]:
        return {self.id: f"coalesce(({self.where})::INTEGER, 0)"}

    def term(self, reader: Reader) -> Term:
        counts = reader.numbers(self.id).astype(np.int64)
        return lambda drawn: np.asarray(drawn @ counts)
