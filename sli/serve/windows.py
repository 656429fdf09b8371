"""The windows of a view as a chunk of the page: published ones as they are, any others merged from the tiles.

Limit: an SLI that the tiles of the time asked for do not suffice for has no values; the others have theirs.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import SECOND
from sli.config.arguments import instant_of
from sli.errors import ConfigError, nearest
from sli.reading.publication import Publication, pinned
from sli.reading.query import query
from sli.report.contents import Contents
from sli.report.history import restated_of, wanted_of
from sli.report.series import NOTHING_RESTATED, NUMBERS, VERDICTS, chunk_text, in_order, read_series
from sli.report.snapshot import Snapshot
from sli.serve.views import View, sli_in, slice_in


def chunk_of(publication: Publication, contents: Contents, view: View) -> bytes:
    """The chunk, gzipped JSON as in the page. Raises SliError."""
    names, at = [one.sli for one in contents.standing.slis], slice_in(view, contents.slices)
    grains = [grain.name for grain in contents.grains]
    size, every = sizes_of(contents, view)
    if size is None:
        grain = view.grain or grains[contents.history.first_grain]
        if grain not in grains:
            expected = f"one of {', '.join(grains)}, or SIZE/EVERY such as 6h/1h"
            raise ConfigError(
                f"there is no grain '{grain}'", where="grain", expected=expected, todo=nearest(grain, grains)
            )
        packed = contents.history.chunks.get((at, grains.index(grain)))
        if packed is not None and view.start is None and view.end is None:
            return base64.b64decode(packed)
        return _zipped(_published(publication, contents, names, at, grain, view))
    return _zipped(_merged(publication, names, contents.slices[at].values, size, every, view))


def sizes_of(contents: Contents, view: View) -> tuple[str | None, str | None]:
    """`size` and `every` of merged windows; no size if the windows are those of a published grain."""
    grain = view.grain or ""
    if view.size is None and "/" in grain and grain not in [one.name for one in contents.grains]:
        size, _, every = grain.partition("/")
        return size, every
    return view.size, view.every


def _zipped(text: str) -> bytes:
    return gzip.compress(text.encode(), 5, mtime=0)


def _published(publication: Publication, contents: Contents, names: list[str], at: int, grain: str, view: View) -> str:
    """The published windows of a slice and a grain that begin at `start` or later and end by `end`."""
    with pinned(publication):
        snapshot = Snapshot.newest(publication.config)
    assert snapshot is not None
    wanted = wanted_of(snapshot, publication.config, names, [contents.slices[at].text])
    series = read_series(snapshot, wanted, grain)
    for name, text in (("start", view.start), ("end", view.end)):
        if text is not None:
            limit = instant_of(publication.config.zone, name, text) // SECOND
            series = series.filter(pc.field("start") >= limit if name == "start" else pc.field("end") <= limit)
    return chunk_text(series.combine_chunks(), len(names), restated_of(contents.changes.restated, wanted, grain))


def _merged(
    publication: Publication,
    names: list[str],
    slice: Mapping[str, str | None],
    size: str,
    every: str | None,
    view: View,
) -> str:
    """Windows of any size, merged from the tiles; of one SLI, if the view names it."""
    asked = names if view.sli is None else [sli_in(publication.config, view)]
    with pinned(publication):
        usable = [name for name in asked if _usable(publication, name)]
        if not usable:
            publication.sli(asked[0])
        rows = query(publication.config, usable, size=size, every=every, start=view.start, end=view.end, slice=slice)
    return chunk_text(in_order(_series(rows, names)), len(names), NOTHING_RESTATED)


def _usable(publication: Publication, name: str) -> bool:
    try:
        publication.sli(name)
    except ConfigError:
        return False
    return True


def _series(rows: pd.DataFrame, names: list[str]) -> pa.Table:
    """Rows of `query` for one slice in the form of `read_series`."""
    number = {name: at for at, name in enumerate(names)}
    seconds = {name: rows[f"window_{name}"].astype("int64").to_numpy() // SECOND for name in ("start", "end")}
    verdicts = [VERDICTS.get(verdict, -1) if isinstance(verdict, str) else -1 for verdict in rows.verdict]
    return pa.table(
        {
            "slice": pa.array(np.zeros(len(rows), np.int32)),
            "sli": pa.array(np.array([number[name] for name in rows.sli], np.int32)),
            **{name: pa.array(values) for name, values in seconds.items()},
            **{name: pa.array(rows[column], pa.float64(), from_pandas=True) for name, column in NUMBERS.items()},
            "reason": pa.array(rows.reason, pa.string(), from_pandas=True),
            "predictions": pa.array(rows.predictions.to_numpy()),
            "labelled": pa.array(rows.labelled.to_numpy()),
            "final": pa.array((rows.maturity == "final").to_numpy()),
            "verdict": pa.array(np.array(verdicts, np.int32)),
        }
    )
