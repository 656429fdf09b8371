"""The rows that came since the published run, where all there is to do follows from them.

Then the tiles are amended by these rows instead of recomputed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from sli.calendar.interval import Interval
from sli.logs.files import Files, Inputs
from sli.planning.changes import Cause
from sli.planning.published import Published


@dataclass(frozen=True)
class NewRows:
    """The rows that came since the published run: those of new files, and those of files seen that are known only now.

    Everything else is as it was, so the tiles can be amended by these rows' ids.
    """

    predictions: Files
    """New files."""
    feedback: Files
    seen_predictions: Files
    seen_feedback: Files
    published_as_of: int
    """Rows of files seen that became known later are new, too."""
    as_of: int

    @property
    def later(self) -> Interval:
        """Times of the rows of files seen that are known only now."""
        return Interval(self.published_as_of + 1, max(self.published_as_of, self.as_of) + 1)

    @functools.cached_property
    def newly_known(self) -> Files:
        """Files seen that have such rows."""
        seen = self.seen_predictions.with_more(self.seen_feedback)
        return seen.take(seen.meeting(self.later))

    @property
    def any(self) -> bool:
        """Whether there may be any new row."""
        return bool(self.predictions or self.feedback or self.newly_known)

    @property
    def bytes(self) -> int:
        """What is read for certain."""
        return sum(int(f.row_bytes * f.rows) for f in (*self.predictions, *self.feedback, *self.newly_known))


def new_rows_of(inputs: Inputs, basis: Published, seen: Inputs, causes: list[Cause], as_of: int) -> NewRows | None:
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
    return NewRows(new[0], new[1], old[0], old[1], basis.as_of, as_of)
