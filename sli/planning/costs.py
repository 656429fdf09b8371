"""What it costs to amend tiles by new rows, and to recompute them from all their rows: seconds of one core, estimated.

Both give the same tiles, so a run takes the cheaper way. Amending reads the new rows several times, and of older rows
only the ids, in the files where the ids of new rows may lie. Recomputing reads all rows of the stale hours. Both
read the stored tiles of the same days. Limit: only where they differ is counted, so neither is the time of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from sli.calendar.interval import Interval, meets_any
from sli.config.model import Config
from sli.engine.arrow import Integers, integers
from sli.logs.files import Files, Inputs
from sli.planning.changes import Cause, NewRows
from sli.planning.late_feedback import Horizon

AMENDING = 0.25
"""Seconds that amending takes longer than recomputing where there are nearly no rows."""
CLUSTER = 2.0
"""Seconds until a cluster has its first workers. Amending needs none."""
NEW_ROW, LOOKED_THROUGH, ROW = 3e-6, 0.3e-6, 1e-6
"""Seconds that a new row takes, a row among which ids are looked for, and a row that is matched anew."""
# Measured on the logs of tests/bench/generate.py, in CPU seconds of whole runs, amending and recomputing by turns:
# 20,000 predictions an hour, a horizon of 30 days, 2,160 late labels: 7.0 and 29.8; 5,000 an hour, 7 days, 504 late
# labels: 3.6 and 4.8, 133,650: 4.9 and 5.4, all 830,689: 6.4 and 4.9; 100 an hour, 504: 2.6 and 2.4.


@dataclass(frozen=True)
class Costs:
    """Seconds of one core that amending and recomputing take."""

    amend: float
    recompute: float

    @property
    def amends(self) -> bool:
        """Whether amending is at most as expensive."""
        return self.amend <= self.recompute

    def to_dict(self) -> dict[str, object]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much there is to read, either way."""

    new_rows: int
    looked_through: float
    """Rows of the files in which ids of new rows may lie."""
    rows: int
    """Rows of the files that have some of the stale tiles, and of the feedback that may count for these."""
    cluster: bool = False
    """Whether a cluster recomputes them."""

    @property
    def costs(self) -> Costs:
        """What both ways cost.

        >>> few = Amounts(new_rows=504, looked_through=168_000, rows=311_000).costs
        >>> all_of_them = Amounts(new_rows=830_689, looked_through=850_000, rows=1_680_000).costs
        >>> few.amends, all_of_them.amends
        (True, False)
        """
        return Costs(
            AMENDING + NEW_ROW * self.new_rows + LOOKED_THROUGH * self.looked_through,
            CLUSTER * self.cluster + ROW * self.rows,
        )


def amounts(
    config: Config,
    inputs: Inputs,
    causes: Iterable[Cause],
    new_rows: NewRows,
    stale: Sequence[Interval],
) -> Amounts:
    """How much there is to read for some new rows. `stale` are the tiles of predictions that they may belong to."""
    horizon, later = Horizon.of(config), new_rows.later
    known = [span for cause in causes if cause.what.endswith("feedback") for span in cause.intervals]
    # An id of a new label lies in a file of the predictions that it may count for.
    labelled = _rows_meeting(inputs.predictions, [horizon.predictions_for(span) for span in known])
    labels = int(_rows(new_rows.new.feedback).sum() + _rows_meeting(new_rows.seen.feedback, [later]).sum())
    may_count = [horizon.feedback_for(span) for span in stale]
    return Amounts(
        new_rows=int(sum(_rows(files).sum() for files in (new_rows.new.files, new_rows.newly_known))),
        looked_through=float(labelled.sum()) / max(1, len(labelled)) * files_hit(len(labelled), labels),
        rows=int(sum(_rows_meeting(*of_log).sum() for of_log in zip(inputs.logs, (stale, may_count), strict=True))),
        cluster=config.dask != "in-process",
    )


def files_hit(files: int, ids: int) -> float:
    """In how many of some files ids lie, on average, if each may lie in any of them alike.

    >>> files_hit(168, 0), round(files_hit(168, 1)), round(files_hit(168, 504))
    (0.0, 1, 160)
    """
    return files * (1 - (1 - 1 / files) ** ids) if files else 0.0


def _rows(files: Files) -> Integers:
    """The number of rows of each file."""
    return integers(files.rows.column("rows"))


def _rows_meeting(files: Files, spans: Sequence[Interval]) -> Integers:
    """The number of rows of each file that has some in these stretches of time."""
    file, first, last = files.ranges
    return _rows(files)[np.unique(file[meets_any(first, last + 1, spans)])]
