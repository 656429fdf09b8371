"""What happened to the logs since the published run: new, rewritten and removed files, and rows known only now.

If rows only came, tiles are amended by these `NewRows` instead of being recomputed. Limit: it sees the times in the
footer of a file, not its rows; of a file that was rewritten or removed, some rows may be gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sli.calendar.interval import Interval, intersection, union
from sli.engine.arrow import Flags, Rows
from sli.logs.files import Columns, Files, Inputs
from sli.planning.published import NO_BASE, Published


@dataclass(frozen=True)
class Cause:
    """Why tiles are stale: what happened, to which files, for which stretch of time."""

    what: str
    """For example `new feedback`. It ends with the name of the log."""
    intervals: tuple[Interval, ...]
    files: tuple[str, ...] = ()


def causes_of(
    inputs: Inputs, basis: Published | None, seen: Inputs, as_of: int, published: Published | None
) -> list[Cause]:
    """What happened to the files since the run that `basis` published, which saw the files `seen`.

    If there is no basis: all files, with the reason why everything is computed from scratch.
    """
    if basis is None:
        return _from_scratch(inputs, as_of, published)
    later = _later(basis, as_of)
    files: defaultdict[str, list[str]] = defaultdict(list)
    intervals: defaultdict[str, list[Interval]] = defaultdict(list)
    for what, path, spans in [*_changed(inputs, seen, later), *_removed(inputs, seen)]:
        intervals[what] += spans
        if path:
            files[what].append(path)
    return [Cause(what, tuple(union(spans)), tuple(files[what])) for what, spans in intervals.items()]


def _from_scratch(inputs: Inputs, as_of: int, published: Published | None) -> list[Cause]:
    if published is None:
        why = "first run"
    elif as_of < published.as_of:
        why = "as_of older than published"
    else:
        why = "repair" if published.base == NO_BASE else "config changed"
    return [
        Cause(f"{why}: {log}", tuple(span for span in [files.span] if span), tuple(files.paths))
        for log, files in zip(("predictions", "feedback"), inputs.logs, strict=True)
    ]


def _changed(inputs: Inputs, seen: Inputs, later: Interval) -> Iterator[tuple[str, str, list[Interval]]]:
    """For each file that is new, rewritten, or has rows known only `later`: what happened, its path, its times of rows.

    If a file did not change and only has rows known later, the path is empty.
    """
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        places = before.places(files.rows.column("path"))
        changed = (places >= 0) & ~_unchanged(files, before, places)
        known_later = np.zeros(len(files), bool)
        known_later[files.meeting(later)] = True
        replaced = iter(before.take(places[changed]))
        # Most files did not change, and all of their rows are known already: they are skipped.
        looked_at = np.flatnonzero((places < 0) | changed | known_later)
        for file, place in zip(files.take(looked_at), looked_at, strict=True):
            if places[place] < 0:
                yield f"new {file.log}", file.path, file.intervals
            elif changed[place]:
                yield f"rewritten {file.log}", file.path, [*next(replaced).intervals, *file.intervals]
            elif newly_known := intersection(file.intervals, [later]):
                yield f"newly known {file.log}", "", newly_known


def _removed(inputs: Inputs, seen: Inputs) -> Iterator[tuple[str, str, list[Interval]]]:
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        for file in before.take(~before.found_in(files)):
            yield f"removed {file.log}", file.path, file.intervals


def _unchanged(files: Files, before: Files, places: Rows) -> Flags:
    """Which files did not change. `places` has the position of each file in `before`, negative if it is not there."""
    now, then = files.kinds, before.kinds
    there = np.flatnonzero(places >= 0)
    # Many files share a few sets of columns, so each pair of sets is compared once.
    pairs, of = np.unique(then.of_file[places[there]] * len(now.all) + now.of_file[there], return_inverse=True)
    kinds = ((then.all[pair // len(now.all)], now.all[pair % len(now.all)]) for pair in pairs)
    same: Flags = np.zeros(len(files), bool)
    same[there] = np.array([not _has_other_types(*then_and_now) for then_and_now in kinds], bool)[of]
    for name in ("fingerprint", "problem"):
        same &= before.equal_at(places, name, files.rows.column(name))
    return same


def _has_other_types(old: Columns, new: Columns) -> bool:
    """Whether a column has another type now. Columns that only the new config reads are ignored."""
    types = dict(new)
    return any(types.get(name, kind) != kind for name, kind in old)


@dataclass(frozen=True)
class NewRows:
    """The files with new rows: new files, and files seen before that have rows known only now."""

    new: Inputs
    seen: Inputs
    later: Interval
    """Times of the rows of files seen that are known only now."""

    @cached_property
    def newly_known(self) -> Files:
        """Files seen that have rows known only now."""
        return self.seen.files.take(self.seen.files.meeting(self.later))

    @property
    def bytes(self) -> int:
        """At least how many compressed bytes are read."""
        return sum(int(file.row_bytes * file.rows) for file in (*self.new.files, *self.newly_known))


def new_rows_of(inputs: Inputs, basis: Published, seen: Inputs, causes: Iterable[Cause], as_of: int) -> NewRows | None:
    """The new rows; None if files seen were rewritten or removed, or if new files have columns of other types."""
    if not all(cause.what.startswith(("new ", "newly known ")) for cause in causes):
        return None
    new, old = [], []
    for files, before in zip(inputs.logs, seen.logs, strict=True):
        there = files.found_in(before)
        added, known = files.take(files.usable & ~there), files.take(files.usable & there)
        known_kinds = [set(columns) for columns in known.kinds.all]
        # Files seen may have more columns: those that the config does not read any more.
        if len(known) and not all(any(set(kind) <= columns for columns in known_kinds) for kind in added.kinds.all):
            return None
        new.append(added)
        old.append(known)
    return NewRows(Inputs(new[0], new[1]), Inputs(old[0], old[1]), _later(basis, as_of))


def _later(basis: Published, as_of: int) -> Interval:
    """When rows become known that the published run did not know and this one does."""
    return Interval(basis.as_of + 1, as_of + 1)
