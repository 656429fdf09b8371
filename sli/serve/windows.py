"""The windows of a view as a chunk of the page: published ones as they are, any others merged from the tiles.

Limit: an SLI that the tiles of the time asked for do not suffice for has no values; the others have theirs.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import replace

import pyarrow.compute as pc

from sli.calendar.duration import SECOND
from sli.calendar.interval import BEGINNING
from sli.config.arguments import instant_of
from sli.errors import ConfigError, nearest
from sli.judging.standing import usable_slis
from sli.reading.publication import Publication
from sli.reading.query import answer_rows
from sli.reading.question import Windows, question
from sli.report.contents import Contents
from sli.report.history import restated_of, wanted_of
from sli.report.series import NOTHING_RESTATED, chunk_text, coded, in_order, read_series
from sli.serve.views import View, sli_in, slice_in
from sli.slices import slice_text


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
    windows = (size, every, view.start, view.end)
    sli = None if view.sli is None else sli_in(publication.config, view)
    return _zipped(_merged(publication, names, contents.slices[at].values, windows, sli))


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
    wanted = wanted_of(publication, names, [contents.slices[at].text])
    series = read_series(publication, wanted, grain)
    for name, text in (("start", view.start), ("end", view.end)):
        if text is not None:
            limit = instant_of(publication.config.zone, name, text) // SECOND
            series = series.filter(pc.field("start") >= limit if name == "start" else pc.field("end") <= limit)
    return chunk_text(series.combine_chunks(), len(names), restated_of(contents.changes.restated, wanted, grain))


def _merged(
    publication: Publication, names: list[str], slice: Mapping[str, str | None], windows: Windows, sli: str | None
) -> str:
    """Windows of any size, merged from the tiles; of one SLI, if the view names it."""
    usable, _ = usable_slis(publication)
    asked = [one for one in usable if sli in (None, one.name)]
    if not asked:
        publication.sli(sli or names[0])
    rows = answer_rows(question(publication, windows, slice), asked)
    definitions = {publication.config.definition(one) for one in asked}
    wanted = replace(wanted_of(publication, names, [slice_text(slice)]), definitions=definitions, since=BEGINNING)
    return chunk_text(in_order(coded(rows, wanted)), len(names), NOTHING_RESTATED)
