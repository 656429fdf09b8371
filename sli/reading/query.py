"""Any window, any slice, at query time: merged from stored tiles, day tiles inside and hour tiles at the edges.

No row of the logs is read and nothing is written. Limit: it knows what the last run published, and a Python function is
evaluated on the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sli import schemas
from sli.calendar.duration import DAY, Duration, tiles_named
from sli.calendar.grain import Grain
from sli.calendar.interval import Instants, iso
from sli.config.arguments import When, duration_of, instant_of
from sli.config.entries import PythonSli, built_in, parse_slis
from sli.config.load import load_config
from sli.config.model import Config
from sli.errors import ConfigError, StoreError, nearest
from sli.planning.affected import resting_on
from sli.planning.published import Published
from sli.publishing.rows import decode_texts, stored_rows, to_pandas
from sli.publishing.store import Store
from sli.rollup.evaluate import Evaluation
from sli.rollup.merge import TileTables
from sli.rollup.reference import reference_tables
from sli.rollup.results import NOTHING, results
from sli.slices import OTHER, SliceBy, parse_slice, slice_by_of, slice_text
from sli.slis import Sli

WINDOWS = 100_000
"""More are hardly meant."""


def query(
    config: str | Path | Config,
    sli: str | Sequence[str],
    *,
    size: str | Duration | None = None,
    every: str | Duration | None = None,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    slice_by: Sequence[str] | None = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """Values over any windows as a DataFrame with the columns of `schemas.BELIEF`, ordered by SLI, slice and window.

    Windows of `size` (default: all of the time asked for) that start every `every` (default: `size`) from `start`
    (default: `since`) and end by `end` (default: the newest hour's end); whole days count on the calendar of the
    config's zone. `slice` picks one slice (`{}`: all), `slice_by` all slices of those columns (default: the whole).
    `sli` names one of the config, or a built-in one whose states the tiles have because others need them. Raises
    SliError.
    """
    names = [sli] if isinstance(sli, str) else list(sli)
    asked = _asked(load_config(config, settings), names, (size, every, start, end), slice, slice_by)
    with asked.evaluation() as evaluation:
        batches = evaluation.batches(asked.grain, asked.starts, asked.ends)
        found = [each for batch in batches for each in results(asked.config, asked.grain, batch, asked.published.as_of)]
    rows = pa.concat_tables([_waiting(asked, sli, decode_texts(part)) for sli, part in found] or [NOTHING])
    rows = decode_texts(rows)
    if asked.wanted is not None:
        rows = rows.filter(pc.equal(rows.column("slice"), asked.wanted))
    stamp = {"model": asked.config.model, "as_of": asked.published.as_of, "run_id": asked.published.run_id}
    for name, value in stamp.items():
        rows = rows.append_column(name, pa.repeat(value, len(rows)))
    order = [(name, "ascending") for name in ("sli", "slice", "window_end", "window_start")]
    return to_pandas(stored_rows(rows.sort_by(order).select([name for name, _ in schemas.BELIEF])))


def distribution(
    config: str | Path | Config,
    sli: str,
    *,
    size: str | Duration | None = None,
    every: str | Duration | None = None,
    start: When = None,
    end: When = None,
    slice: Mapping[str, str | None] | None = None,
    slice_by: Sequence[str] | None = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """How often each value occurs in what an SLI keeps, such as a quantile or the share of the most common value.

    Columns: window_start, window_end, slice_by, slice, value (a number of a histogram, a text of groups) and count, the
    most common first within a window and slice. Windows and slices are chosen as by `query`. Numbers are the very ones
    in a window of at most EXACT_ROWS, beyond rounded to 10 significant bits. Raises SliError.
    """
    asked = _asked(load_config(config, settings), [sli], (size, every, start, end), slice, slice_by)
    states = [each for each in asked.slis[0].formula.states.values() if each.kind in ("histogram", "groups")]
    if not states:
        raise ConfigError(
            f"'{sli}' keeps no distribution", where="SLI", expected="such as quantile, mode_share or roc_auc"
        )
    with asked.evaluation() as evaluation:
        rows, found = evaluation.distribution(states[0], asked.grain, asked.starts, asked.ends)
    at = found.rows
    table = pa.table(
        {
            "window_start": asked.starts[rows.window][at],
            "window_end": asked.ends[rows.window][at],
            "slice_by": rows.slice_by.take(pa.array(at)),
            "slice": rows.slice.take(pa.array(at)),
            "value": pa.array(found.keys),
            "count": found.counts,
        }
    )
    if asked.wanted is not None:
        table = table.filter(pc.equal(table.column("slice"), asked.wanted))
    keys = ("slice", "window_end", "window_start", "count", "value")
    order = [(name, "descending" if name == "count" else "ascending") for name in keys]
    return to_pandas(stored_rows(table.sort_by(order)))


@dataclass(frozen=True)
class _Asked:
    """What is asked for, and what is published."""

    config: Config
    store: Store
    published: Published
    slis: list[Sli]
    by: SliceBy
    wanted: str | None
    """The one slice, as its text."""
    grain: Grain
    starts: Instants
    ends: Instants

    def evaluation(self) -> Evaluation:
        """The tiles that the windows, and those they are compared with, rest on."""
        references = [each.reference for each in self.slis if each.reference is not None]
        before = [self.grain.before(self.config.zone, self.starts, self.ends)] * any(
            r.kind == "previous" for r in references
        )
        fixed = [[each.interval.start, each.interval.end] for each in references if each.interval is not None]
        edges = np.concatenate([self.starts, self.ends, *before, *fixed], dtype=np.int64, casting="unsafe")
        # Whoever asks for one slice by name is told it, also where the tables have it among the rest.
        caps = {} if self.wanted is not None and OTHER not in parse_slice(self.wanted).values() else self.config.caps
        reader = _Tiles(self, None if self.by in caps else self.wanted)
        midnights = reader.midnights(int(edges.min()), int(edges.max()))
        tiles, days = reader.tiles(edges, midnights), reader.days(midnights)
        tables = any(each.kind == "table" for each in references)
        compared = (
            reference_tables(self.config, self.slis, self.store.inputs(self.published).predictions) if tables else {}
        )
        return Evaluation(self.config, TileTables(tiles, days, midnights, compared), self.slis, caps)


def _asked(
    config: Config,
    names: Sequence[str],
    windows: tuple[str | Duration | None, str | Duration | None, When, When],
    slice: Mapping[str, str | None] | None,
    slice_by: Sequence[str] | None,
) -> _Asked:
    store = Store(config.store, config.storage)
    published = store.published()
    if published is None:
        raise StoreError("nothing is published yet", where=store.root, todo="`sli run CONFIG` first")
    published.check_current(store.root)
    if published.base != config.base:
        raise ConfigError("the config differs from what is published", where="CONFIG", todo="`sli run CONFIG` first")
    chosen = [_sli(config, published, name) for name in names]
    by = slice_by_of(slice if slice is not None else slice_by or ())
    if by not in published.slice_sets:
        sets = ", ".join("all" if not each else " x ".join(each) for each in published.slice_sets)
        raise ConfigError(
            "no tiles of these slices are kept",
            where="slice",
            expected=sets,
            found=" x ".join(by) or "all",
            todo=f"list [{', '.join(by)}] under `slice_by` and run once",
        )
    wanted = None if slice is None else slice_text(slice)
    return _Asked(config, store, published, chosen, by, wanted, *_windows(config, published, *windows))


def _sli(config: Config, published: Published, name: str) -> Sli:
    """An SLI of the config, or a built-in one, whose states are all in the tiles. Raises ConfigError."""
    found = next((each for each in config.declared if each.name == name), None)
    if found is None:
        try:
            built_in(name, config.task)
        except ConfigError as error:
            names = [each.name for each in config.declared]
            raise ConfigError(
                f"there is no SLI '{name}'",
                where="SLI",
                expected=f"one of the config ({', '.join(names)}), or a built-in one",
                todo=nearest(name, names) or error.todo,
            ) from error
        found = _undeclared(config, name)
    missing = [each for each, state in found.formula.states.items() if state.id not in published.states]
    missing = [each for each in missing if found.formula.states[each].kind != "window"]
    if missing:
        raise ConfigError(
            f"the tiles lack what '{name}' needs",
            where="SLI",
            found=f"no {', '.join(missing)}",
            todo="`sli run CONFIG` once" if name in {each.name for each in config.declared} else "list it under `slis`",
        )
    if isinstance(found, PythonSli):
        found.load()
    return found


def _undeclared(config: Config, name: str) -> Sli:
    """A built-in SLI without parameters. Raises ConfigError."""
    try:
        return parse_slis([name], config.context)[0]
    except ConfigError as error:
        error.where, error.todo = "SLI", f"list it under `slis`: {error.todo}".removesuffix(": ")
        raise


def _windows(
    config: Config,
    published: Published,
    size: str | Duration | None,
    every: str | Duration | None,
    start: When,
    end: When,
) -> tuple[Grain, Instants, Instants]:
    """The windows asked for. Raises ConfigError."""
    first = config.since_instant if start is None else instant_of(config.zone, "start", start)
    last = published.newest if end is None else instant_of(config.zone, "end", end)
    if first >= last:
        raise ConfigError(
            "the time asked for is empty", where="start", expected=f"before {iso(last)}", found=iso(first)
        )
    tiles = f"whole {tiles_named(config.tile)}"
    for name, instant in (("start", first), ("end", last)):
        if instant % config.tile:
            raise ConfigError(
                f"{name} lies within a tile",
                where=name,
                expected=tiles,
                found=iso(instant),
            )
    if size is None:
        if every is not None:
            raise ConfigError("`every` needs a `size`", where="every")
        span = f"{iso(first)}/{iso(last)}"
        return Grain(span, Duration(span, last - first, None)), np.array([first]), np.array([last])
    step = duration_of("every", every) if every is not None else duration_of("size", size)
    long = duration_of("size", size)
    for name, each in (("size", long), ("every", step)):
        if each.micros == 0 or each.micros % config.tile:
            raise ConfigError(f"{name} must be made of {tiles}", where=name, found=each.text)
    if (last - first) // step.micros > WINDOWS:
        raise ConfigError("too many windows", where="every", expected=f"at most {WINDOWS:,}", found=step.text)
    grain = Grain.sliding(long, step)
    starts = _stepped(config, first, last, step)
    ends = np.array([_later(config, int(each), long) for each in starts], dtype=np.int64)
    kept = ends <= last
    if not kept.any():
        raise ConfigError(
            "no window fits",
            where="size",
            expected=f"at most the time from {iso(first)} to {iso(last)}",
            found=long.text,
        )
    return grain, starts[kept], ends[kept]


def _stepped(config: Config, first: int, last: int, step: Duration) -> Instants:
    if step.days is None:
        return np.arange(first, last, step.micros, dtype=np.int64)
    steps = (last - first) // (step.days * DAY) + 2
    found = np.array([config.zone.shifted(first, i * step.days) for i in range(steps)], dtype=np.int64)
    return found[found < last]


def _later(config: Config, at: int, by: Duration) -> int:
    """An instant later by a length; whole days keep the time of the day."""
    return at + by.micros if by.days is None else config.zone.shifted(at, by.days)


def _waiting(asked: _Asked, sli: Sli, rows: pa.Table) -> pa.Table:
    """With null and a reason where a window rests on tiles still to be computed."""
    published, zone = asked.published, asked.config.zone
    gaps = [each for state in sli.formula.states.values() for each in published.lacking_states.get(state.id, ())]
    starts, ends = (rows.column(name).to_numpy() for name in ("window_start", "window_end"))
    waits = resting_on(zone, asked.grain, starts, ends, [*published.waiting, *gaps], sli.reference)
    if not waits.any():
        return rows
    for name in ("value", "ci_low", "ci_high", "missing_low", "missing_high", "error_bound", "verdict"):
        column = rows.column(name).to_pylist()
        kept = [None if wait else value for value, wait in zip(column, waits, strict=True)]
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(kept, rows.schema.field(name).type))
    reasons = zip(rows.column("reason").to_pylist(), waits, strict=True)
    text = ["holds hours still to be computed" if wait else reason for reason, wait in reasons]
    return rows.set_column(rows.schema.get_field_index("reason"), "reason", pa.array(text, pa.string()))


class _Tiles:
    """Reads of the store only what windows rest on: some slices, some states, whole days and the hours at the edges."""

    def __init__(self, asked: _Asked, wanted: str | None) -> None:
        self.config, self.store, self.published = asked.config, asked.store, asked.published
        states = {state.id for each in asked.slis for state in each.formula.states.values()}
        self.columns = {"day", "span", "start", "slice_by", "slice", "predictions", "labelled", *states}
        self.only = (ds.field("slice_by") == ",".join(asked.by)) & (ds.field("span") == "tile")
        if wanted is not None:
            self.only &= ds.field("slice") == wanted

    def midnights(self, low: int, high: int) -> Instants:
        zone = self.config.zone
        return np.array(zone.midnights(zone.date(low), zone.date(high - 1) + timedelta(days=1)), dtype=np.int64)

    def tiles(self, edges: npt.NDArray[np.int64], midnights: Instants) -> pa.Table:
        """Hour tiles of the days that a window begins or ends within."""
        zone = self.config.zone
        within = np.unique(edges[~np.isin(edges, midnights)])
        days = sorted({zone.date(int(each)).isoformat() for each in within})
        if not days:
            return schemas.TILES.empty_table()
        return self.store.rows("tiles", self.published, self.columns, self.only, [("day", "in", days)])

    def days(self, midnights: Instants) -> pa.Table:
        """Day tiles from the first midnight on up to the last."""
        dates = [self.config.zone.date(int(each)).isoformat() for each in midnights]
        months = {each[:7] for each in dates}
        day = (ds.field("day") >= dates[0]) & (ds.field("day") < dates[-1])
        return self.store.rows("days", self.published, self.columns, self.only & day, [("month", "in", sorted(months))])
