"""Which slices the page shows over time, in which order: the whole, the worst, the largest.

Of a few slices all have their history in the page; of many only the `WORST` and the `LARGEST`. Limit: the worst by one
SLI, the first whose better direction is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.grain import TUMBLING
from sli.config.model import Config
from sli.errors import ConfigError
from sli.judging.compare import ranked_slices
from sli.reading.figures import slice_name
from sli.reading.publication import Publication
from sli.report.chunks import table_of
from sli.report.rows import Days, grain_rows, rows_by_day, stretches
from sli.report.series import slice_texts
from sli.slices import ALL, parse_slice, slice_text

WORST, LARGEST = 20, 20


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice that is published, its predictions, and whether the page has its history."""

    text: str
    """Its canonical JSON."""
    predictions: int
    history: bool = True

    @property
    def values(self) -> Mapping[str, str | None]:
        return parse_slice(self.text)

    def described(self) -> dict[str, object]:
        """What the page says of it."""
        values = dict(self.values)
        return {"name": slice_name(values), "by": [*values], "slice": values, "predictions": self.predictions}


def chosen_slices(publication: Publication, start: datetime) -> list[Slice]:
    """All published slices: those with history first, the whole before all. Raises SliError.

    The worst are those since `start`.
    """
    slices = largest_first(publication)
    if len(slices) <= WORST + LARGEST + 1:
        return slices
    largest = [one.text for one in slices[: LARGEST + (slices[0].text == ALL)]]
    shown = [*dict.fromkeys([*largest[:1], *_worst(publication.config, start), *largest[1:]])]
    by_text = {one.text: one for one in slices}
    rest = [replace(one, history=False) for one in slices if one.text not in set(shown)]
    return [*(by_text[text] for text in shown if text in by_text), *rest]


def _worst(config: Config, start: datetime) -> list[str]:
    """The slices that are surely worse than the whole, the worst first; none if they cannot be compared."""
    try:
        compared = ranked_slices(config, None, start=start)
    except ConfigError:
        return []
    return [slice_text(slice) for slice in compared[compared.surely > 0]["slice"].head(WORST)]


def largest_first(publication: Publication) -> list[Slice]:
    """All published slices by their predictions, the whole first."""
    grain, days = _sized_by(publication)
    names = ["window_end", "slice", "predictions"]
    sizes: dict[str, int] = {}
    for stretch in [days] if days else stretches(publication, grain):
        rows = grain_rows(publication, names, grain, stretch)
        if grain == "cumulative":
            rows = rows.filter(pc.field("window_end") == pc.max(rows.column("window_end")))
        for text, count in _sizes(rows).items():
            sizes[text] = sizes.get(text, 0) + count
    texts = sorted(sizes, key=lambda text: (text != ALL, -sizes[text], text))
    return [Slice(text=text, predictions=sizes[text]) for text in texts]


def _sized_by(publication: Publication) -> tuple[str, Days | None]:
    """A grain that counts every prediction once, and the days to read: all, or only the newest.

    If all grains slide, their windows overlap, and sizes only tell which slice is larger.
    """
    grains = publication.published.grains
    if "cumulative" in grains:
        *_, newest = rows_by_day(publication, "cumulative")
        return "cumulative", (newest, newest)
    return next((grain for grain in reversed(TUMBLING) if grain in grains), grains[0]), None


def _sizes(rows: pa.Table) -> dict[str, int]:
    """The predictions of each slice: each SLI counts the same of a window."""
    table = table_of(
        {"slice": slice_texts(rows.column("slice")), "end": rows.column("window_end"), "of": rows.column("predictions")}
    )
    windows = table.group_by(["slice", "end"]).aggregate([("of", "max")])
    sizes = windows.group_by("slice").aggregate([("of_max", "sum")])
    texts, counts = (sizes.column(name).to_pylist() for name in ("slice", "of_max_sum"))
    return dict(zip(cast("list[str]", texts), cast("list[int]", counts), strict=True))
