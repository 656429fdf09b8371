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
from sli.reading.publication import Publication
from sli.report.chunks import is_text
from sli.report.series import VERDICTS, codes

FLIPS, CHANGES = 8, 8
"""How many changes of a verdict, and of a value, the page lists."""
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


def changes_of(publication: Publication) -> Changes:
    """What the newest publication changed. Raises StoreError."""
    published = publication.published
    only = (pc.field("sequence") == published.sequence) & pc.field("definition").isin([*published.series.values()])
    first = published.sequence == 1
    rows = publication.rows("revisions", COLUMNS, pc.scalar(False) if first else only).combine_chunks()
    matured = is_text(rows.column("cause"), "matured")
    rows = rows.filter(pa.array(~matured))
    value, old = (rows.column(name).to_numpy() for name in ("value", "old_value"))
    other_value = (value != old) & ~(np.isnan(value) & np.isnan(old)) & is_text(rows.column("change"), "changed")
    flips = _flips(rows)
    others = np.flatnonzero(other_value | is_text(rows.column("change"), "removed"))
    order = _by_size(rows, np.setdiff1d(others, flips[:FLIPS]))
    windows = rows.group_by(["grain", "window_start", "window_end"]).aggregate([])
    return Changes(
        first=first,
        causes=dict(text_counts(rows.column("cause")).most_common()),
        matured=int(matured.sum()),
        windows=len(windows),
        flips=to_pandas(rows.take(flips[:FLIPS])),
        flipped=len(flips),
        largest=to_pandas(rows.take(order[:CHANGES])),
        restated=rows.filter(pa.array(other_value)),
    )


def _flips(rows: pa.Table) -> Positions:
    """The rows whose verdict is another now: breached ones first, of these the newest windows."""
    verdicts, old = (codes(rows.column(name), VERDICTS) for name in ("verdict", "old_verdict"))
    at = np.flatnonzero((verdicts != old) & (verdicts >= 0) & (old >= 0) & is_text(rows.column("change"), "changed"))
    ends = rows.column("window_end").cast(pa.int64()).to_numpy()[at]
    return at[np.lexsort((-ends, ~is_text(rows.column("verdict"), "breached")[at]))]


def _by_size(rows: pa.Table, at: Positions) -> Positions:
    """These rows by the size of their change, the largest first."""
    names = ["value", "old_value", "change", "window_end"]
    ranked = largest_first(rows.select(names).take(at).to_pandas())
    ordered: Positions = at[ranked.index.to_numpy()]
    return ordered


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
