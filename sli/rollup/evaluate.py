"""Values of SLIs from merged states, in batches that fit the memory of a task.

Some SLIs compare each row with a reference: the window before, a fixed window, or a table. Limit: the memory of a batch
is only estimated, from its predictions; a batch that runs out of memory is halved, down to a single row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants, iso
from sli.config.model import Config
from sli.engine.connection import connected
from sli.errors import OutOfMemory
from sli.rollup.kept import Kept
from sli.rollup.merge import Rows, TileTables, TileTree
from sli.slices import SliceBy
from sli.slis import Reference, Sli, State
from sli.slis.formula import Values
from sli.slis.kinds.lists import Keyed, ListState
from sli.slis.states import Flags, Floats, Integers, Merged

if TYPE_CHECKING:
    import duckdb

CACHED = 1 << 18
"""How many elements of a list state are evaluated at a time, so that they fit the caches of the processor."""
MERGING, BATCH = 2, 4
"""Merging tiles may take 1 / MERGING of a task's memory, and the rows of a batch 1 / BATCH of it."""
ADDED, VALUES = 100, 500
"""About how many bytes a row takes for each merged column, and for the values of each SLI."""
FEWEST = 64
"""At least this many rows are evaluated at a time, unless the batch is smaller."""


@dataclass(frozen=True)
class Batch:
    """Rows of some windows, and the values of each SLI in these rows."""

    starts: Instants
    ends: Instants
    rows: Rows
    values: list[tuple[Sli, Values]]
    done: int = 0
    """How many windows are finished with this batch."""


@dataclass(frozen=True)
class _Compared:
    """What rows are compared with: row i with row `at[i]` of the reference, or with nothing if that is -1."""

    at: Integers
    rows: Rows | None
    """The reference's rows, whose lists are merged batch by batch; None if `merged` already holds their states."""
    merged: Merged | None
    ends: Instants
    """The ends of the reference's windows."""


class Evaluation:
    """Computes values of SLIs over windows. Use it as a context manager, because it has DuckDB connections."""

    def __init__(
        self,
        config: Config,
        tables: TileTables,
        slis: Iterable[Sli],
        caps: Mapping[SliceBy, int],
        threads: int | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.config, self.slis, self.kept = config, list(slis), kept
        self.threads = threads or config.parallel
        self.connections = ExitStack()
        self.con = self._connected()
        self.states = states_of(self.slis)
        self.tree = TileTree(self.con, tables, self.states, config.tile, caps)
        self.reference_trees: dict[str, TileTree] = {}
        self.fixed: dict[Reference, tuple[Merged, Integers]] = {}
        """For each reference that is the same for every window: its merged rows, and the code of the slice of each."""
        paths = (sli.reference.path for sli in self.slis if sli.reference is not None and sli.reference.kind == "table")
        for path in dict.fromkeys(paths):
            con = self._connected()
            compared = states_of(s for s in self.slis if s.reference is not None and s.reference.path == path)
            self.reference_trees[path] = TileTree(con, TileTables(tables.references[path]), compared, config.tile, {})
        self.slices = self.con.execute("SELECT slice_by, slice FROM slices ORDER BY code").fetchall()

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connections.__exit__(kind, error, trace)

    def _connected(self) -> duckdb.DuckDBPyConnection:
        return self.connections.enter_context(connected(self.threads, self.config.task_memory // MERGING))

    def batches(self, grain: Grain, starts: Instants, ends: Instants) -> Iterator[Batch]:
        """Values of all SLIs, one row a window and slice with predictions, ordered by these. Raises OutOfMemory."""
        most = self.tree.most_rows(starts, ends) * ADDED * (4 + len(self.tree.columns))

        def merged_together(first: int, last: int) -> Iterator[Batch]:
            return self._batches_of_windows(first, last, grain, starts, ends)

        def sharing(first: int, last: int) -> Iterator[Batch]:
            self.tree.share(*self._with_previous(grain, starts[first:last], ends[first:last]))
            for begin, end in stretches(most[first:last], self._budget):
                yield from self._halve_if_too_large(merged_together, first + begin, first + end, window)

        def window(at: int) -> OutOfMemory:
            return self._too_large(_window_text(grain, starts[at], ends[at]), int(most[at]))

        yield from self._halve_if_too_large(sharing, 0, len(starts), window)

    def distribution(self, state: ListState, grain: Grain, starts: Instants, ends: Instants) -> tuple[Rows, Keyed]:
        """One row a window and slice, and what these rows have of a state that is `keyed`."""
        rows = self.tree.merge(starts, ends)
        values = self.tree.values(state, rows, grain.name, starts)
        assert isinstance(values, Keyed)
        return rows, values

    @property
    def _budget(self) -> int:
        return self.config.task_memory // BATCH

    def _too_large(self, what: str, estimate: int) -> OutOfMemory:
        """The error of a window or row that alone takes more memory than there is."""
        needed = max(2 * self.config.task_memory, BATCH * estimate)
        names = ", ".join(sli.name for sli in self.slis)
        return OutOfMemory(
            "a window alone takes more than `memory:`",
            where=f"{what}, SLIs {names}",
            expected=f"`memory:` of about {needed / 2**20:,.0f} MiB",
            found=f"{self.config.task_memory / 2**20:,.0f} MiB",
            todo="raise `memory:` in the config, or declare fewer distribution SLIs and slices",
        )

    def _halve_if_too_large(
        self,
        work: Callable[[int, int], Iterator[Batch]],
        first: int,
        last: int,
        too_large: Callable[[int], OutOfMemory],
    ) -> Iterator[Batch]:
        """The batches of `work(first, last)`; if that runs out of memory, of both halves.

        Raises the error `too_large` of a single window or row.
        """
        import duckdb

        done = 0
        try:
            for batch in work(first, last):
                yield batch
                done += 1
        except duckdb.OutOfMemoryException as error:
            if last - first < 2 or done:
                raise too_large(first) from error
            middle = (first + last) // 2
            yield from self._halve_if_too_large(work, first, middle, too_large)
            yield from self._halve_if_too_large(work, middle, last, too_large)

    def _batches_of_windows(
        self, first: int, last: int, grain: Grain, starts: Instants, ends: Instants
    ) -> Iterator[Batch]:
        """The batches of the windows from `first` up to `last`, which are merged together."""
        windows = starts[first:last], ends[first:last]
        rows = self.tree.merge(*windows)
        references = dict.fromkeys(sli.reference for sli in self.slis if sli.reference is not None)
        compared = {reference: self._reference_rows(reference, grain, rows, *windows) for reference in references}
        weights = np.full(len(rows), float(VALUES * len(self.slis)))
        for reference, other in compared.items():
            if other.rows is not None and len(other.rows):
                other_bytes = row_bytes(self.tree, self._compared_states(reference).values(), other.rows.predictions)
                weights += np.where(other.at < 0, 0, other_bytes[other.at])

        def work(first: int, last: int) -> Iterator[Batch]:
            return self._batch_of_rows(first, last, grain, rows, compared, windows)

        def row(at: int) -> OutOfMemory:
            window = _window_text(grain, windows[0][rows.window[at]], windows[1][rows.window[at]])
            return self._too_large(f"{window}, slice {rows.slice[at].as_py()}", int(weights[at]))

        reached = 0
        for begin, end in stretches(weights, self._budget):
            for batch in self._halve_if_too_large(work, begin, end, row):
                whole = batch.rows.first + len(batch.rows) == len(rows)
                upto = last - first if whole else int(batch.rows.window[-1])
                yield replace(batch, done=upto - reached)
                reached = upto
        if not len(rows):
            yield Batch(*windows, rows, [], last - first)

    def _batch_of_rows(
        self,
        first: int,
        last: int,
        grain: Grain,
        rows: Rows,
        compared: Mapping[Reference, _Compared],
        windows: tuple[Instants, Instants],
    ) -> Iterator[Batch]:
        """The batch of the rows from `first` up to `last`."""
        part = rows.part(first, last)
        lists = {id: state for id, state in self.states.items() if isinstance(state, ListState)}
        own = self._merge_states(self.tree, part, grain, *windows, self.states.keys() - lists.keys())
        others = {
            reference: self._reference_part(reference, other, first, last, grain)
            for reference, other in compared.items()
        }

        def evaluate(span: tuple[int, int]) -> list[Values]:
            at = order[slice(*span)]
            pieces, now = part.pieces.at(at), own.take(at)
            of_lists = {id: self.tree.lists_at(state, pieces, len(at)) for id, state in lists.items()}
            now = replace(now, states={**now.states, **of_lists})
            then = {reference: merged.take(there[at]) for reference, (merged, there) in others.items()}
            values = []
            for sli in self.slis:
                states = _states_of_sli(sli, now, None if sli.reference is None else then[sli.reference])
                known = kept.get(sli.name)
                values.append(sli.formula.value(states) if known is None else known.take(at).or_else(sli, states))
            return values

        kept = {} if self.kept is None else self.kept.values(self.slis, grain, part, *windows)
        sizes = [self.tree.list_sizes(state, part) for state in lists.values()]
        elements = np.max([np.zeros(len(part)), *sizes], axis=0)
        elements += sum(_elements(merged, there) for merged, there in others.values())
        # Slice by slice, since windows of one slice are merged from the same lists.
        order = np.argsort(part.code, kind="stable")
        place = np.argsort(order)
        # NumPy releases the interpreter lock while it works, so threads help.
        with ThreadPoolExecutor(self.threads) as pool:
            pieces = list(pool.map(evaluate, stretches(elements[order], CACHED, FEWEST)))
        values = [Values.concatenated([piece[i] for piece in pieces]).take(place) for i in range(len(self.slis))]
        if self.config.min_support:
            small = _with_little_support(part, self.config.min_support)
            values = [_set_null(column, small, too_few(self.config.min_support)) for column in values]
        yield Batch(*windows, part, list(zip(self.slis, values, strict=True)))

    def _merge_states(
        self,
        tree: TileTree,
        rows: Rows,
        grain: Grain,
        starts: Instants,
        ends: Instants,
        only: Iterable[str] | None = None,
    ) -> Merged:
        """The states of merged rows, by their ids."""
        wanted = tree.states if only is None else {id: tree.states[id] for id in only}
        states = {id: tree.values(state, rows, grain.name, starts) for id, state in wanted.items()}
        return Merged(rows.predictions, rows.labelled, states, ends[rows.window], self.config.level)

    def _compared_states(self, reference: Reference) -> dict[str, State]:
        """The states of the SLIs that are compared with a reference."""
        states = states_of(sli for sli in self.slis if sli.reference == reference)
        return {id: state for id, state in states.items() if state.merges}

    def _with_previous(self, grain: Grain, starts: Instants, ends: Instants) -> tuple[Instants, Instants]:
        """The windows, and those before them if an SLI is compared with these."""
        if not any(sli.reference is not None and sli.reference.kind == "previous" for sli in self.slis):
            return starts, ends
        before = grain.before(self.config.zone, starts, ends)
        return np.concatenate([starts, before]), np.concatenate([ends, starts])

    def _reference_rows(
        self, reference: Reference, grain: Grain, rows: Rows, starts: Instants, ends: Instants
    ) -> _Compared:
        """The reference of these rows."""
        if reference.kind != "previous":
            merged, code = self._fixed_reference(reference, grain)
            return _Compared(_positions(rows, None, code, len(self.slices)), None, merged, ends)
        # A slice is compared with itself, even if a cap would make it part of "(other)" in the reference.
        before = grain.before(self.config.zone, starts, ends)
        other = self.tree.merge(before, starts, capped=False, side="other")
        at = _positions(rows, other.window, other.code, len(self.slices))
        return _Compared(at, other, None, starts)

    def _fixed_reference(self, reference: Reference, grain: Grain) -> tuple[Merged, Integers]:
        """The states of a reference that is the same for every window, and the code of each row's slice."""
        if reference in self.fixed:
            return self.fixed[reference]
        only = self._compared_states(reference)
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
            slices = zip(other.slice_by.to_pylist(), other.slice.to_pylist(), strict=True)
            code = np.array([codes.get(pair, -1) for pair in slices], dtype=np.int64)
        self.fixed[reference] = self._merge_states(tree, other, grain, first, last, only), code
        return self.fixed[reference]

    def _reference_part(
        self, reference: Reference, other: _Compared, first: int, last: int, grain: Grain
    ) -> tuple[Merged, Integers]:
        """What the rows from `first` up to `last` are compared with: merged rows, and for each row its place there."""
        at = other.at[first:last]
        if other.merged is not None:
            return other.merged, at
        assert other.rows is not None
        there = at[at >= 0]
        low, high = (int(there.min()), int(there.max()) + 1) if len(there) else (0, 0)
        merged = self._merge_states(
            self.tree, other.rows.part(low, high), grain, other.ends, other.ends, self._compared_states(reference)
        )
        return merged, np.where(at < 0, -1, at - low)


def stretches(weights: Integers | Floats, most: float, fewest: int = 1) -> Iterator[tuple[int, int]]:
    """Cut rows into stretches of at most `most` weight each, and of at least `fewest` rows except the last.

    >>> list(stretches(np.array([3, 3, 3, 9]), most=6))
    [(0, 2), (2, 3), (3, 4)]
    """
    reached, first = np.cumsum(weights), 0
    while first < len(reached):
        before = reached[first - 1] if first else 0
        last = int(np.searchsorted(reached, before + most, side="right"))
        last = min(len(reached), max(last, first + fewest))
        yield first, last
        first = last


def _window_text(grain: Grain, start: int, end: int) -> str:
    return f"{grain.name} {iso(int(start))} to {iso(int(end))}"


def row_bytes(tree: TileTree, states: Iterable[State], predictions: Integers) -> Floats:
    """About how many bytes the lists of each row take while they are merged and evaluated."""
    total = np.zeros(len(predictions))
    for state in states:
        if isinstance(state, ListState):
            most = min(state.most_elements, tree.distinct(state)) if state.keyed else state.most_elements
            total += VALUES + state.bytes_of_element * np.minimum(predictions, most)
    return total


def states_of(slis: Iterable[Sli]) -> dict[str, State]:
    """The states of SLIs, each once."""
    return {state.id: state for sli in slis for state in sli.formula.states.values()}


def _elements(merged: Merged, at: Integers) -> Floats:
    """How many elements the largest list of each of the rows at these places has (-1: none)."""
    largest = np.zeros(len(merged.predictions))
    for state in merged.states.values():
        if isinstance(state, Keyed):
            largest = np.maximum(largest, np.diff(state.offsets))
    return np.append(largest, 0.0)[at]


def _positions(rows: Rows, window: Integers | None, code: Integers, codes: int) -> Integers:
    """For each row the position of its slice (and window) among others; -1 if it is not there."""
    own_keys = rows.code if window is None else rows.window * codes + rows.code
    keys = code if window is None else window * codes + code
    order = np.argsort(keys, kind="stable")
    if len(order) == 0:
        return np.full(len(own_keys), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys[order], own_keys), len(order) - 1)
    positions: Integers = np.where(keys[order][at] == own_keys, order[at], -1)
    return positions


def _states_of_sli(sli: Sli, merged: Merged, reference: Merged | None) -> Merged:
    """What an SLI sees: only its own states, by the names that it gave them."""
    states = sli.formula.states.items()
    other = None
    if reference is not None:
        compared = {name: reference[state.id] for name, state in states if state.merges}
        other = replace(reference, states=compared)
    return replace(merged, states={name: merged[state.id] for name, state in states}, reference=other)


def too_few(support: int) -> str:
    """The reason why the values of a slice with little support are null."""
    return f"fewer than {support} predictions"


def _with_little_support(rows: Rows, support: int) -> Flags:
    """Which rows are slices with fewer predictions than `support`; the empty slice always counts as large enough."""
    small: Flags = rows.predictions < support
    small &= np.array([slice_by != "" for slice_by in rows.slice_by.to_pylist()], dtype=bool)
    return small


def _set_null(values: Values, rows: Flags, why: str) -> Values:
    """The values, with null and the reason `why` in these rows."""
    reason = values.reason.copy()
    reason[rows] = why
    numbers = ("value", "low", "high", "bound", "missing_low", "missing_high")
    return Values(reason=reason, **{name: np.where(rows, np.nan, getattr(values, name)) for name in numbers})
