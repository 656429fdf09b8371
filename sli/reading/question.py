"""What is asked of the tiles: which windows of which slices; and the stored tiles that these windows need.

Limit: only whole tiles, and only slices that the tiles are kept for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from sli import schemas
from sli.calendar.duration import DAY, HOUR, MINUTE, Duration, tile_unit
from sli.calendar.grain import Grain
from sli.calendar.interval import Instants, iso
from sli.calendar.zone import Zone
from sli.config.arguments import When, duration_of, instant_of, no_such_slices, slice_columns
from sli.config.model import Config
from sli.errors import ConfigError
from sli.planning.published import Published
from sli.reading.publication import Publication
from sli.rollup.merge import TileTables
from sli.slices import OTHER, SliceBy, parse_slice, slice_text

WINDOWS = 100_000
"""Most windows of a query; a request for more is taken for a mistake."""
Windows = tuple[str | Duration | None, str | Duration | None, When, When]
"""The arguments size, every, start and end of `query`."""


Rename = Callable[[str], str | None]
"""The text of a slice to that of the slice it counts for; None: for none."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked for, and what is published."""

    publication: Publication
    slice_by: SliceBy
    slice: str | None
    """The text of the one slice asked for; None: all slices by these columns."""
    grain: Grain
    starts: Instants
    ends: Instants
    rename: Rename | None = None
    """Which slice the tiles of a slice count for, if they count for another."""

    @property
    def config(self) -> Config:
        return self.publication.config

    @property
    def published(self) -> Published:
        return self.publication.published

    @property
    def caps(self) -> Mapping[SliceBy, int]:
        """How many slices of a set stay; the others become "(other)"."""
        # A slice that is asked for by name has tiles of its own, even where the results count it as `(other)`.
        named = self.slice is not None and OTHER not in parse_slice(self.slice).values()
        return {} if named or self.rename is not None else self.config.caps

    def tables(
        self, states: Iterable[str], compared: Sequence[Instants] = (), references: Mapping[str, pa.Table] | None = None
    ) -> TileTables:
        """The tiles of the windows: whole days, and hours at the edges, with these states.

        `compared` has the starts and ends of further windows, `references` are the tiles of reference tables.
        """
        edges, zone = np.concatenate([self.starts, self.ends, *compared]), self.config.zone
        first, last = zone.date(int(edges.min())), zone.date(int(edges.max()) - 1)
        midnights = np.array(zone.midnights(first, last + timedelta(days=1)), dtype=np.int64)
        columns = {"day", "span", "start", "slice_by", "slice", "predictions", "labelled", *states}
        only = (ds.field("slice_by") == ",".join(self.slice_by)) & (ds.field("span") == "tile")
        if self.slice is not None and self.slice_by not in self.caps and self.rename is None:
            only &= ds.field("slice") == self.slice
        hours, days = self._hours(columns, only, edges, midnights), schemas.DAYS.empty_table()
        # Whether days lie within what windows are compared with is not looked at.
        if compared or holds_day(self.starts, self.ends, midnights):
            days = self._days(columns, only, midnights)
        references = references or {}
        if self.rename is not None:
            by, rename = pc.field("slice_by") == ",".join(self.slice_by), self.rename
            hours, days = renamed(hours, rename), renamed(days, rename)
            references = {path: renamed(table.filter(by), rename) for path, table in references.items()}
        return TileTables(hours, days, midnights, references)

    def _hours(self, columns: set[str], only: ds.Expression, edges: Instants, midnights: Instants) -> pa.Table:
        """Hour tiles of the days within which a window begins or ends."""
        inside = np.unique(edges[~np.isin(edges, midnights)])
        days = sorted({self.config.zone.date(int(edge)).isoformat() for edge in inside})
        if not days:
            return schemas.TILES.empty_table()
        return self.publication.rows("tiles", columns, only, [("day", "in", days)])

    def _days(self, columns: set[str], only: ds.Expression, midnights: Instants) -> pa.Table:
        """Day tiles from the first midnight to the last."""
        dates = [self.config.zone.date(int(midnight)).isoformat() for midnight in midnights]
        months = {date[:7] for date in dates}
        day = (ds.field("day") >= dates[0]) & (ds.field("day") < dates[-1])
        return self.publication.rows("days", columns, only & day, [("month", "in", sorted(months))])


def holds_day(starts: Instants, ends: Instants, midnights: Instants) -> bool:
    """Whether a window has a whole day.

    >>> holds_day(np.array([0, 5]), np.array([10, 20]), np.array([0, 12, 24]))
    False
    """
    return bool((np.searchsorted(midnights, starts) < np.searchsorted(midnights, ends, side="right") - 1).any())


def renamed(tiles: pa.Table, rename: Rename) -> pa.Table:
    """Tiles with the slices that they count for."""
    texts = tiles.column("slice").combine_chunks().dictionary_encode()
    names = [rename(str(text)) for text in texts.dictionary.to_pylist()]
    columns = [None if name is None else ",".join(parse_slice(name)) for name in names]
    for column, values in (("slice", names), ("slice_by", columns)):
        at = tiles.schema.get_field_index(column)
        tiles = tiles.set_column(at, column, pa.array(values, pa.string()).take(texts.indices))
    return tiles.filter(pc.is_valid(tiles.column("slice")))


def question(
    publication: Publication,
    windows: Windows,
    slice: Mapping[str, str | None] | None,
    slice_by: Sequence[str] | None = None,
) -> Question:
    """The question that the arguments of a public function ask. Raises ConfigError."""
    config, published = publication.config, publication.published
    columns = slice_columns(slice, slice_by) or ()
    if columns not in published.slice_sets:
        raise no_such_slices("no tiles of these slices are kept", columns, published.slice_sets)
    grain, starts, ends = _windows(config, published.newest, *windows)
    return Question(
        publication=publication,
        slice_by=columns,
        slice=None if slice is None else slice_text(slice),
        grain=grain,
        starts=starts,
        ends=ends,
    )


def _windows(
    config: Config, newest: int, size: str | Duration | None, every: str | Duration | None, start: When, end: When
) -> tuple[Grain, Instants, Instants]:
    """The grain, and the starts and ends of the windows asked for. Raises ConfigError."""
    zone, tile, since = config.zone, config.tile, config.since_instant
    first = since if start is None else instant_of(zone, "start", start)
    last = newest if end is None else instant_of(zone, "end", end)
    check_span(zone, tile, first, last, told=edge_text(zone, start, end, since, newest))
    if size is None:
        if every is not None:
            raise ConfigError("`every` needs a `size`", where="every")
        span = f"{iso(first)}/{iso(last)}"
        return Grain(span, Duration(span, last - first, None)), np.array([first]), np.array([last])
    length, step = _lengths(tile, size, every)
    if (last - first) // step.micros > WINDOWS:
        raise ConfigError("too many windows", where="every", expected=f"at most {WINDOWS:,}", found=step.text)
    starts = _starts(zone, first, last, step)
    # Whole days keep the local time of day.
    ends = np.array(
        [
            start + length.micros if length.days is None else zone.days_later(start, length.days)
            for start in starts.tolist()
        ],
        dtype=np.int64,
    )
    inside = ends <= last
    if not inside.any():
        raise ConfigError(
            "no window fits",
            where="size",
            expected=f"at most the time from {zone.text(first)} to {zone.text(last)}",
            found=length.text,
        )
    return Grain.sliding(length, step), starts[inside], ends[inside]


def check_span(
    zone: Zone, tile: int, first: int, last: int, *, where: tuple[str, str] = ("start", "end"), told: str = ""
) -> None:
    """Raise ConfigError if no time lies between the instants, or if one of them lies within a tile.

    `where` names the arguments that they come from; `told` says where one comes from that was not given.
    """
    if first >= last:
        raise empty_time(zone, first, last, where=where[0], told=told)
    for name, instant in zip(where, (first, last), strict=True):
        if instant % tile:
            before = instant - instant % tile
            raise ConfigError(
                f"{name} must fall on whole {tile_unit(tile)}",
                where=name,
                expected=f"for example {zone.text(before)} or {zone.text(before + tile)}",
                found=zone.text(instant),
            )


def empty_time(zone: Zone, first: int, last: int, *, where: str = "start", told: str = "") -> ConfigError:
    """The error of a time that does not start before it ends."""
    return ConfigError(
        f"the time asked for is empty{told and ': '}{told}",
        where=where,
        expected=f"a start before {zone.text(last)}",
        found=f"{zone.text(first)} to {zone.text(last)}",
    )


def edge_text(zone: Zone, start: When, end: When, since: int, newest: int) -> str:
    """What an end of the time asked for is that was not given: the first or the last prediction."""
    if end is None and start is not None:
        return f"predictions end at {zone.text(newest)}"
    if start is None and end is not None:
        return f"predictions count from {zone.text(since)}"
    return ""


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
