"""Values of SLIs from plain pairs by brute force: without stored tiles, a join in DuckDB, or merges.

DuckDB computes only expressions of one row: what each pair adds to a state. NumPy finds the pairs of each slice and
adds up, for all slices of a window at once. Limit: the pairs of both logs are in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from sli.schemas import UTC
from sli.slices import SliceBy
from sli.slis import Formula, State
from sli.slis.custom.function import UserFunction
from sli.slis.formula import Values
from sli.slis.kinds.terms import Reader
from sli.slis.states import Flags, Integers, Merged
from sli.slis.terms import Terms, drawn_into, states_of_pairs, terms_of

Key = tuple[str | None, ...]
"""The values of a slice."""
Span = tuple[int, int]
"""The first microsecond of a stretch of time, and the one after its last."""
TYPES = {
    "decision": pa.bool_(),
    "labelled": pa.bool_(),
    "usable": pa.bool_(),
    "query": pa.string(),
    "truth": pa.float64(),
    "value": pa.float64(),
    "delay": pa.float64(),
    "predicted_at": UTC,
    "known_at": UTC,
}
"""The type of each column of a pair that SQL may name, except its label and prediction."""
VALUES = {"binary": (pa.bool_(), pa.float64()), "multiclass": (pa.string(), pa.string())}
"""The types of label and prediction of a task; other tasks have two numbers."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What pairs are read by."""

    task: str
    columns: Sequence[str]
    """The columns of the log that SLIs may name."""
    states: Mapping[str, State]
    """The states to compute, by their ids."""
    functions: Mapping[str, UserFunction]
    """The Python function of each call."""
    tile: int
    """The length of a tile in microseconds: the predictions of a query in one tile are a query of a ranking."""
    level: float
    """The level of the intervals."""

    def of_unit(self, unit: str) -> dict[str, State]:
        """The states over pairs, or over queries."""
        return {id: state for id, state in self.states.items() if state.unit == unit}


KEPT = 3
"""For how many stretches of time the terms are kept: that of a window, and those of its references."""


@dataclass(frozen=True)
class _Unit:
    """Pairs, or queries, in the order of their time, and what each adds to the states."""

    rules: Rules
    time: Integers
    table: pa.Table
    states: Mapping[str, State]
    read: dict[Span, Terms] = field(default_factory=dict)

    @functools.cached_property
    def labelled(self) -> Flags:
        """Which of them are labelled."""
        flags: Flags = self.table.column("labelled").to_numpy()
        return flags

    def within(self, span: Span) -> slice:
        """The rows of a stretch of time."""
        return slice(*np.searchsorted(self.time, span).tolist())

    def terms(self, span: Span) -> Terms:
        """The terms of a stretch of time, whose windows end with it."""
        if span not in self.read:
            if len(self.read) == KEPT:
                del self.read[next(iter(self.read))]
            rows = self.within(span)
            reader = Reader(self.table.slice(rows.start, rows.stop - rows.start), "", self.rules.functions, False)
            self.read[span] = Terms.of(reader, self.states, span[1], self.rules.level)
        return self.read[span]


class PlainPairs:
    """Pairs made by plain pandas, with the columns that `raw_pairs` gives them, and what they are read by."""

    def __init__(self, pairs: pd.DataFrame, rules: Rules) -> None:
        time = pairs.predicted_at.dt.as_unit("us").astype("int64").to_numpy()
        order = np.argsort(time, kind="stable")
        self.rules, self.pairs = rules, pairs.iloc[order]
        self.unit = self._unit(time[order], _as_table(self.pairs, rules), "pair")

    def _unit(self, time: Integers, rows: pa.Table, unit: str) -> _Unit:
        states = self.rules.of_unit(unit)
        return _Unit(self.rules, time, terms_of(rows, states.values()), states)

    def sliced(self, slice_by: SliceBy) -> Sliced:
        """The pairs by their slice, and the queries of a ranking within each slice."""
        code, keys = _codes([self.pairs[f"slice:{name}"] for name in slice_by], len(self.pairs))
        units = [(self.unit, code)]
        if self.rules.of_unit("query"):
            units.append(self._queries(code))
        return Sliced(keys, units)

    def _queries(self, code: Integers) -> tuple[_Unit, Integers]:
        """The queries, and the code of the slice of each: the predictions of one query id in one tile and slice."""
        query, tile = pd.factorize(self.pairs["query"])[0], self.unit.time // self.rules.tile
        truth, value = (self.pairs[name].to_numpy(dtype=np.float64) for name in ("value_label", "value"))
        # Best score first, ties worst label first. A query with a null is not complete: then the order means nothing.
        ranked, ideal = np.lexsort((truth, -value, query, code, tile)), np.lexsort((-truth, query, code, tile))
        ranked, ideal = (order[query[order] >= 0] for order in (ranked, ideal))
        new = np.ones(len(ranked), dtype=bool)
        new[1:] = np.any([np.diff(column[ranked]) != 0 for column in (query, code, tile)], axis=0)
        offsets = np.append(np.flatnonzero(new), len(ranked))
        firsts = ranked[new]
        usable = np.append(0, np.cumsum(self.pairs.usable.to_numpy(dtype=bool)[ranked]))[offsets]
        complete = pa.array(np.diff(usable) == np.diff(offsets))
        lists = {
            name: pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(truth[order], from_pandas=True))
            for name, order in (("ranked", ranked), ("ideal", ideal))
        }
        rows = pa.table({**lists, "n": pa.array(np.diff(offsets)), "complete": complete, "labelled": complete})
        return self._unit(tile[firsts] * self.rules.tile, rows, "query"), code[firsts]


@dataclass(frozen=True)
class Sliced:
    """Pairs by the slices of some columns. The code of a slice is its place among `keys`."""

    keys: list[Key]
    units: list[tuple[_Unit, Integers]]
    """The pairs, and maybe the queries, with the code of each."""

    @functools.cached_property
    def code_of(self) -> dict[Key, int]:
        """The code of each slice."""
        return {key: code for code, key in enumerate(self.keys)}

    def sizes(self, span: Span, counted: Literal["pairs", "labelled"] = "pairs") -> Integers:
        """How many pairs, or labelled ones, each slice has in a stretch of time."""
        pairs, code = self.units[0]
        within = pairs.within(span)
        codes = code[within] if counted == "pairs" else code[within][pairs.labelled[within]]
        return np.bincount(codes, minlength=len(self.keys))

    def merged(self, span: Span, states: Collection[str], row_of: Integers, size: int) -> Merged:
        """The states with these ids in so many rows, from the pairs of a stretch of time.

        `row_of` says for each slice to which row its pairs belong, -1: to none.
        """
        parts = []
        for unit, code in self.units:
            terms = unit.terms(span)
            chosen = replace(terms, states={id: term for id, term in terms.states.items() if id in states})
            parts.append(chosen.merged(drawn_into(row_of[code[unit.within(span)]], size)))
        return replace(parts[0], states={id: state for part in parts for id, state in part.states.items()})


def values_of(formula: Formula, own: Merged, other: Merged | None = None) -> Values:
    """The values of an SLI from states by their ids, and from those of its reference."""

    def named(merged: Merged) -> Merged:
        states = states_of_pairs(formula)
        return replace(merged, states={name: merged[state.id] for name, state in states.items()})

    return formula.value(replace(named(own), reference=None if other is None else named(other)))


def _codes(columns: Sequence[pd.Series], size: int) -> tuple[Integers, list[Key]]:
    """The place of each row's values among the different ones, and these."""
    code, firsts = np.zeros(size, dtype=np.int64), np.zeros(min(size, 1), dtype=np.int64)
    for column in columns:
        numbers, values = pd.factorize(column)
        _, firsts, code = np.unique(code * (len(values) + 1) + numbers + 1, return_index=True, return_inverse=True)
    if not columns:
        return code, [()] * len(firsts)
    texts = (column.astype(object).where(column.notna(), None).to_numpy()[firsts] for column in columns)
    return code, list(zip(*texts, strict=True))


def _as_table(pairs: pd.DataFrame, rules: Rules) -> pa.Table:
    """The columns of pairs that the SQL of an SLI may name, with the types that they have in the engine."""
    label, prediction = VALUES.get(rules.task, (pa.float64(), pa.float64()))
    types = {**dict.fromkeys(rules.columns), **TYPES, "label": label, "prediction": prediction}
    columns = {name: pairs["value_label" if name == "truth" else name] for name in types}
    return pa.table({name: pa.array(column, types[name], from_pandas=True) for name, column in columns.items()})
