"""The series of the page: which slices and grains have one, within a number of bytes, and the lines of the cards.

The whole comes first, then the grains with the fewest windows. Limit: what does not fit is only in `sli serve`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import SECOND
from sli.calendar.grain import Grain
from sli.reading.publication import Publication
from sli.report import chunks
from sli.report.choice import Slice
from sli.report.rows import rows_by_day
from sli.report.series import (
    Line,
    Wanted,
    chunk_text,
    codes,
    in_order,
    lines_of,
    newest_text,
    packed_slices,
    read_series,
    slice_texts,
)
from sli.slices import ALL

BYTES = 3_200_000
"""Most characters of series in a page."""
ROWS = 3_000_000
"""Most rows of one grain in memory: more than fit into `BYTES`."""
NEWEST_DAYS = 7
"""Slices without history show their newest window of the last days."""
NEWEST_ROWS = 300_000
"""Most rows of such windows."""
PREFERRED = ("day", "7d/1d", "week", "hour", "month", "cumulative")
"""The grain that the page opens with: the first of these that the config has, else its first."""


@dataclass(frozen=True, kw_only=True)
class History:
    """Packed series by the positions of their slice and grain, and what else the page shows over time."""

    chunks: Mapping[tuple[int, int], str]
    first_grain: int
    """The grain that the page opens with."""
    newest: str
    """The newest windows of slices without history, packed; empty if every slice has one."""
    lines: Sequence[Line]
    """The course of each SLI over the whole, for its card; none if the config has no results of the whole."""


def preferred(grains: Sequence[Grain]) -> int:
    """The position of the grain that the page opens with, if it has windows."""
    names = [grain.name for grain in grains]
    return next((names.index(name) for name in PREFERRED if name in names), 0)


def history_of(
    publication: Publication,
    slis: Sequence[str],
    slices: Sequence[Slice],
    grains: Sequence[Grain],
    restated: pa.Table,
) -> History:
    """The series of the page; `restated` are rows of `revisions` whose value the last run changed. Raises SliError."""
    shown = [one.text for one in slices if one.history]
    wanted = wanted_of(publication, slis, shown)
    counts = [_windows(publication, grain) for grain in grains]
    order = sorted(range(len(grains)), key=lambda at: counts[at])
    line_grain, lines = _line_grain(grains), list[Line]()
    packed: dict[tuple[int, int], str] = {}
    windows: dict[int, int] = {}
    for at in order:
        most = max(1, ROWS // max(1, counts[at] * len(slis)))
        series = read_series(publication, wanted.first_slices(most), grains[at].name)
        old = restated_of(restated, wanted, grains[at].name)
        # A grain whose windows are all cut by `since` has a chunk without windows, so that the page can say so.
        packed |= {(0, at): chunks.packed(chunk_text(series.slice(0, 0), len(slis), old))}
        packed |= {(slice, at): text for slice, text in packed_slices(series, len(slis), old)}
        windows[at] = len(series)
        if at == line_grain and shown[0] == ALL:
            lines = lines_of(series, len(slis))
    chosen, left = {}, BYTES
    for key in sorted(packed, key=lambda key: (key[0] > 0, order.index(key[1]), key[0])):
        if len(packed[key]) <= left:
            chosen[key] = packed[key]
            left -= len(packed[key])
    first = preferred(grains)
    first = first if windows[first] else max(windows, key=lambda at: windows[at])
    return History(chunks=chosen, first_grain=first, newest=_newest(publication, slis, slices, grains), lines=lines)


def wanted_of(publication: Publication, slis: Sequence[str], slices: Sequence[str]) -> Wanted:
    """These SLIs and slices, by their positions."""
    series = publication.published.series
    return Wanted(
        slis={name: at for at, name in enumerate(slis)},
        definitions={series[name] for name in slis if name in series},
        slices={text: at for at, text in enumerate(slices)},
        since=publication.config.since_instant // SECOND,
    )


def _windows(publication: Publication, grain: Grain) -> int:
    """How many windows a grain has since deployment."""
    config = publication.config
    starts, _ = grain.windows(config.zone, config.since_instant, publication.published.newest)
    return len(starts)


def _line_grain(grains: Sequence[Grain]) -> int:
    """The grain of the lines: seven days that slide, as the numbers of the cards, or else the one of the chart."""
    weeks = [at for at, grain in enumerate(grains) if grain.size is not None and grain.size.days == 7]
    return weeks[0] if weeks else preferred(grains)


def restated_of(rows: pa.Table, wanted: Wanted, grain: str) -> pa.Table:
    """The old values of a grain by the numbers of their slice and SLI, and the end of their window in seconds."""
    rows = rows.filter(pc.field("grain") == grain)
    return chunks.table_of(
        {
            "slice": codes(slice_texts(rows.column("slice")), wanted.slices),
            "sli": codes(rows.column("sli"), wanted.slis),
            "end": pc.divide(rows.column("window_end").cast(pa.int64()), SECOND),
            "old": rows.column("old_value"),
        }
    ).filter((pc.field("slice") >= 0) & (pc.field("sli") >= 0))


def _newest(publication: Publication, slis: Sequence[str], slices: Sequence[Slice], grains: Sequence[Grain]) -> str:
    """The newest windows of the slices without history, packed."""
    rest = {one.text: at for at, one in enumerate(slices) if not one.history}
    missing = dict(list(rest.items())[: NEWEST_ROWS // max(1, len(slis))])
    grain, parts = preferred(grains), []
    wanted = wanted_of(publication, slis, ())
    for day in list(rows_by_day(publication, grains[grain].name))[: -NEWEST_DAYS - 1 : -1]:
        if not missing:
            break
        part = read_series(publication, replace(wanted, slices=missing), grains[grain].name, (day, day))
        parts.append(part)
        present = set(part.column("slice").to_pylist())
        missing = {text: at for text, at in missing.items() if at not in present}
    if not any(map(len, parts)):
        return ""
    return chunks.packed(newest_text(in_order(pa.concat_tables(parts)), len(slis), grain))
