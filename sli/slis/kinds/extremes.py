"""Extremes: the least or the greatest value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from sli.slis.kinds.parts import Part, Parts, PartsState
from sli.slis.states import Array, State


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


@dataclass(frozen=True)
class MinState(ExtremeState):
    """The least value."""

    kind = "min"


@dataclass(frozen=True)
class MaxState(ExtremeState):
    """The greatest value."""

    kind = "max"
