"""A table of results as a dataset whose files promise in what time their windows lie.

A reader that asks for `window_start > ...` then opens only files that can have such windows, although files are
chosen by grain and day. Limit: the promise is about the partition, a grain and a day, so a day is read whole.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sli.calendar.duration import DAY, Duration
from sli.calendar.interval import moment
from sli.calendar.zone import Zone
from sli.schemas import UTC

if TYPE_CHECKING:
    import pyarrow.dataset as ds

LONGEST = {"hour": 1, "day": 1, "week": 7, "month": 31}
"""The most days of a window, by its grain."""


def windows_of(grain: str, day: str, zone: Zone) -> pc.Expression:
    """What holds for each window of a partition: it ends within that local day, and is no longer than its grain."""
    local = date.fromisoformat(day)
    first, after = zone.midnight(local), zone.midnight(local + timedelta(days=1))
    start, end = pc.field("window_start"), pc.field("window_end")
    promise = (end > _instant(first)) & (end <= _instant(after)) & (start < _instant(after))
    if (days := _most_days(grain)) is not None:
        # A day more, since days that clocks go back are longer.
        promise &= start >= _instant(first - (days + 1) * DAY)
    return promise


def _most_days(grain: str) -> int | None:
    """How many days a window of a grain may last; None: it has no longest one."""
    if "/" in grain:
        size = Duration.parse(grain.partition("/")[0])
        return size.days if size.days is not None else -(-size.micros // DAY)
    return LONGEST.get(grain)


def _instant(micros: int) -> pa.Scalar[Any]:
    return pa.scalar(moment(micros), UTC)


def with_windows(dataset: ds.FileSystemDataset, zone: Zone) -> ds.FileSystemDataset:
    """A dataset of `results` with these promises, its files in the order of grains and days."""
    import pyarrow.dataset as ds

    files = []
    for file in dataset.get_fragments():
        partition = ds.get_partition_keys(file.partition_expression)
        grain, day = str(partition["grain"]), str(partition["day"])
        promise = file.partition_expression & windows_of(grain, day, zone)
        fragment = dataset.format.make_fragment(file.path, filesystem=file.filesystem, partition_expression=promise)
        files.append((grain, day, file.path, fragment))
    fragments = [fragment for *_, fragment in sorted(files, key=lambda file: file[:3])]
    return ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)
