"""Stretches: some days of a grain whose results are rolled up and compared together, so that memory holds no others.

A stretch has whole partitions of the table `results`. Limit: one day of a grain is never cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sli.calendar.grain import Grain
from sli.calendar.interval import Instants
from sli.config.model import Config
from sli.publishing.parquet_files import Partition
from sli.rollup.evaluate import Evaluation, stretches

RESULT_BYTES = 1000
"""About how many bytes a result takes while it is rolled up and compared."""
SHARE = 8
"""The results of a stretch may take 1 / SHARE of a task's memory."""

Windows = tuple[Grain, Instants, Instants]
"""The starts and ends of windows of a grain."""


@dataclass(frozen=True)
class Stretch:
    """The windows of a grain that end in some days."""

    grain: str
    first: str
    """The first of its local days."""
    last: str
    parts: tuple[tuple[Evaluation, Windows], ...]
    """The windows to roll up, of each group of SLIs with its evaluation; none where there are only published rows."""

    @property
    def windows(self) -> int:
        """How many windows are rolled up, those of each group counted."""
        return sum(len(starts) for _, (_, starts, _) in self.parts)


def stretches_of(
    config: Config, groups: Sequence[tuple[Evaluation, Sequence[Windows]]], published: Mapping[Partition, int]
) -> list[Stretch]:
    """All windows of the groups and all published partitions, grain by grain and in the order of their days.

    `published` has the number of rows of each grain and day.
    """
    most = config.task_memory // SHARE // RESULT_BYTES
    parts: dict[str, list[tuple[Evaluation, Windows]]] = {}
    weights: dict[str, Counter[str]] = {}
    for (grain, day), rows in published.items():
        weights.setdefault(grain, Counter())[day] += rows
    for evaluation, windows in groups:
        for of_grain, starts, ends in windows:
            if len(starts):
                parts.setdefault(of_grain.name, []).append((evaluation, (of_grain, starts, ends)))
                rows_of = evaluation.tree.most_rows(starts, ends) * len(evaluation.slis)
                of_day = weights.setdefault(of_grain.name, Counter())
                for day, rows in zip(_days(config, ends).tolist(), rows_of.tolist(), strict=True):
                    of_day[day] += rows
    return [
        stretch
        for grain in sorted(weights)
        for stretch in _of_grain(config, grain, weights[grain], parts.get(grain, []), most)
    ]


def _of_grain(
    config: Config, grain: str, weights: Mapping[str, int], parts: Sequence[tuple[Evaluation, Windows]], most: int
) -> Iterator[Stretch]:
    days = sorted(weights)
    ends_in = [_days(config, ends) for _, (_, _, ends) in parts]
    for begin, end in stretches(np.array([weights[day] for day in days]), most):
        first, last = days[begin], days[end - 1]
        chosen = []
        for (evaluation, (of_grain, starts, ends)), day in zip(parts, ends_in, strict=True):
            inside = (day >= first) & (day <= last)
            if inside.any():
                chosen.append((evaluation, (of_grain, starts[inside], ends[inside])))
        yield Stretch(grain, first, last, tuple(chosen))


def _days(config: Config, ends: Instants) -> np.typing.NDArray[np.str_]:
    """The local day in which each window ends, as partitions are named."""
    distinct, at = np.unique(ends, return_inverse=True)
    names = np.array([config.zone.date(int(instant) - 1).isoformat() for instant in distinct])
    return names[at]
