"""What the last run changed: how many results and why, the verdicts that flipped, and the largest changes of a value.

Limit: of the newest publication alone; a run that changed nothing published nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from sli.publishing.rows import text_counts, to_pandas
from sli.reading.figures import counted, largest_first
from sli.report.snapshot import Snapshot

FLIPS, CHANGES = 8, 8
"""How many changes of a verdict, and of a value, the page lists."""
Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]
COLUMNS = (
    *("sli", "definition", "grain", "window_start", "window_end", "slice", "value", "reason", "verdict"),
    *("change", "cause", "old_value", "old_verdict"),
)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the newest publication changed. The frames have the columns of `revisions`."""

    first: bool
    """Whether nothing was published before."""
    causes: Mapping[str, int]
    """How many results changed, by cause, the most common first; without those that only became final."""
    matured: int
    """How many results became final, and changed in nothing else."""
    windows: int
    """In how many windows results changed."""
    flips: pd.DataFrame
    """Verdicts that are another now, the breached ones first."""
    flipped: int
    """How many verdicts are another now; `flips` has the first of them."""
    largest: pd.DataFrame
    """The largest changes of a value, without `flips`."""
    restated: pa.Table
    """All results whose value is another now, as `revisions` has them."""


def changes_of(snapshot: Snapshot) -> Changes:
    """What the newest publication changed. Raises StoreError."""
    published = snapshot.published
    only = (pc.field("sequence") == published.sequence) & pc.field("definition").isin([*published.series.values()])
    first = published.sequence == 1
    rows = snapshot.store.rows("revisions", published, COLUMNS, pc.scalar(False) if first else only).combine_chunks()
    matured = int(pc.sum(pc.equal(rows.column("cause"), "matured")).as_py() or 0)
    rows = rows.filter(pc.field("cause") != "matured")
    value, old = (rows.column(name).to_numpy() for name in ("value", "old_value"))
    other_value = (value != old) & ~(np.isnan(value) & np.isnan(old)) & _is(rows, "change", "changed")
    flips = _flips(rows)
    order = _by_size(rows, np.setdiff1d(np.flatnonzero(other_value | _is(rows, "change", "removed")), flips[:FLIPS]))
    windows = rows.group_by(["grain", "window_start", "window_end"]).aggregate([])
    return Changes(
        first=first,
        causes=dict(text_counts(rows.column("cause")).most_common()),
        matured=matured,
        windows=len(windows),
        flips=to_pandas(rows.take(pa.array(flips[:FLIPS]))),
        flipped=len(flips),
        largest=to_pandas(rows.take(pa.array(order[:CHANGES]))),
        restated=rows.filter(pa.array(other_value)),
    )


def _is(rows: pa.Table, column: str, text: str) -> Flags:
    return np.asarray(pc.fill_null(pc.equal(rows.column(column), text), False), bool)


def _flips(rows: pa.Table) -> Positions:
    """The rows whose verdict is another now: breached ones first, of these the newest windows."""
    other = pc.fill_null(pc.not_equal(rows.column("verdict"), rows.column("old_verdict")), False)
    at = np.flatnonzero(np.asarray(other, bool) & _is(rows, "change", "changed"))
    ends = rows.column("window_end").cast(pa.int64()).to_numpy()[at]
    return at[np.lexsort((-ends, ~_is(rows, "verdict", "breached")[at]))]


def _by_size(rows: pa.Table, at: Positions) -> Positions:
    """These rows by the size of their change, the largest first."""
    names = ["value", "old_value", "change", "window_end"]
    ranked = largest_first(rows.select(names).take(pa.array(at)).to_pandas())
    return at[ranked.index.to_numpy()]


def sentence_of(changes: Changes, results: int) -> str:
    """Of how many results how many changed, why, in how many windows, and how many verdicts flipped."""
    if changes.first:
        return f"No changes yet: this is the first run, and it published {results:,} results."
    total = sum(changes.causes.values())
    causes = ", ".join(f"{count:,} because of {cause}" for cause, count in changes.causes.items())
    changed = f"{causes} ({counted(changes.windows, 'window')})" if total else "none changed"
    matured = f"; {changes.matured:,} became final unchanged" if changes.matured else ""
    flipped = f"{counted(changes.flipped, 'verdict')} changed" if changes.flipped else "No verdict changed"
    return f"Of {results:,} results {changed}{matured}. {flipped}."
