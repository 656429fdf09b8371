"""Tiles merged into a tree in DuckDB, and each window as the merge of the few nodes that cover it.

A larger node is built once two windows share it, so many long windows cost little more than as many short ones. States
of parts are merged here, lists in `lists` and for some of the rows at a time. Limit: all tiles of the windows are in
memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Instants
from sli.engine.arrow import list_column
from sli.rollup.cover import DAYS, NONE, Cover, Timeline
from sli.rollup.lists import Pieces, StoredLists
from sli.slices import OTHER, SliceBy, slice_text
from sli.slis import State
from sli.slis.kinds.lists import ListState
from sli.slis.kinds.parts import PartsState, arrays_of, part_columns, read_sql
from sli.slis.kinds.windows import WindowValues
from sli.slis.states import Integers, MergedState, integers

if TYPE_CHECKING:
    import duckdb

NO_PIECES = Pieces(*(np.array([], dtype=np.int64) for _ in Pieces._fields))
OWN = "own"
"""The side of the windows that are rolled up; windows that they are compared with have another side."""


@dataclass(frozen=True)
class TileTables:
    """The tables that windows are merged from."""

    tiles: pa.Table
    """Rows of `schemas.TILES`, with columns of states."""
    days: pa.Table | None = None
    """Rows of `schemas.DAYS` of span `tile`: a window takes them for its whole days."""
    midnights: Instants | None = None
    """The midnights from the first to the last day of `days`, without gaps, and the midnight after."""
    references: Mapping[str, pa.Table] = field(default_factory=dict)
    """The tiles of each reference table, by its path."""


class Rows:
    """The (window, slice) rows of some windows, ordered by window and slice."""

    def __init__(self, table: pa.Table, pieces: Pieces, side: str = OWN, first: int = 0) -> None:
        self.table, self.pieces, self.side = table, pieces, side
        self.first = first
        """The position of the first row among all rows of the windows."""
        self.window = integers(table.column("w"))
        self.code = integers(table.column("code"))
        self.slice_by = table.column("slice_by")
        self.slice = table.column("slice")
        self.predictions = integers(table.column("predictions"))
        self.labelled = integers(table.column("labelled"))

    def __len__(self) -> int:
        return len(self.table)

    def part(self, first: int, last: int) -> Rows:
        """The rows from `first` up to `last`."""
        pieces = self.pieces.part(first, last)
        return Rows(self.table.slice(first, last - first), pieces, self.side, self.first + first)


class TileTree:
    """Merged states of neighbouring tiles, in DuckDB."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        tables: TileTables,
        states: Mapping[str, State],
        tile: int,
        caps: Mapping[SliceBy, int],
    ) -> None:
        self.con, self.states, self.columns = con, states, part_columns(states.values())
        self.lists = [state for state in states.values() if isinstance(state, ListState)]
        self.stored: dict[str, StoredLists] = {}
        """The lists of each state, once windows of several nodes need them."""
        tiles, days, midnights = tables.tiles, tables.days, tables.midnights
        numbers = tiles.column("start").cast(pa.int64()).to_numpy() // tile
        mergeable = tiles.column("span").to_numpy(zero_copy_only=False) == "tile" if len(tiles) else slice(None)
        own = numbers[mergeable]
        first, last = (int(own.min()), int(own.max())) if len(own) else (0, -1)
        self.timeline = Timeline(tile, first, last, midnights)
        placed = _with_numbers(tiles, 0, numbers - first)
        if days is not None and midnights is not None:
            at = np.searchsorted(midnights, days.column("start").cast(pa.int64()).to_numpy())
            placed = pa.concat_tables([placed, _with_numbers(days, DAYS, at)], promote_options="permissive")
        self.placed = placed.append_column("position", pa.array(np.arange(len(placed)), pa.int64()))
        con.register("tiles_arrow", self.placed)
        con.execute(
            "CREATE TEMP TABLE slices AS "
            "SELECT row_number() OVER (ORDER BY slice_by, slice) - 1 AS code, slice_by, slice "
            "FROM (SELECT DISTINCT slice_by, slice FROM tiles_arrow WHERE span = 'tile')"
        )
        self._cap(caps)
        self.slices = int(con.execute("SELECT count(*) FROM slices").fetchall()[0][0])
        self.starts = [np.sort(own * tile), *([] if days is None else [_starts(days)])]
        self._distinct_values: dict[str, int] = {}
        self.built: dict[int, Integers] = {}
        """The numbers of the larger nodes that are built so far, by their level."""
        self.next = len(self.placed)
        """The position of the lists of the next larger node."""
        self._load_tiles()

    def _cap(self, caps: Mapping[SliceBy, int]) -> None:
        """Create table `capped`: for each slice of a capped set how many slices stay, and the code of "(other)".

        Without caps there is no such table: each statement on a small table takes as long as on thousands of rows.
        """
        self.capped = bool(caps)
        if not caps:
            return
        named = [(",".join(by), top, slice_text(dict.fromkeys(by, OTHER))) for by, top in caps.items()]
        self.con.execute("CREATE TEMP TABLE caps (slice_by VARCHAR, top BIGINT, other VARCHAR)")
        self.con.executemany("INSERT INTO caps VALUES (?, ?, ?)", named)
        self.con.execute(
            "INSERT INTO slices SELECT (SELECT count(*) FROM slices) + row_number() OVER (ORDER BY slice_by) - 1, "
            "slice_by, other FROM caps c WHERE NOT EXISTS "
            "(FROM slices s WHERE s.slice_by = c.slice_by AND s.slice = c.other)"
        )
        self.con.execute(
            "CREATE TEMP TABLE capped AS SELECT s.code, c.top, o.code AS other FROM slices s JOIN caps c "
            "USING (slice_by) JOIN slices o ON o.slice_by = c.slice_by AND o.slice = c.other"
        )

    def _load_tiles(self) -> None:
        """Create table `nodes`: the parts of states, one row per node and slice; at first tiles and day tiles."""
        parts = "".join(
            f", {state.stored(part, 't')}::{part.worked} AS {state.column(part)}"
            for state in self.states.values()
            if isinstance(state, PartsState)
            for part in state.parts
        )
        self.con.execute(
            "CREATE TEMP TABLE nodes AS "
            f"SELECT level, number, s.code, t.position, t.predictions, t.labelled{parts} {CODED_TILES}"
        )

    def _lists_of(self, state: ListState) -> StoredLists:
        if state.id not in self.stored:
            self.stored[state.id] = StoredLists(state, self.placed.column(state.id))
        return self.stored[state.id]

    def _merged_columns(self) -> str:
        """SQL that merges the parts of states."""
        return "".join(f", {part.merge}({name}) AS {name}" for name, part in self.columns.items())

    def share(self, starts: Instants, ends: Instants) -> None:
        """Build the larger nodes that at least two of these windows share; all or some of them are merged next."""
        worth = self.timeline.cover(starts, ends).shared(self.built)
        for level in sorted(worth, key=abs):
            self._build(level, worth[level])

    def _build(self, level: int, numbers: Integers) -> None:
        """Build the nodes of a level with these numbers."""
        nodes = Cover(numbers, np.full(len(numbers), level), numbers).parts().of(self.built)
        self._register(nodes, "smaller")
        first = self.next
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE larger AS SELECT {level}::BIGINT AS level, w AS number, code, "
            f"{first} + row_number() OVER (ORDER BY w, code) - 1 AS position{self._merged_columns()} "
            "FROM cover_smaller JOIN nodes USING (level, number) GROUP BY w, code"
        )
        if self.lists:
            rows = int(self.con.execute("SELECT count(*) FROM larger").fetchall()[0][0])
            self.next += rows
            pieces = self._pieces(
                f"SELECT l.position - {first} AS row, n.position FROM cover_smaller JOIN nodes n USING (level, number) "
                "JOIN larger l ON l.number = w AND l.code = n.code"
            )
            for state in self.lists:
                self._lists_of(state).add(first, pieces, rows)
        # Last, so that nothing is half built where memory runs out.
        self.con.execute("INSERT INTO nodes FROM larger")
        self.built[level] = np.concatenate([self.built.get(level, NONE), numbers])

    def _register(self, nodes: Cover, name: str) -> None:
        """Create table `cover_<name>`."""
        columns = {"w": nodes.window, "level": nodes.level, "number": nodes.number}
        self.con.register("cover_arrow", pa.table({name: pa.array(column) for name, column in columns.items()}))
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE cover_{name} AS FROM cover_arrow")

    def _pieces(self, sql: str) -> Pieces:
        """The lists that rows are merged from, in the order of the rows."""
        table = self.con.sql(f"FROM ({sql}) ORDER BY row").to_arrow_table()
        return Pieces(*(integers(table.column(name)) for name in ("row", "position")))

    def distinct(self, state: ListState) -> int:
        """How many different values the lists of a state have in all tiles together, or more than its lists keep."""
        if state.id not in self._distinct_values:
            values = pc.struct_field(pc.list_flatten(self.placed.column(state.id)), 0)
            some = np.arange(0, len(values), max(1, len(values) // (2 * state.most_elements)))
            number = len(pc.unique(values.take(pa.array(some))))
            self._distinct_values[state.id] = number if number > state.most_elements else len(pc.unique(values))
        return self._distinct_values[state.id]

    def most_rows(self, starts: Instants, ends: Instants) -> Integers:
        """At most how many rows each window has."""
        counts = sum(np.searchsorted(tiles, ends) - np.searchsorted(tiles, starts) for tiles in self.starts)
        return np.minimum(counts, self.slices).astype(np.int64)

    def merge(self, starts: Instants, ends: Instants, capped: bool = True, side: str = OWN) -> Rows:
        """Merge the parts of states: one row per window and slice with predictions.

        Without `capped` no slice becomes part of "(other)". Lists are merged later, by `values` or `as_tiles`.
        """
        self.share(starts, ends)
        self._register(self.timeline.cover(starts, ends).of(self.built), side)
        self._place(capped, side)
        nodes_of_rows = f"cover_{side} JOIN nodes USING (level, number) JOIN placed_{side} USING (w, code)"
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE merged AS SELECT row{self._merged_columns()} "
            f"FROM {nodes_of_rows} GROUP BY row"
        )
        rows = self.con.sql(
            f"SELECT w, p.target AS code, s.slice_by, s.slice, {read_sql(self.columns)} FROM merged "
            f"JOIN {_places(side)} p USING (row) JOIN slices s ON s.code = p.target ORDER BY row"
        ).to_arrow_table()
        pieces = self._pieces(f"SELECT row, position FROM {nodes_of_rows}") if self.lists else NO_PIECES
        return Rows(rows, pieces, side)

    def _place(self, capped: bool, side: str) -> None:
        """Create table `placed_<side>`: the row of each window and slice; slices beyond a cap share one row."""
        target, caps = "code", ""
        if capped and self.capped:
            beyond = "c.top IS NOT NULL AND row_number() OVER (PARTITION BY w, c.other ORDER BY n DESC, code) > c.top"
            target, caps = f"CASE WHEN {beyond} THEN c.other ELSE code END", " LEFT JOIN capped c USING (code)"
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE placed_{side} AS SELECT w, code, target, "
            f"dense_rank() OVER (ORDER BY w, target) - 1 AS row FROM (SELECT w, code, {target} AS target FROM (SELECT "
            f"w, code, sum(predictions) AS n FROM cover_{side} JOIN nodes USING (level, number) GROUP BY w, code)"
            f"{caps})"
        )

    def as_tiles(self, rows: Rows) -> pa.Table:
        """The rows of the last `merge` in the form of tiles: w, slice_by, slice, predictions, labelled, and states."""
        values = "".join(
            f", {state.packed(state.column)} AS {state.id}"
            for state in self.states.values()
            if isinstance(state, PartsState)
        )
        tiles: pa.Table = self.con.sql(
            "SELECT w, s.slice_by, s.slice, predictions::BIGINT AS predictions, labelled::BIGINT AS labelled"
            f"{values} FROM merged JOIN {_places(rows.side)} p USING (row) JOIN slices s ON s.code = p.target "
            "ORDER BY row"
        ).to_arrow_table()
        for state in self.lists:
            lists = self._lists_of(state).merge(rows.pieces, len(rows))
            tiles = tiles.append_column(state.id, list_column(*lists, state.type))
        return tiles

    def values(self, state: State, rows: Rows, grain: str, starts: Instants) -> MergedState:
        """What an SLI sees of a state: one element a row, in the order of the rows."""
        if isinstance(state, PartsState):
            return state.read(arrays_of(state, rows.table))
        if isinstance(state, ListState):
            return self.lists_at(state, rows.pieces, len(rows))
        return self._window_values(state, rows, grain, starts)

    def lists_at(self, state: ListState, pieces: Pieces, rows: int) -> MergedState:
        """What an SLI sees of the lists that some rows are merged from."""
        return state.read(*self._lists_of(state).merge(pieces, rows))

    def list_sizes(self, state: ListState, rows: Rows) -> Integers:
        """About how many elements the list of each row will have."""
        return self._lists_of(state).result_sizes(rows.pieces, len(rows))

    def _window_values(self, state: State, rows: Rows, grain: str, starts: Instants) -> WindowValues:
        """Values of a Python function on all pairs of a window; NaN where it ran on a sample instead."""
        value, reason = np.full(len(rows.window), np.nan), np.full(len(rows.window), None, dtype=object)
        if state.id not in self.placed.schema.names:
            return WindowValues(value, reason)
        self.con.register("starts_arrow", pa.table({"w": pa.array(np.arange(len(starts))), "start": pa.array(starts)}))
        values = self.con.sql(
            f"SELECT row, (t.{state.id}).value AS value, (t.{state.id}).reason AS reason FROM tiles_arrow t "
            "JOIN slices s ON s.slice_by = t.slice_by AND s.slice = t.slice "
            "JOIN starts_arrow w ON w.start = epoch_us(t.start) "
            f"JOIN placed_{rows.side} p ON p.w = w.w AND p.code = s.code AND p.target = s.code "
            f"WHERE t.span = ? AND t.{state.id} IS NOT NULL AND row >= ? AND row < ?",
            params=[grain, rows.first, rows.first + len(rows)],
        ).to_arrow_table()
        row = values.column("row").to_numpy() - rows.first
        value[row] = values.column("value").to_numpy(zero_copy_only=False)
        reason[row] = values.column("reason").to_pylist()
        return WindowValues(value, reason)


CODED_TILES = "FROM tiles_arrow t JOIN slices s ON s.slice_by = t.slice_by AND s.slice = t.slice WHERE t.span = 'tile'"
"""SQL of the tiles with the codes of their slices."""


def _places(side: str) -> str:
    """SQL of each row's window and slice."""
    return f"(SELECT DISTINCT row, w, target FROM placed_{side})"


def _starts(days: pa.Table) -> Instants:
    """The first instants of day tiles, in order."""
    return np.sort(days.column("start").cast(pa.int64()).to_numpy())


def _with_numbers(tiles: pa.Table, level: int, numbers: Integers) -> pa.Table:
    """Tiles with their level and number."""
    levels = pa.array(np.full(len(tiles), level), pa.int64())
    return tiles.append_column("level", levels).append_column("number", pa.array(numbers, pa.int64()))
