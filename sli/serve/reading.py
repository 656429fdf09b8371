"""A view without scripts: a form that chooses it, and its windows as a table.

Limit: the newest `ROWS` windows; the chart shows all.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from itertools import accumulate

import pandas as pd

from sli.reading.figures import interval_text, local, number, slice_name
from sli.reading.publication import Publication
from sli.report.contents import Contents
from sli.report.words import label_of
from sli.serve.views import View, sli_in, slice_in
from sli.serve.windows import chunk_of

ROWS = 100
VERDICTS = {"m": "✓ met", "b": "× breached", "u": "? undecided"}


@dataclass(frozen=True, kw_only=True)
class WindowRow:
    """A window of the table, as text."""

    start: str
    end: str
    value: str
    interval: str
    labelled: str
    state: str


@dataclass(frozen=True, kw_only=True)
class ViewTable:
    """What the form offers and what the table shows."""

    view: View
    sli: str
    slice: str
    slis: list[str]
    slices: list[str]
    grain: str
    grains: list[tuple[str, str]]
    rows: list[WindowRow]


def view_table(publication: Publication, contents: Contents, view: View) -> ViewTable:
    """The form and the table of a view. Raises SliError."""
    names, name = [one.sli for one in contents.standing.slis], sli_in(publication.config, view)
    at = slice_in(view, contents.slices)
    chunk = json.loads(gzip.decompress(chunk_of(publication, contents, view)))
    series, unit = chunk["slis"][names.index(name)], contents.standing.slis[names.index(name)].unit
    starts, ends = ([*accumulate(chunk[edge])] for edge in ("start", "end"))
    zone = contents.standing.timezone

    def moment(seconds: int) -> str:
        return local(pd.Timestamp(seconds, unit="s", tz="UTC"), zone, "hour")

    def one_of(column: str, place: int) -> float:
        value = series[column][place] if series[column] else None
        return float("nan") if value is None else value

    def row(place: int) -> WindowRow:
        reason = series["reasons"][int(series["why"][place], 36)] if series["why"][place] != "-" else None
        predictions, labelled = chunk["predictions"][place], chunk["labelled"][place]
        state = "final" if chunk["final"][place] == "1" else "provisional"
        return WindowRow(
            start=moment(starts[place]),
            end=moment(ends[place]),
            value=number(one_of("value", place), reason, unit),
            interval=interval_text(one_of("low", place), one_of("high", place), unit),
            labelled=f"{labelled:,} of {predictions:,}",
            state=f"{state} {VERDICTS.get(series['verdict'][place], '')}".strip(),
        )

    return ViewTable(
        view=view,
        sli=name,
        slice=slice_name(dict(contents.slices[at].values)),
        slis=names,
        slices=[slice_name(dict(one.values)) for one in contents.slices[:ROWS]],
        grain=view.grain or contents.grains[contents.history.first_grain].name,
        grains=[(grain.name, label_of(grain, publication.config)) for grain in contents.grains],
        rows=[row(place) for place in range(len(starts))[: -ROWS - 1 : -1]],
    )
