"""Values over any windows and slices, merged from stored tiles: whole days, and hours at the edges.

It reads no logs and writes nothing. Limit: it knows only what the last run published; Python functions see samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sli import schemas
from sli.calendar.duration import DAY, HOUR, MINUTE, Duration, tile_unit
from sli.calendar.grain import Grain
from sli.calendar.interval import Instants, iso
from sli.calendar.zone import Zone
from sli.config.arguments import When, duration_of, instant_of, near_slices, slice_columns
from sli.config.load import load_config
from sli.config.model import Config
from sli.engine.arrow import ChunkedColumn, Column
from sli.errors import ConfigError
from sli.planning.affected import windows_resting_on
from sli.planning.published import Published
from sli.publishing.rows import decode_texts, stored_rows, to_pandas
from sli.reading.publication import Publication, opened
from sli.rollup.evaluate import Evaluation
from sli.rollup.merge import TileTables
from sli.rollup.reference import reference_tables
from sli.rollup.results import NOTHING, results
from sli.slices import OTHER, SliceBy, parse_slice, slice_text
from sli.slis import Sli

WINDOWS = 100_000
"""Most windows of a query; a request for more is taken for a mistake."""
Order = list[tuple[str, Literal["ascending", "descending"]]]


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
    as_of: When = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """Values over any windows as a DataFrame, ordered by SLI, slice and window; the columns are those of `sli.read`.

    `size` is the length of a window, for example `7d` (default: one window from `start` to `end`), `every` the distance
    from one start to the next (default: `size`). The first window starts at `start` (default: the config's `since`),
    the last one ends at `end` or earlier (default: the end of the newest hour). Whole days are calendar days of the
    config's zone.
    `slice` chooses one slice (`{}`: all predictions together, also the default), `slice_by` all slices by these
    columns; the config must have them under `slice_by`. `sli` names SLIs of the config, or built-in ones whose states
    the tiles have because other SLIs need them. `settings` override keys of the config, each `KEY=VALUE`.

    `as_of` merges the tiles that were believed at that time, so that a window which was published then has the value
    that `sli.read` gives for the same `as_of`; the newest hour is the newest of then. Raises SliError, also for an
    `as_of` before the first run, and where no tiles of then exist: a run with an older as_of than what was published
    keeps none.

    >>> import sli
    >>> whole = sli.query(config, "accuracy")
    >>> len(whole), bool(whole.missing_low.iloc[0] <= whole.value.iloc[0] <= whole.missing_high.iloc[0])
    (1, True)
    """
    names = [sli] if isinstance(sli, str) else list(sli)
    publication = opened(load_config(config, settings), as_of)
    question = _question(publication, names, (size, every, start, end), slice, slice_by)
    published = question.published
    with question.evaluation() as evaluation:
        rows = [
            _without_incomplete(question, part_sli, decode_texts(part))
            for batch in evaluation.batches(question.grain, question.starts, question.ends)
            for part_sli, part in results(question.config, question.grain, batch, published.as_of)
        ]
    table = _of_slice(decode_texts(pa.concat_tables(rows or [NOTHING])), question.slice)
    table = table.append_column("model", pa.repeat(question.config.model, len(table)))
    table = table.append_column("as_of", pa.repeat(published.as_of, len(table)))
    table = table.append_column("run_id", pa.repeat(published.run_id, len(table)))
    order: Order = [(name, "ascending") for name in ("sli", "slice", "window_end", "window_start")]
    return to_pandas(stored_rows(table.sort_by(order).select([name for name, _ in schemas.RESULT])))


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
    as_of: When = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """How often each value occurs, for an SLI that keeps them: a quantile, the share of the most common value, ...

    Columns: window_start, window_end, slice_by, slice, value (a number, or the text of a category) and count; ordered
    by slice and window, the most common value first. The arguments choose windows and slices as in `query`. Numbers
    are exact in a window of at most EXACT_ROWS predictions, and rounded to 10 significant bits in larger ones. `as_of`
    merges the tiles that were believed at that time. Raises SliError.

    >>> import sli
    >>> scores = sli.distribution(config, "score_p90")
    >>> list(scores.columns)
    ['window_start', 'window_end', 'slice_by', 'slice', 'value', 'count']
    >>> scores["count"].is_monotonic_decreasing
    True
    """
    publication = opened(load_config(config, settings), as_of)
    question = _question(publication, [sli], (size, every, start, end), slice, slice_by)
    states = [state for state in question.slis[0].formula.states.values() if state.kind in ("histogram", "groups")]
    if not states:
        raise ConfigError(
            f"'{sli}' keeps no values",
            where="SLI",
            expected="one that does, for example quantile or roc_auc",
        )
    with question.evaluation() as evaluation:
        windows, elements = evaluation.distribution(states[0], question.grain, question.starts, question.ends)
    owner = elements.rows
    positions = pa.array(owner, pa.int64())
    columns: dict[str, Column | ChunkedColumn] = {
        "window_start": pa.array(question.starts[windows.window][owner], pa.int64()),
        "window_end": pa.array(question.ends[windows.window][owner], pa.int64()),
        "slice_by": windows.slice_by.take(positions),
        "slice": windows.slice.take(positions),
        "value": pa.array(elements.keys),
        "count": pa.array(elements.counts, pa.int64()),
    }
    table = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    keys = ("slice", "window_end", "window_start", "count", "value")
    order: Order = [(name, "descending" if name == "count" else "ascending") for name in keys]
    return to_pandas(stored_rows(_of_slice(table, question.slice).sort_by(order)))


def _of_slice(rows: pa.Table, slice: str | None) -> pa.Table:
    """The rows of the slice with this text, or all rows if it is None."""
    return rows if slice is None else rows.filter(pc.equal(rows.column("slice"), pa.scalar(slice)))


@dataclass(frozen=True)
class _Question:
    """What is asked for, and what is published."""

    publication: Publication
    slis: list[Sli]
    slice_by: SliceBy
    slice: str | None
    """The text of the one slice asked for."""
    grain: Grain
    starts: Instants
    ends: Instants

    @property
    def config(self) -> Config:
        return self.publication.config

    @property
    def published(self) -> Published:
        return self.publication.published

    def evaluation(self) -> Evaluation:
        """Reads the tiles of the windows and of the references that they are compared with."""
        references = [sli.reference for sli in self.slis if sli.reference is not None]
        edges = [self.starts, self.ends]
        if any(reference.kind == "previous" for reference in references):
            edges.append(self.grain.before(self.config.zone, self.starts, self.ends))
        for reference in references:
            if reference.interval is not None:
                edges.append(np.array([reference.interval.start, reference.interval.end], dtype=np.int64))
        tables = {}
        if any(reference.kind == "table" for reference in references):
            tables = reference_tables(self.config, self.slis, self.publication.inputs().predictions)
        # A slice that is asked for by name has tiles of its own, even where the results count it as `(other)`.
        named = self.slice is not None and OTHER not in parse_slice(self.slice).values()
        caps = {} if named else self.config.caps
        reader = _Tiles(self, None if self.slice_by in caps else self.slice)
        return Evaluation(self.config, reader.read(np.concatenate(edges), tables), self.slis, caps)


Windows = tuple[str | Duration | None, str | Duration | None, When, When]
"""The arguments size, every, start and end of `query`."""


def _question(
    publication: Publication,
    names: Sequence[str],
    windows: Windows,
    slice: Mapping[str, str | None] | None,
    slice_by: Sequence[str] | None,
) -> _Question:
    """The question that the arguments of a public function ask. Raises SliError."""
    config, published = publication.config, publication.published
    slis = [publication.sli(name) for name in names]
    columns = slice_columns(slice, slice_by) or ()
    if columns not in published.slice_sets:
        raise ConfigError(
            "no tiles of these slices are kept",
            where="slice",
            expected=", ".join(" x ".join(names) or "all" for names in published.slice_sets),
            found=" x ".join(columns) or "all",
            todo=near_slices(columns, published.slice_sets)
            or f"list [{', '.join(columns)}] under `slice_by` and run once",
        )
    text = None if slice is None else slice_text(slice)
    asked = _windows(config.zone, config.tile, config.since_instant, published.newest, *windows)
    return _Question(publication, slis, columns, text, *asked)


def _windows(
    zone: Zone,
    tile: int,
    since: int,
    newest: int,
    size: str | Duration | None,
    every: str | Duration | None,
    start: When,
    end: When,
) -> tuple[Grain, Instants, Instants]:
    """The grain, and the starts and ends of the windows asked for. Raises ConfigError."""
    first = since if start is None else instant_of(zone, "start", start)
    last = newest if end is None else instant_of(zone, "end", end)
    _check_span(tile, first, last)
    if size is None:
        if every is not None:
            raise ConfigError("`every` needs a `size`", where="every")
        span = f"{iso(first)}/{iso(last)}"
        return Grain(span, Duration(span, last - first, None)), np.array([first]), np.array([last])
    length, step = _lengths(tile, size, every)
    if (last - first) // step.micros > WINDOWS:
        raise ConfigError("too many windows", where="every", expected=f"at most {WINDOWS:,}", found=step.text)
    starts = _starts(zone, first, last, step)
    ends = np.array([_later(zone, int(start), length) for start in starts], dtype=np.int64)
    inside = ends <= last
    if not inside.any():
        raise ConfigError(
            "no window fits",
            where="size",
            expected=f"at most the time from {iso(first)} to {iso(last)}",
            found=length.text,
        )
    return Grain.sliding(length, step), starts[inside], ends[inside]


def _check_span(tile: int, first: int, last: int) -> None:
    """Raise ConfigError if no time lies between the instants, or if one of them lies within a tile."""
    if first >= last:
        raise ConfigError(
            "the time asked for is empty", where="start", expected=f"before {iso(last)}", found=iso(first)
        )
    for name, instant in (("start", first), ("end", last)):
        if instant % tile:
            before = instant - instant % tile
            raise ConfigError(
                f"{name} must fall on whole {tile_unit(tile)}",
                where=name,
                expected=f"for example {iso(before)} or {iso(before + tile)}",
                found=iso(instant),
            )


def _lengths(tile: int, size: str | Duration, every: str | Duration | None) -> tuple[Duration, Duration]:
    """The length of a window and the step from one to the next, of whole tiles. Raises ConfigError."""
    step = duration_of("every", every) if every is not None else duration_of("size", size)
    window = duration_of("size", size)
    for name, duration in (("size", window), ("every", step)):
        if duration.micros == 0 or duration.micros % tile:
            raise ConfigError(
                f"{name} must be made of whole {tile_unit(tile)}",
                where=name,
                expected=f"a multiple of {tile // MINUTE} minutes" if tile < HOUR else "for example 6h or 7d",
                found=duration.text,
            )
    return window, step


def _starts(zone: Zone, first: int, last: int, step: Duration) -> Instants:
    if step.days is None:
        return np.arange(first, last, step.micros, dtype=np.int64)
    steps = (last - first) // (step.days * DAY) + 2
    starts = np.array([zone.days_later(first, i * step.days) for i in range(steps)], dtype=np.int64)
    return starts[starts < last]


def _later(zone: Zone, start: int, length: Duration) -> int:
    """The instant a length later; whole days keep the local time of day."""
    return start + length.micros if length.days is None else zone.days_later(start, length.days)


def _without_incomplete(question: _Question, sli: Sli, rows: pa.Table) -> pa.Table:
    """The rows. Where a window contains tiles still to be computed, the value is null and the reason says so."""
    published = question.published
    gaps = [gap for state in sli.formula.states.values() for gap in published.lacking_states.get(state.id, ())]
    starts, ends = (rows.column(name).to_numpy() for name in ("window_start", "window_end"))
    intervals = [*published.waiting, *gaps]
    incomplete = windows_resting_on(question.config.zone, question.grain, starts, ends, intervals, sli.reference)
    if not incomplete.any():
        return rows
    mask = pa.array(incomplete)
    for name in ("value", "ci_low", "ci_high", "missing_low", "missing_high", "error_bound", "verdict", "reason"):
        at, column = rows.schema.get_field_index(name), rows.column(name)
        text = "holds hours still to be computed" if name == "reason" else None
        rows = rows.set_column(at, name, pc.if_else(mask, pa.scalar(text, column.type), column))
    return rows


class _Tiles:
    """The stored tiles that windows need: only some slices and states, whole days, and hours at the edges."""

    def __init__(self, question: _Question, slice: str | None) -> None:
        self.zone, self.publication = question.config.zone, question.publication
        states = {state.id for sli in question.slis for state in sli.formula.states.values()}
        self.columns = {"day", "span", "start", "slice_by", "slice", "predictions", "labelled", *states}
        self.only = (ds.field("slice_by") == ",".join(question.slice_by)) & (ds.field("span") == "tile")
        if slice is not None:
            self.only &= ds.field("slice") == slice

    def read(self, edges: Instants, references: Mapping[str, pa.Table]) -> TileTables:
        """The tiles between the edges of windows, given as all their starts and ends."""
        first, last = self.zone.date(int(edges.min())), self.zone.date(int(edges.max()) - 1)
        midnights = np.array(self.zone.midnights(first, last + timedelta(days=1)), dtype=np.int64)
        return TileTables(self._hours(edges, midnights), self._days(midnights), midnights, references)

    def _hours(self, edges: Instants, midnights: Instants) -> pa.Table:
        """Hour tiles of the days within which a window begins or ends."""
        inside = np.unique(edges[~np.isin(edges, midnights)])
        days = sorted({self.zone.date(int(edge)).isoformat() for edge in inside})
        if not days:
            return schemas.TILES.empty_table()
        return self.publication.rows("tiles", self.columns, self.only, [("day", "in", days)])

    def _days(self, midnights: Instants) -> pa.Table:
        """Day tiles from the first midnight to the last."""
        dates = [self.zone.date(int(midnight)).isoformat() for midnight in midnights]
        months = {date[:7] for date in dates}
        day = (ds.field("day") >= dates[0]) & (ds.field("day") < dates[-1])
        return self.publication.rows("days", self.columns, self.only & day, [("month", "in", sorted(months))])
