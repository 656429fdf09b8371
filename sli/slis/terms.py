"""What each pair adds to the states of an SLI, and the merged states of any pairs that are drawn from these.

So an SLI can be computed from pairs alone, by brute force and without tiles: of many slices at once, which `verify`
does, or hundreds of times for other selections of the same pairs, which a bootstrap does. Limit: the pairs are in
memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sli.engine.expression import locked_database
from sli.engine.sql import quoted
from sli.slis.custom.sql import needs_labels
from sli.slis.formula import Formula
from sli.slis.kinds.terms import Drawn, Reader, Term, drawn_matrix
from sli.slis.states import Integers, Merged, State


def drawn_once(times: Integers) -> Drawn:
    """One window with every pair, each as often as `times` says."""
    return drawn_matrix(np.array([0, len(times)]), np.arange(len(times)), times, len(times))


def drawn_alone(first: int, last: int, pairs: int) -> Drawn:
    """Windows that have one pair each: the pairs from `first` up to `last`."""
    size = last - first
    return drawn_matrix(np.arange(size + 1), np.arange(first, last), np.ones(size, dtype=np.int64), pairs)


def drawn_at_random(times: Sequence[Integers]) -> Drawn:
    """A window for each of `times`, which says how often each pair is drawn."""
    pairs = [np.flatnonzero(column) for column in times]
    offsets = np.concatenate([[0], np.cumsum([len(column) for column in pairs])])
    counts = [column[at] for column, at in zip(times, pairs, strict=True)]
    return drawn_matrix(offsets, np.concatenate(pairs), np.concatenate(counts), len(times[0]))


def drawn_into(windows: Integers, size: int) -> Drawn:
    """So many windows, or slices of one; each pair is drawn once for the one with its number, for none if it is -1."""
    order = np.argsort(windows, kind="stable")
    offsets = np.searchsorted(windows[order], np.arange(size + 1))
    pairs = order[offsets[0] :]
    return drawn_matrix(offsets - offsets[0], pairs, np.ones(len(pairs), dtype=np.int64), len(windows))


def states_of_pairs(formula: Formula) -> dict[str, State]:
    """The states that an SLI looks at if it has all pairs: a Python function that sees them all needs no sample."""
    sees_all = not all(state.merges for state in formula.states.values())
    wanted = formula.states.items()
    return {name: state for name, state in wanted if not (sees_all and state.for_function and state.merges)}


def rests_on_labels(formula: Formula) -> bool:
    """Whether predictions without a label add nothing to the SLI."""
    return is_over_queries(formula) or needs_labels(formula.states.values())


def is_over_queries(formula: Formula) -> bool:
    """Whether the SLI is over queries, not over single predictions."""
    return any(state.unit == "query" for state in formula.states.values())


def terms_sql(states: Iterable[State]) -> dict[str, str]:
    """SQL of what each pair adds to states: each column by its name.

    They are expressions over the columns of view `pairs`, or of `queries_sql` for states of queries.
    """
    return {name: sql for state in states for name, sql in state.term_sql.items()}


def terms_of(rows: pa.Table, states: Iterable[State]) -> pa.Table:
    """The columns of `terms_sql`, and `labelled`, for each of some rows: pairs, or queries for states of queries."""
    columns = {"labelled": "labelled", **terms_sql(states)}
    con = locked_database().cursor()
    try:
        con.register("pairs", rows)
        selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
        terms: pa.Table = con.sql(f"SELECT {selected} FROM pairs").to_arrow_table()
        return terms
    finally:
        con.close()


@dataclass(frozen=True)
class Terms:
    """What each pair adds to the states of an SLI, by the names that the SLI gave them."""

    labelled: Integers
    states: Mapping[str, Term]
    end: int
    """The end of the window of the pairs."""
    level: float
    """The level of the intervals."""

    @staticmethod
    def of(reader: Reader, states: Mapping[str, State], end: int, level: float) -> Terms:
        """The terms of these states."""
        terms = {name: state.term(reader) for name, state in states.items()}
        return Terms(reader.numbers("labelled").astype(np.int64), terms, end, level)

    def __len__(self) -> int:
        return len(self.labelled)

    def merged(self, drawn: Drawn) -> Merged:
        """What an SLI sees of each window."""
        predictions = drawn @ np.ones(len(self), dtype=np.int64)
        states = {name: merged(drawn) for name, merged in self.states.items()}
        ends = np.full(drawn.shape[0], self.end)
        return Merged(predictions, drawn @ self.labelled, states, ends, self.level)
