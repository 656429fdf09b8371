"""Cutting work into tasks: which files a task reads, for which tiles, within its share of memory.

Limit: a task is cut at midnights only, so a day whose rows outgrow the memory of a task is left to DuckDB's spilling.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sli.config import Config
from sli.intervals import BEGINNING, DAY, END, Interval, common
from sli.logs import Inputs, LogFile

FACTOR = 5
"""Memory of a task is about this many times the compressed bytes it reads."""


@dataclass(frozen=True)
class Chunk:
    """What one task does: tiles of `pairs`, feedback tiles of `strays`, from these files."""

    pairs: tuple[Interval, ...]
    strays: tuple[Interval, ...]
    predictions: tuple[LogFile, ...]
    feedback: tuple[LogFile, ...]
    reach: Interval
    """Prediction times to read: the pairs' own and those strays could belong to."""
    known: Interval
    """Feedback times to read."""


@dataclass(frozen=True)
class Job:
    """A set of chunks for which the same states of the same slices are computed."""

    chunks: tuple[Chunk, ...]
    states: tuple[str, ...]
    slice_sets: tuple[tuple[str, ...], ...]


def jobs_for(
    config: Config,
    inputs: Inputs,
    pairs: list[Interval],
    strays: list[Interval],
    states: Iterable[str],
    slice_sets: Sequence[tuple[str, ...]],
) -> list[Job]:
    """One job, or none where there is nothing to do."""
    if not slice_sets or not (pairs or strays):
        return []
    return [Job(chunks(config, inputs, pairs, strays), tuple(states), tuple(slice_sets))]


def chunks(config: Config, inputs: Inputs, pairs: list[Interval], strays: list[Interval]) -> tuple[Chunk, ...]:
    """Cut the tiles at midnights, so that no task reads more than its share of memory allows."""
    budget = config.task_memory / FACTOR
    groups = sorted(
        (first, last, f.row_bytes * f.rows / len(f.ranges))
        for f in inputs.files
        if f.usable
        for first, last in f.ranges
    )
    cuts: list[int] = []
    filled = 0.0
    for first, _, size in groups:
        if filled and filled + size > budget and (not cuts or first > cuts[-1]):
            cuts.append(config.zone.midnight(config.zone.date(max(first, BEGINNING + 2 * DAY))))
            filled = 0.0
        filled += size
    edges = [BEGINNING, *sorted(set(cuts)), END]
    spans = [Interval(a, b) for a, b in itertools.pairwise(edges) if a < b]
    made = (_chunk(config, inputs, common(pairs, [span]), common(strays, [span])) for span in spans)
    return tuple(each for each in made if each is not None)


def _chunk(config: Config, inputs: Inputs, pairs: list[Interval], strays: list[Interval]) -> Chunk | None:
    if not pairs and not strays:
        return None
    horizon, early = config.horizon.micros, config.feedback.early.micros
    reach = _hull([*pairs, *(each.grown(horizon, early) for each in strays)])
    known = _hull([*strays, *(each.grown(early, horizon) for each in pairs)])
    return Chunk(
        tuple(pairs),
        tuple(strays),
        tuple(f for f in inputs.predictions if f.meets(reach)),
        tuple(f for f in inputs.feedback if f.meets(known)),
        reach,
        known,
    )


def _hull(intervals: list[Interval]) -> Interval:
    return Interval(min(i.start for i in intervals), max(i.end for i in intervals))
