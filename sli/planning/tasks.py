"""Cuts the work into tasks that fit their memory: which files each task reads, for which tiles. Two strategies:

*Co-located*: a task reads the predictions of some days and all feedback that may count for them, so feedback is read by
every task whose horizon reaches it. *Shuffle*: each row is read once and sent by its id to the task that joins it. The
choice depends only on estimated bytes. Limit: the estimate supposes that rows are spread evenly over the time of their
row group, and co-located tasks begin only at midnights of days in which a row group begins.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sli.calendar.duration import DAY
from sli.calendar.interval import BEGINNING, END, Interval, intersection, union
from sli.config.model import Config
from sli.config.sections import Factory, Scheduler
from sli.logs.files import Files, Inputs, LogFile
from sli.planning.late_feedback import Horizon

FACTOR = 5
"""A task needs about this many times as much memory as the compressed bytes that it reads."""
SHUFFLED = 3
"""A shuffle takes about as long as co-located tasks that read everything this many times.

Measured in CPU seconds, with 3.0 million predictions and 2.6 million feedback rows: 18 to 22 for the shuffle; 9 for
co-located tasks that read everything once, 47 for co-located tasks that read it 9.5 times.
"""
SMALL = 32 << 20
"""If there are at most this many bytes, no shuffle: reading them takes less time than starting one."""
SPILLED = 3
"""A co-located task may need this many times the memory that it has, because DuckDB spills to disk.

Measured: tasks that needed 2.9 times their memory took 1.4 times the CPU, at 4.8 times it was 1.9 times, about what a
shuffle costs. Not every state can spill.
"""
SPREAD = 1_000
"""On a cluster whose size a plan does not know, a shuffle is cut for this many workers."""
LEAST = 32 << 20
"""But no finer than into tasks of this many bytes: each costs the scheduler 10 ms, and a block for each other task."""
MOST = 2_000
"""A shuffle has at most so many partitions of ids if that can be: each task that reads sends a block to each of them.

So the number of blocks grows with the logs, not with their square. A partition whose rows do not fit is joined in
rounds, one after another, each with the rows of some of its ids.
"""
ROUNDS = 8
"""But no partition is joined in more rounds: its blocks stay in memory meanwhile, a twentieth of it for each round."""
KERNEL = 64 << 20
"""Bytes of memory that the SQL of a task always has."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one task does: it makes these tiles from these files."""

    prediction_tiles: tuple[Interval, ...]
    feedback_tiles: tuple[Interval, ...]
    """The tiles of feedback whose unmatched feedback it counts."""
    predictions: tuple[LogFile, ...]
    feedback: tuple[LogFile, ...]
    prediction_times: Interval
    """Prediction times to read: of its tiles, and of predictions that its feedback may count for."""
    feedback_times: Interval
    """Feedback times to read."""


@dataclass(frozen=True)
class Piece:
    """What one task of a shuffle reads: the rows of one log's files in a stretch of time."""

    log: str
    files: tuple[LogFile, ...]
    span: Interval


@dataclass(frozen=True)
class Shuffle:
    """The tasks of a shuffle: they read pieces, join partitions of ids, and make the tiles of stretches of time."""

    pieces: tuple[Piece, ...]
    partitions: int
    edges: tuple[int, ...]
    """Where a stretch ends and the next begins."""
    rounds: int
    """In how many rounds each partition is joined."""


@dataclass(frozen=True)
class Estimate:
    """Compressed bytes to read, and memory; all in bytes."""

    read_apart: int
    """What co-located tasks read in all."""
    read_once: int
    """The same if each row were read only once."""
    largest: int
    """Memory that the largest co-located task takes."""
    memory: int
    """Memory that a task has."""

    @property
    def shuffles(self) -> bool:
        """Whether a shuffle is worth it."""
        return self.read_once > SMALL and (self._too_large or self.read_apart > SHUFFLED * self.read_once)

    @property
    def _too_large(self) -> bool:
        return self.largest > SPILLED * self.memory

    @property
    def reason(self) -> str:
        """Why this strategy was chosen."""
        would = "would " * self.shuffles
        if self.shuffles and self._too_large:
            return f"a co-located task would take {size_text(self.largest)} of memory and has {size_text(self.memory)}"
        return f"co-located tasks {would}read {size_text(self.read_apart)}, once over it is {size_text(self.read_once)}"


@dataclass(frozen=True)
class TaskSet:
    """Tasks that compute the same states of the same slice sets; a shuffle is one task that holds all of it."""

    tasks: tuple[Task, ...]
    states: tuple[str, ...]
    slice_sets: tuple[tuple[str, ...], ...]
    estimate: Estimate
    shuffle: Shuffle | None

    @property
    def task_count(self) -> int:
        """How many tasks join rows: in a shuffle one for each partition of ids."""
        return self.shuffle.partitions if self.shuffle else len(self.tasks)

    @property
    def built_by(self) -> int:
        """How many tasks build tiles: in a shuffle one for each stretch of time."""
        return len(self.shuffle.edges) + 1 if self.shuffle else len(self.tasks)

    @property
    def strategy(self) -> str:
        """How the rows of an id are brought together."""
        return "shuffle" if self.shuffle else "co-located"

    def to_dict(self) -> dict[str, object]:
        """The strategy and its reason, as plain values."""
        return {
            "strategy": self.strategy,
            "tasks": self.task_count,
            "bytes_apart": self.estimate.read_apart,
            "bytes_once": self.estimate.read_once,
            "largest_task": self.estimate.largest,
            "reason": self.estimate.reason,
        }


def size_text(size: int) -> str:
    """A number of bytes in the unit that fits: `63.2 GB`, `0.4 kB`."""
    unit, scale = next(((u, s) for u, s in (("GB", 1e9), ("MB", 1e6)) if size >= s), ("kB", 1e3))
    return f"{size / scale:,.1f} {unit}"


def task_sets(
    config: Config,
    inputs: Inputs,
    prediction_tiles: list[Interval],
    feedback_tiles: list[Interval],
    states: Iterable[str],
    slice_sets: Sequence[tuple[str, ...]],
    split: int = 1,
) -> list[TaskSet]:
    """A task set for these tiles, in a list that is empty if there is nothing to do.

    Each task is cut into `split` smaller ones.
    """
    if not slice_sets or not (prediction_tiles or feedback_tiles):
        return []
    states, all_tiles = tuple(states), (prediction_tiles, feedback_tiles)
    cutter = _Cutter(config, inputs, by_days=not all(config.states[state].merges for state in states))
    shares = [share for fitting in cutter.by_memory(all_tiles) for share in cutter.by_time(fitting, split)]
    estimate = Estimate(
        int(sum(cutter.bytes(_Spread.read, share) for share in shares)),
        int(cutter.bytes(_Spread.read, all_tiles)),
        int(max(cutter.bytes(_Spread.within, share) for share in shares) * FACTOR),
        max(KERNEL, config.task_memory),
    )
    if not estimate.shuffles:
        return [TaskSet(tuple(map(cutter.task, shares)), states, tuple(slice_sets), estimate, None)]
    whole = cutter.task(all_tiles)
    # Half is for rows that are sent or received meanwhile, and half again since joined text takes more room.
    budget = max(KERNEL, config.shuffle_memory) / FACTOR / 4 / split
    shuffle = cutter.shuffle(whole, estimate.read_once, budget)
    return [TaskSet((whole,), states, tuple(slice_sets), estimate, shuffle)]


def co_located_tasks(config: Config, inputs: Inputs, prediction_tiles: list[Interval]) -> list[Task]:
    """Tasks that join the predictions of these tiles in time order, and no feedback that is unmatched."""
    cutter = _Cutter(config, inputs, by_days=False)
    return [cutter.task(share) for share in cutter.by_memory((prediction_tiles, []))]


_Tiles = tuple[list[Interval], list[Interval]]
"""Tiles of predictions and of feedback."""


@dataclass(frozen=True)
class _Cutter:
    """Cuts tiles into shares, one a task; a share has whole tiles or, with `by_days`, whole days."""

    config: Config
    inputs: Inputs
    by_days: bool

    @cached_property
    def _horizon(self) -> Horizon:
        return Horizon.of(self.config)

    @cached_property
    def _spreads(self) -> tuple[_Spread, ...]:
        """How the bytes of both logs are spread over time."""
        return tuple(map(_Spread, self.inputs.logs))

    def _times_to_read(self, tiles: _Tiles) -> tuple[Interval, Interval]:
        """The times of predictions and of feedback that must be read for these tiles."""
        predictions, feedback = tiles
        return (
            _span([*predictions, *map(self._horizon.predictions_for, feedback)]),
            _span([*feedback, *map(self._horizon.feedback_for, predictions)]),
        )

    def bytes(self, measure: Callable[[_Spread, Interval], float], tiles: _Tiles) -> float:
        """Bytes of both logs that must be read for these tiles: of their rows, or of the row groups that have such."""
        return sum(map(measure, self._spreads, self._times_to_read(tiles)))

    def task(self, tiles: _Tiles) -> Task:
        """The task that makes these tiles."""
        predicted, known = self._times_to_read(tiles)
        predictions, feedback = self.inputs.logs
        return Task(
            prediction_tiles=tuple(tiles[0]),
            feedback_tiles=tuple(tiles[1]),
            predictions=tuple(predictions.take(predictions.meeting(predicted))),
            feedback=tuple(feedback.take(feedback.meeting(known))),
            prediction_times=predicted,
            feedback_times=known,
        )

    def by_memory(self, tiles: _Tiles) -> list[_Tiles]:
        """Cut the tiles at midnights, so that no task reads more than its share of memory allows."""
        budget = self.config.task_memory / FACTOR
        shares: list[_Tiles] = []
        share: _Tiles = ([], [])
        for span in self._days():
            more = _within(tiles, span)
            if not any(more):
                continue
            grown = union([*share[0], *more[0]]), union([*share[1], *more[1]])
            if any(share) and self.bytes(_Spread.within, grown) > budget:
                shares.append(share)
                grown = more
            share = grown
        return [*shares, share]

    def _days(self) -> list[Interval]:
        """All of time, cut at the midnights of days in which a row group begins."""
        firsts = np.unique(self.inputs.files.ranges.first)
        edges, at = set[int](), 0
        while at < len(firsts):
            midnight = self._start_of_day(max(int(firsts[at]), BEGINNING + 2 * DAY))
            edges.add(midnight)
            # The next day's midnight is worked out from its own first group.
            at = max(at + 1, int(np.searchsorted(firsts, midnight + DAY - DAY // 8)))
        return _cut(edges)

    def by_time(self, tiles: _Tiles, number: int) -> list[_Tiles]:
        """The tiles in a `number` of shares of about equal time."""
        _, first, last = self.inputs.files.ranges
        if number == 1 or not len(first):
            return [tiles]
        whole = _span([*tiles[0], *tiles[1]])
        low, high = max(whole.start, int(first.min())), min(whole.end, int(last.max()) + 1)
        inner = [low + (high - low) * i // number for i in range(1, number)] if low < high else []
        shares = (_within(tiles, span) for span in _cut(map(self._start, inner)))
        return [share for share in shares if any(share)]

    def _start(self, at: int) -> int:
        """The start of the tile or, with `by_days`, of the day that holds an instant."""
        return self._start_of_day(at) if self.by_days else at // self.config.tile * self.config.tile

    def _start_of_day(self, at: int) -> int:
        return self.config.zone.midnight(self.config.zone.date(at))

    def shuffle(self, whole: Task, size: float, budget: float) -> Shuffle:
        """A shuffle of `size` bytes whose tasks take at most `budget`, and are at least as many as workers."""
        elsewhere = isinstance(self.config.dask, Scheduler | Factory)
        workers = SPREAD if elsewhere else self.config.parallel
        budget = min(budget, max(LEAST, size / workers))
        pieces = [
            *_pieces("predictions", whole.predictions, whole.prediction_times, budget),
            *_pieces("feedback", whole.feedback, whole.feedback_times, budget),
        ]
        fitting = max(self.config.parallel, -int(-size // budget))
        rounds = min(ROUNDS, max(1, -(-fitting // max(MOST, self.config.parallel))))
        cuts = (max(cut, BEGINNING + 2 * DAY) for cut in _Spread(Files.of(whole.predictions)).cuts(budget))
        return Shuffle(tuple(pieces), -(-fitting // rounds), tuple(sorted({*map(self._start, cuts)})), rounds)


def _within(tiles: _Tiles, span: Interval) -> _Tiles:
    return intersection(tiles[0], [span]), intersection(tiles[1], [span])


def _span(intervals: list[Interval]) -> Interval:
    return Interval(min(i.start for i in intervals), max(i.end for i in intervals))


def _cut(edges: Iterable[int]) -> list[Interval]:
    """All of time, cut at these instants."""
    return [Interval(*ends) for ends in itertools.pairwise(sorted({BEGINNING, *edges, END}))]


class _Spread:
    """How the bytes of files are spread over time."""

    def __init__(self, files: Files) -> None:
        file, first, last = files.ranges
        # Far from 1970 a float cannot hold single microseconds, so without this a stretch of one would have no length.
        self.first = first.astype(float)
        self.end = np.maximum((last + 1).astype(float), np.nextafter(self.first, np.inf))
        self.size = (files.column_bytes / np.maximum(1, np.bincount(file, minlength=len(files))))[file]

    @cached_property
    def _bytes_before(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Instants, and how many bytes lie before each; between two instants bytes grow evenly."""
        rate = self.size / (self.end - self.first)
        at, place = np.unique(np.concatenate([self.first, self.end]), return_inverse=True)
        change = np.bincount(place, np.concatenate([rate, -rate]), len(at))
        grown = np.cumsum(change)[:-1] * np.diff(at)
        return at, np.maximum.accumulate(np.concatenate([[0.0], np.cumsum(grown)]))

    def within(self, span: Interval) -> float:
        """Bytes of the rows in a stretch of time."""
        if not len(self.size):
            return 0.0
        start, end = np.interp([span.start, span.end], *self._bytes_before)
        return float(end - start)

    def read(self, span: Interval) -> float:
        """Bytes of the row groups that have rows in a stretch of time."""
        return float(self.size[(self.first < span.end) & (self.end > span.start)].sum())

    def cuts(self, size: float) -> list[int]:
        """Instants between which there are about `size` bytes."""
        if not len(self.size):
            return []
        at, before = self._bytes_before
        parts = max(1, round(before[-1] / size + 0.5))
        return [int(cut) for cut in np.interp(before[-1] * np.arange(1, parts) / parts, before, at)]


def _pieces(log: str, files: tuple[LogFile, ...], span: Interval, budget: float) -> list[Piece]:
    """What each reading task gets: several small files, or a stretch of the time of a large file."""
    pieces: list[Piece] = []
    together: list[LogFile] = []
    total = 0.0
    for file in files:
        size = file.row_bytes * file.rows
        if together and total + size > budget:
            pieces.append(Piece(log, tuple(together), span))
            together, total = [], 0.0
        if size > budget:
            stretches = (part.within(span) for part in _cut(_Spread(Files.of([file])).cuts(budget)))
            pieces += [Piece(log, (file,), stretch) for stretch in stretches if not stretch.empty]
        else:
            together.append(file)
            total += size
    return [*pieces, Piece(log, tuple(together), span)] if together else pieces
