"""What a run changes in the table `inputs`, which has the files that it saw, in a partition for each week.

Files of other weeks may be there, too: a run that did not list them leaves their partitions as they are. Limit: if a
file changed or is gone, the partition in which it was is written anew.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from sli.calendar.interval import Instants
from sli.config.model import Config
from sli.engine.arrow import Flags, Rows, integer_column, text_column
from sli.logs.dated import week_text
from sli.logs.files import Files, Inputs
from sli.planning.listing import stored_weeks
from sli.publishing.delta_tables import Replacing

COMPARED = ("fingerprint", "bytes", "rows", "problem", "explanation", "row_bytes", "null_times")
"""The columns of a file that are compared besides its `columns`; its `ranges` follow from these."""


def files_seen(config: Config, inputs: Inputs, seen: Inputs, anew: bool) -> Iterator[tuple[pa.Table, Replacing]]:
    """The rows to write to table `inputs`, and the partitions that they replace; nothing if no file changed.

    `seen` are the files that it has of the weeks that were listed. With `anew` all of the table is written.
    """
    now = stored_weeks(config, inputs)
    if anew:
        yield _rows(inputs.files, now), "all"
        return
    then = stored_weeks(config, seen)
    before = [then[: len(seen.predictions)], then[len(seen.predictions) :]]
    after = [now[: len(inputs.predictions)], now[len(inputs.predictions) :]]
    same, gone = [], set[int]()
    for files, known, new_weeks, old_weeks in zip(inputs.logs, seen.logs, after, before, strict=True):
        places = _unchanged(files, known, new_weeks, old_weeks)
        stays: Flags = np.zeros(len(known), bool)
        stays[places[places >= 0]] = True
        gone.update(old_weeks[~stays].tolist())
        same.append(places >= 0)
    written = np.flatnonzero(~np.concatenate(same) | np.isin(now, sorted(gone)))
    if len(written) or gone:
        yield _rows(inputs.files.take(written), now[written]), [(week_text(week),) for week in sorted(gone)] or None


def _unchanged(files: Files, known: Files, new_weeks: Instants, old_weeks: Instants) -> Rows:
    """For each file its place among those known if it is as it was there, -1 if not."""
    places = known.places(files.rows.column("path"))
    kinds = known.with_more(files).kinds.of_file
    there = np.flatnonzero(places >= 0)
    same: Flags = np.zeros(len(files), bool)
    same_kind = kinds[len(known) :][there] == kinds[places[there]]
    same[there] = same_kind & (new_weeks[there] == old_weeks[places[there]])
    for name in COMPARED:
        same &= known.equal_at(places, name, files.rows.column(name))
    return np.where(same, places, -1)


def _rows(files: Files, weeks: Instants) -> pa.Table:
    names, of_file = np.unique(weeks, return_inverse=True)
    texts = text_column([week_text(int(week)) for week in names]).take(integer_column(of_file))
    return pa.Table.from_batches([files.rows]).append_column("week", texts)
