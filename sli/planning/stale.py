"""What is stale and why: discovered files against those the published run saw, as stretches of tiles.

Limit: it knows files by the times in their footers, so a late file makes every tile stale its feedback could belong to.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sli.calendar.interval import BEGINNING, Interval, common, joined, union
from sli.config.model import Config
from sli.engine.arrow import Flags, Rows
from sli.logs.files import Columns, Files, Inputs
from sli.planning.published import Published


@dataclass(frozen=True)
class Cause:
    """Why tiles are stale: what happened, to which files, for which stretch of time."""

    what: str
    intervals: tuple[Interval, ...]
    files: tuple[str, ...] = ()


def causes_of(
    inputs: Inputs,
    basis: Published | None,
    seen: Inputs,
    as_of: int,
    published: Published | None,
) -> list[Cause]:
    """What happened to the files since the run that `basis` published; all of them where there is none to build on."""
    if basis is None:
        what = (
            "first run"
            if published is None
            else "as_of older than published"
            if as_of < published.as_of
            else "config changed"
        )
        return [
            Cause(f"{what}: {log}", tuple(i for i in [files.span] if i), tuple(files.paths))
            for log, files in zip(("predictions", "feedback"), inputs.logs, strict=True)
        ]
    groups: dict[str, list[tuple[str, list[Interval]]]] = {}
    later = Interval(basis.as_of + 1, max(basis.as_of, as_of) + 1)
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        places = before.places(files.rows.column("path"))
        changed = (places >= 0) & ~_unchanged(files, before, places)
        known_now = np.zeros(len(files), bool)
        known_now[files.meeting(later)] = True
        replaced = iter(before.take(places[changed]))
        # Most files are as they were, and all of their rows known already.
        looked_at = np.flatnonzero((places < 0) | changed | known_now)
        for file, place in zip(files.take(looked_at), looked_at, strict=True):
            if places[place] < 0:
                groups.setdefault(f"new {file.log}", []).append((file.path, file.intervals))
            elif changed[place]:
                spans = [*next(replaced).intervals, *file.intervals]
                groups.setdefault(f"rewritten {file.log}", []).append((file.path, spans))
            elif newly := common(file.intervals, [later]):
                groups.setdefault(f"newly known {file.log}", []).append(("", newly))
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        for old in before.take(~before.as_in(files)):
            groups.setdefault(f"removed {old.log}", []).append((old.path, old.intervals))
    return [
        Cause(what, tuple(union(i for _, each in found for i in each)), tuple(path for path, _ in found if path))
        for what, found in groups.items()
    ]


@dataclass(frozen=True)
class News:
    """The rows that came since the published run: those of new files, and those of files seen that are known only now.

    Everything else is as it was, so the tiles can be amended by these rows' ids.
    """

    predictions: Files
    """New files."""
    feedback: Files
    seen_predictions: Files
    seen_feedback: Files
    known: int
    """as_of of the published run: later rows of files seen are new, too."""
    as_of: int

    @property
    def later(self) -> Interval:
        """Times of the rows of files seen that are known only now."""
        return Interval(self.known + 1, max(self.known, self.as_of) + 1)

    @functools.cached_property
    def revealed(self) -> Files:
        """Files seen that have such rows."""
        seen = self.seen_predictions.with_more(self.seen_feedback)
        return seen.take(seen.meeting(self.later))

    @property
    def any(self) -> bool:
        """Whether there may be any new row."""
        return bool(self.predictions or self.feedback or self.revealed)

    @property
    def bytes(self) -> int:
        """What is read for certain."""
        return sum(int(f.row_bytes * f.rows) for f in (*self.predictions, *self.feedback, *self.revealed))


def news_of(inputs: Inputs, basis: Published, seen: Inputs, causes: list[Cause], as_of: int) -> News | None:
    """The new rows, or None where files seen were rewritten or removed, or new ones hold columns of other types."""
    if not all(cause.what.startswith(("new ", "newly known ")) for cause in causes):
        return None
    new, old = [], []
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        there = files.as_in(before)
        added, known = files.take(files.usable & ~there), files.take(files.usable & there)
        kinds = [set(each) for each in known.kinds.every]
        # Files seen may tell of columns that the config has left out since.
        if len(known) and not all(any(mine <= kind for kind in kinds) for mine in map(set, added.kinds.every)):
            return None
        new.append(added)
        old.append(known)
    return News(new[0], new[1], old[0], old[1], basis.as_of, as_of)


def _unchanged(files: Files, before: Files, places: Rows) -> Flags:
    """Which files, each of them at its place among those before, are as they were then."""
    mine, theirs = files.kinds, before.kinds
    found = np.flatnonzero(places >= 0)
    pairs, of = np.unique(theirs.of[places[found]] * len(mine.every) + mine.of[found], return_inverse=True)
    kinds = ((theirs.every[each // len(mine.every)], mine.every[each % len(mine.every)]) for each in pairs)
    same: Flags = np.zeros(len(files), bool)
    same[found] = np.array([not _retyped(*each) for each in kinds], bool)[of]
    for name in ("fingerprint", "problem"):
        same &= before.same(places, name, files.rows.column(name))
    return same


def _retyped(old: Columns, new: Columns) -> bool:
    """Whether a column is of another type; one that the config asks for anew changes no row."""
    types = dict(new)
    return any(types.get(name, kind) != kind for name, kind in old)


def touched(config: Config, causes: list[Cause], as_of: int) -> tuple[list[Interval], list[Interval]]:
    """Tiles of predictions and tiles of feedback that the causes make stale."""
    horizon, early = config.horizon.micros, config.feedback.early.micros
    pairs, strays = [], []
    for cause in causes:
        for each in cause.intervals:
            if cause.what.endswith("predictions"):
                pairs.append(each)
                strays.append(each.grown(early, horizon))
            else:
                pairs.append(each.grown(horizon, early))
                strays.append(each)
    whole = limits(config, as_of)
    known = [Interval(BEGINNING, whole[0].end)]
    tile = config.tile
    return common((aligned(i, tile) for i in pairs), whole), common((aligned(i, tile) for i in strays), known)


def strays_of(config: Config, pairs: Iterable[Interval], as_of: int) -> list[Interval]:
    """Tiles of feedback that predictions of these tiles may reach."""
    early, horizon = config.feedback.early.micros, config.horizon.micros
    reached = [aligned(each.grown(early, horizon), config.tile) for each in pairs]
    return common(reached, [aligned(Interval(BEGINNING, as_of + 1), config.tile)])


def aligned(each: Interval, tile: int) -> Interval:
    """The whole tiles that hold an interval."""
    return Interval(floor(each.start, tile), max(BEGINNING, -(-each.end // tile) * tile))


def floor(at: int, tile: int) -> int:
    return at // tile * tile


def limits(config: Config, as_of: int) -> list[Interval]:
    """From `since` to as_of, in whole tiles."""
    since = config.since_instant
    return [aligned(Interval(since, max(since, as_of + 1)), config.tile)]


def existing_of(config: Config, inputs: Inputs, as_of: int) -> list[Interval]:
    """Tiles that may hold predictions."""
    tile = config.tile
    _, first, last = inputs.predictions.ranges
    tiles = joined(first // tile * tile, np.maximum(BEGINNING, last // tile * tile + tile))
    return common(tiles, limits(config, as_of))


def whole_days(config: Config, pairs: list[Interval]) -> list[Interval]:
    """Widened to whole days where a Python function must see all pairs of a day at once."""
    if not any(state.kind == "window" for state in config.states.values()):
        return pairs
    zone = config.zone
    return union(
        Interval(max(config.since_instant, zone.midnight(zone.date(i.start))), int(zone_day_end(config, i.end)))
        for i in pairs
    )


def zone_day_end(config: Config, end: int) -> int:
    """The first midnight at or after an instant."""
    zone = config.zone
    day = zone.date(end - 1)
    return zone.midnights(day, day.fromordinal(day.toordinal() + 1))[-1]
