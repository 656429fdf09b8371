"""Roll-up: every window is a merge of tiles; no raw row is touched and nothing is ever subtracted.

The merging is that of `blocks`; here the merged states become values, compared with their references where an SLI asks
for it. Limit: all rows of a grain are held in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sli.blocks import Blocks, Rows
from sli.config import Config
from sli.intervals import Instants, Zone
from sli.scan import connect
from sli.slices import SliceBy
from sli.slis import Reference, Sli, State
from sli.slis.base import Values
from sli.slis.states import Flags, Integers, Merged
from sli.windows import Grain

BATCH = 1 << 18
"""Elements of a list state evaluated at a time: few enough to stay near the processor."""
Choose = Callable[[Grain, Instants, Instants], npt.NDArray[np.bool_]]


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
    days: pa.Table,
    newest: int,
    slis: Iterable[Sli],
    grains: Iterable[Grain],
    choose: Choose,
    as_of: int,
    references: Mapping[str, pa.Table],
    done: Callable[[], None],
) -> pa.Table:
    """Results of the chosen windows: one row a window, slice and SLI, without as_of and run_id, slices as text.

    `references` holds the tiles of each reference table by its path. `done` is called after each grain.
    """
    parts: list[pa.Table] = []
    days = days.filter(pc.equal(days.column("span"), "tile"))
    midnights = midnights_of(config.zone, days)
    with Evaluation(config, config.caps, tiles, slis, references, days, midnights) as evaluation:
        for grain in grains:
            starts, ends = grain.windows(config.zone, config.since_instant, newest)
            chosen = choose(grain, starts, ends)
            if chosen.any():
                parts.extend(evaluation.results(grain, starts[chosen], ends[chosen], as_of))
            done()
    return pa.concat_tables(parts) if parts else nothing()


def midnights_of(zone: Zone, days: pa.Table) -> Instants:
    """The first instants of the first to the last day tile, and of the day after."""
    starts = days.column("start").cast(pa.int64()).to_numpy()
    if len(starts) == 0:
        return np.array([], dtype=np.int64)
    first, last = zone.date(int(starts.min())), zone.date(int(starts.max())) + timedelta(days=1)
    return np.array(zone.midnights(first, last), dtype=np.int64)


def nothing() -> pa.Table:
    """No result."""
    return pa.table({name: pa.array([], kind) for name, kind in ROLLED.items()})


class Evaluation:
    """The values of SLIs over windows of tiles."""

    def __init__(
        self,
        config: Config,
        caps: Mapping[SliceBy, int],
        tiles: pa.Table,
        slis: Iterable[Sli],
        references: Mapping[str, pa.Table],
        days: pa.Table,
        midnights: Instants,
    ) -> None:
        self.config, self.slis = config, list(slis)
        self.con = connect(config.parallel, config.task_memory)
        states = _states(self.slis)
        self.blocks = Blocks(self.con, tiles, states, config.tile, caps, days, midnights)
        self.tables: dict[str, Blocks] = {}
        for each in self.slis:
            if each.reference is not None and each.reference.kind == "table" and each.reference.path not in self.tables:
                path = each.reference.path
                con = connect(config.parallel, config.task_memory)
                compared = _states(s for s in self.slis if s.reference is not None and s.reference.path == path)
                self.tables[path] = Blocks(con, references[path], compared, config.tile, {})

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *_: object) -> None:
        for blocks in (self.blocks, *self.tables.values()):
            blocks.con.close()

    def results(self, grain: Grain, starts: Instants, ends: Instants, as_of: int) -> Iterator[pa.Table]:
        """Rows of `ROLLED`, a table an SLI, for the windows that hold predictions."""
        rows, found = self.values(grain, starts, ends)
        common = _common(self.config, grain, rows, starts, ends, as_of) if found else {}
        for each, values in found:
            yield _table(self.config, each, common, values)

    def values(self, grain: Grain, starts: Instants, ends: Instants) -> tuple[Rows, list[tuple[Sli, Values]]]:
        """One row a window and slice, and for each SLI its values in these rows."""
        rows = self.blocks.merge(starts, ends)
        if len(rows.window) == 0:
            return rows, []
        merged = self._merged(self.blocks, rows, grain.name, starts, ends)
        slices = self.blocks.con.execute("SELECT slice_by, slice FROM slices ORDER BY code").fetchall()
        references = dict.fromkeys(each.reference for each in self.slis if each.reference is not None)
        compared = {each: self._compared(each, grain, rows, slices, starts, ends) for each in references}

        rows_at_once = _batch(merged)

        def evaluated(first: int) -> list[Values]:
            last = min(first + rows_at_once, len(rows.window))
            own = merged.part(first, last)
            others = {each: of.part(first, last) for each, of in compared.items()}
            return [
                each.formula.value(_named(each, own, None if each.reference is None else others[each.reference]))
                for each in self.slis
            ]

        # NumPy lets go of the interpreter while it works.
        with ThreadPoolExecutor(self.config.parallel) as pool:
            batches = list(pool.map(evaluated, range(0, len(rows.window), rows_at_once)))
        found = [Values.joined([batch[i] for batch in batches]) for i in range(len(self.slis))]
        if self.config.min_support:
            small = _small(rows, self.config.min_support)
            found = [_without(each, small, too_few(self.config.min_support)) for each in found]
        return rows, list(zip(self.slis, found, strict=True))

    def state(self, state: State, grain: Grain, starts: Instants, ends: Instants) -> tuple[Rows, Any]:
        """One row a window and slice, and one state of these rows."""
        rows = self.blocks.merge(starts, ends)
        return rows, self.blocks.values(state, rows, grain.name, starts)

    def _merged(
        self,
        blocks: Blocks,
        rows: Rows,
        grain: str,
        starts: Instants,
        ends: Instants,
        only: Iterable[str] | None = None,
    ) -> Merged:
        """The states, by their ids, of rows just merged."""
        chosen = blocks.states if only is None else {each: blocks.states[each] for each in only}
        states = {id: blocks.values(state, rows, grain, starts) for id, state in chosen.items()}
        return Merged(rows.predictions, rows.labelled, states, ends[rows.window], self.config.level)

    def _compared(
        self, reference: Reference, grain: Grain, rows: Rows, slices: list[Any], starts: Instants, ends: Instants
    ) -> Merged:
        """The states of the reference, row by row; empty ones where it has no such slice."""
        mine = _states(each for each in self.slis if each.reference == reference)
        only = [id for id, state in mine.items() if state.kind != "window"]
        blocks = self.tables[reference.path] if reference.kind == "table" else self.blocks
        if reference.kind == "previous":
            first, last = grain.before(self.config.zone, starts, ends), starts
        elif reference.interval is not None:
            first, last = np.array([reference.interval.start]), np.array([reference.interval.end])
        else:
            first, last = np.array([0]), np.array([self.config.tile])
        # Each slice told apart is compared with itself, also where the reference would have it among the rest.
        other = blocks.merge(first, last, capped=False)
        if reference.kind == "table":
            codes = {pair: code for code, pair in enumerate(slices)}
            named = zip(other.slice_by.to_pylist(), other.slice.to_pylist(), strict=True)
            code = np.array([codes.get(each, -1) for each in named], dtype=np.int64)
        else:
            code = other.code
        window = other.window if reference.kind == "previous" else None
        at = _positions(rows, window, code, len(slices))
        return self._merged(blocks, other, grain.name, first, last, only).take(at)


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


def _batch(merged: Merged) -> int:
    """Rows to evaluate at a time."""
    elements = max((int(of.offsets[-1]) for of in merged.states.values() if hasattr(of, "offsets")), default=0)
    rows = len(merged.predictions)
    return min(rows, max(64, rows * BATCH // max(1, elements)))


def _states(slis: Iterable[Sli]) -> dict[str, State]:
    return {state.id: state for each in slis for state in each.formula.states.values()}


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


def _common(
    config: Config, grain: Grain, rows: Rows, starts: Instants, ends: Instants, as_of: int
) -> Mapping[str, Any]:
    """The columns that all SLIs share."""
    end = ends[rows.window]
    days = {int(each): config.zone.date(int(each) - 1).isoformat() for each in np.unique(end)}
    with np.errstate(invalid="ignore"):
        coverage = rows.labelled / rows.predictions
    return {
        "grain": pa.repeat(grain.name, len(end)),
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
    "missing_low": pa.float64(),
    "missing_high": pa.float64(),
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
        "sli": pa.repeat(sli.name, n),
        "definition": pa.repeat(config.definition(sli), n),
        "value": found.value,
        "reason": found.reason,
        "ci_low": found.low,
        "ci_high": found.high,
        "missing_low": found.missing_low,
        "missing_high": found.missing_high,
        "error_bound": found.bound,
        "objective": pa.repeat(pa.scalar(sli.objective.text if sli.objective else None, pa.string()), n),
        "verdict": verdict,
    }

    def column(name: str, kind: pa.DataType) -> Any:
        given = columns[name]
        if isinstance(given, pa.Array | pa.ChunkedArray):
            return given.cast(kind)
        return pa.array(given, kind, from_pandas=True)

    return pa.table({name: column(name, kind) for name, kind in ROLLED.items()})
