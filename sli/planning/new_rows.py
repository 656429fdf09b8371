"""The rows that came since the published run, if nothing else changed.

Then tiles are amended by these rows instead of being recomputed. Limit: if a file was rewritten or removed, some rows
may be gone, and tiles are recomputed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

from sli.calendar.interval import Interval
from sli.logs.files import Files, Inputs
from sli.planning.changes import Cause
from sli.planning.published import Published


@dataclass(frozen=True, kw_only=True)
class NewRows:
    """The files with new rows: new files, and files seen before that have rows known only now."""

    predictions: Files
    """New files."""
    feedback: Files
    """New files."""
    seen_predictions: Files
    seen_feedback: Files
    published_as_of: int
    """Rows that became known after this instant are new even in files seen before."""
    as_of: int

    @property
    def later(self) -> Interval:
        """Times of the rows of files seen that are known only now."""
        return Interval(self.published_as_of + 1, max(self.published_as_of, self.as_of) + 1)

    @functools.cached_property
    def newly_known(self) -> Files:
        """Files seen that have rows known only now."""
        seen = self.seen_predictions.with_more(self.seen_feedback)
        return seen.take(seen.meeting(self.later))

    @property
    def bytes(self) -> int:
        """At least how many compressed bytes are read."""
        files = (*self.predictions, *self.feedback, *self.newly_known)
        return sum(int(file.row_bytes * file.rows) for file in files)


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
    return NewRows(
        predictions=new[0],
        feedback=new[1],
        seen_predictions=old[0],
        seen_feedback=old[1],
        published_as_of=basis.as_of,
        as_of=as_of,
    )
