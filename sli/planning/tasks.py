"""Cutting work into tasks, by one of two strategies: which files a task reads, for which tiles, within its memory.

*Co-located*: a task reads the predictions of some days and all feedback that may belong to them, so feedback is read
once for each task whose horizon reaches it. *Shuffle*: everything is read once and sent by its id to the task that
settles it. The choice rests on estimated bytes alone. Limit: rows are taken as spread evenly over the time of their
group, and co-located tasks are cut only at midnights of days in which a group of rows begins.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sli.calendar.duration import DAY
from sli.calendar.interval import BEGINNING, END, Interval, intersection, union
from sli.config.model import Config
from sli.logs.files import Files, Inputs, LogFile
from sli.planning.late_feedback import Horizon

FACTOR = 5
"""Memory of a task is about this many times the compressed bytes it reads."""
SHUFFLED = 3
"""A shuffle takes as long as co-located tasks that read everything about so many times.

Measured in seconds of computing, of 3.0 million predictions and 2.6 million feedback rows: 18 to 22 for the shuffle; 9
for co-located tasks that read everything once, 47 for such that read it 9.5 times.
"""
SMALL = 32 << 20
"""Bytes read in less time than a shuffle takes to begin."""
SPILLED = 3
"""How many times its memory a co-located task may need: spilling to disk made 2.9 times cost 1.4 times the computing,
4.8 times 1.9, about what a shuffle costs, and not every state can spill."""
KERNEL = 64 << 20
"""Bytes the kernel always has."""


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
class Piece:
    """What one task of a shuffle reads: rows of one log's files in a stretch of time."""

    log: str
    files: tuple[LogFile, ...]
    span: Interval


@dataclass(frozen=True)
class Shuffle:
    """The tasks of a shuffle: they read pieces, settle partitions of ids, and make the tiles of stretches of time."""

    pieces: tuple[Piece, ...]
    partitions: int
    edges: tuple[int, ...]
    """Where a stretch ends and the next begins."""


@dataclass(frozen=True)
class Estimate:
    """Compressed bytes of the needed columns, and memory."""

    apart: int
    """What co-located tasks read in all."""
    once: int
    """The same without what is read repeatedly."""
    largest: int
    """Memory of the largest co-located task, in bytes."""
    memory: int
    """What it has."""

    @property
    def shuffles(self) -> bool:
        """Whether a shuffle is worth it."""
        return self.once > SMALL and (self._too_large or self.apart > SHUFFLED * self.once)

    @property
    def _too_large(self) -> bool:
        return self.largest > SPILLED * self.memory

    @property
    def reason(self) -> str:
        """Why the strategy is the one it is."""
        would = "would " * self.shuffles
        if self.shuffles and self._too_large:
            return f"a co-located task would take {size_text(self.largest)} of memory and has {size_text(self.memory)}"
        return f"co-located tasks {would}read {size_text(self.apart)}, once over it is {size_text(self.once)}"


@dataclass(frozen=True)
class Job:
    """Chunks for which the same states of the same slices are computed; of a shuffle one chunk that is all of it."""

    chunks: tuple[Chunk, ...]
    states: tuple[str, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    estimate: Estimate
    shuffle: Shuffle | None

    @property
    def tasks(self) -> int:
        """Tasks that join: of a shuffle one a partition of ids."""
        return self.shuffle.partitions if self.shuffle else len(self.chunks)

    @property
    def strategy(self) -> str:
        """How the rows of an id are brought together."""
        return "shuffle" if self.shuffle else "co-located"

    def to_dict(self) -> dict[str, Any]:
        """The strategy and its reason, as plain values."""
        return {
            "strategy": self.strategy,
            "tasks": self.tasks,
            "bytes_apart": self.estimate.apart,
            "bytes_once": self.estimate.once,
            "largest_task": self.estimate.largest,
            "reason": self.estimate.reason,
        }


def size_text(size: int) -> str:
    """A number of bytes in the unit that fits: `63.2 GB`, `0.4 kB`."""
    unit, scale = next(((u, s) for u, s in (("GB", 1e9), ("MB", 1e6)) if size >= s), ("kB", 1e3))
    return f"{size / scale:,.1f} {unit}"


def jobs_for(
    config: Config,
    inputs: Inputs,
    pairs: list[Interval],
    strays: list[Interval],
    states: Iterable[str],
    slice_sets: Sequence[tuple[str, ...]],
    smaller: int = 1,
) -> list[Job]:
    """One job, or none where there is nothing to do; its tasks are so many times `smaller` than memory should allow."""
    if not slice_sets or not (pairs or strays):
        return []
    volume, states = _Volume(inputs), tuple(states)
    by_days = any(config.states[each].kind == "window" for each in states)
    whole = _parts(config, inputs, volume, pairs, strays)
    tasks = [each for task in whole for each in _cut(task, config, inputs, smaller, by_days)]
    reached = [_reached(config, *task) for task in tasks]
    estimate = Estimate(
        int(sum(volume.read(*each) for each in reached)),
        int(volume.read(*_reached(config, pairs, strays))),
        int(max(volume.held(*each) for each in reached) * FACTOR),
        max(KERNEL, config.task_memory),
    )
    if not estimate.shuffles:
        chunks = tuple(_chunk(config, inputs, *task) for task in tasks)
        return [Job(chunks, states, tuple(slice_sets), estimate, None)]
    every = _chunk(config, inputs, pairs, strays)
    return [Job((every,), states, tuple(slice_sets), estimate, _shuffle(config, every, estimate, by_days, smaller))]


_Part = tuple[list[Interval], list[Interval]]
"""Tiles of predictions and of feedback that one task makes."""


def _parts(
    config: Config, inputs: Inputs, volume: _Volume, pairs: list[Interval], strays: list[Interval]
) -> list[_Part]:
    """Cut the tiles at midnights, so that no task reads more than its share of memory allows."""
    budget = config.task_memory / FACTOR
    made: list[_Part] = []
    held: _Part = ([], [])
    for span in _days(config, inputs):
        mine = intersection(pairs, [span]), intersection(strays, [span])
        if not any(mine):
            continue
        grown = union([*held[0], *mine[0]]), union([*held[1], *mine[1]])
        if any(held) and volume.held(*_reached(config, *grown)) > budget:
            made.append(held)
            grown = mine
        held = grown
    return [*made, held]


def _days(config: Config, inputs: Inputs) -> list[Interval]:
    """All of time, cut at the midnights of days in which a group of rows begins."""
    firsts = np.unique(inputs.files.ranges.first)
    edges, at = [BEGINNING], 0
    while at < len(firsts):
        midnight = config.zone.midnight(config.zone.date(max(int(firsts[at]), BEGINNING + 2 * DAY)))
        edges.append(midnight)
        # The next day's midnight is worked out from its own first group.
        at = max(at + 1, int(np.searchsorted(firsts, midnight + DAY - DAY // 8)))
    return [Interval(a, b) for a, b in itertools.pairwise([*sorted(set(edges)), END]) if a < b]


def _cut(task: _Part, config: Config, inputs: Inputs, parts: int, by_days: bool) -> list[_Part]:
    """A task's tiles in so many parts of equal time: of whole tiles, or of whole days."""
    _, first, last = inputs.files.ranges
    if parts == 1 or not len(first):
        return [task]
    whole = _hull([*task[0], *task[1]])
    low, high = max(whole.start, int(first.min())), min(whole.end, int(last.max()) + 1)
    inner = [low + (high - low) * i // parts for i in range(1, parts)] if low < high else []
    at = [config.zone.midnight(config.zone.date(i)) if by_days else i // config.tile * config.tile for i in inner]
    edges = sorted({BEGINNING, *at, END})
    pieces = (
        (intersection(task[0], [each]), intersection(task[1], [each])) for each in map(Interval, edges, edges[1:])
    )
    return [each for each in pieces if any(each)]


def _chunk(config: Config, inputs: Inputs, pairs: list[Interval], strays: list[Interval]) -> Chunk:
    reach, known = _reached(config, pairs, strays)
    return Chunk(
        tuple(pairs),
        tuple(strays),
        tuple(inputs.predictions.take(inputs.predictions.meeting(reach))),
        tuple(inputs.feedback.take(inputs.feedback.meeting(known))),
        reach,
        known,
    )


def _reached(config: Config, pairs: list[Interval], strays: list[Interval]) -> tuple[Interval, Interval]:
    """Times of predictions and of feedback that tiles rest on."""
    horizon = Horizon.of(config)
    return (
        _hull([*pairs, *(horizon.predictions_for(each) for each in strays)]),
        _hull([*strays, *(horizon.feedback_for(each) for each in pairs)]),
    )


def _hull(intervals: list[Interval]) -> Interval:
    return Interval(min(i.start for i in intervals), max(i.end for i in intervals))


class _Spread:
    """Where in time the bytes of files lie."""

    def __init__(self, files: Files) -> None:
        file, first, last = files.ranges
        # Far from 1970 a float tells no single microseconds: a stretch of one would have no length.
        self.first = first.astype(float)
        self.end = np.maximum((last + 1).astype(float), np.nextafter(self.first, np.inf))
        self.size = (files.column_bytes / np.maximum(1, np.bincount(file, minlength=len(files))))[file]

    @cached_property
    def _bytes_before(self) -> tuple[np.ndarray, np.ndarray]:
        """Instants, and the bytes before each; between them bytes grow evenly."""
        rate = self.size / (self.end - self.first)
        at, place = np.unique(np.concatenate([self.first, self.end]), return_inverse=True)
        change = np.bincount(place, np.concatenate([rate, -rate]), len(at))
        grown = np.cumsum(change)[:-1] * np.diff(at)
        return at, np.maximum.accumulate(np.concatenate([[0.0], np.cumsum(grown)]))

    def held(self, span: Interval) -> float:
        """Bytes of the rows in a stretch of time."""
        if not len(self.size):
            return 0.0
        start, end = np.interp([span.start, span.end], *self._bytes_before)
        return float(end - start)

    def read(self, span: Interval) -> float:
        """Bytes of the groups that have rows in it."""
        return float(self.size[(self.first < span.end) & (self.end > span.start)].sum())

    def cuts(self, size: float) -> list[int]:
        """Instants between which there are about `size` bytes."""
        if not len(self.size):
            return []
        at, before = self._bytes_before
        parts = max(1, round(before[-1] / size + 0.5))
        return [int(each) for each in np.interp(before[-1] * np.arange(1, parts) / parts, before, at)]


class _Volume:
    """Where in time the bytes of both logs lie."""

    def __init__(self, inputs: Inputs) -> None:
        self.predictions, self.feedback = _Spread(inputs.predictions), _Spread(inputs.feedback)

    def held(self, reach: Interval, known: Interval) -> float:
        """Bytes of the rows in these times of predictions and of feedback."""
        return self.predictions.held(reach) + self.feedback.held(known)

    def read(self, reach: Interval, known: Interval) -> float:
        """Bytes of the groups that have rows in them."""
        return self.predictions.read(reach) + self.feedback.read(known)


def _shuffle(config: Config, whole: Chunk, estimate: Estimate, by_days: bool, smaller: int) -> Shuffle:
    """Tasks of a shuffle that keep within their memory; stretches are of whole days where a state is."""
    # Half is for rows on their way: those of the next task, and those made of the ones before. Text joined takes more.
    budget = max(KERNEL, config.shuffle_memory) / FACTOR / 4 / smaller
    pieces = [
        *_pieces("predictions", whole.predictions, whole.reach, budget),
        *_pieces("feedback", whole.feedback, whole.known, budget),
    ]
    partitions = max(config.parallel, -int(-estimate.once // budget))
    cuts = [max(each, BEGINNING + 2 * DAY) for each in _Spread(Files.of(whole.predictions)).cuts(budget)]
    edges = {
        config.zone.midnight(config.zone.date(each)) if by_days else each // config.tile * config.tile for each in cuts
    }
    return Shuffle(tuple(pieces), partitions, tuple(sorted(edges)))


def _pieces(log: str, files: tuple[LogFile, ...], span: Interval, budget: float) -> list[Piece]:
    """Small files together, a large one in stretches of its time."""
    made: list[Piece] = []
    held: list[LogFile] = []
    filled = 0.0
    for file in files:
        size = file.row_bytes * file.rows
        if held and filled + size > budget:
            made.append(Piece(log, tuple(held), span))
            held, filled = [], 0.0
        if size > budget:
            edges = [BEGINNING, *_Spread(Files.of([file])).cuts(budget), END]
            parts = (Interval(a, b) for a, b in itertools.pairwise(sorted(set(edges))))
            made += [Piece(log, (file,), mine) for part in parts for mine in intersection([part], [span])]
        else:
            held.append(file)
            filled += size
    return [*made, Piece(log, tuple(held), span)] if held else made
