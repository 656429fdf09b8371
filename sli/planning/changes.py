"""What happened to the logs since the published run: new, rewritten and removed files, and rows known only now.

Limit: a file is known by the times in its footer, not by its rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sli.calendar.interval import Interval, intersection, union
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
            elif newly := intersection(file.intervals, [later]):
                groups.setdefault(f"newly known {file.log}", []).append(("", newly))
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        for old in before.take(~before.as_in(files)):
            groups.setdefault(f"removed {old.log}", []).append((old.path, old.intervals))
    return [
        Cause(what, tuple(union(i for _, each in found for i in each)), tuple(path for path, _ in found if path))
        for what, found in groups.items()
    ]


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
