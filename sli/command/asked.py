"""What `query`, `slices`, `compare` and `explain` answer: as lines, or as plain values for `--json`.

Limit: as those of `answers`, an answer is computed and not yet printed.
"""

from __future__ import annotations

import argparse
import functools
from typing import TYPE_CHECKING

from sli.command.answers import Answer
from sli.command.grid import terminal_width
from sli.command.options import slice_of
from sli.config.model import Config

if TYPE_CHECKING:
    import pandas as pd


def query_answer(options: argparse.Namespace, config: Config) -> Answer:
    """Values of an SLI over any windows, or how often each value occurs. Raises SliError."""
    from sli.command.results import ROWS, newest
    from sli.command.tables import most_common, query_lines, records, value_lines
    from sli.reading.publication import opened
    from sli.reading.query import distribution, query
    from sli.reading.rows import rows_of_frame
    from sli.reading.slice_values import check_slice

    frame = (distribution if options.values else query)(
        config,
        options.sli,
        size=options.size,
        every=options.every,
        start=options.start,
        end=options.end,
        slice=slice_of(options.slice) if options.slice else None,
        slice_by=options.by.split(",") if options.by else None,
        as_of=options.as_of,
    )
    if frame.empty and options.slice:
        check_slice(opened(config, options.as_of), slice_of(options.slice))
    cut, told = (most_common, value_lines) if options.values else (newest, query_lines)

    def lines() -> list[str]:
        if frame.empty:
            return ["no predictions in these windows and slices"]
        return told(frame, config, options.sli, ROWS if options.rows is None else options.rows, terminal_width())

    def chosen() -> pd.DataFrame:
        return frame if options.rows is None else cut(frame, options.rows)

    return Answer(plain=lambda: records(chosen()), rows=lambda: rows_of_frame(chosen()), lines=lines)


def slices_answer(options: argparse.Namespace, config: Config) -> Answer:
    """The slices that are worse than the whole. Raises SliError."""
    from sli.command.tables import records, slice_lines
    from sli.judging.compare import compare_slices
    from sli.judging.since_when import since_when

    frame = compare_slices(config, options.sli, start=options.start, end=options.end, support=options.support)

    def lines() -> list[str]:
        if frame.empty:
            return [f"no slice has {options.support} labelled predictions in this time"]
        whole = since_when(config, frame.sli.iloc[0], end=options.end)
        return slice_lines(frame, whole, config, 10 if options.rows is None else options.rows, terminal_width())

    return Answer(plain=lambda: records(frame if options.rows is None else frame.head(options.rows)), lines=lines)


def compare_answer(options: argparse.Namespace, config: Config) -> Answer:
    """The difference of an SLI between two slices. Raises SliError."""
    from sli.command.bars import Bars
    from sli.command.compared import comparison_lines
    from sli.reading.difference import compare

    by, _, values = options.slices.partition("=")
    within = {"pair": options.pair, "start": options.start, "end": options.end}
    with Bars() as progress:
        done = functools.partial(progress, "matching")
        found = compare(config, options.sli, {by: values.split(",")}, **within, progress=done)
    return Answer(plain=found.to_dict, lines=lambda: comparison_lines(found, config, terminal_width()))


def explain_answer(options: argparse.Namespace, config: Config) -> Answer:
    """What a change of an SLI comes from. Raises SliError."""
    from sli.judging.explain import explain

    found = explain(
        config,
        options.sli,
        slice=slice_of(options.slice) if options.slice else None,
        start=options.start,
        end=options.end,
        against=options.against,
        as_of=options.as_of,
    )
    return Answer(plain=found.to_dict, lines=found.lines)
