"""Blocks: tiles merged into blocks of 4, 16, 64, ... tiles, and any window as the merge of the few that cover it.

So an hour, a day, 30 sliding days and the time since deployment cost about the same. Where day tiles are given, a
window takes them for its whole days and hour tiles for its edges only. Lists are merged for some rows at a time. Limit:
all tiles of the windows asked for are held in DuckDB, which spills to disk beyond its memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.interval import Instants
from sli.engine.lists import flattened, list_column
from sli.schemas import state_type
from sli.slices import OTHER, SliceBy, text
from sli.slis import State
from sli.slis.states import (
    DISTINCT,
    EXACT_ROWS,
    FRACTION,
    SAMPLE_ROWS,
    SUM_PARTS,
    Distincts,
    Flags,
    Floats,
    Groups,
    Histograms,
    Integers,
    Samples,
    integers,
    rounded_sql,
    smallest,
    sum_sql,
    totals_by,
)

RADIX = 4
DAYS = -1
"""Level of day tiles; -2 are blocks of 4 of them, and so on."""
HASHES = 2.0**63


@dataclass(frozen=True)
class Shape:
    """How a state that is a list lies in rows: columns made from an element `x`, in the order of its fields, and how
    they are ordered."""

    columns: Mapping[str, str]
    order: str

    @property
    def names(self) -> str:
        return ", ".join(self.columns)

    @property
    def unnested(self) -> str:
        return ", ".join(f"{sql} AS {name}" for name, sql in self.columns.items())


SHAPES = {
    "histogram": Shape({"value": "x.value", "n": "x.count", "marked": "x.marked"}, "value"),
    "groups": Shape(
        {
            "key": "x.key",
            "n": "x.count",
            "whole": "x.whole::HUGEINT",
            "fraction": "x.fraction::HUGEINT",
            "undefined": "x.undefined",
        },
        "key",
    ),
    "distinct": Shape({"hash": "x"}, "hash"),
    "sample": Shape(
        {"key": "x.key", "truth": "x.truth", "prediction": "x.prediction", "columns": "x.columns"},
        "key, truth, prediction",
    ),
}


OWN = "own"
"""The side of the windows asked for; those they are compared with may be merged beside them."""


class Rows:
    """The (window, slice) rows of some windows, ordered by window and slice; of a part of them all from `first` on."""

    def __init__(self, found: pa.Table, side: str = OWN, first: int = 0) -> None:
        self.table, self.side, self.first = found, side, first
        self.window = integers(found.column("w"))
        self.code = integers(found.column("code"))
        self.slice_by = found.column("slice_by")
        self.slice = found.column("slice")
        self.predictions = integers(found.column("predictions"))
        self.labelled = integers(found.column("labelled"))
        single = found.column("position").null_count == 0 and bool((integers(found.column("parts")) == 1).all())
        self.position = integers(found.column("position")) if single else None
        """Where the tile of each row lies, if each is a single one."""

    def __len__(self) -> int:
        return len(self.table)

    def part(self, first: int, last: int) -> Rows:
        """The rows from `first` up to `last`."""
        return Rows(self.table.slice(first, last - first), self.side, self.first + first)


def cover(lo: Integers, hi: Integers) -> tuple[Integers, Integers, Integers]:
    """The blocks that make up tiles `[lo, hi)` of each window: arrays of window, level, block number."""
    lo, hi = lo.copy(), hi.copy()
    windows: list[Integers] = []
    levels: list[Integers] = []
    numbers: list[Integers] = []
    level, every = 0, np.arange(len(lo))
    while (lo < hi).any():
        for _ in range(RADIX - 1):
            for side in ("low", "high"):
                edge = lo if side == "low" else hi
                take = (lo < hi) & (edge % RADIX != 0)
                if side == "high":
                    hi[take] -= 1
                windows.append(every[take])
                numbers.append((lo if side == "low" else hi)[take].copy())
                levels.append(np.full(int(take.sum()), level))
                if side == "low":
                    lo[take] += 1
        lo, hi, level = lo // RADIX, hi // RADIX, level + 1
    none = np.array([], dtype=np.int64)
    return np.concatenate([none, *windows]), np.concatenate([none, *levels]), np.concatenate([none, *numbers])


class Blocks:
    """Merged states of blocks of tiles, in DuckDB.

    `days` are day tiles in the form of tiles, `midnights` the first instants of all days there may be.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        tiles: pa.Table,
        states: Mapping[str, State],
        tile: int,
        caps: Mapping[SliceBy, int],
        days: pa.Table | None = None,
        midnights: Instants | None = None,
    ) -> None:
        self.con, self.tiles, self.states, self.tile = con, tiles, states, tile
        self.midnights = midnights
        starts = tiles.column("start").cast(pa.int64()).to_numpy() // tile
        mine = starts[tiles.column("span").to_numpy(zero_copy_only=False) == "tile"] if len(tiles) else starts
        self.origin, self.last = (int(mine.min()), int(mine.max())) if len(mine) else (0, -1)
        placed = _placed(tiles, 0, starts - self.origin)
        if days is not None and midnights is not None:
            at = np.searchsorted(midnights, days.column("start").cast(pa.int64()).to_numpy())
            placed = pa.concat_tables([placed, _placed(days, DAYS, at)], promote_options="permissive")
        self.placed = placed.append_column("position", pa.array(np.arange(len(placed)), pa.int64()))
        con.register("tiles_arrow", self.placed)
        con.execute(
            "CREATE TEMP TABLE slices AS "
            "SELECT row_number() OVER (ORDER BY slice_by, slice) - 1 AS code, slice_by, slice "
            "FROM (SELECT DISTINCT slice_by, slice FROM tiles_arrow WHERE span = 'tile')"
        )
        self._cap(caps)
        self.slices = int(con.execute("SELECT count(*) FROM slices").fetchall()[0][0])
        self.starts = [np.sort(mine * tile), *([] if days is None else [_starts(days)])]
        self.values_of: dict[str, int] = {}
        self.built = {0: 0, DAYS: 0}
        """How many times hour tiles (0) and day tiles (DAYS) were put together to larger blocks."""
        self._leaves()

    def _cap(self, caps: Mapping[SliceBy, int]) -> None:
        """Table `capped`: for each slice of a capped set how many are told apart, and the code of the rest."""
        named = [(",".join(by), top, text(dict.fromkeys(by, OTHER))) for by, top in caps.items()]
        self.con.execute("CREATE TEMP TABLE caps (slice_by VARCHAR, top BIGINT, other VARCHAR)")
        if named:
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

    def _leaves(self) -> None:
        parts, self.columns = "", ["predictions", "labelled"]
        for state in self._of("count", "min", "max"):
            parts += f", t.{state.id}"
            self.columns.append(state.id)
        for state in self._of("sum"):
            for part in SUM_PARTS:
                parts += f", (t.{state.id}).{part}::HUGEINT AS {state.id}_{part}"
                self.columns.append(f"{state.id}_{part}")
        self.con.execute(
            "CREATE TEMP TABLE blocks AS "
            f"SELECT level, number, s.code, t.position, t.predictions, t.labelled{parts} "
            f"{HERE}"
        )
        self.spread = False
        """Whether the elements of lists lie in tables: only windows of several blocks need that."""

    def _spread(self) -> None:
        """For each list state a table of its elements, one row each."""
        if self.spread:
            return
        self.spread = True
        for state in self._of(*SHAPES):
            self.con.execute(
                f"CREATE TEMP TABLE {state.id} AS SELECT level, number, code, {SHAPES[state.kind].unnested} "
                f"FROM (SELECT level, number, s.code, unnest(t.{state.id}) AS x {HERE})"
            )
        for state in self._of("histogram"):
            self.con.execute(
                f"CREATE TEMP TABLE {state.id}_totals AS SELECT level, number, code, sum(n)::BIGINT AS total "
                f"FROM {state.id} GROUP BY ALL"
            )

    def _of(self, *kinds: str) -> list[State]:
        return [state for state in self.states.values() if state.kind in kinds]

    def _merged(self) -> str:
        """SQL that merges the additive columns and extremes."""
        extremes = {state.id: state.kind for state in self._of("min", "max")}
        return "".join(f", {extremes.get(name, 'sum')}({name}) AS {name}" for name in self.columns)

    def _grow(self, first: int, steps: int) -> None:
        """Build blocks of tiles of level `first`, each from those of the step before."""
        away = 1 if first == 0 else -1
        while self.built[first] < steps:
            self._spread()
            below = first + away * self.built[first]
            self.built[first] += 1
            group = f"{below + away} AS level, number // {RADIX} AS number, code"
            self.con.execute(
                f"INSERT INTO blocks SELECT {group}, NULL AS position{self._merged()} FROM blocks "
                f"WHERE level = {below} GROUP BY ALL"
            )
            for state in self._of("histogram"):
                self.con.execute(
                    f"INSERT INTO {state.id}_totals SELECT {group}, sum(total)::BIGINT FROM {state.id}_totals "
                    f"WHERE level = {below} GROUP BY ALL"
                )
            for state in self._of(*SHAPES):
                names = SHAPES[state.kind].names
                source = f"SELECT {group}, {names} FROM {state.id} WHERE level = {below}"
                merged = _together(state, source, "level, number, code", f"{state.id}_totals")
                self.con.execute(f"INSERT INTO {state.id} SELECT level, number, code, {names} FROM ({merged})")

    def distinct(self, state: State) -> int:
        """How many values the lists of a state have in all tiles together."""
        if state.id not in self.values_of:
            elements = pc.list_flatten(self.placed.column(state.id))
            found = pc.unique(pc.struct_field(elements, 0))
            self.values_of[state.id] = len(found)
        return self.values_of[state.id]

    def most_rows(self, starts: Instants, ends: Instants) -> Integers:
        """At most how many rows each window has."""
        tiles = sum(np.searchsorted(of, ends) - np.searchsorted(of, starts) for of in self.starts)
        return np.minimum(tiles, self.slices).astype(np.int64)

    def merge(self, starts: Instants, ends: Instants, once: bool = False, capped: bool = True, side: str = OWN) -> Rows:
        """Choose the windows of a side: merges of the additive states, one row a window and slice with predictions.

        `once` says that the windows share no tile, so that larger blocks would serve nobody; without `capped` every
        slice stands for itself.
        """
        windows, levels, numbers = self._cover(starts, ends, once)
        self._grow(0, int(levels.max(initial=0)))
        self._grow(DAYS, DAYS - int(levels.min(initial=DAYS)))
        self.con.register("cover_arrow", pa.table({"w": windows, "level": levels, "number": numbers}))
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE cover_{side} AS FROM cover_arrow")
        self._place(capped, side)
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE merged AS SELECT row, any_value(position) AS position, count(*) AS parts"
            f"{self._merged()} FROM cover_{side} JOIN blocks USING (level, number) JOIN placed_{side} USING (w, code) "
            "GROUP BY row"
        )
        names = ", ".join(self._finished(name) for name in self.columns)
        found = self.con.sql(
            f"SELECT w, p.target AS code, s.slice_by, s.slice, position, parts, {names} FROM merged "
            f"JOIN {_places(side)} p USING (row) JOIN slices s ON s.code = p.target ORDER BY row"
        ).to_arrow_table()
        return Rows(found, side)

    def _cover(self, starts: Instants, ends: Instants, once: bool) -> tuple[Integers, Integers, Integers]:
        """The blocks of each window: of whole days, where there are day tiles, and of hours."""
        every = np.arange(len(starts))
        if self.midnights is None or len(self.midnights) == 0:
            return self._of_tiles(every, starts, ends, once)
        first = np.searchsorted(self.midnights, starts, side="left")
        last = np.searchsorted(self.midnights, ends, side="right") - 1
        whole = first < last
        opening, closing = (self.midnights[np.clip(each, 0, len(self.midnights) - 1)] for each in (first, last))
        at, steps, days = cover(np.where(whole, first, 0), np.where(whole, last, 0))
        parts = [
            self._of_tiles(every, starts, np.where(whole, opening, ends), once),
            self._of_tiles(every[whole], closing[whole], ends[whole], once),
            (at, DAYS - steps, days),
        ]
        windows, levels, numbers = (np.concatenate(each) for each in zip(*parts, strict=True))
        return windows, levels, numbers

    def _of_tiles(
        self, windows: Integers, starts: Instants, ends: Instants, once: bool
    ) -> tuple[Integers, Integers, Integers]:
        lo = np.clip(starts // self.tile - self.origin, 0, self.last - self.origin + 1)
        hi = np.maximum(lo, np.clip(ends // self.tile - self.origin, 0, self.last - self.origin + 1))
        if once:
            lengths = hi - lo
            numbers = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths - lo, lengths)
            return np.repeat(windows, lengths), np.zeros(len(numbers), dtype=np.int64), numbers
        at, levels, numbers = cover(lo, hi)
        return windows[at], levels, numbers

    def _place(self, capped: bool, side: str) -> None:
        """Table `placed_<side>`: the row of each window and slice; slices beyond a cap share the row of the rest."""
        beyond = "c.top IS NOT NULL AND row_number() OVER (PARTITION BY w, c.other ORDER BY n DESC, code) > c.top"
        target = f"CASE WHEN {beyond} THEN c.other ELSE code END" if capped else "code"
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE placed_{side} AS SELECT w, code, target, "
            f"dense_rank() OVER (ORDER BY w, target) - 1 AS row FROM (SELECT w, code, {target} AS target FROM (SELECT "
            f"w, code, sum(predictions) AS n FROM cover_{side} JOIN blocks USING (level, number) GROUP BY w, code) "
            "LEFT JOIN capped c USING (code))"
        )

    def _finished(self, name: str) -> str:
        if name.endswith(("_whole", "_fraction")):
            return f"{name}::DOUBLE AS {name}"
        return f"{name}::BIGINT AS {name}" if not name.startswith(("min_", "max_")) else name

    def _list(self, state: State, rows: Rows) -> str:
        """SQL of a list state's columns in merged rows; a histogram's with `total`, the number of values."""
        self._spread()
        within = f"(FROM placed_{rows.side} WHERE row >= {rows.first} AND row < {rows.first + len(rows)})"
        placed = f"USING (level, number) JOIN {within} p USING (w, code)"
        if state.kind == "histogram":
            self.con.execute(
                "CREATE OR REPLACE TEMP TABLE row_totals AS SELECT row, sum(total)::BIGINT AS total "
                f"FROM cover_{rows.side} c JOIN {state.id}_totals {placed} GROUP BY row"
            )
        names = ", ".join(f"{state.id}.{name}" for name in SHAPES[state.kind].columns)
        source = f"SELECT row, {names} FROM cover_{rows.side} c JOIN {state.id} {placed}"
        return _together(state, source, "row", "row_totals")

    def packed(self, rows: Rows) -> pa.Table:
        """The rows just merged in the form of tiles: columns w, slice_by, slice, predictions, labelled, one a state."""
        values = ""
        for state in self.states.values():
            if state.kind == "sum":
                values += f", {sum_sql(partial('{}_{}'.format, state.id))} AS {state.id}"
            elif state.kind in ("count", "min", "max"):
                values += f", {self._finished(state.id)}"
        made = self.con.sql(
            "SELECT w, s.slice_by, s.slice, predictions::BIGINT AS predictions, labelled::BIGINT AS labelled"
            f"{values} FROM merged JOIN {_places(rows.side)} p USING (row) JOIN slices s ON s.code = p.target "
            "ORDER BY row"
        ).to_arrow_table()
        for state in self._of(*SHAPES):
            shape = SHAPES[state.kind]
            flat = self.con.sql(
                f"SELECT row, {shape.names} FROM ({self._list(state, rows)}) ORDER BY row, {shape.order}"
            ).to_arrow_table()
            column = list_column(
                flat.drop_columns(["row"]), integers(flat.column("row")), len(made), state_type(state.kind)
            )
            made = made.append_column(state.id, column)
        return made

    def values(self, state: State, rows: Rows, grain: str, starts: Instants) -> Any:
        """What an SLI sees of a state, aligned with the rows."""
        if state.kind == "count":
            return rows.table.column(state.id).to_numpy()
        if state.kind in ("min", "max"):
            return rows.table.column(state.id).to_numpy(zero_copy_only=False)
        if state.kind == "sum":
            whole, fraction, undefined, terms = (
                rows.table.column(f"{state.id}_{part}").to_numpy() for part in SUM_PARTS
            )
            return np.where((undefined > 0) | (terms == 0), np.nan, whole + fraction / FRACTION)
        if state.kind == "window":
            return self._window_values(state, rows, grain, starts)
        return _READ[state.kind](state, *self._lists(state, rows))

    def _lists(self, state: State, rows: Rows) -> tuple[Integers, Mapping[str, Any]]:
        """Offsets of the rows' lists, laid end to end, and their elements' columns."""
        shape = SHAPES[state.kind]
        if rows.position is not None:
            # Each row is one tile, whose list is there in order.
            return flattened(self.placed.column(state.id), rows.position, list(shape.columns))
        found = self.con.sql(f"SELECT * FROM ({self._list(state, rows)}) ORDER BY row, {shape.order}").to_arrow_table()
        offsets = np.searchsorted(integers(found.column("row")), rows.first + np.arange(len(rows) + 1))
        return offsets, {name: found.column(name) for name in shape.columns}

    def _window_values(self, state: State, rows: Rows, grain: str, starts: Instants) -> tuple[Any, Any]:
        """Values of a Python function on all pairs of a window, NaN where the kernel did not make one."""
        value, reason = np.full(len(rows.window), np.nan), np.full(len(rows.window), None, dtype=object)
        if state.id not in self.tiles.schema.names:
            return value, reason
        self.con.register("starts_arrow", pa.table({"w": np.arange(len(starts)), "start": starts}))
        found = self.con.sql(
            f"SELECT row, (t.{state.id}).value AS value, (t.{state.id}).reason AS reason FROM tiles_arrow t "
            "JOIN slices s ON s.slice_by = t.slice_by AND s.slice = t.slice "
            "JOIN starts_arrow w ON w.start = epoch_us(t.start) "
            f"JOIN placed_{rows.side} p ON p.w = w.w AND p.code = s.code AND p.target = s.code "
            f"WHERE t.span = ? AND t.{state.id} IS NOT NULL AND row >= ? AND row < ?",
            params=[grain, rows.first, rows.first + len(rows)],
        ).to_arrow_table()
        row = found.column("row").to_numpy() - rows.first
        value[row] = found.column("value").to_numpy(zero_copy_only=False)
        reason[row] = found.column("reason").to_pylist()
        return value, reason


HERE = "FROM tiles_arrow t JOIN slices s ON s.slice_by = t.slice_by AND s.slice = t.slice WHERE t.span = 'tile'"
"""SQL of the tiles with the codes of their slices."""


def _places(side: str) -> str:
    """SQL of each row's window and slice."""
    return f"(SELECT DISTINCT row, w, target FROM placed_{side})"


def _starts(days: pa.Table) -> Instants:
    """The first instants of day tiles, in order."""
    return np.sort(days.column("start").cast(pa.int64()).to_numpy())


def _placed(tiles: pa.Table, level: int, numbers: Integers) -> pa.Table:
    """Tiles with their level and number."""
    levels = pa.array(np.full(len(tiles), level), pa.int64())
    return tiles.append_column("level", levels).append_column("number", pa.array(numbers, pa.int64()))


def _read_histograms(state: State, offsets: Integers, found: Mapping[str, Any]) -> Histograms:
    counts = integers(found["n"])
    exact: Flags = totals_by(offsets, counts) <= EXACT_ROWS
    return Histograms(offsets, _doubles(found["value"]), counts, integers(found["marked"]), exact, state.spread)


def _read_groups(_: State, offsets: Integers, found: Mapping[str, Any]) -> Groups:
    whole, fraction = (_doubles(found[name].cast(pa.float64())) for name in ("whole", "fraction"))
    undefined = _doubles(found["undefined"].cast(pa.float64())) > 0
    sums = np.where(undefined, np.nan, whole + fraction / FRACTION)
    keys = np.asarray(found["key"].to_numpy(zero_copy_only=False), dtype=object)
    return Groups(offsets, keys, integers(found["n"]), sums)


def _doubles(column: Any) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _read_distincts(_: State, offsets: Integers, found: Mapping[str, Any]) -> Distincts:
    kept = np.diff(offsets)
    largest = np.full(len(kept), np.nan)
    # Ascending, so the last of a row is its largest.
    largest[kept > 0] = integers(found["hash"])[offsets[1:][kept > 0] - 1] / HASHES
    return Distincts(kept, largest)


def _read_samples(state: State, offsets: Integers, found: Mapping[str, Any]) -> Samples:
    truth, prediction = (_doubles(found[name]) for name in ("truth", "prediction"))
    keys = integers(found["key"])
    texts = found["columns"].to_pylist() if state.columns else []
    pieces = list(itertools.pairwise(offsets))
    columns: list[Mapping[str, Any]] = [
        {name: np.array([each[i] for each in texts[a:b]], dtype=object) for i, name in enumerate(state.columns)}
        for a, b in pieces
    ]
    return Samples(
        [truth[a:b] for a, b in pieces], [prediction[a:b] for a, b in pieces], [keys[a:b] for a, b in pieces], columns
    )


_READ = {
    "histogram": _read_histograms,
    "groups": _read_groups,
    "distinct": _read_distincts,
    "sample": _read_samples,
}


def _together(state: State, source: str, group: str, totals: str) -> str:
    """SQL that merges a list state's rows of each group; a histogram of more than EXACT_ROWS values is rounded."""
    if state.kind == "histogram":
        value = f"CASE WHEN total > {EXACT_ROWS} THEN {rounded_sql('value', state.spread)} + 0.0::DOUBLE ELSE value END"
        return (
            f"SELECT {group}, key AS value, sum(n)::BIGINT AS n, sum(marked)::BIGINT AS marked, "
            "any_value(total) AS total "
            f"FROM (SELECT {group}, {value} AS key, n, marked, total FROM ({source}) JOIN {totals} USING ({group})) "
            f"GROUP BY {group}, key"
        )
    if state.kind == "groups":
        summed = ", ".join(f"sum({name}) AS {name}" for name in ("n", "whole", "fraction", "undefined"))
        return f"SELECT {group}, key, {summed} FROM ({source}) GROUP BY {group}, key"
    if state.kind == "distinct":
        distinct = f"SELECT DISTINCT {group}, hash FROM ({source})"
        return f"SELECT {group}, unnest({smallest('hash', DISTINCT)}) AS hash FROM ({distinct}) GROUP BY {group}"
    place = f"row_number() OVER (PARTITION BY {group} ORDER BY key, truth, prediction)"
    return f"SELECT {group}, key, truth, prediction, columns FROM ({source}) QUALIFY {place} <= {SAMPLE_ROWS}"
