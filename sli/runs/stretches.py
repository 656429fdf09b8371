"""Stretches: days of grains whose results are rolled up and compared together, so that memory holds no others.

A stretch has whole partitions of the table `results`; only a day that alone is too large is cut, by its slices. Limit:
one slice of one day is never cut, nor the slices of a capped set.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants
from sli.config.model import Config
from sli.publishing.parquet_files import Partition
from sli.publishing.tile_rows import EVERY_SLICE, Slices
from sli.rollup.evaluate import stretches
from sli.slices import SliceBy
from sli.slis import Sli
from sli.slis.states import Integers

RESULT_BYTES = 1000
"""About how many bytes a result takes while it is rolled up and compared."""
SHARE = 8
"""The results of a stretch may take 1 / SHARE of a task's memory."""
MOST = 200_000
"""A stretch has at most about so many results: some seconds of work."""

Windows = tuple[Grain, Instants, Instants]
"""The starts and ends of windows of a grain."""
SlisAndWindows = Sequence[tuple[tuple[Sli, ...], Sequence[Windows]]]
"""SLIs with the windows to roll up for them: the groups of a run."""


@dataclass(frozen=True)
class Days:
    """The windows of a grain that end in some days."""

    grain: str
    first: str
    """The first of the local days."""
    last: str
    windows: tuple[tuple[int, Windows], ...]
    """Those to roll up, each with the number of its group; none where there are only published rows."""

    @property
    def bounds(self) -> tuple[str, str, str]:
        """The grain, and the first and the last day."""
        return self.grain, self.first, self.last


@dataclass(frozen=True)
class Stretch:
    """What is rolled up and compared together."""

    days: tuple[Days, ...]
    slices: Slices = EVERY_SLICE

    @property
    def windows(self) -> int:
        """How many windows are rolled up, those of each group counted."""
        return sum(len(starts) for days in self.days for _, (_, starts, _) in days.windows)


@dataclass(frozen=True)
class SliceCounts:
    """How many slices there are: in each day, and of how many days each."""

    starts: Instants
    """The start of each day tile, in order."""
    slices: Mapping[tuple[str, str], int]

    @staticmethod
    def of(days: pa.Table) -> SliceCounts:
        """Those of rows of table `days`."""
        tiles = days.filter(pa.compute.equal(days.column("span"), pa.scalar("tile")))
        counted = tiles.group_by(["slice_by", "slice"]).aggregate([([], "count_all")])
        columns = (counted.column(name).to_pylist() for name in ("slice_by", "slice", "count_all"))
        slices = {(str(by), str(text)): int(count or 0) for by, text, count in zip(*columns, strict=True)}
        return SliceCounts(np.sort(tiles.column("start").cast(pa.int64()).to_numpy()), slices)

    def most_rows(self, starts: Instants, ends: Instants) -> Integers:
        """At most how many slices each window has."""
        # The day in which a window begins may have begun before it.
        begun = np.searchsorted(self.starts, starts, side="right") - 1
        first = np.searchsorted(self.starts, self.starts[np.maximum(begun, 0)]) if len(self.starts) else begun
        within = np.searchsorted(self.starts, ends) - np.where(begun < 0, 0, first)
        return np.minimum(within, len(self.slices)).astype(np.int64)

    def cut(self, parts: int, caps: Mapping[SliceBy, int]) -> list[Slices]:
        """All slices in about so many parts of about equal size; a capped set stays in one."""
        whole = {",".join(columns) for columns in caps}
        in_order = sorted(self.slices.items())
        reached = np.cumsum([count for _, count in in_order])
        edges: list[tuple[str, str]] = []
        for (before, _), (key, _), until in zip(in_order, in_order[1:], reached, strict=False):
            inside = before[0] == key[0] and key[0] in whole
            if not inside and until * parts >= reached[-1] * (len(edges) + 1) and len(edges) < parts - 1:
                # From the beginning of a set on: its slice "(other)" is in no tile, and may come first.
                edges.append(key if before[0] == key[0] else (key[0], ""))
        return [Slices(*pair) for pair in itertools.pairwise([None, *edges, None])]


def stretches_of(
    config: Config, groups: SlisAndWindows, counts: SliceCounts, published: Mapping[Partition, int]
) -> list[Stretch]:
    """All windows of the groups and all published partitions, grain by grain and in the order of their days.

    `published` has the number of rows of each grain and day.
    """
    most = max(1, min(MOST, config.task_memory // SHARE // RESULT_BYTES))
    weights = Counter[Partition](dict(published))
    windows: dict[str, list[tuple[int, Windows]]] = {}
    for number, (slis, of_group) in enumerate(groups):
        for grain, starts, ends in of_group:
            if len(starts):
                windows.setdefault(grain.name, []).append((number, (grain, starts, ends)))
                rows = counts.most_rows(starts, ends) * len(slis)
                for day, count in zip(_days(config, ends).tolist(), rows.tolist(), strict=True):
                    weights[grain.name, day] += count
    partitions = sorted(weights)
    ends_in = {grain: [_days(config, ends) for _, (_, _, ends) in some] for grain, some in windows.items()}
    found = []
    for begin, end in stretches(np.array([weights[partition] for partition in partitions]), most):
        days = tuple(_with_windows(partitions[begin:end], windows, ends_in))
        parts = math.ceil(weights[partitions[begin]] / most) if end - begin == 1 else 1
        found += [Stretch(days, slices) for slices in (counts.cut(parts, config.caps) if parts > 1 else [EVERY_SLICE])]
    return found


def _with_windows(
    partitions: Sequence[Partition],
    windows: Mapping[str, Sequence[tuple[int, Windows]]],
    ends_in: Mapping[str, Sequence[np.typing.NDArray[np.str_]]],
) -> Iterator[Days]:
    """The windows that end in these partitions; `ends_in` has the day in which each window ends."""
    for grain, some in itertools.groupby(partitions, key=lambda partition: partition[0]):
        days = [day for _, day in some]
        chosen = []
        pairs = zip(windows.get(grain, []), ends_in.get(grain, []), strict=True)
        for (number, (of_grain, starts, ends)), ends_on in pairs:
            inside = (ends_on >= days[0]) & (ends_on <= days[-1])
            if inside.any():
                chosen.append((number, (of_grain, starts[inside], ends[inside])))
        yield Days(grain, days[0], days[-1], tuple(chosen))


def _days(config: Config, ends: Instants) -> np.typing.NDArray[np.str_]:
    """The local day in which each window ends, as partitions are named."""
    distinct, at = np.unique(ends, return_inverse=True)
    names = np.array([config.zone.date(int(instant) - 1).isoformat() for instant in distinct])
    return names[at]
