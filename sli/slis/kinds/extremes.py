"""Extremes: the least or the greatest value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from sli.slis.kinds.parts import Part, Parts, PartsState
from sli.slis.kinds.terms import Drawn, Reader, Term
from sli.slis.states import Array, MergedState, State


@dataclass(frozen=True)
class ExtremeState(PartsState):
    """The extreme of `of` over the pairs where `where` holds; NaN without a value."""

    kind: ClassVar[Literal["min", "max"]]
    nothing = "NULL"
    resamples = False

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return cls(of="x"), cls(of="-x", where="x < 1")

    @property
    def parts(self) -> tuple[Part, ...]:
        # -0.0 and 0.0 are equal, so either could be the extreme: adding 0.0 makes both 0.0.
        value = f"{self.kind}(({self.of}) + 0.0::DOUBLE) FILTER (WHERE {self.where})"
        return (Part("", value, self.kind, "DOUBLE"),)

    def read(self, parts: Parts) -> Array:
        return parts[""]

    @property
    def term_sql(self) -> dict[str, str]:
        return {self.id: self.where_sql(f"({self.of})::DOUBLE + 0.0::DOUBLE")}

    def term(self, reader: Reader) -> Term:
        values, given = reader.numbers(self.id), ~reader.nulls(self.id)
        # As in SQL, NaN is greater than any number.
        pick = np.fmin if self.kind == "min" else np.maximum

        def merged(drawn: Drawn) -> MergedState:
            pairs = drawn.indices[given[drawn.indices]]
            offsets = np.concatenate([[0], np.cumsum(given[drawn.indices])])[drawn.indptr]
            some = np.diff(offsets) > 0
            extremes = np.full(drawn.shape[0], np.nan)
            if some.any():
                extremes[some] = pick.reduceat(values[pairs], offsets[:-1][some])
            return extremes

        return merged


@dataclass(frozen=True)
class MinState(ExtremeState):
    """The least value."""

    kind = "min"


@dataclass(frozen=True)
class MaxState(ExtremeState):
    """The greatest value."""

    kind = "max"
