"""Which published windows are exported to Prometheus, where each series costs memory: the whole and the largest slices.

Limit: slices are chosen by their size of now, so a slice that grows takes the place of another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import DAY
from sli.calendar.grain import TUMBLING
from sli.calendar.zone import zone
from sli.export.samples import COLUMNS
from sli.reading.publication import Publication
from sli.report.choice import largest_first
from sli.report.rows import Days, grain_rows, rows_by_day
from sli.report.series import codes, slice_texts
from sli.slices import ALL

FORGOTTEN = 31 * DAY
"""A slice whose newest window ended so long before the newest hour is not exported as one of now."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What of a publication is exported. `slices` are canonical JSON; `definitions` those of the SLIs."""

    slis: tuple[str, ...]
    definitions: tuple[str, ...]
    grains: tuple[str, ...]
    slices: tuple[str, ...]


def chosen(publication: Publication) -> Choice:
    """What the config's `export.prometheus` asks for, of what is published. Raises StoreError."""
    config, asked = publication.config, publication.config.export.prometheus
    published = publication.published.grains
    slis = [sli for sli in config.declared if asked.slis is None or sli.name in asked.slis]
    return Choice(
        slis=tuple(sli.name for sli in slis),
        definitions=tuple(config.definition(sli) for sli in slis),
        grains=usual_grains(published) if asked.grains is None else tuple(g for g in asked.grains if g in published),
        slices=_slices(publication, asked.slices),
    )


def usual_grains(published: Sequence[str]) -> tuple[str, ...]:
    """The day and one sliding grain; if neither is published, the first grain.

    >>> usual_grains(["hour", "day", "cumulative", "7d/1d", "28d/1d"]), usual_grains(["hour"])
    (('day', '7d/1d'), ('hour',))
    """
    days = [grain for grain in published if grain == "day"]
    sliding = [grain for grain in published if grain not in (*TUMBLING, "cumulative")]
    return tuple(days + sliding[:1]) or tuple(published[:1])


def _slices(publication: Publication, most: int) -> tuple[str, ...]:
    """The whole and the `most` largest other slices."""
    slices = [one.text for one in largest_first(publication)]
    whole = [text for text in slices if text == ALL]
    return tuple(whole + [text for text in slices if text != ALL][:most])


def chosen_rows(publication: Publication, choice: Choice, grain: str, days: Days) -> pa.Table:
    """The chosen rows of a grain whose windows end in these local days: the columns `COLUMNS`. Raises StoreError."""
    # `grain_rows` chooses by grain and day, which the table is partitioned by.
    rows = grain_rows(publication, COLUMNS, grain, days)
    wanted = pc.field("sli").isin(choice.slis) & pc.field("definition").isin(choice.definitions)
    rows = rows.filter(wanted)
    place = codes(slice_texts(rows.column("slice")), {text: at for at, text in enumerate(choice.slices)})
    return rows.select(COLUMNS).take(np.flatnonzero(place >= 0))


def newest_rows(publication: Publication, choice: Choice) -> pa.Table:
    """The newest chosen row of each SLI, grain and slice. Raises StoreError."""
    published = publication.published
    oldest = zone(published.timezone or "UTC").date(published.newest - FORGOTTEN).isoformat()
    parts = []
    for grain in choice.grains:
        days = [day for day in rows_by_day(publication, grain) if day >= oldest]
        newest: pa.Table | None = None
        stretch = 2
        # Mostly the last days have all; only a slice without new predictions is looked for in more and more of them.
        while days and (newest is None or len(newest) < len(choice.slis) * len(choice.slices)):
            rows = chosen_rows(publication, choice, grain, (days[-stretch:][0], days[-1]))
            newest = _newest_of(rows if newest is None else pa.concat_tables([rows, newest]), choice)
            days, stretch = days[:-stretch], 2 * stretch
        parts += [] if newest is None else [newest]
    return pa.concat_tables(parts) if parts else publication.rows("results", COLUMNS, pc.scalar(False)).select(COLUMNS)


def _newest_of(rows: pa.Table, choice: Choice) -> pa.Table:
    """The newest row of each SLI and slice."""
    sli = codes(rows.column("sli"), {name: at for at, name in enumerate(choice.slis)}).astype(np.int64)
    slice = codes(slice_texts(rows.column("slice")), {text: at for at, text in enumerate(choice.slices)})
    key, end = sli * len(choice.slices) + slice, rows.column("window_end").cast(pa.int64()).to_numpy()
    order = np.lexsort((end, key))
    last = np.flatnonzero(np.diff(key[order], append=-1))
    return rows.combine_chunks().take(order[last])
