"""Roll-up: every window is a merge of tiles; no raw row is touched and nothing is ever subtracted.

Tiles are merged once into blocks of 4, 16, 64, ... tiles; a window is the merge of the few blocks that cover it
exactly, so an hour, a day, 30 sliding days and the time since deployment cost about the same. Limit: all tiles of the
windows asked for are held in DuckDB, which spills to disk beyond the memory of a task.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sli.config import Config
from sli.intervals import Instants
from sli.scan import connect
from sli.slis import Sli, State
from sli.slis.base import Values
from sli.slis.states import (
    EXACT_ROWS,
    FRACTION,
    SAMPLE_ROWS,
    Flags,
    Histograms,
    Integers,
    Merged,
    Samples,
    integers,
    rounded_sql,
)
from sli.windows import Grain

RADIX = 4
Choose = Callable[[Instants, Instants], npt.NDArray[np.bool_]]


def newest_hour(config: Config, tiles: pa.Table) -> int:
    """End of the local hour that holds the newest prediction; `since` if there is none."""
    spans = tiles.column("span").to_numpy(zero_copy_only=False)
    starts = tiles.column("start").cast(pa.int64()).to_numpy()[spans == "tile"]
    if len(starts) == 0:
        return config.since_instant
    last = int(starts.max())
    return int(config.zone.hours(last, last + 1)[-1])


def roll_up(
    config: Config,
    tiles: pa.Table,
    newest: int,
    slis: Iterable[Sli],
    grains: Iterable[Grain],
    choose: Choose,
    as_of: int,
    done: Callable[[], None],
) -> pa.Table:
    """Results of the chosen windows: one row a window, slice and SLI, without as_of and run_id, slices as text.

    `done` is called after each grain.
    """
    slis = list(slis)
    states = {state.id: state for each in slis for state in each.formula.states.values()}
    con = connect(config.parallel, config.task_memory)
    parts: list[pa.Table] = []
    try:
        blocks = _Blocks(con, tiles, states, config.tile)
        for grain in grains:
            starts, ends = grain.windows(config.zone, config.since_instant, newest)
            chosen = choose(starts, ends)
            if chosen.any():
                parts.extend(_of_grain(config, blocks, grain, starts[chosen], ends[chosen], slis, as_of))
            done()
    finally:
        con.close()
    return pa.concat_tables(parts) if parts else pa.table({name: pa.array([], kind) for name, kind in ROLLED.items()})


def _of_grain(
    config: Config, blocks: _Blocks, grain: Grain, starts: Instants, ends: Instants, slis: list[Sli], as_of: int
) -> Iterable[pa.Table]:
    rows = blocks.merge(starts, ends)
    n = len(rows.window)
    if n == 0:
        return
    merged = {state.id: blocks.values(state, rows, grain.name, starts) for state in blocks.states.values()}
    end = ends[rows.window]
    days = {int(each): config.zone.date(int(each) - 1).isoformat() for each in np.unique(end)}
    with np.errstate(invalid="ignore"):
        coverage = rows.labelled / rows.predictions
    common = {
        "grain": pa.array([grain.name] * n, pa.string()).dictionary_encode(),
        "window_start": starts[rows.window],
        "window_end": end,
        "slice_by": rows.slice_by,
        "slice": rows.slice,
        "predictions": rows.predictions,
        "labelled": rows.labelled,
        "coverage": coverage,
        "maturity": np.where(end + config.horizon.micros <= as_of, "final", "provisional"),
        "day": np.array([days[int(each)] for each in end], dtype=object),
    }
    for each in slis:
        states = {name: merged[state.id] for name, state in each.formula.states.items()}
        found = each.formula.value(Merged(rows.predictions, rows.labelled, states))
        yield _table(config, each, common, found)


ROLLED = {
    "sli": pa.string(),
    "definition": pa.string(),
    "grain": pa.string(),
    "window_start": pa.int64(),
    "window_end": pa.int64(),
    "slice_by": pa.string(),
    "slice": pa.string(),
    "value": pa.float64(),
    "reason": pa.string(),
    "ci_low": pa.float64(),
    "ci_high": pa.float64(),
    "error_bound": pa.float64(),
    "predictions": pa.int64(),
    "labelled": pa.int64(),
    "coverage": pa.float64(),
    "maturity": pa.string(),
    "objective": pa.string(),
    "verdict": pa.string(),
    "day": pa.string(),
}


def _table(config: Config, sli: Sli, common: Mapping[str, Any], found: Values) -> pa.Table:
    n = len(found.value)
    verdict = sli.objective.verdicts(found) if sli.objective else np.full(n, None, dtype=object)
    columns = {
        **common,
        "sli": [sli.name] * n,
        "definition": [sli.definition(config.base)] * n,
        "value": found.value,
        "reason": found.reason,
        "ci_low": found.low,
        "ci_high": found.high,
        "error_bound": found.bound,
        "objective": [sli.objective.text if sli.objective else None] * n,
        "verdict": verdict,
    }

    def column(name: str, kind: pa.DataType) -> Any:
        given = columns[name]
        if isinstance(given, pa.Array | pa.ChunkedArray):
            return given.cast(kind)
        return pa.array(given, kind, from_pandas=True)

    return pa.table({name: column(name, kind) for name, kind in ROLLED.items()})


class _Rows:
    """The (window, slice) rows of a grain, ordered by window and slice."""

    def __init__(self, found: pa.Table) -> None:
        self.table = found
        self.window = integers(found.column("w"))
        self.code = integers(found.column("code"))
        self.slice_by = found.column("slice_by")
        self.slice = found.column("slice")
        self.predictions = integers(found.column("predictions"))
        self.labelled = integers(found.column("labelled"))


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


class _Blocks:
    """Merged states of blocks of tiles, in DuckDB."""

    def __init__(self, con: duckdb.DuckDBPyConnection, tiles: pa.Table, states: Mapping[str, State], tile: int) -> None:
        self.con, self.tiles, self.states, self.tile = con, tiles, states, tile
        con.register("tiles_arrow", tiles)
        con.execute(
            "CREATE TEMP TABLE slices AS "
            "SELECT row_number() OVER (ORDER BY slice_by, slice) - 1 AS code, slice_by, slice "
            "FROM (SELECT DISTINCT slice_by, slice FROM tiles_arrow WHERE span = 'tile')"
        )
        found = con.execute(
            f"SELECT min(epoch_us(start)) // {tile}, max(epoch_us(start)) // {tile} "
            "FROM tiles_arrow WHERE span = 'tile'"
        ).fetchone()
        self.origin, self.last = (0, -1) if found is None or found[0] is None else found
        self.levels = 0
        self._leaves()

    def _leaves(self) -> None:
        parts, self.columns = "", ["predictions", "labelled"]
        for state in self._of("count", "min", "max"):
            parts += f", t.{state.id}"
            self.columns.append(state.id)
        for state in self._of("sum"):
            for part in ("whole", "fraction", "undefined", "terms"):
                parts += f", (t.{state.id}).{part}::HUGEINT AS {state.id}_{part}"
                self.columns.append(f"{state.id}_{part}")
        number = f"epoch_us(t.start) // {self.tile} - {self.origin}"
        here = "FROM tiles_arrow t JOIN slices s ON s.slice_by = t.slice_by AND s.slice = t.slice WHERE t.span = 'tile'"
        self.con.execute(
            "CREATE TEMP TABLE blocks AS "
            f"SELECT 0 AS level, {number} AS number, s.code, t.predictions, t.labelled{parts} {here}"
        )
        for state in self._of("histogram"):
            self.con.execute(
                f"CREATE TEMP TABLE {state.id} AS SELECT 0 AS level, number, code, x.value AS value, x.count AS n FROM "
                f"(SELECT {number} AS number, s.code, unnest(t.{state.id}) AS x {here})"
            )
            self.con.execute(
                f"CREATE TEMP TABLE {state.id}_totals AS SELECT level, number, code, sum(n)::BIGINT AS total "
                f"FROM {state.id} GROUP BY ALL"
            )
        for state in self._of("sample"):
            self.con.execute(
                f"CREATE TEMP TABLE {state.id} AS SELECT 0 AS level, number, code, "
                "x.key AS key, x.truth AS truth, x.prediction AS prediction "
                f"FROM (SELECT {number} AS number, s.code, unnest(t.{state.id}) AS x {here})"
            )

    def _of(self, *kinds: str) -> list[State]:
        return [state for state in self.states.values() if state.kind in kinds]

    def _merged(self) -> str:
        """SQL that merges the additive columns and extremes."""
        extremes = {state.id: state.kind for state in self._of("min", "max")}
        return "".join(f", {extremes.get(name, 'sum')}({name}) AS {name}" for name in self.columns)

    def _grow(self, levels: int) -> None:
        """Build blocks up to a level, each from the one below."""
        while self.levels < levels:
            below, self.levels = self.levels, self.levels + 1
            group = f"{self.levels} AS level, number // {RADIX} AS number, code"
            self.con.execute(
                f"INSERT INTO blocks SELECT {group}{self._merged()} FROM blocks WHERE level = {below} GROUP BY ALL"
            )
            for state in self._of("histogram"):
                self.con.execute(
                    f"INSERT INTO {state.id}_totals SELECT {group}, sum(total)::BIGINT FROM {state.id}_totals "
                    f"WHERE level = {below} GROUP BY ALL"
                )
                source = f"SELECT {group}, value, n FROM {state.id} WHERE level = {below}"
                self.con.execute(
                    f"INSERT INTO {state.id} SELECT level, number, code, value, n FROM "
                    f"({_histogram(source, f'{state.id}_totals', 'level, number, code', state)})"
                )
            for state in self._of("sample"):
                source = (
                    f"SELECT number // {RADIX} AS number, code, key, truth, prediction "
                    f"FROM {state.id} WHERE level = {below}"
                )
                self.con.execute(
                    f"INSERT INTO {state.id} SELECT {self.levels}, * FROM ({_smallest(source, 'number, code')})"
                )

    def merge(self, starts: Instants, ends: Instants) -> _Rows:
        """Choose the windows: merges of the additive states, one row a window and slice that holds predictions."""
        lo = np.clip(starts // self.tile - self.origin, 0, self.last - self.origin + 1)
        hi = np.clip(ends // self.tile - self.origin, 0, self.last - self.origin + 1)
        windows, levels, numbers = cover(lo, np.maximum(lo, hi))
        self._grow(int(levels.max()) if len(levels) else 0)
        self.con.register("cover_arrow", pa.table({"w": windows, "level": levels, "number": numbers}))
        self.con.execute("CREATE OR REPLACE TEMP TABLE cover AS FROM cover_arrow")
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE merged AS SELECT w, code{self._merged()} "
            "FROM cover JOIN blocks USING (level, number) GROUP BY w, code"
        )
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE placed AS "
            "SELECT row_number() OVER (ORDER BY w, code) - 1 AS row, * FROM merged"
        )
        names = ", ".join(self._finished(name) for name in self.columns)
        return _Rows(
            self.con.sql(
                f"SELECT w, code, slice_by, slice, {names} FROM placed JOIN slices USING (code) ORDER BY row"
            ).to_arrow_table()
        )

    def _finished(self, name: str) -> str:
        if name.endswith(("_whole", "_fraction")):
            return f"{name}::DOUBLE AS {name}"
        return f"{name}::BIGINT AS {name}" if not name.startswith(("min_", "max_")) else name

    def values(self, state: State, rows: _Rows, grain: str, starts: Instants) -> Any:
        """What an SLI sees of a state, aligned with the rows."""
        if state.kind == "count":
            return rows.table.column(state.id).to_numpy()
        if state.kind in ("min", "max"):
            return rows.table.column(state.id).to_numpy(zero_copy_only=False)
        if state.kind == "sum":
            whole, fraction, undefined, terms = (
                rows.table.column(f"{state.id}_{part}").to_numpy()
                for part in ("whole", "fraction", "undefined", "terms")
            )
            return np.where((undefined > 0) | (terms == 0), np.nan, whole + fraction / FRACTION)
        if state.kind == "histogram":
            return self._histograms(state, rows)
        return self._samples(state, rows) if state.kind == "sample" else self._window_values(state, rows, grain, starts)

    def _histograms(self, state: State, rows: _Rows) -> Histograms:
        placed = "USING (level, number) JOIN placed p USING (w, code)"
        self.con.execute(
            "CREATE OR REPLACE TEMP TABLE row_totals AS SELECT row, sum(total)::BIGINT AS total "
            f"FROM cover JOIN {state.id}_totals {placed} GROUP BY row"
        )
        source = f"SELECT row, value, n FROM cover JOIN {state.id} {placed}"
        found = self.con.execute(f"{_histogram(source, 'row_totals', 'row', state)} ORDER BY row, value").fetchnumpy()
        row, n = integers(found["row"]), len(rows.window)
        exact: Flags = np.ones(n, dtype=bool)
        exact[row[np.asarray(found["total"]) > EXACT_ROWS]] = False
        offsets = np.searchsorted(row, np.arange(n + 1))
        keys = np.asarray(found["value"], dtype=np.float64)
        return Histograms(offsets, keys, integers(found["n"]), exact, state.spread)

    def _samples(self, state: State, rows: _Rows) -> Samples:
        source = (
            "SELECT row, key, truth, prediction "
            f"FROM cover JOIN {state.id} USING (level, number) JOIN placed p USING (w, code)"
        )
        found = self.con.execute(
            f"SELECT * FROM ({_smallest(source, 'row')}) ORDER BY row, key, truth, prediction"
        ).fetchnumpy()
        at = np.searchsorted(integers(found["row"]), np.arange(len(rows.window) + 1))
        parts = {
            name: [np.asarray(found[name])[a:b] for a, b in itertools.pairwise(at)]
            for name in ("truth", "prediction", "key")
        }
        return Samples(parts["truth"], parts["prediction"], parts["key"])

    def _window_values(self, state: State, rows: _Rows, grain: str, starts: Instants) -> tuple[Any, Any]:
        """Values of a Python function on all pairs of a window, NaN where the kernel did not make one."""
        value, reason = np.full(len(rows.window), np.nan), np.full(len(rows.window), None, dtype=object)
        if state.id not in self.tiles.schema.names:
            return value, reason
        self.con.register("starts_arrow", pa.table({"w": np.arange(len(starts)), "start": starts}))
        found = self.con.sql(
            f"SELECT row, (t.{state.id}).value AS value, (t.{state.id}).reason AS reason FROM tiles_arrow t "
            "JOIN slices s ON s.slice_by = t.slice_by AND s.slice = t.slice "
            "JOIN starts_arrow w ON w.start = epoch_us(t.start) JOIN placed p ON p.w = w.w AND p.code = s.code "
            f"WHERE t.span = ? AND t.{state.id} IS NOT NULL",
            params=[grain],
        ).to_arrow_table()
        row = found.column("row").to_numpy()
        value[row] = found.column("value").to_numpy(zero_copy_only=False)
        reason[row] = found.column("reason").to_pylist()
        return value, reason


def _histogram(source: str, totals: str, group: str, state: State) -> str:
    """Merge counts by value; where `totals` says more than EXACT_ROWS values, they are rounded."""
    value = f"CASE WHEN total > {EXACT_ROWS} THEN {rounded_sql('value', state.spread)} + 0.0::DOUBLE ELSE value END"
    return (
        f"SELECT {group}, key AS value, sum(n)::BIGINT AS n, any_value(total) AS total "
        f"FROM (SELECT {group}, {value} AS key, n, total FROM ({source}) JOIN {totals} USING ({group})) "
        f"GROUP BY {group}, key"
    )


def _smallest(source: str, group: str) -> str:
    """Keep the SAMPLE_ROWS smallest keys of each group."""
    place = f"row_number() OVER (PARTITION BY {group} ORDER BY key, truth, prediction)"
    return f"SELECT {group}, key, truth, prediction FROM ({source}) QUALIFY {place} <= {SAMPLE_ROWS}"
