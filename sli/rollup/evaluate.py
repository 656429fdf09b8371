"""Evaluation: merged states become values, compared with their references where an SLI asks for it, in batches.

A batch is as many windows, and of these as many rows, as a share of the memory of a task allows. Limit: how much a
batch takes is estimated from its predictions; one that takes more than there is is halved, down to a single row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants
from sli.config.model import Config
from sli.engine.connection import connect, task_error
from sli.rollup.merge import Rows, TileTables, TileTree
from sli.slices import SliceBy
from sli.slis import Reference, Sli, State
from sli.slis.formula import Values
from sli.slis.states import DISTINCT, SAMPLE_ROWS, Flags, Floats, Groups, Histograms, Integers, Merged

CACHED = 1 << 18
"""Elements of a list state evaluated at a time: few enough to stay near the processor."""
MERGING, BATCH = 2, 4
"""The shares of a task's memory, one in so many, that merging tiles and the rows of a batch may take."""
ELEMENT = {"histogram": (100, 8192), "groups": (150, 1 << 20), "distinct": (30, DISTINCT), "sample": (100, SAMPLE_ROWS)}
"""About how many bytes an element of a list takes with its copies, and how many elements a row has at most."""
TEXT = 200
"""About how many bytes a text of a sample takes with its copies."""
ADDED, FOUND = 100, 500
"""About how many bytes a row takes for each state that adds up, and for each SLI's values."""
FEWEST = 64
"""Rows evaluated at a time at least, where a batch has them."""


@dataclass(frozen=True)
class Batch:
    """Rows of some windows, and for each SLI its values in these; `done` is how many windows are finished with it."""

    starts: Instants
    ends: Instants
    rows: Rows
    found: list[tuple[Sli, Values]]
    done: int = 0


@dataclass(frozen=True)
class _Compared:
    """The states that rows are compared with: those of row i lie at `at[i]`, and nowhere where that is -1."""

    at: Integers
    rows: Rows | None
    """Rows whose lists are read batch by batch; None where `merged` holds all there are."""
    merged: Merged | None
    ends: Instants


class Evaluation:
    """The values of SLIs over windows of tiles."""

    def __init__(
        self,
        config: Config,
        tables: TileTables,
        slis: Iterable[Sli],
        caps: Mapping[SliceBy, int],
    ) -> None:
        self.config, self.slis = config, list(slis)
        self.con = connect(config.parallel, config.task_memory // MERGING)
        self.states = states_of(self.slis)
        self.tree = TileTree(self.con, tables, self.states, config.tile, caps)
        self.reference_trees: dict[str, TileTree] = {}
        self.fixed: dict[Reference, tuple[Merged, Integers]] = {}
        """References that are the same for every window, once they are merged, and the codes of their slices."""
        paths = (sli.reference.path for sli in self.slis if sli.reference is not None and sli.reference.kind == "table")
        for path in dict.fromkeys(paths):
            con = connect(config.parallel, config.task_memory // MERGING)
            compared = states_of(s for s in self.slis if s.reference is not None and s.reference.path == path)
            self.reference_trees[path] = TileTree(con, TileTables(tables.references[path]), compared, config.tile, {})
        self.slices = self.con.execute("SELECT slice_by, slice FROM slices ORDER BY code").fetchall()

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        for tree in (self.tree, *self.reference_trees.values()):
            tree.con.close()

    def batches(self, grain: Grain, starts: Instants, ends: Instants) -> Iterator[Batch]:
        """The rows of the windows with predictions, one a window and slice, ordered by these. Raises OutOfMemory."""
        most = self.tree.most_rows(starts, ends) * ADDED * (4 + len(self.tree.columns))
        for first, last in stretches(most, self._budget):
            yield from self._halving(self._of_windows, first, last, grain, starts, ends)

    def state(self, state: State, grain: Grain, starts: Instants, ends: Instants) -> tuple[Rows, Any]:
        """One row a window and slice, and one state of these rows."""
        rows = self.tree.merge(starts, ends)
        return rows, self.tree.values(state, rows, grain.name, starts)

    @property
    def _budget(self) -> int:
        return self.config.task_memory // BATCH

    def _halving(self, work: Any, first: int, last: int, *given: Any) -> Iterator[Batch]:
        """What a work makes of `[first, last)`; in halves where that runs out of memory. Raises OutOfMemory."""
        done = 0
        try:
            for batch in work(first, last, *given):
                yield batch
                done += 1
        except duckdb.OutOfMemoryException as error:
            if last - first < 2 or done:
                raise task_error(error, "the roll-up of windows") from error
            middle = (first + last) // 2
            yield from self._halving(work, first, middle, *given)
            yield from self._halving(work, middle, last, *given)

    def _of_windows(self, first: int, last: int, grain: Grain, starts: Instants, ends: Instants) -> Iterator[Batch]:
        """The batches of the windows `[first, last)`, which are merged together."""
        windows = starts[first:last], ends[first:last]
        rows = self.tree.merge(*windows)
        references = dict.fromkeys(each.reference for each in self.slis if each.reference is not None)
        compared = {each: self._compared(each, grain, rows, *windows) for each in references}
        weights = row_bytes(self.tree, self.states.values(), rows.predictions) + FOUND * len(self.slis)
        for reference, other in compared.items():
            if other.rows is not None and len(other.rows):
                mine = row_bytes(self.tree, self._of(reference).values(), other.rows.predictions)
                weights += np.where(other.at < 0, 0, mine[other.at])
        reached = 0
        for begin, end in stretches(weights, self._budget):
            for batch in self._halving(self._of_rows, begin, end, grain, rows, compared, windows):
                whole = batch.rows.first + len(batch.rows) == len(rows)
                upto = last - first if whole else int(batch.rows.window[-1])
                yield replace(batch, done=upto - reached)
                reached = upto
        if not len(rows):
            yield Batch(*windows, rows, [], last - first)

    def _of_rows(
        self,
        first: int,
        last: int,
        grain: Grain,
        rows: Rows,
        compared: Mapping[Reference, _Compared],
        windows: tuple[Instants, Instants],
    ) -> Iterator[Batch]:
        """The batch of the rows `[first, last)`."""
        mine = rows.part(first, last)
        own = self._merged(self.tree, mine, grain, *windows)
        others = {each: self._part(each, of, first, last, grain) for each, of in compared.items()}

        def evaluated(span: tuple[int, int]) -> list[Values]:
            now = own.between(*span)
            then = {each: merged.take(at[slice(*span)]) for each, (merged, at) in others.items()}
            return [
                each.formula.value(_named(each, now, None if each.reference is None else then[each.reference]))
                for each in self.slis
            ]

        elements = _elements(own) + sum(_elements(merged, at) for merged, at in others.values())
        # NumPy lets go of the interpreter while it works.
        with ThreadPoolExecutor(self.config.parallel) as pool:
            parts = list(pool.map(evaluated, stretches(elements, CACHED, FEWEST)))
        found = [Values.concatenated([part[i] for part in parts]) for i in range(len(self.slis))]
        if self.config.min_support:
            small = _small(mine, self.config.min_support)
            found = [_without(each, small, too_few(self.config.min_support)) for each in found]
        yield Batch(*windows, mine, list(zip(self.slis, found, strict=True)))

    def _merged(
        self,
        tree: TileTree,
        rows: Rows,
        grain: Grain,
        starts: Instants,
        ends: Instants,
        only: Iterable[str] | None = None,
    ) -> Merged:
        """The states, by their ids, of merged rows."""
        chosen = tree.states if only is None else {each: tree.states[each] for each in only}
        states = {id: tree.values(state, rows, grain.name, starts) for id, state in chosen.items()}
        return Merged(rows.predictions, rows.labelled, states, ends[rows.window], self.config.level)

    def _of(self, reference: Reference) -> dict[str, State]:
        """The states that are compared with a reference."""
        mine = states_of(each for each in self.slis if each.reference == reference)
        return {id: state for id, state in mine.items() if state.kind != "window"}

    def _compared(self, reference: Reference, grain: Grain, rows: Rows, starts: Instants, ends: Instants) -> _Compared:
        """Where the states of the reference lie, row by row; nowhere where it has no such slice."""
        if reference.kind != "previous":
            merged, code = self._same(reference, grain)
            return _Compared(_positions(rows, None, code, len(self.slices)), None, merged, ends)
        # Each slice told apart is compared with itself, also where the reference would have it among the rest.
        before = grain.before(self.config.zone, starts, ends)
        other = self.tree.merge(before, starts, capped=False, side="other")
        at = _positions(rows, other.window, other.code, len(self.slices))
        return _Compared(at, other, None, starts)

    def _same(self, reference: Reference, grain: Grain) -> tuple[Merged, Integers]:
        """The states of a reference that is the same for every window, and the code of each row's slice."""
        if reference in self.fixed:
            return self.fixed[reference]
        only = self._of(reference)
        if reference.interval is not None:
            first, last = np.array([reference.interval.start]), np.array([reference.interval.end])
            tree = self.tree
        else:
            first, last = np.array([0]), np.array([self.config.tile])
            tree = self.reference_trees[reference.path]
        other = tree.merge(first, last, capped=False, side="fixed")
        code = other.code
        if reference.kind == "table":
            codes = {pair: code for code, pair in enumerate(self.slices)}
            named = zip(other.slice_by.to_pylist(), other.slice.to_pylist(), strict=True)
            code = np.array([codes.get(each, -1) for each in named], dtype=np.int64)
        self.fixed[reference] = self._merged(tree, other, grain, first, last, only), code
        return self.fixed[reference]

    def _part(
        self, reference: Reference, of: _Compared, first: int, last: int, grain: Grain
    ) -> tuple[Merged, Integers]:
        """States, and where among them lie those that the rows `[first, last)` are compared with."""
        at = of.at[first:last]
        if of.merged is not None:
            return of.merged, at
        assert of.rows is not None
        there = at[at >= 0]
        low, high = (int(there.min()), int(there.max()) + 1) if len(there) else (0, 0)
        merged = self._merged(self.tree, of.rows.part(low, high), grain, of.ends, of.ends, self._of(reference))
        return merged, np.where(at < 0, -1, at - low)


def stretches(weights: Integers | Floats, most: float, fewest: int = 1) -> Iterator[tuple[int, int]]:
    """Cut rows into stretches of at most so much weight, of at least `fewest` rows but for the last."""
    reached, first = np.cumsum(weights), 0
    while first < len(reached):
        before = reached[first - 1] if first else 0
        last = int(np.searchsorted(reached, before + most, side="right"))
        last = min(len(reached), max(last, first + fewest))
        yield first, last
        first = last


def row_bytes(tree: TileTree, states: Iterable[State], predictions: Integers) -> Floats:
    """About how many bytes the lists of rows take while they are merged and evaluated."""
    total = np.zeros(len(predictions))
    for state in states:
        if state.kind in ELEMENT:
            size, most = ELEMENT[state.kind]
            if state.kind in ("histogram", "groups"):
                most = min(most, tree.distinct(state))
            total += FOUND + (size + TEXT * len(state.columns)) * np.minimum(predictions, most)
    return total


def states_of(slis: Iterable[Sli]) -> dict[str, State]:
    """The states of SLIs, each once."""
    return {state.id: state for each in slis for state in each.formula.states.values()}


def _elements(merged: Merged, at: Integers | None = None) -> Floats:
    """For each row (each of those at these places) the elements of its largest list."""
    found = np.zeros(len(merged.predictions))
    for state in merged.states.values():
        if isinstance(state, Histograms | Groups):
            found = np.maximum(found, np.diff(state.offsets))
    return found if at is None else np.append(found, 0.0)[at]


def _positions(rows: Rows, window: Integers | None, code: Integers, codes: int) -> Integers:
    """For each row the position of its slice (and window) among others, -1 where it is not there."""
    mine = rows.code if window is None else rows.window * codes + rows.code
    theirs = code if window is None else window * codes + code
    order = np.argsort(theirs, kind="stable")
    if len(order) == 0:
        return np.full(len(mine), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(theirs[order], mine), len(order) - 1)
    found: Integers = np.where(theirs[order][at] == mine, order[at], -1)
    return found


def _named(sli: Sli, merged: Merged, reference: Merged | None) -> Merged:
    """What an SLI sees: its own states by its own names."""
    states = sli.formula.states.items()
    other = None
    if reference is not None:
        theirs = {name: reference[state.id] for name, state in states if state.kind != "window"}
        other = replace(reference, states=theirs)
    return replace(merged, states={name: merged[state.id] for name, state in states}, reference=other)


def too_few(support: int) -> str:
    """Why the values of a small slice are null."""
    return f"fewer than {support} predictions"


def _small(rows: Rows, support: int) -> Flags:
    """Slices of fewer predictions than `support`; the whole is never one."""
    small: Flags = rows.predictions < support
    small &= np.array([each != "" for each in rows.slice_by.to_pylist()], dtype=bool)
    return small


def _without(found: Values, rows: Flags, why: str) -> Values:
    """Null in these rows, for one reason."""
    reason = found.reason.copy()
    reason[rows] = why
    numbers = ("value", "low", "high", "bound", "missing_low", "missing_high")
    return Values(reason=reason, **{name: np.where(rows, np.nan, getattr(found, name)) for name in numbers})
