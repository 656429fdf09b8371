"""What `sli show` answers for one config: the overview, results, or another table.

Limit: an answer is computed and not yet printed, as those of `answers`.
"""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sli.command.answers import Answer
from sli.command.options import slice_of
from sli.command.results import ROWS, newest, plain_lines, view_lines
from sli.config.arguments import instant_of
from sli.config.model import Config
from sli.errors import ConfigError, StoreError
from sli.reading.figures import local, slice_name

if TYPE_CHECKING:
    import pandas as pd

    from sli.reading.rows import Rows

CHOICES = ("sli", "grain", "slice", "by", "start", "end", "rows")
"""The options that choose rows; without any of them `show` is the overview, also as of a time."""


def show_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Published rows of the table that `options` name; without any choice the overview. Raises SliError."""
    from sli.command.overview import overview_lines
    from sli.command.standing import summary_cells
    from sli.command.tables import records
    from sli.judging.standing import standing
    from sli.reading.rows import rows_of_frame

    def cells() -> dict[str, str]:
        try:
            return summary_cells(standing(config))
        except ConfigError:
            return {}

    def plain() -> object:
        return records(_shown_rows(options, config))

    def rows() -> Rows:
        return rows_of_frame(_shown_rows(options, config))

    if not _as_rows(options) and options.table == "results" and all(getattr(options, name) is None for name in CHOICES):
        try:
            with believed_at(config, options.as_of):
                now = standing(config)
                lines = overview_lines(config, now, options.as_of)
            return Answer(lines=lambda: lines, plain=plain, cells=lambda: summary_cells(now))
        except (ConfigError, StoreError) as error:
            if isinstance(error, StoreError) and options.as_of is None:
                raise
            # For example an SLI in Python with --no-code, a changed config, or tiles of then that are gone: what was
            # published can still be read.
            lines = [f"# no overview: {error.what}", *_table_lines(options, config)]
            return Answer(lines=lambda: lines, plain=plain, cells=cells)
    return Answer(lines=lambda: _table_lines(options, config), plain=plain, rows=rows, cells=cells)


def _as_rows(options: argparse.Namespace) -> bool:
    """Whether rows are asked for, and not a text of them."""
    return bool(options.json or options.format)


def believed_at(config: Config, as_of: str | None) -> AbstractContextManager[None]:
    """A context in which what was believed at that time is read, or what is published now. Raises SliError."""
    from sli.reading.publication import opened, pinned

    # Its tables are opened once, whatever is asked of them.
    return pinned(opened(config, as_of))


def _table_lines(options: argparse.Namespace, config: Config) -> list[str]:
    from sli.command.grid import terminal_width
    from sli.command.tables import audit_lines, change_lines, run_lines

    frame = _shown_rows(options, config)
    rows, width = ROWS if options.rows is None else options.rows, terminal_width()
    if options.table == "audit":
        return audit_lines(frame, rows, width)
    if frame.empty and options.table == "results":
        return [empty_reason(options, config)]
    if frame.empty:
        return ["no such rows"]
    if options.table == "results":
        slis = options.sli or [sli.name for sli in config.declared]
        if width is None:
            return plain_lines(frame, config, slis, rows)
        return view_lines(frame, config, slis, width, named=bool(options.sli), rows=options.rows)
    return run_lines(frame, width) if options.table == "runs" else change_lines(frame, config, width)


def _shown_rows(options: argparse.Namespace, config: Config) -> pd.DataFrame:
    """The rows for `show`, cut to `--rows`; as text, results and audit are cut later, when they are printed."""
    from sli.command.tables import audit_rows, changes

    frame, rows = _all_rows(options, config), options.rows
    if options.table == "results":
        return newest(frame, rows) if rows is not None and _as_rows(options) else frame
    if options.table == "audit":
        return audit_rows(frame, rows) if _as_rows(options) else frame
    limit = ROWS if rows is None and not _as_rows(options) else rows
    if options.table == "runs":
        return frame if limit is None else frame.tail(limit)
    return changes(frame, limit)


def _all_rows(options: argparse.Namespace, config: Config) -> pd.DataFrame:
    """All rows that the options of `show` choose. Raises SliError."""
    from sli.reading.publication import newest_or_none
    from sli.reading.read import check_windowless, read, standing_audit
    from sli.reading.slice_values import check_slice

    if options.as_of is not None:
        check_known(config, options.as_of)
    grain, by = options.grain, options.by.split(",") if options.by else None
    slice = slice_of(options.slice) if options.slice else None
    if options.table == "audit":
        choices = {"sli": options.sli, "grain": grain, "slice": slice, "by": by}
        choices |= {"start": options.start, "end": options.end}
        check_windowless("audit", choices, "as_of")
        return standing_audit(config, options.as_of)
    if options.table == "results":
        grain = grain or default_grain(config)
        by = list(config.slice_sets[0]) if by is None and slice is None else by
    within = {"start": options.start, "end": options.end, "as_of": options.as_of}
    frame = read(config, sli=options.sli, grain=grain, slice=slice, slice_by=by, table=options.table, **within)
    if frame.empty and slice and options.table == "results" and (publication := newest_or_none(config)):
        check_slice(publication, slice)
    return frame


def check_known(config: Config, as_of: str) -> None:
    """Raise ConfigError if nothing was published yet at that time."""
    from sli.publishing.past import before_the_first
    from sli.reading.read import read

    runs = read(config, table="runs")
    first, asked = runs.as_of.min().value // 1000, instant_of(config.zone, "as_of", as_of)
    if asked < first:
        raise before_the_first(config.zone, first, asked)


def default_grain(config: Config) -> str:
    """Days, or the first grain of a config without them."""
    names = [grain.name for grain in config.all_grains]
    return "day" if "day" in names else names[0]


def empty_reason(options: argparse.Namespace, config: Config) -> str:
    """Why there are no results that the options of `show` choose. Raises SliError."""
    from sli.reading.read import read

    slice = slice_of(options.slice) if options.slice else None
    by = [*slice] if slice is not None else options.by.split(",") if options.by else list(config.slice_sets[0])
    grain = options.grain or default_grain(config)
    frame = read(config, sli=options.sli, grain=grain, slice_by=by, as_of=options.as_of)
    if frame.empty:
        of = f" of {', '.join(options.sli)}" if options.sli else ""
        known = f"known at {options.as_of}" if options.as_of else "published"
        return f"no {grain} windows{of} by {' x '.join(by) or 'all'} are {known}"
    if slice is not None:
        frame = frame[[values == slice for values in frame["slice"]]]
        if frame.empty:
            return f"no {grain} windows of {slice_name(dict(slice))} are published"
    first = local(frame.window_start.min(), config.timezone, grain)
    last = local(frame.window_end.max(), config.timezone, grain)
    what = f"{grain} windows" + (f" of {slice_name(dict(slice))}" if slice else "")
    return f"no {what} in this time: they are published from {first} to {last}"
