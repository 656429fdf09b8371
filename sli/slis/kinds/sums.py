"""Sums, exact to 2^-80 of each term: whole numbers of fixed point, so that any order of merging gives the same bits.

Limit: a sum is undefined (NaN) if a term is not finite, or its size is 2^96 or more.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from sli.slis.kinds.parts import Part, Parts, PartsState
from sli.slis.kinds.terms import Drawn, Reader, Term, exact_parts
from sli.slis.states import Array, Floats, Integers, MergedState, State

FRACTION = 2.0**80
LIMIT = 2.0**96


def exact_sum(x: str) -> tuple[Part, ...]:
    """The parts of the exact sum of a column: its whole part, its fraction in units of 1 / FRACTION, and the number of
    terms that are too large or not finite."""
    fits = f"abs({x}) < {LIMIT!r}"
    units = f"(({x} - trunc({x})) * {FRACTION!r}::DOUBLE)::HUGEINT"
    whole = f"coalesce(sum(CASE WHEN {fits} THEN trunc({x})::HUGEINT END), 0)::DECIMAL(38, 0)"
    fraction = f"coalesce(sum(CASE WHEN {fits} THEN {units} END), 0)::DECIMAL(38, 0)"
    return (
        Part("whole", whole, "sum", "DECIMAL(38, 0)"),
        Part("fraction", fraction, "sum", "DECIMAL(38, 0)"),
        Part("undefined", f"count(*) FILTER (WHERE {x} IS NOT NULL AND NOT ({fits}))", "sum", "BIGINT"),
    )


def read_sum(whole: Floats, fraction: Floats, undefined: Floats | Integers) -> Floats:
    """Sums from their parts."""
    return np.where(undefined > 0, np.nan, whole + fraction / FRACTION)


@dataclass(frozen=True)
class SumState(PartsState):
    """The sum of `of` over the pairs where `where` holds; NaN without a term."""

    kind = "sum"

    @classmethod
    def examples(cls) -> tuple[State, ...]:
        return cls(of="x"), cls(of="x * 2", where="x > 0")

    @property
    def operand(self) -> str:
        return f"CASE WHEN {self.where} THEN {self.of} END AS x_{self.id}"

    @property
    def parts(self) -> tuple[Part, ...]:
        x = f"x_{self.id}"
        return (*exact_sum(x), Part("terms", f"count({x})", "sum", "BIGINT"))

    def read(self, parts: Parts) -> Array:
        # Merged parts are doubles where they may exceed 64 bits.
        whole, fraction, undefined, terms = parts.values()
        return np.where(terms == 0, np.nan, read_sum(whole, fraction, undefined))

    @property
    def term_sql(self) -> dict[str, str]:
        return {self.id: self.where_sql(f"({self.of})::DOUBLE")}

    def term(self, reader: Reader) -> Term:
        given = ~reader.nulls(self.id)
        terms = np.where(given, summable(reader.numbers(self.id)), 0.0)
        parts, counted = np.column_stack(exact_parts(terms, len(terms))), given.astype(np.int64)

        def merged(drawn: Drawn) -> MergedState:
            sums: Floats = functools.reduce(np.add, (drawn @ parts).T)
            return np.where(drawn @ counted == 0, np.nan, sums)

        return merged


def summable(terms: Floats) -> Floats:
    """The terms, but NaN for those that no sum can hold."""
    return np.where(np.abs(terms) < LIMIT, terms, np.nan)
