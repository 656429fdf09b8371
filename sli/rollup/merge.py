"""Tiles merged into a tree in DuckDB, and each window as the merge of the few nodes that cover it.

So windows of an hour, a day, 30 days and all the time since deployment cost about the same. Lists are merged for some
of the rows at a time. Limit: all tiles of the windows are loaded into DuckDB, which spills to disk beyond its memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Instants
from sli.engine.arrow import flatten_lists, list_column
from sli.rollup.cover import DAYS, RADIX, Timeline
from sli.slices import OTHER, SliceBy, slice_text
from sli.slis import State
from sli.slis.kinds.lists import Elements, ListState
from sli.slis.kinds.parts import PartsState, arrays_of, part_columns, read_sql
from sli.slis.kinds.windows import WindowValues
from sli.slis.states import Integers, MergedState, integers

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

    def __init__(self, table: pa.Table, side: str = OWN, first: int = 0) -> None:
        self.table, self.side = table, side
        self.first = first
        """The position of the first row among all rows of the windows."""
        self.window = integers(table.column("w"))
        self.code = integers(table.column("code"))
        self.slice_by = table.column("slice_by")
        self.slice = table.column("slice")
        self.predictions = integers(table.column("predictions"))
        self.labelled = integers(table.column("labelled"))
        single = table.column("position").null_count == 0 and bool((integers(table.column("parts")) == 1).all())
        self.position = integers(table.column("position")) if single else None
        """The position of the tile of each row, if each row is a single tile; else None."""

    def __len__(self) -> int:
        return len(self.table)

    def part(self, first: int, last: int) -> Rows:
        """The rows from `first` up to `last`."""
        return Rows(self.table.slice(first, last - first), self.side, self.first + first)


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
        self._built = {0: 0, DAYS: 0}
        """How many levels are built so far above the tiles (0) and above the day tiles (DAYS)."""
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
        self._lists_loaded = False

    def _load_lists(self) -> None:
        """Create for each list state a table with one row per element. Only windows of several nodes need them."""
        if self._lists_loaded:
            return
        self._lists_loaded = True
        for state in self.lists:
            self.con.execute(
                f"CREATE TEMP TABLE {state.id} AS SELECT level, number, code, {state.unnested} "
                f"FROM (SELECT level, number, s.code, unnest(t.{state.id}) AS x {CODED_TILES})"
            )

    def _merged_columns(self) -> str:
        """SQL that merges the parts of states."""
        return "".join(f", {part.merge}({name}) AS {name}" for name, part in self.columns.items())

    def _build_levels(self, first: int, steps: int) -> None:
        """Build `steps` levels above level `first` (0 or DAYS), each from the level below it."""
        away = 1 if first == 0 else -1
        while self._built[first] < steps:
            self._load_lists()
            below = first + away * self._built[first]
            self._built[first] += 1
            group = f"{below + away} AS level, number // {RADIX} AS number, code"
            self.con.execute(
                f"INSERT INTO nodes SELECT {group}, NULL AS position{self._merged_columns()} FROM nodes "
                f"WHERE level = {below} GROUP BY ALL"
            )
            for state in self.lists:
                source = f"SELECT {group}, {state.names} FROM {state.id} WHERE level = {below}"
                merged = state.merged(source, "level, number, code")
                self.con.execute(f"INSERT INTO {state.id} SELECT level, number, code, {state.names} FROM ({merged})")

    def distinct(self, state: State) -> int:
        """How many different values the lists of a state have in all tiles together."""
        if state.id not in self._distinct_values:
            elements = pc.list_flatten(self.placed.column(state.id))
            self._distinct_values[state.id] = len(pc.unique(pc.struct_field(elements, 0)))
        return self._distinct_values[state.id]

    def most_rows(self, starts: Instants, ends: Instants) -> Integers:
        """At most how many rows each window has."""
        counts = sum(np.searchsorted(tiles, ends) - np.searchsorted(tiles, starts) for tiles in self.starts)
        return np.minimum(counts, self.slices).astype(np.int64)

    def merge(
        self, starts: Instants, ends: Instants, disjoint: bool = False, capped: bool = True, side: str = OWN
    ) -> Rows:
        """Merge the parts of states: one row per window and slice with predictions.

        `disjoint` says that no two windows share a tile, so that larger nodes do not pay. Without `capped` no slice
        becomes part of "(other)". Lists are merged later, by `values` or `as_tiles`.
        """
        nodes = self.timeline.cover(starts, ends, disjoint)
        self._build_levels(0, int(nodes.level.max(initial=0)))
        self._build_levels(DAYS, DAYS - int(nodes.level.min(initial=DAYS)))
        self.con.register(
            "cover_arrow",
            pa.table({"w": pa.array(nodes.window), "level": pa.array(nodes.level), "number": pa.array(nodes.number)}),
        )
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE cover_{side} AS FROM cover_arrow")
        self._place(capped, side)
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE merged AS SELECT row, any_value(position) AS position, count(*) AS parts"
            f"{self._merged_columns()} FROM cover_{side} JOIN nodes USING (level, number) "
            f"JOIN placed_{side} USING (w, code) GROUP BY row"
        )
        rows = self.con.sql(
            f"SELECT w, p.target AS code, s.slice_by, s.slice, position, parts, {read_sql(self.columns)} FROM merged "
            f"JOIN {_places(side)} p USING (row) JOIN slices s ON s.code = p.target ORDER BY row"
        ).to_arrow_table()
        return Rows(rows, side)

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

    def _list_sql(self, state: ListState, rows: Rows) -> str:
        """SQL of the elements of a list state in merged rows, in order: the row and then their fields."""
        self._load_lists()
        within = f"(FROM placed_{rows.side} WHERE row >= {rows.first} AND row < {rows.first + len(rows)})"
        names = ", ".join(f"{state.id}.{name}" for name in state.fields)
        source = (
            f"SELECT row, {names} FROM cover_{rows.side} c JOIN {state.id} USING (level, number) "
            f"JOIN {within} p USING (w, code)"
        )
        return f"SELECT row, {state.names} FROM ({state.merged(source, 'row')}) ORDER BY row, {state.order}"

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
            flat = self.con.sql(self._list_sql(state, rows)).to_arrow_table()
            column = list_column(flat.drop_columns(["row"]), integers(flat.column("row")), len(tiles), state.type)
            tiles = tiles.append_column(state.id, column)
        return tiles

    def values(self, state: State, rows: Rows, grain: str, starts: Instants) -> MergedState:
        """What an SLI sees of a state: one element a row, in the order of the rows."""
        if isinstance(state, PartsState):
            return state.read(arrays_of(state, rows.table))
        if isinstance(state, ListState):
            return state.read(*self._elements(state, rows))
        return self._window_values(state, rows, grain, starts)

    def _elements(self, state: ListState, rows: Rows) -> tuple[Integers, Elements]:
        """The lists of the rows, laid end to end: their offsets, and the columns of their elements."""
        if rows.position is not None:
            # Each row is one tile, and the list of a tile is stored in order.
            return flatten_lists(self.placed.column(state.id), rows.position, list(state.fields))
        flat = self.con.sql(self._list_sql(state, rows)).to_arrow_table()
        offsets = np.searchsorted(integers(flat.column("row")), rows.first + np.arange(len(rows) + 1))
        return offsets, {name: flat.column(name) for name in state.fields}

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
